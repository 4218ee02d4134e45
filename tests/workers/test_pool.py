"""The worker processes of the command line, without processes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from videoapi import ConnectionFailed, RoomSpec, VideoClient
from videoapi.cli.workers import pool
from videoapi.cli.workers.run import WorkerLog, WorkersRun
from videoapi.sharding.job import JobSettings
from videoapi.sharding.worker import ShardTask

TASK = ShardTask(job_id="job", origin="https://api.example.com", app_id="id", nonce="", shard="1/1", specs="[]", ttl=3)


async def test_run_ends_if_redis_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: pool.WorkerProcess, task: ShardTask) -> dict[str, Any]:
        seen.append(workers.waits)
        return {"later": "…", "seconds": 0.01, "sent": False, "away": "Redis at 127.0.0.1:1: refused"}

    seen: list[str] = []
    monkeypatch.setattr(pool.WorkerProcess, "run", away)
    monkeypatch.setattr(pool, "_AWAY", 0.1)
    workers = pool.WorkerPool({}, 2, print, print, print)
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionFailed, match=r"for 0.1 s \(Redis at 127.0.0.1:1: refused\)"):
            await workers.run([TASK, TASK])
    assert seen[-1] == "waiting for Redis at 127.0.0.1:1: refused; 0 of 2 shards done"


async def test_progress_says_how_many_shards_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def waits(self: pool.WorkerProcess, task: ShardTask) -> dict[str, Any]:
        self.waits = "waiting 74 s for proof (settle time)"
        seen.append(workers.waits)
        self.waits = ""
        return {"report": {}}

    monkeypatch.setattr(pool.WorkerProcess, "run", waits)
    workers = pool.WorkerPool({}, 1, print, lambda shard, report: None, print)
    async with asyncio.timeout(20):
        await workers.run([TASK, TASK])
    assert seen == [f"waiting 74 s for proof (settle time); {done} of 2 shards done" for done in (0, 1)]
    assert workers.waits == ""


async def test_progress_counts_the_rooms_of_shards_that_are_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is printed before any shard has been reported."""
    seen: list[int] = []

    async def works(self: pool.WorkerProcess, task: ShardTask) -> dict[str, Any]:
        self.done = 22
        await asyncio.sleep(0)
        seen.append(log.unreported())
        self.done = 0
        return {"report": {}}

    monkeypatch.setattr(pool.WorkerProcess, "run", works)
    log = WorkerLog()
    assert log.unreported() == 0
    log.pool = workers = pool.WorkerPool({}, 2, print, lambda shard, report: None, print)
    async with asyncio.timeout(20):
        await workers.run([TASK, TASK])
    assert max(seen) == 44
    assert log.unreported() == 0


class Leases:
    """The leases of a job that is never leased."""

    async def begin(self, *, new: bool = False) -> str:
        return "nonce"

    async def divided(self, shards: int) -> int:
        return shards


def workers_run(client: VideoClient, specs: AsyncIterator[RoomSpec], leases: Any) -> WorkersRun:
    settings = JobSettings(redelivery=math.inf, ttl=90)
    account = {"client": {"settle": 1.0}}
    return WorkersRun(client, leases, specs, settings, account, WorkerLog(), audit=False, timeout=None)


async def numbered(count: int) -> AsyncIterator[RoomSpec]:
    for number in range(count):
        yield RoomSpec("Room", key=number)


async def test_process_that_dies_for_the_last_time_as_the_run_is_left_costs_no_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaths = 0
    left = asyncio.Event()

    async def dies(self: pool.WorkerProcess, task: ShardTask) -> dict[str, Any]:
        nonlocal deaths
        deaths += 1
        if deaths == pool._MOST_DEATHS:
            left.set()
            await asyncio.sleep(0.05)
        raise pool.WorkerGone("ended with -9", sent=deaths == 1)

    monkeypatch.setattr(pool.WorkerProcess, "run", dies)
    async with VideoClient("id", "key", "http://127.0.0.1:1") as client:
        run = workers_run(client, numbered(3), Leases())

        async def consume() -> None:
            async with run as outcomes:
                async for _ in outcomes:
                    pass

        task = asyncio.create_task(consume())
        await left.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert run.report.total == 3
    # The process that died first may have sent its shard.
    assert run.report.counts["unknown"] > 0
    assert isinstance(run.report.stopped, ConnectionFailed)


async def test_reading_a_long_file_lets_other_tasks_run() -> None:
    class Away(Leases):
        async def begin(self, *, new: bool = False) -> str:
            seen.append(turns)
            raise ConnectionFailed("Redis is away.")

    turns, seen = 0, list[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with VideoClient("id", "key", "http://127.0.0.1:1") as client:
        other = asyncio.create_task(others())
        with pytest.raises(ConnectionFailed):
            async with workers_run(client, numbered(5000), Away()) as outcomes:
                async for _ in outcomes:
                    pass
        other.cancel()
    assert seen[0] > 5


async def test_creates_of_a_killed_process_count_as_sent_by_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    async def killed_once(self: pool.WorkerProcess, task: ShardTask) -> dict[str, Any]:
        if not attempts:
            attempts.append(task)
            raise pool.WorkerGone("ended with -9", sent=True)
        return {"report": {"made": [{"reference": "a"}, {"reference": "b"}]}, "creates": ["b"]}

    attempts: list[ShardTask] = []
    monkeypatch.setattr(pool.WorkerProcess, "run", killed_once)
    workers = pool.WorkerPool({}, 1, print, lambda shard, report: None, sent.extend)
    async with asyncio.timeout(20):
        await workers.run([TASK])
    assert sorted(sent) == ["a", "b", "b"]
