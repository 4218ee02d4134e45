"""Interleaved rounds of things that read records, each between two runs of the reference."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import attrs
import orjson

from benchmarks.speed.measure import Row

Read = Callable[[bytes], object]
COLLECTOR = {"collector on": True, "collector off": False}
"""With Python's garbage collector as it is by default, and without it."""


@attrs.frozen
class Case:
    """A body to read: what it is, how many records it has, and its bytes."""

    setting: str
    count: int
    body: bytes


def rows(case: Case, variants: Mapping[str, tuple[Read, float | None]], rounds: int) -> list[Row]:
    """Return records/s of each variant, and their ratios to `orjson.loads` of the same body.

    Args:
        case: What to read.
        variants: By name; each with the least ratio it must keep, or None.
        rounds: How often.
    """
    measured: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in variants}
    reference: list[float] = []
    for read, _ in variants.values():
        read(case.body)
    for _ in range(rounds):
        before = seconds(orjson.loads, case.body)
        for name, (read, _) in variants.items():
            spent = seconds(read, case.body)
            after = seconds(orjson.loads, case.body)
            rates, ratios = measured[name]
            rates.append(case.count / spent)
            ratios.append((before + after) / 2 / spent)
            reference.append(case.count / after)
            before = after
    made = [Row("orjson.loads", case.setting, "records/s", reference)]
    for name, (_, limit) in variants.items():
        made.append(Row(name, case.setting, "records/s", *measured[name], limit=limit, higher_is_better=True))
    return made


def seconds(read: Read, body: bytes) -> float:
    """Return the processor time of reading a body and of letting go what was made of it."""
    began = time.process_time()
    read(body)
    return time.process_time() - began


@contextmanager
def collector(on: bool) -> Iterator[None]:
    """Run with the garbage collector on or off, from a clean start."""
    gc.collect()
    if not on:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
