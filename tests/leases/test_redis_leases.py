"""Leases in a real Redis: one holder at a time, and fresh only if Redis cannot have forgotten anything."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from support.redis_server import RedisServer, answering, running_redis

from videoapi import ConfigurationError, ConnectionFailed, LeaseHeld, LeaseLost, RedisLeases
from videoapi.redis.leases import RedisLease

TTL = 1.2
JOB = "j"


@contextlib.asynccontextmanager
async def leases_of(server: RedisServer, *, ttl: float = TTL, nonce: str | None = None):  # type: ignore[no-untyped-def]
    async with RedisLeases(server.url, JOB, ttl=ttl, nonce=nonce) as leases:
        yield leases


async def held(server: RedisServer, shard: str | int = 1, **options: object) -> tuple[bool, float]:
    """Take a lease and give it back; return whether it was fresh, and how long taking it took."""
    async with leases_of(server, **options) as leases:  # type: ignore[arg-type]
        began = time.monotonic()
        async with leases.hold(shard) as lease:
            return lease.fresh, time.monotonic() - began


async def test_a_lease_is_fresh_once(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        async with leases.hold(1) as lease:
            assert lease.fresh
            assert 0 < lease.left() <= TTL
        assert lease.left() == 0
        async with leases.hold(1) as lease, leases.hold(2) as other:
            assert not lease.fresh
            assert other.fresh


async def test_one_holder_at_a_time(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases, leases_of(redis_server) as others:
        await leases.begin(new=True)
        async with leases.hold("a") as lease:
            with pytest.raises(LeaseHeld) as refused:
                async with others.hold("a"):
                    pass
            assert refused.value.shard == "a"
            assert refused.value.retry_after is not None
            assert 0 < refused.value.retry_after <= TTL
            assert refused.value.retryable
            assert lease.left() > 0
        assert await held(redis_server, "a") == (False, pytest.approx(0, abs=TTL))


async def test_many_that_want_the_same_lease(redis_server: RedisServer) -> None:
    holders = most = wins = 0

    async def worker() -> None:
        nonlocal holders, most, wins
        async with leases_of(redis_server) as leases:
            for _ in range(10):
                try:
                    async with leases.hold(1):
                        holders += 1
                        most = max(most, holders)
                        await asyncio.sleep(0.005)
                        holders -= 1
                        wins += 1
                except LeaseHeld:
                    await asyncio.sleep(0.005)

    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
    await asyncio.gather(*(worker() for _ in range(6)))
    assert most == 1
    assert wins >= 2


async def test_a_lease_is_renewed_while_it_is_held(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        async with leases.hold(1) as lease:
            end = time.monotonic() + 1.6 * TTL
            while time.monotonic() < end:
                await asyncio.sleep(0.02)
                assert lease.left() > 0
            with pytest.raises(LeaseHeld):
                await held(redis_server)


async def test_a_loop_that_is_blocked_loses_its_lease(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        async with leases.hold(1) as lease:
            time.sleep(1.1 * TTL)  # noqa: ASYNC251 - as a stopped process
            assert lease.left() == 0
            assert (await held(redis_server))[0] is False
            await asyncio.sleep(TTL / 3)
            assert lease.left() == 0


async def test_a_paused_redis_lets_the_lease_run_out(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        async with leases.hold(1) as lease:
            redis_server.pause()
            try:
                while lease.left():
                    await asyncio.sleep(0.02)
            finally:
                redis_server.resume()
            await asyncio.sleep(TTL / 3)
            assert lease.left() == 0
    assert "cannot be renewed" in caplog.text
    assert len(caplog.records) <= 3


async def test_a_redis_that_is_away_briefly_costs_no_lease(redis_server: RedisServer) -> None:
    async with leases_of(redis_server, ttl=6.0) as leases:
        await leases.begin(new=True)
        async with leases.hold(1) as lease:
            await asyncio.sleep(0.9)
            redis_server.pause()
            await asyncio.sleep(0.5)
            redis_server.resume()
            before = lease.left()
            while lease.left() <= before:
                await asyncio.sleep(0.02)


class TestRedisForgets:
    async def test_restarted_empty_it_is_not_trusted(self, redis_server: RedisServer) -> None:
        async with leases_of(redis_server) as leases:
            nonce = await leases.begin(new=True)
            async with leases.hold(1) as first:
                redis_server.stop()
                redis_server.start()
                fresh, took = await held(redis_server, 1, nonce=nonce)
                assert not fresh
                # Until then, the first one could have sent.
                assert took >= 0.9 * TTL
                assert first.left() == 0
            fresh, _ = await held(redis_server, 2, nonce=nonce)
            assert not fresh

    async def test_a_coordinator_that_begins_again_makes_nothing_fresh(self, redis_server: RedisServer) -> None:
        async with leases_of(redis_server) as leases:
            nonce = await leases.begin(new=True)
            await held(redis_server, 1)
            redis_server.stop()
            redis_server.start()
            assert await leases.begin() != nonce
        assert (await held(redis_server, 2))[0] is False
        assert (await held(redis_server, 3, nonce=nonce))[0] is False

    async def test_emptied_it_is_not_trusted(self, redis_server: RedisServer) -> None:
        async with leases_of(redis_server) as leases:
            await leases.begin(new=True)
            redis_server.command("FLUSHALL")
            with pytest.raises(LeaseHeld):
                async with leases.hold(1):
                    await held(redis_server, 1)
            assert (await held(redis_server, 2))[0] is False

    async def test_restarted_with_an_old_snapshot_it_is_not_trusted(self, tmp_path: Path) -> None:
        with running_redis(tmp_path, "--dbfilename", "old.rdb") as server:
            async with leases_of(server) as leases:
                nonce = await leases.begin(new=True)
                server.command("SAVE")
                assert (await held(server, 1, nonce=nonce))[0] is True
                server.stop()
                server.start()
                assert b"nonce" in server.command("HGETALL", f"videoapi:leases:{JOB}")
                fresh, took = await held(server, 1, nonce=nonce)
            assert not fresh
            assert took > TTL / 2

    async def test_a_worker_of_an_earlier_beginning_trusts_nothing(self, redis_server: RedisServer) -> None:
        async with leases_of(redis_server) as leases:
            await leases.begin(new=True)
            redis_server.command("FLUSHALL")
            await leases.begin(new=True)
        assert (await held(redis_server, 1, nonce="0123456789abcdef"))[0] is False

    async def test_without_a_coordinator_nothing_is_fresh(self, redis_server: RedisServer) -> None:
        assert (await held(redis_server, 1))[0] is False
        async with leases_of(redis_server) as leases:
            await leases.begin(new=True)
        assert (await held(redis_server, 2))[0] is False

    async def test_without_the_right_to_see_restarts_nothing_is_fresh(
        self, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis_server.command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-@dangerous")
        url = redis_server.url.replace("redis://", "redis://app:secret@")
        async with RedisLeases(url, JOB, ttl=0.3) as leases:
            await leases.begin(new=True)
            assert "+info" in caplog.text
            async with leases.hold(1) as lease:
                assert not lease.fresh
        assert "secret" not in caplog.text


async def test_begin_is_the_same_for_every_coordinator(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases, leases_of(redis_server) as others:
        nonce = await leases.begin(new=True)
        assert await leases.begin() == nonce
        async with others.hold(1) as lease:
            assert lease.fresh
        assert await others.begin() == nonce
        assert await leases.begin(new=True) == nonce


@pytest.mark.parametrize("new", [False, True])
async def test_a_job_that_is_resumed_takes_no_shard_for_new(redis_server: RedisServer, new: bool) -> None:
    # Its rooms may have been created by one process since, without a lease.
    async with leases_of(redis_server) as leases:
        nonce = await leases.begin(new=True)
    async with leases_of(redis_server) as leases:
        await leases.begin(new=new)
        await leases.begin(new=new)
    fresh, took = await held(redis_server, 1, nonce=nonce, ttl=60.0)
    assert not fresh
    # Redis has forgotten no lease.
    assert took < 30


async def test_a_clock_of_redis_that_was_set_back_delays_only_for_a_ttl(redis_server: RedisServer) -> None:
    ahead = int(time.time() * 1000) + 3_600_000
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        redis_server.command("HSET", f"videoapi:leases:{JOB}", "s:1", f"abc:{ahead}:500:1")
        with pytest.raises(LeaseHeld) as refused:
            await held(redis_server, 1)
        assert refused.value.retry_after == 0.5
        await asyncio.sleep(0.6)
        assert (await held(redis_server, 1))[0] is False


async def test_only_its_own_lease_is_given_back(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases, leases_of(redis_server) as others:
        await leases.begin(new=True)
        async with contextlib.AsyncExitStack() as stack:
            async with leases.hold(1) as lease:
                time.sleep(1.1 * TTL)  # noqa: ASYNC251 - as a stopped process
                await stack.enter_async_context(others.hold(1))
            assert lease.left() == 0
            with pytest.raises(LeaseHeld):
                await held(redis_server, 1)


async def test_a_cancelled_hold_gives_the_lease_back(redis_server: RedisServer) -> None:
    async def hold(leases: RedisLeases, inside: asyncio.Event) -> None:
        async with leases.hold(1):
            inside.set()
            await asyncio.sleep(60)

    async with leases_of(redis_server, ttl=60.0) as leases:
        await leases.begin(new=True)
        for pause in (0.0, 0.001, 0.002, 0.004, None):
            inside = asyncio.Event()
            task = asyncio.create_task(hold(leases, inside))
            await (inside.wait() if pause is None else asyncio.sleep(pause))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with leases.hold(1):
                pass


async def test_the_lease_is_lost_while_an_earlier_one_is_outlasted(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases:
        task = asyncio.create_task(leases.hold(1).__aenter__())
        await asyncio.sleep(TTL / 4)
        redis_server.command("FLUSHALL")
        with pytest.raises(LeaseLost):
            await task


async def test_a_redis_that_is_away_is_an_error_of_ours(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://:hunter2@")
    redis_server.stop()
    async with RedisLeases(url, JOB, ttl=TTL) as leases:
        with pytest.raises(ConnectionFailed, match=f"Redis at 127.0.0.1:{redis_server.port}") as away:
            async with leases.hold(1):
                pass
        assert away.value.retryable
        assert not away.value.may_have_executed
        assert "hunter2" not in str(away.value) + repr(leases)


async def test_the_memory_of_a_job_expires(redis_server: RedisServer) -> None:
    async with leases_of(redis_server) as leases:
        await leases.begin(new=True)
        async with leases.hold(1):
            pass
    left = int(redis_server.command("PTTL", f"videoapi:leases:{JOB}")[1:])
    assert 6 * 86_400_000 < left <= 7 * 86_400_000


@pytest.mark.parametrize("job_id", ["", None, 3, "\ud800", "x" * 600])
def test_a_job_needs_a_name(job_id: object) -> None:
    with pytest.raises(ConfigurationError, match="job_id"):
        RedisLeases("redis://localhost", job_id)  # type: ignore[arg-type]


@pytest.mark.parametrize("shard", ["", None, True, 1.5, "\ud800"])
async def test_a_shard_needs_a_name(shard: object) -> None:
    with pytest.raises(ConfigurationError, match="shard"):
        RedisLeases("redis://localhost", "j").hold(shard)  # type: ignore[arg-type]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), "9", True])
def test_a_ttl_is_a_time(ttl: object) -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        RedisLeases("redis://localhost", "j", ttl=ttl)  # type: ignore[arg-type]


def test_a_lease_shows_no_token() -> None:
    assert "t0k3n" not in repr(RedisLease("1", "t0k3n", lambda lease: contextlib.nullcontext()))


@pytest.mark.parametrize(
    "answer",
    ["$-1", ":5", "*2\r\n:1\r\n:0", "*2\r\n$1\r\nx\r\n:7", "*7" + "\r\n:1" * 7, "+OK", "*7" + "\r\n$1\r\nx" * 7],
)
async def test_malformed_answer_is_a_failed_connection(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videoapi.redis.leases._PAUSE", 0.01)
    says = r"an answer that the script cannot give.*\(4 attempts\)\. Nothing was created\."
    async with answering(f"{answer}\r\n".encode()) as url, RedisLeases(url, JOB, ttl=TTL) as leases:
        with pytest.raises(ConnectionFailed, match=says):
            await leases.begin()
        lease = leases.hold(1)
        with pytest.raises(ConnectionFailed, match=says):
            await lease.__aenter__()
        assert lease.left() == 0
        if answer != ":5":
            with pytest.raises(ConnectionFailed, match=says):
                await leases.divided(3)
