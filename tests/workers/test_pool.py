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
        return {"later": "Redis at 127.0.0.1:1: refused", "seconds": 0.01, "sent": False, "away": True}

    monkeypatch.setattr(pool.WorkerProcess, "run", away)
    monkeypatch.setattr(pool, "_AWAY", 0.1)
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionFailed, match="Redis at 127"):
            await pool.WorkerPool({}, 2, print, print).run([TASK, TASK])
