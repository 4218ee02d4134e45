"""A minimal Video API in its own process, which a test may kill; its rooms are stored in a file.

Run as `durable.py FILE PORT`: prints its port, and writes each room to the file before it responds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.server import Link, serve


class Rooms:
    """The rooms, and the handler of requests for them."""

    def __init__(self, file: Path) -> None:
        self._log = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.rooms: dict[str, dict[str, Any]] = {}
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if entry["deleted"]:
                self.rooms.pop(entry["room_id"], None)
            else:
                self.rooms[entry["room_id"]] = entry["room"]

    async def serve(self, link: Link) -> None:
        while True:
            seen = await link.request()
            room_id = seen.target.partition("/rooms/")[2]
            if seen.method == "POST":
                room = {"room_id": os.urandom(12).hex(), "created": "2026-01-01T00:00:00.000Z", **seen.json}
                self._write(room["room_id"], room)
                self.rooms[room["room_id"]] = room
                link.answer(200, {"result": 0, "room": room})
            elif seen.method == "GET" and not room_id:
                link.answer(200, {"result": 0, "rooms": list(self.rooms.values())})
            elif room_id not in self.rooms:
                link.answer(404, {"result": 40001, "error": "[Reason] Room not found", "desc": ""})
            elif seen.method == "DELETE":
                self._write(room_id, None)
                del self.rooms[room_id]
                link.answer(200, {"result": 0})
            else:
                link.answer(200, {"result": 0, "room": self.rooms[room_id]})
            await link.drain()

    def _write(self, room_id: str, room: dict[str, Any] | None) -> None:
        os.write(self._log, json.dumps({"room_id": room_id, "room": room, "deleted": room is None}).encode() + b"\n")


class Process:
    """A handle to the server process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video/v2"

    @property
    def executed(self) -> list[str]:
        """References of all rooms in the file that were created and not deleted."""
        entries = [json.loads(line) for line in self.file.read_text().splitlines()]
        deleted = {entry["room_id"] for entry in entries if entry["deleted"]}
        return [entry["room"]["owner_ref"] for entry in entries if entry["room_id"] not in deleted]

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(self.file),
            str(self.port),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def durable(file: Path) -> AsyncIterator[Process]:
    process = Process(file)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()


async def _main(file: Path, port: int) -> None:
    async with serve(Rooms(file).serve, port=port) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
