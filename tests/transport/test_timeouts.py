"""`attempt_timeout` limits one attempt and `timeout` the whole call, whatever the server does."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.server import ROOM_ID, Link, answer, room, serve

from videoapi import (
    CallTimeout,
    ConfigurationError,
    CreateOutcomeUnknown,
    RetryPolicy,
    VideoClient,
)

ONCE = RetryPolicy(attempts=1)
PATIENCE = 5.0
"""Far above the timeouts under test and far below the defaults, so that an ineffective timeout fails the test."""


async def silent(link: Link) -> None:
    await link.request()
    await link.gone()


async def drip(link: Link, data: bytes) -> None:
    for byte in data:
        link.send(bytes([byte]))
        await asyncio.sleep(0.02)
    await link.gone()


async def dripping_headers(link: Link) -> None:
    await link.request()
    await drip(link, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 1000)


async def dripping_body(link: Link) -> None:
    await link.request()
    link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    await drip(link, b" " * 1000)


async def endless_continue(link: Link) -> None:
    await link.request()
    while not link.reader.at_eof():
        link.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.02)


SLOW = [silent, dripping_headers, dripping_body, endless_continue]


@pytest.mark.parametrize("script", SLOW)
async def test_attempt_timeout_ends_one_attempt(script: object) -> None:
    async with serve(script) as server:  # type: ignore[arg-type]
        async with VideoClient("id", "key", server.base_url, retry=ONCE, attempt_timeout=0.15) as client:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(CallTimeout, match=r"within 0\.15 s \(attempt_timeout\)") as failed:
                    await client.rooms.get(ROOM_ID)
    assert isinstance(failed.value, TimeoutError)
    assert failed.value.may_have_executed
    assert failed.value.attempts == 1


@pytest.mark.parametrize("script", SLOW)
async def test_create_is_unknown_after_a_timeout_once_sent(script: object) -> None:
    async with serve(script) as server:  # type: ignore[arg-type]
        async with VideoClient("id", "key", server.base_url, attempt_timeout=0.15) as client:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(CreateOutcomeUnknown) as failed:
                    await client.rooms.create(name="Stand-up", on_unknown="strict")
        assert len(server.requests) == 1
        assert server.requests[0].json["owner_ref"] == failed.value.reference


async def test_timed_out_attempt_is_retried() -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number == 2:
            link.answer(200, room())
        await link.gone()

    async with serve(script) as server:
        policy = RetryPolicy(base=0)
        async with VideoClient("id", "key", server.base_url, retry=policy, attempt_timeout=0.1) as client:
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID


async def test_timeout_ends_the_call_regardless_of_remaining_attempts() -> None:
    async with serve(silent) as server:
        policy = RetryPolicy(attempts=10, base=0)
        client = VideoClient("id", "key", server.base_url, retry=policy, attempt_timeout=0.1, timeout=0.35)
        async with client, asyncio.timeout(PATIENCE):
            with pytest.raises(CallTimeout, match=r"0\.35 s \(timeout\)") as failed:
                await client.rooms.get(ROOM_ID)
        assert 2 <= len(server.requests) <= 4
    assert failed.value.attempts == len(server.requests)


async def test_backoff_longer_than_the_remaining_timeout_is_not_started() -> None:
    async def script(link: Link) -> None:
        await link.request()
        link.answer(503, b"", {"Retry-After": "30"})
        await link.gone()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, timeout=3) as client:
            began = time.monotonic()
            with pytest.raises(Exception, match="503") as failed:
                await client.rooms.get(ROOM_ID)
            assert time.monotonic() - began < 2
        assert len(server.requests) == 1
    assert failed.value.retry_after == 30  # type: ignore[attr-defined]


async def test_with_options_timeout_applies_to_the_call() -> None:
    async with serve(silent) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(CallTimeout, match=r"0\.1 s \(timeout\)"):
                    await client.with_options(timeout=0.1).rooms.get(ROOM_ID)


async def test_timeout_ends_a_hanging_middleware() -> None:
    async def hang(request: object, send: object) -> None:
        await asyncio.Event().wait()

    async with VideoClient("id", "key", "http://127.0.0.1:9/v1", middleware=[hang], timeout=0.1) as client:  # type: ignore[list-item]
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(CallTimeout, match=r"middleware.*0\.1 s \(timeout\)"):
                await client.rooms.get(ROOM_ID)


async def test_timeout_ends_a_hanging_credentials_callable_without_sending() -> None:
    async def never() -> tuple[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with serve(silent) as server:
        async with VideoClient(credentials=never, base_url=server.base_url, timeout=0.1) as client:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(CallTimeout, match=r"credentials callable.*0\.1 s \(timeout\)") as failed:
                    await client.rooms.create(name="Stand-up", on_unknown="strict")
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert server.accepted == 0
    assert not failed.value.may_have_executed


async def test_timeout_of_the_caller_raises_the_callers_timeout_error() -> None:
    async with serve(silent) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(TimeoutError) as failed:
                async with asyncio.timeout(0.1):
                    await client.rooms.get(ROOM_ID)
            assert not isinstance(failed.value, CallTimeout)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0


async def test_cancellation_simultaneous_with_the_timeout_is_not_lost() -> None:
    async with serve(silent) as server:
        async with VideoClient("id", "key", server.base_url, attempt_timeout=0.05, retry=ONCE) as client:
            task = asyncio.create_task(client.rooms.get(ROOM_ID))
            while not server.requests:
                await asyncio.sleep(0)
            (deadline,) = client._timer.limits
            deadline.at = 0.0
            client._timer._check()
            assert deadline.fired
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("name", ["timeout", "attempt_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"])
def test_invalid_timeout_is_rejected(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        VideoClient("id", "key", "http://127.0.0.1:9/v1", **{name: value})  # type: ignore[arg-type]


async def test_no_deadline_remains_after_calls_end() -> None:
    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.send(answer(200, room()))

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
            assert not client._timer.limits
