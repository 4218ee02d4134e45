"""Streams over real sockets: early first records, back-pressure, broken connections, early exit."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from aiohttp import web

from videoapi.client import VideoClient
from videoapi.errors import ConnectionFailed
from videoapi.protocol.backoff import RetryPolicy
from videoapi.sandbox import Sandbox

Write = Callable[[bytes], Awaitable[None]]
Handler = Callable[[web.Request, Write], Awaitable[None]]
FAST = RetryPolicy(base=0.001)


@asynccontextmanager
async def serving(handler: Handler, *, compress: bool = False) -> AsyncIterator[VideoClient]:
    """Start a server that responds to every request with what the handler writes, and yield its client."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if compress else {})
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        gzip = zlib.compressobj(wbits=31)

        async def write(chunk: bytes) -> None:
            await response.write(gzip.compress(chunk) + gzip.flush(zlib.Z_SYNC_FLUSH) if compress else chunk)

        await handler(request, write)
        if request.transport is not None and not request.transport.is_closing():
            await response.write_eof(gzip.flush() if compress else b"")
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with VideoClient("app", "key", f"http://127.0.0.1:{port}/v1", allow_http=True, retry=FAST) as client:
            yield client
    finally:
        await runner.cleanup()


def record(n: int, size: int = 100) -> bytes:
    return json.dumps(
        {"cdr_id": f"id{n}", "trans_date": "2026-01-01T10:00:00Z", "conf_num": "c1", "user": {"agent": "x" * size}}
    ).encode()


def records(start: int, stop: int, size: int = 100) -> bytes:
    return b"".join((b"," if n else b"") + record(n, size) for n in range(start, stop))


HEAD, TAIL = b'{"result":"0","cdr":[', b"]}"


@pytest.mark.parametrize("compress", [False, True])
async def test_first_record_is_yielded_before_the_body_is_complete(compress: bool) -> None:
    seen = asyncio.Event()

    async def handler(request: web.Request, write: Write) -> None:
        await write(HEAD + records(0, 2_000))
        await seen.wait()
        await write(records(2_000, 2_500) + TAIL)

    async with serving(handler, compress=compress) as client:
        count = 0
        async with client.cdr.by_conference("c1", timeout=10) as stream:
            async for _ in stream:
                seen.set()
                count += 1
        assert count == 2_500


async def test_paused_consumer_slows_the_server_down() -> None:
    total, sent = 400, 0

    async def handler(request: web.Request, write: Write) -> None:
        nonlocal sent
        await write(HEAD)
        for n in range(total):
            await write(records(n * 100, n * 100 + 100, 1500))
            sent += 1
        await write(TAIL)

    async with serving(handler) as client, client.cdr.by_conference("c1") as stream:
        await anext(aiter(stream))
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        # About 6 MiB fit into the socket buffers; the body has 60 MiB.
        assert sent < total / 2


async def test_no_record_is_lost_or_repeated_after_broken_connections() -> None:
    breaks = [3_000, 4_500]

    async def handler(request: web.Request, write: Write) -> None:
        upto = breaks.pop() if breaks else None
        await write(HEAD + records(0, upto or 5_000))
        if upto is None:
            await write(TAIL)
        else:
            assert request.transport is not None
            request.transport.close()

    async with serving(handler) as client:
        stream = client.cdr.by_conference("c1")
        assert [r.cdr_id for r in await stream.to_list()] == [f"id{n}" for n in range(5_000)]
        assert stream.received == 5_000
    assert breaks == []


async def test_permanently_broken_connection_ends_the_stream() -> None:
    async def handler(request: web.Request, write: Write) -> None:
        await write(HEAD + records(0, 5))
        assert request.transport is not None
        request.transport.close()

    async with serving(handler) as client:
        stream, seen = client.cdr.by_conference("c1"), 0
        with pytest.raises(ConnectionFailed) as caught:
            async for _ in stream:
                seen += 1
        assert seen == 5
        assert caught.value.cursor.count == 5  # type: ignore[attr-defined]


async def test_leaving_early_closes_the_server_connection() -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request, write: Write) -> None:
        try:
            await write(HEAD)
            for n in range(10_000):
                await write(records(n * 10, n * 10 + 10, 1500))
        except ConnectionError:
            gone.set()
            raise

    async with serving(handler) as client:
        async with client.cdr.by_period("2026-01-01", "2026-01-31") as stream:
            async for _ in stream:
                break
        async with asyncio.timeout(5):
            await gone.wait()


async def test_calls_work_inside_a_stream() -> None:
    async def handler(request: web.Request, write: Write) -> None:
        if "/cdr/" in request.path:
            await write(HEAD + records(0, 50) + TAIL)
        else:
            await write(b'{"result":0,"room":{"room_id":"r1","name":"Room"}}')

    async with serving(handler) as client:
        async for _ in client.cdr.by_conference("c1"):
            assert (await client.rooms.get("r1")).room_id == "r1"


# Against the sandbox

SEEDED: dict[str, Any] = {"seed": 7, "calls": 3_000, "rooms": 300, "today": date(2026, 1, 31)}


@asynccontextmanager
async def sandboxed(**options: Any) -> AsyncIterator[tuple[Sandbox, VideoClient]]:
    async with Sandbox(**SEEDED, **options) as sandbox:
        client = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, allow_http=True, retry=FAST)
        async with client:
            yield sandbox, client


@pytest.mark.parametrize("period_end", ["inclusive", "exclusive"])
@pytest.mark.parametrize("cdr_order", ["ascending", "descending", "shuffled"])
async def test_month_is_complete_for_any_end_date_rule_and_order(period_end: str, cdr_order: str) -> None:
    async with sandboxed(period_end=period_end, cdr_order=cdr_order) as (_, client):
        names = [r.cdr_id for r in await client.cdr.by_period("2026-01-01", "2026-01-31").to_list()]
        assert len(names) == len(set(names)) == 3_000
        half = [r.cdr_id for r in await client.cdr.by_period("2026-01-01", "2026-01-16").to_list()]
        rest = [r.cdr_id for r in await client.cdr.by_period("2026-01-17", "2026-01-31").to_list()]
        assert sorted(map(str, half + rest)) == sorted(map(str, names))


async def test_month_is_complete_despite_injected_faults() -> None:
    async with sandboxed() as (sandbox, client):
        for kind, options in (
            ("cut", {"at": 0.5, "times": 2}),
            ("drop_before", {"times": 1}),
            ("status", {"status": 503, "times": 1}),
        ):
            sandbox.fault("cdr.by_period", kind, **options)
        names = [r.cdr_id for r in await client.cdr.by_period("2026-01-01", "2026-01-31").to_list()]
        assert len(names) == len(set(names)) == 3_000


async def test_pages_resume_in_another_client() -> None:
    async with sandboxed() as (sandbox, client):
        names: list[str | None] = []
        async with client.cdr.by_period("2026-01-01", "2026-01-31") as stream:
            async for page in stream.pages(500):
                names += [r.cdr_id for r in page.records]
                if len(names) == 1_500:
                    break
        other = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, allow_http=True)
        async with other:
            rest = other.cdr.by_period("2026-01-01", "2026-01-31", cursor=str(page.cursor))
            names += [r.cdr_id for r in await rest.to_list()]
        assert len(names) == len(set(names)) == 3_000


async def test_rooms_are_streamed() -> None:
    async with sandboxed() as (_, client):
        found = [room.room_id async for room in client.rooms.list()]
        assert len(found) == len(set(found)) == 300
