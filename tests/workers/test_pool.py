"""The worker processes of the command line, without processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from videoapi import ConnectionFailed
from videoapi.cli.workers import pool
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
