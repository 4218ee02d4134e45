"""How time, memory and requests grow with rooms, records, calls in flight and the error rate.

Points are measured in new processes against a loopback server. Lines are fitted or, if the docs state a formula,
drawn from it. The result compares the measured points with the line.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

import attrs

from benchmarks.speed.children import ROOT, SAME_ALLOCATOR, child
from benchmarks.speed.fitting import middle, through
from benchmarks.speed.measure import Options, Result, Row

AT_ONCE: Final = 64
LATENCY: Final = 20
_ENOUGH: Final = 3
_MIB: Final = 1024 * 1024


@attrs.frozen
class Server:
    """The loopback server, and a runner of jobs against it."""

    port: int

    def do(self, job: str, count: int, *, at_once: int = AT_ONCE, faults: str = "0/0/0") -> dict[str, float]:
        """Run a job in a new process; return its cost, and the requests and connections that the server counted."""
        url = f"http://127.0.0.1:{self.port}/{faults}/v1"
        command = [sys.executable, "-m", "benchmarks.speed.growth_jobs", job, url, str(count), str(at_once)]
        self._request("POST", "/begin")
        environment = SAME_ALLOCATOR | os.environ
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        requests, connections = self._request("GET", "/seen")
        cost: dict[str, float] = json.loads(done.stdout)
        return cost | {"requests": requests, "connections": connections}

    def _request(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def serving() -> Iterator[Server]:
    with child("growth_server") as process:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))


@attrs.frozen
class Curve:
    """One curve of the plot: the measured points, and the line that they are compared with."""

    name: str
    xs: Sequence[float]
    rounds: list[list[float]]
    line: Callable[[float], float]

    @property
    def ys(self) -> list[float]:
        return middle(self.rounds)

    def off_row(self, line: str) -> Row:
        """Return the largest deviation of a median from the line."""
        shares = {x: y / self.line(x) - 1 for x, y in zip(self.xs, self.ys, strict=True)}
        farthest = max(shares, key=lambda x: abs(shares[x]))
        return Row(self.name, f"farthest from the {line}: the point at {farthest:,g}", "%", [100 * shares[farthest]])

    def series(self) -> dict[str, Any]:
        return {"name": self.name, "x": list(self.xs), "y": self.ys, "fit": [self.line(x) for x in self.xs]}


def run(options: Options) -> Result:
    """Measure all points, round by round."""
    rounds = min(options.rounds, 1 if options.quick else _ENOUGH)
    with serving() as server:
        parts = [part(server, rounds, options.quick) for part in (_rooms, _flight, _errors, _records, _memory)]
    return Result(
        slug="cost-model",
        title="What it costs, and how that grows",
        reference="nothing here: points are compared with their line",
        rows=[row for rows, _ in parts for row in rows],
        notes=[
            "Client and server are processes of their own on loopback; each point is a fresh client process that has "
            "done 300 of the same before.",
            "Lines are fitted by least squares with relative errors, but those of calls in flight and of error rates, "
            "which are formulae.",
            "Memory is the peak of the resident set above what it was before.",
            "Pauses after errors are skipped: they cost requests nothing.",
        ],
        points={"panels": [panel for _, panels in parts for panel in panels]},
    )


Part = tuple[list[Row], list[dict[str, Any]]]


def _measured(server: Server, rounds: int, name: str, counts: Sequence[int], of: str) -> list[list[float]]:
    print(f"{name}: {', '.join(f'{count:,}' for count in counts)}", flush=True)
    return [[server.do(name, count)[of] for count in counts] for _ in range(rounds)]


def _time(name: str, what: str, counts: Sequence[int], rounds: list[list[float]]) -> tuple[Curve, list[Row]]:
    """Return the curve of processor times with a line fitted to its medians, and rows for the lines of the rounds."""
    lines = [through(counts, seconds, relative=True) for seconds in rounds]
    curve = Curve(name, counts, rounds, through(counts, middle(rounds), relative=True).at)
    return curve, [
        Row(name, what, "µs CPU", [line.each * 1e6 for line in lines]),
        Row(name, "fixed part", "ms CPU", [line.fixed * 1e3 for line in lines]),
        curve.off_row("line"),
    ]


def _rooms(server: Server, rounds: int, quick: bool) -> Part:
    counts = [500, 1000, 2000, 4000] if quick else [500, 1000, 2000, 4000, 8000, 16_000]
    measured = _measured(server, rounds, "create_many", counts, "cpu")
    curve, rows = _time("create_many", "a room, 64 in flight", counts, measured)
    return rows, [_panel("Time by rooms", "rooms", "s CPU", [curve], "xy")]


def flight_seconds(rooms: int, at_once: int, alone: float, each: float) -> float:
    """Return the duration of a run: limited by the latency shared by the calls in flight, or by processor time.

    A run starts with 8 calls in flight and adds one per round trip, which costs `(c - 8)² / 2c` extra round trips.
    """
    ramp = max(0, at_once - 8) ** 2 / (2 * at_once)
    return max(alone * (rooms / at_once + ramp), rooms * each)


def _flight(server: Server, rounds: int, quick: bool) -> Part:
    widths = [1, 4, 16, 64] if quick else [1, 2, 4, 8, 16, 32, 64, 128, 256]
    print(f"create_many, {LATENCY} ms a call, in flight: {widths}", flush=True)
    done = [
        [server.do("create_many", 50 * width, at_once=width, faults=f"{LATENCY}/0/0") for width in widths]
        for _ in range(rounds)
    ]
    alone = median(runs[0]["wall"] for runs in done) / 50
    each = median(ran["cpu"] / (50 * width) for ran, width in zip(done[-1], widths, strict=True) if width >= 16)
    curve = Curve(
        "create_many",
        widths,
        [[50 * width / ran["wall"] for ran, width in zip(runs, widths, strict=True)] for runs in done],
        lambda width: 50 * width / flight_seconds(50 * int(width), int(width), alone, each),
    )
    used = [ran["connections"] / width for runs in done for ran, width in zip(runs, widths, strict=True)]
    setting = f"answers after {LATENCY} ms, 50 rooms for each in flight"
    rows = [
        *(
            Row("create_many", f"{setting}, {width} in flight", "rooms/s", [ys[at] for ys in curve.rounds])
            for at, width in enumerate(widths)
        ),
        curve.off_row("formula"),
        Row("create_many", "connections opened, for each in flight", "", [max(used)], limit=1.0),
    ]
    return rows, [
        _panel(f"Rooms a second by calls in flight, {LATENCY} ms a call", "in flight", "rooms/s", [curve], "xy")
    ]


def reads_at(share: float, calls: int) -> float:
    """Return the requests per read when a share of them fails: up to three attempts, while the retry budget lasts.

    A retry costs 10. A success refunds the last retry of its call, or 1 without retries. In the long run, a retry
    costs `10 p`, the income is `1 - p` per call, and the initial budget is 500.
    """
    if not share:
        return 1.0
    return 1 + min(share + share**2, (1 - share) / (10 * share) + 50 / share / calls)


def creates_at(share: float) -> float:
    """Return the requests per create of a bulk run when a share is throttled: it retries until it succeeds."""
    return 1 / (1 - share)


def _errors(server: Server, rounds: int, quick: bool) -> Part:
    calls = 500 if quick else 2000
    reads = (
        [0, 50, 100, 200, 300, 500, 750, 1000] if quick else [0, 25, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000]
    )
    bulk = [0, 50, 100, 200, 300, 500]
    print(f"requests per call, by error rate: {reads}", flush=True)
    curves = [
        _requests(server, rounds, "get", calls, 503, reads, lambda share: reads_at(share, calls)),
        _requests(server, rounds, "create_many", calls, 429, bulk, creates_at),
    ]
    outage = [float(round((ys[-1] - 1) * calls)) for ys in curves[0].rounds]
    rows = [
        Row("get", f"nothing answers, {calls:,} calls: requests beyond one each", "requests", outage, limit=50),
        *(
            Row(curve.name, f"{100 * share:g} % {kind}", "requests/call", [ys[at] for ys in curve.rounds])
            for curve, kind in zip(curves, ("answered 503", "answered 429"), strict=True)
            for at, share in enumerate(curve.xs)
        ),
        *(curve.off_row("formula") for curve in curves),
    ]
    return rows, [
        _panel(f"Requests by error rate, {calls:,} calls", "share of errors", "requests per call", curves, "")
    ]


def _requests(
    server: Server,
    rounds: int,
    job: str,
    calls: int,
    status: int,
    permilles: Sequence[int],
    formula: Callable[[float], float],
) -> Curve:
    measured = [
        [server.do(job, calls, faults=f"0/{status}/{permille}")["requests"] / calls for permille in permilles]
        for _ in range(rounds)
    ]
    name = {"get": "get, answered 503", "create_many": "create_many, answered 429"}[job]
    return Curve(name, [permille / 1000 for permille in permilles], measured, formula)


def _records(server: Server, rounds: int, quick: bool) -> Part:
    counts = [1000, 4000, 16_000] if quick else [1000, 2000, 4000, 8000, 16_000, 64_000, 256_000]
    measured = _measured(server, rounds, "stream", counts, "cpu")
    curve, rows = _time("cdr, streamed", "a record", counts, measured)
    return rows, [_panel("Time by records", "records", "s CPU", [curve], "xy")]


def _memory(server: Server, rounds: int, quick: bool) -> Part:
    rooms = [2000, 4000, 8000] if quick else [4000, 8000, 16_000, 32_000, 64_000]
    records = [4000, 8000, 16_000] if quick else [4000, 16_000, 64_000, 256_000]
    jobs = (
        ("create_many", "create_many", rooms, "a room, in the report", None),
        ("create_each", "create_each", rooms, "a room, yielded", None),
        ("to_list", "cdr, to_list", records[:3], "a record, held", 4096.0),
        ("stream", "cdr, streamed", records, "a record, yielded", None),
    )
    rows: list[Row] = []
    curves: dict[str, Curve] = {}
    for job, name, counts, what, limit in jobs:
        measured = _measured(server, rounds, job, counts, "peak")
        lines = [through(counts, peaks) for peaks in measured]
        curves[name] = Curve(name, counts, measured, through(counts, middle(measured)).at)
        rows += [
            Row(name, what, "bytes", [line.each for line in lines], limit=limit),
            Row(name, "fixed part", "MiB", [line.fixed / _MIB for line in lines]),
            Row(name, f"from {counts[0]:,} to {counts[-1]:,}", "MiB", [(ys[-1] - ys[0]) / _MIB for ys in measured]),
            curves[name].off_row("line"),
        ]
    by_rooms = [curves["create_many"], curves["create_each"]]
    by_records = [curves["cdr, to_list"], curves["cdr, streamed"]]
    return rows, [
        _panel("Memory by rooms", "rooms", "MiB", by_rooms, "", 1 / _MIB),
        _panel("Memory by records", "records", "MiB", by_records, "xy", 1 / _MIB),
    ]


def _panel(title: str, x: str, y: str, curves: Sequence[Curve], log: str, scale: float = 1.0) -> dict[str, Any]:
    series = [curve.series() for curve in curves]
    for one in series:
        one["y"], one["fit"] = [value * scale for value in one["y"]], [value * scale for value in one["fit"]]
    return {"title": title, "x": x, "y": y, "log": log, "series": series}
