"""Admission: permits, pause and rate of an account's attempts, in virtual time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.script import ScriptedTransport, Time, ask, retries_of

from videoapi import CallTimeout, RateLimited, SessionManager, VideoAPIError, VideoClient
from videoapi.pipeline.accounts import AccountRegistry
from videoapi.pipeline.admission import Admission
from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.gate import MOMENT, LocalGate, Slots
from videoapi.pipeline.pipeline import Pipeline, paused_reason
from videoapi.pipeline.retry import Retries
from videoapi.protocol.outcome import Outcome, answered, no_response
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import ErrorKind, Phase, Verdict
from videoapi.sandbox import Sandbox
from videoapi.transport.attempt import Attempt
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.permits import Permits


@attrs.define
class Nap:
    """A wait and the permits that were in use when it began."""

    seconds: float
    in_use: int


class Watched(Time):
    """Virtual time that records the permits in use at each wait, and whose timers wake up late."""

    def __init__(self, permits: int = 4, late: float = 0.0) -> None:
        super().__init__(0.0)
        self.permits = Permits(permits)
        self.capacity = permits
        self.late = late
        self.history: list[Nap] = []

    @property
    def in_use(self) -> int:
        return self.capacity - self.permits.free

    async def sleep(self, seconds: float) -> None:
        self.history.append(Nap(seconds, self.in_use))
        await super().sleep(seconds + self.late)


@attrs.define
class Line:
    """The callers of one account."""

    time: Watched
    gate: Any = attrs.field(default=attrs.Factory(lambda self: LocalGate(self.time.clock()), takes_self=True))
    admission: Admission = attrs.field(init=False)
    timer: DeadlineTimer = attrs.field(init=False)
    sent: list[float] = attrs.field(factory=list)
    calls: list[Call] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.admission = Admission(self.time.clock(), self.gate)
        self.timer = DeadlineTimer(lambda: self.time.now)

    async def call(self, request: Request | None = None, lasts: float = 0.0) -> Outcome | None:
        """Enter, hold the permit for as long as the attempt lasts, and release it."""
        request, began = request or ask(timeout=10_000), self.time.now
        deadline = began + request.timeout
        call = Call(request, began, deadline, self.timer.start(deadline))
        self.calls.append(call)
        try:
            admitted = await self.admission.enter(self.time.permits, call, request)
            if isinstance(admitted, Outcome):
                return admitted
            assert admitted()
            self.sent.append(self.time.now)
            try:
                if lasts:
                    await Time.sleep(self.time, lasts)
            finally:
                self.time.permits.release()
            return None
        finally:
            self.timer.stop(call.limit)


async def send_once(retries: Retries, time: Time) -> Outcome:
    """Send one call with at most one attempt."""
    timer, request = DeadlineTimer(lambda: time.now), ask(attempts=1)
    call = Call(request, time.now, time.now + 90, timer.start(time.now + 90))
    try:
        return await retries.send(call, request)
    finally:
        timer.stop(call.limit)


def in_bulk(**options: Any) -> Request:
    """Return a request for which waiting for the rate does not count."""
    request = ask(**options)
    return attrs.evolve(request, options=attrs.evolve(request.options, must_stop=lambda: False))


async def test_open_gate_admits_at_once() -> None:
    time = Watched()
    line = Line(time)
    assert await time.run(line.call(), line.call()) == [None, None]
    assert (line.sent, time.history, time.permits.free) == ([1000.0] * 2, [], 4)


# Permits.


@pytest.mark.parametrize("interval", [0.02, 0.05, 0.5, 60.0])
async def test_slow_rate_holds_one_permit_for_a_moment_at_most(interval: float) -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(interval)
    await time.run(*(line.call() for _ in range(20)))
    assert len(line.sent) == 20
    assert {nap.in_use for nap in time.history if nap.seconds > MOMENT} <= {0}
    assert {nap.in_use for nap in time.history} <= {0, 1}
    assert time.permits.free == time.capacity


async def test_long_pause_holds_no_permit() -> None:
    time = Watched()
    line = Line(time)
    line.gate.pause(30)
    await time.run(*(line.call() for _ in range(20)))
    assert {nap.in_use for nap in time.history} == {0}
    assert line.sent == [1030.0] * 20


@pytest.mark.parametrize("reason", ["rate", "pause"])
async def test_waiting_account_does_not_delay_another(reason: str) -> None:
    time = Watched(permits=2)
    held_back, other = Line(time), Line(time)
    if reason == "rate":
        held_back.gate.rate.set(60.0)
    else:
        held_back.gate.pause(300)
    waiting = [asyncio.ensure_future(held_back.call()) for _ in range(50)]
    await time.settle()
    for _ in range(20):
        assert await asyncio.wait_for(asyncio.ensure_future(other.call()), 5) is None
        time.now += 1
    assert other.sent == [1000.0 + number for number in range(20)]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert time.permits.free == 2


async def test_call_does_not_wait_for_a_free_stream() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(0.01)
    streams = Permits(0)
    request = ask()
    stream = Call(request, time.now, time.now + 90, line.timer.start(time.now + 90))
    opening = asyncio.ensure_future(line.admission.enter(streams, stream, request))
    await time.settle()
    assert await time.run(line.call()) == [None]
    assert not opening.done()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=10, unique=True),
    st.integers(0, 12),
    st.sampled_from(["rate", "moment", "pause", "none"]),
)
async def test_cancelled_callers_leave_permits_and_the_line_intact(
    cancelled: list[int], steps: int, reason: str
) -> None:
    time = Watched(permits=3)
    line = Line(time)
    if reason == "pause":
        line.gate.pause(5)
    elif reason != "none":
        line.gate.rate.set(1.0 if reason == "rate" else 0.02)
    tasks = [asyncio.ensure_future(line.call(lasts=0.5)) for _ in range(10)]
    for step in range(steps):
        await asyncio.sleep(0)
        if step % 4 == 3 and time._sleepers:
            time.wake_next()
    for number in cancelled:
        tasks[number].cancel()
    results = await time.run(asyncio.gather(*tasks, return_exceptions=True))
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results[0])
    assert time.permits.free == 3
    # The line still moves.
    before = len(line.sent)
    await time.run(line.call())
    assert len(line.sent) == before + 1
    assert time.permits.free == 3


# The rate.


@pytest.mark.parametrize("latency", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("rate", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("late", [0.0, 0.004])
async def test_no_second_holds_more_than_the_rate(latency: float, rate: float, late: float) -> None:
    time = Watched(permits=10, late=late)
    line = Line(time)
    line.gate.rate.set(1 / rate)
    for _ in range(2):
        await time.run(*(line.call(lasts=latency) for _ in range(int(3 * rate))))
        # An idle minute earns no burst.
        time.now += 60
    assert len(line.sent) == 2 * int(3 * rate)
    for at in line.sent:
        # Both ends of the second count, which adds one.
        assert sum(at <= other <= at + 1 for other in line.sent) <= 1.1 * rate + 1


async def test_slow_responses_do_not_release_a_burst() -> None:
    # All connections are busy for 30 s; 40 callers that wait must then be spaced like any others.
    time = Watched(permits=10)
    line = Line(time)
    line.gate.rate.set(0.05)
    await time.run(*(line.call(lasts=30.0) for _ in range(50)))
    for at in line.sent:
        assert sum(at <= other <= at + 1 for other in line.sent) <= 23


async def test_waits_for_the_rate_are_served_in_order() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(1.0)
    order: list[int] = []

    async def caller(number: int) -> None:
        await line.call()
        order.append(number)

    await time.run(*(caller(number) for number in range(10)))
    assert order == list(range(10))
    assert line.sent == [1000.0 + number for number in range(10)]


async def test_waiting_for_the_rate_counts_against_a_single_call() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(60.0)
    await time.run(line.call(), line.call(ask(timeout=90)))
    assert line.calls[1].deadline == 1090.0
    assert line.calls[1].limit.at == 1090.0


async def test_waiting_for_the_rate_does_not_count_in_bulk() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(60.0)
    await time.run(*(line.call(in_bulk(timeout=40)) for _ in range(5)))
    assert line.sent == [1000.0, 1060.0, 1120.0, 1180.0, 1240.0]
    # Each has its complete timeout left once it may be sent.
    assert [call.deadline - at for call, at in zip(line.calls, line.sent, strict=True)] == [40.0] * 5


async def test_pause_after_a_long_wait_for_the_rate_is_waited_out_in_bulk() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(60.0)
    line.gate.rate.reserve(time.now)

    async def pausing() -> None:
        await Time.sleep(time, 59)
        line.gate.pause(5)

    outcome, _ = await time.run(line.call(in_bulk(timeout=40)), pausing())
    assert outcome is None
    assert line.sent == [1064.0]


# The pause.


async def test_pause_that_begins_during_the_wait_for_a_permit_counts() -> None:
    time = Watched(permits=1)
    line = Line(time)
    await time.permits.acquire()
    waiting = asyncio.ensure_future(line.call())
    await time.settle()
    assert line.calls[0].waiting is Wait.CONNECTION
    line.gate.pause(7)
    time.permits.release()
    await time.run(waiting)
    assert line.sent == [1007.0]


async def test_pause_that_begins_during_the_wait_for_the_rate_counts() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(2.0)

    async def pausing() -> None:
        await Time.sleep(time, 1)
        line.gate.pause(7)

    await time.run(line.call(), line.call(), pausing())
    assert line.sent == [1000.0, 1008.0]


async def test_longer_pause_replaces_a_shorter_one_during_the_wait() -> None:
    time = Watched()
    line = Line(time)
    line.gate.pause(5)

    async def pausing() -> None:
        await Time.sleep(time, 3)
        line.gate.pause(20)

    await time.run(line.call(), line.call(), pausing())
    assert line.sent == [1023.0] * 2


@pytest.mark.parametrize(
    ("pause", "options", "limit"),
    [
        (30, {"timeout": 20}, "the remaining timeout (20 s)"),
        (200, {"timeout": 1000}, "max_retry_after (61 s)"),
        (7, {"timeout": 1000, "max_retry_after": 2}, "max_retry_after (2.2 s)"),
    ],
)
async def test_pause_that_is_too_long_ends_the_attempt(pause: float, options: dict[str, Any], limit: str) -> None:
    time = Watched()
    line = Line(time)
    line.gate.pause(pause)
    for request in (ask(**options), in_bulk(**options)):
        (outcome,) = await time.run(line.call(request))
        assert outcome is not None
        assert (outcome.verdict, outcome.classification.kind) == (Verdict.THROTTLED, ErrorKind.RATE)
        assert (outcome.phase, outcome.retry_after, outcome.may_have_executed) == (Phase.NOT_SENT, pause, False)
        assert outcome.reason.startswith(f"account paused for another {pause:.1f} s after HTTP 429")
        assert outcome.reason.endswith(f"longer than {limit}")
    assert (line.sent, time.permits.free, time.now) == ([], 4, 1000.0)


async def test_pause_that_is_too_long_for_a_call_ends_it_wherever_it_is_in_line() -> None:
    time = Watched()
    line = Line(time)
    line.gate.pause(30)
    tasks = [asyncio.ensure_future(line.call(ask(timeout=timeout))) for timeout in (20, 60, 20)]
    await time.settle()
    # A wait that is too long is an error at once, also for a call that another one precedes.
    assert [task.done() for task in tasks] == [True, False, True]
    outcomes = await time.run(*tasks)
    assert [outcome is None for outcome in outcomes] == [False, True, False]


@pytest.mark.parametrize("interval", [0.0, 0.001])
async def test_only_requests_in_flight_follow_the_first_429(interval: float) -> None:
    time = Watched()
    account = time.account()
    account.gate.rate.set(interval)
    sent: list[float] = []

    async def limited(request: Request, deadline: float) -> Outcome:
        sent.append(time.now)
        await Time.sleep(time, 0.1 + 0.001 * len(sent))
        return answered(request, 429, {"Retry-After": "5"}, b"")

    retries = retries_of(limited, account)
    assert isinstance(retries.transport, ScriptedTransport)
    retries.transport.permits = Permits(64)
    outcomes = await time.run(*(send_once(retries, time) for _ in range(500)))
    assert len(outcomes) == len(sent) == 500
    first_read = min(sent) + 0.1
    assert len([at for at in sent if at < first_read + 5]) <= 64


# Slots that expire.


async def test_slot_may_be_used_for_a_moment_only() -> None:
    time = Watched()
    line = Line(time)
    line.gate.rate.set(10.0)
    request = ask()
    call = Call(request, time.now, time.now + 90, line.timer.start(time.now + 90))
    ready = await line.admission.enter(time.permits, call, request)
    assert not isinstance(ready, Outcome)
    assert ready()
    time.now += 0.05
    assert ready()
    time.now += 1
    assert not ready()
    line.timer.stop(call.limit)


@attrs.define
class SlowConnects(ScriptedTransport):
    """A transport that connects for a while before it writes a request."""

    time: Watched = attrs.field(kw_only=True)
    seconds: list[float] = attrs.field(kw_only=True)
    connects: int = 0

    async def send(self, request: Request, attempt: Attempt) -> Outcome:
        self.connects += 1
        await Time.sleep(self.time, self.seconds.pop(0) if self.seconds else 0.0)
        if attempt.ready is not None and not attempt.ready():
            attempt.expired = True
            attempt.permits.release()
            return no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "")
        return await super().send(request, attempt)


@pytest.mark.parametrize(
    ("seconds", "connects"), [([0.0], 1), ([0.05], 1), ([3.0], 2), ([3.0, 3.0], 3), ([3.0] * 9, 4)], ids=str
)
async def test_request_takes_a_new_slot_if_connecting_was_slow(seconds: list[float], connects: int) -> None:
    time, sent = Watched(), list[float]()
    account = time.account()
    account.gate.rate.set(0.5)

    async def respond(request: Request, deadline: float) -> Outcome:
        sent.append(time.now)
        return answered(request, 200, {}, b'{"result":0}')

    retries = retries_of(respond, account)
    transport = SlowConnects(respond, time.permits, time=time, seconds=[*seconds])
    (outcome,) = await time.run(send_once(attrs.evolve(retries, transport=transport), time))
    assert (outcome.verdict, outcome.attempts, len(sent)) == (Verdict.DONE, 1, 1)
    assert transport.connects == connects
    assert time.permits.free == time.capacity


async def test_request_waits_if_the_account_is_paused_during_the_connect() -> None:
    time, sent = Watched(), list[float]()
    account = time.account()

    async def respond(request: Request, deadline: float) -> Outcome:
        sent.append(time.now)
        return answered(request, 200, {}, b'{"result":0}')

    async def pausing() -> None:
        await Time.sleep(time, 0.01)
        account.gate.pause(7)

    transport = SlowConnects(respond, time.permits, time=time, seconds=[0.05])
    retries = attrs.evolve(retries_of(respond, account), transport=transport)
    await time.run(send_once(retries, time), pausing())
    assert sent == [pytest.approx(1007.01)]


# What a call waits for.


@pytest.mark.parametrize(
    ("prepare", "waits"),
    [
        (lambda line: line.gate.pause(30), [Wait.PAUSE, Wait.PAUSE]),
        (lambda line: line.gate.rate.set(60.0), [Wait.RATE, Wait.TURN]),
        (lambda line: setattr(line.time.permits, "_value", 1), [Wait.CONNECTION, Wait.TURN]),
    ],
    ids=["pause", "rate", "permit"],
)
async def test_each_wait_has_its_name(prepare: Callable[[Line], object], waits: list[Wait]) -> None:
    time = Watched()
    line = Line(time)
    prepare(line)
    if line.gate.rate.interval:
        line.gate.rate.reserve(time.now)
    if waits[0] is Wait.CONNECTION:
        await time.permits.acquire()
    tasks = [asyncio.ensure_future(line.call()) for _ in range(2)]
    await time.settle()
    assert [call.waiting for call in line.calls] == waits
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_timeout_during_the_wait_for_the_rate_names_the_rate() -> None:
    async with Sandbox() as sandbox:
        options: dict[str, Any] = {"rate": "2/min", "timeout": 0.5}
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **options) as client:
            await client.dialin.get()
            results = await asyncio.gather(*(client.dialin.get() for _ in range(3)), return_exceptions=True)
    for error in results:
        assert isinstance(error, CallTimeout)
        assert re.search(r"waited 0.5 s .*for the rate limit of 2/min", str(error))
        assert "Not sent." in str(error)
        assert (error.may_have_executed, error.attempts) == (False, 0)


def pipeline_in_real_time(permits: int) -> Pipeline:
    async def respond(request: Request, deadline: float) -> Outcome:
        await asyncio.sleep(5)
        return answered(request, 200, {}, b'{"result":0}')

    account = AccountRegistry(Clock()).new_account("https://api.example.com")
    retries = retries_of(respond, account)
    assert isinstance(retries.transport, ScriptedTransport)
    retries.transport.permits = Permits(permits)
    return Pipeline(
        retries=retries, timer=DeadlineTimer(account.clock.now), options=Options(), pool=SessionManager().pool
    )


async def ending_of_the_last(pipeline: Pipeline, *timeouts: float) -> BaseException:
    """Start a call per timeout, one after another; return the error of the last one."""
    tasks = [asyncio.ensure_future(pipeline.run(ask(timeout=timeout))) for timeout in timeouts]
    try:
        with pytest.raises(VideoAPIError) as raised:
            await tasks[-1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return raised.value


@pytest.mark.parametrize("before", [[], [50.0], [50.0, 50.0]])
async def test_pause_longer_than_the_timeout_is_named_at_once(before: list[float]) -> None:
    pipeline = pipeline_in_real_time(64)
    pipeline.account.gate.pause(30)
    error = await ending_of_the_last(pipeline, *before, 10)
    assert isinstance(error, RateLimited)
    assert "account paused for another" in str(error)
    assert error.retry_after is not None
    assert 20 < error.retry_after <= 31


@pytest.mark.parametrize(("left", "more"), [(0.0, ""), (0.04, ""), (7.0, "; the pause lasts for another 7.0 s")])
def test_pause_that_has_ended_is_not_said_to_last(left: float, more: str) -> None:
    assert (
        paused_reason("3 s (timeout)", left)
        == f"waited 3 s (timeout) while the account was paused after HTTP 429{more}"
    )


@pytest.mark.parametrize("before", [[50.0], [50.0, 50.0]])
async def test_timeout_without_a_free_connection_does_not_name_the_rate(before: list[float]) -> None:
    pipeline = pipeline_in_real_time(1)
    pipeline.account.gate.rate.set(0.0001)
    error = await ending_of_the_last(pipeline, *before, 0.3)
    assert "no free connection within 0.3 s" in str(error)
    assert "rate limit" not in str(error)


# What the line asks its gate.


class Granting:
    """A gate that gives scripted answers."""

    def __init__(self, *answers: Slots) -> None:
        self.answers = list(answers)
        self.wanted: list[int] = []

    async def take(self, want: int) -> Slots:
        self.wanted.append(want)
        return self.answers.pop(0)

    def pause(self, seconds: float | None) -> None:
        raise AssertionError


async def test_gate_is_asked_again_after_every_wait() -> None:
    time = Watched()
    answers = (Slots(0, wait=MOMENT), Slots(0, wait=3.0), Slots(0, pause=2.0), Slots(0, wait=0.01), Slots(1))
    line = Line(time, Granting(*answers))
    await time.run(line.call())
    assert line.gate.wanted == [1] * 5
    assert [(nap.seconds, nap.in_use) for nap in time.history] == [(MOMENT, 1), (1.0, 0), (2.0, 0), (0.01, 1)]
    assert time.permits.free == 4


async def test_local_gate_reports_pause_before_rate() -> None:
    time = Watched()
    gate = LocalGate(time.clock())
    assert gate.is_open()
    gate.rate.set(10.0)
    assert not gate.is_open()
    assert await gate.take(5) == Slots(1)
    assert await gate.take(5) == Slots(0, wait=10.0)
    gate.pause(3)
    assert await gate.take(5) == Slots(0, pause=3.0)
    time.now += 20
    # The pause took no slot.
    assert await gate.take(5) == Slots(1)
