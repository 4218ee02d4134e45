"""A TCP proxy that injects faults into the traffic that passes through it.

The kinds of toxiproxy: `latency`, `slicer`, `limit_data`, `reset_peer`, and `down()`. And three that parse requests:
`drop_response` (the server executes, the client gets no response), `delay_request` (the client's connection is
closed immediately, the server gets the request later) and `replay_request` (the server gets it twice).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, Literal, Self

import attrs

Kind = Literal["latency", "slicer", "limit_data", "reset_peer", "drop_response", "delay_request", "replay_request"]
_BLOCK: Final = 65536


@attrs.define
class Toxic:
    """A fault; `hits` counts the requests that met it.

    Args:
        kind: The kind of fault.
        method: The HTTP method of the requests that meet it; None for all.
        after: How many of these requests pass before the first one meets it.
        times: How many requests meet it; None for all.
        seconds: The delay: `latency` before each block of the response, `slicer` between two slices, `delay_request`
            until the server gets the request.
        size: `slicer`: bytes per slice; `limit_data`: bytes of the response that pass before the connection is closed.
        reset: Whether the client's connection is closed with an RST instead of a FIN.
    """

    kind: Kind
    method: str | None = None
    after: int = 0
    times: int | None = None
    seconds: float = 0.0
    size: int = 1
    reset: bool = False
    hits: int = 0

    def meets(self, method: str) -> bool:
        if self.method not in (None, method) or (self.times is not None and self.hits >= self.times):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


class FaultProxy:
    """A proxy to a local server; point a client at `base_url`."""

    def __init__(self, upstream: str) -> None:
        self._host, _, rest = upstream.partition("://")[2].partition(":")
        port, _, self._path = rest.partition("/")
        self._upstream = int(port)
        self.port = 0
        self.accepted = 0
        self.requests = 0
        self._toxics: list[Toxic] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self._path}"

    def add(self, kind: Kind, **details: Any) -> Toxic:
        """Add a toxic for future requests; if several match a request, the first one applies."""
        toxic = Toxic(kind, **details)
        self._toxics.append(toxic)
        return toxic

    def heal(self) -> None:
        """Remove all toxics."""
        self._toxics.clear()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse new connections and reset open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset_all()

    def reset_all(self) -> None:
        """Close all open connections with an RST."""
        for client in self._clients:
            _end(client, reset=True)

    async def settle(self) -> None:
        """Wait until all delayed requests have been delivered."""
        while waiting := [task for task in self._tasks if task.get_name() == "late"]:
            await asyncio.wait(waiting)

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.sleep(0)

    def _start(self, job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._start(self._connection(reader, client), "connection")

    async def _connection(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.add(client)
        try:
            async with self._server_side() as (answers, server):
                while (request := await _request(reader)) is not None:
                    self.requests += 1
                    method = request.split(b" ", 1)[0].decode()
                    toxic = next((toxic for toxic in self._toxics if toxic.meets(method)), None)
                    if not await self._pass_on(request, toxic, answers, server, client):
                        return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._clients.discard(client)
            client.close()

    async def _pass_on(
        self,
        request: bytes,
        toxic: Toxic | None,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> bool:
        """Forward a request and its response; return False if the client's connection has ended."""
        kind = toxic.kind if toxic is not None else None
        if toxic is not None and kind in ("reset_peer", "delay_request"):
            _end(client, reset=toxic.reset or kind == "reset_peer")
            if kind == "delay_request":
                self._start(self._deliver(request, toxic.seconds), "late")
            return False
        server.write(request)
        answer = await _answer(answers)
        if toxic is not None and kind == "drop_response":
            _end(client, reset=toxic.reset)
            return False
        if kind == "replay_request":
            await self._deliver(request)
        return await _spoiled(answer, toxic, client)

    async def _deliver(self, request: bytes, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        async with self._server_side() as (answers, server):
            server.write(request)
            await _answer(answers)

    @contextlib.asynccontextmanager
    async def _server_side(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        answers, server = await asyncio.open_connection(self._host, self._upstream)
        try:
            yield answers, server
        finally:
            server.close()


async def _request(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    return head + await reader.readexactly(_length(head) or 0)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _length(head)
    if length is not None:
        return head + await reader.readexactly(length)
    parts = [head]
    while not parts[-1].startswith(b"0\r\n"):
        size = await reader.readuntil(b"\r\n")
        parts.append(size + await reader.readexactly(int(size, 16) + 2))
    return b"".join(parts)


def _length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


async def _spoiled(answer: bytes, toxic: Toxic | None, client: asyncio.StreamWriter) -> bool:
    size, seconds = len(answer), 0.0
    if toxic is not None and toxic.kind in ("latency", "slicer"):
        size, seconds = (toxic.size if toxic.kind == "slicer" else _BLOCK), toxic.seconds
    limit = toxic.size if toxic is not None and toxic.kind == "limit_data" else len(answer)
    for start in range(0, limit, size):
        if seconds:
            await asyncio.sleep(seconds)
        client.write(answer[start : min(start + size, limit)])
        await client.drain()
    if limit < len(answer):
        _end(client, reset=toxic is not None and toxic.reset)
        return False
    return True


def _end(client: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        raw = client.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
    else:
        client.close()
