"""A run with a lease sends a create only while the lease outlasts the attempt."""

import asyncio
import logging
import math
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.jobs import SETTLE, check_rooms, client_of, keyed, own_rooms

from videoapi import (
    BulkReport,
    ConfigurationError,
    CreateOutcomeUnknown,
    LeaseHeld,
    LeaseLost,
    Outcome,
    Request,
    RoomSpec,
    Send,
    SessionManager,
    VideoClient,
)
from videoapi.bulk.lease import MARGIN
from videoapi.sandbox import Sandbox

ATTEMPT = 5.0
LONG = 100.0


class HeldLease:
    """A lease whose time a test sets."""

    def __init__(self, left: float | Callable[[], float] = LONG, *, fresh: bool = True) -> None:
        self.fresh = fresh
        self.time = left
        self.asked = 0

    def left(self) -> float:
        self.asked += 1
        return self.time() if callable(self.time) else self.time


async def run_shard(
    sandbox: Sandbox, lease: Any, specs: list[RoomSpec], *, client: dict[str, Any] | None = None, **options: Any
) -> BulkReport:
    async with client_of(sandbox, **{"attempt_timeout": ATTEMPT, **(client or {})}) as made:
        return await made.rooms.create_many(specs, job_id="j", lease=lease, **options)


async def test_a_fresh_shard_is_created_at_once_without_reading_the_list(sandbox: Sandbox) -> None:
    report = await run_shard(sandbox, HeldLease(), keyed(20), client={"settle": 60.0})
    assert report.counts == {"created": 20}
    assert report.stopped is None
    assert sandbox.ledger.requests("rooms.list") == 0
    assert len(own_rooms(sandbox)) == len(sandbox.ledger.rooms) == 20


async def test_a_shard_that_was_leased_before_looks_at_the_list_first(sandbox: Sandbox) -> None:
    specs = keyed(12)
    await run_shard(sandbox, HeldLease(), specs[:5])
    report = await run_shard(sandbox, HeldLease(fresh=False), specs)
    assert report.counts == {"created": 12}
    assert sandbox.ledger.duplicates() == {}
    assert len(own_rooms(sandbox)) == 12
    assert not check_rooms(sandbox)


async def test_a_lease_that_does_not_say_that_it_is_fresh_is_not(sandbox: Sandbox) -> None:
    class Vague:
        @property
        def fresh(self) -> bool:
            raise OSError

        def left(self) -> float:
            return LONG

    specs = keyed(3)
    await run_shard(sandbox, HeldLease(), specs)
    assert (await run_shard(sandbox, Vague(), specs)).counts == {"created": 3}
    assert sandbox.ledger.duplicates() == {}


@pytest.mark.parametrize("left", [ATTEMPT + MARGIN - 0.001, 0.0, -3.0, -math.inf, math.nan])
async def test_nothing_is_sent_if_the_lease_ends_too_soon(sandbox: Sandbox, left: float) -> None:
    report = await run_shard(sandbox, HeldLease(left), keyed(5))
    assert isinstance(report.stopped, LeaseLost)
    assert report.stopped.retryable
    assert not report.stopped.may_have_executed
    assert set(report.counts) == {"not_sent"}
    assert sandbox.ledger.requests("rooms.create") == 0
    assert all(outcome.error is report.stopped for outcome in report.not_sent)


async def test_a_lease_of_exactly_the_time_of_an_attempt_and_the_margin_suffices(sandbox: Sandbox) -> None:
    report = await run_shard(sandbox, HeldLease(ATTEMPT + MARGIN), keyed(3))
    assert report.counts == {"created": 3}


@pytest.mark.parametrize("error", [OSError("x"), TypeError("x"), LeaseLost("x")])
async def test_a_lease_that_raises_is_lost(sandbox: Sandbox, error: Exception) -> None:
    def raises() -> float:
        raise error

    report = await run_shard(sandbox, HeldLease(raises), keyed(3))
    assert isinstance(report.stopped, LeaseLost)
    assert report.stopped.__cause__ is error
    assert sandbox.ledger.requests("rooms.create") == 0


async def test_a_lease_that_says_nonsense_is_lost(sandbox: Sandbox) -> None:
    report = await run_shard(sandbox, HeldLease(lambda: "long"), keyed(3))  # type: ignore[arg-type,return-value]
    assert isinstance(report.stopped, LeaseLost)
    assert sandbox.ledger.requests("rooms.create") == 0


@pytest.mark.parametrize("fast_path", [True, False])
async def test_the_lease_is_asked_again_after_the_connection_is_there(sandbox: Sandbox, fast_path: bool) -> None:
    """As late as possible: it ends while the create waits for its turn, its credentials or its connection."""
    lease = HeldLease()

    async def credentials() -> tuple[str, str]:
        lease.time = 0.0
        return sandbox.app_id, sandbox.app_key

    async with SessionManager(fast_path=fast_path) as session:
        client = VideoClient(
            credentials=credentials, base_url=sandbox.base_url, session=session, attempt_timeout=ATTEMPT, settle=SETTLE
        )
        async with client:
            report = await client.rooms.create_many(keyed(4), job_id="j", lease=lease)
    assert isinstance(report.stopped, LeaseLost)
    assert report.counts["not_sent"] == report.total
    assert sandbox.ledger.requests("rooms.create") == 0


async def test_no_await_is_between_the_check_and_the_write(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other callback of the event loop runs between them, so a loop that was stopped does not wake there."""
    loop = asyncio.get_running_loop()
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(count)

    checked: list[int] = []
    written: list[int] = []
    lease = HeldLease(lambda: checked.append(turns) or LONG)  # type: ignore[func-returns-value]
    transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def noted(self: Any, data: bytes) -> None:
        if data.startswith(b"POST"):
            written.append(turns)
            assert checked[-1] == turns
        write(self, data)

    monkeypatch.setattr(transport, "write", noted)
    count()
    report = await run_shard(sandbox, lease, keyed(10))
    assert report.counts == {"created": 10}
    assert len(written) == 10


async def test_a_lease_that_ends_in_mid_run_leaves_every_item_with_a_true_outcome(sandbox: Sandbox) -> None:
    lease = HeldLease()
    lease.time = lambda: 0.0 if len(sandbox.ledger.rooms) >= 7 else LONG
    report = await run_shard(sandbox, lease, keyed(40), concurrency=4)
    assert isinstance(report.stopped, LeaseLost)
    assert not report.exhausted
    assert report.counts["created"] == len(sandbox.ledger.rooms) < 40
    assert {outcome.room_id for outcome in report.made} == set(sandbox.ledger.rooms)
    again = await run_shard(sandbox, HeldLease(fresh=False), keyed(40))
    assert again.counts == {"created": 40}
    assert sandbox.ledger.duplicates() == {}


async def test_a_lease_that_was_refused_once_does_not_come_back(sandbox: Sandbox) -> None:
    times = iter([LONG, LONG, 0.0])
    report = await run_shard(sandbox, HeldLease(lambda: next(times, LONG)), keyed(5), concurrency=1)
    assert isinstance(report.stopped, LeaseLost)
    assert len(sandbox.ledger.rooms) <= 1


async def test_a_create_in_doubt_stays_in_doubt_when_the_lease_ends(sandbox: Sandbox) -> None:
    sandbox.plan(["reset_after"])
    lease = HeldLease()
    lease.time = lambda: 0.0 if sandbox.ledger.rooms else LONG
    report = await run_shard(sandbox, lease, keyed(3), concurrency=1, client={"settle": 30.0})
    assert isinstance(report.stopped, LeaseLost)
    assert report.counts["unknown"] == 1
    assert isinstance(report.unknown[0].error, CreateOutcomeUnknown)
    assert len(sandbox.ledger.rooms) == 1
    assert (await run_shard(sandbox, HeldLease(fresh=False), keyed(3))).counts == {"created": 3}
    assert sandbox.ledger.duplicates() == {}


async def test_what_was_proven_absent_is_not_sent_again_without_the_lease(sandbox: Sandbox) -> None:
    sandbox.plan(["reset"])
    lease = HeldLease()
    lease.time = lambda: 0.0 if sandbox.ledger.requests("rooms.list") else LONG
    report = await run_shard(sandbox, lease, keyed(2), concurrency=1)
    assert isinstance(report.stopped, LeaseLost)
    assert sandbox.ledger.requests("rooms.create") == 2
    assert report.counts["created"] == 1


async def test_a_self_check_room_needs_the_lease(sandbox: Sandbox) -> None:
    lease = HeldLease(fresh=False)
    lease.time = lambda: 0.0 if sandbox.ledger.requests("rooms.list") else LONG
    report = await run_shard(sandbox, lease, keyed(2))
    assert isinstance(report.stopped, LeaseLost)
    assert sandbox.ledger.requests("rooms.create") == 0


async def test_a_run_that_waits_ends_with_its_lease(sandbox: Sandbox) -> None:
    ends = time.monotonic() + 1.0
    lease = HeldLease(lambda: LONG if time.monotonic() < ends else 0.0, fresh=False)
    began = time.monotonic()
    report = await run_shard(sandbox, lease, keyed(2), client={"settle": 60.0})
    assert time.monotonic() - began < 30
    assert isinstance(report.stopped, LeaseLost)
    assert report.not_sent
    assert not own_rooms(sandbox)


async def test_nothing_is_said_of_a_retry_when_the_lease_is_lost(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    lease = HeldLease()
    lease.time = lambda: 0.0 if sandbox.ledger.rooms else LONG
    with caplog.at_level(logging.INFO, logger="videoapi"):
        # Items wait for the rate when the lease ends.
        report = await run_shard(sandbox, lease, keyed(6), client={"rate": "2/s"})
    assert isinstance(report.stopped, LeaseLost)
    assert report.not_sent
    assert not [record.getMessage() for record in caplog.records if "retrying" in record.getMessage()]


async def test_create_each_has_the_same_fence(sandbox: Sandbox) -> None:
    lease = HeldLease()
    lease.time = lambda: 0.0 if len(sandbox.ledger.rooms) >= 3 else LONG
    outcomes = []
    async with client_of(sandbox, attempt_timeout=ATTEMPT) as client:
        with pytest.raises(LeaseLost) as lost:
            async with client.rooms.create_each(keyed(30), job_id="j", lease=lease, concurrency=2) as run:
                async for outcome in run:
                    outcomes.append(outcome.status)
    assert lost.value.report.counts["created"] == len(sandbox.ledger.rooms) == outcomes.count("created") < 30


async def test_a_middleware_cannot_drop_the_fence(sandbox: Sandbox) -> None:
    lease = HeldLease()

    async def slow(request: Request, send: Send) -> Outcome:
        lease.time = 0.0
        return await send(request.with_headers({"X-Trace": "1"}))

    report = await run_shard(sandbox, lease, keyed(2), client={"middleware": [slow]})
    assert isinstance(report.stopped, LeaseLost)
    assert sandbox.ledger.requests("rooms.create") == 0


async def test_shards_neither_use_nor_delete_each_others_self_check_rooms(sandbox: Sandbox) -> None:
    specs = keyed(20)
    await run_shard(sandbox, HeldLease(), specs[:9])
    await run_shard(sandbox, HeldLease(), specs[10:19])
    reports = await asyncio.gather(
        run_shard(sandbox, HeldLease(fresh=False), specs[:10]),
        run_shard(sandbox, HeldLease(fresh=False), specs[10:]),
    )
    assert [report.counts for report in reports] == [{"created": 10}, {"created": 10}]
    checks = [entry for entry in sandbox.ledger.created if "self-check" in str(entry.name)]
    assert len(checks) >= 2
    assert sandbox.ledger.requests("rooms.delete") == len(checks)
    assert len(sandbox.ledger.rooms) == 20


async def test_a_killed_shard_leaves_a_self_check_room_that_its_next_run_deletes(sandbox: Sandbox) -> None:
    async with client_of(sandbox, attempt_timeout=ATTEMPT, settle=60.0) as client:
        run = asyncio.ensure_future(
            client.rooms.create_many(keyed(3), job_id="j", lease=HeldLease(fresh=False), keep_rooms=False)
        )
        while not check_rooms(sandbox):
            await asyncio.sleep(0.01)
        sandbox.fault("rooms.delete", "reset", times=None)
        run.cancel()
        await asyncio.wait([run])
    assert check_rooms(sandbox)
    sandbox.clear_faults()
    await run_shard(sandbox, HeldLease(fresh=False), keyed(3))
    assert not check_rooms(sandbox)
    assert len(own_rooms(sandbox)) == 3


async def test_a_fence_without_the_fast_path_says_what_it_loses(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with SessionManager(fast_path=False) as session:
            await run_shard(sandbox, HeldLease(), keyed(3), client={"session": session})
    assert [record.message[:45] for record in caplog.records].count(
        "The lease of this run is checked before aioht"
    ) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        await run_shard(sandbox, HeldLease(), keyed(3))
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"job_id": None}, "needs a job_id"),
        ({"journal": "x.sqlite"}, "journal"),
        ({"dedupe": "delete"}, "dedupe"),
        ({"audit": "settled"}, "rooms.audit"),
        ({"lease": 3}, "RedisLeases"),
    ],
)
async def test_what_a_shard_cannot_have_is_refused(client: VideoClient, options: dict[str, Any], said: str) -> None:
    given = {"job_id": "j", "lease": HeldLease(), **options}
    with pytest.raises(ConfigurationError, match=said):
        await client.rooms.create_many(keyed(1), **given)
    with pytest.raises(ConfigurationError, match=said):
        client.rooms.create_each(keyed(1), **given)


async def test_a_spec_of_a_shard_needs_a_key(sandbox: Sandbox) -> None:
    report = await run_shard(sandbox, HeldLease(), [RoomSpec("No key"), *keyed(1)])
    assert report.counts == {"failed": 1, "created": 1}
    assert "key" in str(report.failures[0].error)


async def test_a_shard_is_not_audited(sandbox: Sandbox) -> None:
    report = await run_shard(sandbox, HeldLease(), keyed(2), audit=True)
    assert report.audited is None
    assert sandbox.ledger.requests("rooms.list") == 0


def test_the_errors_of_leases_can_be_pickled() -> None:
    held = pickle.loads(pickle.dumps(LeaseHeld("held", shard="7", retry_after=3.0)))
    assert (held.shard, held.retry_after, str(held)) == ("7", 3.0, "held")
