"""A Redis server of a test's own: on a free port, in its own folder, with nothing kept unless asked."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

BINARY = shutil.which("redis-server")


class RedisServer:
    """A Redis server on a port of its own.

    Args:
        folder: Where it keeps its files.
        options: Its command line, such as `--requirepass`, `secret`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        assert self._process is None, "it runs"
        for _ in range(5):
            port = self.port or _free_port()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *(str(BINARY), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                        *("--save", "", "--appendonly", "no", *self.options),
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            if self._answers(port):
                self.port = port
                return
            self.stop()
        pytest.fail(f"redis-server did not start:\n{self.log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Kill it with SIGKILL; what was not persisted is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Stop it with SIGSTOP: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server continue."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command over a connection of its own and return the raw reply."""
        return _command(self.port, *words)

    def command_as(self, password: str, *words: str) -> bytes:
        """Send one command after a password."""
        return _command(self.port, *words, password=password)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def _answers(self, port: int) -> bool:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            # Any reply counts, also that a password is needed.
            with contextlib.suppress(OSError):
                if _command(port, "PING")[:8] != b"-LOADING":
                    return True
            time.sleep(0.005)
        return False


def _command(port: int, *words: str, password: str | None = None) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        if password is not None:
            link.sendall(_encoded("AUTH", password))
            link.recv(100)
        link.sendall(_encoded(*words))
        return link.recv(65536)


def _encoded(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
    return "".join(parts).encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a Redis server with more options; without the binary, skip the test."""
    if BINARY is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis server: `url`, `stop()`, `start()`, `pause()`, `resume()`."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Yield the URL of a server that gives one answer to each script, and `OK` to all other commands."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while commands := await reader.read(65536):
                # redis-py introduces itself with several commands at once.
                writer.write(answer if b"EVALSHA" in commands else b"+OK\r\n" * commands.count(b"CLIENT\r\n"))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
