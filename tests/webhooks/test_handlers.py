"""Accepted events reach their handlers: queue, tries, repetitions, store, and the drain at the end."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import json
import logging
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi import ConfigurationError, ValidationError
from videoapi.webhooks import (
    EventNotHandled,
    ReceiverBusy,
    RecordingReady,
    SessionEnded,
    Transcoded,
    UnknownEvent,
    WebhookEvent,
    Webhooks,
    parse_event,
    receiver,
)
from videoapi.webhooks.store import MOST, MemoryStore

from .conftest import AUTH, Serve, body_of, until


def event(number: object = 1) -> SessionEnded:
    return SessionEnded(room_id=str(number))


def quick(**options: Any) -> Webhooks:
    return Webhooks(AUTH, retry_wait=0, **options)


async def test_handler_receives_the_events_of_its_types() -> None:
    hooks = quick()
    got: dict[str, list[type]] = {"one": [], "two": [], "all": []}
    hooks.on(SessionEnded)(lambda event: got["one"].append(type(event)))
    hooks.on(RecordingReady, UnknownEvent)(lambda event: got["two"].append(type(event)))
    hooks.on(WebhookEvent)(lambda event: got["all"].append(type(event)))
    kinds = [SessionEnded(), RecordingReady(), Transcoded(), UnknownEvent(type="new")]
    async with hooks:
        for one in kinds:
            await hooks.submit(one)
    assert got["one"] == [SessionEnded]
    assert sorted(map(str, got["two"])) == sorted(map(str, [RecordingReady, UnknownEvent]))
    assert sorted(map(str, got["all"])) == sorted(str(type(one)) for one in kinds)


async def test_event_without_a_handler_is_accepted_and_not_stored() -> None:
    hooks = quick()
    hooks.on(Transcoded)(print)
    async with hooks:
        assert await hooks.submit(event())
        assert await hooks.submit(event())
        assert (hooks.waiting, hooks.running) == (0, 0)


async def test_synchronous_handlers_run_in_a_thread_and_asynchronous_ones_on_the_loop() -> None:
    hooks = quick()
    threads: dict[str, threading.Thread] = {}

    @hooks.on(SessionEnded)
    def sync(event: WebhookEvent) -> None:
        threads["sync"] = threading.current_thread()

    @hooks.on(SessionEnded)
    async def plain(event: WebhookEvent) -> None:
        threads["plain"] = threading.current_thread()

    class Callable:
        async def __call__(self, event: WebhookEvent) -> None:
            threads["object"] = threading.current_thread()

    hooks.on(SessionEnded)(Callable())
    hooks.on(SessionEnded)(
        functools.partial(lambda name, event: threads.update({name: threading.current_thread()}), "partial")
    )
    async with hooks:
        await hooks.submit(event())
    here = threading.current_thread()
    assert {name: thread is here for name, thread in threads.items()} == {
        "sync": False,
        "plain": True,
        "object": True,
        "partial": False,
    }


async def test_handlers_do_not_see_the_context_of_the_delivery() -> None:
    seen: list[str] = []
    variable = contextvars.ContextVar("variable", default="none")
    hooks = quick()

    @hooks.on(SessionEnded)
    async def look(event: WebhookEvent) -> None:
        seen.append(variable.get())
        variable.set("handler")

    variable.set("request")
    async with hooks:
        for number in range(3):
            await hooks.submit(event(number))
    assert seen == ["none"] * 3


async def test_failing_handler_is_tried_three_times_then_reported_and_others_are_not_repeated() -> None:
    reported: list[tuple[WebhookEvent, BaseException]] = []
    calls: list[str] = []

    async def report(event: WebhookEvent, error: BaseException) -> None:
        reported.append((event, error))

    hooks = quick(on_error=report)

    @hooks.on(SessionEnded)
    async def fails(event: WebhookEvent) -> None:
        calls.append("fails")
        raise RuntimeError("why")

    @hooks.on(SessionEnded)
    def works(event: WebhookEvent) -> None:
        calls.append("works")

    @hooks.on(SessionEnded)
    async def works_later(event: WebhookEvent) -> None:
        calls.append("later")
        if calls.count("later") < 3:
            raise OSError

    async with hooks:
        await hooks.submit(event())
    assert {name: calls.count(name) for name in calls} == {"fails": 3, "works": 1, "later": 3}
    ((about, error),) = reported
    assert about == event()
    assert isinstance(error, RuntimeError)


async def test_failure_is_logged_without_on_error_and_if_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: WebhookEvent, error: BaseException) -> None:
        raise KeyError("broken")

    for hooks in (quick(tries=2), quick(tries=2, on_error=broken)):
        caplog.clear()

        @hooks.on(SessionEnded)
        async def fails(event: WebhookEvent) -> None:
            raise RuntimeError("the reason")

        async with hooks:
            await hooks.submit(event())
        (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert "fails failed 2 times" in error.getMessage()
        assert "room_id='1'" in error.getMessage()
        assert error.exc_info
        assert "try 1 of 2" in caplog.text


async def test_log_of_a_try_names_the_line_of_the_handler_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    hooks = quick(tries=2, handler_timeout=0.05)
    lines: list[int] = []

    def parse(text: str) -> None:
        lines.append(inspect.currentframe().f_lineno + 1)  # type: ignore[union-attr]
        json.loads(text)

    @hooks.on(SessionEnded)
    def sync(event: WebhookEvent) -> None:
        parse("canary")

    @hooks.on(RecordingReady)
    async def later(event: WebhookEvent) -> None:
        parse("canary")

    @hooks.on(Transcoded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    async with hooks:
        for kind in (SessionEnded, RecordingReady, Transcoded):
            await hooks.submit(kind(room_id="1"))
    tries = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    failed = [message.split("failed (")[1].split("),")[0] for message in tries]
    place = f"JSONDecodeError at {__file__}:{lines[0]}"
    assert sorted(failed) == sorted([place, place, "TimeoutError"])
    assert "canary" not in str(tries)


async def test_handler_that_cancels_itself_or_exceeds_its_time_counts_as_failed() -> None:
    reported: list[BaseException] = []
    hooks = quick(tries=2, handler_timeout=0.05, on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def cancelled(event: WebhookEvent) -> None:
        raise asyncio.CancelledError

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    async with hooks:
        await hooks.submit(event(1))
        await hooks.submit(event(2))
    assert sorted(type(error).__name__ for error in reported) == ["CancelledError"] * 2 + ["TimeoutError"] * 2


async def test_synchronous_handler_that_exceeds_its_time_is_not_started_again() -> None:
    release, calls, reported = threading.Event(), list[int](), list[BaseException]()
    hooks = quick(handler_timeout=0.05, on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    def slow(event: WebhookEvent) -> None:
        calls.append(1)
        release.wait(20)

    try:
        async with hooks:
            await hooks.submit(event())
            await until(lambda: reported)
    finally:
        release.set()
    assert len(calls) == 1
    assert isinstance(reported[0], TimeoutError)


async def test_synchronous_handler_that_raises_a_timeout_of_its_own_is_tried_again() -> None:
    calls: list[int] = []
    hooks = quick(on_error=lambda event, error: None)

    @hooks.on(SessionEnded)
    def fails(event: WebhookEvent) -> None:
        calls.append(1)
        raise TimeoutError

    async with hooks:
        await hooks.submit(event())
    assert len(calls) == 3


# The queue


async def test_full_queue_answers_503_and_such_a_delivery_is_not_remembered(posting: Serve) -> None:
    gate, got = asyncio.Event(), list[str | None]()
    hooks = quick(queue_size=2, concurrency=1)

    @hooks.on(SessionEnded)
    async def wait(event: WebhookEvent) -> None:
        await gate.wait()
        got.append(event.room_id)

    poster = await posting(hooks)
    assert await poster(body_of(room_id=0)) == 200
    await until(lambda: hooks.running == 1)
    assert [await poster(body_of(room_id=number)) for number in (1, 2)] == [200, 200]
    answer = await poster.answer(body_of(room_id=3))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    gate.set()
    await until(lambda: len(got) == 3)
    # The one that was answered 503 does not count as a repetition; the others do.
    for number in range(4):
        assert await poster(body_of(room_id=number)) == 200
    await until(lambda: len(got) == 4)
    assert sorted(got, key=str) == ["0", "1", "2", "3"]


async def test_concurrency_is_bounded_and_used() -> None:
    running = most = 0
    gate = asyncio.Event()
    hooks = quick(concurrency=3)

    @hooks.on(SessionEnded)
    async def count(event: WebhookEvent) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    async with hooks:
        for number in range(10):
            await hooks.submit(event(number))
        await until(lambda: hooks.running == 3)
        assert hooks.waiting == 7
        gate.set()
    assert most == 3


async def test_equal_deliveries_at_once_are_handled_once(posting: Serve) -> None:
    got: list[WebhookEvent] = []
    hooks = quick()
    hooks.on(SessionEnded)(got.append)
    poster = await posting(hooks)
    statuses = await asyncio.gather(*(poster(body_of(room_id=number % 5)) for number in range(50)))
    assert set(statuses) == {200}
    await hooks.aclose()
    assert len(got) == 5


# Repetitions


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_repetition_is_recognized_for_dedupe_seconds_after_it_was_handled() -> None:
    clock = Ticks()
    store = MemoryStore(clock)
    assert await store.accept(event(), 10)
    clock.now = 100
    # However long it takes to be handled.
    assert not await store.accept(event(), 10)
    await store.done(event())
    clock.now = 109.9
    assert not await store.accept(event(), 10)
    clock.now = 110
    assert await store.accept(event(), 10)


async def test_memory_of_handled_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ticks()
    store = MemoryStore(clock)
    monkeypatch.setattr("videoapi.webhooks.store.MOST", 10)
    assert MOST > 10
    for number in range(50):
        assert await store.accept(event(number), 10)
        await store.done(event(number))
    assert len(store._until) == 10
    assert not await store.accept(event(49), 10)
    clock.now = 20
    await store.accept(event("new"), 10)
    await store.done(event("new"))
    assert len(store._until) == 1


@given(st.lists(st.tuples(st.sampled_from(["accept", "done", "tick"]), st.integers(0, 2)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_store_accepts_an_event_only_if_it_is_neither_pending_nor_recently_done(steps: list[tuple[str, int]]) -> None:
    clock = Ticks()
    store = MemoryStore(clock)
    pending: set[int] = set()
    until_: dict[int, float] = {}

    async def run() -> None:
        for step, number in steps:
            if step == "tick":
                clock.now += 4
            elif step == "accept":
                expected = number not in pending and until_.get(number, -1) <= clock.now
                assert await store.accept(event(number), 10) is expected
                pending.add(number) if expected else None
            elif number in pending:
                await store.done(event(number))
                pending.discard(number)
                until_[number] = clock.now + 10

    asyncio.run(run())


async def test_dedupe_0_recognizes_repetitions_only_while_the_first_is_not_handled() -> None:
    got: list[WebhookEvent] = []
    hooks = quick(dedupe=0)
    hooks.on(SessionEnded)(got.append)
    async with hooks:
        assert await hooks.submit(event())
        assert not await hooks.submit(event())
        await until(lambda: not hooks.running and not hooks.waiting)
        assert await hooks.submit(event())
    assert len(got) == 2


async def test_event_whose_handlers_failed_counts_as_handled() -> None:
    reported: list[BaseException] = []
    hooks = quick(on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def fails(event: WebhookEvent) -> None:
        raise RuntimeError

    async with hooks:
        assert await hooks.submit(event())
        await until(lambda: reported)
        await until(lambda: not hooks.running)
        assert not await hooks.submit(event())
    assert len(reported) == 1


# A store of the user's own


class OwnStore(MemoryStore):
    """Fails, or waits, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.fails = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def accept(self, event: WebhookEvent, seconds: float) -> bool:
        self.calls.append(f"accept {event.room_id} {seconds:g}")
        if self.fails == "accept":
            raise OSError("disk full")
        accepted = await super().accept(event, seconds)
        await self.gate.wait()
        return accepted

    async def done(self, event: WebhookEvent) -> None:
        self.calls.append(f"done {event.room_id}")
        if self.fails == "done":
            raise OSError("disk full")
        await super().done(event)


async def test_own_store_is_asked_before_the_answer_and_noted_after_the_handlers() -> None:
    store = OwnStore()
    hooks = quick(store=store, dedupe=60)
    hooks.on(SessionEnded)(lambda event: store.calls.append("handled"))
    async with hooks:
        await hooks.submit(event())
        await until(lambda: "done 1" in store.calls)
        await hooks.submit(event())
    assert store.calls == ["accept 1 60", "handled", "done 1", "accept 1 60"]


async def test_store_that_fails_is_answered_503_and_takes_no_place(
    posting: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    store, got = OwnStore(), list[WebhookEvent]()
    hooks = quick(store=store, queue_size=1)
    hooks.on(SessionEnded)(got.append)
    poster = await posting(hooks)
    store.fails = "accept"
    assert [await poster(body_of()) for _ in range(3)] == [503] * 3
    assert "disk full" in caplog.text
    store.fails = "done"
    assert await poster(body_of()) == 200
    await until(lambda: got)
    await until(lambda: "failed to note" in caplog.text)


async def test_cancellation_that_a_store_raises_is_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Cancelled(OwnStore):
        async def accept(self, event: WebhookEvent, seconds: float) -> bool:
            if self.fails == "accept":
                # Such as that of a connection that another task has closed.
                raise asyncio.CancelledError
            return await super().accept(event, seconds)

        async def done(self, event: WebhookEvent) -> None:
            raise asyncio.CancelledError

    store = Cancelled()
    hooks = quick(store=store)
    hooks.on(SessionEnded)(print)
    async with hooks:
        store.fails = "accept"
        with pytest.raises(ReceiverBusy, match="the store failed"):
            await hooks.submit(event())
        assert "failed to accept" in caplog.text
        store.fails = ""
        assert await hooks.submit(event())
    assert "failed to note" in caplog.text


async def test_slow_store_is_answered_503_and_the_event_is_handled_if_it_is_accepted_later(
    posting: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "ACCEPT_WITHIN", 0.05)
    store, got = OwnStore(), list[WebhookEvent]()
    hooks = quick(store=store)
    hooks.on(SessionEnded)(got.append)
    poster = await posting(hooks)
    store.gate.clear()
    assert await poster(body_of()) == 503
    assert got == []
    monkeypatch.undo()
    store.gate.set()
    await until(lambda: got)
    assert await poster(body_of()) == 200
    assert len(got) == 1


async def test_event_reaches_the_queue_even_if_its_request_is_cancelled() -> None:
    store, got = OwnStore(), list[WebhookEvent]()
    hooks = quick(store=store)
    hooks.on(SessionEnded)(got.append)
    store.gate.clear()
    async with hooks:
        request = asyncio.create_task(hooks.submit(event()))
        await until(lambda: store.calls)
        request.cancel()
        await asyncio.wait({request})
        store.gate.set()
    assert got == [event()]


async def test_store_that_fails_late_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receiver, "ACCEPT_WITHIN", 0.01)
    gate = asyncio.Event()

    class Late(OwnStore):
        async def accept(self, event: WebhookEvent, seconds: float) -> bool:
            await gate.wait()
            raise OSError("disk full")

    hooks = quick(store=Late())
    hooks.on(SessionEnded)(print)
    with pytest.raises(ReceiverBusy, match="took longer"):
        await hooks.submit(event())
    gate.set()
    await until(lambda: "disk full" in caplog.text)
    await hooks.aclose()
    gc.collect()
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


async def test_closing_does_not_wait_for_a_store_that_hangs() -> None:
    store = OwnStore()
    hooks = quick(store=store)
    hooks.on(SessionEnded)(print)
    store.gate.clear()
    request = asyncio.create_task(hooks.submit(event()))
    await until(lambda: store.calls)
    await hooks.aclose(timeout=0.05)
    with pytest.raises(ReceiverBusy, match="closing"):
        await request
    assert (hooks.waiting, hooks.running) == (0, 0)


async def test_resume_ends_when_the_receiver_closes() -> None:
    hooks = quick(queue_size=1, concurrency=1, on_error=lambda event, error: None)

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    resuming = asyncio.create_task(hooks.resume(event(number) for number in range(10)))
    await until(lambda: hooks.running and hooks.waiting)
    await hooks.aclose(timeout=0.05)
    assert await resuming == 2
    assert (hooks.waiting, hooks.running) == (0, 0)


async def test_resume_queues_what_was_accepted_and_waits_for_places() -> None:
    got: list[WebhookEvent] = []
    hooks = quick(queue_size=2, concurrency=1)

    @hooks.on(SessionEnded)
    async def keep(event: WebhookEvent) -> None:
        got.append(event)

    async with hooks:
        texts = [event(number).to_json() for number in range(20)]
        assert await hooks.resume(parse_event(text) for text in texts) == 20
    assert got == [event(number) for number in range(20)]


async def test_delivery_of_an_event_that_is_or_was_resumed_is_a_repetition() -> None:
    handled: list[WebhookEvent] = []
    release = asyncio.Event()
    hooks = quick()

    @hooks.on(SessionEnded)
    async def handle(event: WebhookEvent) -> None:
        handled.append(event)
        await release.wait()

    async with hooks:
        # Of an earlier process; then of this one, after it was handled.
        for _ in range(2):
            release.clear()
            await hooks.resume([event()])
            assert not await hooks.submit(event())
            release.set()
            await until(lambda: not hooks.waiting and not hooks.running)
            assert not await hooks.submit(event())
    assert len(handled) == 2


async def test_deliveries_find_places_while_more_is_resumed_than_the_queue_holds() -> None:
    turn, got = asyncio.Semaphore(0), list[str | None]()
    hooks = quick(queue_size=8, concurrency=1)

    @hooks.on(SessionEnded)
    async def handle(event: WebhookEvent) -> None:
        await turn.acquire()
        got.append(event.room_id)

    async with hooks:
        resuming = asyncio.create_task(hooks.resume(event(number) for number in range(50)))
        await until(lambda: hooks.waiting == 8)
        for _ in range(4):
            turn.release()
        await until(lambda: len(got) == 4 and hooks.waiting == 5)
        for number in range(3):
            assert await hooks.submit(event(f"new {number}"))
        for _ in range(100):
            turn.release()
        assert await resuming == 50
    assert len(got) == 53


# The end


async def test_aclose_drains_and_answers_503_from_then_on(posting: Serve) -> None:
    gate, got = asyncio.Event(), list[WebhookEvent]()
    hooks = quick(concurrency=2)

    @hooks.on(SessionEnded)
    async def wait(event: WebhookEvent) -> None:
        await gate.wait()
        got.append(event)

    poster = await posting(hooks)
    for number in range(5):
        assert await poster(body_of(room_id=number)) == 200
    closing = asyncio.create_task(hooks.aclose())
    await asyncio.sleep(0)
    assert await poster(body_of(room_id="late")) == 503
    gate.set()
    await closing
    assert len(got) == 5
    await hooks.aclose()
    with pytest.raises(ReceiverBusy) as busy:
        await hooks.submit(event())
    assert busy.value.retryable
    async with hooks:
        assert await hooks.submit(event("again"))
    assert len(got) == 6


async def test_events_that_are_not_handled_in_time_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[tuple[str | None, BaseException]] = []
    ended: list[str] = []
    store = OwnStore()
    hooks = quick(concurrency=2, store=store, on_error=lambda event, error: reported.append((event.room_id, error)))

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    await hooks.submit(event(0))
    for number in range(1, 5):
        await hooks.submit(event(number))
    await hooks.aclose(timeout=0.05)
    assert sorted(str(room_id) for room_id, _ in reported) == ["0", "1", "2", "3", "4"]
    assert all(isinstance(error, EventNotHandled) for _, error in reported)
    assert ended == ["cancelled"] * 2
    assert not [call for call in store.calls if call.startswith("done")]
    assert "5 events that were not handled" in caplog.text
    assert (hooks.waiting, hooks.running) == (0, 0)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_store_that_hangs_in_done_is_named_and_does_not_hold_the_end(stubborn: bool) -> None:
    reported: list[str] = []
    stop = asyncio.Event()

    class Hanging(OwnStore):
        async def done(self, event: WebhookEvent) -> None:
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    if not stubborn:
                        raise

    hooks = quick(store=Hanging(), on_error=lambda event, error: reported.append(str(error)))
    hooks.on(SessionEnded)(print)
    await hooks.submit(event())
    await until(lambda: hooks.running)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        await hooks.aclose(timeout=0.05)
    stop.set()
    assert len(reported) == 1
    assert reported[0].startswith("The receiver closed before Hanging.done() ended, after ")


async def test_cancelled_aclose_still_stops_the_handlers(caplog: pytest.LogCaptureFixture) -> None:
    hooks = quick()
    ended: list[int] = []

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    await hooks.submit(event())
    await until(lambda: hooks.running)
    closing = asyncio.create_task(hooks.aclose())
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.wait({closing})
    await until(lambda: ended)
    assert "1 events that were not handled" in caplog.text
    assert f"digest={event().digest[:12]}" in caplog.text


async def test_cancelled_aclose_names_the_first_events_and_says_how_many_more(caplog: pytest.LogCaptureFixture) -> None:
    hooks = quick(concurrency=2)

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    events = [event(number) for number in range(50)]
    for one in events:
        await hooks.submit(one)
    await until(lambda: hooks.running == 2)
    closing = asyncio.create_task(hooks.aclose())
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.wait({closing})
    [line] = [record.getMessage() for record in caplog.records if "events that were not handled" in record.getMessage()]
    assert [one.digest[:12] in line for one in events] == [True] * 20 + [False] * 30
    assert line.endswith("; and 30 more")


def test_events_that_end_with_their_loop_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    hooks = quick(concurrency=2)

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    async def forget_to_close() -> None:
        for number in range(5):
            await hooks.submit(event(number))
        await until(lambda: hooks.running == 2)

    asyncio.run(forget_to_close())
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "hooks.lifespan" in error.getMessage()


async def test_secrets_are_in_no_log(posting: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        hooks = quick()

        @hooks.on(WebhookEvent)
        async def fails(event: WebhookEvent) -> None:
            raise RuntimeError

        poster = await posting(hooks)
        assert await poster(body_of("recording", recording=["http://h/f?canary"])) == 200
        await hooks.aclose()
    assert "canary" not in caplog.text


# What users get wrong


async def test_synchronous_handlers_do_not_wait_for_threads_that_others_hold() -> None:
    release, ran, reported = threading.Event(), list[str | None](), list[BaseException]()
    hooks = quick(concurrency=40, handler_timeout=0.5, on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    def handle(event: WebhookEvent) -> None:
        if event.room_id == "hangs":
            release.wait(20)
        else:
            ran.append(event.room_id)

    try:
        async with hooks:
            # More than the threads of an event loop's pool.
            await hooks.resume(SessionEnded(room_id="hangs", conf_num=str(number)) for number in range(35))
            await until(lambda: hooks.running == 35)
            await hooks.resume(event(number) for number in range(5))
            await until(lambda: len(ran) == 5)
            await until(lambda: len(reported) == 35)
    finally:
        release.set()
    assert {type(error) for error in reported} == {TimeoutError}


@pytest.mark.parametrize("error", [StopIteration, SystemExit, type("Odd", (BaseException,), {})])
@pytest.mark.parametrize("synchronous", [True, False])
async def test_any_error_of_a_handler_is_tried_again_and_reported(
    error: type[BaseException], synchronous: bool
) -> None:
    reported: list[BaseException] = []
    calls: list[int] = []
    hooks = quick(on_error=lambda event, error: reported.append(error))

    def fails(event: WebhookEvent) -> None:
        calls.append(1)
        raise error

    async def fails_on_the_loop(event: WebhookEvent) -> None:
        fails(event)

    hooks.on(SessionEnded)(fails if synchronous else fails_on_the_loop)
    async with hooks:
        await hooks.submit(event())
    assert len(calls) == 3
    assert len(reported) == 1


def test_receiver_does_not_wait_for_handlers_that_ended_with_their_loop() -> None:
    reported: list[str] = []
    hooks = quick(on_error=lambda event, error: reported.append(type(error).__name__), drain_timeout=1000)

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    async def other() -> None:
        await until(lambda: hooks.running)
        raise SystemExit

    async def main() -> None:
        async with hooks, asyncio.TaskGroup() as tasks:
            tasks.create_task(other())
            await hooks.submit(event())
            await asyncio.Event().wait()

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert reported == ["EventNotHandled"]


@pytest.mark.parametrize("catches", [True, False])
async def test_handler_that_cancels_its_task_is_tried_again_and_reported(catches: bool) -> None:
    reported: list[BaseException] = []
    hooks = quick(tries=2, on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def cancels(event: WebhookEvent) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not catches:
                raise
        other = asyncio.create_task(asyncio.sleep(20))
        other.cancel()
        await other

    async with hooks:
        await hooks.submit(event())
    assert [type(error) for error in reported] == [asyncio.CancelledError]


async def test_handler_that_fails_when_it_is_cancelled_is_not_tried_again_after_the_end() -> None:
    calls: list[int] = []
    hooks = quick(drain_timeout=0.05)

    @hooks.on(SessionEnded)
    async def fails(event: WebhookEvent) -> None:
        calls.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    async with hooks:
        await hooks.submit(event())
        await until(lambda: calls)
    assert hooks.running == 0
    assert len(calls) == 1


async def test_generators_are_no_handlers() -> None:
    hooks = quick()

    async def asynchronous(event: WebhookEvent) -> Any:
        yield

    def plain(event: WebhookEvent) -> Any:
        yield

    for handler in (asynchronous, plain):
        with pytest.raises(ConfigurationError, match="never run"):
            hooks.on(SessionEnded)(handler)


async def test_on_error_that_hangs_ends_with_the_time_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    got: list[str | None] = []

    async def hang(event: WebhookEvent, error: BaseException) -> None:
        await asyncio.Event().wait()

    hooks = quick(concurrency=1, tries=1, handler_timeout=0.05, on_error=hang)

    @hooks.on(SessionEnded)
    async def handle(event: WebhookEvent) -> None:
        if event.room_id == "0":
            raise RuntimeError
        got.append(event.room_id)

    async with hooks:
        for number in range(3):
            await hooks.submit(event(number))
        await until(lambda: len(got) == 2)
    assert "on_error failed" in caplog.text


async def test_store_that_hangs_after_the_handlers_does_not_stop_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receiver, "NOTE_WITHIN", 0.05)

    class Hangs(MemoryStore):
        async def done(self, event: WebhookEvent) -> None:
            await asyncio.Event().wait()

    got: list[WebhookEvent] = []
    hooks = quick(concurrency=1, store=Hangs())
    hooks.on(SessionEnded)(got.append)
    async with hooks:
        for number in range(3):
            await hooks.submit(event(number))
    assert len(got) == 3
    assert "failed to note" in caplog.text


@pytest.mark.parametrize("wrong", [b'{"type":"roomdrop"}', "roomdrop", None, {"type": "roomdrop"}])
async def test_only_events_are_queued(wrong: Any) -> None:
    hooks = quick()
    hooks.on(SessionEnded)(print)
    async with hooks:
        with pytest.raises(ValidationError, match="parse_event"):
            await hooks.submit(wrong)
        with pytest.raises(ValidationError, match="parse_event"):
            await hooks.resume([wrong])


async def test_handler_cannot_close_its_receiver() -> None:
    got: list[str | None] = []
    reported: list[BaseException] = []
    hooks = quick(tries=1, on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def close(event: WebhookEvent) -> None:
        got.append(event.room_id)
        await hooks.aclose()

    async with hooks:
        await hooks.submit(event(1))
        await until(lambda: reported)
        # It still receives.
        await hooks.submit(event(2))
    assert got == ["1", "2"]
    assert all(isinstance(error, ConfigurationError) and "wait for itself" in str(error) for error in reported)


async def test_receiver_is_not_closed_from_another_loop() -> None:
    got: list[WebhookEvent] = []
    hooks = quick()
    hooks.on(SessionEnded)(got.append)

    def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(hooks.aclose())

    async with hooks:
        await asyncio.to_thread(elsewhere)
        await hooks.submit(event())
    assert len(got) == 1


async def test_event_that_was_not_handled_before_the_end_is_handled_when_it_comes_again() -> None:
    gate, got, reported = asyncio.Event(), list[WebhookEvent](), list[BaseException]()
    hooks = quick(on_error=lambda event, error: reported.append(error))

    @hooks.on(SessionEnded)
    async def handle(event: WebhookEvent) -> None:
        await gate.wait()
        got.append(event)

    await hooks.submit(event())
    await hooks.aclose(timeout=0.01)
    assert isinstance(reported[0], EventNotHandled)
    gate.set()
    async with hooks:
        assert await hooks.submit(event())
    async with hooks:
        assert not await hooks.submit(event())
    assert got == [event()]


def test_event_that_ended_with_its_loop_is_handled_when_it_comes_again() -> None:
    got: list[WebhookEvent] = []
    hooks = quick()

    @hooks.on(SessionEnded)
    async def handle(event: WebhookEvent) -> None:
        if threading.current_thread().name == "first":
            await asyncio.Event().wait()
        got.append(event)

    async def forget_to_close() -> None:
        await hooks.submit(event())
        await until(lambda: hooks.running)

    first = threading.Thread(target=asyncio.run, args=(forget_to_close(),), name="first")
    first.start()
    first.join()

    async def again() -> None:
        async with hooks:
            assert await hooks.submit(event())

    asyncio.run(again())
    assert got == [event()]


async def test_events_that_a_slow_on_error_did_not_get_are_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(receiver, "REPORT_WITHIN", 0.05)

    async def hang(event: WebhookEvent, error: BaseException) -> None:
        await asyncio.Event().wait()

    hooks = quick(on_error=hang)

    @hooks.on(SessionEnded)
    async def stalls(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    for number in range(3):
        await hooks.submit(event(number))
    await hooks.aclose(timeout=0.01)
    for number in range(3):
        assert f"room_id='{number}'" in caplog.text
