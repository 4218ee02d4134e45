"""Only the library's own retries resend requests; aiohttp never does."""

from __future__ import annotations

import pytest
from support.server import ROOM_ID, Link, answer, room, serve

from videoapi import ConnectionFailed, CreateOutcomeUnknown, RetryPolicy, VideoClient

EAGER = RetryPolicy(base=0)
ONCE = RetryPolicy(attempts=1)


async def close_unanswered(link: Link) -> None:
    await link.request()
    link.close()


async def reset_unanswered(link: Link) -> None:
    await link.request()
    link.reset()


async def answer_once_then_close(link: Link) -> None:
    await link.request()
    link.answer(200, room() if link.server.requests[-1].method == "GET" else {"result": 0})
    await link.request()
    link.close()


async def call(client: VideoClient, method: str) -> object:
    if method == "GET":
        return await client.rooms.get(ROOM_ID)
    if method == "PATCH":
        return await client.rooms.update(ROOM_ID, name="Retro")
    if method == "DELETE":
        return await client.rooms.delete(ROOM_ID)
    if method == "TOKEN":
        return await client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u-1")
    return await client.rooms.create(name="Stand-up", on_unknown="strict")


@pytest.mark.parametrize("script", [close_unanswered, reset_unanswered])
@pytest.mark.parametrize(
    ("method", "policy", "requests"),
    [
        ("GET", EAGER, 3),
        ("GET", ONCE, 1),
        ("PATCH", EAGER, 3),
        ("PATCH", ONCE, 1),
        ("DELETE", EAGER, 3),
        ("DELETE", ONCE, 1),
        ("TOKEN", EAGER, 2),
        ("TOKEN", ONCE, 1),
        ("CREATE", EAGER, 1),
        ("CREATE", ONCE, 1),
    ],
)
async def test_requests_sent_match_the_attempts_of_the_policy(
    script: object, method: str, policy: RetryPolicy, requests: int
) -> None:
    async with serve(script) as server:  # type: ignore[arg-type]
        async with VideoClient("id", "key", server.base_url, retry=policy) as client:
            expected = CreateOutcomeUnknown if method == "CREATE" else ConnectionFailed
            with pytest.raises(expected) as failed:
                await call(client, method)
        assert len(server.requests) == requests
    assert failed.value.attempts == requests
    assert failed.value.may_have_executed
    assert type(failed.value) is expected


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_request_on_a_closing_connection_is_not_resent_by_aiohttp(method: str) -> None:
    async with serve(answer_once_then_close) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await call(client, method)
            with pytest.raises(ConnectionFailed):
                await call(client, method)
        assert [seen.connection for seen in server.requests] == [1, 1]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_request_is_not_resent_after_connection_close(method: str) -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number == 1:
            body = room() if method == "GET" else {"result": 0}
            link.answer(200, body, {"Connection": "close"})
        link.close()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await call(client, method)
            with pytest.raises(ConnectionFailed):
                await call(client, method)
        assert [seen.connection for seen in server.requests] == [1, 2]


async def test_stream_without_response_headers_is_retried_per_the_policy() -> None:
    async with serve(close_unanswered) as server:
        async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
            with pytest.raises(ConnectionFailed):
                await client.rooms.list().to_list()
        assert len(server.requests) == 3


async def test_read_survives_two_broken_connections() -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number < 3:
            link.reset()
        link.send(answer(200, room(name="Stand-up")))
        await link.gone()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=EAGER) as client:
            found = await client.rooms.get(ROOM_ID)
        assert found.name == "Stand-up"
        assert len(server.requests) == 3
