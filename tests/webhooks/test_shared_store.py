"""The store of the guide, shared by several processes: each event belongs to one that lives."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from videoapi.webhooks import SessionEnded, WebhookEvent, Webhooks

from .receiver_process import AUTH, store_class
from .test_many_deliveries import HEADERS, Receiver, receiver


@pytest.fixture
def lease() -> float:
    """The lease of the stores, in seconds."""
    return 3600


@pytest.fixture
def stores(tmp_path: Path, lease: float) -> Iterator[tuple[Any, Any]]:
    """Two stores of one file, as two processes open them."""
    one, two = (store_class()(str(tmp_path / "events.sqlite"), lease=lease) for _ in range(2))
    with contextlib.closing(one.db), contextlib.closing(two.db):
        yield one, two


def conferences(events: list[WebhookEvent]) -> list[str | None]:
    return [event.conf_num for event in events]


async def test_events_of_a_process_that_lives_are_not_taken_over(stores: tuple[Any, Any]) -> None:
    one, two = stores
    assert await one.accept(SessionEnded(conf_num="c-1"), 60)
    assert not await two.accept(SessionEnded(conf_num="c-1"), 60)
    assert two.pending() == one.pending() == []


@pytest.mark.parametrize("lease", [0.2])
async def test_events_of_a_process_that_renews_its_lease_no_more_are_taken_over_once(stores: tuple[Any, Any]) -> None:
    one, two = stores
    await one.accept(SessionEnded(conf_num="c-1"), 60)
    await one.accept(SessionEnded(conf_num="c-2"), 60)
    await one.done(SessionEnded(conf_num="c-2"))
    await asyncio.sleep(0.3)
    two.renew()
    assert conferences(two.pending()) == ["c-1"]
    assert two.pending() == []
    # Its owner now is one that lives.
    one.renew()
    assert one.pending() == []


async def test_events_left_by_a_process_that_closed_are_taken_over_at_once(stores: tuple[Any, Any]) -> None:
    one, two = stores
    async with one.running(Webhooks(AUTH, store=one)):
        await one.accept(SessionEnded(conf_num="c-1"), 60)
    assert conferences(two.pending()) == ["c-1"]


@pytest.mark.parametrize("lease", [0.3])
async def test_lease_is_renewed_while_the_queue_is_full(stores: tuple[Any, Any]) -> None:
    release = asyncio.Event()
    one, two = stores
    hooks = Webhooks(AUTH, store=one, queue_size=1, concurrency=1)

    @hooks.on(SessionEnded)
    async def wait(event: SessionEnded) -> None:
        await release.wait()

    for number in range(10):
        await two.accept(SessionEnded(conf_num=f"c-{number}"), 60)
    await asyncio.sleep(0.4)  # `two` has ended
    async with one.running(hooks):
        await asyncio.sleep(1)
        assert two.pending() == []
        release.set()
        while one.db.execute("SELECT 1 FROM events WHERE until IS NULL").fetchone():
            await asyncio.sleep(0.01)
    assert hooks.stats().handled == 10


async def test_event_left_at_shutdown_is_handled_once_by_the_next_process(stores: tuple[Any, Any]) -> None:
    one, two = stores
    hooks = Webhooks(AUTH, store=one, on_error=one.fail, drain_timeout=0, concurrency=1)

    @hooks.on(SessionEnded)
    async def stall(event: SessionEnded) -> None:
        await asyncio.Event().wait()

    async with one.running(hooks):
        # The first is cut off, the second never leaves the queue.
        await hooks.submit(SessionEnded(conf_num="c-1"))
        await hooks.submit(SessionEnded(conf_num="c-2"))
        while not hooks.running:
            await asyncio.sleep(0)
    assert two.take_failed() == []
    assert sorted(map(str, conferences(two.pending()))) == ["c-1", "c-2"]
    assert two.pending() == two.take_failed() == []


async def test_event_of_a_handler_that_failed_and_one_that_was_cut_off_is_handled_once(stores: tuple[Any, Any]) -> None:
    one, two = stores
    hooks = Webhooks(AUTH, store=one, on_error=one.fail, drain_timeout=0, tries=1)

    @hooks.on(SessionEnded)
    async def stall(event: SessionEnded) -> None:
        await asyncio.Event().wait()

    @hooks.on(SessionEnded)
    async def fail(event: SessionEnded) -> None:
        raise RuntimeError

    async with one.running(hooks):
        await hooks.submit(SessionEnded(conf_num="c-1"))
        while not one.db.execute("SELECT 1 FROM failed").fetchone():
            await asyncio.sleep(0)
        # Its other handler still runs.
        assert one.take_failed() == two.take_failed() == []
    assert conferences(two.pending()) == ["c-1"]
    assert two.take_failed() == []


async def test_failed_event_is_logged_and_taken_once(stores: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    one, two = stores
    hooks = Webhooks(AUTH, store=one, on_error=one.fail, tries=1)

    @hooks.on(SessionEnded)
    async def fail(event: SessionEnded) -> None:
        raise RuntimeError("no such invoice")

    async with one.running(hooks):
        await hooks.submit(SessionEnded(conf_num="c-1"))
    assert "no such invoice" in caplog.text
    assert two.pending() == []
    assert conferences(two.take_failed()) == ["c-1"]
    assert two.pending() == two.take_failed() == one.take_failed() == []


@pytest.mark.slow
async def test_running_process_handles_the_events_of_a_killed_one(tmp_path: Path) -> None:
    results = tmp_path / "results.sqlite"
    async with receiver(results, durable=True) as killed, receiver(results, durable=True) as other:
        async with aiohttp.ClientSession() as session:
            for number in range(12):
                body = b'{"type":"roomdrop","conf_num":"c%d","room_id":"stalls"}' % number
                async with session.post(killed.url, data=body, headers=HEADERS) as response:
                    assert response.status == 200
        await killed.end(signal.SIGKILL)
        assert killed.pending()
        await handled(other)
        assert sorted(other.rows()) == sorted((f"c{number}", "done") for number in range(12))


async def handled(process: Receiver) -> None:
    async with asyncio.timeout(30):
        while process.pending():
            await asyncio.sleep(0.05)
