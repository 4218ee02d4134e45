"""A minimal client: it writes the same bytes and counts the bytes that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

from benchmarks.speed import bodies
from benchmarks.speed.worker import Run, Target


class _Asking(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._expected = 0
        self._came = 0
        self._left = 0
        self._ended: asyncio.Future[None]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, times: int) -> asyncio.Future[None]:
        self._left = times
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return self._ended

    def data_received(self, data: bytes) -> None:
        if not self._expected:
            # Every response has the length of the first, which arrives in one chunk.
            self._expected = len(data)
        self._came += len(data)
        if self._came < self._expected:
            return
        self._came = 0
        self._left -= 1
        if self._left > 0:
            self._transport.write(self._request)
        else:
            self._ended.set_result(None)


@asynccontextmanager
async def raw(target: Target) -> AsyncIterator[Run]:
    address = urlsplit(target.base_url)
    host, port = str(address.hostname), int(address.port or 0)
    body = json.dumps(bodies.room(0), separators=(",", ":")).encode()
    head = f"POST {address.path}/rooms HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    connections: list[_Asking] = []

    async def run(calls: int, at_once: int) -> None:
        while len(connections) < at_once:
            _, protocol = await loop.create_connection(lambda: _Asking(head.encode() + body), host, port)
            connections.append(protocol)
        share = max(1, calls // at_once)
        await asyncio.gather(*(one.ask(share) for one in connections[:at_once]))

    try:
        yield run
    finally:
        for one in connections:
            one._transport.close()
