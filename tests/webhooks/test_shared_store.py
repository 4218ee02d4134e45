"""The store of the guide, shared by several processes: each event belongs to one that lives."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from videoapi.webhooks import SessionEnded, WebhookEvent, Webhooks

from .receiver_process import AUTH, store_class
from .test_many_deliveries import HEADERS, Receiver, receiver


@contextlib.contextmanager
def stores(path: Path, lease: float) -> Generator[tuple[Any, Any], None, None]:
    """Two stores of one file, as two processes open them."""
    one, two = (store_class()(str(path / "events.sqlite"), lease=lease) for _ in range(2))
    with contextlib.closing(one.db), contextlib.closing(two.db):
        yield one, two


def conferences(events: list[WebhookEvent]) -> list[str | None]:
    return [event.conf_num for event in events]


async def test_events_of_a_process_that_lives_are_not_taken_over(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        assert await one.accept(SessionEnded(conf_num="c-1"), 60)
        assert not await two.accept(SessionEnded(conf_num="c-1"), 60)
        assert two.pending() == one.pending() == []


async def test_events_of_a_process_that_renews_its_lease_no_more_are_taken_over_once(tmp_path: Path) -> None:
    with stores(tmp_path, lease=0.2) as (one, two):
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


async def test_events_left_by_a_process_that_closed_are_taken_over_at_once(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        async with one.running(Webhooks(AUTH, store=one)):
            await one.accept(SessionEnded(conf_num="c-1"), 60)
        assert conferences(two.pending()) == ["c-1"]


async def test_lease_is_renewed_while_the_queue_is_full(tmp_path: Path) -> None:
    release = asyncio.Event()
    with stores(tmp_path, lease=0.3) as (one, two):
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


async def test_event_left_at_shutdown_is_handled_once_by_the_next_process(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
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


async def test_event_of_a_handler_that_failed_and_one_that_was_cut_off_is_handled_once(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        hooks = Webhooks(AUTH, store=one, on_error=one.fail, drain_timeout=0, tries=1)

        @hooks.on(SessionEnded)
        async def stall(event: SessionEnded) -> None:
            await asyncio.Event().wait()

        @hooks.on(SessionEnded)
        async def fail(event: SessionEnded) -> None:
            raise RuntimeError

        async with one.running(hooks):
            await hooks.submit(SessionEnded(conf_num="c-1"))
            while not one.db.execute("SELECT 1 FROM events WHERE failed").fetchone():
                await asyncio.sleep(0)
            # Its other handler still runs.
            assert one.take_failed() == two.take_failed() == []
        assert conferences(two.pending()) == ["c-1"]
        assert two.take_failed() == []


async def test_failed_event_is_logged_and_taken_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
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


async def test_event_that_always_fails_is_left_aside_and_listed(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        hooks, calls = Webhooks(AUTH, store=one, on_error=one.fail, tries=1), 0

        @hooks.on(SessionEnded)
        async def fail(event: SessionEnded) -> None:
            nonlocal calls
            calls += 1
            raise RuntimeError

        @hooks.on(SessionEnded)
        async def fail_as_well(event: SessionEnded) -> None:
            raise RuntimeError

        async with one.running(hooks):
            await hooks.submit(SessionEnded(conf_num="c-1"))
            await hooks.submit(SessionEnded(conf_num="c-2"))
            await drained(one)
            while again := one.take_failed(max_attempts=3):
                await hooks.resume(again)
                await drained(one)
        assert calls == 2 * 3
        assert sorted((event.conf_num, attempts) for event, attempts in two.failed()) == [("c-1", 3), ("c-2", 3)]
        assert sorted(map(str, conferences(two.take_failed(max_attempts=math.inf)))) == ["c-1", "c-2"]


async def test_event_that_succeeds_again_is_not_left_among_those_that_failed(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        hooks, broken = Webhooks(AUTH, store=one, on_error=one.fail, tries=1), True

        @hooks.on(SessionEnded)
        async def fail_once(event: SessionEnded) -> None:
            if broken:
                raise RuntimeError

        async with one.running(hooks):
            await hooks.submit(SessionEnded(conf_num="c-1"))
            await drained(one)
            assert [attempts for _, attempts in two.failed()] == [1]
            broken = False
            assert await hooks.resume(one.take_failed()) == 1
            await drained(one)
            assert two.failed() == two.take_failed() == []
            assert not await hooks.submit(SessionEnded(conf_num="c-1"))


@pytest.mark.parametrize("failing", [1, 2])
async def test_failure_that_a_locked_file_does_not_take_is_not_lost(tmp_path: Path, failing: int) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        one.db.execute("PRAGMA busy_timeout = 10")

        async def report(event: WebhookEvent, error: BaseException) -> None:
            two.db.execute("BEGIN IMMEDIATE")
            try:
                await one.fail(event, error)
            finally:
                two.db.rollback()

        hooks = Webhooks(AUTH, store=one, on_error=report, tries=1)
        broken = True

        async def fail_once(event: SessionEnded) -> None:
            if broken:
                raise RuntimeError

        for _ in range(failing):
            hooks.on(SessionEnded)(fail_once)
        async with hooks:
            await hooks.submit(SessionEnded(conf_num="c-1"))
            while not two.failed():
                await asyncio.sleep(0.01)
            assert [attempts for _, attempts in two.failed()] == [1]
            broken = False
            await hooks.resume(one.take_failed())
        # The failure of the first attempt is not noted for the second one.
        assert two.failed() == two.take_failed() == []
        assert not await two.accept(SessionEnded(conf_num="c-1"), 60)


async def test_only_errors_of_a_locked_file_are_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with stores(tmp_path, lease=0.03) as (one, two):
        one.db.execute("PRAGMA busy_timeout = 1")
        async with one.running(Webhooks(AUTH, store=one)):
            two.db.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(0.1)
            two.db.rollback()
            assert not caplog.records
            one.db.execute("PRAGMA query_only = ON")
            while not caplog.records:
                await asyncio.sleep(0.01)
            one.db.execute("PRAGMA query_only = OFF")
        assert "readonly" in str(caplog.records[0].exc_info)


def test_file_with_other_columns_is_refused_at_the_start(tmp_path: Path) -> None:
    path = str(tmp_path / "events.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE events (digest TEXT PRIMARY KEY, event TEXT, seconds REAL, until REAL)")
    with pytest.raises(RuntimeError, match=r"events\.sqlite: its table `events` was created by another version"):
        store_class()(path)


async def test_event_left_aside_is_handled_when_the_service_sends_it_again_later(tmp_path: Path) -> None:
    with stores(tmp_path, lease=3600) as (one, two):
        event = SessionEnded(conf_num="c-1")
        await one.accept(event, 0)
        await one.fail(event, RuntimeError())
        await one.done(event)
        await asyncio.sleep(0.01)
        assert await two.accept(event, 0)
        assert one.failed() == one.take_failed() == []
        await two.done(event)
        assert one.failed() == []


STORE = store_class()


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that awaits nothing: that of the store."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class StoreMachine(RuleBasedStateMachine):
    """Each accepted event is pending, done or failed, whatever happens to its processes; its attempts are counted."""

    LIMIT = 2

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "events.sqlite")
        self.store = STORE(self.path)
        self.pending: set[str] = set()
        self.failed: set[str] = set()
        self.attempts: Counter[str] = Counter()

    def teardown(self) -> None:
        self.store.db.close()
        self.folder.cleanup()

    @rule(name=st.sampled_from("abc"))
    def accept(self, name: str) -> None:
        # A done event is forgotten at once: dedupe=0.
        assert result(self.store.accept(SessionEnded(conf_num=name), -1)) == (name not in self.pending)
        self.pending.add(name)
        self.failed.discard(name)

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), fails=st.integers(0, 2), crashes=st.booleans())
    def handle(self, data: st.DataObject, fails: int, crashes: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.pending)))
        event = SessionEnded(conf_num=name)
        for _ in range(fails):
            result(self.store.fail(event, RuntimeError()))
        self.attempts[name] += fails > 0
        if crashes:
            self.crash()
            return
        result(self.store.done(event))
        self.pending.remove(name)
        if fails:
            self.failed.add(name)
        else:
            del self.attempts[name]

    @rule()
    def crash(self) -> None:
        self.store.db.execute("DELETE FROM owners")
        self.store.db.commit()
        self.store.db.close()
        self.store = STORE(self.path)
        assert {event.conf_num for event in self.store.pending()} == self.pending

    @rule()
    def take_failed(self) -> None:
        taken = {event.conf_num for event in self.store.take_failed(max_attempts=self.LIMIT)}
        assert taken == {name for name in self.failed if self.attempts[name] < self.LIMIT}
        self.pending |= taken
        self.failed -= taken

    @invariant()
    def failed_events_are_listed(self) -> None:
        assert {event.conf_num: attempts for event, attempts in self.store.failed()} == {
            name: self.attempts[name] for name in self.failed
        }


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


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


async def drained(store: Any) -> None:
    async with asyncio.timeout(30):
        while store.db.execute("SELECT 1 FROM events WHERE until IS NULL").fetchone():
            await asyncio.sleep(0.005)
