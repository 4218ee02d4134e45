"""Plain calls go straight onto a connection of the pool; what watches or changes requests still sees them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import attrs
import pytest
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    ProtocolError,
    Request,
    RetryPolicy,
    SessionManager,
    VideoAPIError,
    VideoClient,
)
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Route
from videoapi.protocol.verdicts import Operation
from videoapi.transport import fast_path

ONCE = RetryPolicy(attempts=1)
DONE = answer(200, room(name="Stand-up"))

Send = Callable[[Request], Awaitable[Outcome]]


@pytest.fixture
def sessions_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What went through aiohttp's session; watched from below it, so that nobody stands in for it."""
    used: list[str] = []
    original = aiohttp.ClientSession._build_url

    def watched(self: aiohttp.ClientSession, url: Any) -> Any:
        used.append(str(url))
        return original(self, url)

    monkeypatch.setattr(aiohttp.ClientSession, "_build_url", watched)
    return used


async def calls(client: VideoClient) -> None:
    await client.rooms.create(name="Stand-up")
    await client.rooms.get(ROOM_ID)
    await client.rooms.delete(ROOM_ID)


async def test_a_plain_call_does_without_the_session(sessions_used: list[str]) -> None:
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
    assert sessions_used == []
    assert len(server.requests) == 3
    assert server.accepted == 1


async def test_both_ways_send_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
        monkeypatch.setattr("videoapi.transport.http.is_usable", lambda session: False)
        await calls(client)
    straight, through = server.requests[:3], server.requests[3:]
    for one, other in zip(straight, through, strict=True):
        assert (one.method, one.target, one.headers) == (other.method, other.target, other.headers)
        without = [
            {k: v for k, v in seen.json.items() if k != "owner_ref"} if seen.body else {} for seen in (one, other)
        ]
        assert without[0] == without[1]


async def test_a_tracer_of_aiohttp_sees_the_calls() -> None:
    seen: list[str] = []

    async def note(session: object, context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    trace.freeze()
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        client._manager.pool.api()._trace_configs.append(trace)
        await calls(client)
    assert seen == ["POST", "GET", "DELETE"]


@pytest.mark.parametrize("name", ["_request", "request"])
async def test_what_stands_in_for_the_session_gets_the_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = getattr(aiohttp.ClientSession, name)

    def stand_in(self: aiohttp.ClientSession, method: str, url: object, **options: object) -> object:
        seen.append(method)
        return original(self, method, url, **options)

    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        monkeypatch.setattr(aiohttp.ClientSession, name, stand_in)
        await calls(client)
    assert seen == ["POST", "GET", "DELETE"]


async def test_middlewares_of_aiohttp_see_the_calls() -> None:
    seen: list[str] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with serve(repeating(DONE)) as server, SessionManager(http_middlewares=[note]) as manager:
        await calls(VideoClient("id", "key", server.base_url, session=manager))
    assert seen == ["POST", "GET", "DELETE"]


async def test_an_untested_release_of_aiohttp_is_used_by_its_session(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str]
) -> None:
    monkeypatch.setattr("videoapi.transport.pool.AIOHTTP_SUPPORTED", False)
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
    assert len(sessions_used) == 3


async def test_this_release_of_aiohttp_was_tested() -> None:
    assert fast_path.AIOHTTP_SUPPORTED
    assert fast_path.is_usable(await _session())


async def _session() -> aiohttp.ClientSession:
    async with aiohttp.ClientSession() as session:
        return session


async def test_headers_that_a_middleware_adds_are_sent() -> None:
    async def traced(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={"X-Trace": "1"}))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[traced]) as client,
    ):
        await client.rooms.get(ROOM_ID)
    assert server.requests[0].headers["x-trace"] == "1"


@pytest.mark.parametrize(
    "path", ["/rooms/a b", "/rooms/a\r\nX-Evil: 1", "/rooms/\u00e4", "rooms", "@elsewhere.example/"]
)
async def test_no_path_can_forge_a_head_or_lead_elsewhere(path: str) -> None:
    async def astray(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, path=path))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[astray], retry=ONCE) as client,
    ):
        with contextlib.suppress(ConfigurationError, ProtocolError, ValueError):
            await client.rooms.get(ROOM_ID)
    assert all("x-evil" not in seen.headers and seen.target.startswith("/video/v2") for seen in server.requests)


async def test_announcements_before_the_answer_are_passed_over() -> None:
    async def announcing(link: Link) -> None:
        while True:
            await link.request()
            link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            await link.drain()
            link.answer(200, room(name="Stand-up"))

    async with serve(announcing) as server, VideoClient("id", "key", server.base_url) as client:
        assert (await client.rooms.create(name="Stand-up")).name == "Stand-up"
        assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
    assert server.accepted == 1


async def test_a_connection_is_in_nobodys_hands_until_its_answer_was_judged() -> None:
    strange = answer(200, {"result": 0, "room": {"name": "of another", "room_id": ROOM_ID}})
    async with (
        serve(repeating(strange, DONE)) as server,
        VideoClient("id", "key", server.base_url, retry=ONCE) as client,
    ):
        with pytest.raises(CreateOutcomeUnknown, match="plainly"):
            await client.rooms.create(name="Stand-up", on_unknown="strict")
        await client.rooms.get(ROOM_ID)
    assert [seen.connection for seen in server.requests][-1] > 1


async def test_an_answer_before_the_whole_question_has_left_costs_the_connection() -> None:
    async def hasty(link: Link) -> None:
        await link.reader.readuntil(b"\r\n\r\n")
        link.answer(200, room(name="Stand-up"))
        await link.drain()
        await link.gone()

    async with serve(hasty) as server, VideoClient("id", "key", server.base_url, retry=ONCE) as client:
        room_made = await client.rooms.create(name="Stand-up", data={"note": "x" * 8_000_000})
        assert room_made.name == "Stand-up"
        assert (await client.rooms.create(name="Stand-up")).name == "Stand-up"
    assert server.accepted == 2


async def test_a_cancelled_call_that_had_not_begun_sent_nothing() -> None:
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        waiting = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(8)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        assert client._manager.pool.permits.free == client._manager.pool.max_connections
        await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("fit", [True, False], ids=["straight", "through the session"])
async def test_closing_ends_a_call_that_waits_for_the_rest_of_a_body(
    fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fit:
        monkeypatch.setattr("videoapi.transport.http.is_usable", lambda session: False)
    halved = asyncio.Event()

    async def halving(link: Link) -> None:
        await link.request()
        link.send(DONE[:-10])
        await link.drain()
        halved.set()
        await link.gone()

    async with serve(halving) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE)
        call = asyncio.create_task(client.rooms.get(ROOM_ID))
        await halved.wait()
        await asyncio.sleep(0.05)
        await manager.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionFailed, match="closed meanwhile"):
                await call


async def test_closing_ends_a_stream_that_waits_for_the_rest_of_a_body() -> None:
    body = answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}, {"room_id": ROOM_ID}]})

    async def halving(link: Link) -> None:
        await link.request()
        link.send(body[:-10])
        await link.drain()
        await link.gone()

    async with serve(halving) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE)
        reading = asyncio.create_task(client.rooms.list().to_list())
        await asyncio.sleep(0.1)
        await manager.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(VideoAPIError, match="closed"):
                await reading


async def test_a_check_that_fails_leaves_no_connection_behind() -> None:
    def broken(value: object) -> bool:
        raise RuntimeError("of a middleware's own")

    async def checking(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, accepts=broken))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[checking]) as client,
    ):
        with pytest.raises(RuntimeError):
            await client.rooms.get(ROOM_ID)
        assert not client._manager.pool.connector._acquired


async def test_a_body_for_another_route_goes_out_under_its_own_method() -> None:
    async def with_body(request: Request, send: Send) -> Outcome:
        other = Route("rooms.search", "PUT", "/rooms", Operation.SAFE)
        return await send(attrs.evolve(request, route=other, path="/rooms", body=b"{}"))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url) as client,
        VideoClient("id", "key", server.base_url, session=client._manager, middleware=[with_body]) as other,
    ):
        await client.rooms.create(name="Stand-up")
        await other.rooms.get(ROOM_ID)
        await client.rooms.create(name="Stand-up")
    assert [seen.method for seen in server.requests] == ["POST", "PUT", "POST"]
