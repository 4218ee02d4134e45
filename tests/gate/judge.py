"""Several processes that share an account, and a judge that counts what arrives at the service.

By hand: `make shared-rate`, or `make shared-rate ARGS="--gate local"` for a gate that does not share, and
`make shared-rate ARGS="--demand 0.25"` for how long calls wait that no queue holds up.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import math
import os
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web
from support.redis_server import RedisServer, running_redis

from videoapi import VideoClient
from videoapi.sandbox import Sandbox

WORKER = Path(__file__).with_name("worker.py")
ROOT = WORKER.parents[2]
LIMIT = 1.1
LIMIT_AWAY = 1.25
_TICK = 0.01
_BUSY = 0.05
RECOVERY = 4.0
"""How long after its return Redis may still be unused, in seconds: until every process has noticed it."""


@attrs.define
class Arrivals:
    """When requests arrived, and how many of them a storm of HTTP 429 refused."""

    times: list[float] = attrs.field(factory=list)
    refused: int = 0
    storm: tuple[float, float] = (math.inf, math.inf)
    lag: float = 0.0
    """The longest time for which the service was too busy to notice an arrival."""

    async def watch_lag(self) -> None:
        """Measure until cancelled how late the event loop is."""
        while True:
            due = time.monotonic() + _TICK
            await asyncio.sleep(_TICK)
            self.lag = max(self.lag, time.monotonic() - due)

    def watch(self, sandbox: Sandbox) -> None:
        """Count the requests of a sandbox that has not started."""
        handler: Any = sandbox._exchange
        handle = handler.handle

        async def counted(request: Any) -> web.StreamResponse:
            now = time.time()
            self.times.append(now)
            begins, ends = self.storm
            if begins <= now < ends:
                self.refused += 1
                return web.Response(status=429, headers={"Retry-After": f"{max(1, round(ends - now))}"}, text="later")
            response: web.StreamResponse = await handle(request)
            return response

        handler.handle = counted


def worst(times: Sequence[float], seconds: float, periods: Sequence[tuple[float, float]]) -> int:
    """Return the most of the times, in order, within `seconds` that begin in one of the periods."""
    most = 0
    for begins, ends in periods:
        for number in range(bisect.bisect_left(times, begins), bisect.bisect_right(times, ends)):
            most = max(most, bisect.bisect_left(times, times[number] + seconds) - number)
    return most


@attrs.frozen
class Verdict:
    """What the judge found."""

    problems: list[str]
    figures: dict[str, Any]


@attrs.frozen
class Plan:
    """What happens in a run.

    Times are seconds from its start; `away` is when Redis is dead. With a `demand`, there are only single calls, which
    ask for that share of the rate; otherwise for more than all of it.
    """

    processes: int = 4
    rate: int = 200
    seconds: float = 60.0
    storm: tuple[float, float] | None = (20.0, 22.0)
    away: tuple[float, float] | None = (35.0, 45.0)
    how: str = "stop"
    gate: str = "redis"
    demand: float | None = None


async def run(plan: Plan, folder: Path) -> Verdict:
    """Run the processes and judge them."""
    arrivals = Arrivals()
    sandbox = Sandbox()
    arrivals.watch(sandbox)
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running_redis(folder)) if plan.gate == "redis" else None
        async with sandbox:
            async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
                room = await client.rooms.create(name="Stand-up")
            task = {
                "app_id": sandbox.app_id,
                "base_url": sandbox.base_url,
                "room_id": room.room_id,
                "rate": f"{plan.rate}/s",
                "redis": redis.url if redis is not None else None,
                "processes": plan.processes,
                "seconds": plan.seconds,
                "calls": None if plan.demand is None else plan.demand * plan.rate / plan.processes,
            }
            workers = [
                await stack.enter_async_context(_worker(task | {"seed": number}, sandbox.app_key))
                for number in range(plan.processes)
            ]
            await asyncio.gather(*(_ready(worker) for worker in workers))
            arrivals.times.clear()
            begins = time.time() + 0.5
            if plan.storm is not None:
                arrivals.storm = (begins + plan.storm[0], begins + plan.storm[1])
            watching = asyncio.create_task(arrivals.watch_lag())
            disturbing = asyncio.create_task(_disturb(plan, redis, begins))
            reports = await asyncio.gather(*(_report(worker, begins) for worker in workers))
            await disturbing
            watching.cancel()
    return judge(plan, arrivals, reports, begins)


@asynccontextmanager
async def _worker(task: dict[str, Any], key: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WORKER), json.dumps(task)),
        env=os.environ | {"PYTHONPATH": str(ROOT), "WORKER_KEY": key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(process: Process) -> None:
    assert process.stderr is not None
    line = await process.stderr.readline()
    assert line == b"ready\n", (line + await process.stderr.read()).decode()


async def _report(process: Process, begins: float) -> dict[str, Any]:
    output, errors = await process.communicate(f"{begins}\n".encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output) | {"log": errors.decode()}


async def _disturb(plan: Plan, redis: RedisServer | None, begins: float) -> None:
    if plan.away is None or redis is None:
        return
    await asyncio.sleep(begins + plan.away[0] - time.time())
    getattr(redis, plan.how)()
    await asyncio.sleep(begins + plan.away[1] - time.time())
    if plan.how == "pause":
        redis.resume()
    else:
        redis.start()


def judge(plan: Plan, arrivals: Arrivals, reports: Sequence[dict[str, Any]], begins: float) -> Verdict:
    """Return the problems of a run, and its figures."""
    arrivals.times.sort()
    # What arrives while the service is held up by others on the machine seems to arrive at once.
    times = arrivals.times if arrivals.lag < _BUSY else sorted(at for report in reports for at in report["sent"])
    ends = begins + plan.seconds + 60
    away = [] if plan.away is None else [(begins + plan.away[0] - 1, begins + plan.away[1] + RECOVERY)]
    edges = [begins, *(edge for period in away for edge in period), ends]
    there = list(zip(edges[::2], edges[1::2], strict=True))
    failed: Counter[str] = sum((Counter(report["failed"]) for report in reports), Counter())
    done: Counter[str] = sum((Counter(report["done"]) for report in reports), Counter())
    trips = sorted(second for report in reports for second in report["trips"])
    waited = sorted(second for report in reports for second in report["waited"])
    sent = len(arrivals.times)
    calm = [
        at for at in arrivals.times if begins + 1 <= at < begins + min(plan.storm[0] if plan.storm else math.inf, 20)
    ]
    figures = {
        "limit": plan.rate,
        "counted": "at arrival" if times is arrivals.times else "when sent",
        "longest lag of the service": round(arrivals.lag, 3),
        "worst second at arrival": worst(arrivals.times, 1.0, [(begins, ends)]),
        "worst second": worst(times, 1.0, there),
        "worst second, Redis away": worst(times, 1.0, away),
        "worst tenth": worst(times, 0.1, there),
        "rate before the storm": round(len(calm) / (calm[-1] - calm[0]), 1) if len(calm) > 1 else 0,
        "requests": sent,
        "refused in the storm": arrivals.refused,
        "done": dict(done),
        "failed": dict(failed),
        "round trips a request": round(len(trips) / max(1, sent), 3),
        "trip ms p50, p99": [round(1000 * _quantile(trips, share), 2) for share in (0.5, 0.99)],
        "wait ms p50, p99": [round(1000 * _quantile(waited, share), 1) for share in (0.5, 0.99)],
        "gate at the end": [report["gate"] for report in reports],
        "log": [line for report in reports for line in report["log"].splitlines()],
    }
    problems = [f"failed: {text} ({count})" for text, count in failed.items()]
    if figures["worst second"] > LIMIT * plan.rate + 1:
        problems.append(f"{figures['worst second']} requests in one second, more than {LIMIT} x {plan.rate}")
    if figures["worst second, Redis away"] > LIMIT_AWAY * plan.rate + 1:
        problems.append(f"{figures['worst second, Redis away']} requests in one second while Redis was away")
    if plan.storm is not None and not arrivals.refused:
        problems.append("the storm met nothing")
    if plan.gate == "redis" and arrivals.lag < _BUSY and set(figures["gate at the end"]) != {"shared"}:
        problems.append("not every process shares the rate again")
    if not all(done[kind] for kind in ("single", "item", "stream") if plan.demand is None or kind == "single"):
        problems.append("not every kind of work was done")
    return Verdict(problems, figures)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--gate", choices=("redis", "local"), default="redis")
    parser.add_argument("--how", choices=("stop", "pause"), default="stop")
    parser.add_argument("--demand", type=float)
    return parser.parse_args()


def scaled(seconds: float, **options: Any) -> Plan:
    """Return the plan of a run of some seconds, with a storm after a third and Redis away from 7/12 to 9/12."""
    storm = (seconds / 3, seconds / 3 + min(2.0, seconds / 12))
    return Plan(seconds=seconds, storm=storm, away=(seconds * 7 / 12, seconds * 9 / 12), **options)


if __name__ == "__main__":
    given = _arguments()
    options = {"processes": given.processes, "rate": given.rate, "gate": given.gate}
    if given.demand is None:
        plan = scaled(given.seconds, how=given.how, **options)
    else:
        plan = Plan(seconds=given.seconds, storm=None, away=None, demand=given.demand, **options)
    with tempfile.TemporaryDirectory() as temporary:
        verdict = asyncio.run(run(plan, Path(temporary)))
    for name, value in verdict.figures.items():
        print(f"{name}: {value}")
    print("\n".join(verdict.problems) or "held")
    sys.exit(bool(verdict.problems))
