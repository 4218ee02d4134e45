"""A server that sends exactly what a test's script says, and records the requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs

ROOM_ID = "6571f3c2a1b2c3d4e5f60718"
OTHER_ID = "6571f3c2a1b2c3d4e5f60799"


@attrs.frozen
class Seen:
    """A request as received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    fields: list[str]
    """The lines of the headers."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Link:
    """An accepted connection."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        server.accepted += 1
        self.number = server.accepted

    async def request(self) -> Seen:
        """Read one request; raise EOFError if the peer closes the connection instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error
        method, target, _ = line.split(" ", 2)
        seen = Seen(method, target, headers, body, self.number, fields)
        self.server.requests.append(seen)
        return seen

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def answer(self, status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response; a mapping becomes JSON."""
        self.send(answer(status, body, headers))

    async def drain(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    def close(self) -> None:
        """Close the connection with a FIN."""
        self.writer.close()

    def shut(self) -> None:
        """Send a FIN immediately; `close` waits for the loop's next iteration."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as twin:
            twin.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection (RST)."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the peer has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Link], Awaitable[object]]


class Server:
    """The server's address, and the connections and requests that it received."""

    def __init__(self) -> None:
        self.accepted = 0
        self.requests: list[Seen] = []
        self.links: list[Link] = []
        self.port = 0
        self.scheme = "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/video/v2"


def answer(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a complete response; a mapping becomes JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + payload


def room(room_id: str = ROOM_ID, **fields: object) -> dict[str, object]:
    """Return the body of a success with a room."""
    return {"result": 0, "room": {"room_id": room_id, **fields}}


@contextlib.asynccontextmanager
async def serve(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Run a script for each connection; the end of the connection ends its script."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        link = Link(server, reader, writer)
        server.links.append(link)
        try:
            await script(link)
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()
            tasks.discard(task)

    listening = await asyncio.start_server(run, host, port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    server.scheme = "https" if tls else "http"
    try:
        yield server
    finally:
        listening.close()
        for link in server.links:
            link.writer.transport.abort()
        pending = list(tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.sleep(0)
    assert not failures, failures


def repeating(*answers: bytes) -> Script:
    """Return a script that sends the given responses in turn on each connection, repeating the last one."""

    async def script(link: Link) -> None:
        turn = 0
        while True:
            await link.request()
            link.send(answers[min(turn, len(answers) - 1)])
            await link.drain()
            turn += 1

    return script
