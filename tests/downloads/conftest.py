"""A file server with scripted responses, and a client that downloads from it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from videoapi.client import VideoClient
from videoapi.pipeline.clock import Clock
from videoapi.session import SessionManager

PASSWORD = "canary-recording-password"
APP_KEY = "canary-app-key"
CONTENT = random.Random(7).randbytes(600 * 1024)


@attrs.frozen
class Seen:
    path: str
    headers: dict[str, str]
    rest: asyncio.StreamReader


Respond = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class FileServer:
    """A server that sends the next of `answers` per request, and then repeats the last one."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Respond] = []
        self.connections: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                seen = Seen(head[0].split(" ")[1], headers, reader)
                answer = self.answers[min(len(self.seen), len(self.answers) - 1)]
                self.seen.append(seen)
                await answer(seen, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(writer)
            self.tasks.discard(task)
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def head(status: int, headers: dict[str, object]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode("latin-1")


def plain(status: int = 200, body: bytes = b"", **headers: object) -> Respond:
    """Send the same response to any request. Underscores in header names become dashes."""

    async def respond(seen: Seen, writer: asyncio.StreamWriter) -> None:
        named: dict[str, object] = {name.replace("_", "-"): value for name, value in headers.items()}
        if "Transfer-Encoding" not in named:
            named.setdefault("Content-Length", len(body))
        writer.write(head(status, named) + body)

    return respond


def unframed(body: bytes) -> Respond:
    async def respond(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    return respond


def ranged(content: bytes = CONTENT, etag: str | None = '"v1"', cut: int | None = None, **headers: object) -> Respond:
    """Serve a file with support for ranges; close the connection after `cut` bytes of the body."""

    async def respond(seen: Seen, writer: asyncio.StreamWriter) -> None:
        start = 0
        named: dict[str, object] = {name.replace("_", "-"): value for name, value in headers.items()}
        if etag is not None:
            named["ETag"] = etag
        proof = seen.headers.get("if-range")
        if "range" in seen.headers and proof in (etag, named.get("Last-Modified")):
            start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
            named["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        named["Content-Length"] = len(content) - start
        writer.write(head(206 if start else 200, named) + content[start:][:cut])
        if cut is not None:
            await writer.drain()
            writer.close()

    return respond


def redirect(location: str, status: int = 302) -> Respond:
    return plain(status, Location=location)


@pytest.fixture
async def open_server() -> AsyncIterator[Callable[[], Awaitable[FileServer]]]:
    running: list[tuple[FileServer, asyncio.Server]] = []

    async def start() -> FileServer:
        server = FileServer()
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.port = listener.sockets[0].getsockname()[1]
        running.append((server, listener))
        return server

    yield start
    for server, listener in running:
        listener.close()
        tasks = list(server.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


@pytest.fixture
async def server(open_server: Callable[[], Awaitable[FileServer]]) -> FileServer:
    return await open_server()


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def connect(server: FileServer) -> AsyncIterator[Callable[..., VideoClient]]:
    """Create clients of the server; their backoff takes no time."""
    managers: list[SessionManager] = []

    def make(**options: Any) -> VideoClient:
        managers.append(SessionManager(clock=Clock(sleep=no_sleep)))
        settings: dict[str, Any] = {
            "base_url": f"{server.url}/video/v2",
            "recording_auth": ("rec-user", PASSWORD),
            **options,
        }
        return VideoClient("app", APP_KEY, session=managers[-1], **settings)

    yield make
    for manager in managers:
        await manager.aclose()


@pytest.fixture
def client(connect: Callable[..., VideoClient]) -> VideoClient:
    return connect()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
