"""The jobs of the growth benchmark, each run in a new process, and their cost.

`python -m benchmarks.speed.growth_jobs <job> <base URL> <count> <at once>` prints the costs as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from videoapi import RoomSettings, RoomSpec, SessionManager, VideoAPIError, VideoClient
from videoapi.pipeline.clock import Clock

_ROOM: Final = "65ba1f3c2a1b2c3d4e5f6071"
_WARM: Final = 300


def specs(count: int) -> Iterator[RoomSpec]:
    """Yield specs as if read from a file."""
    settings = RoomSettings(participants=10, auto_recording=True)
    return (RoomSpec(f"Class {number}", settings=settings) for number in range(count))


async def create_many(client: VideoClient, count: int, at_once: int) -> object:
    return await client.rooms.create_many(specs(count), concurrency=at_once, audit=False)


async def create_each(client: VideoClient, count: int, at_once: int) -> None:
    async with client.rooms.create_each(specs(count), concurrency=at_once, audit=False) as outcomes:
        async for _ in outcomes:
            pass


async def get(client: VideoClient, count: int, at_once: int) -> None:
    for _ in range(count):
        with suppress(VideoAPIError):
            await client.rooms.get(_ROOM)


async def stream(client: VideoClient, count: int, at_once: int) -> None:
    async for _ in client.cdr.by_room(f"{count:024d}"):
        pass


async def to_list(client: VideoClient, count: int, at_once: int) -> object:
    return await client.cdr.by_room(f"{count:024d}").to_list()


Job = Callable[[VideoClient, int, int], Awaitable[object]]
JOBS: Final[dict[str, Job]] = {job.__name__: job for job in (create_many, create_each, get, stream, to_list)}


def skipping() -> Clock:
    """Return a clock that skips every pause: pauses cost no requests but would take an hour."""
    skipped = 0.0

    def clock() -> float:
        return asyncio.get_running_loop().time() + skipped

    async def sleep(seconds: float) -> None:
        nonlocal skipped
        skipped += seconds
        await asyncio.sleep(0)

    return Clock(now=clock, sleep=sleep)


async def measure(name: str, base_url: str, count: int, at_once: int) -> dict[str, float]:
    """Warm up with a short job against a server without faults, then run and measure the job."""
    job = JOBS[name]
    origin = "/".join(base_url.split("/")[:3])
    faulty = base_url.split("/")[5] != "0"
    async with SessionManager(max_connections=max(64, at_once)) as manager:
        # Another account, so that the measured one starts with a full budget and no pause.
        async with VideoClient("warm", "key", f"{origin}/0/0/0/warm", session=manager) as warming:
            await job(warming, _WARM, at_once)
    async with SessionManager(max_connections=max(64, at_once), clock=skipping() if faulty else None) as manager:
        client = VideoClient("id", "key", base_url, session=manager)
        await client.warm_up(0)
        gc.collect()
        before, wall, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
        result = await job(client, count, at_once)
        cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": _memory("VmHWM") - before}
        del result
    return cost


def _memory(field: str) -> float:
    """Return a memory field of this process from `/proc/self/status`, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1]) * 1024


if __name__ == "__main__":
    _, job_name, url, number, width = sys.argv
    print(json.dumps(asyncio.run(measure(job_name, url, int(number), int(width)))))
