"""Settle times count from the question, proof survives what others delete, and reports claim what was proven."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from history.lives import Plan, live
from support.jobs import LONG, SETTLE, abandon_job, check_rooms, client_of, created, keyed, name_of, own_rooms, run_job

from videoapi import (
    CallTimeout,
    CreateOutcomeUnknown,
    Outcome,
    Request,
    RetryPolicy,
    RoomSettings,
    RoomSpec,
    Send,
    SessionManager,
    VideoAPIError,
    VideoClient,
    reference_for,
)
from videoapi.bulk import BulkReport
from videoapi.pipeline.clock import Clock
from videoapi.sandbox import Sandbox

JOURNALS = pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
WAYS = pytest.mark.parametrize("way", ["create_many", "create_each"])
UNREADABLE = {"status": 200, "body": b'{"result": 0, "rooms": []} and more'}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(40)]


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a job, with a journal if the test's parameter says so."""
    return {"journal": tmp_path / "journal"} if request.node.callspec.params.get("journal") else {}


@pytest.fixture
async def old(sandbox: Sandbox) -> AsyncIterator[VideoClient]:
    """A client that is older than a settle time, with known rooms of both kinds that are older, too."""
    async with client_of(sandbox) as client:
        await client.rooms.create(name="known")
        await client.rooms.create(name="known, too", owner_ref="mine")
        await asyncio.sleep(1.5 * SETTLE)
        yield client


async def run(client: VideoClient, way: str, given: Any, **options: Any) -> BulkReport:
    """Run creates to their end in one of both ways, and return the report."""
    if way == "create_many":
        return await client.rooms.create_many(given, **options)
    async with client.rooms.create_each(given, **options) as outcomes:
        async for _ in outcomes:
            pass
    return outcomes.report


class TestTheQuestion:
    async def test_old_client_does_not_deny_a_create_that_was_just_sent(
        self, sandbox: Sandbox, old: VideoClient
    ) -> None:
        sandbox.fault("rooms.create", "late", seconds=0.3)
        async with client_of(sandbox) as another:
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await another.rooms.create(name="a", on_unknown="strict")

        room = await old.rooms.resolve(caught.value.reference or "")

        assert room is not None, "it was created a moment later"
        assert room.name == "a"

    async def test_absence_is_still_proven_after_a_settle_time(self, sandbox: Sandbox, old: VideoClient) -> None:
        sandbox.fault("rooms.create", "drop_before")
        async with client_of(sandbox) as another:
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await another.rooms.create(name="a", on_unknown="strict")

        assert await old.rooms.resolve(caught.value.reference or "") is None

    async def test_own_create_that_is_long_ago_needs_no_second_settle_time(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox, settle=1.5) as client:
            await client.rooms.create(name="known")
            sandbox.fault("rooms.create", "drop_before")
            with pytest.raises(CreateOutcomeUnknown) as caught:
                await client.rooms.create(name="a", on_unknown="strict")
            await asyncio.sleep(1.6)
            began = asyncio.get_running_loop().time()

            assert await client.rooms.resolve(caught.value.reference or "") is None

            assert asyncio.get_running_loop().time() - began < 1.4

    @JOURNALS
    async def test_old_client_resumes_an_abandoned_job(
        self, sandbox: Sandbox, old: VideoClient, kept: dict[str, Any], journal: bool
    ) -> None:
        late = {f"Room {number}": ("late", {"seconds": 0.3}) for number in (3, 4)}
        await abandon_job(sandbox, keyed(6), late, **kept)

        report = await old.rooms.create_many(keyed(6), job_id="j", **kept)

        assert report.counts == {"created": 6}
        assert await created(sandbox) == sorted(["known", "known, too", *(spec.name for spec in keyed(6))])


class TestKnownRooms:
    async def test_rooms_deleted_by_others_hide_no_proof(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client, client_of(sandbox) as others:
            first = await client.rooms.create_many(keyed(40))
            for outcome in first.made:
                await others.rooms.delete(outcome.room_id or "")
            sandbox.plan(["drop_before", "drop_after"] * 3)

            report = await client.rooms.create_many(keyed(20))

        assert report.counts == {"created": 20}
        assert len(own_rooms(sandbox)) == 20

    async def test_rooms_deleted_by_others_hide_no_proof_of_a_single_create(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client, client_of(sandbox) as others:
            first = await client.rooms.create_many(keyed(40))
            await asyncio.sleep(SETTLE)
            for outcome in first.made[:-1]:
                await others.rooms.delete(outcome.room_id or "")
            sandbox.fault("rooms.create", "drop_before")

            room = await client.rooms.create(name="a", on_unknown="resend")

        assert room.name == "a"

    async def test_self_check_room_deleted_by_others_hides_no_proof(self, sandbox: Sandbox) -> None:
        sandbox.plan(["drop_before"] * 5)

        async def delete_one() -> None:
            async with client_of(sandbox) as others:
                while not check_rooms(sandbox):
                    await asyncio.sleep(0.01)
                await others.rooms.delete(check_rooms(sandbox)[0])

        async with client_of(sandbox) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(delete_one())
            report = await client.rooms.create_many(keyed(5))

        assert report.counts == {"created": 5}

    async def test_one_session_room_is_not_a_known_room(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client:
            room = await client.rooms.create(name="once", settings=RoomSettings.one_session())
            await asyncio.sleep(SETTLE)
            sandbox.fault("rooms.create", "drop_before")
            await client.rooms.create(name="a", on_unknown="resend")

        others = [entry for entry in sandbox.ledger.created if entry.name not in ("once", "a")]
        assert others, "only the one-session room was there to prove anything"
        assert set(own_rooms(sandbox)) >= {room.room_id}

    async def test_message_does_not_claim_what_was_not_looked_at(self, sandbox: Sandbox, old: VideoClient) -> None:
        sandbox.fault("rooms.create", "drop_before")
        with pytest.raises(CreateOutcomeUnknown) as caught:
            await old.rooms.create(name="a", on_unknown="strict")
        sandbox.set(list_cap=0)
        sandbox.fault("rooms.get", "status", times=None, status=500)

        with pytest.raises(CreateOutcomeUnknown) as resolved:
            await old.with_options(timeout=3).rooms.resolve(caught.value.reference or "")

        assert not re.search(r"[0-9a-f]{24},? (?:which )?exists", str(resolved.value)), str(resolved.value)


class TestSelfCheckRooms:
    @JOURNALS
    async def test_next_run_deletes_what_a_killed_one_left(
        self, sandbox: Sandbox, tmp_path: Path, journal: bool
    ) -> None:
        plan = attrs.evolve(Plan.of(sandbox, "j", 4, tmp_path, journal=journal), settle=SETTLE)
        sandbox.plan(["drop_before"] * 4 if journal else [])
        assert not await live(sandbox, plan, lambda: bool(check_rooms(sandbox)))

        report = await run_job(sandbox, keyed(4), journal=plan.journal)

        assert report.counts == {"created": 4}
        assert check_rooms(sandbox) == []

    async def test_second_killed_run_uses_the_room_of_the_first(self, sandbox: Sandbox, tmp_path: Path) -> None:
        plan = attrs.evolve(Plan.of(sandbox, "j", 4, tmp_path, journal=False), settle=SETTLE)
        for life in range(3):
            seen = sandbox.ledger.requests("rooms.list")
            await live(
                sandbox,
                attrs.evolve(plan, life=life),
                lambda: bool(check_rooms(sandbox)) and sandbox.ledger.requests("rooms.list") > seen,  # noqa: B023
            )

        assert len(check_rooms(sandbox)) <= 1

    @pytest.mark.parametrize("jobs", [("j", "k"), (None, None), ("j", None)], ids=str)
    async def test_run_does_not_delete_the_room_of_another(self, sandbox: Sandbox, jobs: tuple[Any, Any]) -> None:
        async with client_of(sandbox, settle=3.0) as slow, client_of(sandbox) as quick:
            sandbox.plan(["drop_before"] * 2)
            first = asyncio.create_task(slow.rooms.create_many(keyed(2), job_id=jobs[0]))
            while not check_rooms(sandbox):
                await asyncio.sleep(0.01)
            (check,) = check_rooms(sandbox)
            sandbox.plan(["drop_before"] * 2)
            await quick.rooms.create_many([RoomSpec(f"Other {n}", key=n) for n in range(2)], job_id=jobs[1])

            assert check in sandbox.ledger.rooms
            assert not first.done()
            assert (await first).counts == {"created": 2}
        assert check_rooms(sandbox) == []

    @WAYS
    async def test_cancelled_run_deletes_its_rooms_before_it_ends(
        self, sandbox: Sandbox, client: VideoClient, way: str
    ) -> None:
        sandbox.plan(["drop_before"] * 3)
        task = asyncio.ensure_future(run(client, way, keyed(3), job_id="j"))
        while not check_rooms(sandbox):
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])

        assert check_rooms(sandbox) == []

    # With a `Retry-After` of a second, so that a busy machine does not decide how often the calls are repeated.
    @pytest.mark.parametrize(
        "fault", [("status", {"status": 503}), "drop_before", ("throttle", {"retry_after": 1})], ids=str
    )
    async def test_making_one_in_an_outage_obeys_backoff_and_budget(self, sandbox: Sandbox, fault: Any) -> None:
        kind, options = fault if isinstance(fault, tuple) else (fault, {})
        sandbox.fault("rooms.create", kind, times=None, **options)
        sent: list[str] = []

        async def noting(request: Request, send: Send) -> Outcome:
            if name := name_of(request):
                sent.append(name)
            return await send(request)

        async with client_of(sandbox, timeout=1.9, middleware=[noting]) as client:
            singles = (client.rooms.create(name=f"Room {n}", on_unknown="resend") for n in range(20))
            results = await asyncio.gather(*singles, return_exceptions=True)

        assert all(isinstance(result, VideoAPIError) for result in results)
        checks = sandbox.ledger.requests("rooms.create") - 20
        assert checks <= 20, f"{checks} more creates arrived"

    @JOURNALS
    @pytest.mark.parametrize("job_id", [None, "j"], ids=["without job", "with job"])
    async def test_run_gives_up_once_on_making_one(
        self, sandbox: Sandbox, kept: dict[str, Any], job_id: str | None, journal: bool
    ) -> None:
        sandbox.fault("rooms.create", "drop_before", times=None)
        options = {**kept, "job_id": job_id} if job_id else {}
        async with client_of(sandbox) as client:
            report = await client.rooms.create_many(keyed(1), give_up_after=0.4, audit=False, **options)

        assert report.counts == {"unknown": 1}
        assert report.stopped is None
        assert "No self-check room was created within 0.4 s (give_up_after)" in str(report.unknown[0].error)
        # One before and one after the wait; a resumed job has looked before.
        assert sandbox.ledger.requests("rooms.list") <= 5

    async def test_run_does_not_wait_longer_than_give_up_after_for_one(self, sandbox: Sandbox) -> None:
        sandbox.fault("rooms.create", "status", status=503, times=None)
        sent: list[float] = []

        async def noting(request: Request, send: Send) -> Outcome:
            if request.route.name == "rooms.create":
                sent.append(asyncio.get_running_loop().time())
            return await send(request)

        # It waits 0.25, 0.5, 1 and 2 s.
        async with SessionManager(clock=Clock(random=lambda: 1.0)) as manager:
            async with client_of(sandbox, session=manager, middleware=[noting]) as client:
                report = await client.rooms.create_many(keyed(1), give_up_after=1.2, audit=False)
                ended = asyncio.get_running_loop().time()

        assert report.counts == {"unknown": 1}
        assert len(sent) == 1 + 3
        assert ended - sent[1] < 1.2 + SETTLE

    @JOURNALS
    async def test_creates_of_a_run_that_can_make_none_say_why_nothing_is_proved(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        sandbox.fault("rooms.create", "status", status=503, times=None)
        async with client_of(sandbox) as client:
            for _ in range(1 + journal):
                # The second run has not sent them.
                report = await client.rooms.create_many(keyed(3), job_id="j", give_up_after=0.3, audit=False, **kept)
                assert report.counts == {"unknown": 3}
                for outcome in report.unknown:
                    assert "No self-check room was created within 0.3 s (give_up_after)" in str(outcome.error)
                    assert isinstance(outcome.error, CreateOutcomeUnknown)
                    assert isinstance(outcome.error.__cause__, CallTimeout)
                    assert "The last attempt: HTTP 503." in str(outcome.error.__cause__)

    async def test_run_that_can_make_none_reads_no_further(self, sandbox: Sandbox) -> None:
        sandbox.fault("rooms.create", "status", status=503, times=None)
        read = 0

        def given() -> Iterator[RoomSpec]:
            nonlocal read
            for spec in keyed(2_100):
                read += 1
                yield spec

        async with client_of(sandbox) as client:
            report = await client.rooms.create_many(given(), give_up_after=0.3, audit=False)

        assert isinstance(report.stopped, CallTimeout)
        assert "within 0.3 s (give_up_after). The last attempt: HTTP 503." in str(report.stopped)
        assert report.counts == {"unknown": read}
        assert 1_000 <= read < 1_100

    async def test_failure_to_make_one_ends_when_known_rooms_serve(self, sandbox: Sandbox) -> None:
        given = [RoomSpec(f"Room {number}", key=number) for number in range(1_010)]
        async with client_of(sandbox) as client:
            for spec in given[:3]:
                await client.rooms.create(name=spec.name, reference=reference_for("j", spec.key))
        outage = sandbox.fault("rooms.create", "status", status=503, times=None)

        async def recover(client: VideoClient) -> None:
            while not client.stats().settling:
                await asyncio.sleep(0.01)
            outage.cancel()

        async with client_of(sandbox) as client:
            recovering = asyncio.create_task(recover(client))
            report = await client.rooms.create_many(given, job_id="j", give_up_after=0.4, audit=False)
            await recovering

        assert report.stopped is None
        assert report.counts == {"created": len(given)}

    async def test_creates_in_doubt_are_those_that_wait(self, sandbox: Sandbox) -> None:
        sandbox.plan([*["drop_after"] * 5, "drop_before"])
        waiting: list[int] = []

        async def watch(report: BulkReport) -> None:
            while not report.settles_at:
                await asyncio.sleep(0.01)
            waiting.append(report.in_doubt)

        async with client_of(sandbox) as client:
            await client.rooms.create(name="known")
            outcomes = client.rooms.create_each(keyed(6), concurrency=1)
            watching = asyncio.create_task(watch(outcomes.report))
            async with outcomes:
                assert [outcome.status async for outcome in outcomes] == ["created"] * 6
            await watching

        assert waiting == [1]

    @JOURNALS
    async def test_run_whose_client_is_closed_while_it_looks_back_is_stopped(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        await abandon_job(sandbox, keyed(1), {}, **kept)
        for path in kept.values():
            path.unlink()
        async with client_of(sandbox, settle=LONG) as client:
            running = asyncio.create_task(client.rooms.create_many(keyed(1), job_id="j", **kept))
            while not client.stats().settling:
                await asyncio.sleep(0.01)
            await client.aclose()
            report = await running

        assert "closed" in str(report.stopped)


class TestUnreadableLists:
    @JOURNALS
    @WAYS
    async def test_first_look_of_a_resumed_job(
        self, sandbox: Sandbox, kept: dict[str, Any], way: str, journal: bool
    ) -> None:
        await run_job(sandbox, keyed(4))
        sandbox.fault("rooms.list", "status", times=2, **UNREADABLE)

        async with client_of(sandbox) as client:
            report = await run(client, way, keyed(6), job_id="j", **kept)

        assert report.counts == {"created": 6}
        assert len(own_rooms(sandbox)) == 6

    @WAYS
    async def test_settle_scan(self, sandbox: Sandbox, client: VideoClient, way: str) -> None:
        sandbox.plan([None, "drop_after", "drop_before"])
        sandbox.fault("rooms.list", "status", times=2, **UNREADABLE)

        report = await run(client, way, keyed(4))

        assert report.counts == {"created": 4}
        assert len(own_rooms(sandbox)) == 4

    @WAYS
    async def test_audit(self, sandbox: Sandbox, client: VideoClient, way: str) -> None:
        sandbox.fault("rooms.list", "status", times=2, **UNREADABLE)

        report = await run(client, way, keyed(4), audit="settled")

        assert isinstance(report.audited, datetime)

    @pytest.mark.parametrize("fault", ["result_after", "truncated", "cut", "html", "empty"])
    async def test_other_unreadable_answers_of_a_first_look(self, sandbox: Sandbox, fault: str) -> None:
        await run_job(sandbox, keyed(4))
        sandbox.fault("rooms.list", fault, times=1)

        report = await run_job(sandbox, keyed(6))

        assert report.counts == {"created": 6}

    @JOURNALS
    async def test_list_that_stays_unreadable_stops_the_run_and_says_so(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        await run_job(sandbox, keyed(4))
        sandbox.fault("rooms.list", "status", times=None, **UNREADABLE)
        creates = sandbox.ledger.requests("rooms.create")
        read: list[RoomSpec] = []

        async with asyncio.timeout(30), client_of(sandbox) as client:
            given = (read.append(spec) or spec for spec in keyed(6))  # type: ignore[func-returns-value]
            report = await client.rooms.create_many(given, job_id="j", give_up_after=1, **kept)

        assert report.stopped is not None
        assert report.total == len(read)
        assert report.counts["created"] == report.counts["failed"] == 0
        assert set(own_rooms(sandbox)) == {
            entry.room_id for entry in sandbox.ledger.created if "Room" in str(entry.name)
        }
        assert sandbox.ledger.requests("rooms.create") - creates <= 2, "only self-check rooms"

    async def test_time_of_a_reading_that_hangs_counts(self, sandbox: Sandbox, client: VideoClient) -> None:
        limited = client.with_options(attempt_timeout=1, retry=RetryPolicy(attempts=1))
        sandbox.fault("rooms.list", "delay", seconds=3, times=None)
        # The shortest backoff fits in, but not after the reading.
        await limited.rooms.create_many([RoomSpec("Room")], give_up_after=0.9)
        assert sandbox.ledger.requests("rooms.list") == 1


class TestAudit:
    @WAYS
    async def test_settled_audit_proves_the_whole_run(self, sandbox: Sandbox, client: VideoClient, way: str) -> None:
        report = await run(client, way, keyed(5), audit="settled")

        last = max(entry.at for entry in sandbox.ledger.created)
        assert isinstance(report.audited, datetime)
        assert last <= report.audited <= datetime.now(UTC)
        assert report.missing == []
        assert report.duplicates == {}

    @WAYS
    async def test_audit_does_not_wait_and_does_not_claim(self, sandbox: Sandbox, way: str) -> None:
        async with asyncio.timeout(20), client_of(sandbox, settle=LONG) as client:
            report = await run(client, way, keyed(5))

        assert report.audited is None, "a list as young as the run proves nothing of it"

    @WAYS
    async def test_no_audit_is_none(self, client: VideoClient, way: str) -> None:
        report = await run(client, way, keyed(2), audit=False)

        assert report.audited is None

    @WAYS
    async def test_all_missing_rooms_are_reported(self, sandbox: Sandbox, way: str) -> None:
        async with client_of(sandbox) as others:

            async def deletes(request: Request, send: Send) -> Outcome:
                outcome = await send(request)
                if name_of(request).startswith("Room "):
                    await others.rooms.delete(outcome.value.room_id)
                return outcome

            async with client_of(sandbox, middleware=[deletes]) as client:
                report = await run(client, way, keyed(60), audit="settled")

        assert isinstance(report.audited, datetime)
        assert len(report.missing) == 60

    @WAYS
    @pytest.mark.parametrize("audit", [True, "settled"])
    async def test_rooms_that_appear_late_are_not_missing(self, sandbox: Sandbox, way: str, audit: Any) -> None:
        sandbox.set(list_lag=0.5, get_lag=0.5)
        async with client_of(sandbox, settle=0.8) as client:
            report = await run(client, way, keyed(30), audit=audit)

        assert report.counts == {"created": 30}
        assert report.missing == []
        assert (report.audited is not None) is (audit == "settled")

    @WAYS
    async def test_two_runs_of_a_job_at_once_are_not_audited_clean(self, sandbox: Sandbox, way: str) -> None:
        async with client_of(sandbox) as one, client_of(sandbox) as other:
            reports = await asyncio.gather(
                *(run(client, way, keyed(30), job_id="j", audit="settled") for client in (one, other))
            )

        doubles = sandbox.ledger.duplicates()
        assert doubles, "the two did not meet"
        audited = [report for report in reports if isinstance(report.audited, datetime)]
        assert audited
        assert max(audited, key=lambda report: report.audited).duplicates.keys() == doubles.keys()

    @WAYS
    async def test_quick_audit_of_two_runs_claims_nothing_that_is_wrong(self, sandbox: Sandbox, way: str) -> None:
        sandbox.set(list_lag=0.3)
        async with client_of(sandbox) as one, client_of(sandbox) as other:
            reports = await asyncio.gather(*(run(client, way, keyed(30), job_id="j") for client in (one, other)))

        doubles = sandbox.ledger.duplicates()
        assert all(report.audited is None or report.duplicates.keys() == doubles.keys() for report in reports)


class TestDedupe:
    @WAYS
    @pytest.mark.parametrize("job_id", [None, "j"], ids=["without job", "with job"])
    async def test_acknowledged_rooms_are_kept(self, sandbox: Sandbox, way: str, job_id: str | None) -> None:
        acknowledged: set[str | None] = set()
        async with client_of(sandbox, middleware=[twice]) as client:
            async with client.rooms.create_each(keyed(10), dedupe="delete", job_id=job_id) as outcomes:
                acknowledged = {outcome.room_id async for outcome in outcomes}
            if way == "create_many":
                more = [RoomSpec(f"More {number}", key=f"more-{number}") for number in range(10)]
                report = await client.rooms.create_many(more, dedupe="delete", job_id=job_id)
                acknowledged |= {outcome.room_id for outcome in report.made}

        assert acknowledged <= set(own_rooms(sandbox))

    @WAYS
    async def test_rooms_acknowledged_by_an_earlier_run_are_kept(
        self, sandbox: Sandbox, tmp_path: Path, way: str
    ) -> None:
        async with client_of(sandbox, middleware=[twice]) as client:
            first = await client.rooms.create_many(keyed(10), job_id="j", journal=tmp_path / "journal")
        async with client_of(sandbox) as client:
            await run(client, way, keyed(10), job_id="j", journal=tmp_path / "journal", dedupe="delete")

        assert {outcome.room_id for outcome in first.made} <= set(own_rooms(sandbox))

    async def test_rooms_are_kept_when_the_consumer_leaves(self, sandbox: Sandbox) -> None:
        acknowledged: list[str | None] = []
        async with client_of(sandbox, middleware=[twice]) as client:
            async with client.rooms.create_each(keyed(10), dedupe="delete", concurrency=2) as outcomes:
                async for outcome in outcomes:
                    acknowledged.append(outcome.room_id)
                    if len(acknowledged) == 5:
                        break
            acknowledged += [outcome.room_id for outcome in outcomes.report.made]

        assert set(acknowledged) <= set(own_rooms(sandbox))


async def twice(request: Request, send: Send) -> Outcome:
    """Send each create twice, and acknowledge the second room, which the list shows last."""
    if name_of(request):
        await send(request)
    return await send(request)
