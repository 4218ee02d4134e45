"""Waiting for a free connection: permits, and which timeouts apply."""

from __future__ import annotations

import asyncio

import pytest
from support.server import ROOM_ID, Link, answer, room, serve

from videoapi import (
    AttemptEvent,
    CallTimeout,
    ConfigurationError,
    RetryPolicy,
    SessionManager,
    VideoClient,
)

ONCE = RetryPolicy(attempts=1)


async def slow(link: Link) -> None:
    while True:
        await link.request()
        await asyncio.sleep(0.08)
        link.answer(200, room())


async def test_waiting_for_a_connection_does_not_count_as_attempt_time() -> None:
    events: list[AttemptEvent] = []

    def record(event: object) -> None:
        if isinstance(event, AttemptEvent):
            events.append(event)

    async with serve(slow) as server, SessionManager(max_connections=1) as manager:
        client = VideoClient(
            "id", "key", server.base_url, session=manager, attempt_timeout=0.3, retry=ONCE, listeners=[record]
        )
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(6)))
        assert server.accepted == 1
    assert max(event.waited for event in events) > 0.3
    assert sum(event.waited == 0 for event in events) == 1


async def test_wait_for_a_connection_ends_at_the_timeout_without_sending() -> None:
    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(silent) as server, SessionManager(max_connections=1) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE)
        busy = asyncio.create_task(client.rooms.get(ROOM_ID))
        while not server.requests:
            await asyncio.sleep(0)
        with pytest.raises(CallTimeout, match="max_connections") as failed:
            await client.with_options(timeout=0.1).rooms.create(name="Stand-up")
        assert not failed.value.may_have_executed
        assert len(server.requests) == 1
        busy.cancel()
        await asyncio.wait([busy])


async def test_max_connections_limits_open_connections() -> None:
    async with serve(slow) as server, SessionManager(max_connections=3) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager)
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(12)))
        assert server.accepted == 3


async def test_call_inside_an_open_stream_finds_a_connection() -> None:
    listed = answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}, {"room_id": "b" * 24}]})

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.endswith("/rooms"):
                link.send(listed[:-30])
                await released.wait()
                link.send(listed[-30:])
            else:
                link.answer(200, room())

    released = asyncio.Event()
    async with serve(script) as server, SessionManager(max_connections=1) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, timeout=3)
        found = []
        async for listed_room in client.rooms.list():
            found.append(await client.rooms.get(ROOM_ID))
            assert listed_room.room_id
            released.set()
        assert len(found) == 2


async def test_permits_are_released_however_a_call_ends() -> None:
    async def script(link: Link) -> None:
        seen = await link.request()
        if seen.target.endswith("/rooms"):
            link.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b'{"result":0,"rooms":[{"room_id":"abc12345"},'
            )
        elif link.number % 3 == 0:
            link.answer(404)
        elif link.number % 3 == 1:
            link.reset()
        await link.gone()

    async with serve(script) as server, SessionManager(max_connections=2) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE, attempt_timeout=0.1)
        calls = [client.rooms.get(ROOM_ID) for _ in range(9)]
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(ended, Exception)
        for _ in range(3):
            async with client.rooms.list() as rooms:
                async for _room in rooms:
                    break
        cancelled = asyncio.create_task(client.rooms.get(ROOM_ID))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert manager.pool.permits.free == 2
        assert manager.pool.stream_permits.free == 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "8", 10_001])
def test_invalid_max_connections_is_rejected(limit: object) -> None:
    with pytest.raises(ConfigurationError, match="max_connections"):
        SessionManager(max_connections=limit)  # type: ignore[arg-type]
