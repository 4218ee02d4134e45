"""How long ago an earlier holder of a shard may have sent: counted by this process alone, and never too long ago."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.jobs import client_of, created, keyed
from support.redis_server import RedisServer, running_redis

from videoapi import LeaseHeld, RedisLeases
from videoapi.redis import leases as leases_module
from videoapi.redis.contacts import Contacts
from videoapi.redis.leases import RedisLease
from videoapi.redis.scripts import RENEW
from videoapi.sandbox import Sandbox

TTL = 1.2
KEY = "videoapi:leases:j"
BRIEF = 0.3
"""Seconds that a trip to Redis takes at most here."""


@contextlib.contextmanager
def another_process() -> Iterator[None]:
    """Have the body know nothing of Redis yet."""
    known, leases_module._CONTACTS = leases_module._CONTACTS, Contacts()  # type: ignore[misc]
    try:
        yield
    finally:
        leases_module._CONTACTS = known  # type: ignore[misc]


@pytest.fixture(autouse=True)
def first_process() -> Iterator[None]:
    with another_process():
        yield


@contextlib.asynccontextmanager
async def job(server: RedisServer, *, new: bool = True, ttl: float = TTL) -> AsyncIterator[RedisLeases]:
    """Begin a job, or resume it."""
    async with RedisLeases(server.url, "j", ttl=ttl) as leases:
        await leases.begin(new=new)
        yield leases


async def idle(leases: RedisLeases, shard: int) -> float:
    async with leases.hold(shard) as lease:
        return lease.idle


def left_behind(leases: RedisLeases, shard: int) -> RedisLease:
    """Return a lease as that of a worker that is killed: it is neither renewed nor given back."""
    return leases.hold(shard)


async def take(leases: RedisLeases, lease: RedisLease) -> None:
    await leases._take(lease)


async def test_a_process_counts_from_when_it_first_heard_of_the_job(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        for shard in range(3):
            await idle(leases, shard)
    await asyncio.sleep(2 * BRIEF)
    with another_process():
        async with job(redis_server, new=False) as leases:
            began = time.monotonic()
            assert await idle(leases, 0) < BRIEF
            await asyncio.sleep(1.0)
            for shard in (1, 2, 3):
                assert 1.0 <= await idle(leases, shard) <= time.monotonic() - began


async def test_it_does_not_count_while_another_holder_has_the_shard(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        await idle(leases, 1)
        async with leases.hold(2):
            await asyncio.sleep(1.5 * TTL)
        assert await idle(leases, 2) < BRIEF
        assert await idle(leases, 3) > TTL


async def test_a_shard_that_was_refused_counts_from_after_its_holder(redis_server: RedisServer) -> None:
    # So long that no lease is renewed here.
    async with job(redis_server, ttl=60.0) as leases:
        async with leases.hold(1):
            with pytest.raises(LeaseHeld):
                await idle(leases, 1)
            await asyncio.sleep(2 * BRIEF)
        assert await idle(leases, 1) < BRIEF


async def test_a_lease_that_was_not_given_back_may_have_been_used_until_it_ended(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        taken = time.monotonic()
        await take(leases, left_behind(leases, 1))
        await idle(leases, 2)
        await asyncio.sleep(TTL + 0.5)
        assert 0 < await idle(leases, 1) <= time.monotonic() - taken - TTL
        # Since it was given back, it counts as any other.
        await idle(leases, 2)
        await asyncio.sleep(0.4)
        assert 0.4 <= await idle(leases, 1) < 0.4 + BRIEF


async def test_a_renewal_is_a_sign_of_life(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        lease = left_behind(leases, 1)
        await take(leases, lease)
        await idle(leases, 2)
        await asyncio.sleep(0.8 * TTL)
        renewed = time.monotonic()
        assert await leases._run(RENEW, [lease.shard, lease._token, int(TTL * 1000), 60_000], bool)
        await idle(leases, 2)
        await asyncio.sleep(TTL + 0.5)
        assert 0 < await idle(leases, 1) <= time.monotonic() - renewed - TTL


async def test_a_clock_of_redis_that_was_set_makes_nothing_older(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        for shard, value in ((1, "{}"), (2, "")):
            await take(leases, left_behind(leases, shard))
            # As if its clock had been set to a time long after the end of the lease.
            token, _, rest = _field(redis_server, f"s:{shard}").split(":", 2)
            redis_server.command("HSET", KEY, f"s:{shard}", f"{value.format(token)}:5:{rest}")
            assert await idle(leases, shard) < BRIEF


def _field(server: RedisServer, name: str) -> str:
    return server.command("HGET", KEY, name).split(b"\r\n")[1].decode()


async def test_what_an_older_version_has_noted_is_not_trusted(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        await idle(leases, 1)
        await asyncio.sleep(0.5)
        redis_server.command("HSET", KEY, "s:1", ":5:500:1")
        assert await idle(leases, 1) < BRIEF


async def test_whoever_begins_the_job_again_may_have_run_it_in_another_way(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        await idle(leases, 1)
        await asyncio.sleep(0.5)
        assert await idle(leases, 2) > 0.4
        # It has begun it before.
        await leases.begin()
        assert await idle(leases, 3) > 0.4
        async with job(redis_server, new=False):
            for shard in (1, 2, 4):
                assert await idle(leases, shard) < BRIEF


async def test_without_a_coordinator_nothing_is_known(redis_server: RedisServer) -> None:
    async with RedisLeases(redis_server.url, "j", ttl=0.3) as leases:
        for shard in range(3):
            await asyncio.sleep(0.5)
            assert await idle(leases, shard) < BRIEF


async def test_a_redis_that_was_restarted_empty_is_asked_anew(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        for shard in range(5):
            await idle(leases, shard)
        redis_server.stop()
        redis_server.start()
        await leases.begin()
        await asyncio.sleep(0.5)
        # A holder that it has forgotten may have sent for one more ttl.
        assert await idle(leases, 0) < BRIEF
        restarted = time.monotonic()
        await asyncio.sleep(TTL)
        assert await idle(leases, 1) <= time.monotonic() - restarted


async def test_a_redis_that_was_restarted_with_an_old_snapshot_is_asked_anew(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--dbfilename", "old.rdb") as server:
        async with job(server) as leases:
            await idle(leases, 1)
            server.command("SAVE")
            await asyncio.sleep(0.5)
            for shard in range(5):
                await idle(leases, shard)
            lost = time.monotonic()
            await take(leases, left_behind(leases, 7))
            server.stop()
            server.start()
            assert await idle(leases, 7) <= max(0.0, time.monotonic() - lost - TTL)
            assert await idle(leases, 1) <= max(0.0, time.monotonic() - lost - TTL)


async def test_without_the_right_to_see_restarts_nothing_is_known(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-@dangerous")
    url = redis_server.url.replace("redis://", "redis://app:secret@")
    async with RedisLeases(url, "j", ttl=0.3) as leases:
        await leases.begin(new=True)
        for shard in range(3):
            await asyncio.sleep(0.5)
            assert await idle(leases, shard) < BRIEF


async def test_an_answer_that_was_lost_changes_nothing(redis_server: RedisServer) -> None:
    async with job(redis_server) as leases:
        taken = time.monotonic()
        await take(leases, left_behind(leases, 1))
        await asyncio.sleep(TTL + 0.4)
        lease = leases.hold(1)
        await leases._take(lease)
        # As after an answer that was lost.
        _, quiet_from = await leases._take(lease)
        assert 0.2 < leases_module._now() - quiet_from <= time.monotonic() - taken - TTL
        await leases._release(lease)


async def test_a_job_that_is_continued_waits_for_one_settle_time_in_each_process(redis_server: RedisServer) -> None:
    settle, specs = 2.0, keyed(48)
    shards = {number: specs[number::6] for number in range(6)}
    async with Sandbox(seed=1) as sandbox:
        async with (
            client_of(sandbox, settle=settle, attempt_timeout=0.1) as client,
            RedisLeases(redis_server.url, "j", ttl=30) as leases,
        ):
            await leases.begin(new=True)
            async with leases.hold(0) as lease:
                await client.rooms.create_many(shards[0], job_id="j", lease=lease)
        with another_process():
            async with (
                client_of(sandbox, settle=settle, attempt_timeout=5) as client,
                RedisLeases(redis_server.url, "j", ttl=30) as leases,
            ):
                await leases.begin()
                began = time.monotonic()
                for number, shard in shards.items():
                    async with leases.hold(number) as lease:
                        assert not lease.fresh
                        report = await client.rooms.create_many(shard, job_id="j", lease=lease)
                    assert report.counts == {"created": 8}
                assert settle < time.monotonic() - began < 3 * settle
        assert len(await created(sandbox)) == 48
