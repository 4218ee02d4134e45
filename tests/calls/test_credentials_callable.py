"""Credentials callables: when one is called, and what follows if it hangs, raises or returns something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.clients import APP_ID, APP_KEY, EAGER, ONCE, OPERATIONS, call
from support.groups import survive_a_failed_group
from support.server import OTHER_ID, ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    BulkReport,
    CallTimeout,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    Credentials,
    CredentialsUnavailable,
    RoomSpec,
    SessionManager,
    VideoAPIError,
    VideoClient,
)

LOGIN = (APP_ID, APP_KEY)


class Source:
    """A callable that works for some calls and then fails or hangs at those with the given numbers."""

    def __init__(self, failure: BaseException | None, *fails: int, from_call: int | None = None) -> None:
        self.calls = 0
        self._failure = failure
        self._fails = fails
        self._from = from_call

    async def __call__(self) -> tuple[str, str]:
        self.calls += 1
        if self.calls in self._fails or (self._from is not None and self.calls >= self._from):
            if self._failure is not None:
                raise self._failure
            await asyncio.Event().wait()
        return LOGIN


def hanging(from_call: int = 1) -> Source:
    return Source(None, from_call=from_call)


async def dropping(link: Link) -> None:
    """Close the connection after the request, without a response."""
    await link.request()
    link.close()


def client_of(source: Any, base_url: str, **options: Any) -> VideoClient:
    return VideoClient(credentials=source, base_url=base_url, **{"retry": EAGER, **options})


def all_free(client: VideoClient) -> bool:
    pool = client._manager.pool
    streams = (pool.stream_permits, pool.short_stream_permits)
    return pool.permits.free == pool.max_connections and all(each.free == pool.max_streams for each in streams)


# When it is called.


async def test_callable_is_called_before_a_permit_is_taken() -> None:
    free: list[int] = []

    async def script(link: Link) -> None:
        await link.request()
        link.answer(200 if len(link.server.requests) > 1 else 503, room())
        await link.gone()

    async with serve(script) as server:

        def read() -> tuple[str, str]:
            free.append(client._manager.pool.permits.free)
            return LOGIN

        manager = SessionManager(max_connections=2)
        async with manager, client_of(read, server.base_url, session=manager) as client:
            await client.rooms.get(ROOM_ID)
    assert free == [2, 2]


async def test_hanging_callables_leave_all_permits_to_other_clients() -> None:
    async with serve(repeating(answer(200, room()))) as server, SessionManager(max_connections=4) as manager:
        stuck = client_of(hanging(), server.base_url, session=manager, timeout=30)
        other = VideoClient("other", "key", server.base_url, session=manager, timeout=10)
        async with stuck, other:
            tasks = [asyncio.create_task(stuck.rooms.get(ROOM_ID)) for _ in range(50)]
            await asyncio.sleep(0.05)
            assert manager.pool.permits.free == 4
            await asyncio.gather(*(other.rooms.get(ROOM_ID) for _ in range(20)))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all_free(stuck)
        assert len(server.requests) == 20


# A callable that hangs.


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_hanging_callable_ends_with_the_deadline_and_is_named(operation: str) -> None:
    clock = asyncio.get_running_loop().time
    async with serve(repeating(answer(200, room()))) as server:
        async with client_of(hanging(), server.base_url, timeout=0.5) as client:
            began = clock()
            with pytest.raises(CallTimeout, match=r"credentials callable did not return within 0\.5 s") as failed:
                await call(client, operation)
            assert clock() - began < 5
            assert all_free(client)
        assert server.accepted == 0
    assert "connect" not in str(failed.value)
    assert str(failed.value).endswith("Not sent.")
    assert (failed.value.may_have_executed, failed.value.attempts) == (False, 0)


async def test_callable_that_hangs_after_an_unknown_attempt_keeps_the_doubt() -> None:
    async with serve(dropping) as server:
        async with client_of(hanging(2), server.base_url, timeout=1) as client:
            with pytest.raises(CallTimeout, match="credentials callable") as failed:
                await client.rooms.update(ROOM_ID, name="Retro")
        assert len(server.requests) == 1
    assert failed.value.may_have_executed
    assert "May have been executed." in str(failed.value)
    assert "Not sent." not in str(failed.value)


THROTTLED = repeating(answer(429, b"", {"Retry-After": "0"}))


@pytest.mark.parametrize("failure", [OSError("sealed"), None], ids=["raises", "hangs"])
@pytest.mark.parametrize("operation", ["create", "update"])
async def test_callable_that_fails_after_a_refusal_says_that_nothing_was_executed(
    operation: str, failure: OSError | None
) -> None:
    async with serve(THROTTLED) as server:
        async with client_of(Source(failure, from_call=2), server.base_url, timeout=3) as client:
            with pytest.raises(CredentialsUnavailable if failure else CallTimeout, match="callable") as failed:
                await call(client, operation)
        assert len(server.requests) == 1
    assert str(failed.value).endswith("Not executed.")
    assert (failed.value.may_have_executed, failed.value.attempts) == (False, 1)


@pytest.mark.parametrize("on_unknown", ["look", "resend"])
async def test_callable_that_hangs_in_the_look_up_leaves_a_create_unknown(on_unknown: str) -> None:
    async with serve(dropping) as server:
        async with client_of(hanging(2), server.base_url, timeout=2, settle=0.1) as client:
            async with asyncio.timeout(30):
                with pytest.raises(CreateOutcomeUnknown) as failed:
                    await client.rooms.create(name="Stand-up", on_unknown=on_unknown)  # type: ignore[arg-type]
        assert len(server.requests) == 1
    assert failed.value.reference is not None
    assert failed.value.reference in str(failed.value)


@pytest.mark.parametrize("hang_at", [1, 3])
async def test_bulk_run_ends_when_the_callable_hangs(hang_at: int) -> None:
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with client_of(hanging(hang_at), server.base_url, timeout=0.5) as client:
            async with asyncio.timeout(20):
                report = await client.rooms.delete_many(ids(4), concurrency=1)
            assert all_free(client)
    assert report.total == 4
    assert report.counts["deleted"] == hang_at - 1
    assert report.unknown == []
    assert all("credentials callable" in str(outcome.error) for outcome in report.failures)


async def test_cancelling_a_call_that_waits_for_the_callable_loses_nothing() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_of(source := hanging(), server.base_url, timeout=30) as client:
            task = asyncio.create_task(client.rooms.create(name="Stand-up"))
            await asyncio.sleep(0.05)
            assert source.calls == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
            assert all_free(client)
        assert server.accepted == 0
    assert any("Not sent" in note for note in cancelled.value.__notes__)


async def test_closing_the_client_ends_calls_that_wait_for_the_callable() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        client = client_of(hanging(), server.base_url, timeout=30)
        tasks = [asyncio.create_task(call(client, operation)) for operation in OPERATIONS]
        await asyncio.sleep(0.05)
        await client.aclose()
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert server.accepted == 0
    assert [type(end) for end in ends] == [ConnectionFailed] * len(OPERATIONS)
    assert all("closed" in str(end) for end in ends)


# A callable that raises.


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_raising_callable_fails_the_call_before_it_is_sent(operation: str) -> None:
    original = OSError("the vault is sealed")
    async with serve(repeating(answer(200, room()))) as server:
        async with client_of(Source(original, from_call=1), server.base_url) as client:
            with pytest.raises(
                CredentialsUnavailable, match=r"credentials callable raised OSError.*Not sent\."
            ) as failed:
                await call(client, operation)
            assert all_free(client)
        assert server.accepted == 0
    error = failed.value
    assert isinstance(error, ConfigurationError)
    assert error.__cause__ is original
    assert (error.retryable, error.may_have_executed, error.attempts) == (True, False, 0)
    assert (error.reference is not None) == (operation == "create")


ERRORS = [
    OSError("x"),
    KeyError("x"),
    RuntimeError("x"),
    TimeoutError("x"),
    RecursionError("x"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ConnectionFailed("x"),
    ConfigurationError("x"),
    StopAsyncIteration("x"),
    ExceptionGroup("x", [OSError("y")]),
]


@pytest.mark.parametrize("original", ERRORS, ids=lambda error: type(error).__name__)
async def test_every_error_of_the_callable_becomes_credentials_unavailable(original: Exception) -> None:
    def read() -> Any:
        raise original

    async with client_of(read, "http://127.0.0.1:9/v1") as client:
        with pytest.raises(CredentialsUnavailable) as failed:
            await client.rooms.get(ROOM_ID)
    assert failed.value.__cause__ is original
    assert failed.value.retryable


async def test_cancelled_error_of_the_callable_cancels_no_call() -> None:
    """A callable may await a shared refresh that its owner cancels; the call's task is not cancelled."""
    async with client_of(Source(asyncio.CancelledError(), from_call=1), "http://127.0.0.1:9/v1") as client:
        task = asyncio.create_task(client.rooms.get(ROOM_ID))
        await asyncio.wait([task])
        assert not task.cancelled()
        assert isinstance(task.exception(), CredentialsUnavailable)


async def test_cancelled_error_of_the_callable_is_told_from_an_earlier_cancellation_of_the_task() -> None:
    await survive_a_failed_group()
    async with client_of(Source(asyncio.CancelledError(), from_call=1), "http://127.0.0.1:9/v1") as client:
        with pytest.raises(CredentialsUnavailable):
            await client.rooms.get(ROOM_ID)


async def test_call_succeeds_once_the_callable_works_again() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with client_of(Source(OSError("sealed"), 1), server.base_url) as client:
            with pytest.raises(CredentialsUnavailable):
                await client.rooms.get(ROOM_ID)
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID


async def test_callable_that_raises_at_a_retry_reports_the_earlier_attempts() -> None:
    async with serve(repeating(answer(503))) as server:
        async with client_of(Source(OSError("sealed"), 3), server.base_url) as client:
            with pytest.raises(CredentialsUnavailable) as failed:
                await client.rooms.get(ROOM_ID)
        assert len(server.requests) == 2
    assert failed.value.attempts == 2


async def test_callable_that_raises_after_an_unknown_attempt_keeps_the_doubt() -> None:
    async with serve(dropping) as server:
        async with client_of(Source(OSError("sealed"), 2), server.base_url) as client:
            with pytest.raises(VideoAPIError) as failed:
                await client.rooms.update(ROOM_ID, name="Retro")
        assert len(server.requests) == 1
    assert failed.value.may_have_executed
    assert "Not sent." not in str(failed.value)
    assert "May have been executed." in str(failed.value)


@pytest.mark.parametrize("on_unknown", ["look", "resend"])
async def test_callable_that_raises_in_the_look_up_leaves_a_create_unknown(on_unknown: str) -> None:
    async with serve(dropping) as server:
        async with client_of(
            Source(OSError("sealed"), from_call=2), server.base_url, timeout=3, settle=0.1, retry=ONCE
        ) as client:
            with pytest.raises(CreateOutcomeUnknown) as failed:
                await client.rooms.create(name="Stand-up", on_unknown=on_unknown)  # type: ignore[arg-type]
        assert len(server.requests) == 1
    assert failed.value.reference is not None
    assert failed.value.may_have_executed
    assert "credentials callable raised OSError" in str(failed.value)
    assert isinstance(failed.value.__cause__, CredentialsUnavailable)


# In bulk.


def ids(count: int) -> list[str]:
    return [f"{ROOM_ID[:-2]}{number:02d}" for number in range(count)]


async def delete_many(client: VideoClient, **options: Any) -> BulkReport:
    return await client.rooms.delete_many(ids(6), **options)


async def create_many(client: VideoClient, **options: Any) -> BulkReport:
    return await client.rooms.create_many([RoomSpec(f"Room {number}") for number in range(6)], **options)


RUNS = pytest.mark.parametrize("run", [delete_many, create_many])
Run = Callable[..., Awaitable[BulkReport]]


async def numbered(link: Link) -> None:
    """Create and delete rooms."""
    while True:
        seen = await link.request()
        if seen.method == "POST":
            number = len(link.server.requests)
            body = {**seen.json, "room_id": f"{OTHER_ID[:-3]}{number:03d}"}
            link.answer(200, {"result": 0, "room": body})
        else:
            link.answer(200, {"result": 0, "rooms": []})
        await link.drain()


@RUNS
@pytest.mark.parametrize("original", [OSError("x"), *ERRORS[4:8]], ids=lambda error: type(error).__name__)
async def test_error_of_the_callable_fails_only_its_item(run: Run, original: Exception) -> None:
    async with serve(numbered) as server:
        async with client_of(Source(original, 3), server.base_url) as client:
            report = await run(client, concurrency=2)
            assert all_free(client)
        assert sum(seen.method in ("POST", "DELETE") for seen in server.requests) == 5
    assert report.total == 6
    (failure,) = report.failures
    assert failure.status == "failed"
    assert isinstance(failure.error, CredentialsUnavailable)
    assert failure.error.__cause__ is original
    assert report.unknown == []
    assert report.stopped is None


@RUNS
async def test_wrong_value_from_the_callable_fails_only_its_item(run: Run) -> None:
    calls = 0

    def read() -> Any:
        nonlocal calls
        calls += 1
        return None if calls == 3 else Credentials(*LOGIN)

    async with serve(numbered) as server:
        async with client_of(read, server.base_url) as client:
            report = await run(client, concurrency=2)
    assert report.total == 6
    (failure,) = report.failures
    assert isinstance(failure.error, ConfigurationError)
    assert "NoneType" in str(failure.error)


@RUNS
async def test_cancelled_error_of_the_callable_fails_only_its_item(run: Run) -> None:
    async with serve(numbered) as server:
        async with client_of(Source(asyncio.CancelledError(), 3), server.base_url) as client:
            report = await run(client, concurrency=1)
    assert report.total == 6
    assert report.unknown == [], "nothing was sent for it"
    assert len(report.failures) == 1


async def test_bulk_delete_keeps_its_doubt_when_the_callable_raises() -> None:
    async with serve(dropping) as server:
        async with client_of(Source(OSError("sealed"), from_call=2), server.base_url) as client:
            report = await client.rooms.delete_many([ROOM_ID])
    assert report.counts == {"unknown": 1}


async def test_bulk_create_keeps_its_doubt_when_the_callable_raises() -> None:
    async with serve(dropping) as server:
        async with client_of(Source(OSError("sealed"), from_call=2), server.base_url, settle=0.1) as client:
            report = await client.rooms.create_many([RoomSpec("Stand-up")])
        assert len(server.requests) == 1
    (unknown,) = report.unknown
    assert unknown.reference is not None
    assert unknown.error is not None
    assert unknown.error.may_have_executed


async def test_resumable_job_reports_that_the_callable_raises() -> None:
    async with serve(numbered) as server:
        async with client_of(Source(OSError("sealed"), from_call=1), server.base_url, settle=0.1) as client:
            report = await client.rooms.create_many([RoomSpec("Stand-up", key="1")], job_id="job")
        assert server.requests == []
    assert report.counts["created"] == 0
    assert isinstance(report.stopped or report.failures[0].error, CredentialsUnavailable)


async def test_callable_that_swallows_its_cancellation_sends_nothing_late() -> None:
    async def stubborn() -> tuple[str, str]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return LOGIN

    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient(credentials=stubborn, base_url=server.base_url, timeout=0.3) as client:
            async with asyncio.timeout(5):
                with pytest.raises(CallTimeout, match="the credentials callable did not return"):
                    await client.rooms.get(ROOM_ID)
                report = await client.rooms.delete_many([ROOM_ID])
        assert server.requests == []
    assert report.counts == {"failed": 1}
