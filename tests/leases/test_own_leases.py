"""Leases of the user's own: what they do not say, or say wrongly, is not trusted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from support.jobs import client_of, keyed, own_rooms

from videoapi.sandbox import Sandbox


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
