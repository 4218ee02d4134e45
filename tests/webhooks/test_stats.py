"""`hooks.stats()`: what became of every delivery, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import aiohttp
import attrs
import pytest

from videoapi.webhooks import (
    DeliveryRejected,
    RecordingReady,
    SessionEnded,
    WebhookEvent,
    Webhooks,
    WebhookStats,
    delivery,
    parse_event,
)

from .conftest import AUTH, Serve, body_of, until

HEADER = aiohttp.encode_basic_auth(*AUTH, encoding="utf-8").encode()


def quick(**options: object) -> Webhooks:
    return Webhooks(AUTH, retry_wait=0, on_error=lambda event, error: None, **options)  # type: ignore[arg-type]


async def broken_off(url: str) -> None:
    """Announce a body, and close the connection in the middle of it."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 90\r\n\r\n{" % HEADER)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_new_receiver_has_counted_nothing() -> None:
    assert quick().stats() == WebhookStats()


async def test_every_delivery_is_counted_once_by_its_end(posting: Serve) -> None:
    hooks = quick(max_body=1000, tries=2)

    @hooks.on(SessionEnded)
    async def handle(event: SessionEnded) -> None:
        if event.room_id == "bad":
            raise ValueError

    post = await posting(hooks)
    sent = [
        (200, body_of(room_id="1"), AUTH),
        (200, body_of(room_id="1"), AUTH),
        (200, body_of(room_id="bad"), AUTH),
        (200, body_of("recording"), AUTH),
        (401, body_of(), None),
        (401, body_of(), ("service", "wrong")),
        (400, b"{", AUTH),
        (400, b"[]", AUTH),
        (400, b"{}", AUTH),
        (413, b"x" * 1001, AUTH),
    ]
    for status, body, auth in sent:
        assert await post(body, auth) == status
    assert await post(method="GET") == 405
    await broken_off(post.url)
    await until(lambda: hooks.stats().rejected_incomplete and not hooks.waiting + hooks.running)
    assert hooks.stats() == WebhookStats(
        accepted=2,
        repeated=1,
        ignored=1,
        handled=1,
        failed=1,
        rejected_credentials=2,
        rejected_invalid=3,
        rejected_too_large=1,
        rejected_method=1,
        rejected_incomplete=1,
    )


async def test_body_that_does_not_arrive_is_incomplete(posting: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "READ_WITHIN", 0.05)
    hooks = quick()
    post = await posting(hooks)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.5)

    assert await post(slow()) == 408
    assert hooks.stats() == WebhookStats(rejected_incomplete=1)


async def test_full_queue_and_events_left_at_the_end_are_counted(posting: Serve) -> None:
    hooks = quick(queue_size=1, concurrency=1, drain_timeout=0)
    hooks.on(WebhookEvent)(lambda event: asyncio.sleep(60))
    post = await posting(hooks)
    assert await post(body_of(room_id="1")) == 200
    await until(lambda: hooks.running)
    assert [await post(body_of(room_id=str(number))) for number in (2, 3, 4)] == [200, 503, 503]
    assert hooks.stats() == WebhookStats(accepted=2, rejected_busy=2, waiting=1, running=1)
    await hooks.aclose()
    assert await post(body_of(room_id="5")) == 503
    assert hooks.stats() == WebhookStats(accepted=2, rejected_busy=3, failed=2)


async def test_failures_of_the_store_and_unexpected_errors_are_counted(
    posting: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        async def accept(self, event: WebhookEvent, seconds: float) -> bool:
            raise OSError

        async def done(self, event: WebhookEvent) -> None: ...

    hooks = quick(store=Store())
    hooks.on(WebhookEvent)(print)
    post = await posting(hooks)
    assert await post(body_of()) == 503
    monkeypatch.setattr(hooks, "submit", None)
    assert await post(body_of()) == 500
    assert hooks.stats() == WebhookStats(rejected_busy=1, rejected_error=1)


async def test_resumed_events_and_own_views_are_counted() -> None:
    hooks = quick(max_body=100)
    hooks.on(RecordingReady)(lambda event: None)
    async with hooks:
        await hooks.resume([RecordingReady(conf_num="1"), RecordingReady(conf_num="2")])
        await hooks.submit(parse_event(body_of("recording", conf_num="3")))
        for call in (
            lambda: hooks.authenticate(None),
            lambda: hooks.parse(body_of()),
            lambda: hooks.parse(b"{", HEADER),
            lambda: hooks.parse(b"x" * 101, HEADER),
        ):
            with pytest.raises(DeliveryRejected):
                call()
    assert hooks.stats() == WebhookStats(
        accepted=1, resumed=2, handled=3, rejected_credentials=2, rejected_invalid=1, rejected_too_large=1
    )


def test_threads_lose_no_count() -> None:
    hooks = quick()

    def refuse(number: int) -> None:
        with pytest.raises(DeliveryRejected):
            hooks.parse(b"{}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(refuse, range(2_000)))
    assert hooks.stats().rejected_credentials == 2_000


def test_stats_are_plain_numbers_that_cannot_be_changed() -> None:
    stats = quick().stats()
    assert set(map(type, attrs.asdict(stats).values())) == {int}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.accepted = 1  # type: ignore[misc]
