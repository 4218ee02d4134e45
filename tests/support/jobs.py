"""Jobs as several processes run them: each run has a client of its own, and one may be abandoned in doubt."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoapi import Outcome, Request, RoomSpec, Send, VideoClient
from videoapi.bulk import BulkReport
from videoapi.sandbox import Sandbox

SETTLE = 0.5
LONG = 60.0
"""A settle time that a test cannot wait for."""


def client_of(sandbox: Sandbox, **options: Any) -> VideoClient:
    """Return a new client of a sandbox, with a short settle time."""
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **{"settle": SETTLE, **options})


def keyed(count: int, **fields: Any) -> list[RoomSpec]:
    """Return specs with names and keys of their own."""
    return [RoomSpec(f"Room {number}", key=f"row-{number}", **fields) for number in range(count)]


async def run_job(sandbox: Sandbox, given: list[RoomSpec], *, settle: float = SETTLE, **options: Any) -> BulkReport:
    """Run a job in a client of its own, as another process would."""
    async with client_of(sandbox, settle=settle) as client:
        return await client.rooms.create_many(given, **{"job_id": "j", **options})


async def abandon_job(sandbox: Sandbox, given: list[RoomSpec], faults: Mapping[str, Any], **options: Any) -> None:
    """Run a job whose named creates meet faults, and cancel it once all of these were sent.

    Args:
        sandbox: The service.
        given: The job's specs; those after the last named one are not sent.
        faults: A step of `Sandbox.plan` by room name.
        options: Of `create_many`.
    """
    waiting = dict(faults)
    all_sent = asyncio.Event()

    async def meet(request: Request, send: Send) -> Outcome:
        name = name_of(request)
        if name in waiting:
            sandbox.plan([waiting[name]])
        try:
            return await send(request)
        finally:
            if waiting.pop(name, None) is not None and not waiting:
                all_sent.set()

    async with client_of(sandbox, middleware=[meet]) as client:
        given_options = {"job_id": "j", "concurrency": 1, **options}
        task = asyncio.ensure_future(client.rooms.create_many(given, **given_options))
        sent = asyncio.ensure_future(all_sent.wait())
        await asyncio.wait([task, sent], return_when=asyncio.FIRST_COMPLETED)
        for future in (task, sent):
            future.cancel()
        await asyncio.wait([task, sent])


def age_journal(journal: Path, seconds: float) -> None:
    """Make a journal look as if it had been written that long ago."""
    os.utime(journal, (time.time() - seconds,) * 2)


def name_of(request: Request) -> str:
    """Return the name of the room that a request creates, or nothing."""
    return str(json.loads(request.body)["name"]) if request.reference is not None and request.body else ""


def own_rooms(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Return the rooms that exist, by ID, without the client's own."""
    rooms: dict[str, Any] = sandbox.ledger.rooms
    return {room_id: room for room_id, room in rooms.items() if "self-check" not in room["name"]}


def check_rooms(sandbox: Sandbox) -> list[str]:
    """Return the IDs of the client's own rooms that exist."""
    return [room_id for room_id in sandbox.ledger.rooms if room_id not in own_rooms(sandbox)]


async def created(sandbox: Sandbox) -> list[str]:
    """Return the names of all rooms that were created, also late and since deleted, without the client's own."""
    while sandbox.late:
        await asyncio.sleep(0.02)
    return sorted(entry.name or "" for entry in sandbox.ledger.created if "self-check" not in (entry.name or ""))
