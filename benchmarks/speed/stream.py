"""A stream of call records: its complete path from memory, over a socket, and how long it blocks the loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.speed.children import child
from benchmarks.speed.decode import COUNT, SHARES
from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.records import SHAPES, body
from benchmarks.speed.rounds import COLLECTOR, Case, collector, rows
from videoapi import VideoClient
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.middleware import Send
from videoapi.protocol.outcome import Outcome, streaming
from videoapi.protocol.routes import Request
from videoapi.session import SessionManager

PERIOD: Final = ("2026-01-01", "2026-01-07")
LIMITS: Final = {"": 0.6, ", 1 % odd": 0.55}
CHUNKS: Final = (64 * 1024, 256 * 1024)


class Chunks:
    """A received response body, in chunks as a socket would deliver them."""

    status = 200

    def __init__(self, answer: bytes, size: int, release: Callable[[], None]) -> None:
        self._answer = answer
        self._size = size
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._answer), self._size):
            yield self._answer[start : start + self._size]

    def discard(self) -> None:
        pass

    async def aclose(self) -> None:
        release, self._release = self._release, lambda: None
        release()


@asynccontextmanager
async def serving(answer: bytes, size: int) -> AsyncIterator[VideoClient]:
    """Yield a client that gets a body from memory, through the complete path of a stream."""
    async with SessionManager(max_connections=4, clock=Clock()) as manager:
        manager.pool.api()

        async def respond(request: Request, send: Send) -> Outcome:
            await manager.pool.stream_permits.acquire()
            return streaming(200, {}, Chunks(answer, size, manager.pool.stream_permits.release))

        yield VideoClient("app", "key", "https://service.example", session=manager, middleware=respond)


async def consume(answer: bytes, size: int, extra: bool = False) -> int:
    """Stream a body from memory through the complete path of `client.cdr.by_period`; return the number of records."""
    async with serving(answer, size) as client:
        count = 0
        async for _ in client.cdr.by_period(*PERIOD, extra=extra):
            count += 1
        return count


def run(options: Options) -> list[Result]:
    """Stream bodies from memory and from a server, and measure how long the loop is blocked."""
    return [_from_memory(options), *_over_sockets(options)]


def _from_memory(options: Options) -> Result:
    measured: list[Row] = []
    for collected, on in COLLECTOR.items():
        for shape, make in SHAPES.items():
            for share, odd_every in SHARES.items():
                setting = f"{shape}{share}, {collected}"
                if options.match in setting:
                    answer, limit = body(make, COUNT, odd_every), LIMITS[share] if shape != "old" else None
                    with collector(on):
                        measured += rows(Case(setting, COUNT, answer), _variants(limit), options.rounds)
    return Result(
        "stream",
        "Call records as a stream, incrementally split",
        "`orjson.loads` of the same body",
        measured,
        notes=[
            "The processor time of `async for record in client.cdr.by_period(...)` from bytes in memory to records "
            "yielded, with the client's own loop and session: splitter, reader, sieve and generators.",
            f"Bodies of {COUNT:,} records, fed in chunks of 64 and of 256 KiB; higher is better.",
        ],
    )


def _variants(limit: float | None) -> dict[str, tuple[Callable[[bytes], object], float | None]]:
    def variant(size: int, extra: bool) -> Callable[[bytes], object]:
        return lambda answer: asyncio.run(consume(answer, size, extra))

    plain = {f"videoapi, chunks of {size // 1024} KiB": (variant(size, False), limit) for size in CHUNKS}
    return {**plain, "videoapi, extra=True, chunks of 256 KiB": (variant(CHUNKS[-1], True), None)}


def _over_sockets(options: Options) -> tuple[Result, Result]:
    megabytes = 20 if options.quick else 100
    rates: list[Row] = []
    holds: list[Row] = []
    with child("cdr_server") as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        for shape in SHAPES:
            for share, odd_every in SHARES.items():
                setting = f"{shape}{share}"
                if options.match in setting:
                    arguments = [f"{shape}-{odd_every}-{megabytes}", shape, str(odd_every)]
                    reports = [_measured(port, *arguments) for _ in range(max(2, options.rounds // 3))]
                    rates += _rates(setting, reports)
                    holds += _holds(setting, reports)
    return (
        Result(
            "stream-socket",
            "Call records as a stream over a socket",
            "`orjson.loads` of a body of 5,000 of these records in the same process",
            rates,
            notes=[f"{megabytes} MB from a server in another process, in the client's own processor time."],
        ),
        Result(
            "stream-hold",
            "How long a stream holds the loop",
            "one `orjson.loads` of 256 KiB of the same records in the same process",
            holds,
            notes=[
                "Every callback of the loop is timed from the first record on; the consumer does nothing. p99 is held "
                "against p99, the longest against the longest; the collector is on and its pauses count on both sides.",
                "In processor time, as by the clock a callback during which the system ran something else counts in "
                "full; these rows are reported as well.",
            ],
        ),
    )


def _measured(*arguments: str) -> dict[str, float]:
    with child("stream_client", *arguments) as process:
        assert process.stdout is not None
        reports: dict[str, float] = json.loads(process.stdout.readline())
        return reports


def _rates(setting: str, reports: list[dict[str, float]]) -> list[Row]:
    unit = "records/s"
    return [
        Row("orjson.loads", setting, unit, [one["parsed"] for one in reports]),
        Row(
            "videoapi over a socket",
            setting,
            unit,
            [one["rate"] for one in reports],
            [one["rate"] / one["parsed"] for one in reports],
        ),
    ]


def _holds(setting: str, reports: list[dict[str, float]]) -> list[Row]:
    def row(name: str, ours: str, theirs: str, limit: float | None = None) -> Row:
        values, others = [one[ours] for one in reports], [one[theirs] for one in reports]
        return Row(name, setting, "ms", values, [a / b for a, b in zip(values, others, strict=True)], limit=limit)

    return [
        Row("one parse, median", setting, "ms", [one["parse_cpu_median"] for one in reports]),
        Row("one parse, p99", setting, "ms", [one["parse_cpu_p99"] for one in reports]),
        Row("one parse, longest", setting, "ms", [one["parse_cpu_longest"] for one in reports]),
        row("hold, p99", "hold_cpu_p99", "parse_cpu_p99", limit=1.0),
        row("hold, longest", "hold_cpu_longest", "parse_cpu_longest", limit=1.0),
        row("hold, p99, against the median parse", "hold_cpu_p99", "parse_cpu_median"),
        row("hold, longest, against the median parse", "hold_cpu_longest", "parse_cpu_median"),
        row("hold by the clock, p99", "hold_p99", "parse_p99"),
        row("hold by the clock, longest", "hold_longest", "parse_longest"),
    ]
