"""Large runs: exactly one outcome per input, in constant memory."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from videoapi import Outcome, Request, RoomSpec, Send, VideoClient, answered
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.scale

MIB = 1024 * 1024


def resident() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc to read the resident memory")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(count))


async def test_ten_thousand_creates_survive_drops_and_503s() -> None:
    with Sandbox(seed=11).in_thread() as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=1) as client:
            await client.rooms.create_many(RoomSpec(f"warm {number}") for number in range(500))
            executed_before = sandbox.ledger.count("rooms.create")
            for kind in ("drop_before", "drop_after", "status_after", "status"):
                status = {"status": 503} if kind.startswith("status") else {}
                sandbox.fault("rooms.create", kind, times=None, rate=0.0125, **status)
            before = resident()

            report = await client.rooms.create_many(specs(10_000), concurrency=32)

            growth = resident() - before

        print(f"{report.counts}, resident memory grew by {growth / MIB:.1f} MiB")
        assert report.total == 10_000
        assert {outcome.index for outcome in (*report.made, *report.failures, *report.unknown)} == set(range(10_000))
        assert report.counts["created"] + report.counts["failed"] == 10_000
        assert report.counts["failed"] < 10
        executed = [entry.reference for entry in sandbox.ledger.created][executed_before:]
        assert len(executed) == len(set(executed))
        made = {outcome.reference for outcome in report.made}
        assert made == set(executed)
        assert report.duplicates == {}
        assert report.missing == []
        # The limit includes the sandbox and its ledger of 10,000 rooms, which run in this process.
        assert growth < 64 * MIB


async def test_creates_survive_two_seconds_of_refused_connections() -> None:
    with Sandbox(seed=random.randrange(1000)).in_thread() as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
            sandbox.fault("*", "refuse", seconds=2, after=200)

            report = await client.rooms.create_many(specs(1000), concurrency=16)

        assert report.counts == {"created": 1000}
        assert sandbox.ledger.count("rooms.create") == 1000


async def test_create_each_uses_constant_memory() -> None:
    async def make(request: Request, send: Send) -> Outcome:
        room = {"room_id": "0" * 24, "owner_ref": request.reference, "name": "x", "settings": {}}
        return answered(request, 200, {}, json.dumps({"result": 0, "room": room}).encode())

    growths = []
    async with VideoClient("a" * 24, "k", "http://127.0.0.1:9/video/v2", middleware=[make]) as client:
        for count in (2_000, 60_000):
            before = resident()
            counts: Counter[str] = Counter()
            async for outcome in client.rooms.create_each(RoomSpec("x") for _ in range(count)):
                counts[outcome.status] += 1
            growths.append(resident() - before)
            assert counts == {"created": count}

    print("growth of resident memory:", [f"{growth / MIB:.1f} MiB" for growth in growths])
    assert growths[1] < 8 * MIB
