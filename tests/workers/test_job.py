"""A job in shards, with workers in this process and no queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from support.damage import DAMAGES, Damage, damage_room
from support.jobs import created
from support.redis_server import RedisServer

from videoapi import BulkReport, ConfigurationError, ConnectionFailed, RedisLeases, RoomSpec, VideoClient
from videoapi.config import Secret
from videoapi.sandbox import Sandbox
from videoapi.sharding.job import JobSettings, ShardedJob, show_progress
from videoapi.sharding.worker import ShardTask, ShardWorker

SETTLE = 0.3


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


def client_of(sandbox: Sandbox, **options: Any) -> VideoClient:
    return VideoClient(
        sandbox.app_id, sandbox.app_key, sandbox.base_url, **{"settle": SETTLE, "attempt_timeout": 1.0, **options}
    )


def settings(**given: Any) -> JobSettings:
    return JobSettings(**{"job_id": "job", "redelivery": 60.0, "ttl": 3.0, "shard_size": 5, **given})


def keyed(count: int) -> list[RoomSpec]:
    return [RoomSpec(f"Room {number}", key=number) for number in range(count)]


async def run(
    sandbox: Sandbox, redis: RedisServer, specs: list[Any], *, audit: bool = True, **given: Any
) -> BulkReport:
    """Run a job, one shard after the other."""
    async with client_of(sandbox) as client, RedisLeases(redis.url, "job", ttl=3.0) as leases:
        job = ShardedJob(client, specs, settings(**given))
        await job.begin(leases)
        worker = ShardWorker(client_of(sandbox), Secret(redis.url))
        for task in job.tasks:
            # As a queue would.
            received = ShardTask(**json.loads(json.dumps(task.to_dict())))
            job.add(task.shard, json.loads(json.dumps(await worker.run(received))))
        await worker.aclose()
        return await job.finish(audit=audit)


async def test_the_merged_report_has_one_outcome_per_spec_in_their_order(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    report = await run(sandbox, redis_server, keyed(23), new=True)
    assert report.counts == {"created": 23}
    assert [(outcome.index, outcome.key) for outcome in report.made] == [(number, number) for number in range(23)]
    rooms = sandbox.ledger.rooms
    assert [rooms[outcome.room_id or ""]["name"] for outcome in report.made] == [f"Room {n}" for n in range(23)]
    assert report.exhausted
    assert report.audited is not None
    assert (report.duplicates, report.missing) == ({}, [])


async def test_a_list_that_lags_makes_no_room_missing(sandbox: Sandbox, redis_server: RedisServer) -> None:
    sandbox.set(list_lag=60.0)
    report = await run(sandbox, redis_server, keyed(3), new=True)
    assert report.counts == {"created": 3}
    assert (report.audited, report.missing) == (None, [])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_after_redis_was_emptied_a_room_that_cannot_be_read_is_not_created_again(
    sandbox: Sandbox, redis_server: RedisServer, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    await run(sandbox, redis_server, keyed(3), new=True)
    await damage_room(sandbox, "Room 1", damage)
    async with Redis.from_url(redis_server.url) as redis:
        await redis.flushall()
    report = await run(sandbox, redis_server, keyed(3))
    assert report.counts == {"created": 2, "unknown": 1}
    assert "Room 1" not in [room["name"] for room in sandbox.ledger.rooms.values()]
    assert (report.audited, report.missing) == (None, [])
    assert "cannot be read, and may be of this job" in caplog.text


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_room_that_the_list_lacks_is_missing_only_if_it_is_gone(
    sandbox: Sandbox, redis_server: RedisServer, is_gone: bool
) -> None:
    async with client_of(sandbox) as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        job = ShardedJob(client, keyed(3), settings(new=True))
        await job.begin(leases)
        worker = ShardWorker(client_of(sandbox), Secret(redis_server.url))
        for task in job.tasks:
            job.add(task.shard, await worker.run(task))
        await worker.aclose()
        lacking = list(sandbox.ledger.rooms)[-1]
        (made,) = [one for one in job.report.made if one.room_id == lacking]
        if is_gone:
            await client.rooms.delete(lacking)
        else:
            sandbox.set(list_cap=2)
        before = sandbox.ledger.requests("rooms.get")
        report = await job.finish(audit=True)
        assert [(one.index, one.key, one.room_id) for one in report.missing] == [
            (made.index, made.key, lacking)
        ] * is_gone
        assert (report.audited is not None) == is_gone
        assert sandbox.ledger.requests("rooms.get") == before + 1


async def test_invalid_specs_fail_alone_and_keep_their_place(sandbox: Sandbox, redis_server: RedisServer) -> None:
    specs: list[Any] = keyed(6)
    specs[1] = RoomSpec("No key")
    specs[2] = RoomSpec("Twice", key=0)
    specs[3] = "no spec"
    specs[4] = RoomSpec("Secret", sip={"enabled": True, "secret": "x"}, key="s")
    report = await run(sandbox, redis_server, specs, new=True)
    assert report.counts == {"created": 2, "failed": 4}
    assert [outcome.index for outcome in report.failures] == [1, 2, 3, 4]
    assert [outcome.spec for outcome in report.failures] == specs[1:5]
    assert [outcome.index for outcome in report.made] == [0, 5]


async def test_a_job_that_is_divided_differently_later_creates_nothing_twice(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    await run(sandbox, redis_server, keyed(20), new=True, audit=False)
    # Some specs are gone, others are new, and the shards are to be larger: Redis still says which job it is.
    report = await run(sandbox, redis_server, keyed(26)[3:], new=True, shard_size=9)
    assert report.counts == {"created": 23}
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(26))
    assert report.audited is not None


async def test_a_job_that_has_outgrown_its_shards_is_refused(sandbox: Sandbox, redis_server: RedisServer) -> None:
    limits = {"rate": "1/s", "redelivery": 19.0}
    await run(sandbox, redis_server, keyed(4), new=True, audit=False, **limits)
    with pytest.raises(ConfigurationError, match="the queue delivers it again after 19 s"):
        await run(sandbox, redis_server, keyed(40), **limits)
    assert len(sandbox.ledger.created) == 4


async def test_a_restart_of_redis_is_noticed_and_nothing_is_fresh_after_it(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    async with client_of(sandbox) as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        job = ShardedJob(client, keyed(10), settings(new=True))
        await job.begin(leases)
        assert not await job.is_forgotten(leases)
        before = job.tasks
        worker = ShardWorker(client, Secret(redis_server.url))
        # Done, but its report was lost with the queue.
        await worker.run(before[0])
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        assert await job.is_forgotten(leases)
        assert not await job.is_forgotten(leases)
        assert [task.shard for task in job.tasks] == [task.shard for task in before]
        assert all(task.nonce != before[0].nonce for task in job.tasks)
        for task in job.tasks:
            job.add(task.shard, await worker.run(task))
        report = await job.finish(audit=True)
    assert report.counts == {"created": 10}
    assert await created(sandbox) == sorted(f"Room {number}" for number in range(10))


async def test_a_worker_with_a_longer_attempt_than_the_lease_refuses_the_job(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    async with client_of(sandbox) as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        job = ShardedJob(client, keyed(3), settings(new=True))
        await job.begin(leases)
        worker = ShardWorker(client_of(sandbox, attempt_timeout=2.5), Secret(redis_server.url))
        (task,) = job.tasks[:1]
        with pytest.raises(ConfigurationError, match="A worker cannot run the job: lease_ttl=3 must exceed"):
            job.add(task.shard, await worker.run(task))
        await worker.aclose()
    assert not sandbox.ledger.created
    with pytest.raises(ConfigurationError, match="lease_ttl=3 must exceed attempt_timeout=3 by more than 1 s"):
        ShardedJob(client_of(sandbox, attempt_timeout=3.0), keyed(3), settings())


async def test_rooms_of_shards_without_a_report_are_unknown_unless_no_worker_had_them(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    async with client_of(sandbox) as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        job = ShardedJob(client, keyed(20), settings(new=True))
        await job.begin(leases)
        unsent = job.tasks[0].shard
        report = await job.finish(audit=False, unsent=[unsent])
    assert report.counts["not_sent"] > 0
    assert report.counts["unknown"] + report.counts["not_sent"] == 20
    assert not report.exhausted
    assert all(outcome.reference is not None for outcome in report.unknown)


async def test_an_error_of_the_account_ends_the_job_with_what_was_not_sent(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    sandbox.fault("rooms.create", "suspended", times=None)
    report = await run(sandbox, redis_server, keyed(20), new=True, audit=False)
    assert report.total == 20
    assert report.stopped is not None
    assert not report.exhausted
    assert not sandbox.ledger.created


async def test_without_redis_nothing_is_sent(sandbox: Sandbox, redis_server: RedisServer) -> None:
    await asyncio.to_thread(redis_server.stop)
    with pytest.raises(ConnectionFailed, match="Nothing was created"):
        await run(sandbox, redis_server, keyed(3), new=True)
    assert not sandbox.ledger.requests()


async def test_rooms_that_one_process_created_between_two_runs_are_found(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    specs = keyed(10)
    async with client_of(sandbox) as client, RedisLeases(redis_server.url, "job", ttl=3.0) as leases:
        # A coordinator that was killed before any worker had a shard.
        await ShardedJob(client, specs, settings(new=True)).begin(leases)
        await client.rooms.create_many(specs, job_id="job", audit=False)
    report = await run(sandbox, redis_server, specs)
    assert report.counts == {"created": 10}
    assert report.duplicates == {}
    assert len(await created(sandbox)) == 10


async def test_a_worker_of_another_account_creates_nothing(sandbox: Sandbox, redis_server: RedisServer) -> None:
    async with (
        Sandbox() as production,
        client_of(sandbox) as client,
        RedisLeases(redis_server.url, "job", ttl=3.0) as leases,
        VideoClient("another", sandbox.app_key, sandbox.base_url, attempt_timeout=1.0) as other,
    ):
        job = ShardedJob(client, keyed(3), settings())
        await job.begin(leases)
        for theirs in (client_of(production), other):
            answer = await ShardWorker(theirs, Secret(redis_server.url)).run(job.tasks[0])
            with pytest.raises(ConfigurationError, match=f"{sandbox.app_id} at {sandbox.base_url[:16]}"):
                job.add(job.tasks[0].shard, answer)
            await theirs.aclose()
        assert production.ledger.rooms == {}
    assert sandbox.ledger.rooms == {}


async def test_progress_that_cancels_itself_does_not_end_the_job(caplog: pytest.LogCaptureFixture) -> None:
    async def progress(report: BulkReport) -> None:
        raise asyncio.CancelledError

    await show_progress(progress, BulkReport())
    assert "progress= raised an error" in caplog.text

    async def waits(report: BulkReport) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(show_progress(waits, BulkReport()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_job_that_could_not_begin_has_not_read_its_inputs(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client, RedisLeases("redis://127.0.0.1:9/0", "job", ttl=3.0) as leases:
        job = ShardedJob(client, keyed(2), settings())
        with pytest.raises(ConnectionFailed):
            await job.begin(leases)
        report = await job.finish(audit=False)
        assert not report.exhausted
