"""`create_each` yields outcomes as they finish; leaving early loses none."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from videoapi import ConfigurationError, RoomSpec, VideoAPIError, VideoClient
from videoapi.sandbox import Sandbox


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}") for number in range(count))


async def test_create_each_yields_outcomes_with_their_room(client: VideoClient) -> None:
    async with client.rooms.create_each(specs(25), concurrency=5) as outcomes:
        seen = [outcome async for outcome in outcomes]

    assert sorted(outcome.index for outcome in seen) == list(range(25))
    assert all(outcome.room.room_id == outcome.room_id for outcome in seen)
    assert outcomes.report.counts == {"created": 25}
    assert outcomes.report.made == []


async def test_iteration_without_context_manager_works_once(client: VideoClient) -> None:
    run = client.rooms.create_each(specs(5))

    assert len([outcome async for outcome in run]) == 5
    with pytest.raises(ConfigurationError, match="once"):
        [outcome async for outcome in run]


async def test_leaving_early_stops_sending_and_reports_requests_in_flight(
    client: VideoClient, sandbox: Sandbox
) -> None:
    yielded = []
    async with client.rooms.create_each(specs(10_000), concurrency=4) as outcomes:
        async for outcome in outcomes:
            yielded.append(outcome)
            if len(yielded) == 10:
                break

    report = outcomes.report
    executed = {entry.reference for entry in sandbox.ledger.created}
    reported = {outcome.reference for outcome in (*yielded, *report.made)}
    assert reported == executed
    assert report.total == len(executed) < 100
    assert not report.exhausted


async def test_slow_consumer_applies_backpressure(client: VideoClient, sandbox: Sandbox) -> None:
    async with client.rooms.create_each(specs(10_000), concurrency=3) as outcomes:
        async for _ in outcomes:
            await asyncio.sleep(0.2)
            break

        assert sandbox.ledger.requests("rooms.create") <= 1 + 3 + 3 + 1


async def test_input_error_is_raised_after_all_outcomes(
    client: VideoClient,
) -> None:
    def broken() -> Iterator[RoomSpec]:
        yield from specs(6)
        raise LookupError("torn")

    seen = []
    with pytest.raises(LookupError) as caught:
        async for outcome in client.rooms.create_each(broken(), concurrency=2):
            seen.append(outcome.index)

    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert caught.value.report.total == 6  # type: ignore[attr-defined]


async def test_run_that_is_never_started_sends_nothing_and_does_not_warn(client: VideoClient, sandbox: Sandbox) -> None:
    client.rooms.create_each(specs(5))

    assert sandbox.ledger.requests() == 0


async def test_cancelled_consumer_still_gets_the_report(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.1)
    run = client.rooms.create_each(specs(1000), concurrency=4)

    async def consume() -> None:
        async with run as outcomes:
            async for _ in outcomes:
                pass

    task = asyncio.create_task(consume())
    while sandbox.ledger.requests("rooms.create") < 6:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert run.report.counts == {"created": len(sandbox.ledger.created)}


def test_run_whose_consumer_stopped_reading_ends_with_its_loop() -> None:
    kept: list[Any] = []

    async def leave() -> None:
        async with Sandbox() as sandbox, VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
            run = client.rooms.create_each(specs(10_000), concurrency=2)
            # Held, so that the generator is not closed.
            outcomes = aiter(run)
            kept.extend((run, outcomes, await anext(outcomes), sandbox.ledger))
            while sandbox.ledger.requests("rooms.create") < 5:
                await asyncio.sleep(0.01)

    ended = threading.Thread(target=asyncio.run, args=(leave(),), daemon=True)
    ended.start()
    ended.join(20)
    assert not ended.is_alive()
    run, _, first, ledger = kept
    executed = {entry.reference for entry in ledger.created}
    made = {first.reference, *(outcome.reference for outcome in run.report.made)}
    # The loop may end before the last responses are read.
    in_doubt = {outcome.reference for outcome in run.report.unknown}
    assert made <= executed <= made | in_doubt


@pytest.mark.parametrize("operation", ["create", "delete"])
async def test_timeout_around_anext_ends_only_the_wait(client: VideoClient, sandbox: Sandbox, operation: str) -> None:
    given: Any = specs(8)
    if operation == "delete":
        given = [outcome.room_id for outcome in (await client.rooms.create_many(given)).made]
    sandbox.fault(f"rooms.{operation}", "delay", seconds=0.15, times=None)
    run: Any = getattr(client.rooms, f"{operation}_each")(given, concurrency=2)
    indexes, timeouts = [], 0
    async with run as outcomes:
        iterator = aiter(outcomes)
        while True:
            try:
                async with asyncio.timeout(0.05):
                    indexes.append((await anext(iterator)).index)
            except TimeoutError:
                timeouts += 1
            except StopAsyncIteration:
                break
    assert timeouts
    assert sorted(indexes) == list(range(8))
    assert (run.report.total, run.report.exhausted, run.report.has_rows) == (8, True, False)


async def test_cancelled_iteration_outside_of_async_with_does_not_end_in_silence(
    client: VideoClient, sandbox: Sandbox
) -> None:
    sandbox.fault("rooms.create", "delay", seconds=0.2, times=None)
    run = client.rooms.create_each(specs(20), concurrency=2)
    iterator = aiter(run)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(iterator)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="The iteration was cancelled, which ended the run") as caught:
            await anext(iterator)
        assert caught.value.report is run.report  # type: ignore[attr-defined]
    assert [outcome.status for outcome in run.report.made] == ["created"] * 2


async def test_iteration_that_is_closed_after_a_cancelled_wait_ends_the_run(
    client: VideoClient, sandbox: Sandbox
) -> None:
    sandbox.fault("rooms.create", "delay", seconds=0.1, times=None)
    async with client.rooms.create_each(specs(200), concurrency=2) as outcomes:
        iterator: Any = aiter(outcomes)
        async with aclosing(iterator):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(iterator)
        created = len(sandbox.ledger.created)
        await asyncio.sleep(0.3)
        assert len(sandbox.ledger.created) == created


async def test_second_task_that_waits_for_an_outcome_is_refused(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "delay", seconds=0.1, times=None)
    async with client.rooms.create_each(specs(2), concurrency=1) as outcomes:
        iterator = aiter(outcomes)
        first = asyncio.create_task(anext(iterator))
        await asyncio.sleep(0.02)
        with pytest.raises(ConfigurationError, match="by one consumer"):
            await anext(iterator)
        assert (await first).status == "created"
        assert [outcome.status async for outcome in iterator] == ["created"]


async def test_stopped_run_raises_also_after_a_cancelled_wait(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "delay", seconds=0.2, times=2)
    sandbox.fault("rooms.create", "suspended", times=None, after=2)
    async with client.rooms.create_each(specs(20), concurrency=1) as outcomes:
        iterator = aiter(outcomes)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(iterator)
        with pytest.raises(VideoAPIError) as caught:
            async for _ in iterator:
                pass
    assert caught.value is outcomes.report.stopped
