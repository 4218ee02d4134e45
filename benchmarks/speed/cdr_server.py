"""A service with call records only: bodies of any size, generated while they are sent, in a separate process.

The first path segment selects the body: `/new-100-10/…` is ten megabytes in the newer shape with one odd record in a
hundred. The process prints its port and exits when its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from benchmarks.speed import cores
from benchmarks.speed.records import SHAPES, texts

_PIECE: Final = 1_000
_WRITE: Final = 64 * 1024
_START, _END = b'{"result":"0","cdr":[', b"]}"


class Pieces:
    """Encoded blocks of records, cached per shape and share of odd records."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, int], bytes] = {}

    def of(self, shape: str, odd_every: int) -> bytes:
        key = (shape, odd_every)
        if key not in self._cache:
            self._cache[key] = b",".join(texts(SHAPES[shape], _PIECE, odd_every))
        return self._cache[key]


async def _answer(pieces: Pieces, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            shape, odd_every, megabytes = head.split(b"/", 2)[1].decode().split("-")
            piece = pieces.of(shape, int(odd_every))
            times = max(1, int(megabytes) * 1_000_000 // (len(piece) + 1))
            length = len(_START) + times * (len(piece) + 1) - 1 + len(_END)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length)
            writer.write(_START)
            for nth in range(times):
                if nth:
                    writer.write(b",")
                for start in range(0, len(piece), _WRITE):
                    writer.write(piece[start : start + _WRITE])
                    await writer.drain()
            writer.write(_END)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def _serve() -> None:
    pieces = Pieces()
    server = await asyncio.start_server(lambda reader, writer: _answer(pieces, reader, writer), "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    cores.pin(-1)
    asyncio.run(_serve())
