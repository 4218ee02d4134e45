"""The server of the growth benchmark: a separate process, whose delay and error rate are set in the base URL.

`http://127.0.0.1:<port>/<milliseconds>/<status>/<permille>/v1` responds after that many milliseconds, and to that
share of requests with that status; with `warm` instead of `v1`, requests are not counted. `POST /begin` resets the
counters, `GET /seen` returns them. `python -m benchmarks.speed.growth_server` prints its port and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
from typing import Any, Final

import msgspec

_RECORDS_A_CHUNK: Final = 40
_CALL: Final = {
    "trans_date": "2024-01-31T10:20:30.123Z",
    "conf_num": "65ba1f3c2a1b2c3d4e5f6071-7",
    "sip": False,
    "call_num": "call-@@@@@@@@@@",
    "call_log_id": "65ba2000000000@@@@@@@@@@",
    "parent_partner_id": "5f7f1f3a1f3a1f3a1f3a1f3a",
    "room": {
        "room_id": "65ba1f3c2a1b2c3d4e5f6071",
        "connect_dt": "2024-01-31T10:00:00.000Z",
        "disconnect_dt": "2024-01-31T10:16:39.000Z",
        "duration": 999,
        "room_details": {},
        "sip": False,
    },
    "user": {
        "role": "participant",
        "ip": "203.0.113.9",
        "name": "Participant @@@@@@@@@@ of team 042",
        "ref": "user-@@@@@@@@@@",
        "agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    },
    "sigserver": {
        "disconnect_dt": "2024-01-31T10:16:39.000Z",
        "connect_dt": "2024-01-31T10:00:00.000Z",
        "ip": "203.0.113.77",
        "duration": 999.99,
        "hold_duration": 9.99,
    },
    "published_track": {"audio": True, "data": False, "video": True, "screen": False, "url": False},
    "usage": {
        "subscribed_minutes": 16,
        "published_minutes": 16,
        "screen_minutes": 2,
        "connect_minutes": 16.65,
        "connect_minutes_cal": 17,
        "room_connect_minutes": 17,
    },
    "app_id": "5f7f1f3a1f3a1f3a1f3a1f3a",
    "cdr_id": "cdr-@@@@@@@@@@",
}
_CALL_PARTS: Final = json.dumps(_CALL, separators=(",", ":")).encode().split(b"@@@@@@@@@@")


def call(number: int) -> bytes:
    """Return one call record; records differ only in their numbers."""
    return (b"%010d" % number).join(_CALL_PARTS)


class Seen:
    """Counters since `POST /begin`."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.requests = self.rooms = 0
        self.connections: set[int] = set()
        self.random = random.Random(1)


class Answering(asyncio.Protocol):
    """One connection; requests arrive one by one, in chunks of any size."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._held = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._streaming: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        _, named, length = head.lower().partition(b"content-length:")
        size = int(length.partition(b"\r\n")[0]) if named else 0
        if len(rest) < size:
            return
        self._held = rest[size:]
        method, target, _ = head.split(b" ", 2)
        self._answer(method, target.decode(), rest[:size])

    def _answer(self, method: bytes, target: str, body: bytes) -> None:
        seen = self._seen
        if target == "/begin":
            seen.begin()
            return self._send(200, b"{}")
        if target == "/seen":
            return self._send(200, json.dumps([seen.requests, len(seen.connections)]).encode())
        milliseconds, status, permille, kind, *path = target[1:].split("/")
        if kind != "warm":
            seen.requests += 1
            seen.connections.add(id(self))
        if seen.random.random() * 1000 < int(permille):
            return self._send(int(status), b"")
        if path[0] == "cdr":
            self._streaming = asyncio.create_task(self._stream(int(path[-1])))
            return None
        answer = self._room(path, body if method == b"POST" else b"{}")
        if delay := int(milliseconds):
            asyncio.get_running_loop().call_later(delay / 1000, self._send, 200, answer)
            return None
        return self._send(200, answer)

    def _room(self, path: list[str], body: bytes) -> bytes:
        room: dict[str, Any] = msgspec.json.decode(body)
        self._seen.rooms += 1
        room["room_id"] = path[1] if len(path) > 1 else f"{self._seen.rooms:024x}"
        return msgspec.json.encode({"result": 0, "room": room})

    async def _stream(self, count: int) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._chunk(b'{"result":0,"cdr":[')
        for start in range(0, count, _RECORDS_A_CHUNK):
            end = min(start + _RECORDS_A_CHUNK, count)
            self._chunk(b",".join(map(call, range(start, end))) + (b"," if end < count else b""))
            await self._writable.wait()
        self._chunk(b"]}")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _send(self, status: int, body: bytes) -> None:
        # Only a status, like a gateway that cannot reach the service.
        self._transport.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    seen = Seen()
    server = await loop.create_server(lambda: Answering(seen), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def wait_for_end_of_input() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
