"""Memory use stays constant while a body of 300 MB is streamed from a separate server process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.scale, pytest.mark.slow]

SERVER = """
import asyncio, json
PART = {"audio": True, "video": True, "screen": False}
RECORD = {"trans_date": "2026-01-0%d", "cdr_id": "%s", "user": {"agent": "a" * 900}, "published_track": PART}
async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\n\\r\\n")
    writer.write(b'{"result":"0","cdr":[')
    text, sent, n = json.dumps(RECORD), 0, 0
    while sent < 300_000_000:
        block = ",".join(text % (1 + n % 9, f"id{m:012}") for m in range(n, n + 100)).encode()
        writer.write((b"," if n else b"") + block)
        sent += len(block)
        n += 100
        await writer.drain()
    writer.write(b"]}")
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

CLIENT = """
import asyncio, json, os, sys
from videoapi.client import VideoClient
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
async def main():
    async with VideoClient("app", "key", f"http://127.0.0.1:{sys.argv[1]}", allow_http=True) as client:
        count, base, most = 0, 0, 0
        async for record in client.cdr.by_period("2026-01-01", "2026-01-05"):
            count += 1
            if count == 1_000:
                base = resident()
            if count % 10_000 == 0:
                most = max(most, resident())
        print(json.dumps({"count": count, "growth": most - base}))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_300_mb_stream_uses_constant_memory() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, port], capture_output=True, text=True, timeout=110, check=True
        )
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    found = json.loads(client.stdout)
    assert found["count"] > 130_000
    assert found["growth"] < 64 * 2**20
