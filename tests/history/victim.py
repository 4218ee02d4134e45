"""A job of creates in its own process, which a test may kill; the diary is written line by line.

Run as `python -m history.victim` with one JSON argument, a `lives.Plan` as a mapping.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from typing import Any

import attrs

from history.checker import Event
from history.runs import Diary
from videoapi import RoomSpec, VideoClient


async def main(config: dict[str, Any]) -> None:
    diary_file = os.open(config["diary"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(event: Event) -> None:
        os.write(diary_file, json.dumps(attrs.asdict(event)).encode() + b"\n")

    if config.get("file_limit"):
        # As on a full disk; the diary is written before it grows that large.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (config["file_limit"], config["file_limit"]))
    diary = Diary(config["life"], note)
    specs = (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(config["rooms"]))
    async with VideoClient(
        config["app_id"], config["app_key"], config["base_url"], settle=config["settle"], middleware=[diary.middleware]
    ) as client:
        async with client.rooms.create_each(
            specs, job_id=config["job"], journal=config["journal"], concurrency=config["concurrency"]
        ) as outcomes:
            async for outcome in outcomes:
                diary.invoked(f"Room {outcome.index}", outcome.reference or "")
                diary.outcome(outcome)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
