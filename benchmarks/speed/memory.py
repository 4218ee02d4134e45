"""Memory of a stream of any size and of each kept record, and the time to the first record."""

from __future__ import annotations

import json
from typing import Final

from benchmarks.speed.children import child
from benchmarks.speed.measure import Options, Result, Row
from benchmarks.speed.records import SHAPES

SIZES: Final = (10, 100, 1_000)
"""Megabytes; the largest is just below the body limit."""
HELD: Final = 30_000
GROWTH, FIRST, PLAIN, EXTRA = 8.0, 0.02, 4_000.0, 6_000.0


def run(options: Options) -> list[Result]:
    """Stream bodies of growing size in new processes, and keep records in others."""
    times = 2 if options.quick else 3
    sizes = SIZES[:2] if options.quick else SIZES
    with child("cdr_server") as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        streamed = {size: [_measured(port, f"new-0-{size}", "drop") for _ in range(times)] for size in sizes}
        held = {
            (shape, how): [_measured(port, f"{shape}-0-{HELD * 1_700 // 1_000_000}", how) for _ in range(times)]
            for shape in SHAPES
            for how in ("keep", "keep-extra")
        }
    return [_flat(streamed), _first(streamed), _kept(held)]


def _flat(streamed: dict[int, list[dict[str, float]]]) -> Result:
    smallest = streamed[SIZES[0]]
    measured: list[Row] = []
    for size, reports in streamed.items():
        setting, most = f"{size:,} MB", [one["most"] for one in reports]
        measured.append(Row("resident at most", setting, "MiB", most))
        if size != SIZES[0]:
            growth = [one - other["most"] for one, other in zip(most, smallest, strict=True)]
            measured.append(Row("more than with 10 MB", setting, "MiB", growth, limit=GROWTH))
    series = [
        {
            "name": "resident at most, MiB",
            "x": list(streamed),
            "y": [sorted(one["most"] for one in reports)[len(reports) // 2] for reports in streamed.values()],
        }
    ]
    return Result(
        "memory",
        "Memory of a stream, whatever its size",
        "nothing: values are judged",
        measured,
        notes=[
            "Resident memory of a fresh client process; the body comes from another process that makes it as it goes."
        ],
        points={"x": "body, MB", "y": "resident, MiB", "series": series, "log": "x"},
    )


def _first(streamed: dict[int, list[dict[str, float]]]) -> Result:
    measured = [
        Row("first record", f"{size:,} MB", "share of the time of the whole stream", shares, limit=FIRST)
        for size, reports in streamed.items()
        if (shares := [one["first"] / one["whole"] for one in reports])
    ]
    measured += [
        Row(name, f"{size:,} MB", "ms", [1000 * one[key] for one in reports])
        for size, reports in streamed.items()
        for name, key in (("first record after", "first"), ("whole stream", "whole"))
    ]
    return Result(
        "first-record",
        "How soon the first record comes",
        "nothing: values are judged",
        measured,
        notes=["From asking to the record in hand, on a connection that is open and with everything imported."],
    )


def _kept(held: dict[tuple[str, str], list[dict[str, float]]]) -> Result:
    measured = [
        Row(
            "a held record, extra=True" if how == "keep-extra" else "a held record",
            shape,
            "bytes",
            [one["each"] for one in reports],
            # Room details hold user data, so they are reported without a limit.
            limit=None if shape == "details" else EXTRA if how == "keep-extra" else PLAIN,
        )
        for (shape, how), reports in held.items()
    ]
    return Result(
        "held-records",
        "Memory of a record that is kept",
        "nothing: values are judged",
        measured,
        notes=["Growth of resident memory divided by the records that are kept in a list."],
    )


def _measured(*arguments: str) -> dict[str, float]:
    with child("memory_client", *arguments) as process:
        assert process.stdout is not None
        reports: dict[str, float] = json.loads(process.stdout.readline())
        return reports
