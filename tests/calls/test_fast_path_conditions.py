"""The fast path is used only where a self-check passes, and costs no call its result where it does not."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from support.clients import ONCE, client_for
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import CallTimeout, ConfigurationError, Outcome, Request, Send, SessionManager, VideoClient

DONE = repeating(answer(200, room(name="Stand-up")))


async def calls(client: VideoClient) -> None:
    await client.rooms.create(name="Stand-up")
    await client.rooms.get(ROOM_ID)
    await client.rooms.delete(ROOM_ID)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Altered internals of aiohttp

Patch = Callable[[pytest.MonkeyPatch], None]


def for_fast_path(owner: type, name: str, altered: Callable[..., Any]) -> Patch:
    """Return a patch of a method that only the fast path notices, as after a change that aiohttp adapts to itself."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def replaced(self: Any, *arguments: Any, **options: Any) -> Any:
            caller = sys._getframe(1).f_code.co_filename
            if caller.endswith("fast_path.py"):
                return altered(original, self, *arguments, **options)
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, replaced)

    return apply


def missing_argument(original: Any, self: Any, *arguments: Any, **options: Any) -> Any:
    raise TypeError("missing 1 required positional argument: 'strict'")


def missing_attribute(original: Any, self: Any, *arguments: Any, **options: Any) -> Any:
    raise AttributeError("it has another name now")


async def reversed_pair(original: Any, self: Any) -> Any:
    message, content = await original(self)
    return content, message


async def one_value(original: Any, self: Any) -> Any:
    return (await original(self))[0]


async def no_headers(original: Any, self: Any) -> Any:
    message, content = await original(self)
    return message._replace(headers=()), content


def ignored(original: Any, self: Any, *arguments: Any, **options: Any) -> None:
    return None


def without_property(name: str) -> Patch:
    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(Connection, name).fget

        def read(self: Connection) -> Any:
            if sys._getframe(1).f_code.co_filename.endswith("fast_path.py"):
                raise AttributeError(name)
            return original(self)

        monkeypatch.setattr(Connection, name, property(read))

    return apply


def required_argument_of_session(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ResponseHandler.set_response_params

    def altered(self: ResponseHandler, *, skip_payload: bool, **options: Any) -> None:
        original(self, skip_payload=skip_payload, **options)

    monkeypatch.setattr(ResponseHandler, "set_response_params", altered)


def request_without_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Altered(aiohttp.ClientRequest):
        def __init__(self, method: str, url: Any, *, response_class: Any, **options: Any) -> None:
            super().__init__(method, url, response_class=response_class, **options)

    monkeypatch.setattr(aiohttp, "ClientRequest", Altered)


def release_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "release", Connection.close)


ALTERED: dict[str, Patch] = {
    "read-signature": for_fast_path(ResponseHandler, "read", missing_argument),
    "read-renamed": for_fast_path(ResponseHandler, "read", missing_attribute),
    "read-reversed": for_fast_path(ResponseHandler, "read", reversed_pair),
    "read-one-value": for_fast_path(ResponseHandler, "read", one_value),
    "read-without-headers": for_fast_path(ResponseHandler, "read", no_headers),
    "params-signature": for_fast_path(ResponseHandler, "set_response_params", missing_argument),
    "params-required": required_argument_of_session,
    "params-ignored": for_fast_path(ResponseHandler, "set_response_params", ignored),
    "release-signature": for_fast_path(Connection, "release", missing_argument),
    "release-closes": release_closes,
    "no-protocol": without_property("protocol"),
    "no-transport": without_property("transport"),
    "request-signature": request_without_loop,
}


@pytest.mark.parametrize("altered", ALTERED)
async def test_session_is_used_with_one_warning_when_an_internal_is_altered(
    altered: str, monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    ALTERED[altered](monkeypatch)
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
        await calls(client)
        assert client._manager.pool.fast_path is False
    assert len(sessions_used) == len(server.requests) == 6
    (line,) = warnings_in(caplog)
    assert "Fast path disabled" in line
    assert aiohttp.__version__ in line


async def test_fallback_lasts_after_the_internals_are_restored(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        with monkeypatch.context() as patched:
            ALTERED["read-signature"](patched)
            await client.rooms.get(ROOM_ID)
        sessions_used.clear()
        await calls(client)
    assert len(sessions_used) == 3
    assert len(warnings_in(caplog)) == 1


async def test_many_first_calls_cause_one_check_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    ALTERED["params-signature"](monkeypatch)
    async with serve(DONE) as server, SessionManager(max_connections=20) as manager:
        clients = [client_for(server.base_url, session=manager) for _ in range(3)]
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in clients for _ in range(10)))
    assert len(server.requests) == len(sessions_used) == 30
    assert len(warnings_in(caplog)) == 1


async def test_check_that_hangs_ends_in_the_session(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(original: Any, self: Any) -> Any:
        await asyncio.Event().wait()

    for_fast_path(ResponseHandler, "read", hang)(monkeypatch)
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        await calls(client)
    assert len(sessions_used) == 3
    assert len(warnings_in(caplog)) == 1


async def test_check_that_hangs_ends_even_with_a_short_attempt_timeout(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str]
) -> None:
    async def hang(original: Any, self: Any) -> Any:
        await asyncio.Event().wait()

    for_fast_path(ResponseHandler, "read", hang)(monkeypatch)
    async with serve(DONE) as server:
        async with VideoClient("id", "key", server.base_url, attempt_timeout=0.4, retry=ONCE) as client:
            for _ in range(4):
                try:
                    await client.rooms.get(ROOM_ID)
                    break
                except CallTimeout:
                    pass
            await calls(client)
    assert len(sessions_used) >= 3


async def test_blocked_loop_at_startup_does_not_cost_the_fast_path(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "videoapi.transport.pool")
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        first = asyncio.ensure_future(client.rooms.get(ROOM_ID))
        await asyncio.sleep(0)
        # An application that imports and connects while it starts.
        __import__("time").sleep(1.2)
        await first
        await calls(client)
    assert not [line for line in warnings_in(caplog) if "Fast path" in line]
    assert sessions_used == []


async def test_no_sockets_for_the_check_still_serve_the_call(
    monkeypatch: pytest.MonkeyPatch, sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **options: object) -> Any:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("videoapi.transport.fast_path.socket.socketpair", refuse)
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url, retry=ONCE) as client:
        await calls(client)
    assert len(sessions_used) == 3
    assert len(warnings_in(caplog)) == 1


async def test_first_call_cancelled_in_the_check_leaves_nothing_open(sessions_used: list[str]) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with serve(DONE) as server:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            for steps in range(1, 25):
                async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
                    first = asyncio.ensure_future(client.rooms.get(ROOM_ID))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    first.cancel()
                    await asyncio.wait([first])
                    await client.rooms.get(ROOM_ID)
                    assert client._manager.pool.fast_path is True
                gc.collect()
                await asyncio.sleep(0)
    assert sessions_used == []
    assert faults == []
    assert [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)] == []


async def test_check_passes_with_the_installed_aiohttp(
    sessions_used: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        assert client._manager.pool.fast_path is None
        await calls(client)
        assert client._manager.pool.fast_path is True
    assert sessions_used == []
    assert warnings_in(caplog) == []
    # The check sends nothing to the service.
    assert len(server.requests) == 3


# Switched off


async def test_fast_path_can_be_switched_off(
    sessions_used: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checked: list[object] = []
    monkeypatch.setattr("videoapi.transport.fast_path.find_fault", checked.append)
    async with serve(DONE) as server, SessionManager(fast_path=False) as manager:
        async with client_for(server.base_url, session=manager) as client:
            await calls(client)
    assert len(sessions_used) == len(server.requests) == 3
    assert checked == []
    assert warnings_in(caplog) == []


# Added headers


async def raw(link: Link) -> None:
    """Respond to requests, and keep their header sections as received."""
    heads: list[bytes] = link.server.__dict__.setdefault("heads", [])
    while True:
        try:
            head = await link.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        heads.append(head)
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        await link.reader.readexactly(length)
        link.answer(200, room(name="Stand-up"))
        await link.drain()


def fields_of(head: bytes) -> list[bytes]:
    """Return the lines of a header section, in an order that does not depend on the request path."""
    first, *lines = head.split(b"\r\n")
    return [first, *sorted(line.partition(b":")[0].lower() + b":" + line.partition(b":")[2] for line in lines if line)]


HEADERS: dict[str, dict[str, str]] = {
    "one": {"X-Correlation-ID": "c-17"},
    "several": {"X-A": "1", "x-b": "2", "X-Empty": ""},
    "text": {"X-Name": "Zoë 会议", "X-Tab": "a\tb"},
    "replacing": {"accept": "application/vnd.api+json", "USER-AGENT": "portal/7", "accept-encoding": "identity"},
    "content-type": {"content-type": "application/merge-patch+json"},
}


@pytest.mark.parametrize("given", HEADERS)
@pytest.mark.parametrize("source", ["middleware", "client", "both"])
async def test_added_headers_keep_the_fast_path_and_are_sent_alike(
    given: str, source: str, sessions_used: list[str]
) -> None:
    headers = HEADERS[given]

    async def adding(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={**request.headers, **headers}))

    options: dict[str, Any] = {}
    if source != "client":
        options["middleware"] = [adding]
    if source != "middleware":
        options["headers"] = {name.title(): "replaced" for name in headers} if source == "both" else headers
    sent: list[list[bytes]] = []
    for fast in (True, False):
        async with serve(raw) as server, SessionManager(fast_path=fast) as manager:
            async with client_for(server.base_url, session=manager, **options) as client:
                await calls(client)
                await client.request("PATCH", "/x", json={"a": 1}, operation="update")
                await client.request("GET", "/x", json={"a": 1}, operation="read")
        assert (sessions_used == []) == fast
        sent.append([head.replace(b"%d" % server.port, b"PORT") for head in server.__dict__["heads"]])
    assert len(sent[0]) == len(sent[1]) == 5
    for one, other in zip(*sent, strict=True):
        assert fields_of(one) == fields_of(other)
        for name, value in headers.items():
            lines = [line for line in one.split(b"\r\n") if line.lower().startswith(name.lower().encode() + b":")]
            assert [line.partition(b":")[2].strip().decode() for line in lines] == [value]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_request_without_a_body_is_sent_alike_on_both_paths(method: str) -> None:
    sent: list[list[bytes]] = []
    for fast in (True, False):
        async with serve(raw) as server, SessionManager(fast_path=fast) as manager:
            async with client_for(server.base_url, session=manager) as client:
                await client.request(method, "/x", operation="update")
        sent.append([head.replace(b"%d" % server.port, b"PORT") for head in server.__dict__["heads"]])
    assert fields_of(sent[0][0]) == fields_of(sent[1][0])


RESERVED = ["Authorization", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade"]
INVALID: list[tuple[Any, Any]] = [
    *((name, "x") for name in RESERVED),
    *((name.swapcase(), "x") for name in RESERVED),
    ("X-A", 7),
    ("X-A", None),
    ("X-A", b"x"),
    ("X-A", "a\r\nX-B: c"),
    ("X-A", "a\0"),
    ("X-A", "\ud800"),
    ("X A", "x"),
    ("", "x"),
    (7, "x"),
    ("X-Ü", "x"),
    ("X:A", "x"),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
async def test_invalid_header_is_refused_and_nothing_is_sent(name: Any, value: Any, fast: bool) -> None:
    async def adding(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={name: value}))

    with pytest.raises(ConfigurationError):
        VideoClient("id", "key", "http://127.0.0.1:9/v2", headers={name: value})
    async with serve(DONE) as server, SessionManager(fast_path=fast) as manager:
        async with client_for(server.base_url, session=manager, middleware=[adding], retry=ONCE) as client:
            with pytest.raises(ConfigurationError):
                await client.rooms.get(ROOM_ID)
            with pytest.raises(ConfigurationError):
                await client.rooms.list().to_list()
            pool = client._manager.pool
            assert pool.permits.free == pool.max_connections
            assert pool.stream_permits.free == pool.max_streams
        assert server.requests == []


@pytest.mark.parametrize("method", ["HEAD", "GET", "OPTIONS", "PUT"])
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
async def test_every_method_is_answered_on_both_paths(method: str, fast: bool) -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.method == "HEAD":
                link.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n")
            else:
                link.answer(200, {"result": 0})
            await link.drain()

    async with serve(script) as server, SessionManager(fast_path=fast) as manager:
        async with client_for(server.base_url, session=manager, retry=ONCE, attempt_timeout=2) as client:
            for _ in range(2):
                response = await client.request(method, "/x", operation="read")
                assert response.status == 200
    assert [seen.method for seen in server.requests] == [method] * 2
    assert server.accepted == 1


async def test_credentials_that_change_are_written_with_added_headers() -> None:
    keys = iter(["one", "two", "three"])

    async def adding(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={"X-Trace": "t"}))

    async with serve(DONE) as server:
        client = VideoClient(base_url=server.base_url, credentials=lambda: ("id", next(keys)), middleware=[adding])
        async with client:
            for _ in range(3):
                await client.rooms.get(ROOM_ID)
    assert len({seen.headers["authorization"] for seen in server.requests}) == 3
