"""Decoding a body of call records into typed frozen records, compared with `orjson.loads` of the same body."""

from __future__ import annotations

from typing import Final

import msgspec
import orjson

from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.records import SHAPES, body
from benchmarks.speed.rounds import COLLECTOR, Case, collector, rows
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.converter import structure
from videoapi.models.fields import parts
from videoapi.streaming import Splitter

COUNT: Final = 5_000
CHUNK: Final = 256 * 1024
"""Bytes that a socket delivers at a time."""
SHARES: Final = {"": 0, ", 1 % odd": 100}
LIMITS: Final = {"": 0.9, ", 1 % odd": 0.85}
EXTRA_LIMIT: Final = 0.7


def records(answer: bytes, *, extra: bool = False) -> list[object]:
    """Decode a complete body as a stream does: block by block, odd records separately."""
    reader = RecordDecoder(CallRecord, extra=extra)
    splitter = Splitter("cdr", reader.decode_list)
    decoded: list[object] = []
    for start in range(0, len(answer), CHUNK):
        for block in splitter.feed(answer[start : start + CHUNK]):
            decoded += reader.decode_block(block.items) if block.records is None else block.records
    return decoded


def with_extra(answer: bytes) -> list[object]:
    return records(answer, extra=True)


def with_parts(answer: bytes) -> list[object]:
    """Decode a body, and read every part of each record: only then does it become a model."""
    decoded = records(answer)
    for record in decoded:
        for name in parts(CallRecord):
            getattr(record, name)
    return decoded


def by_cattrs(answer: bytes) -> list[object]:
    return [structure(record, CallRecord) for record in orjson.loads(answer)["cdr"]]


def to_dicts(answer: bytes) -> object:
    return msgspec.json.decode(answer)


def run(options: Options) -> Result:
    """Decode bodies of 5,000 records of each shape, with and without odd ones."""
    measured: list[Row] = []
    for collected, on in COLLECTOR.items():
        for shape, make in SHAPES.items():
            for share, odd_every in SHARES.items():
                setting = f"{shape}{share}, {collected}"
                if options.match not in setting:
                    continue
                answer = body(make, COUNT, odd_every)
                variants = {
                    "videoapi": (records, LIMITS[share] if on else None),
                    "videoapi, extra=True": (with_extra, EXTRA_LIMIT if on and not share else None),
                    "videoapi, every part read": (with_parts, None),
                    "msgspec to dictionaries": (to_dicts, None),
                    "orjson and cattrs": (by_cattrs, None),
                }
                with collector(on):
                    measured += rows(Case(setting, COUNT, answer), variants, options.rounds)
    return Result(
        "decode",
        "Call records, from bytes to typed frozen records",
        "`orjson.loads` of the same body",
        measured,
        notes=[
            f"Bodies of {COUNT:,} records; bytes each: " + ", ".join(f"{name} {_size(name)}" for name in SHAPES) + ".",
            "The processor time of reading and of letting go what was read; higher is better.",
            "An odd record has a number where text belongs: the typed decoder refuses it and cattrs reads it.",
            "With the collector on, `orjson` pays for collections while thousands of dictionaries pile up, and so "
            "does any program that keeps records: so this is the figure that is judged. With it off, only the decoding "
            "is compared; that figure is reported as well.",
        ],
    )


def _size(shape: str) -> str:
    return f"{len(body(SHAPES[shape], 100)) / 100:,.0f}"
