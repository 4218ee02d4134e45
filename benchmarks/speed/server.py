"""The server of all measurements: on loopback, in a separate process, and faster than any of its clients.

It responds to creates and stores their references, lists its rooms, responds to other clients in their vendors'
formats, and returns its processor time for `GET /usage`. `python -m benchmarks.speed.server` prints its ports and
serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from benchmarks.speed import cores
from benchmarks.speed.bodies import ANSWERS, made_room

CREATE: Final = b"POST /video/v2/rooms"
LIST: Final = b"GET /video/v2/rooms"
FORGET: Final = b"POST /forget"
USAGE: Final = b"GET /usage"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REFERENCE: Final = re.compile(rb'"owner_ref": ?"([^"]*)"')
_START, _MIDDLE, _END = made_room()
_HEAD: Final = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: %b\r\n"
_JSON: Final = _HEAD % b"application/json; charset=utf-8"
_CANNED: Final = {
    line: _HEAD % kind.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for line, (kind, body) in ANSWERS.items()
}
_UNKNOWN: Final = b'{"result":40001,"error":"[Reason] Room not found","desc":""}'
_ROOMS_A_CHUNK: Final = 64


class Made:
    """References of the rooms created since the last `forget`; a room's ID is its index."""

    def __init__(self) -> None:
        self.references: list[bytes] = []

    def room(self, index: int) -> bytes:
        return b"%b%b%b%024x%b" % (_START, self.references[index], _MIDDLE, index, _END)

    def listed(self) -> Iterator[bytes]:
        """Yield the room list in HTTP chunks, so that a million rooms need no memory."""
        yield _JSON + b"Transfer-Encoding: chunked\r\n\r\n"
        yield _chunk(b'{"result":0,"rooms":[')
        count = len(self.references)
        for start in range(0, count, _ROOMS_A_CHUNK):
            end = min(start + _ROOMS_A_CHUNK, count)
            yield _chunk(b",".join(map(self.room, range(start, end))) + (b"," if end < count else b""))
        yield _chunk(b"]}") + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _answer(body: bytes) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (_JSON, len(body), body)


class Answering(asyncio.Protocol):
    """One connection. Parses only as much HTTP as its clients use."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._held = b""
        self._list: Iterator[bytes] | None = None
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(data, 0, end)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(data) < total:
                break
            self._serve(data, end, total)
            data = data[total:]
        self._held = data

    def _serve(self, data: bytes, end: int, total: int) -> None:
        line = data[: data.find(b" HTTP/", 0, end)]
        if line == CREATE:
            found = _REFERENCE.search(data, end, total)
            references = self._made.references
            references.append(found[1] if found else b"")
            self._transport.write(_answer(b'{"result":0,"room":%b}' % self._made.room(len(references) - 1)))
        elif line in _CANNED:
            self._transport.write(_CANNED[line])
        elif line == LIST:
            self._list = self._made.listed()
            self.resume_writing()
        else:
            self._transport.write(self._about(line))

    def _about(self, line: bytes) -> bytes:
        if line == FORGET:
            self._made.references = []
            return _answer(b"{}")
        if line == USAGE:
            return _answer(json.dumps({"seconds": time.process_time()}).encode())
        return _answer(_UNKNOWN).replace(b"200 OK", b"404 Not Found", 1)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._list is not None and not self._paused:
            chunk = next(self._list, None)
            if chunk is None:
                self._list = None
            else:
                self._transport.write(chunk)


def _until_input_ends(stop: Callable[[], object]) -> None:
    sys.stdin.read()
    stop()


async def _serve(certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    made = Made()
    context: dict[str, ssl.SSLContext | None] = {"http": None}
    if certificate is not None:
        context["https"] = tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    ports: dict[str, Any] = {}
    for scheme, layer in context.items():
        server = await loop.create_server(lambda: Answering(made), "127.0.0.1", 0, ssl=layer, backlog=1024)
        ports[scheme] = server.sockets[0].getsockname()[1]
    ended = asyncio.Event()
    stop = lambda: loop.call_soon_threadsafe(ended.set)  # noqa: E731
    threading.Thread(target=_until_input_ends, args=(stop,), daemon=True).start()
    gc.freeze()
    gc.disable()
    print(json.dumps(ports), flush=True)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="PEM file of a key and its chain, to serve TLS too")
    arguments = parser.parse_args()
    cores.pin(-1)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(arguments.certificate))
    else:
        uvloop.run(_serve(arguments.certificate))


if __name__ == "__main__":
    main()
