"""Worker processes that are stopped, killed and delivered again: no room twice, and the judge sees it if there is."""

import asyncio
import signal

import pytest
from leases.judge import Job, Result
from support.redis_server import RedisServer

from videoapi.sandbox import Sandbox


async def _stop_in_mid_run(redis: RedisServer, *, fenced: bool) -> tuple[int, Result]:
    """Stop a worker in the middle of its shard until another one has done it; return what the first one sends then."""
    async with Sandbox(seed=3) as sandbox:
        sandbox.fault("rooms.create", "delay", times=None, seconds=0.04)
        job = Job(sandbox, redis, shards=1, size=40, workers=2, fenced=fenced)
        async with job.running():
            while len(sandbox.ledger.rooms) < 8:
                await asyncio.sleep(0.005)
            first = next(worker for worker in job.workers if worker.shard is not None)
            first.signal(signal.SIGSTOP)
            while not job.reports:
                await asyncio.sleep(0.05)
            before = sandbox.ledger.requests("rooms.create")
            first.signal(signal.SIGCONT)
            while first.shard is not None:
                await asyncio.sleep(0.02)
            late = sandbox.ledger.requests("rooms.create") - before
        return late, await job.result()


@pytest.mark.slow
async def test_a_worker_that_wakes_after_its_lease_sends_nothing(redis_server: RedisServer) -> None:
    late, result = await _stop_in_mid_run(redis_server, fenced=True)
    assert late == 0
    assert (result.twice, result.lost, result.checks_left) == (0, 0, 0)
    assert result.report.counts == {"created": 40}
    assert result.told_of == 40


@pytest.mark.slow
async def test_the_judge_convicts_a_lease_without_a_fence(redis_server: RedisServer) -> None:
    late, result = await _stop_in_mid_run(redis_server, fenced=False)
    assert late > 0
    assert result.twice > 0


async def _disturbed_job(redis: RedisServer, seed: int, *, fenced: bool) -> None:
    async with Sandbox(seed=seed) as sandbox:
        for kind in ("reset_after", "status_after", "drop_before"):
            sandbox.fault("rooms.create", kind, times=None, rate=0.017)
        sandbox.fault("rooms.create", "delay", times=None, seconds=0.02)
        job = Job(sandbox, redis, shards=20, size=30, workers=4, fenced=fenced)
        async with job.running():
            await job.disturb(seed, every=1.0)
        sandbox.clear_faults()
        result = await job.result()
    print(f"\nseed {seed}, fenced={fenced}: {result}")
    assert result.lost == 0
    if fenced:
        assert (result.twice, result.checks_left) == (0, 0)
        assert result.report.counts == {"created": 600}
        assert result.told_of == 600
    else:
        assert result.twice > 0


@pytest.mark.scale
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_job_whose_workers_are_stopped_and_killed(redis_server: RedisServer, seed: int) -> None:
    await _disturbed_job(redis_server, seed, fenced=True)


@pytest.mark.scale
async def test_the_same_job_without_a_fence_is_convicted(redis_server: RedisServer) -> None:
    await _disturbed_job(redis_server, 1, fenced=False)
