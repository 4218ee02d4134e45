"""Creating rooms so that none is made twice and none is lost: stamp, send, settle, scan, send again."""
