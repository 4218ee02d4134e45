"""One stream in a separate process, timed callback by callback; prints its measurements and exits.

`python -m benchmarks.speed.stream_client PORT SHAPE-ODD-MEGABYTES SHAPE ODD`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio import events
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import orjson

from benchmarks.speed import cores
from benchmarks.speed.records import SHAPES, body, texts
from videoapi import VideoClient

PERIOD: Final = ("2026-01-01", "2026-01-07")
PARSED: Final = 256 * 1024
PARSES: Final = 2_000


@contextmanager
def timed_callbacks() -> Iterator[list[tuple[float, float]]]:
    """Record the duration of each loop callback: wall time and processor time, in seconds."""
    spans: list[tuple[float, float]] = []
    run, clock, spent = events.Handle._run, time.perf_counter, time.thread_time

    def timed(handle: asyncio.Handle) -> None:
        began, began_cpu = clock(), spent()
        run(handle)
        spans.append((clock() - began, spent() - began_cpu))

    events.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield spans
    finally:
        events.Handle._run = run  # type: ignore[method-assign]


async def stream(port: str, asked: str, at_first: Callable[[], object] = lambda: None) -> tuple[int, float]:
    """Read a complete stream and call `at_first` at its first record; return the record count and processor time."""
    async with VideoClient("app", "key", f"http://127.0.0.1:{port}/{asked}", allow_http=True) as client:
        count, began = 0, time.process_time()
        async for _ in client.cdr.by_period(*PERIOD):
            if not count:
                at_first()
            count += 1
        return count, time.process_time() - began


def parses(text: bytes, times: int) -> list[tuple[float, float]]:
    """Time `times` parses, each including the release of its result: wall time and processor time, in seconds."""
    spans: list[tuple[float, float]] = []
    for _ in range(times):
        began, began_cpu = time.perf_counter(), time.thread_time()
        orjson.loads(text)
        spans.append((time.perf_counter() - began, time.thread_time() - began_cpu))
    return spans


def main() -> None:
    port, asked, shape, odd_every = sys.argv[1:]
    cores.pin(0)
    make, odd = SHAPES[shape], int(odd_every)
    # The first stream imports and connects; it is not measured.
    asyncio.run(stream(port, f"{shape}-{odd}-1"))
    count, seconds = asyncio.run(stream(port, asked))
    with timed_callbacks() as held:
        asyncio.run(stream(port, asked, held.clear))
    whole, part = body(make, 5_000, odd), b""
    for text in texts(make, 1_000, odd):
        if len(part) + len(text) > PARSED:
            break
        part += (b"," if part else b"[") + text
    wholes = sorted(cpu for _, cpu in parses(whole, 9))
    measured = {
        "rate": count / seconds,
        "parsed": 5_000 / wholes[len(wholes) // 2],
        **_spread("parse", parses(part + b"]", PARSES)),
        **_spread("hold", held),
    }
    print(json.dumps(measured), flush=True)


def _spread(name: str, spans: list[tuple[float, float]]) -> dict[str, float]:
    clock, cpu = (sorted(1000 * span for span in kind) for kind in zip(*spans, strict=True))
    return {
        f"{name}_p99": clock[int(len(clock) * 0.99)],
        f"{name}_longest": clock[-1],
        f"{name}_cpu_median": cpu[len(cpu) // 2],
        f"{name}_cpu_p99": cpu[int(len(cpu) * 0.99)],
        f"{name}_cpu_longest": cpu[-1],
    }


if __name__ == "__main__":
    main()
