"""One create of each client to a server that executes it and then fails: number of executions."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from support.server import Link, Script, answer, serve

from benchmarks.create.peer_calls import PEERS, TIMEOUT
from videoapi import VideoAPIError, VideoClient

MODES: Final = ("closes", "resets", "answers 500", "answers 503", "says nothing")
OURS: Final = ("videoapi", "videoapi, on_unknown=resend")
_LONGEST: Final = 60.0
_AT_ONCE: Final = 6
_CALLS: Final = Path(__file__).with_name("peer_calls.py")


@attrs.frozen
class Cell:
    """The outcome of one create.

    Args:
        client: The client's name.
        mode: How the server fails after the execution.
        executions: Number of executions; None if the client is not installed.
        caller: What the caller gets.
    """

    client: str
    mode: str
    executions: int | None
    caller: str


def _failing(mode: str, rooms: list[Any]) -> Script:
    """Return a service that executes every create, then fails; it serves lists normally."""

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.method == "GET" and seen.target.endswith("/rooms"):
                link.answer(200, {"result": 0, "rooms": rooms})
                await link.drain()
                continue
            if seen.method not in ("POST", "PUT"):
                link.answer(404, {"result": 40001})
                await link.drain()
                continue
            try:
                body = seen.json
            except ValueError:
                body = {}
            rooms.append({"room_id": f"{len(rooms):024x}", "created": "2026-01-01T00:00:00.000Z", **body})
            if mode == "closes":
                return link.close()
            if mode == "resets":
                return link.reset()
            if mode == "says nothing":
                return await link.gone()
            link.send(answer(int(mode[-3:]), b"{}"))
            await link.drain()

    return script


async def _peer(client: str, mode: str, python: str) -> Cell:
    rooms: list[Any] = []
    async with serve(_failing(mode, rooms)) as server:
        process = await asyncio.create_subprocess_exec(
            python,
            str(_CALLS),
            client,
            server.origin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(), _LONGEST)
        except TimeoutError:
            process.kill()
            await process.wait()
            return Cell(client, mode, len(rooms), f"no end within {_LONGEST:g} s")
    if process.returncode == 3:
        return Cell(client, mode, None, "not installed")
    if process.returncode:
        return Cell(client, mode, None, errors.decode(errors="replace").strip().splitlines()[-1][:120])
    return Cell(client, mode, len(rooms), out.decode().strip().splitlines()[-1])


async def _ours(client: str, mode: str) -> Cell:
    rooms: list[Any] = []
    resend = client != OURS[0]
    async with serve(_failing(mode, rooms)) as server:
        async with VideoClient("id", "key", server.base_url, settle=1.0, attempt_timeout=TIMEOUT) as ours:
            try:
                room = await ours.rooms.create(name="room", on_unknown="resend" if resend else "look")
            except VideoAPIError as error:
                caller = type(error).__name__
            else:
                caller = "the room" if room.room_id == rooms[0]["room_id"] else "another room"
    return Cell(client, mode, len(rooms), caller)


async def measure(python: str) -> list[Cell]:
    """Run one create per client and mode.

    Args:
        python: Interpreter with the other clients installed.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def limited(client: str, mode: str) -> Cell:
        async with turns:
            return await (_ours(client, mode) if client in OURS else _peer(client, mode, python))

    return list(await asyncio.gather(*(limited(client, mode) for client in (*OURS, *PEERS) for mode in MODES)))


def table(cells: Sequence[Cell]) -> str:
    """Return the cells as a Markdown table."""
    lines = ["| client | " + " | ".join(MODES) + " |", "|---" * (len(MODES) + 1) + "|"]
    for client in (*OURS, *PEERS):
        shown = [
            f"{cell.executions if cell.executions is not None else '–'}, {cell.caller}"
            for cell in cells
            if cell.client == client
        ]
        lines.append(f"| {client} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def versions(python: str) -> dict[str, str]:
    """Return the installed versions of the other clients."""
    import subprocess

    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = json.loads(subprocess.run([python, "-c", code], env=env, capture_output=True, check=True).stdout)
    names = {name.partition(",")[0].partition(" ")[0] for name in PEERS}
    return {name: found[name] for name in sorted(names) if name in found}
