"""Interleaved rounds of record decoders, each between two runs of the reference."""

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
"""With Python's garbage collector enabled, as by default, and disabled."""


@attrs.frozen
class Case:
    """A body to decode: its setting, its number of records, and its bytes."""

    setting: str
    count: int
    body: bytes


def rows(case: Case, variants: Mapping[str, tuple[Read, float | None]], rounds: int) -> list[Row]:
    """Return records/s of each variant, and the ratios to `orjson.loads` of the same body.

    Args:
        case: The body to decode.
        variants: Decoders by name, each with the minimum ratio that it must reach, or None.
        rounds: Number of rounds.
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
    results = [Row("orjson.loads", case.setting, "records/s", reference)]
    for name, (_, limit) in variants.items():
        results.append(Row(name, case.setting, "records/s", *measured[name], limit=limit, higher_is_better=True))
    return results


def seconds(read: Read, body: bytes) -> float:
    """Return the processor time of decoding a body and releasing the result, in seconds."""
    began = time.process_time()
    read(body)
    return time.process_time() - began


@contextmanager
def collector(on: bool) -> Iterator[None]:
    """Run with the garbage collector on or off, after a full collection."""
    gc.collect()
    if not on:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
