"""The pause gate and the retry budget, on a simulated clock."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.script import Time

from videoapi.pipeline.accounts import RetryBudget
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.pause import PauseGate
from videoapi.protocol.types import Verdict


def never() -> bool:
    return False


def make_gate(time: Time, base: float = 1.0, cap: float = 20.0) -> PauseGate:
    return PauseGate(time.clock(), base=base, cap=cap)


def test_gate_is_open_until_the_first_pause() -> None:
    time = Time()
    gate = make_gate(time)
    assert (gate.closed, gate.pause_left()) == (False, 0)
    gate.pause()
    assert (gate.closed, gate.pause_left()) == (True, 1)
    time.now += 0.75
    assert gate.pause_left() == 0.25
    time.now += 5
    # The pause is over, but no request has succeeded yet.
    assert (gate.closed, gate.pause_left()) == (True, 0)
    gate.resume(time.now)
    assert not gate.closed


def test_consecutive_errors_double_the_pause_up_to_the_cap() -> None:
    time = Time()
    gate = make_gate(time, base=1, cap=5)
    pauses = []
    for _ in range(5):
        gate.pause()
        pauses.append(gate.pause_left())
        time.now += gate.pause_left()
    assert pauses == [1, 2, 4, 5, 5]
    gate.resume(time.now)
    gate.pause()
    assert gate.pause_left() == 1


def test_simultaneous_errors_count_once() -> None:
    time = Time()
    gate = make_gate(time)
    for _ in range(32):
        gate.pause()
    assert gate.pause_left() == 1
    time.now += 1
    gate.pause()
    assert gate.pause_left() == 2


def test_pause_is_at_least_half_of_base() -> None:
    time = Time(0.0)
    gate = make_gate(time)
    gate.pause()
    assert gate.pause_left() == 0.5


def test_retry_after_extends_a_pause_but_never_shortens_it() -> None:
    time = Time(0.0)
    gate = make_gate(time)
    gate.pause()
    gate.pause(7)
    assert gate.pause_left() == 7
    gate.pause(2)
    assert gate.pause_left() == 7
    gate.pause()
    assert gate.pause_left() == 7


def test_retry_after_is_the_pause_however_often_probes_are_throttled() -> None:
    time = Time()
    gate = make_gate(time)
    pauses = []
    for _ in range(6):
        gate.pause(2)
        pauses.append(gate.pause_left())
        time.now += gate.pause_left()
    assert pauses == pytest.approx([2.2] * 6)
    # Without a time, or with 0, the client backs off on its own.
    gate.pause(0)
    assert gate.pause_left() == 20


def test_retry_after_is_capped_at_300_seconds() -> None:
    time = Time(0.0)
    gate = make_gate(time)
    gate.pause(1e12)
    assert gate.pause_left() == 300


def test_success_of_an_attempt_started_before_the_pause_is_ignored() -> None:
    time = Time()
    gate = make_gate(time)
    began = time.now
    time.now += 1
    gate.pause()
    gate.resume(began)
    assert gate.closed
    gate.resume(time.now)
    assert not gate.closed


async def test_open_gate_admits_without_waiting() -> None:
    time = Time()
    assert await make_gate(time).enter(never) is False
    assert time.naps == []


async def test_one_probe_at_a_time_is_admitted_until_one_succeeds() -> None:
    time = Time()
    gate = make_gate(time)
    gate.pause()
    probing: list[int] = []
    most = 0
    tries = 0

    async def item(number: int) -> None:
        nonlocal most, tries
        while True:
            probe = await gate.enter(never)
            began = time.now
            if probe:
                probing.append(number)
                most = max(most, len(probing))
            try:
                tries += 1
                await time.sleep(0.25)
                if tries >= 4:
                    gate.resume(began)
                    return
                gate.pause()
            finally:
                if probe:
                    probing.remove(number)
                    gate.leave()

    await time.run(*(item(number) for number in range(16)))
    assert most == 1
    # Three probes fail and the fourth opens the gate; then the other 15 are admitted together.
    assert tries == 4 + 15
    assert not gate.closed


async def test_next_probe_is_admitted_when_a_probe_leaves_without_a_verdict() -> None:
    time = Time()
    gate = make_gate(time)
    gate.pause()
    time.now += 1
    assert await gate.enter(never) is True
    waiting = asyncio.ensure_future(gate.enter(never))
    await time.settle()
    assert not waiting.done()
    gate.leave()
    assert await waiting is True


async def test_long_pause_does_not_delay_the_end_of_a_run() -> None:
    time = Time(0.0)
    gate = make_gate(time)
    gate.pause(250)
    (probe,) = await time.run(gate.enter(lambda: time.now >= 1003))
    assert probe is False
    assert time.now <= 1003.5


async def test_cancelled_waiter_does_not_change_the_gate() -> None:
    time = Time()
    gate = make_gate(time)
    gate.pause()
    time.now += 1
    assert await gate.enter(never) is True
    waiting = asyncio.ensure_future(gate.enter(never))
    await time.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.leave()
    assert await gate.enter(never) is True


@given(
    st.lists(
        st.tuples(st.sampled_from(["pause", "retry_after", "success", "wait"]), st.floats(0, 100)),
        max_size=30,
    ),
    st.floats(0, 1),
)
def test_pause_never_exceeds_the_longest_wait(steps: list[tuple[str, float]], throw: float) -> None:
    time = Time(throw)
    gate = make_gate(time)
    longest = 0.0
    for step, number in steps:
        match step:
            case "pause":
                gate.pause()
                assert gate.pause_left() > 0
            case "retry_after":
                longest = max(longest, number)
                gate.pause(number)
                assert gate.pause_left() >= number - 1e-6
            case "success":
                gate.resume(time.now)
                assert gate.pause_left() == 0
            case "wait":
                time.now += number
        assert 0 <= gate.pause_left() <= max(20.0, longest + 1) + 1e-6
        assert gate.closed or gate.pause_left() == 0


# Retry budget.


def test_retry_costs_10_or_5_when_throttled() -> None:
    budget = RetryBudget()
    assert budget.left == 500
    assert budget.spend(Verdict.UNKNOWN) == 10
    assert budget.spend(Verdict.NOT_SENT) == 10
    assert budget.spend(Verdict.THROTTLED) == 5
    assert budget.left == 475


def test_budget_deducts_nothing_when_too_little_is_left() -> None:
    budget = RetryBudget()
    for _ in range(99):
        budget.spend(Verdict.THROTTLED)
    assert budget.left == 5
    assert budget.spend(Verdict.UNKNOWN) is None
    assert budget.left == 5
    assert budget.spend(Verdict.THROTTLED) == 5
    assert budget.spend(Verdict.THROTTLED) is None
    assert budget.left == 0


@given(st.lists(st.sampled_from([*(Verdict.UNKNOWN, Verdict.NOT_SENT, Verdict.THROTTLED), 0.0, 5.0, 10.0])))
def test_budget_stays_between_zero_and_its_capacity(steps: list[Verdict | float]) -> None:
    budget = RetryBudget()
    for step in steps * 20:
        if isinstance(step, Verdict):
            budget.spend(step)
        else:
            budget.succeeded(step)
        assert 0 <= budget.left <= 500


def test_ten_first_attempt_successes_pay_for_one_retry() -> None:
    budget = RetryBudget()
    while budget.spend(Verdict.UNKNOWN):
        pass
    for _ in range(9):
        budget.succeeded(0.0)
    assert budget.spend(Verdict.UNKNOWN) is None
    budget.succeeded(0.0)
    assert budget.spend(Verdict.UNKNOWN) == 10


# The clock of both.


async def test_default_clock_uses_the_event_loop() -> None:
    clock = Clock()
    assert abs(clock.now() - asyncio.get_running_loop().time()) < 1
    await clock.sleep(0)
    assert 0 <= clock.random() <= 1


async def test_run_that_ends_does_not_wait_for_the_probe_of_another() -> None:
    time = Time()
    gate = make_gate(time)
    gate.pause()
    time.now += 60
    ended: list[bool] = []
    assert await gate.enter(never) is True
    waiting = asyncio.ensure_future(gate.enter(lambda: bool(ended)))
    await asyncio.sleep(0)
    ended.append(True)
    async with asyncio.timeout(5):
        assert await waiting is False


async def test_another_account_waits_only_briefly_for_the_probe() -> None:
    time = Time()
    gate = make_gate(time)
    gate.pause()
    time.now += 60
    assert await gate.enter(never, "one") is True
    async with asyncio.timeout(5):
        assert await gate.enter(never, "other") is False
    assert gate.closed
