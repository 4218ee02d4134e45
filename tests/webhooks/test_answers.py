"""What a delivery is answered, over real sockets: aiohttp.web, and ASGI with and without a framework."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI
from starlette.routing import Route

from videoapi import ConfigurationError
from videoapi.webhooks import RecordingReady, SessionEnded, WebhookEvent, Webhooks, delivery

from .conftest import AUTH, Poster, Serve, body_of, until

HEADER = aiohttp.encode_basic_auth(*AUTH, encoding="utf-8")
BAD = b'{"type": "canary-body", '


def collecting(**options: Any) -> tuple[Webhooks, list[WebhookEvent]]:
    hooks, got = Webhooks(AUTH, **options), list[WebhookEvent]()

    @hooks.on(WebhookEvent)
    async def keep(event: WebhookEvent) -> None:
        got.append(event)

    return hooks, got


class Server:
    """A receiver in a way that users serve it: `post` returns status and headers."""

    def __init__(self, hooks: Webhooks) -> None:
        self.hooks = hooks

    async def post(self, body: Any = b"", *, method: str = "POST", **headers: str) -> tuple[int, Any]:
        raise NotImplementedError


class Aiohttp(Server):
    async def post(self, body: Any = b"", *, method: str = "POST", **headers: str) -> tuple[int, Any]:
        app = web.Application()
        app.router.add_route("*", "/hooks", self.hooks.aiohttp())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
                async with session.request(method, "/hooks", data=body, headers=headers) as response:
                    await response.read()
                    return response.status, response.headers
        finally:
            await runner.cleanup()


class Mounted(Server):
    async def post(self, body: Any = b"", *, method: str = "POST", **headers: str) -> tuple[int, Any]:
        app = FastAPI(lifespan=self.hooks.lifespan)
        app.mount("/hooks", self.hooks.asgi())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            response = await client.request(method, "/hooks/", content=body, headers=headers)
            return response.status_code, response.headers


class Routed(Server):
    """Without the final slash, to which a mount redirects."""

    async def post(self, body: Any = b"", *, method: str = "POST", **headers: str) -> tuple[int, Any]:
        app = FastAPI(lifespan=self.hooks.lifespan)
        app.router.routes.append(Route("/hooks", self.hooks.asgi()))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            response = await client.request(method, "/hooks", content=body, headers=headers)
            return response.status_code, response.headers


WAYS = pytest.mark.parametrize("way", [Aiohttp, Mounted, Routed])


async def pieces(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@WAYS
async def test_event_is_answered_200_whatever_its_content_type(way: type[Server]) -> None:
    hooks, got = collecting()
    for number, kind in enumerate(("text/plain", "application/json", "application/x-www-form-urlencoded", "nonsense")):
        server = way(hooks)
        status, _ = await server.post(body_of(room_id=number), Authorization=HEADER, **{"Content-Type": kind})
        assert status == 200
    await until(lambda: len(got) == 4)
    assert all(isinstance(event, SessionEnded) for event in got)


@WAYS
async def test_missing_or_wrong_credentials_are_401(way: type[Server]) -> None:
    hooks, got = collecting()
    wrong = aiohttp.encode_basic_auth("service", "wrong")
    for headers in ({}, {"Authorization": wrong}, {"Authorization": "Bearer x"}):
        for body in (body_of(), BAD, b"x" * 300_000):
            status, answered = await way(hooks).post(body, **headers)
            assert status == 401
            assert answered["WWW-Authenticate"].startswith("Basic realm=")
    assert got == []


@WAYS
async def test_other_methods_are_405(way: type[Server]) -> None:
    hooks, _ = collecting()
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        status, headers = await way(hooks).post(method=method, Authorization=HEADER)
        assert (status, headers["Allow"]) == (405, "POST")


@WAYS
async def test_large_bodies_are_413_also_without_a_length(way: type[Server]) -> None:
    hooks, got = collecting(max_body=1000)
    assert (await way(hooks).post(b"x" * 1001, Authorization=HEADER))[0] == 413
    assert (await way(hooks).post(pieces(100, 11), Authorization=HEADER))[0] == 413
    whole = body_of(pad="x" * (1000 - len(body_of(pad=""))))
    assert len(whole) == 1000
    assert (await way(hooks).post(whole, Authorization=HEADER))[0] == 200
    await until(lambda: len(got) == 1)


@WAYS
async def test_anything_but_an_event_is_400_and_nothing_of_it_is_logged(
    way: type[Server], caplog: pytest.LogCaptureFixture
) -> None:
    hooks, got = collecting()
    with caplog.at_level(logging.DEBUG):
        for body in (BAD, b"", b"[]", b'{"room_id": "canary-body"}', b'{"type": 7}', b"\xff"):
            assert (await way(hooks).post(body, Authorization=HEADER))[0] == 400
    assert got == []
    assert "canary" not in caplog.text
    assert "Webhook answered 400" in caplog.text


async def test_rejections_are_logged_once_per_status_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = delivery.RejectionLog(lambda: now)
    for _ in range(50):
        log.rejected(401, "why")
    log.rejected(400, "why")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Webhook answered 401: why",
        "Webhook answered 400: why",
    ]
    now = 61.0
    log.rejected(401, "why")
    assert "(49 more since the last message)" in caplog.records[-1].getMessage()


async def test_router_of_aiohttp_answers_405_for_add_post(posting: Serve) -> None:
    hooks, _ = collecting()
    app = web.Application()
    app.router.add_post("/hooks", hooks.aiohttp())
    app.cleanup_ctx.append(hooks.lifespan)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        poster = Poster(f"http://127.0.0.1:{runner.addresses[0][1]}/hooks", session)
        assert await poster(body_of()) == 200
        assert (await poster.answer(method="GET")).status == 405
    await runner.cleanup()
    with pytest.raises(Exception, match="closing"):
        await hooks.submit(SessionEnded())


async def raw(url: str, *parts: bytes, eof: bool = False) -> bytes:
    """Send bytes to a server; return what it sends until it closes or is silent."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if eof:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read(200)
    finally:
        writer.close()


def head(*lines: str) -> bytes:
    login = base64.b64encode(":".join(AUTH).encode()).decode()
    return "\r\n".join(("POST / HTTP/1.1", "Host: x", f"Authorization: Basic {login}", *lines, "", "")).encode()


async def test_chunked_body_is_read_only_up_to_the_limit(posting: Serve) -> None:
    hooks, _ = collecting(max_body=1000)
    poster = await posting(hooks)
    # More is announced than ever arrives: the answer does not wait for it.
    answer = await raw(poster.url, head("Transfer-Encoding: chunked"), b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    answer = await raw(poster.url, head("Content-Length: 99999999999999999999999"))
    assert answer[9:12] in (b"413", b"400")
    answer = await raw(poster.url, head("Content-Length: 1001"), b"x")
    assert answer.startswith(b"HTTP/1.1 413")


async def test_compressed_body_is_limited_after_decompression(posting: Serve) -> None:
    import gzip

    hooks, got = collecting(max_body=1000)
    poster = await posting(hooks)
    bomb = gzip.compress(b" " * 1_000_000)
    assert await poster(bomb, **{"Content-Encoding": "gzip"}) == 413
    assert got == []


async def test_body_that_ends_early_or_never_is_no_event(posting: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "READ_WITHIN", 0.1)
    hooks, got = collecting()
    poster = await posting(hooks)
    assert (await raw(poster.url, head("Content-Length: 100"), b"{")).startswith(b"HTTP/1.1 408")
    monkeypatch.undo()
    await raw(poster.url, head("Content-Length: 100"), body_of(), eof=True)
    assert await poster(body_of(room_id="next")) == 200
    await until(lambda: [event.room_id for event in got] == ["next"])


async def test_two_authorization_headers_are_401(posting: Serve) -> None:
    hooks, got = collecting()
    poster = await posting(hooks)
    body = body_of()
    both = head("Authorization: Basic eDp5", f"Content-Length: {len(body)}")
    assert b" 401 " in await raw(poster.url, both, body) or b" 400 " in await raw(poster.url, both, body)
    assert got == []


# ASGI, driven by hand


def scope(kind: str = "http", **fields: Any) -> dict[str, Any]:
    headers = [(b"authorization", HEADER.encode())]
    return {"type": kind, "method": "POST", "path": "/any", "headers": headers, **fields}


async def driven(app: Any, given: dict[str, Any], *messages: dict[str, Any]) -> list[MutableMapping[str, Any]]:
    waiting, sent = list(messages), list[MutableMapping[str, Any]]()

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(given, receive, send)
    return sent


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_asgi_reads_a_body_in_parts() -> None:
    hooks, got = collecting()
    body = body_of("recording", recording=["u"])
    async with hooks:
        sent = await driven(hooks.asgi(), scope(), part(body[:5], True), part(b"", True), part(body[5:]))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 200
    assert (b"content-length", b"0") in sent[0]["headers"]
    assert got == [RecordingReady(recording=("u",))]


async def test_asgi_stops_reading_at_the_limit_and_when_the_sender_is_gone() -> None:
    hooks, got = collecting(max_body=10)
    sent = await driven(hooks.asgi(), scope(), *(part(b"x" * 6, True) for _ in range(2)))
    assert sent[0]["status"] == 413
    sent = await driven(hooks.asgi(), scope(), part(b"{", True), {"type": "http.disconnect"})
    assert [message.get("status") for message in sent][:1] == [400]

    async def gone(message: object) -> None:
        raise OSError

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await hooks.asgi()(scope(), receive, gone)
    assert got == []


async def test_asgi_lifespan_drains() -> None:
    hooks, got = collecting()
    sent: list[MutableMapping[str, Any]] = []
    stop = asyncio.Event()
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> dict[str, Any]:
        if len(messages) == 1:
            await stop.wait()
        return {"type": messages.pop(0)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    app = hooks.asgi()
    living = asyncio.create_task(app(scope("lifespan"), receive, send))
    await until(lambda: sent)
    for number in range(20):
        (start, _) = await driven(app, scope(), part(body_of(room_id=number)))
        assert start["status"] == 200
    stop.set()
    await living
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(got) == 20
    (start, _) = await driven(app, scope(), part(body_of(room_id="late")))
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]


async def test_asgi_closes_web_sockets() -> None:
    hooks, _ = collecting()
    assert await driven(hooks.asgi(), scope("websocket"), {"type": "websocket.connect"}) == [
        {"type": "websocket.close", "code": 1000}
    ]


def test_receiver_belongs_to_one_loop_and_may_move_when_that_has_ended() -> None:
    hooks, got = collecting()

    async def receive() -> None:
        async with hooks:
            await hooks.submit(SessionEnded(room_id=str(len(got))))

    asyncio.run(receive())
    asyncio.run(receive())
    assert len(got) == 2

    async def elsewhere() -> None:
        async with hooks:

            def other() -> None:
                with pytest.raises(ConfigurationError, match="another event loop"):
                    asyncio.run(hooks.submit(SessionEnded()))  # type: ignore[arg-type]

            await asyncio.to_thread(other)

    asyncio.run(elsewhere())


@WAYS
async def test_unexpected_error_is_answered_500_and_its_frames_hold_no_credentials(
    way: type[Server], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hooks, _ = collecting()

    async def fails(event: WebhookEvent) -> bool:
        raise RuntimeError

    monkeypatch.setattr(hooks, "submit", fails)
    assert (await way(hooks).post(body_of(), Authorization=HEADER))[0] == 500
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.exc_info
    shown = "".join(traceback.TracebackException(*error.exc_info, capture_locals=True).format())  # type: ignore[arg-type]
    assert "RuntimeError" in shown
    assert HEADER.removeprefix("Basic ") not in shown


async def test_asgi_lifespan_that_fails_tells_the_server_why() -> None:
    hooks, _ = collecting()
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def serve_elsewhere() -> None:
        with pytest.raises(ConfigurationError):
            await hooks.asgi()(scope("lifespan"), receive, send)

    async with hooks:
        await asyncio.to_thread(asyncio.run, serve_elsewhere())
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "belong to another event loop" in sent[0]["message"]
