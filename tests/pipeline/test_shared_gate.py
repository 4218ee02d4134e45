"""A gate that processes share: batches, slots that expire, pauses of other processes, and the fallback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.script import Time, ask, retries_of, wire
from support.server import ROOM_ID, answer, repeating, room, serve

from videoapi import CallTimeout, ConfigurationError, Gate, RoomSpec, SessionManager, Slots, VideoClient
from videoapi.pipeline.accounts import AccountRegistry, AccountState, ClientAccounts
from videoapi.pipeline.call import Call
from videoapi.pipeline.gate import LocalGate
from videoapi.pipeline.shared_gate import SharedGate
from videoapi.protocol.outcome import Outcome
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.permits import Permits

ORIGIN = "https://api.example.com"


class Scripted:
    """A gate that gives scripted answers, the last one again and again."""

    processes = 4

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.wanted: list[int] = []
        self.pauses: list[float] = []

    async def take(self, want: int) -> Slots:
        self.wanted.append(want)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(given, BaseException):
            raise given
        return given(want) if callable(given) else given

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def all_of(want: int) -> Slots:
    return Slots(want)


def shared(time: Time, gate: Any, interval: float = 0.1) -> AccountState:
    """Return an account whose rate is shared through a gate."""
    client = ClientAccounts(AccountRegistry(time.clock()), ORIGIN, interval, gate)
    account = client.use("id")
    # As long as the client exists.
    account.shared["client"] = client  # type: ignore[index]
    return account


@attrs.define
class Line:
    """Calls of one account in line, and when they were sent."""

    time: Time
    account: AccountState
    permits: Permits = attrs.field(factory=lambda: Permits(100))
    sent: list[float] = attrs.field(factory=list)

    async def call(self) -> None:
        timer, request = DeadlineTimer(lambda: self.time.now), ask(timeout=10_000)
        call = Call(request, self.time.now, self.time.now + 10_000, timer.start(self.time.now + 10_000))
        admitted = await self.account.admission.enter(self.permits, call, request)
        assert not isinstance(admitted, Outcome)
        assert admitted()
        self.sent.append(self.time.now - 1000)
        self.permits.release()
        timer.stop(call.limit)


def line_of(gate: Any, interval: float = 0.1, permits: int = 100) -> Line:
    time = Time(0.0)
    return Line(time, shared(time, gate, interval), Permits(permits))


async def test_gates_have_exactly_two_methods() -> None:
    assert isinstance(LocalGate(Time().clock()), Gate)
    assert isinstance(Scripted(), Gate)
    assert {name for name in vars(Gate) if not name.startswith("_")} == {"take", "pause"}


async def test_one_trip_reserves_for_all_that_wait_in_line() -> None:
    gate = Scripted(all_of)
    line = line_of(gate, interval=0.01)
    await line.time.run(*(line.call() for _ in range(30)))
    # The first in line may have come before the others.
    assert sum(gate.wanted) <= 31
    assert len(gate.wanted) <= 2
    assert line.sent[-1] == pytest.approx(0.01 * 29, abs=0.02)


async def test_no_more_is_reserved_than_permits_are_free() -> None:
    gate = Scripted(all_of)
    line = line_of(gate, permits=3)
    await line.time.run(*(line.call() for _ in range(30)))
    assert max(gate.wanted) == 3


async def test_reservation_in_the_future_is_waited_for_without_asking_again() -> None:
    gate = Scripted(Slots(2, wait=0.5))
    line = line_of(gate)
    await line.time.run(line.call(), line.call(), line.call())
    # The first in line asked before the others had come.
    assert gate.wanted == [1, 2]
    assert line.sent == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(1.1)]


async def test_refusal_is_not_asked_again_before_its_time() -> None:
    gate = Scripted(Slots(0, wait=0.7), Slots(1))
    line = line_of(gate)
    await line.time.run(line.call())
    assert line.sent == [pytest.approx(0.7)]
    assert len(gate.wanted) == 2


async def test_more_than_was_wanted_is_ignored() -> None:
    gate = Scripted(Slots(1000))
    line = line_of(gate)
    await line.time.run(*(line.call() for _ in range(3)))
    await line.time.run(*(line.call() for _ in range(3)))
    assert len(gate.wanted) >= 2


async def test_slots_that_nobody_used_in_time_are_lost() -> None:
    gate = Scripted(all_of)
    line = line_of(gate, interval=0.001)
    shared_gate = line.account.admission.gate
    assert (await shared_gate.take(20)).granted == 1
    line.time.now += 5
    before = len(gate.wanted)
    slots = await shared_gate.take(1)
    assert (slots.granted, len(gate.wanted)) == (1, before + 1), "the nineteen others would be a burst"


async def test_slot_that_was_due_before_says_so() -> None:
    line = line_of(Scripted(Slots(2)), interval=0.01)
    shared_gate = line.account.admission.gate
    await shared_gate.take(2)
    line.time.now += 0.06
    slots = await shared_gate.take(1)
    assert (slots.granted, slots.wait) == (1, pytest.approx(-0.05))


async def test_late_answer_is_dropped_and_asked_for_again() -> None:
    time = Time(0.0)
    calls = 0

    class Late(Scripted):
        async def take(self, want: int) -> Slots:
            nonlocal calls
            calls += 1
            if calls == 1:
                time.now += 0.15
            return Slots(want)

    line = Line(time, shared(time, Late()))
    await time.run(line.call())
    assert calls == 2
    assert line.account.shared_gate is not None
    assert not line.account.shared_gate.away


async def test_gate_that_is_always_late_is_replaced_within_its_patience(caplog: pytest.LogCaptureFixture) -> None:
    time = Time(0.0)

    class Late(Scripted):
        async def take(self, want: int) -> Slots:
            time.now += 0.12
            return Slots(want)

    line = Line(time, shared(time, Late()))
    with caplog.at_level(logging.WARNING):
        await time.run(line.call())
    assert line.sent[0] <= 0.25 + 0.12
    assert "each answer took more than 0.1 s" in caplog.text


# Pauses.


async def test_pause_of_another_process_is_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    gate = Scripted(Slots(0, pause=7.0), Slots(1))
    line = line_of(gate)
    with caplog.at_level(logging.WARNING):
        await line.time.run(line.call(), line.call())
    assert line.sent[0] == pytest.approx(7.0)
    assert gate.pauses == [], "it is known already"
    assert "account id at api.example.com paused for 7.0 s after HTTP 429 in another process" in caplog.text


async def test_pause_that_is_too_long_is_logged_as_long_as_it_lasts_and_hides_no_later_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Scripted(Slots(0, pause=1e12), Slots(1))
    line = line_of(gate)
    with caplog.at_level(logging.WARNING):
        await line.account.admission.gate.take(1)
    longest = line.account.throttle.pause_left()
    assert longest < 1e6
    assert f"paused for {longest:.1f} s after HTTP 429 in another process" in caplog.text
    line.time.now += longest + 1.0
    line.account.admission.pause(5.0)
    await asyncio.sleep(0)
    assert gate.pauses == [pytest.approx(5.0)]


async def test_pause_is_told_once_for_many_refusals() -> None:
    time = Time(0.0)
    gate = Scripted(all_of)
    account = shared(time, gate)
    for _ in range(50):
        account.admission.pause(5.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert gate.pauses == [pytest.approx(5.0)]
    assert account.throttle.pause_left() == pytest.approx(5.0)


async def test_pause_drops_what_was_reserved() -> None:
    gate = Scripted(all_of)
    line = line_of(gate, interval=0.001)
    await line.account.admission.gate.take(20)
    line.account.admission.pause(2.0)
    await line.time.run(line.call())
    assert line.sent[0] >= 2.0


async def test_gate_whose_pause_is_a_plain_function_is_told() -> None:
    told: list[float] = []

    class Plain(Scripted):
        def pause(self, seconds: float) -> None:  # type: ignore[override]
            told.append(seconds)

    account = shared(Time(0.0), Plain(all_of))
    account.admission.pause(3.0)
    await asyncio.sleep(0)
    assert told == [pytest.approx(3.0)]


# The fallback.


NONSENSE: list[Any] = [
    OSError("the store is down"),
    KeyError("x"),
    None,
    3,
    (1, 0.0, 0.0),
    Slots(-1),
    Slots(True),
    Slots(1.5),  # type: ignore[arg-type]
    Slots("1"),  # type: ignore[arg-type]
    Slots(1, wait=float("nan")),
    Slots(1, pause=float("inf")),
    Slots(1, wait="soon"),  # type: ignore[arg-type]
    asyncio.CancelledError(),
    GeneratorExit(),
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
async def test_gate_that_fails_is_replaced_by_a_part_of_the_rate(
    nonsense: Any, caplog: pytest.LogCaptureFixture
) -> None:
    line = line_of(Scripted(nonsense), interval=0.1)
    with caplog.at_level(logging.INFO):
        await line.time.run(*(line.call() for _ in range(5)))
    # 10/s, of which each of four processes has an eighth.
    assert line.sent == [pytest.approx(0.8 * number) for number in range(5)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "rate / (2 x 4 processes)" in caplog.text
    assert line.account.rate == "1.25/s in this process, as the shared gate does not answer"
    assert line.permits.free == 100


async def test_session_managers_of_a_process_share_its_part_of_the_rate() -> None:
    time = Time(0.0)
    clock, lines = time.clock(), []
    for _ in range(3):
        client = ClientAccounts(AccountRegistry(clock), ORIGIN, 0.1, Scripted(OSError("the store is down")))
        lines.append((client, Line(time, client.use("id"))))
    other = ClientAccounts(AccountRegistry(clock), ORIGIN, 0.1, Scripted(OSError("the store is down")))
    lines.append((other, Line(time, other.use("another id"))))
    await time.run(*(line.call() for _, line in lines for _ in range(5)))
    *ours, (_, apart) = lines
    # As one session manager has them.
    assert sorted(at for _, line in ours for at in line.sent) == [pytest.approx(0.8 * number) for number in range(15)]
    assert apart.sent == [pytest.approx(0.8 * number) for number in range(5)]


async def test_fallback_ends_when_the_gate_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    gate = Scripted(OSError("the store is down"), OSError("still down"), all_of)
    line = line_of(gate, interval=0.1)
    with caplog.at_level(logging.INFO):
        await line.time.run(*(line.call() for _ in range(40)))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "answers again" in caplog.text
    # Twice in vain, at 0 and 0.5 s, and again 1 s later.
    assert len([at for at in line.sent if at < 1.5]) == 2
    assert line.sent[-1] < 1.5 + 0.8 + 0.1 * 40
    assert line.account.shared_gate is not None
    assert not line.account.shared_gate.away


async def test_gate_that_is_down_is_asked_rarely() -> None:
    gate = Scripted(OSError("the store is down"))
    line = line_of(gate, interval=0.01)
    await line.time.run(*(line.call() for _ in range(500)))
    assert line.sent[-1] > 30
    assert len(gate.wanted) <= 3 + line.sent[-1] / 2


async def test_gate_that_cannot_pause_pauses_this_process() -> None:
    class Broken(Scripted):
        async def pause(self, seconds: float) -> None:
            raise OSError("the store is down")

    time = Time(0.0)
    account = shared(time, Broken(all_of))
    transport = wire(time, "429@7 ok")
    retries = retries_of(transport, account)
    timer, request = DeadlineTimer(lambda: time.now), ask()
    call = Call(request, time.now, time.now + 90, timer.start(time.now + 90))
    (outcome,) = await time.run(retries.send(call, request))
    assert outcome.status == 200
    assert time.now >= 1007
    timer.stop(call.limit)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["ok", "down", "late", "refuse", "pause"]), min_size=1, max_size=10))
async def test_rate_is_held_whatever_the_gate_does(answers: list[str]) -> None:
    time = Time(0.0)
    budget = 1000.0

    class Any_(Scripted):  # noqa: N801
        async def take(self, want: int) -> Slots:
            nonlocal budget
            match answers.pop(0) if answers else "ok":
                case "down":
                    raise OSError
                case "late":
                    time.now += 0.2
                case "refuse":
                    return Slots(0, wait=0.3)
                case "pause":
                    return Slots(0, pause=1.5)
            # A faithful gate: one slot each 20 ms.
            first = max(budget, time.now)
            budget = first + 0.02 * want
            return Slots(want, wait=first - time.now)

    line = Line(time, shared(time, Any_(), interval=0.02))
    await time.run(*(line.call() for _ in range(60)))
    for at in line.sent:
        # Both ends count; slots may be a tenth of a second late, and the fallback gives one at once.
        assert sum(at <= other <= at + 1 for other in line.sent) <= 1.1 * 50 + 14


# With clients.


class Hanging(Scripted):
    """A gate that never answers, and may refuse to be cancelled."""

    def __init__(self, stubborn: bool) -> None:
        super().__init__(all_of)
        self.stubborn = stubborn
        self.release = asyncio.Event()

    async def take(self, want: int) -> Slots:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        return Slots(0, wait=1.0)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_gate_that_hangs_holds_up_neither_its_calls_nor_others(stubborn: bool) -> None:
    gate = Hanging(stubborn)
    async with serve(repeating(answer(200, room()))) as server, SessionManager(max_connections=1) as manager:
        stuck = VideoClient("id", "key", server.base_url, session=manager, rate="80/s", gate=gate)
        other = VideoClient("other", "key", server.base_url, session=manager)
        async with stuck, other:
            calls = [asyncio.create_task(stuck.rooms.get(ROOM_ID)) for _ in range(3)]
            await asyncio.sleep(0)
            async with asyncio.timeout(20):
                await other.rooms.get(ROOM_ID)
                await asyncio.gather(*calls)
            assert stuck.stats().gate == "fallback"
            assert other.stats().gate == "none"
            gate.release.set()
    assert len(server.requests) == 4


@pytest.mark.parametrize("wait", [0.0, 0.02])
async def test_run_ends_although_the_gate_grants_nothing(wait: float) -> None:
    specs = [RoomSpec(f"Room {number}") for number in range(3)]
    async with serve(repeating(answer(200, room()))) as server:
        gate = Scripted(Slots(0, wait=wait))
        async with VideoClient("id", "key", server.base_url, rate="80/s", gate=gate) as client:
            async with asyncio.timeout(20):
                report = await client.rooms.create_many(specs, timeout=0.3)
            assert report.counts == {"not_sent": 3}
            async with asyncio.timeout(20), client.rooms.create_each(specs) as run:
                while len(gate.wanted) < 20:
                    await asyncio.sleep(0.01)
            assert run.report.counts["not_sent"] == run.report.total > 0
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
    assert not server.requests


async def test_deadline_in_the_fallback_says_so() -> None:
    gate = Scripted(OSError("the store is down"))
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url, rate="8/s", gate=gate, timeout=0.5) as client:
            await client.rooms.get(ROOM_ID)
            with pytest.raises(CallTimeout, match=r"for the rate limit of 1/s in this process, as the shared gate"):
                await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("answer", [Slots(0), Slots(0, wait=0.01)])
async def test_gate_that_answers_and_grants_nothing_is_not_said_to_be_silent(answer: Slots) -> None:
    async with VideoClient(
        "id", "key", "http://127.0.0.1:9/v1", rate="8/s", gate=Scripted(answer), timeout=0.5
    ) as client:
        with pytest.raises(CallTimeout, match=r"waited 0.5 s \(timeout\) for the rate limit of 8/s. Not sent."):
            await client.rooms.get(ROOM_ID)


async def test_gate_needs_a_rate() -> None:
    with pytest.raises(ConfigurationError, match="gate= needs rate="):
        VideoClient("id", "key", gate=Scripted(all_of))


@pytest.mark.parametrize("gate", [object(), "redis://localhost", Scripted, LocalGate.take, 7])
async def test_what_is_no_gate_is_refused(gate: Any) -> None:
    with pytest.raises(ConfigurationError, match="gate must be a RedisGate, or have the methods"):
        VideoClient("id", "key", gate=gate, rate="5/s")


async def test_two_gates_for_one_account_are_refused() -> None:
    async with SessionManager() as manager:
        one = VideoClient("id", "key", session=manager, gate=Scripted(all_of), rate="5/s")
        with pytest.raises(ConfigurationError, match="different gate="):
            VideoClient("id", "key", session=manager, gate=Scripted(all_of), rate="5/s")
        # Neither another account nor a client that has closed conflicts.
        other = VideoClient("other", "key", session=manager, gate=Scripted(all_of), rate="5/s")
        await one.aclose()
        again = VideoClient("id", "key", session=manager, gate=Scripted(all_of), rate="5/s")
        await again.aclose()
        await other.aclose()


async def test_account_without_a_client_that_has_a_gate_is_local_again() -> None:
    gate = Scripted(all_of)
    async with serve(repeating(answer(200, room()))) as server, SessionManager() as manager:
        plain = VideoClient("id", "key", server.base_url, session=manager)
        sharing = VideoClient("id", "key", server.base_url, session=manager, gate=gate, rate="1000/s")
        # The account is one, so that every client of it shares the rate.
        await plain.rooms.get(ROOM_ID)
        assert (gate.wanted, plain.stats().gate) == ([1], "shared")
        await sharing.aclose()
        await plain.rooms.get(ROOM_ID)
        assert (gate.wanted, plain.stats().gate) == ([1], "none")
        assert plain._pipeline.account.gate.is_open()
        await plain.aclose()


async def test_strictest_rate_of_the_open_clients_is_shared() -> None:
    intervals: list[Callable[[], float]] = []

    class Many(Scripted):
        def for_account(self, origin: str, app_id: str, interval: Callable[[], float]) -> Gate:
            assert (origin, app_id) == (ORIGIN, "id")
            intervals.append(interval)
            return self

        async def release(self, gate: Gate) -> None:
            intervals.clear()

    gate = Many(all_of)
    async with SessionManager() as manager:
        options: dict[str, Any] = {"base_url": f"{ORIGIN}/video/v2", "session": manager, "gate": gate}
        fast = VideoClient("id", "key", rate="100/s", **options)
        slow = VideoClient("id", "key", rate="10/s", **options)
        assert [interval() for interval in intervals] == [0.1]
        await slow.aclose()
        assert [interval() for interval in intervals] == [0.01]
        await fast.aclose()
        assert intervals == []


async def test_cancelled_call_leaves_its_slot_to_the_next() -> None:
    gate = Scripted(lambda want: Slots(1, wait=0.03), Slots(0, wait=5.0))
    time = Time(0.0)
    line = Line(time, shared(time, gate))
    first = asyncio.ensure_future(line.call())
    await time.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await time.run(line.call())
    assert line.sent == [pytest.approx(0.03)]
    assert line.permits.free == 100


async def test_closing_ends_a_trip_to_the_gate() -> None:
    gate = Hanging(stubborn=False)
    async with serve(repeating(answer(200, room()))) as server:
        client = VideoClient("id", "key", server.base_url, rate="5/s", gate=gate)
        call = asyncio.create_task(client.rooms.get(ROOM_ID))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(5):
            await client.aclose()
        (error,) = await asyncio.gather(call, return_exceptions=True)
        assert "closed" in str(error)
    shared_gate = client._accounts.current.admission.gate
    assert not isinstance(shared_gate, SharedGate)


async def test_pause_that_the_gate_does_not_confirm_is_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Scripted):
        async def pause(self, seconds: float) -> None:
            await asyncio.Event().wait()

    account = shared(Time(0.0), Mute(all_of))
    account.admission.pause(3.0)
    async with asyncio.timeout(20):
        while account.shared_gate is not None and not account.shared_gate.away:
            await asyncio.sleep(0.01)
    assert "Mute failed: no answer within 0.25 s." in caplog.text


async def test_gate_that_grants_nothing_is_not_asked_in_a_loop() -> None:
    gate = Scripted(*[Slots(0)] * 20, Slots(1))
    line = line_of(gate)
    await line.time.run(line.call())
    assert line.sent[0] >= 20 * 0.04


@pytest.mark.parametrize("nonsense", [Slots(1, wait=-1.0), Slots(0, wait=-60.0)])
async def test_slots_of_the_past_are_no_answer(nonsense: Slots, caplog: pytest.LogCaptureFixture) -> None:
    gate = Scripted(nonsense)
    line = line_of(gate)
    await line.time.run(line.call())
    assert len(line.sent) == len(gate.wanted) == 1
    assert "due more than 0.1 s ago" in caplog.text


class Stubborn(Scripted):
    """A gate that ignores its cancellation, and never answers."""

    rate = "100/s"

    def __init__(self, hangs: str) -> None:
        super().__init__(all_of)
        self.hangs = hangs
        self.end = asyncio.Event()

    def for_account(self, origin: str, app_id: str, interval: Callable[[], float]) -> Gate:
        return self

    async def take(self, want: int) -> Slots:
        await self._hang("take")
        return await super().take(want)

    async def release(self, gate: Gate) -> None:
        await self._hang("release")

    async def _hang(self, where: str) -> None:
        while where == self.hangs and not self.end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.end.wait()


@pytest.mark.parametrize("hangs", ["take", "release"])
async def test_client_closes_although_the_gate_ignores_its_cancellation(hangs: str) -> None:
    gate = Stubborn(hangs)
    async with serve(repeating(answer(200, room()))) as server:
        client = VideoClient("id", "made-up-key", server.base_url, gate=gate)
        await client.rooms.get(ROOM_ID)
        async with asyncio.timeout(10):
            closing = asyncio.create_task(client.aclose())
            await asyncio.wait((closing,))
        gate.end.set()
        await asyncio.sleep(0.01)
    assert closing.done()
