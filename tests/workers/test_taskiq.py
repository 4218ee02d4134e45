"""A job on Taskiq, with a receiver of its own in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from support.jobs import created
from support.redis_server import RedisServer, running_redis
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from videoapi import ConfigurationError, RedisLeases, RoomSpec, VideoClient
from videoapi.sandbox import Sandbox
from videoapi.taskiq import create_rooms_on_taskiq, rooms_broker

SETTLE = 0.3
JOB: dict[str, Any] = {"job_id": "job", "new": True, "shard_size": 5, "lease_ttl": 3.0, "timeout": 60.0}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


def clients(sandbox: Sandbox) -> Callable[[], VideoClient]:
    return lambda: VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=SETTLE, attempt_timeout=1.0)


def keyed(count: int) -> list[RoomSpec]:
    return [RoomSpec(f"Room {number}", key=number) for number in range(count)]


@contextlib.asynccontextmanager
async def worker(broker: RedisStreamBroker) -> AsyncIterator[asyncio.Task[None]]:
    """Run what `taskiq worker --max-async-tasks 1` runs in each process."""
    broker.is_worker_process = True
    finish = asyncio.Event()
    receiver = Receiver(broker, max_async_tasks=1, max_prefetch=0)
    task = asyncio.create_task(receiver.listen(finish))
    try:
        yield task
    finally:
        finish.set()
        await asyncio.wait([task], timeout=10)
        await broker.shutdown()


@contextlib.asynccontextmanager
async def coordinator(url: str, **options: Any) -> AsyncIterator[RedisStreamBroker]:
    broker = rooms_broker(url, redelivery=30.0, **options)
    try:
        yield broker
    finally:
        await broker.shutdown()


async def test_a_job_is_created_merged_and_audited(sandbox: Sandbox, redis_server: RedisServer) -> None:
    shown: list[int] = []
    async with (
        worker(rooms_broker(redis_server.url, client=clients(sandbox), redelivery=30.0)),
        coordinator(redis_server.url) as broker,
        clients(sandbox)() as client,
    ):
        report = await create_rooms_on_taskiq(
            client, broker, keyed(23), **JOB, progress=lambda report: shown.append(report.total)
        )
        assert report.counts == {"created": 23}
        assert [outcome.key for outcome in report.made] == list(range(23))
        assert report.audited is not None
        assert shown[-1] == 23
        async with Redis.from_url(redis_server.url) as redis:
            # What is acknowledged leaves the stream, which has the specs.
            while b"Room" in repr(await redis.xrange("videoapi:rooms")).encode():
                await asyncio.sleep(0.05)
    assert len(await created(sandbox)) == 23


async def test_no_credential_is_in_redis(
    sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("APP_ID", sandbox.app_id), ("APP_KEY", sandbox.app_key), ("BASE_URL", sandbox.base_url)):
        monkeypatch.setenv(f"VIDEOAPI_{name}", value)
    with running_redis(tmp_path_factory.mktemp("redis"), "--requirepass", "redis-password") as redis_server:
        url = redis_server.url.replace("//", "//:redis-password@")
        monkeypatch.setenv("VIDEOAPI_REDIS", url)
        async with coordinator(url) as broker, clients(sandbox)() as client:
            job = asyncio.create_task(create_rooms_on_taskiq(client, broker, keyed(7), **JOB))
            async with Redis.from_url(url) as redis:
                while not await redis.xlen("videoapi:rooms"):
                    await asyncio.sleep(0.05)
                found = [await _everything(redis)]
                # Its client comes from the environment.
                async with worker(rooms_broker(client=clients(sandbox), redelivery=30.0)):
                    report = await job
                found.append(await _everything(redis))
    assert report.counts == {"created": 7}
    for everything in found:
        assert b"Room 3" in everything or b"job" in everything
        for secret in (sandbox.app_key, "redis-password"):
            assert secret.encode() not in everything


async def _everything(redis: Redis) -> bytes:
    """Return every byte that Redis keeps, without its own encodings."""
    parts: list[bytes] = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        match kind:
            case b"string":
                value: Any = await redis.get(key)
            case b"hash":
                value = await redis.hgetall(key)
            case b"stream":
                value = await redis.xrange(key)
            case _:
                value = await redis.dump(key)
        parts.append(key + repr(value).encode())
    return b"\n".join(parts)


async def test_a_shard_whose_worker_died_comes_back_though_nothing_new_is_enqueued(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    async with coordinator(redis_server.url) as broker, clients(sandbox)() as client:
        job = asyncio.create_task(create_rooms_on_taskiq(client, broker, keyed(4), **JOB | {"shard_size": 4}))
        async with Redis.from_url(redis_server.url) as redis:
            # A consumer that is killed once it has everything.
            taken = 0
            while taken < 2:
                with contextlib.suppress(Exception):
                    reply = await redis.xreadgroup("videoapi", "killed", {"videoapi:rooms": ">"}, block=100)
                    taken += sum(len(entries) for _, entries in reply)
        async with worker(rooms_broker(redis_server.url, client=clients(sandbox), redelivery=1.0)):
            report = await job
    assert report.counts == {"created": 4}


async def test_a_shard_is_not_acknowledged_while_another_worker_has_its_lease(
    sandbox: Sandbox, redis_server: RedisServer
) -> None:
    async with (
        coordinator(redis_server.url) as broker,
        clients(sandbox)() as client,
        RedisLeases(redis_server.url, "job", ttl=3.0) as leases,
        Redis.from_url(redis_server.url) as redis,
    ):
        await leases.begin(new=True)
        async with leases.hold("1/1"):
            job = asyncio.create_task(create_rooms_on_taskiq(client, broker, keyed(4), **JOB | {"shard_size": 4}))
            async with worker(rooms_broker(redis_server.url, client=clients(sandbox), redelivery=1.0)):
                end = asyncio.get_running_loop().time() + 20
                while (await _times_delivered(redis)) < 3:
                    assert asyncio.get_running_loop().time() < end
                    await asyncio.sleep(0.1)
                assert not sandbox.ledger.created
        async with worker(rooms_broker(redis_server.url, client=clients(sandbox), redelivery=1.0)):
            report = await job
    assert report.counts == {"created": 4}


async def _times_delivered(redis: Redis) -> int:
    with contextlib.suppress(Exception):
        pending = await redis.xpending_range("videoapi:rooms", "videoapi", "-", "+", 10)
        return max((entry["times_delivered"] for entry in pending), default=0)
    return 0


async def test_the_queue_is_filled_again_after_redis_has_lost_it(sandbox: Sandbox, redis_server: RedisServer) -> None:
    async with coordinator(redis_server.url) as broker, clients(sandbox)() as client:
        job = asyncio.create_task(create_rooms_on_taskiq(client, broker, keyed(12), **JOB))
        async with Redis.from_url(redis_server.url) as redis:
            while not await redis.xlen("videoapi:rooms"):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        async with worker(rooms_broker(redis_server.url, client=clients(sandbox), redelivery=30.0)):
            report = await job
    assert report.counts == {"created": 12}
    assert len(await created(sandbox)) == 12


async def test_after_the_timeout_what_is_not_reported_is_unknown(sandbox: Sandbox, redis_server: RedisServer) -> None:
    async with coordinator(redis_server.url) as broker, clients(sandbox)() as client:
        report = await create_rooms_on_taskiq(client, broker, keyed(6), **JOB | {"timeout": 1.0}, audit=False)
    assert report.counts == {"unknown": 6}
    assert "timeout of 1 s" in str(report.stopped)


async def test_a_coordinator_that_is_cancelled_reports_each_input(sandbox: Sandbox, redis_server: RedisServer) -> None:
    async with coordinator(redis_server.url) as broker, clients(sandbox)() as client:
        task = asyncio.create_task(create_rooms_on_taskiq(client, broker, keyed(6), **JOB))
        async with Redis.from_url(redis_server.url) as redis:
            while not await redis.xlen("videoapi:rooms"):
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    report = caught.value.report  # type: ignore[attr-defined]
    # A worker may have them.
    assert report.counts == {"unknown": 6}
    assert not report.exhausted


async def test_a_broker_with_other_settings_is_refused(sandbox: Sandbox, redis_server: RedisServer) -> None:
    async with clients(sandbox)() as client:
        with pytest.raises(ConfigurationError, match="rooms_broker"):
            await create_rooms_on_taskiq(client, RedisStreamBroker(redis_server.url), keyed(1), **JOB)


def test_the_broker_is_set_right() -> None:
    broker = rooms_broker("redis://:hush-hush@127.0.0.1:1/0", redelivery=120.0)
    assert broker.count == 1
    assert broker.unacknowledged_batch_size == 1
    assert broker.idle_timeout == 120_000
    options = broker.connection_pool.connection_kwargs
    # A blocking read and a timeout would race.
    assert options["socket_timeout"] is None
    assert options["retry"]._retries == -1
    assert "hush-hush" not in repr(broker.state.videoapi_queue)


def test_without_a_url_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOAPI_REDIS", raising=False)
    with pytest.raises(ConfigurationError, match="VIDEOAPI_REDIS"):
        rooms_broker()
    with pytest.raises(ConfigurationError, match="invalid URL") as refused:
        rooms_broker("http://:hush-hush@127.0.0.1")
    assert "hush-hush" not in str(refused.value)
