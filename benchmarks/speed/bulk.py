"""`create_many` compared with a gather under a semaphore, and its cost per room as jobs grow."""

from __future__ import annotations

from statistics import median
from typing import Final

from benchmarks.speed import race
from benchmarks.speed.loopback import Server, serving
from benchmarks.speed.measure import Options, Result, Row

AT_ONCE: Final = 64
GATHERED: Final = "bare gather with a semaphore"
_HERE: Final = "benchmarks.speed.batches:"
VARIANTS: Final = {
    GATHERED: _HERE + "gathered",
    "the same again (control)": _HERE + "gathered",
    "create_many": _HERE + "created",
    "create_many, audit=False": _HERE + "created_unaudited",
    "create_many, audit=False, keys": _HERE + "created_with_keys",
    "create_many, audit=False, keys and journal": _HERE + "created_with_journal",
}
_WARM: Final = 512
_ENOUGH: Final = 5
"""A slice is a complete job of several seconds, so fewer rounds are enough."""


def run(options: Options) -> list[Result]:
    """Compare jobs of 20,000 rooms, then measure growing jobs."""
    with serving(tls=False) as server:
        return [_throughput(options, server), _growth(options, server)]


def _throughput(options: Options, server: Server) -> Result:
    rooms = 3_000 if options.quick else 20_000
    rounds = min(options.rounds, 3 if options.quick else _ENOUGH)
    rows: list[Row] = []
    notes = [
        "Each run is a job of its own: it opens its connections, creates the rooms and closes.",
        "`create_many` also reads the list of rooms at the end, to report rooms that exist twice or are missing; "
        "`audit=False` skips that.",
    ]
    for loop in ("asyncio", "uvloop"):
        setting = f"{rooms:,} rooms, {AT_ONCE} at a time, {loop}, plain"
        if options.match not in setting:
            continue
        print(f"many creates, {setting}", flush=True)
        with race.workers(VARIANTS, server, "http", loop, notes) as running:
            if not running:
                continue
            for one in running.values():
                one.run(_WARM, AT_ONCE, _WARM)
            lanes = race.race(running, GATHERED, server, rounds, lambda one: one.run(rooms, AT_ONCE, 0))
        for name, lane in lanes.items():
            ours = name.startswith("create_many")
            rates, ratios = [1 / value for value in lane.wall], [1 / value for value in lane.wall_ratios]
            rows.append(Row(name, setting, "rooms/s", rates, ratios, 0.95 if ours else None, higher_is_better=True))
        for name, lane in lanes.items():
            rows.append(Row(name, setting, "µs CPU/room", [value * 1e6 for value in lane.cpu], lane.cpu_ratios))
    return Result(
        slug="bulk-create",
        title="Bulk create: rooms per second",
        reference="a gather with a semaphore of 64, which gives none of the guarantees, in the same setting",
        rows=rows,
        notes=notes,
    )


def _growth(options: Options, server: Server) -> Result:
    sizes = [1_000, 20_000]
    sizes += [] if options.quick else [200_000]
    sizes += [1_000_000] if options.full else []
    rounds = min(options.rounds, 2 if options.quick else 3)
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    with race.worker(VARIANTS["create_many"], server, "http", "asyncio") as worker:
        for _ in range(rounds):
            for size in sizes:
                print(f"create_many of {size:,} rooms", flush=True)
                # A small job takes a tenth of a second; the mean of ten is as reliable as one large job.
                costs[size].append(_mean_cost(worker, server, size, times=10 if size == 1_000 else 1))
    base = costs[sizes[0]]
    rows = [_grown(size, costs[size], base) for size in sizes]
    return Result(
        slug="bulk-growth",
        title="create_many: cost per room, by the number of rooms",
        reference="the cost per room of a job of 1,000 in the same round",
        rows=rows,
        notes=["With the audit at the end, which reads all rooms; the specs come from a generator."],
        points={
            "x": "rooms in the job",
            "y": "µs CPU per room",
            "log": "x",
            "series": [{"name": "create_many", "x": sizes, "y": [median(row.values) for row in rows]}],
        },
    )


def _grown(size: int, costs: list[float], base: list[float]) -> Row:
    """Return the row for a job size; the cost counts as flat if it stays within a tenth."""
    first = costs is base
    ratios = [] if first else [one / other for one, other in zip(costs, base, strict=True)]
    return Row("create_many", f"{size:,} rooms", "µs CPU/room", costs, ratios, None if first else 1.1)


def _mean_cost(worker: race.Worker, server: Server, size: int, times: int) -> float:
    total = 0.0
    for _ in range(times):
        server.forget()
        total += worker.run(size, AT_ONCE, 0).cpu
    return total / times * 1e6
