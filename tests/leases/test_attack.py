"""Faults that a review has proved: each test fails until its fault is repaired."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from leases.test_idle import another_process
from support.jobs import client_of, keyed, own_rooms
from support.redis_server import RedisServer

from videoapi import RedisLeases
from videoapi.redis import leases as leases_module
from videoapi.redis.contacts import Contacts
from videoapi.sandbox import Sandbox

TTL = 12.0


@dataclass(slots=True)
class SlottedLease:
    until: float
    fresh: bool = True

    def left(self) -> float:
        return self.until - time.monotonic()


class NonsenseLease:
    fresh = False
    idle = 10**400

    def left(self) -> float:
        return 100.0


async def test_a_second_run_under_a_fresh_lease_that_has_slots_looks_back() -> None:
    async with Sandbox() as sandbox:
        sandbox.plan([("late", {"seconds": 1.0})])
        lease = SlottedLease(time.monotonic() + 100)
        async with client_of(sandbox, attempt_timeout=3, settle=2.0) as client:
            first = asyncio.ensure_future(client.rooms.create_many(keyed(1), job_id="j", lease=lease))
            while not sandbox.ledger.requests("rooms.create"):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            first.cancel()
            await asyncio.wait([first])
        async with client_of(sandbox, attempt_timeout=3, settle=2.0) as client:
            await client.rooms.create_many(keyed(1), job_id="j", lease=lease)
        await asyncio.sleep(1.0)
        assert len(own_rooms(sandbox)) == 1


async def test_an_idle_beyond_floats_counts_as_none() -> None:
    async with Sandbox() as sandbox, client_of(sandbox, attempt_timeout=3) as client:
        report = await client.rooms.create_many(keyed(1), job_id="j", lease=NonsenseLease())
        assert report.counts == {"created": 1}


async def _fail_over_and_back(primary: RedisServer, replica: RedisServer, lost: object) -> None:
    """Have the primary lose what `lost` writes, as an asynchronous failover does, and become primary again."""
    await _replicate(replica, primary)
    replica.command("REPLICAOF", "NO", "ONE")
    await lost  # type: ignore[misc]
    await _replicate(primary, replica)
    primary.command("REPLICAOF", "NO", "ONE")


async def _replicate(replica: RedisServer, primary: RedisServer) -> None:
    replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
    while b"master_link_status:up" not in replica.command("INFO", "replication"):
        await asyncio.sleep(0.05)


@pytest.fixture
def servers(tmp_path: Path) -> object:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found.append(RedisServer(tmp_path / name, "--repl-diskless-sync-delay", "0"))
        found[-1].start()
    yield found
    for server in found:
        server.stop()


async def test_no_lease_is_fresh_after_a_failover_and_back(servers: list[RedisServer]) -> None:
    primary, replica = servers
    async with RedisLeases(primary.url, "j", ttl=TTL) as leases:
        await leases.begin(new=True)
        held = leases.hold(0)
        await _fail_over_and_back(primary, replica, held.__aenter__())
        assert held.left() > 10
        # ttl is shorter for the wait, if the loss is noticed.
        lease = leases.hold(0)
        await leases._take(lease)
        assert not lease.fresh


async def test_an_old_count_says_nothing_after_a_failover_and_back(servers: list[RedisServer]) -> None:
    primary, replica = servers

    async def touch(*shards: int) -> float:
        idle = 0.0
        async with RedisLeases(primary.url, "j", ttl=TTL) as leases:
            for shard in shards:
                async with leases.hold(shard) as lease:
                    idle = lease.idle
        return idle

    with another_process():
        async with RedisLeases(primary.url, "j", ttl=TTL) as leases:
            await leases.begin(new=True)
        await touch(0, 1)
        y = Contacts()
        x = leases_module._CONTACTS

        async def lost() -> None:
            leases_module._CONTACTS = y  # type: ignore[misc]
            await touch(2, 3, 4, 5, 6, 7)

        await _fail_over_and_back(primary, replica, lost())
        await asyncio.sleep(3.0)
        leases_module._CONTACTS = x  # type: ignore[misc]
        async with RedisLeases(primary.url, "j", ttl=TTL) as leases:
            lease = leases.hold(0)
            await leases._take(lease)
            await leases._release(lease)
        released = leases_module._now()
        leases_module._CONTACTS = y  # type: ignore[misc]
        async with RedisLeases(primary.url, "j", ttl=TTL) as leases:
            lease = leases.hold(0)
            _, quiet_from = await leases._take(lease)
        assert quiet_from >= released - 0.5
