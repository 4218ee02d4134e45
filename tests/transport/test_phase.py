"""Whether a request may have been sent depends on the connection's state, not on the exception's class."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from support.server import ROOM_ID, Link, room, serve

from videoapi import (
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    ProtocolError,
    RequestRejected,
    RetryPolicy,
    SessionManager,
    VideoClient,
)
from videoapi.pipeline.clock import Clock

ONCE = RetryPolicy(attempts=1)


def closed_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/video/v2"


async def test_refused_connection_proves_that_nothing_was_sent() -> None:
    async with VideoClient("id", "key", closed_port(), retry=ONCE) as client:
        for call in (
            client.rooms.create(name="Stand-up", on_unknown="strict"),
            client.rooms.get(ROOM_ID),
            client.rooms.delete(ROOM_ID),
            client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u-1"),
        ):
            with pytest.raises(ConnectionFailed) as failed:
                await call
            assert not failed.value.may_have_executed
            assert failed.value.retryable
            assert failed.value.attempts == 1


async def test_unsent_create_is_retried_until_the_server_listens() -> None:
    """Retries exceed the policy's three attempts, because the request was certainly not executed."""

    async def script(link: Link) -> None:
        seen = await link.request()
        link.answer(200, room(owner_ref=seen.json["owner_ref"]))
        await link.gone()

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 5:
            held.close()
            await stack.enter_async_context(serve(script, port=port))

    sleeps: list[float] = []
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = held.getsockname()[1]
    async with contextlib.AsyncExitStack() as stack, SessionManager(clock=Clock(sleep=sleep)) as manager:
        client = VideoClient("id", "key", f"http://127.0.0.1:{port}/video/v2", session=manager)
        created = await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert created.room_id == ROOM_ID
    assert len(sleeps) == 5


async def test_failed_tls_handshake_sends_no_byte_of_the_request() -> None:
    """A server that never completes the TLS handshake receives a ClientHello, but no request."""
    received = bytearray()

    async def mute(link: Link) -> None:
        while data := await link.reader.read(65536):
            received.extend(data)

    async with serve(mute) as server:
        base = server.base_url.replace("http://", "https://")
        async with SessionManager(connect_timeout=0.2) as manager:
            client = VideoClient("id", "key", base, session=manager, retry=ONCE)
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert not failed.value.may_have_executed
    assert received[0] == 0x16
    assert b"POST" not in received


async def test_timeout_while_connecting_means_not_sent() -> None:
    async def mute(link: Link) -> None:
        await link.gone()

    async with serve(mute) as server:
        base = server.base_url.replace("http://", "https://")
        async with VideoClient("id", "key", base, retry=ONCE, attempt_timeout=0.2) as client:
            with pytest.raises(CallTimeout) as failed:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert not failed.value.may_have_executed
    assert server.requests == []


async def close_at_once(link: Link) -> None:
    link.close()


async def reset_at_once(link: Link) -> None:
    link.reset()


async def close_after_the_request(link: Link) -> None:
    await link.request()
    link.close()


async def reset_after_the_request(link: Link) -> None:
    await link.request()
    link.reset()


async def reset_within_the_body(link: Link) -> None:
    await link.reader.readuntil(b"\r\n\r\n")
    link.reset()


async def close_within_the_status_line(link: Link) -> None:
    await link.request()
    link.send(b"HTTP/1.1 2")
    link.close()


async def close_within_the_headers(link: Link) -> None:
    await link.request()
    link.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    link.close()


@pytest.mark.parametrize(
    "script",
    [
        close_at_once,
        reset_at_once,
        close_after_the_request,
        reset_after_the_request,
        reset_within_the_body,
        close_within_the_status_line,
        close_within_the_headers,
    ],
)
async def test_create_is_unknown_when_an_open_connection_breaks(script: object) -> None:
    async with serve(script) as server:  # type: ignore[arg-type]
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(CreateOutcomeUnknown) as failed:
                await client.rooms.create(name="Stand-up", owner_ref="team-42", on_unknown="strict")
        assert server.accepted == 1
    assert failed.value.may_have_executed
    assert not failed.value.retryable
    assert failed.value.reference is not None
    assert failed.value.attempts == 1
    assert failed.value.status is None


async def test_unknown_create_reports_the_reference_that_was_sent() -> None:
    async with serve(close_after_the_request) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(CreateOutcomeUnknown) as bare:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
            with pytest.raises(CreateOutcomeUnknown) as named:
                await client.rooms.create(name="Stand-up", owner_ref="team-42", on_unknown="strict")
        first, second = (seen.json for seen in server.requests)
    assert first["owner_ref"] == bare.value.reference
    assert (second["owner_ref"], second["data"]) == ("team-42", {"videoapi_ref": named.value.reference})


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 smtp.example.com ESMTP ready\r\n",
        b"<html>hello</html>",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["smtp", "html", "no-status", "two-lengths", "long-header", "status-1000"],
)
async def test_malformed_response_is_not_a_rejection(garbage: bytes) -> None:
    """The parser's exception contains a status of 400 that the server did not send."""

    async def script(link: Link) -> None:
        await link.request()
        link.send(garbage)
        await link.gone()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            with pytest.raises(CreateOutcomeUnknown) as unknown:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
            with pytest.raises(ProtocolError) as failed:
                await client.rooms.get(ROOM_ID)
        assert server.accepted == 2
    assert unknown.value.status is None
    assert failed.value.status is None
    assert failed.value.may_have_executed


async def test_early_rejection_before_the_body_is_sent_is_a_rejection() -> None:
    async def script(link: Link) -> None:
        await link.reader.readuntil(b"\r\n\r\n")
        link.answer(413, b"too much", {"Connection": "close"})
        await link.gone()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            with pytest.raises(RequestRejected) as failed:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert failed.value.status == 413
    assert not failed.value.may_have_executed


async def test_cancelled_call_closes_its_connection() -> None:
    requested = asyncio.Event()

    async def script(link: Link) -> None:
        await link.request()
        requested.set()
        if link.number == 1:
            await link.gone()
            gone.set()
        link.answer(200, room())
        await link.gone()

    gone = asyncio.Event()
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            task = asyncio.create_task(client.rooms.get(ROOM_ID))
            await requested.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), 5)
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
