"""A Redis server that lost its latest writes in a failover, and is the primary again: nothing that it knew counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from leases.test_idle import another_process
from support.redis_server import RedisServer

from videoapi import RedisLeases
from videoapi.redis import leases as leases_module
from videoapi.redis.contacts import Contacts

TTL = 12.0


async def _fail_over_and_back(primary: RedisServer, replica: RedisServer, lost: Awaitable[object]) -> None:
    """Have the primary lose what `lost` writes, as an asynchronous failover does, and become primary again."""
    replica.command("REPLICAOF", "NO", "ONE")
    await lost
    await _replicate(primary, replica)
    primary.command("REPLICAOF", "NO", "ONE")


async def _replicate(replica: RedisServer, primary: RedisServer) -> None:
    replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
    while b"master_link_status:up" not in replica.command("INFO", "replication"):
        await asyncio.sleep(0.05)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
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
    # Before the job begins: a primary has another replication ID from its first replica on.
    await _replicate(replica, primary)
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
    await _replicate(replica, primary)

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
