"""A stream of call records to Arrow batches and to a Parquet file, compared with plain iteration in the same rounds."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.speed.decode import SHARES
from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.records import SHAPES, body
from benchmarks.speed.rounds import collector
from benchmarks.speed.stream import PERIOD, serving
from videoapi.arrow import SCHEMA
from videoapi.arrow.parquet import ParquetFile
from videoapi.models.cdr import CallRecord
from videoapi.streaming import RecordStream

Consume = Callable[[RecordStream[CallRecord]], Any]

COUNT: Final = 50_000
"""Records of a body: a row group of a Parquet file."""
CHUNK: Final = 256 * 1024
LIMITS: Final = {"": 0.52, ", 1 % odd": 0.4}
"""30,000 records/s where plain iteration has 58,000."""


async def plain(stream: RecordStream[CallRecord]) -> None:
    """Iterate over the records."""
    async for _ in stream:
        pass


async def arrow(stream: RecordStream[CallRecord]) -> None:
    """Iterate over Arrow batches."""
    async for _ in stream.arrow():
        pass


async def parquet(stream: RecordStream[CallRecord]) -> None:
    """Write a Parquet file in memory."""
    with ParquetFile(io.BytesIO(), SCHEMA) as file:
        async for batch in stream.arrow():
            file.write(batch)


def run(options: Options) -> Result:
    """Stream bodies from memory to records, to Arrow batches and to Parquet."""
    measured: list[Row] = []
    for shape, make in SHAPES.items():
        for share, odd_every in SHARES.items():
            setting = f"{shape}{share}"
            if options.match in setting:
                answer = body(make, 5_000 if options.quick else COUNT, odd_every)
                limit = LIMITS[share] if shape != "old" else None
                with collector(True):
                    measured += _rows(setting, answer, options, limit)
    return Result(
        "arrow",
        "Call records to Arrow and Parquet",
        "`async for record in client.cdr.by_period(...)` over the same body",
        measured,
        notes=["Processor time of all threads, from bytes in hand; higher is better."],
    )


def _rows(setting: str, answer: bytes, options: Options, limit: float | None) -> list[Row]:
    variants: dict[str, tuple[Consume, float | None]] = {"Arrow batches": (arrow, None), "Parquet": (parquet, limit)}
    count = answer.count(b'"cdr_id"')
    rates: dict[str, list[float]] = {name: [] for name in variants}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    reference: list[float] = []
    for round_ in range(options.rounds + 1):
        before = _seconds(answer, plain)
        for name, (consume, _) in variants.items():
            spent = _seconds(answer, consume)
            after = _seconds(answer, plain)
            # The first round is for warming up.
            if round_:
                rates[name].append(count / spent)
                ratios[name].append((before + after) / 2 / spent)
                reference.append(count / after)
            before = after
    return [
        Row("plain iteration", setting, "records/s", reference),
        *(
            Row(name, setting, "records/s", rates[name], ratios[name], limit=least, higher_is_better=True)
            for name, (_, least) in variants.items()
        ),
    ]


def _seconds(answer: bytes, consume: Consume) -> float:
    async def stream() -> None:
        async with serving(answer, CHUNK) as client:
            await consume(client.cdr.by_period(*PERIOD))

    began = time.process_time()
    asyncio.run(stream())
    return time.process_time() - began
