"""A service with call records only: bodies of any size, made as they are sent, in a process of its own.

The first segment of a path says what is asked for: `/new-100-10/…` is ten megabytes of the newer shape with one odd
record in a hundred. It prints its port, and ends when its input does.
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
    """Runs of records, made once for each shape and share of odd ones."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], bytes] = {}

    def of(self, shape: str, odd_every: int) -> bytes:
        wanted = (shape, odd_every)
        if wanted not in self._made:
            self._made[wanted] = b",".join(texts(SHAPES[shape], _PIECE, odd_every))
        return self._made[wanted]


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
