"""Deliveries that are forged, broken, repeated or too many, and handlers that fail."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
from typing import Any

import aiohttp
import pytest

from videoapi.sandbox import Sandbox
from videoapi.webhooks import EventNotHandled, SessionEnded, WebhookEvent, Webhooks, delivery

AUTH = ("service", "canary-webhook-password")


def event(number: object = 1, **fields: object) -> bytes:
    return json.dumps({"type": "roomdrop", "conf_num": f"c{number}", **fields}).encode()


async def post(url: str, body: Any, auth: tuple[str, str] | None = AUTH, method: str = "POST") -> int:
    headers = {} if auth is None else {"Authorization": aiohttp.encode_basic_auth(*auth)}
    async with aiohttp.ClientSession() as session:
        async with session.request(method, url, data=body, headers=headers) as response:
            await response.read()
            return response.status


async def raw(url: str, *lines: str, body: bytes = b"", eof: bool = False) -> bytes:
    """Send a request byte by byte; return the start of the answer."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    login = base64.b64encode(":".join(AUTH).encode()).decode()
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = ("POST / HTTP/1.1", "Host: x", f"Authorization: Basic {login}", *lines, "", "")
        writer.write("\r\n".join(head).encode() + body)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read(100)
    finally:
        writer.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def collecting(**options: Any) -> tuple[Webhooks, list[WebhookEvent]]:
    hooks, got = Webhooks(AUTH, retry_wait=0, **options), list[WebhookEvent]()

    @hooks.on(WebhookEvent)
    async def keep(event: WebhookEvent) -> None:
        got.append(event)

    return hooks, got


@pytest.mark.parametrize("auth", [None, ("service", "wrong"), ("wrong", AUTH[1]), ("service", "")])
async def test_f86_forged_delivery(auth: tuple[str, str] | None) -> None:
    """F86 | a webhook without or with wrong credentials, also a large one | 401, body not read | aiohttp"""
    hooks, got = collecting()
    async with hooks.serve() as url:
        assert await post(url, event(), auth) == 401
        assert await post(url, b"x" * 1_000_000, auth) == 401
        assert await post(url, b"", auth, "GET") == 405
    assert got == []


async def test_f86_too_large_body() -> None:
    """F86 | a webhook of more than `max_body`, announced, chunked or compressed | 413, reading stops | raw sockets"""
    hooks, got = collecting(max_body=1000)
    async with hooks.serve() as url:
        assert (await raw(url, "Content-Length: 1001"))[9:12] == b"413"
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        assert (await raw(url, "Transfer-Encoding: chunked", body=chunk))[9:12] == b"413"
        bomb = gzip.compress(b" " * 1_000_000)
        length = f"Content-Length: {len(bomb)}"
        assert (await raw(url, "Content-Encoding: gzip", length, body=bomb))[9:12] == b"413"
    assert got == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"type": 7}', b'{"conf_num": "canary-body"}', b"\xff\xfe", b"[" * 50_000]
)
async def test_f86_body_that_is_no_event(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """F86 | a webhook that is not JSON, not an object, or has no type | 400, nothing of it in the log | aiohttp"""
    hooks, got = collecting()
    with caplog.at_level(logging.DEBUG):
        async with hooks.serve() as url:
            assert await post(url, body) == 400
    assert got == []
    assert "canary" not in caplog.text


async def test_f86_cut_and_silent_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """F86 | a webhook whose body is cut off, or never arrives | no event; 408 after 5 s; the next is served | raw"""
    monkeypatch.setattr(delivery, "READ_WITHIN", 0.1)
    hooks, got = collecting()
    async with hooks.serve() as url:
        assert (await raw(url, "Content-Length: 100", body=b"{"))[9:12] == b"408"
        monkeypatch.undo()
        await raw(url, "Content-Length: 100", body=event(), eof=True)
        assert await post(url, event("next")) == 200
    assert [one.conf_num for one in got] == ["cnext"]


async def test_f86_repeated_deliveries() -> None:
    """F86 | a webhook repeated 50 times, at once and later, with its fields in any order | handled once | aiohttp"""
    hooks, got = collecting()
    turned = json.dumps({"conf_num": "c1", "type": "roomdrop"}).encode()
    async with hooks.serve() as url:
        assert set(await asyncio.gather(*(post(url, event()) for _ in range(25)))) == {200}
        await until(lambda: got)
        assert set(await asyncio.gather(*(post(url, turned) for _ in range(25)))) == {200}
    assert len(got) == 1


async def test_f86_full_queue() -> None:
    """F86 | more webhooks than the queue holds | 503 with Retry-After, handled when it comes again | aiohttp"""
    gate = asyncio.Event()
    hooks, got = collecting(queue_size=1, concurrency=1)

    @hooks.on(SessionEnded)
    async def wait(event: WebhookEvent) -> None:
        await gate.wait()

    async with hooks.serve() as url:
        statuses = []
        for number in range(4):
            statuses.append(await post(url, event(number)))
            await until(lambda: hooks.running == 1)
        assert statuses == [200, 200, 503, 503]
        gate.set()
        await until(lambda: not hooks.running and not hooks.waiting)
        for number in range(4):
            assert await post(url, event(number)) == 200
            await until(lambda: not hooks.running and not hooks.waiting)
    assert sorted(str(one.conf_num) for one in got) == ["c0", "c1", "c2", "c3"]


async def test_f86_failing_handler() -> None:
    """F86 | a handler that raises | three tries, then reported with its error; others are not repeated | aiohttp"""
    reported: list[tuple[WebhookEvent, BaseException]] = []
    hooks, got = collecting(on_error=lambda event, error: reported.append((event, error)))
    tries = []

    @hooks.on(SessionEnded)
    async def fails(event: WebhookEvent) -> None:
        tries.append(event)
        raise OSError("why")

    async with hooks.serve() as url:
        assert await post(url, event()) == 200
    assert (len(tries), len(got)) == (3, 1)
    ((about, error),) = reported
    assert about == got[0]
    assert isinstance(error, OSError)


async def test_f86_stalled_handler_at_shutdown() -> None:
    """F86 | a handler that never ends, at shutdown | 503 to new ones; cancelled and reported in time | aiohttp"""
    reported: list[BaseException] = []
    hooks, got = collecting(on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    async with hooks.serve() as url:
        assert await post(url, event()) == 200
        await until(lambda: got)
        closing = asyncio.create_task(hooks.aclose(timeout=0.2))
        await asyncio.sleep(0)
        assert await post(url, event(2)) == 503
        await closing
    assert [type(error) for error in reported] == [EventNotHandled]


async def test_f86_receiver_that_does_not_answer() -> None:
    """F86 | a receiver that refuses, or answers no 200 | recorded; repeated only with `webhook_retry` | sandbox"""
    hooks, got = collecting()
    async with hooks.serve() as url:
        pass
    async with Sandbox(webhook_url=url) as sandbox:
        sandbox.notify("session-ended", "r")
        await until(lambda: not sandbox.undelivered)
    assert [(one.status, one.error) for one in sandbox.deliveries] == [(None, "Connection refused")]
    async with hooks.serve() as url, Sandbox(webhook_url=url, webhook_retry=1) as sandbox:
        sandbox.notify("session-ended", "r")
        await until(lambda: not sandbox.undelivered)
    assert [(one.status, one.attempt) for one in sandbox.deliveries] == [(401, 1), (401, 2)]
    assert got == []
