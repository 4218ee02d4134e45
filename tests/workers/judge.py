"""A job on workers that are killed and stopped all the time, and its judgement by the ledger of the service.

Run as `python -m workers.judge taskiq --rooms 10000 --workers 4 --rate 40/s [--no-fence]`, from tests/.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import attrs
from support.redis_server import running_redis
from workers.chaos import Chaos, children, unleashed
from workers.sandbox_process import sandbox_process
from workers.settings import LEASE, REDELIVERY, STOPPED, worker_client
from workers.verdict import Verdict, judge

from videoapi import BulkReport, RoomSpec, VideoClient

TESTS = Path(__file__).resolve().parents[1]


@attrs.frozen(kw_only=True)
class Trial:
    """What is put to the test.

    Args:
        engine: `taskiq`, `dask` or `cli`.
        rooms: Number of rooms.
        workers: Number of worker processes.
        rate: Rate of each worker, so that the job lasts.
        every: Seconds between two kills, and between two stops; 0 for neither.
        most: How many kills, and how many stops, at most.
        faults: Share of the creates that meet a fault.
        fence: Whether the fence is there.
        seed: Of all random choices.
    """

    engine: str
    rooms: int
    workers: int
    rate: str
    every: float = 5.0
    most: float = math.inf
    faults: float = 0.05
    fence: bool = True
    seed: int = 1


@attrs.frozen(kw_only=True)
class Result:
    """A trial's verdict, and how it went."""

    verdict: Verdict
    report: BulkReport
    seconds: float
    kills: int
    stops: int

    def __str__(self) -> str:
        return f"{self.verdict}; {self.report!r}; {self.seconds:.0f} s, {self.kills} kills, {self.stops} stops"


def run(trial: Trial, folder: Path) -> Result:
    """Run a trial, with its files in a folder."""
    ledger, job_id = folder / "ledger.sqlite", f"judge-{trial.engine}"
    specs = [
        RoomSpec(f"Room {number}", key=f"row-{number}", owner_ref=f"own-{number}" if number % 3 else None)
        for number in range(trial.rooms)
    ]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        credentials = stack.enter_context(sandbox_process(ledger, share=trial.faults, seed=trial.seed))
        environment = {
            **credentials,
            "VIDEOAPI_REDIS": redis.url,
            "JUDGE_RATE": trial.rate,
            "JUDGE_FENCE": "yes" if trial.fence else "no",
        }
        stack.enter_context(_environment(environment))
        report, done = ENGINES[trial.engine](trial, specs, job_id, folder)
    return Result(
        verdict=judge(ledger, job_id, specs, report),
        report=report,
        seconds=time.monotonic() - began,
        kills=done["kills"],
        stops=done["stops"],
    )


def _on_taskiq(trial: Trial, specs: Sequence[RoomSpec], job_id: str, folder: Path) -> tuple[BulkReport, dict[str, int]]:
    from videoapi.taskiq import create_rooms_on_taskiq, rooms_broker

    async def coordinate() -> BulkReport:
        # As long as a shard may take. The workers are impatient, so that shards are delivered while they run.
        broker = rooms_broker(redelivery=60.0)
        async with coordinator_client() as client:
            try:
                return await create_rooms_on_taskiq(
                    client,
                    broker,
                    specs,
                    job_id=job_id,
                    new=True,
                    shard_size=shard_size(trial),
                    processes=trial.workers,
                    lease_ttl=LEASE,
                    timeout=1800,
                    progress=lambda report: print(report, flush=True),
                )
            finally:
                await broker.shutdown()

    command = [sys.executable, "-m", "taskiq", "worker", "workers.taskiq_app:broker", "--max-async-tasks", "1"]
    command += ["--workers", str(trial.workers)]
    with process(command, folder / "workers.log") as manager, chaos_of(trial, lambda: children(manager.pid)) as done:
        return asyncio.run(coordinate()), done


def _on_dask(trial: Trial, specs: Sequence[RoomSpec], job_id: str, folder: Path) -> tuple[BulkReport, dict[str, int]]:
    import dask
    from distributed import Client, LocalCluster

    from videoapi.dask.rooms import create_rooms_on_dask

    async def coordinate(cluster: Client) -> BulkReport:
        async with coordinator_client() as client:
            return await create_rooms_on_dask(
                client,
                cluster,
                specs,
                worker=worker_client,
                job_id=job_id,
                new=True,
                shard_size=shard_size(trial),
                processes=trial.workers,
                redelivery=60.0,
                lease_ttl=LEASE,
                timeout=1800,
                progress=lambda report: print(report, flush=True),
            )

    # A worker that is stopped counts as dead, and its shards are given to another one.
    dask.config.set(
        {"distributed.scheduler.worker-ttl": f"{REDELIVERY:g}s", "distributed.admin.log-format": "%(message)s"}
    )
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=":0", silence_logs=40) as local,
        Client(local) as cluster,
    ):
        program = str(TESTS / "workers" / "dask_workers.py")
        command = [sys.executable, program, local.scheduler_address, str(trial.workers), str(folder)]
        with (
            process(command, folder / "workers.log") as manager,
            chaos_of(trial, lambda: children(manager.pid)) as done,
        ):
            return asyncio.run(coordinate(cluster)), done


def shard_size(trial: Trial) -> int:
    return max(1, min(250, trial.rooms // (5 * trial.workers)))


def coordinator_client() -> VideoClient:
    """Return the client of a coordinator, which creates nothing."""
    return worker_client()


@contextlib.contextmanager
def chaos_of(trial: Trial, pids: Callable[[], Sequence[int]]) -> Generator[dict[str, int], None, None]:
    if not trial.every:
        yield {"kills": 0, "stops": 0}
        return
    with unleashed(Chaos(every=trial.every, stopped=STOPPED, most=trial.most, seed=trial.seed), pids) as done:
        yield done


@contextlib.contextmanager
def process(command: Sequence[str], log: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run a program and its children, which are killed at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
    with log.open("ab") as output:
        program = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Generator[None, None, None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


ENGINES = {"taskiq": _on_taskiq, "dask": _on_dask}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=sorted(ENGINES))
    parser.add_argument("--rooms", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", default="40/s")
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-fence", action="store_true")
    parser.add_argument("--folder", type=Path)
    given = vars(parser.parse_args())
    folder = given.pop("folder") or Path(tempfile.mkdtemp(prefix="judge-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(folder)
    print(run(Trial(fence=not given.pop("no_fence"), **given), folder))


if __name__ == "__main__":
    main()
