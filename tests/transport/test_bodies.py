"""Response bodies of any size and form yield a value or a library error, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
import zlib

import pytest
from support.server import ROOM_ID, Link, answer, room, serve

from videoapi import (
    ConnectionFailed,
    CreateOutcomeUnknown,
    ProtocolError,
    RequestRejected,
    RetryPolicy,
    ServerFault,
    VideoAPIError,
    VideoClient,
)

ONCE = RetryPolicy(attempts=1)
COMPLETE = json.dumps(room(name="Stand-up")).encode()
ZIPPED = gzip.compress(COMPLETE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def sized(body: bytes, encoding: str | None = None, length: int | None = None) -> bytes:
    coding = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return HEAD + f"{coding}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


async def get(data: bytes, *, create: bool = False) -> object:
    async def script(link: Link) -> None:
        await link.request()
        link.send(data)
        await link.drain()
        link.close()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            return await (
                client.rooms.create(name="Stand-up", on_unknown="strict") if create else client.rooms.get(ROOM_ID)
            )


@pytest.mark.parametrize(
    "data",
    [
        sized(COMPLETE),
        chunked(COMPLETE),
        chunked(*(bytes([byte]) for byte in COMPLETE)),
        sized(gzip.compress(COMPLETE), "gzip"),
        sized(zlib.compress(COMPLETE), "deflate"),
        chunked(ZIPPED[:20], ZIPPED[20:]).replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1),
        sized(b"\xef\xbb\xbf" + COMPLETE),
        sized(COMPLETE).replace(b"application/json", b"text/html"),
        sized(COMPLETE).replace(b"application/json", b"application/json; charset=klingon"),
        sized(COMPLETE).replace(b" 200 ", b" 201 "),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(COMPLETE),
    ],
    ids=[
        "sized",
        "chunked",
        "tiny-chunks",
        "gzip",
        "deflate",
        "chunked-gzip",
        "bom",
        "text-html",
        "charset",
        "201",
        "1xx",
    ],
)
async def test_complete_success_body_is_decoded_in_every_encoding(data: bytes) -> None:
    found = await get(data)
    assert found.name == "Stand-up"  # type: ignore[attr-defined]


BROKEN: dict[str, tuple[bytes, type[VideoAPIError]]] = {
    "length-too-long": (sized(COMPLETE, length=len(COMPLETE) + 5), ConnectionFailed),
    "cut-chunked": (chunked(COMPLETE, end=b""), ConnectionFailed),
    "bad-chunk-size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + COMPLETE, VideoAPIError),
    "cut-json": (sized(COMPLETE[:-5]), ProtocolError),
    "cut-gzip": (sized(gzip.compress(COMPLETE)[:-12], "gzip"), VideoAPIError),
    "gzip-without-its-end": (sized(gzip.compress(COMPLETE * 50)[:60], "gzip"), VideoAPIError),
    "no-gzip": (sized(COMPLETE, "gzip"), VideoAPIError),
    "bad-crc": (sized(gzip.compress(COMPLETE)[:-8] + b"\0" * 8, "gzip"), VideoAPIError),
    "unknown-encoding": (sized(b"\x28\xb5\x2f\xfd rubbish", "klingon"), ProtocolError),
    "empty": (sized(b""), ProtocolError),
    "html": (sized(b"<html>It works!</html>"), ProtocolError),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", ProtocolError),
    "204-with-body": (sized(COMPLETE).replace(b" 200 ", b" 204 "), ProtocolError),
    "206": (sized(COMPLETE).replace(b" 200 ", b" 206 "), ProtocolError),
    "200-error-both": (sized(COMPLETE[:-1] + b',"result":10002}'), ProtocolError),
    "trailing": (sized(COMPLETE + b"{}"), VideoAPIError),
    "nan": (sized(b'{"result":NaN,"room":{}}'), VideoAPIError),
    "no-utf-8": (sized(b'{"result":0,"room":{"room_id":"abc12345","name":"\xff"}}'), VideoAPIError),
    "deep": (sized(b'{"result":0,"room":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), VideoAPIError),
    "another-room": (sized(json.dumps(room("b" * 24)).encode()), ProtocolError),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", ProtocolError),
}


@pytest.mark.parametrize(("data", "expected"), BROKEN.values(), ids=BROKEN)
async def test_invalid_body_raises_a_library_error(data: bytes, expected: type[VideoAPIError]) -> None:
    with pytest.raises(expected) as failed:
        await get(data)
    assert failed.value.may_have_executed


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "another-room"])
async def test_invalid_body_leaves_a_create_unknown(name: str) -> None:
    with pytest.raises(CreateOutcomeUnknown):
        await get(BROKEN[name][0], create=True)


async def test_html_page_from_a_proxy_is_classified_by_its_status() -> None:
    page = b"<html>Bad Gateway</html>"
    with pytest.raises(ServerFault) as failed:
        await get(answer(502, page, {"Content-Type": "text/html"}))
    assert failed.value.retryable
    with pytest.raises(RequestRejected):
        await get(answer(400, page, {"Content-Type": "text/html"}), create=True)


FLOOD = """
    import asyncio, gzip, resource, sys
    from support.server import serve
    from videoapi import ProtocolError, RetryPolicy, VideoClient

    zeros = gzip.compress(b" " * (1 << 20))

    async def script(link):
        await link.request()
        link.send(b"HTTP/1.1 200 OK\\r\\n")
        if sys.argv[1] == "gzip":
            link.send(b"Content-Encoding: gzip\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
            block = b"%x\\r\\n%b\\r\\n" % (len(zeros), zeros)
            repeats = 1024
        else:
            link.send(b"Content-Length: %d\\r\\n\\r\\n" % (1 << 30))
            block, repeats = b" " * (1 << 16), 1 << 14
        for _ in range(repeats):
            link.send(block)
            await link.writer.drain()
            link.server.sent = getattr(link.server, "sent", 0) + len(block)

    async def main():
        async with serve(script) as server:
            async with VideoClient("id", "key", server.base_url, retry=RetryPolicy(attempts=1)) as client:
                try:
                    await client.rooms.get("abc12345")
                except ProtocolError as error:
                    print(error)
            print(server.sent)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(main())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_oversized_body_is_rejected_at_16_mib_in_bounded_memory(coding: str) -> None:
    """Uses a separate process, because the peak memory of a process never decreases."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FLOOD), coding],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    message, sent, grown = done.stdout.splitlines()
    assert "larger than 16 MiB" in message
    # Includes data in kernel buffers that was never read.
    assert int(sent) < 64 * 1024 * 1024
    grown_mib = int(grown) / (1024 if sys.platform == "linux" else 1024 * 1024)
    assert grown_mib < 64
