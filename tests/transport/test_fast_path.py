"""Simple calls bypass aiohttp's session; tracers, middlewares and mocks still see every request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.client_proto import ResponseHandler
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
from videoapi.protocol.types import Operation
from videoapi.transport import fast_path

ONCE = RetryPolicy(attempts=1)
DONE = answer(200, room(name="Stand-up"))

Send = Callable[[Request], Awaitable[Outcome]]


async def calls(client: VideoClient) -> None:
    await client.rooms.create(name="Stand-up")
    await client.rooms.get(ROOM_ID)
    await client.rooms.delete(ROOM_ID)


async def test_simple_calls_bypass_the_session(sessions_used: list[str]) -> None:
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
    assert sessions_used == []
    assert len(server.requests) == 3
    assert server.accepted == 1


async def add_headers(request: Request, send: Send) -> Outcome:
    return await send(attrs.evolve(request, headers={"X-Trace": "é 1", "accept": "text/plain"}))


@pytest.mark.parametrize("middleware", [(), [add_headers]], ids=["plain", "added-headers"])
async def test_fast_path_and_session_send_identical_requests(middleware: Any, sessions_used: list[str]) -> None:
    async with serve(repeating(DONE)) as server:
        for enabled in (True, False):
            async with SessionManager(fast_path=enabled) as manager:
                await calls(VideoClient("id", "key", server.base_url, session=manager, middleware=middleware))
            assert len(sessions_used) == (0 if enabled else 3)
    direct, through = server.requests[:3], server.requests[3:]
    for one, other in zip(direct, through, strict=True):
        assert (one.method, one.target, one.headers) == (other.method, other.target, other.headers)
        without = [
            {k: v for k, v in seen.json.items() if k != "owner_ref"} if seen.body else {} for seen in (one, other)
        ]
        assert without[0] == without[1]


async def test_aiohttp_trace_config_sees_the_calls() -> None:
    seen: list[str] = []

    async def record(session: object, context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(record)
    trace.freeze()
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        client._manager.pool.api()._trace_configs.append(trace)
        await calls(client)
    assert seen == ["POST", "GET", "DELETE"]


@pytest.mark.parametrize("name", ["_request", "request"])
async def test_patched_session_method_receives_the_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = getattr(aiohttp.ClientSession, name)

    def patched(self: aiohttp.ClientSession, method: str, url: object, **options: object) -> object:
        seen.append(method)
        return original(self, method, url, **options)

    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        monkeypatch.setattr(aiohttp.ClientSession, name, patched)
        await calls(client)
    assert seen == ["POST", "GET", "DELETE"]


@pytest.mark.parametrize("bare", [False, True], ids=["sequence", "bare"])
async def test_aiohttp_middlewares_see_the_calls(bare: bool) -> None:
    seen: list[str] = []

    async def record(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async with (
        serve(repeating(DONE)) as server,
        SessionManager(http_middlewares=record if bare else [record]) as manager,
    ):
        await calls(VideoClient("id", "key", server.base_url, session=manager))
    assert seen == ["POST", "GET", "DELETE"]


def rename_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Require an argument that only aiohttp's session passes."""
    original = ResponseHandler.set_response_params

    def altered(self: ResponseHandler, *, timer: object, **options: Any) -> None:
        original(self, timer=timer, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ResponseHandler, "set_response_params", altered)


def change_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim that the body has not ended, which only the fast path looks at."""
    monkeypatch.setattr(aiohttp.StreamReader, "at_eof", lambda self: False)


@pytest.mark.parametrize("alter", [rename_argument, change_a_result])
async def test_session_is_used_when_an_aiohttp_internal_differs(
    alter: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    sessions_used: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    alter(monkeypatch)
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        created = await asyncio.gather(*(client.rooms.create(name="Stand-up") for _ in range(8)))
        await calls(client)
    assert {one.name for one in created} == {"Stand-up"}
    assert len(sessions_used) == len(server.requests) == 11
    (warning,) = (record.getMessage() for record in caplog.records if record.name == "videoapi")
    assert "Fast path disabled" in warning
    assert aiohttp.__version__ in warning


async def test_installed_aiohttp_release_supports_the_fast_path() -> None:
    async with aiohttp.ClientSession() as session:
        assert await fast_path.find_fault(session) is None
        assert fast_path.is_usable(session)


async def test_self_check_runs_once_for_all_first_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    original = fast_path.find_fault

    async def counted(session: aiohttp.ClientSession) -> str | None:
        nonlocal checks
        checks += 1
        return await original(session)

    monkeypatch.setattr(fast_path, "find_fault", counted)
    async with serve(repeating(DONE)) as server, VideoClient("id", "key", server.base_url) as client:
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
        await calls(client)
        assert client._manager.pool.fast_path
    assert checks == 1


async def test_headers_added_by_a_middleware_are_sent_on_the_fast_path(sessions_used: list[str]) -> None:
    async def add_header(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={"X-Trace": "1"}))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[add_header], headers={"X-Team": "a"}) as client,
    ):
        await calls(client)
    assert [(seen.headers["x-trace"], seen.headers["x-team"]) for seen in server.requests] == [("1", "a")] * 3
    assert sessions_used == []


@pytest.mark.parametrize(
    "path", ["/rooms/a b", "/rooms/a\r\nX-Evil: 1", "/rooms/\u00e4", "rooms", "@elsewhere.example/"]
)
async def test_path_cannot_inject_headers_or_change_the_host(path: str) -> None:
    async def change_path(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, path=path))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[change_path], retry=ONCE) as client,
    ):
        with contextlib.suppress(ConfigurationError, ProtocolError, ValueError):
            await client.rooms.get(ROOM_ID)
    assert all("x-evil" not in seen.headers and seen.target.startswith("/video/v2") for seen in server.requests)


async def test_interim_responses_are_skipped() -> None:
    async def send_interim_responses(link: Link) -> None:
        while True:
            await link.request()
            link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            await link.drain()
            link.answer(200, room(name="Stand-up"))

    async with serve(send_interim_responses) as server, VideoClient("id", "key", server.base_url) as client:
        assert (await client.rooms.create(name="Stand-up")).name == "Stand-up"
        assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
    assert server.accepted == 1


async def test_connection_is_not_reused_until_its_response_is_classified() -> None:
    strange = answer(200, {"result": 0, "room": {"name": "Another room", "room_id": ROOM_ID}})
    async with (
        serve(repeating(strange, DONE)) as server,
        VideoClient("id", "key", server.base_url, retry=ONCE) as client,
    ):
        with pytest.raises(CreateOutcomeUnknown, match="belongs to a different request"):
            await client.rooms.create(name="Stand-up", on_unknown="strict")
        await client.rooms.get(ROOM_ID)
    assert [seen.connection for seen in server.requests][-1] > 1


async def test_connection_is_closed_when_the_response_precedes_the_full_request() -> None:
    async def respond_early(link: Link) -> None:
        await link.reader.readuntil(b"\r\n\r\n")
        link.answer(200, room(name="Stand-up"))
        await link.drain()
        await link.gone()

    async with serve(respond_early) as server, VideoClient("id", "key", server.base_url, retry=ONCE) as client:
        created = await client.rooms.create(name="Stand-up", data={"note": "x" * 8_000_000})
        assert created.name == "Stand-up"
        assert (await client.rooms.create(name="Stand-up")).name == "Stand-up"
    assert server.accepted == 2


async def test_call_cancelled_before_it_starts_sends_nothing() -> None:
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


@pytest.mark.parametrize("usable", [True, False], ids=["fast-path", "session"])
async def test_close_ends_a_call_waiting_for_the_rest_of_a_body(usable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not usable:
        monkeypatch.setattr(fast_path, "is_usable", lambda session: False)
    partially_sent = asyncio.Event()

    async def send_partially(link: Link) -> None:
        await link.request()
        link.send(DONE[:-10])
        await link.drain()
        partially_sent.set()
        await link.gone()

    async with serve(send_partially) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE)
        call = asyncio.create_task(client.rooms.get(ROOM_ID))
        await partially_sent.wait()
        await asyncio.sleep(0.05)
        await manager.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionFailed, match="the client was closed"):
                await call


async def test_close_ends_a_stream_waiting_for_the_rest_of_a_body() -> None:
    body = answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}, {"room_id": ROOM_ID}]})

    async def send_partially(link: Link) -> None:
        await link.request()
        link.send(body[:-10])
        await link.drain()
        await link.gone()

    async with serve(send_partially) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, retry=ONCE)
        reading = asyncio.create_task(client.rooms.list().to_list())
        await asyncio.sleep(0.1)
        await manager.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(VideoAPIError, match="closed"):
                await reading


async def test_failing_accepts_check_leaks_no_connection() -> None:
    def fail(value: object) -> bool:
        raise RuntimeError("check of a middleware")

    async def add_check(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, accepts=fail))

    async with (
        serve(repeating(DONE)) as server,
        VideoClient("id", "key", server.base_url, middleware=[add_check]) as client,
    ):
        with pytest.raises(RuntimeError):
            await client.rooms.get(ROOM_ID)
        assert not client._manager.pool.connector._acquired


async def test_body_on_another_route_is_sent_with_that_routes_method() -> None:
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
