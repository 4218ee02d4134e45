"""The blocking client holds leases, too: for Celery and threads."""

import pytest
from support.redis_server import RedisServer

from videoapi import LeaseHeld, RoomSpec
from videoapi.blocking import RedisLeases, VideoClient
from videoapi.sandbox import Sandbox


def test_a_shard_with_the_blocking_client(redis_server: RedisServer) -> None:
    specs = [RoomSpec(f"Room {number}", key=number) for number in range(5)]
    with (
        Sandbox(seed=1).in_thread() as sandbox,
        VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3, attempt_timeout=1) as client,
        RedisLeases(redis_server.url, "j", ttl=5) as leases,
    ):
        leases.begin(new=True)
        with leases.hold(1) as lease:
            assert lease.fresh
            assert lease.left() > 3
            report = client.rooms.create_many(specs, job_id="j", lease=lease)
            with pytest.raises(LeaseHeld), leases.hold(1):
                pass
        assert lease.left() == 0
        assert report.counts == {"created": 5}
        with leases.hold(1) as lease:
            assert not lease.fresh
            assert client.rooms.create_many(specs, job_id="j", lease=lease).counts == {"created": 5}
        assert client.rooms.audit("j", specs).complete
        assert len(sandbox.ledger.rooms) == 5
