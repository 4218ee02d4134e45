"""What sharing a rate through Redis adds to a create: one at a time, and 32 at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.speed import bodies, race
from benchmarks.speed.clients import APP_ID, APP_KEY, ours
from benchmarks.speed.loopback import serving
from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.worker import Run, Target, pooled

FREE: Final = "videoapi"
LOCAL: Final = "with rate="
SHARED: Final = "with rate= and gate="
_HERE: Final = "benchmarks.speed.gate:"
VARIANTS: Final = {FREE: _HERE + "free", LOCAL: _HERE + "local", SHARED: _HERE + "shared"}
AT_ONCE: Final = (1, 32)
# So high that no call waits for it.
_RATE: Final = "1000000/s"
_URL: Final = "BENCHMARK_REDIS"

free = ours


@asynccontextmanager
async def local(target: Target) -> AsyncIterator[Run]:
    """The client with a rate in its own process."""
    async with _client(target, rate=_RATE) as run:
        yield run


@asynccontextmanager
async def shared(target: Target) -> AsyncIterator[Run]:
    """The client with a rate in Redis."""
    from videoapi import RedisGate

    async with _client(target, rate=_RATE, gate=RedisGate(os.environ[_URL], processes=1)) as run:
        yield run


@asynccontextmanager
async def _client(target: Target, **options: Any) -> AsyncIterator[Run]:
    from videoapi import RoomSettings, VideoClient

    async with VideoClient(APP_ID, APP_KEY, target.base_url, ca_file=target.ca_file, **options) as client:

        async def call(number: int) -> Any:
            settings = RoomSettings(**bodies.settings())
            return await client.rooms.create(name=bodies.NAME, settings=settings, sip=False, data=bodies.DATA)

        yield pooled(call)


def run(options: Options) -> Result:
    """Measure a create without a rate, with one, and with one that is shared."""
    rows: list[Row] = []
    notes: list[str] = [f"The rate is {_RATE}, so that no call waits for it. Redis runs on the same machine."]
    if shutil.which("redis-server") is None:
        return Result("gate", "A create with a shared rate", "no rate", rows, notes=["redis-server is not installed"])
    with _redis(), serving() as server, race.workers(VARIANTS, server, "http", "asyncio", notes) as running:
        for at_once in AT_ONCE:
            setting = f"{at_once} at a time, asyncio, plain"
            if options.match not in setting:
                continue
            for one in running.values():
                one.warm_up(at_once)
            lanes = race.race(
                running, FREE, server, options.rounds, lambda one, n=at_once: one.run_for(options.seconds, n)
            )
            for name, lane in lanes.items():
                rows.append(Row(name, setting, "µs CPU/call", _micro(lane.cpu), lane.cpu_ratios))
                rows.append(Row(f"{name}, by the clock", setting, "µs/call", _micro(lane.wall), lane.wall_ratios))
    return Result("gate", "A create with a shared rate", "no rate", rows, notes=notes)


@contextlib.contextmanager
def _redis() -> Iterator[None]:
    """Run a Redis server for the variants, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        os.environ[_URL] = f"redis://127.0.0.1:{port}"
        try:
            _wait_for(port)
            yield
        finally:
            del os.environ[_URL]
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError("redis-server did not start")


def _micro(seconds: list[float]) -> list[float]:
    return [value * 1e6 for value in seconds]
