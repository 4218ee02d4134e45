"""A job of creates in a process of its own, which a test may kill; its diary is written line by line.

Run as `python -m history.victim` with one JSON argument.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import attrs

from history.checker import Event
from history.runs import Diary
from videoapi import RoomSpec, VideoClient


async def main(told: dict[str, Any]) -> None:
    diary_file = os.open(told["diary"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(event: Event) -> None:
        os.write(diary_file, json.dumps(attrs.asdict(event)).encode() + b"\n")

    diary = Diary(told["life"], note)
    specs = (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(told["rooms"]))
    async with VideoClient(
        told["app_id"], told["app_key"], told["base_url"], settle=told["settle"], middleware=[diary.middleware]
    ) as client:
        async with client.rooms.create_each(
            specs, job_id=told["job"], journal=told["journal"], concurrency=told["concurrency"]
        ) as outcomes:
            async for outcome in outcomes:
                diary.invoked(f"Room {outcome.index}", outcome.reference or "")
                diary.outcome(outcome)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
