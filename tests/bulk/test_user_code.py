"""Bulk runs and the user's code: cancellations, closing, and middleware that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.jobs import client_of, keyed

from videoapi import BulkReport, CallTimeout, ConfigurationError, Outcome, Request, RoomSpec, Send, VideoClient
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.timeout(40)


def rows(report: BulkReport) -> list[int]:
    return sorted(one.index for one in (*report.made, *report.failures, *report.unknown, *report.not_sent))


async def test_run_cancelled_while_it_reports_settled_creates_has_one_outcome_per_input(
    client: VideoClient, sandbox: Sandbox
) -> None:
    sandbox.fault("rooms.create", "drop_after", times=10)
    settling = asyncio.Event()
    seen = 0

    async def progress(report: BulkReport) -> None:
        nonlocal seen
        seen += 1
        if seen > 22:
            settling.set()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(client.rooms.create_many(keyed(30), progress=progress))
    await settling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task

    report = caught.value.report  # type: ignore[attr-defined]
    assert rows(report) == list(range(30))
    assert report.total == 30


@pytest.mark.parametrize("by", ["the consumer", "another task"])
async def test_closing_a_run_ends_its_iteration(client: VideoClient, by: str) -> None:
    async def quiet() -> AsyncIterator[RoomSpec]:
        for spec in keyed(3):
            yield spec
        await asyncio.Event().wait()

    run = client.rooms.create_each(quiet())
    closing: list[asyncio.Task[None]] = []
    seen = 0
    async with asyncio.timeout(10):
        async for _ in run:
            seen += 1
            if seen < 3:
                continue
            if by == "the consumer":
                await run.aclose()
            else:
                closing.append(asyncio.create_task(run.aclose()))
    await asyncio.gather(*closing)

    assert seen == 3


@pytest.mark.parametrize("what", ["cancels itself", "returns junk", "raises"])
async def test_middleware_that_misbehaves_costs_its_item_only(sandbox: Sandbox, what: str) -> None:
    async def odd(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        if request.body is not None and b"Room 3" in request.body:
            if what == "cancels itself":
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            if what == "returns junk":
                outcome.value = None
            if what == "raises":
                raise LookupError
        return outcome

    async with client_of(sandbox, middleware=[odd]) as client:
        report = await client.rooms.create_many(keyed(8), concurrency=2, on_unknown="strict")

    assert rows(report) == list(range(8))
    assert report.exhausted
    assert {outcome.index for outcome in report.made} >= {0, 1, 2, 4, 5, 6, 7}
    assert not report.failures, "it was created, so it has not failed"


async def test_closing_the_client_keeps_every_outcome(sandbox: Sandbox) -> None:
    async def slowly() -> AsyncIterator[RoomSpec]:
        for spec in keyed(1000):
            await asyncio.sleep(0.002)
            yield spec

    client = client_of(sandbox)
    async with client:
        run = asyncio.create_task(client.rooms.create_many(slowly(), concurrency=4))
        while len(sandbox.ledger.created) < 20:
            await asyncio.sleep(0.01)
    report = await run

    assert isinstance(report.stopped, ConfigurationError)
    assert rows(report) == list(range(report.total))
    known = {outcome.room_id for outcome in report.made}
    assert set(sandbox.ledger.rooms) - known <= set() or report.unknown


async def test_nothing_is_sent_after_the_run_has_ended(sandbox: Sandbox) -> None:
    from videoapi import SessionManager

    sandbox.fault("rooms.get", "delay", times=None, seconds=1.0)
    async with SessionManager(max_connections=2) as manager, client_of(sandbox, session=manager) as client:
        room = await client.rooms.create(name="first")
        busy = [asyncio.create_task(client.rooms.get(room.room_id)) for _ in range(2)]
        await asyncio.sleep(0.2)

        report = await client.rooms.create_many(keyed(4), timeout=0.3, audit=False)

        await asyncio.gather(*busy)
    assert report.counts.get("created", 0) == 0
    assert len(sandbox.ledger.created) == 1


async def test_own_rate_is_no_refusal(sandbox: Sandbox) -> None:
    sandbox.plan([("throttle", {"retry_after": 0})])
    async with client_of(sandbox, rate="40/min") as client:
        report = await client.rooms.create_many(keyed(3), concurrency=1, give_up_after=1.0, audit=False)

    assert report.counts == {"created": 3}


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_generator_that_cancels_itself_is_an_error_of_the_inputs(client: VideoClient, way: str) -> None:
    def source() -> Any:
        yield from keyed(3)
        raise asyncio.CancelledError

    async def async_source() -> AsyncIterator[RoomSpec]:
        for spec in keyed(3):
            yield spec
        raise asyncio.CancelledError

    with pytest.raises(ConfigurationError, match="cancelled itself") as caught:
        await client.rooms.create_many(source() if way == "sync" else async_source())

    assert caught.value.report.counts == {"created": 3}  # type: ignore[attr-defined]


async def test_job_without_a_valid_input_ends(client: VideoClient, sandbox: Sandbox, tmp_path: Path) -> None:
    for given in ([], [RoomSpec("A", settings={"quality": "odd"}, key="k")]):
        report = await client.rooms.create_many(given, job_id="j", journal=tmp_path / "journal")

        assert report.counts == ({"failed": 1} if given else {})
    assert sandbox.ledger.requests("rooms.create") == 0


@pytest.mark.parametrize("where", ["middleware", "progress"])
@pytest.mark.parametrize("job_id", [None, "job-1"])
async def test_timeout_ends_a_run_that_user_code_holds_up(sandbox: Sandbox, where: str, job_id: str | None) -> None:
    async def hang_in_middleware(request: Request, send: Send) -> Outcome:
        await asyncio.Event().wait()
        return await send(request)

    async def hang_in_progress(report: BulkReport) -> None:
        await asyncio.Event().wait()

    middleware = [hang_in_middleware] if where == "middleware" else []
    progress = hang_in_progress if where == "progress" else None
    async with client_of(sandbox, middleware=middleware, attempt_timeout=0.1) as client, asyncio.timeout(20):
        report = await client.rooms.create_many(
            keyed(40), concurrency=4, timeout=0.8, progress=progress, job_id=job_id, audit=False
        )

    assert report.stopped is not None
    assert "timeout of 0.8 s" in str(report.stopped)
    assert rows(report) == list(range(report.total))
    if where == "progress" and job_id is None:
        assert sandbox.ledger.count("rooms.create") == len(report.made) == 4


async def test_timeout_of_a_run_loses_no_outcome_to_a_slow_consumer(sandbox: Sandbox) -> None:
    seen: list[int] = []
    async with client_of(sandbox, attempt_timeout=0.1) as client, asyncio.timeout(30):
        run = client.rooms.create_each(keyed(40), concurrency=4, timeout=0.2, audit=False)
        with pytest.raises(CallTimeout):
            async for outcome in run:
                seen.append(outcome.index)
                # Longer than the run may wait for its attempts.
                await asyncio.sleep(1.5 if len(seen) == 1 else 0)
    assert sorted(seen) == list(range(run.report.total))
    assert len(seen) > 4


@pytest.mark.parametrize("sends", [False, True], ids=["before it sends", "after it has sent"])
async def test_middleware_that_cancels_fails_only_its_item(sandbox: Sandbox, sends: bool) -> None:
    calls = 0

    async def cancels(request: Request, send: Send) -> Outcome:
        nonlocal calls
        calls += request.route.name == "rooms.create"
        if calls != 2 or request.route.name != "rooms.create":
            return await send(request)
        if sends:
            await send(request)
        raise asyncio.CancelledError

    async with client_of(sandbox, middleware=[cancels]) as client:
        report = await client.rooms.create_many(keyed(4), concurrency=1)

    # What was not sent is not in doubt; what was sent is looked up.
    assert report.counts == ({"created": 4} if sends else {"created": 3, "failed": 1})
    assert report.stopped is None
    assert all(not one.error.may_have_executed for one in report.failures if one.error is not None)


@pytest.mark.parametrize("each", [False, True], ids=["create_many", "create_each"])
async def test_user_code_that_cancels_its_own_task_does_not_end_the_run_silently(sandbox: Sandbox, each: bool) -> None:
    async def cancels(_: BulkReport) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with client_of(sandbox) as client:
        if each:
            run = client.rooms.create_each(keyed(40), progress=cancels)
            with pytest.raises(ConfigurationError, match=r"User code.*cancelled a task of the run"):
                async with run:
                    async for _ in run:
                        pass
            report = run.report
        else:
            report = await client.rooms.create_many(keyed(40), progress=cancels)

    assert isinstance(report.stopped, ConfigurationError)
    assert not report.exhausted
    assert report.counts["created"] == len(sandbox.ledger.rooms)


@pytest.mark.parametrize("by", ["middleware", "progress"])
async def test_outcome_of_a_worker_that_user_code_cancels_is_in_the_report_and_an_error_says_so(
    sandbox: Sandbox, by: str
) -> None:
    calls = 0

    async def cancel_once() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async def middleware(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        if by == "middleware" and request.route.name == "rooms.create":
            await cancel_once()
        return outcome

    async def progress(_: BulkReport) -> None:
        if by == "progress":
            await cancel_once()

    yielded = []
    async with client_of(sandbox, middleware=[middleware]) as client:
        run = client.rooms.create_each(keyed(6), concurrency=4, progress=progress)
        with pytest.raises(ConfigurationError, match=r"User code.*cancelled a task of the run") as caught:
            async for outcome in run:
                yielded.append(outcome)

    # The other tasks send what is left.
    assert run.report.total == 6
    assert caught.value.report is run.report
    assert sorted([*(one.index for one in yielded), *rows(run.report)]) == list(range(run.report.total))
    assert len(yielded) == 5


@pytest.mark.parametrize("by", ["middleware", "progress"])
async def test_outcome_that_the_limit_of_the_run_cuts_off_is_in_the_report_and_an_error_says_so(
    sandbox: Sandbox, by: str
) -> None:
    async def middleware(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        if by == "middleware" and request.body is not None and b"Room 3" in request.body:
            await asyncio.sleep(30)
        return outcome

    async def progress(report: BulkReport) -> None:
        if by == "progress" and report.total == 4:
            await asyncio.sleep(30)

    yielded = []
    async with client_of(sandbox, middleware=[middleware], attempt_timeout=0.3) as client:
        run = client.rooms.create_each(keyed(4), concurrency=1, progress=progress, timeout=0.5)
        with pytest.raises(CallTimeout):
            async for outcome in run:
                yielded.append(outcome.index)

    assert yielded == [0, 1, 2]
    assert rows(run.report) == [3]


@pytest.mark.parametrize("sends", [False, True], ids=["before it sends", "after it has sent"])
async def test_middleware_that_cancels_the_self_check_create_does_not_cancel_the_run(
    sandbox: Sandbox, sends: bool
) -> None:
    calls = 0

    async def cancels(request: Request, send: Send) -> Outcome:
        nonlocal calls
        calls += request.route.name == "rooms.create"
        if calls != 1 or request.route.name != "rooms.create":
            return await send(request)
        if sends:
            await send(request)
        raise asyncio.CancelledError

    async with client_of(sandbox, middleware=[cancels]) as client:
        # The job looks for rooms of an earlier run first, with a self-check room.
        report = await client.rooms.create_many(keyed(4), job_id="j")

    assert calls > 0
    if sends:
        assert report.counts == {"created": 4}
    else:
        assert report.counts["created"] == 0
        assert isinstance(report.stopped, ConfigurationError)
        assert "cancelled the call. Not sent." in str(report.stopped)


async def test_middleware_that_always_cancels_ends_the_run_at_once(sandbox: Sandbox) -> None:
    async def cancels(request: Request, send: Send) -> Outcome:
        raise asyncio.CancelledError

    async with client_of(sandbox, middleware=[cancels]) as client:
        report = await client.rooms.create_many(keyed(4))

    assert report.counts == {"failed": 4}
    assert not sandbox.ledger.rooms


@pytest.mark.parametrize("each", [False, True], ids=["create_many", "create_each"])
@pytest.mark.parametrize("where", ["the settled creates", "the self-check room"])
async def test_user_code_that_cancels_the_task_of_the_run_does_not_cancel_its_caller(
    sandbox: Sandbox, where: str, each: bool
) -> None:
    cancelled = 0

    async def cancel() -> None:
        nonlocal cancelled
        cancelled += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def progress(report: BulkReport) -> None:
        if where == "the settled creates" and report.total == 3:
            await cancel()

    async def middleware(request: Request, send: Send) -> Outcome:
        if where == "the self-check room" and request.route.name == "rooms.create":
            await cancel()
        return await send(request)

    async def run(client: VideoClient) -> BulkReport:
        options: dict[str, Any] = {"progress": progress, "concurrency": 1}
        if where == "the self-check room":
            options["job_id"] = "j"
        if not each:
            return await client.rooms.create_many(keyed(3), **options)
        running = client.rooms.create_each(keyed(3), **options)
        with pytest.raises(ConfigurationError, match=r"User code.*cancelled a task of the run"):
            async with running:
                async for _ in running:
                    pass
        return running.report

    if where == "the settled creates":
        sandbox.fault("rooms.create", "drop_after", times=1)
    async with client_of(sandbox, middleware=[middleware]) as client:
        report = await asyncio.create_task(run(client))

    assert cancelled == 1
    assert isinstance(report.stopped, ConfigurationError)
    assert report.counts["created"] == len(sandbox.ledger.rooms)


@pytest.mark.parametrize("source", ["asynchronous", "with an invalid input"])
async def test_cancelled_worker_without_an_item_is_no_error_if_every_outcome_was_yielded(
    sandbox: Sandbox, source: str
) -> None:
    cancelled = False

    def progress(report: BulkReport) -> None:
        nonlocal cancelled
        task = asyncio.current_task()
        if not cancelled and task is not None:
            cancelled = True
            task.cancel()

    async def slowly() -> AsyncIterator[RoomSpec]:
        for spec in keyed(6):
            await asyncio.sleep(0.02)
            yield spec

    given: Any = slowly() if source == "asynchronous" else [{"name": "", "key": "odd"}, *keyed(5)]
    async with client_of(sandbox) as client:
        yielded = [one.index async for one in client.rooms.create_each(given, progress=progress, concurrency=2)]

    assert cancelled
    assert sorted(yielded) == list(range(6))


@pytest.mark.parametrize("each", [False, True], ids=["create_many", "create_each"])
async def test_run_that_user_code_cancels_before_it_begins_ends_with_an_error(sandbox: Sandbox, each: bool) -> None:
    mine = asyncio.all_tasks()

    def cancel_others() -> None:
        for task in asyncio.all_tasks() - mine:
            task.cancel()

    async with client_of(sandbox) as client:
        asyncio.get_running_loop().call_soon(cancel_others)
        if each:
            run = client.rooms.create_each(keyed(3))
            with pytest.raises(ConfigurationError, match=r"User code.*cancelled a task of the run"):
                async with asyncio.timeout(20):
                    async for _ in run:
                        pass
            report = run.report
        else:
            report = await client.rooms.create_many(keyed(3))

    assert isinstance(report.stopped, ConfigurationError)
    assert not sandbox.ledger.rooms


@pytest.mark.parametrize("closes", ["aclose", "async with"])
async def test_run_whose_close_was_cut_off_can_be_closed_again(sandbox: Sandbox, closes: str) -> None:
    sandbox.fault("rooms.create", "delay", seconds=1, times=None)
    went_on = False

    async def consume(client: VideoClient) -> None:
        nonlocal went_on
        async with client.rooms.create_each(keyed(3)) as run:
            await asyncio.sleep(0.1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await run.aclose()
            if closes == "aclose":
                await run.aclose()
        went_on = True
        assert run.report.counts == {"unknown": 3}

    async with client_of(sandbox) as client, asyncio.TaskGroup() as group:
        group.create_task(consume(client))
    assert went_on


def test_run_that_has_ended_can_be_closed_in_another_event_loop() -> None:
    with Sandbox().in_thread() as sandbox, asyncio.Runner() as first, asyncio.Runner() as second:

        async def run_to_end() -> Any:
            async with client_of(sandbox) as client:
                run = client.rooms.create_each(keyed(2))
                assert [outcome.status async for outcome in run] == ["created", "created"]
            return run

        async def close(run: Any) -> None:
            async with asyncio.timeout(10):
                await run.aclose()

        second.run(close(first.run(run_to_end())))


def test_run_that_has_not_ended_cannot_be_closed_in_another_event_loop() -> None:
    with Sandbox().in_thread() as sandbox, asyncio.Runner() as first, asyncio.Runner() as second:

        async def begin() -> Any:
            client = await client_of(sandbox).__aenter__()
            run = client.rooms.create_each(keyed(20), concurrency=2)
            outcomes = aiter(run)
            await anext(outcomes)
            return client, run, outcomes

        async def read_on(client: Any, outcomes: Any) -> list[str]:
            async with client:
                return [outcome.status async for outcome in outcomes]

        client, run, outcomes = first.run(begin())
        with pytest.raises(ConfigurationError, match="another event loop"):
            second.run(run.aclose())
        assert first.run(read_on(client, outcomes)) == ["created"] * 19


@pytest.mark.parametrize("journal", [False, True])
async def test_run_whose_client_is_closed_while_it_settles_says_so(
    sandbox: Sandbox, tmp_path: Path, journal: bool
) -> None:
    kept: dict[str, Any] = {"job_id": "j", "journal": tmp_path / "journal"} if journal else {}
    sandbox.plan(["drop_before"] * 3)
    async with client_of(sandbox, settle=60.0) as client:
        running = asyncio.create_task(client.rooms.create_many(keyed(3), **kept))
        while not client.stats().settling:
            await asyncio.sleep(0.01)
        await client.aclose()
        report = await running

    assert report.counts == {"unknown": 3}
    assert "closed" in str(report.stopped)
