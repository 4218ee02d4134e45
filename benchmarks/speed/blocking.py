"""The blocking client against the async one: a create, and a record of a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.speed import bodies, race
from benchmarks.speed.clients import APP_ID, APP_KEY
from benchmarks.speed.decode import COUNT
from benchmarks.speed.loopback import serving
from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.records import SHAPES, body
from benchmarks.speed.stream import CHUNKS, PERIOD, Chunks, consume
from benchmarks.speed.worker import Run, Target

ASYNC: Final = "videoapi"
BLOCKING: Final = "videoapi.blocking"
_HERE: Final = "benchmarks.speed."
VARIANTS: Final = {ASYNC: _HERE + "clients:ours", BLOCKING: _HERE + "blocking:client"}
AT_ONCE: Final = (1, 16)


@asynccontextmanager
async def client(target: Target) -> AsyncIterator[Run]:
    """The blocking client, called by as many threads as calls are in flight."""
    from videoapi import RoomSettings
    from videoapi.blocking import VideoClient

    video = VideoClient(APP_ID, APP_KEY, target.base_url, ca_file=target.ca_file)
    threads = ThreadPoolExecutor(max(AT_ONCE))

    def call(number: int) -> Any:
        settings = RoomSettings(**bodies.settings())
        return video.rooms.create(name=bodies.NAME, settings=settings, sip=False, data=bodies.DATA)

    async def run(calls: int, at_once: int) -> None:
        numbers = iter(range(calls))

        def work() -> None:
            for number in numbers:
                call(number)

        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, work) for _ in range(at_once)))

    yield run
    await asyncio.to_thread(video.close)
    threads.shutdown()


def run(options: Options) -> list[Result]:
    """Measure a create with one and with many threads, and a stream."""
    return [_creates(options), _stream(options)]


def _creates(options: Options) -> Result:
    rows: list[Row] = []
    notes: list[str] = ["The calls of the blocking client come from as many threads as are in flight."]
    with serving() as server, race.workers(VARIANTS, server, "http", "asyncio", notes) as running:
        for at_once in AT_ONCE:
            setting = f"{at_once} at a time, asyncio, plain"
            if options.match not in setting:
                continue
            for one in running.values():
                one.warm_up(at_once)
            lanes = race.race(
                running, ASYNC, server, options.rounds, lambda one, n=at_once: one.run_for(options.seconds, n)
            )
            for name, lane in lanes.items():
                rows.append(Row(name, setting, "µs CPU/call", _micro(lane.cpu), lane.cpu_ratios))
                rows.append(Row(f"{name}, by the clock", setting, "µs/call", _micro(lane.wall), lane.wall_ratios))
    return Result("blocking-create", "One create of the blocking client", "the async client", rows, notes=notes)


def _stream(options: Options) -> Result:
    rows: list[Row] = []
    for shape, make in SHAPES.items():
        answer = body(make, COUNT, None)
        for size in CHUNKS:
            setting = f"{shape}, chunks of {size // 1024} KiB"
            if options.match in setting:
                pairs = [(_timed(_async_stream, answer, size), _timed(_blocking_stream, answer, size))
                         for _ in range(options.rounds)]  # fmt: skip
                ratios = [other / one for one, other in pairs]
                rows.append(Row(ASYNC, setting, "µs CPU/record", _micro([one for one, _ in pairs])))
                rows.append(Row(BLOCKING, setting, "µs CPU/record", _micro([other for _, other in pairs]), ratios))
    notes = [f"{COUNT:,} records from memory; the blocking client includes the start and end of its thread."]
    return Result("blocking-stream", "Call records of the blocking client", "the async client", rows, notes=notes)


def _timed(stream: Callable[[bytes, int], int], answer: bytes, size: int) -> float:
    began = time.process_time()
    count = stream(answer, size)
    return (time.process_time() - began) / count


def _async_stream(answer: bytes, size: int) -> int:
    return asyncio.run(consume(answer, size))


def _blocking_stream(answer: bytes, size: int) -> int:
    from videoapi.blocking import SessionManager, VideoClient
    from videoapi.pipeline.middleware import Send
    from videoapi.protocol.outcome import Outcome, streaming
    from videoapi.protocol.routes import Request

    with SessionManager(max_connections=4) as manager:
        pool = manager._source.pool  # type: ignore[attr-defined]

        async def respond(request: Request, send: Send) -> Outcome:
            await pool.stream_permits.acquire()
            return streaming(200, {}, Chunks(answer, size, pool.stream_permits.release))

        video = VideoClient("app", "key", "https://service.example", session=manager, middleware=respond)
        return sum(1 for _ in video.cdr.by_period(*PERIOD))


def _micro(seconds: list[float]) -> list[float]:
    return [value * 1e6 for value in seconds]
