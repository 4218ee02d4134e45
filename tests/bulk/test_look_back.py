"""The look back of a shard that was leased before: it waits for what is left of the settle time, and reads the list."""

import asyncio
import math
import time
from typing import Any

import pytest
from support.jobs import LONG, check_rooms, client_of, created, keyed, own_rooms

from videoapi import BulkReport, CreateOutcomeUnknown, LeaseLost, RoomSpec, VideoClient
from videoapi.bulk.lease import Leases, idle_of
from videoapi.sandbox import Sandbox

ATTEMPT = 5.0
AGO = 1000.0
"""Seconds, more than any settle time here."""
WAYS = pytest.mark.parametrize("way", ["create_many", "create_each"])


class HeldLease:
    """A lease that is held, of a shard that was leased before."""

    def __init__(self, idle: Any = 0.0, *, fresh: bool = False, until: float = math.inf) -> None:
        self.idle = idle
        self.fresh = fresh
        self.until = until

    def left(self) -> float:
        return min(100.0, self.until - time.monotonic())


async def run(client: VideoClient, lease: Any, specs: list[RoomSpec], way: str = "create_many") -> BulkReport:
    if way == "create_many":
        return await client.rooms.create_many(specs, job_id="j", lease=lease)
    async with client.rooms.create_each(specs, job_id="j", lease=lease) as outcomes:
        async for _ in outcomes:
            pass
    return outcomes.report


async def in_one_process(sandbox: Sandbox, lease: Any, specs: list[RoomSpec], **options: Any) -> BulkReport:
    async with client_of(sandbox, **{"attempt_timeout": ATTEMPT, **options}) as client:
        return await run(client, lease, specs)


async def killed_with_a_create_in_flight(sandbox: Sandbox, spec: RoomSpec, takes_effect_after: float) -> float:
    """Send a create as an earlier holder of the shard, and return when it was sent."""
    sandbox.plan([("late", {"seconds": takes_effect_after})])
    lease, before = HeldLease(AGO, fresh=True), sandbox.ledger.requests("rooms.create")
    async with client_of(sandbox, attempt_timeout=ATTEMPT, settle=LONG) as client:
        sending = asyncio.ensure_future(run(client, lease, [spec]))
        while sandbox.ledger.requests("rooms.create") == before:
            await asyncio.sleep(0.01)
        sent = time.monotonic()
        lease.until = 0.0
        report = await sending
    assert isinstance(report.stopped, LeaseLost)
    assert isinstance(report.unknown[0].error, CreateOutcomeUnknown)
    return sent


@WAYS
async def test_a_shard_whose_rooms_all_exist_waits_for_nothing_and_creates_nothing(sandbox: Sandbox, way: str) -> None:
    specs = [*keyed(5), RoomSpec("Owned", "ann", key="owned")]
    await in_one_process(sandbox, HeldLease(fresh=True), specs)
    before = len(sandbox.ledger.created)
    # Once sent with an owner_ref, once without one.
    for given in (specs, [*specs[:-1], RoomSpec("Owned", key="owned")]):
        async with asyncio.timeout(30), client_of(sandbox, attempt_timeout=ATTEMPT, settle=LONG) as client:
            report = await run(client, HeldLease(), given, way)
        assert report.counts.total() == 6
        assert report.counts["created"] >= 5
    assert len(sandbox.ledger.created) == before
    assert sandbox.ledger.requests("rooms.delete") == 0


@WAYS
async def test_what_was_sent_longer_ago_than_the_settle_time_is_not_waited_for(sandbox: Sandbox, way: str) -> None:
    specs = [*keyed(12), RoomSpec("Owned", "ann", key="owned")]
    await in_one_process(sandbox, HeldLease(fresh=True), specs[:5])
    async with asyncio.timeout(30), client_of(sandbox, attempt_timeout=ATTEMPT, settle=LONG) as client:
        assert (await run(client, HeldLease(AGO), specs, way)).counts == {"created": 13}
    assert len(await created(sandbox)) == len(own_rooms(sandbox)) == 13
    assert not check_rooms(sandbox)


async def test_only_the_rest_of_the_settle_time_is_waited_for(sandbox: Sandbox) -> None:
    waits: list[float] = []
    lease = HeldLease(LONG - 1.5)
    async with asyncio.timeout(30), client_of(sandbox, attempt_timeout=ATTEMPT, settle=LONG) as client:
        running = client.rooms.create_each(keyed(3), job_id="j", lease=lease)
        began = asyncio.get_running_loop().time()
        async with running:
            outcomes = asyncio.ensure_future(anext(aiter(running)))
            while not outcomes.done():
                if running.report.settles_at is not None:
                    waits.append(running.report.settles_at - began)
                await asyncio.sleep(0.02)
    assert 1.0 < max(waits) < 5.0


async def test_a_create_that_is_still_in_flight_is_found(sandbox: Sandbox) -> None:
    sent = await killed_with_a_create_in_flight(sandbox, keyed(1)[0], takes_effect_after=2.0)
    idle = time.monotonic() - sent
    report = await in_one_process(sandbox, HeldLease(idle), keyed(2), settle=3.0)
    assert report.counts == {"created": 2}
    assert await created(sandbox) == ["Room 0", "Room 1"]


async def test_known_rooms_do_not_replace_the_wait(sandbox: Sandbox) -> None:
    async with client_of(sandbox, attempt_timeout=ATTEMPT, settle=3.0) as client:
        # They show that the list has references in both places.
        known = [RoomSpec("Known", key="known"), RoomSpec("Owned", "ann", key="owned")]
        await run(client, HeldLease(fresh=True), known)
        sent = await killed_with_a_create_in_flight(sandbox, keyed(1)[0], takes_effect_after=2.0)
        report = await run(client, HeldLease(time.monotonic() - sent), keyed(2))
    assert report.counts == {"created": 2}
    assert await created(sandbox) == ["Known", "Owned", "Room 0", "Room 1"]


async def test_a_lease_that_overstates_it_creates_the_room_twice(sandbox: Sandbox) -> None:
    """The room is found only because of the wait: the test above sees the difference."""
    await killed_with_a_create_in_flight(sandbox, keyed(1)[0], takes_effect_after=2.0)
    await in_one_process(sandbox, HeldLease(AGO), keyed(2), settle=3.0)
    assert await created(sandbox) == ["Room 0", "Room 0", "Room 1"]


async def test_the_shards_of_one_process_wait_once(sandbox: Sandbox) -> None:
    settle, shards = 2.0, [keyed(60)[number * 10 : number * 10 + 10] for number in range(6)]
    await in_one_process(sandbox, HeldLease(fresh=True), keyed(60)[::2])
    loop = asyncio.get_running_loop()
    async with client_of(sandbox, attempt_timeout=ATTEMPT, settle=settle) as client:
        began = loop.time()
        for specs in shards:
            report = await run(client, HeldLease(loop.time() - began), specs)
            assert report.counts == {"created": 10}
        assert loop.time() - began < 3 * settle
    assert len(await created(sandbox)) == 60
    assert not check_rooms(sandbox)


async def test_a_list_that_lags_is_read_again_until_it_shows_the_new_room(sandbox: Sandbox) -> None:
    await in_one_process(sandbox, HeldLease(fresh=True), keyed(3))
    sandbox.set(list_lag=0.5)
    async with asyncio.timeout(30):
        report = await in_one_process(sandbox, HeldLease(AGO), keyed(6), settle=LONG)
    assert report.counts == {"created": 6}
    assert len(await created(sandbox)) == 6


@pytest.mark.parametrize(
    "switches",
    [
        {"list_omits": "data"},
        {"list_omits": "owner_ref"},
        {"list_echo": "truncate"},
        {"list_cap": 0},
        {"list_cap": 5, "list_keeps": "newest"},
        {"list_cap": 5, "list_keeps": "oldest"},
        {"list_lag": 600.0},
    ],
)
async def test_a_list_that_proves_nothing_creates_nothing_twice(sandbox: Sandbox, switches: dict[str, Any]) -> None:
    specs = keyed(30)
    async with client_of(sandbox, attempt_timeout=ATTEMPT) as client:
        # The rooms of the first shard are known to the process, and younger than the settle time.
        await run(client, HeldLease(fresh=True), specs[:10])
        await in_one_process(sandbox, HeldLease(fresh=True), specs[10:15])
        sandbox.set(**switches)
        report = await run(client, HeldLease(AGO), specs[10:])
    assert report.counts["unknown"] >= 5
    assert len(await created(sandbox)) == len(set(await created(sandbox)))


async def test_a_second_run_under_a_lease_does_not_take_it_for_fresh(sandbox: Sandbox) -> None:
    lease = HeldLease(fresh=True)
    for specs in (keyed(5), keyed(8)):
        report = await in_one_process(sandbox, lease, specs)
        assert report.counts == {"created": len(specs)}
    assert len(await created(sandbox)) == 8


async def test_a_second_run_under_a_lease_waits_for_what_the_first_one_sent(sandbox: Sandbox) -> None:
    lease = HeldLease(AGO)
    sandbox.plan([None, ("late", {"seconds": 2.0})])
    async with client_of(sandbox, attempt_timeout=ATTEMPT, settle=3.0) as client:
        report = await client.rooms.create_many(keyed(1), job_id="j", lease=lease, timeout=0.5, concurrency=1)
        assert report.counts == {"unknown": 1}
    report = await in_one_process(sandbox, lease, keyed(1), settle=3.0)
    assert report.counts == {"created": 1}
    assert await created(sandbox) == ["Room 0"]


@pytest.mark.parametrize("idle", [math.nan, math.inf, -math.inf, -5, True, "9", None, 1j])
def test_what_is_not_a_number_of_seconds_proves_nothing(idle: Any) -> None:
    assert idle_of(HeldLease(idle)) == 0.0


def test_a_lease_need_not_say_how_long_it_was_idle() -> None:
    class Vague:
        fresh = False

        def left(self) -> float:
            return 100.0

        @property
        def idle(self) -> float:
            raise OSError

    class Plain:
        fresh = False

        def left(self) -> float:
            return 100.0

    assert idle_of(Vague()) == idle_of(Plain()) == 0.0
    assert idle_of(HeldLease(7)) == 7.0


class TestLeases:
    def test_the_first_run_is_the_first(self) -> None:
        leases, one, other = Leases(), HeldLease(), HeldLease()
        assert [leases.is_first_run(lease) for lease in (one, other, one, one)] == [True, True, False, False]

    def test_it_keeps_no_lease_alive_and_no_memory_of_it(self) -> None:
        leases = Leases()
        for _ in range(100):
            assert leases.is_first_run(HeldLease())
        assert not leases._used

    def test_what_it_cannot_know_it_does_not_claim(self) -> None:
        class Slotted:
            __slots__ = ()
            fresh = True

            def left(self) -> float:
                return 100.0

        leases, lease = Leases(), Slotted()
        assert not leases.is_first_run(lease)
        assert not leases.is_first_run(lease)
