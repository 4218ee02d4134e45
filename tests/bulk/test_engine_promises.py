"""What the engine of bulk runs promises: one reader, waits that end, and errors that stay with their item."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from history.runs import REFUSAL
from support.jobs import LONG, abandon_job, client_of, keyed, name_of, own_rooms

from videoapi import (
    AuthenticationFailed,
    CallTimeout,
    ConfigurationError,
    Outcome,
    Request,
    RoomSpec,
    Send,
    VideoAPIError,
    VideoClient,
)
from videoapi.bulk import BulkOutcome, BulkReport
from videoapi.sandbox import Sandbox

WAYS = pytest.mark.parametrize("way", ["create_many", "create_each"])
JOBS = pytest.mark.parametrize("job_id", [None, "j"], ids=["without job", "with job"])
SOON = 10
"""Seconds that a run which should end at once may take on a busy machine."""
pytestmark = pytest.mark.timeout(30)


def all_of(report: BulkReport) -> list[BulkOutcome]:
    return sorted((*report.made, *report.failures, *report.unknown, *report.not_sent), key=lambda one: one.index)


async def run(client: VideoClient, way: str, given: Any, **options: Any) -> tuple[list[BulkOutcome], BulkReport]:
    """Run creates in one of both ways; return the outcomes in input order, and the report."""
    if way == "create_many":
        report = await client.rooms.create_many(given, **options)
        return all_of(report), report
    run = client.rooms.create_each(given, **options)
    outcomes = []
    raised: VideoAPIError | None = None
    try:
        async for outcome in run:
            outcomes.append(outcome)
    except VideoAPIError as error:
        raised = error
    assert raised is None or raised is run.report.stopped
    assert getattr(raised, "report", run.report) is run.report
    return sorted((*outcomes, *all_of(run.report)), key=lambda one: one.index), run.report


class TestOneReader:
    @JOBS
    async def test_context_of_an_async_generator_is_kept(self, client: VideoClient, job_id: str | None) -> None:
        place: ContextVar[int] = ContextVar("place", default=-1)
        right: list[bool] = []
        tasks: set[Any] = set()

        async def source() -> AsyncIterator[RoomSpec]:
            try:
                for number, spec in enumerate(keyed(40)):
                    right.append(place.get() == number - 1)
                    tasks.add(asyncio.current_task())
                    place.set(number)
                    await asyncio.sleep(0)
                    yield spec
            finally:
                tasks.add(asyncio.current_task())

        report = await client.rooms.create_many(source(), concurrency=5, job_id=job_id)

        assert report.counts == {"created": 40}
        assert right == [True] * 40
        assert len(tasks) == 1, "the generator was advanced or closed by several tasks"

    async def test_context_of_a_generator_is_kept(self, client: VideoClient, sandbox: Sandbox) -> None:
        place: ContextVar[int] = ContextVar("place", default=-1)
        right: list[bool] = []

        def source() -> Iterator[RoomSpec]:
            for number, spec in enumerate(keyed(40)):
                right.append(place.get() == number - 1)
                place.set(number)
                yield spec

        report = await client.rooms.create_many(source(), concurrency=5)

        assert report.counts == {"created": 40}
        assert right == [True] * 40

    @WAYS
    async def test_timeout_inside_a_generator_cancels_no_send(
        self, client: VideoClient, sandbox: Sandbox, way: str
    ) -> None:
        sandbox.fault("rooms.create", "delay", times=None, seconds=0.4)

        async def source() -> AsyncIterator[RoomSpec]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    for spec in keyed(4):
                        yield spec
                    await asyncio.Event().wait()
            yield RoomSpec("last", key="last")

        async with asyncio.timeout(SOON):
            outcomes, report = await run(client, way, source(), concurrency=2)

        assert {outcome.status for outcome in outcomes} == {"created"}
        assert len(outcomes) == len(own_rooms(sandbox))
        assert report.exhausted

    @pytest.mark.parametrize("ending", ["break", "cancelled", "timeout"])
    async def test_generator_is_closed_when_the_run_ends(
        self, client: VideoClient, sandbox: Sandbox, ending: str
    ) -> None:
        closed: list[str] = []

        async def source() -> AsyncIterator[RoomSpec]:
            try:
                for spec in keyed(1000):
                    yield spec
                    await asyncio.sleep(0.01)
            finally:
                await asyncio.sleep(0.01)
                closed.append("closed")

        async def consume() -> None:
            limit = 0.3 if ending == "timeout" else None
            async with client.rooms.create_each(source(), concurrency=2, timeout=limit) as outcomes:
                with contextlib.suppress(CallTimeout):
                    async for outcome in outcomes:
                        if ending == "break" and outcome.index == 3:
                            break

        task = asyncio.create_task(consume())
        if ending == "cancelled":
            while len(own_rooms(sandbox)) < 4:
                await asyncio.sleep(0.01)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=SOON)

        assert done
        assert closed == ["closed"]


def quiet(first: int, then: Callable[[], Any] = lambda: None) -> Callable[[], AsyncIterator[RoomSpec]]:
    """Return a source that yields a few specs, and then nothing more, for ever."""

    async def source() -> AsyncIterator[RoomSpec]:
        for spec in keyed(first):
            yield spec
        then()
        await asyncio.Event().wait()

    return source


@JOBS
class TestQuietSource:
    async def test_break_ends_the_run(self, client: VideoClient, job_id: str | None) -> None:
        async with asyncio.timeout(SOON):
            async with client.rooms.create_each(quiet(3)(), job_id=job_id) as outcomes:
                async for _ in outcomes:
                    break

        assert 1 <= outcomes.report.total <= 3

    async def test_error_of_the_consumer_ends_the_run(self, client: VideoClient, job_id: str | None) -> None:
        async with asyncio.timeout(SOON):
            with pytest.raises(LookupError):
                async with client.rooms.create_each(quiet(3)(), job_id=job_id) as outcomes:
                    async for _ in outcomes:
                        raise LookupError

    @WAYS
    async def test_timeout_ends_the_run(self, client: VideoClient, way: str, job_id: str | None) -> None:
        async with asyncio.timeout(SOON):
            outcomes, report = await run(client, way, quiet(3)(), timeout=1.5, job_id=job_id)

        assert [outcome.status for outcome in outcomes] == ["created"] * 3
        assert isinstance(report.stopped, CallTimeout)
        assert not report.exhausted

    @WAYS
    async def test_refusal_of_the_account_ends_the_run(self, sandbox: Sandbox, way: str, job_id: str | None) -> None:
        async with VideoClient(sandbox.app_id, "wrong", sandbox.base_url, settle=0.3) as client:
            async with asyncio.timeout(SOON):
                outcomes, report = await run(client, way, quiet(1)(), job_id=job_id)

        assert isinstance(report.stopped, AuthenticationFailed)
        assert all(outcome.status in ("failed", "not_sent") for outcome in outcomes)

    async def test_cancellation_ends_the_run(self, client: VideoClient, job_id: str | None) -> None:
        silent = asyncio.Event()
        task = asyncio.create_task(client.rooms.create_many(quiet(3, silent.set)(), job_id=job_id))
        async with asyncio.timeout(SOON):
            await silent.wait()
            task.cancel()
            await asyncio.wait([task])

        assert task.cancelled()


class TestWaits:
    @WAYS
    @JOBS
    @pytest.mark.parametrize("route", ["rooms.create", "*"])
    async def test_retry_after_does_not_outlast_the_timeout(
        self, client: VideoClient, sandbox: Sandbox, way: str, job_id: str | None, route: str
    ) -> None:
        sandbox.fault(route, "throttle", times=None, retry_after=30)

        async with asyncio.timeout(SOON):
            _, report = await run(client, way, keyed(5), timeout=1, job_id=job_id)

        assert isinstance(report.stopped, CallTimeout)
        assert own_rooms(sandbox) == {}

    async def test_retry_after_of_the_list_does_not_outlast_the_timeout(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        sandbox.plan([None, "drop_after"])
        sandbox.fault("rooms.list", "throttle", times=None, retry_after=30)

        async with asyncio.timeout(SOON):
            report = await client.rooms.create_many(keyed(5), timeout=1.5)

        assert report.total == 5
        assert isinstance(report.stopped, CallTimeout)

    async def test_retry_after_does_not_outlast_a_break(self, client: VideoClient, sandbox: Sandbox) -> None:
        sandbox.plan([None, ("throttle", {"retry_after": 30})])

        async with asyncio.timeout(SOON):
            async with client.rooms.create_each(keyed(9), concurrency=1) as outcomes:
                async for _ in outcomes:
                    while sandbox.ledger.requests("rooms.create") < 2:
                        await asyncio.sleep(0.01)
                    break

    @WAYS
    @pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
    async def test_settle_time_does_not_outlast_the_timeout(self, sandbox: Sandbox, way: str, kind: str) -> None:
        sandbox.plan([None, kind])

        async with asyncio.timeout(SOON), client_of(sandbox, settle=LONG) as client:
            outcomes, report = await run(client, way, keyed(3), timeout=1, concurrency=1)

        assert len(outcomes) == 3
        assert isinstance(report.stopped, CallTimeout) or kind == "drop_after"

    @WAYS
    @pytest.mark.parametrize("source", ["iterable", "async"])
    async def test_nothing_is_read_after_a_refusal_of_the_account(
        self, sandbox: Sandbox, way: str, source: str
    ) -> None:
        read: list[RoomSpec] = []
        read_before: list[int] = []

        def sync() -> Iterator[RoomSpec]:
            for spec in keyed(500):
                read.append(spec)
                yield spec

        async def later() -> AsyncIterator[RoomSpec]:
            for spec in sync():
                yield spec
                # Long enough for the answer to the first to arrive while the others wait for theirs.
                await asyncio.sleep(0.1)

        async def noting(request: Request, send: Send) -> Outcome:
            outcome = await send(request)
            if outcome.status in (401, 403) and not read_before:
                read_before.append(len(read))
            return outcome

        client = VideoClient(sandbox.app_id, "wrong", sandbox.base_url, middleware=[noting])
        async with client, asyncio.timeout(SOON):
            outcomes, _ = await run(client, way, sync() if source == "iterable" else later(), concurrency=8)

        # One may be read while the answer is on its way to the run, and one may be awaited.
        assert len(read) <= read_before[0] + 2
        assert len(outcomes) == len(read)


class TestIteration:
    async def test_second_iteration_is_refused_at_once(self, client: VideoClient) -> None:
        async with asyncio.timeout(SOON):
            async with client.rooms.create_each(keyed(3)) as outcomes:
                assert len([outcome async for outcome in outcomes]) == 3
                with pytest.raises(ConfigurationError):
                    [outcome async for outcome in outcomes]

    async def test_iteration_after_a_break_is_refused_at_once(self, client: VideoClient) -> None:
        async with asyncio.timeout(SOON):
            async with client.rooms.create_each(keyed(30), concurrency=2) as outcomes:
                async for _ in outcomes:
                    break
                with pytest.raises(ConfigurationError):
                    async for _ in outcomes:
                        pass

    async def test_second_consumer_is_refused_at_once(self, client: VideoClient) -> None:
        async with asyncio.timeout(SOON):
            async with client.rooms.create_each(quiet(3)()) as outcomes:
                first = aiter(outcomes)
                await anext(first)
                with pytest.raises(ConfigurationError):
                    await anext(aiter(outcomes))
                await first.aclose()  # type: ignore[attr-defined]

    @pytest.mark.parametrize("operation", ["create", "delete"])
    async def test_stopped_run_raises_at_the_end_of_the_iteration(
        self, client: VideoClient, sandbox: Sandbox, operation: str
    ) -> None:
        ids = [room.room_id for room in [await client.rooms.create(name=f"old {n}") for n in range(3)]]
        sandbox.fault(f"rooms.{operation}", "suspended", times=None, after=1)
        run = (
            client.rooms.create_each(iter(keyed(500)), concurrency=1)
            if operation == "create"
            else client.rooms.delete_each(iter(ids), concurrency=1)
        )
        outcomes = []
        with pytest.raises(VideoAPIError) as caught:
            async with run:
                async for outcome in run:
                    outcomes.append(outcome)

        assert caught.value is run.report.stopped
        assert caught.value.report is run.report  # type: ignore[attr-defined]
        assert len(outcomes) + len(all_of(run.report)) == run.report.total < 500
        assert not run.report.exhausted or run.report.counts["not_sent"]

    async def test_run_that_reads_and_ends_everything_raises_nothing(
        self, client: VideoClient, sandbox: Sandbox
    ) -> None:
        sandbox.plan([REFUSAL] * 3)
        async with client.rooms.create_each(keyed(3)) as outcomes:
            assert [outcome.status async for outcome in outcomes] == ["failed"] * 3

        assert outcomes.report.stopped is None

    async def test_consumer_that_leaves_gets_no_error(self, client: VideoClient) -> None:
        async with client.rooms.create_each(keyed(500), concurrency=2) as outcomes:
            async for _ in outcomes:
                break

        assert not outcomes.report.exhausted

    async def test_many_returns_the_report_of_a_stopped_run(self, client: VideoClient, sandbox: Sandbox) -> None:
        ids = [room.room_id for room in [await client.rooms.create(name=f"old {n}") for n in range(3)]]
        sandbox.fault("*", "suspended", times=None)

        created = await client.rooms.create_many(keyed(50), concurrency=2)
        deleted = await client.rooms.delete_many(ids, concurrency=1)

        assert created.stopped is not None
        assert deleted.stopped is not None
        assert not created.exhausted


class TestDoubts:
    @pytest.mark.parametrize("fault", ["drop_before", ("status", {"status": 503})], ids=str)
    async def test_run_reads_no_further_beyond_a_thousand_in_doubt(self, sandbox: Sandbox, fault: Any) -> None:
        kind, options = fault if isinstance(fault, tuple) else (fault, {})
        sandbox.fault("rooms.create", kind, times=None, **options)
        read: list[int] = []
        most: list[int] = []

        def source() -> Iterator[RoomSpec]:
            for number, spec in enumerate(keyed(3000)):
                read.append(number)
                yield spec

        def progress(report: BulkReport) -> None:
            most.append(report.in_doubt)  # type: ignore[attr-defined]

        async with client_of(sandbox, settle=LONG) as client, asyncio.timeout(25):
            report = await client.rooms.create_many(source(), timeout=8, progress=progress)

        assert len(read) <= 1000 + 64 + 1
        assert report.total == len(read)
        assert max(most, default=0) <= 1000 + 64
        assert report.in_doubt == 0 or report.stopped is not None  # type: ignore[attr-defined]

    async def test_run_continues_once_some_are_settled(self, sandbox: Sandbox) -> None:
        sandbox.plan(["drop_after"] * 1200)

        async with client_of(sandbox, settle=0.3) as client, asyncio.timeout(35):
            report = await client.rooms.create_many(keyed(1300))

        assert report.counts == {"created": 1300}
        assert len(own_rooms(sandbox)) == 1300
        assert report.in_doubt == 0  # type: ignore[attr-defined]


class Raises:
    """A key that cannot be used in any way."""

    def __str__(self) -> str:
        raise LookupError("no text")

    __repr__ = __hash__ = __str__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise LookupError("not comparable")


def nested(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(depth):
        data = {"in": data}
    return data


ODD: dict[str, Callable[[], Any]] = {
    "nested 500 levels deep": lambda: RoomSpec("odd", key="odd", data=nested(500)),
    "nested 5,000 levels deep": lambda: RoomSpec("odd", key="odd", data=nested(5_000)),
    "a key that raises": lambda: RoomSpec("odd", key=Raises()),
    "a lone surrogate": lambda: RoomSpec("odd \ud800", key="odd"),
    "not a number": lambda: RoomSpec("odd", key="odd", data={"value": float("nan")}),
    "an object in data": lambda: RoomSpec("odd", key="odd", data={"value": object()}),
    "not a spec": lambda: 17,
    "nothing": lambda: None,
}


class TestErrorsOfOneItem:
    @JOBS
    @WAYS
    @pytest.mark.parametrize("odd", ODD)
    async def test_odd_spec_fails_alone(
        self, client: VideoClient, sandbox: Sandbox, odd: str, way: str, job_id: str | None
    ) -> None:
        given: list[Any] = keyed(8)
        given.insert(4, ODD[odd]())

        async with asyncio.timeout(SOON):
            outcomes, report = await run(client, way, given, concurrency=2, job_id=job_id)

        others = [outcome.status for outcome in outcomes if outcome.index != 4]
        assert others == ["created"] * 8
        assert [outcome.index for outcome in outcomes] == list(range(9))
        assert outcomes[4].status in ("failed", "created")
        assert report.exhausted
        made = sum(outcome.status == "created" for outcome in outcomes)
        assert len(own_rooms(sandbox)) == made

    @WAYS
    async def test_progress_that_raises_loses_no_outcome(self, client: VideoClient, sandbox: Sandbox, way: str) -> None:
        calls = []

        def progress(report: BulkReport) -> None:
            calls.append(report.total)
            if len(calls) == 3:
                raise LookupError("no screen")

        try:
            outcomes, report = await run(client, way, keyed(20), concurrency=2, progress=progress)
        except LookupError as error:
            # It may be raised once the run has ended, with the report.
            report = error.report  # type: ignore[attr-defined]
            outcomes = all_of(report)

        assert report.counts == {"created": 20}
        assert len(outcomes) == 20 or way == "create_each"
        assert len(own_rooms(sandbox)) == 20

    @WAYS
    async def test_progress_may_be_async(self, client: VideoClient, way: str) -> None:
        totals: list[int] = []

        async def progress(report: BulkReport) -> None:
            await asyncio.sleep(0)
            totals.append(report.total)

        await run(client, way, keyed(10), progress=progress)

        assert max(totals) == 10

    @WAYS
    async def test_credentials_that_raise_once_fail_one_item(self, sandbox: Sandbox, way: str) -> None:
        calls: list[int] = []

        def credentials() -> tuple[str, str]:
            calls.append(1)
            if len(calls) == 4:
                raise LookupError("the vault is closed")
            return sandbox.app_id, sandbox.app_key

        async with VideoClient(credentials=credentials, base_url=sandbox.base_url, settle=0.3) as client:
            outcomes, report = await run(client, way, keyed(10), concurrency=1, audit=False)

        statuses = [outcome.status for outcome in outcomes]
        assert statuses.count("created") == 9
        assert len(statuses) == 10
        assert report.exhausted

    @WAYS
    @pytest.mark.parametrize("when", ["before the send", "after the send"])
    @pytest.mark.parametrize("error", [LookupError("mine"), RecursionError(), OSError(5, "mine")], ids=repr)
    async def test_middleware_that_raises_ends_one_item(
        self, sandbox: Sandbox, way: str, when: str, error: Exception
    ) -> None:
        async def raises(request: Request, send: Send) -> Outcome:
            odd = name_of(request) == "Room 4"
            if odd and when == "before the send":
                raise error
            outcome = await send(request)
            if odd:
                raise error
            return outcome

        async with client_of(sandbox, middleware=[raises]) as client, asyncio.timeout(SOON):
            outcomes, report = await run(client, way, keyed(10), concurrency=2)

        assert [outcome.status for outcome in outcomes if outcome.index != 4] == ["created"] * 9
        exists = any(room["name"] == "Room 4" for room in own_rooms(sandbox).values())
        # After a send, the client does not know what it did; one that looks finds the room.
        assert exists is (when == "after the send")
        assert outcomes[4].status in (("created", "unknown") if exists else ("failed", "unknown"))
        assert report.exhausted


class TestGivingUp:
    @WAYS
    async def test_slow_source_is_not_a_refusal(self, client: VideoClient, sandbox: Sandbox, way: str) -> None:
        sandbox.plan([None, ("throttle", {"retry_after": 0})])

        async def slow() -> AsyncIterator[RoomSpec]:
            for spec in keyed(2):
                yield spec
            await asyncio.sleep(2.5)
            for spec in keyed(6)[2:]:
                yield spec

        outcomes, report = await run(client, way, slow(), concurrency=4, give_up_after=1.5)

        assert [outcome.status for outcome in outcomes] == ["created"] * 6
        assert report.stopped is None

    async def test_slow_source_before_a_refusal_is_not_counted(self, client: VideoClient, sandbox: Sandbox) -> None:
        sandbox.plan([None, None, ("throttle", {"retry_after": 0})])

        async def slow() -> AsyncIterator[RoomSpec]:
            for number, spec in enumerate(keyed(6)):
                if number == 2:
                    await asyncio.sleep(2)
                yield spec

        report = await client.rooms.create_many(slow(), concurrency=2, give_up_after=1.5)

        assert report.counts == {"created": 6}
        assert report.stopped is None

    async def test_settle_time_is_not_a_refusal(self, sandbox: Sandbox) -> None:
        sandbox.plan([None, "drop_before", ("throttle", {"retry_after": 0})])

        async with client_of(sandbox, settle=2.5) as client:
            report = await client.rooms.create_many(keyed(4), concurrency=1, give_up_after=1.5)

        assert report.counts == {"created": 4}
        assert report.stopped is None


class TestDeletes:
    @pytest.fixture
    async def ids(self, client: VideoClient) -> list[str]:
        return [outcome.room_id or "" for outcome in (await client.rooms.create_many(keyed(6), audit=False)).made]

    @pytest.mark.parametrize("kind", ["drop_before", "drop_after", "reset_before", "late"])
    async def test_delete_many_retries_as_delete_does(
        self, client: VideoClient, sandbox: Sandbox, ids: list[str], kind: str
    ) -> None:
        sandbox.fault("rooms.delete", kind, times=2, seconds=0.05)
        single = client.rooms.delete(ids.pop())
        with contextlib.suppress(VideoAPIError):
            await single
        one_by_one = sandbox.ledger.requests("rooms.delete")
        sandbox.clear_faults()
        sandbox.fault("rooms.delete", kind, times=2, seconds=0.05)

        report = await client.rooms.delete_many(ids[:1])

        assert sandbox.ledger.requests("rooms.delete") - one_by_one == one_by_one
        assert report.total == 1

    @pytest.mark.parametrize("way", ["delete_many", "delete_each"])
    async def test_rooms_and_ids_are_taken(
        self, client: VideoClient, sandbox: Sandbox, ids: list[str], way: str
    ) -> None:
        given: list[Any] = [await client.rooms.get(ids[0]), *ids[1:]]
        if way == "delete_many":
            made = (await client.rooms.delete_many(given)).made
        else:
            made = [outcome async for outcome in client.rooms.delete_each(given)]

        assert {outcome.room_id for outcome in made} == set(ids)
        assert own_rooms(sandbox) == {}

    async def test_the_list_itself_is_taken(self, client: VideoClient, sandbox: Sandbox, ids: list[str]) -> None:
        async with asyncio.timeout(SOON):
            report = await client.rooms.delete_many(client.rooms.list())  # type: ignore[arg-type]

        assert report.counts == {"deleted": len(ids)}
        assert own_rooms(sandbox) == {}


class TestLoop:
    @WAYS
    async def test_many_invalid_specs_let_others_run(self, client: VideoClient, way: str) -> None:
        read: list[int] = []
        longest = 0

        def source() -> Iterator[RoomSpec]:
            for number in range(20_000):
                read.append(number)
                yield RoomSpec("")

        task = asyncio.ensure_future(run(client, way, source()))
        while not task.done():
            before = len(read)
            await asyncio.sleep(0)
            longest = max(longest, len(read) - before)
        outcomes, _ = await task

        assert [outcome.status for outcome in outcomes] == ["failed"] * 20_000
        # 5,000 in a row take more than the 50 ms for which a run may hold the loop.
        assert longest < 5_000

    @WAYS
    @JOBS
    async def test_empty_input_sends_nothing(
        self, client: VideoClient, sandbox: Sandbox, way: str, job_id: str | None
    ) -> None:
        async with asyncio.timeout(SOON):
            outcomes, report = await run(client, way, [], job_id=job_id)

        assert outcomes == []
        assert report.exhausted
        assert sandbox.ledger.requests() == 0


class TestSpecs:
    @WAYS
    @JOBS
    async def test_outcomes_that_are_not_created_have_their_spec(
        self, sandbox: Sandbox, way: str, job_id: str | None
    ) -> None:
        given: list[Any] = keyed(6)
        given[1] = RoomSpec("", key="invalid")
        given[4] = RoomSpec("again", key="row-3")
        sandbox.plan([] if job_id else [None, REFUSAL])

        async def refuses(request: Request, send: Send) -> Outcome:
            if name_of(request) == "Room 2":
                sandbox.plan([REFUSAL])
            return await send(request)

        async with client_of(sandbox, middleware=[refuses]) as client:
            outcomes, _ = await run(client, way, given, concurrency=1, job_id=job_id)

        lost = [outcome for outcome in outcomes if outcome.status != "created"]
        assert {outcome.index for outcome in lost} >= {1, 2, 4}
        assert all(outcome.spec is given[outcome.index] for outcome in lost)  # type: ignore[attr-defined]

    @WAYS
    async def test_unknown_and_unsent_outcomes_have_their_spec(self, sandbox: Sandbox, way: str) -> None:
        given = keyed(4)
        sandbox.plan([None, "drop_before", ("throttle", {"retry_after": 30})])

        async with client_of(sandbox, settle=LONG) as client, asyncio.timeout(SOON):
            outcomes, _ = await run(client, way, given, concurrency=1, timeout=1)

        lost = {outcome.status: outcome for outcome in outcomes if outcome.status != "created"}
        assert set(lost) >= {"unknown", "not_sent"}
        assert all(outcome.spec is given[outcome.index] for outcome in lost.values())  # type: ignore[attr-defined]

    @JOBS
    async def test_failures_are_tried_again_in_two_lines(self, sandbox: Sandbox, job_id: str | None) -> None:
        refused = {"Room 2", "Room 5"}

        async def refuses(request: Request, send: Send) -> Outcome:
            if name_of(request) in refused:
                refused.remove(name_of(request))
                sandbox.plan([REFUSAL])
            return await send(request)

        async with client_of(sandbox, middleware=[refuses]) as client:
            report = await client.rooms.create_many(keyed(8), job_id=job_id, concurrency=1)
            again = [outcome.spec for outcome in report.failures]  # type: ignore[attr-defined]
            report = await client.rooms.create_many(again, job_id=job_id)

        assert report.counts == {"created": 2}
        assert sorted(room["name"] for room in own_rooms(sandbox).values()) == [f"Room {n}" for n in range(8)]

    async def test_outcomes_of_deletes_have_their_input(self, client: VideoClient) -> None:
        report = await client.rooms.delete_many(["0" * 24, "not an id"])

        assert [outcome.spec for outcome in report.failures] == ["0" * 24, "not an id"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
    async def test_resumed_items_keep_their_rooms(self, sandbox: Sandbox, tmp_path: Path, journal: bool) -> None:
        options: dict[str, Any] = {"job_id": "j", "journal": tmp_path / "journal" if journal else None}
        await abandon_job(sandbox, keyed(6), {"Room 4": "drop_after"}, **options)

        async with client_of(sandbox) as client:
            report = await client.rooms.create_many(keyed(6), keep_rooms=True, **options)

        assert [outcome.room.room_id for outcome in report.made] == [outcome.room_id for outcome in report.made]
        assert [outcome.room.name for outcome in report.made] == [f"Room {n}" for n in range(6)]
