"""`create_many` returns one outcome per input, and the outcomes match what the service executed."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from videoapi import (
    AuthenticationFailed,
    BulkReport,
    CallTimeout,
    ConfigurationError,
    CreateOutcomeUnknown,
    RateLimited,
    Request,
    RoomSpec,
    SessionManager,
    ValidationError,
    VideoClient,
)
from videoapi.pipeline.middleware import Send
from videoapi.protocol.outcome import Outcome
from videoapi.sandbox import Sandbox


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(count))


def agrees_with_ledger(report: BulkReport, sandbox: Sandbox) -> bool:
    executed = [entry.reference for entry in sandbox.ledger.created]
    made = {outcome.reference: outcome.room_id for outcome in report.made}
    certainly_not = {outcome.reference for outcome in (*report.failures, *report.not_sent)}
    return (
        len(executed) == len(set(executed))
        and all(sandbox.ledger.rooms[room_id]["owner_ref"] == reference for reference, room_id in made.items())
        and set(made) <= set(executed)
        and not certainly_not & set(executed)
        and set(executed) <= {*made, *(outcome.reference for outcome in report.unknown)}
    )


async def test_every_input_has_one_outcome_with_its_index_and_key(client: VideoClient, sandbox: Sandbox) -> None:
    report = await client.rooms.create_many(specs(60), concurrency=8)

    assert report.total == 60
    assert report.counts == {"created": 60}
    assert [(outcome.index, outcome.key) for outcome in report.made] == [(n, f"row-{n}") for n in range(60)]
    assert report.exhausted
    assert sandbox.ledger.count("rooms.create") == 60
    assert agrees_with_ledger(report, sandbox)


async def test_reference_is_stored_in_data_when_owner_ref_is_set(client: VideoClient, sandbox: Sandbox) -> None:
    report = await client.rooms.create_many([RoomSpec("Mine", owner_ref="team-42", data={"floor": 3})])

    (made,) = report.made
    assert made.room_id is not None
    room = sandbox.ledger.rooms[made.room_id]
    assert room["owner_ref"] == "team-42"
    assert room["data"] == {"floor": 3, "videoapi_ref": made.reference}


async def test_rooms_are_kept_only_with_keep_rooms(client: VideoClient) -> None:
    without_rooms = await client.rooms.create_many(specs(1))
    with_rooms = await client.rooms.create_many(specs(1), keep_rooms=True)

    assert without_rooms.made[0].room is None
    assert with_rooms.made[0].room.name == "Room 0"


async def test_invalid_inputs_do_not_affect_the_others(client: VideoClient, sandbox: Sandbox) -> None:
    inputs = [
        RoomSpec("a"),
        RoomSpec(""),
        "no spec",
        RoomSpec("b", settings={"quality": "8K"}),
        RoomSpec("c"),
    ]

    report = await client.rooms.create_many(inputs)  # type: ignore[arg-type]

    assert [outcome.index for outcome in report.made] == [0, 4]
    assert [outcome.index for outcome in report.failures] == [1, 2, 3]
    assert all(isinstance(outcome.error, ValidationError) for outcome in report.failures)
    assert sandbox.ledger.requests("rooms.create") == 2


async def test_duplicate_key_fails_the_second_input(client: VideoClient, sandbox: Sandbox) -> None:
    report = await client.rooms.create_many([RoomSpec("a", key="k"), RoomSpec("b", key="k"), RoomSpec("c")])

    assert [(outcome.index, outcome.key) for outcome in report.failures] == [(1, "k")]
    assert report.counts == {"created": 2, "failed": 1}
    assert sandbox.ledger.count("rooms.create") == 2


async def test_keys_are_returned_unchanged_and_compared_with_their_type(client: VideoClient) -> None:
    keys = [7, ("a", 1), ["no", "hash"], "7", 7, ["no", "hash"]]

    report = await client.rooms.create_many(RoomSpec("a", key=key) for key in keys)

    assert [outcome.key for outcome in report.made] == keys[:4]
    assert [outcome.key for outcome in report.failures] == keys[4:]


async def test_rejection_of_one_room_does_not_stop_the_run(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "status", times=3, status=403, code=10114)

    report = await client.rooms.create_many(specs(20), concurrency=4)

    assert report.counts == {"created": 17, "failed": 3}
    assert report.exhausted


async def test_account_level_error_stops_the_run(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "expired", times=None, after=10)
    read = 0

    def counted() -> Iterator[RoomSpec]:
        nonlocal read
        for spec in specs(500):
            read += 1
            yield spec

    report = await client.rooms.create_many(counted(), concurrency=4)

    assert isinstance(report.stopped, AuthenticationFailed)
    assert not report.exhausted
    assert report.counts["created"] == 10
    assert report.total == read <= 14
    assert agrees_with_ledger(report, sandbox)


async def test_throttled_inputs_are_sent_again_after_the_pause(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "throttle", times=10, retry_after=0, after=5)

    report = await client.rooms.create_many(specs(40), concurrency=8)

    assert report.counts == {"created": 40}
    assert agrees_with_ledger(report, sandbox)


async def test_temporarily_refused_connections_fail_no_input(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("*", "refuse", seconds=0.6, after=20)

    report = await client.rooms.create_many(specs(100), concurrency=16)

    assert report.counts == {"created": 100}
    assert agrees_with_ledger(report, sandbox)


async def test_create_that_may_have_executed_is_not_resent_without_proof(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.set(list_omits="owner_ref")
    sandbox.fault("rooms.create", "drop_after", times=3)
    sandbox.fault("rooms.create", "drop_before", times=3, after=3)
    sandbox.fault("rooms.create", "status_after", times=3, status=503, after=6)

    report = await client.rooms.create_many(specs(30), concurrency=1)

    assert report.counts == {"created": 21, "unknown": 9}
    assert sandbox.ledger.requests("rooms.create") == 30
    for outcome in report.unknown:
        assert isinstance(outcome.error, CreateOutcomeUnknown)
        assert outcome.error.reference == outcome.reference
    executed = {entry.reference for entry in sandbox.ledger.created}
    assert sum(outcome.reference in executed for outcome in report.unknown) == 6


async def test_run_stops_when_only_refused_for_give_up_after_seconds(sandbox: Sandbox) -> None:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        await client.rooms.create(name="warm")
        sandbox.fault("rooms.create", "throttle", times=None, retry_after=0)

        report = await client.rooms.create_many(specs(50), concurrency=4, give_up_after=0.3)

    assert isinstance(report.stopped, RateLimited)
    assert set(report.counts) == {"not_sent"}
    assert all(outcome.error is not None for outcome in report.not_sent)
    assert not report.exhausted
    assert agrees_with_ledger(report, sandbox) or len(sandbox.ledger.created) == 1


async def test_run_timeout_lets_requests_in_flight_finish(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.05)

    report = await client.rooms.create_many(specs(10_000), concurrency=4, timeout=0.3)

    assert set(report.counts) == {"created"}
    assert 4 <= report.total < 200
    assert not report.exhausted
    assert isinstance(report.stopped, CallTimeout)
    assert agrees_with_ledger(report, sandbox)


@pytest.mark.parametrize("audit", [True, "settled"])
async def test_timeout_that_ends_only_the_audit_did_not_stop_the_run(
    client: VideoClient, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, audit: Any
) -> None:
    job = {"job_id": "j", "journal": tmp_path / "j.sqlite"}
    given = [RoomSpec(f"Room {number}", key=str(number)) for number in range(3)]
    assert (await client.rooms.create_many(given, **job)).counts == {"created": 3}
    sandbox.fault("rooms.list", "status", times=None, status=503)

    report = await client.rooms.create_many(given, **job, audit=audit, timeout=0.8)

    assert report.exhausted
    assert report.stopped is None
    assert report.audited is None
    assert report.counts == {"created": 3}
    (text,) = [record.getMessage() for record in caplog.records if "not checked again" in record.getMessage()]
    assert "because the list of rooms could not be read: GET /rooms: " in text
    assert "HTTP 503" in text


async def test_timeout_during_the_last_create_did_not_stop_the_run(
    client: VideoClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.6)

    report = await client.rooms.create_many(specs(3), timeout=0.3)

    assert report.counts == {"created": 3}
    assert report.stopped is None
    assert "rooms of the run were not checked again: The run's timeout of 0.3 s ended." in caplog.text


async def test_with_options_timeout_applies_per_input(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "hang", times=1)

    report = await client.with_options(timeout=0.3).rooms.create_many(specs(10), concurrency=2)

    assert report.counts == {"created": 10}
    assert sandbox.ledger.requests("rooms.create") == 11


async def test_input_error_is_reraised_with_the_report(client: VideoClient) -> None:
    def broken() -> Iterator[RoomSpec]:
        yield from specs(3)
        raise LookupError("row 4 of the sheet is torn")

    with pytest.raises(LookupError, match="row 4") as caught:
        await client.rooms.create_many(broken())

    assert caught.value.report.counts == {"created": 3}  # type: ignore[attr-defined]
    assert not caught.value.report.exhausted  # type: ignore[attr-defined]


async def test_async_generator_is_read_lazily_and_closed(client: VideoClient) -> None:
    closed = False

    async def stream() -> AsyncIterator[RoomSpec]:
        nonlocal closed
        try:
            for spec in specs(100_000):
                await asyncio.sleep(0)
                yield spec
        finally:
            closed = True

    report = await client.rooms.create_many(stream(), concurrency=4, timeout=0.2)

    assert closed
    assert 0 < report.total < 100_000


async def test_concurrency_limits_requests_in_flight(client: VideoClient) -> None:
    inside = most = 0

    async def watching(request: Request, send: Send) -> Outcome:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return await send(request)
        finally:
            inside -= 1

    watched = VideoClient("a" * 24, "k", client.base_url, middleware=[watching])
    async with watched:
        await watched.rooms.create_many(specs(50), concurrency=5)

    assert most == 5


@pytest.mark.parametrize("concurrency", [0, -1, True, 2.5, 9])
async def test_invalid_concurrency_is_rejected_before_anything_is_sent(sandbox: Sandbox, concurrency: int) -> None:
    async with SessionManager(max_connections=8) as manager:
        client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, session=manager)
        with pytest.raises(ConfigurationError, match=r"concurrency|max_connections"):
            await client.rooms.create_many(specs(3), concurrency=concurrency)

    assert sandbox.ledger.requests() == 0


async def test_progress_is_called_after_each_outcome(client: VideoClient) -> None:
    seen: list[int] = []

    await client.rooms.create_many(specs(7), concurrency=2, progress=lambda report: seen.append(report.total))

    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_cancelled_run_reports_and_logs_requests_in_flight_as_unknown(
    client: VideoClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "videoapi")
    sandbox.fault("rooms.create", "hang", times=None, after=5)
    run = asyncio.create_task(client.rooms.create_many(specs(1000), concurrency=4))
    while sandbox.ledger.requests("rooms.create") < 9:
        await asyncio.sleep(0.01)
    run.cancel()

    with pytest.raises(asyncio.CancelledError) as caught:
        await run

    report = caught.value.report  # type: ignore[attr-defined]
    assert report.counts == {"created": 5, "unknown": 4}
    assert all(outcome.reference for outcome in report.unknown)
    logged = {str(record.args[1]) for record in caplog.records if "unknown outcome" in record.msg and record.args}
    assert logged == {outcome.reference for outcome in report.unknown}


async def test_progress_error_is_logged_and_ends_nothing(client: VideoClient, caplog: pytest.LogCaptureFixture) -> None:
    def progress(report: BulkReport) -> None:
        if report.total == 3:
            raise ZeroDivisionError

    report = await client.rooms.create_many(specs(100), progress=progress)

    assert report.counts == {"created": 100}
    assert "ZeroDivisionError" in caplog.text


async def test_progress_may_be_a_coroutine_function(client: VideoClient) -> None:
    seen: list[int] = []

    async def progress(report: BulkReport) -> None:
        await asyncio.sleep(0)
        seen.append(report.total)

    await client.rooms.create_many(specs(5), concurrency=1, progress=progress)

    assert seen == [1, 2, 3, 4, 5]


async def test_audit_reads_a_list_longer_than_the_stream_limit(
    client: VideoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videoapi.streaming.streamed_response.MAX_BODY", 300)

    report = await client.rooms.create_many(specs(20), audit="settled")

    assert report.audited
    assert (report.duplicates, report.missing) == ({}, [])


async def test_run_leaves_no_task_running(client: VideoClient) -> None:
    await client.rooms.create_many(specs(20))
    async for _ in client.rooms.create_each(specs(20)):
        break
    gc.collect()
    for _ in range(50):
        await asyncio.sleep(0.01)

    assert not [task for task in asyncio.all_tasks() if "BulkRun" in repr(task)]
