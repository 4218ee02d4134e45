"""The gates that close after trouble, and the budget, on a clock of their own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.script import Time

from videoapi.pipeline.accounts import AccountRegistry, PauseGate, RetryBudget
from videoapi.pipeline.clock import Clock
from videoapi.protocol.verdicts import Verdict


def never() -> bool:
    return False


def gate(time: Time, base: float = 1.0, cap: float = 20.0) -> PauseGate:
    return PauseGate(time.clock(), base=base, cap=cap)


def test_a_gate_is_open_until_there_is_trouble() -> None:
    time = Time()
    door = gate(time)
    assert (door.closed, door.pause_left()) == (False, 0)
    door.pause()
    assert (door.closed, door.pause_left()) == (True, 1)
    time.now += 0.75
    assert door.pause_left() == 0.25
    time.now += 5
    # The pause is over, but nobody has come through yet.
    assert (door.closed, door.pause_left()) == (True, 0)
    door.resume(time.now)
    assert not door.closed


def test_trouble_in_a_row_doubles_the_pause_up_to_the_cap() -> None:
    time = Time()
    door = gate(time, base=1, cap=5)
    pauses = []
    for _ in range(5):
        door.pause()
        pauses.append(door.pause_left())
        time.now += door.pause_left()
    assert pauses == [1, 2, 4, 5, 5]
    door.resume(time.now)
    door.pause()
    assert door.pause_left() == 1


def test_many_at_the_same_moment_count_once() -> None:
    time = Time()
    door = gate(time)
    for _ in range(32):
        door.pause()
    assert door.pause_left() == 1
    time.now += 1
    door.pause()
    assert door.pause_left() == 2


def test_a_pause_is_never_nearly_nothing() -> None:
    time = Time(0.0)
    door = gate(time)
    door.pause()
    assert door.pause_left() == 0.5


def test_what_the_service_asks_for_lengthens_a_pause_and_never_shortens_it() -> None:
    time = Time(0.0)
    door = gate(time)
    door.pause()
    door.pause(7)
    assert door.pause_left() == 7
    door.pause(2)
    assert door.pause_left() == 7
    door.pause()
    assert door.pause_left() == 7


def test_what_the_service_asks_for_is_bounded() -> None:
    time = Time(0.0)
    door = gate(time)
    door.pause(1e12)
    assert door.pause_left() == 300


def test_a_success_from_before_the_trouble_opens_nothing() -> None:
    time = Time()
    door = gate(time)
    began = time.now
    time.now += 1
    door.pause()
    door.resume(began)
    assert door.closed
    door.resume(time.now)
    assert not door.closed


async def test_an_open_gate_lets_everybody_through_at_once() -> None:
    time = Time()
    assert await gate(time).enter(never) is False
    assert time.naps == []


async def test_after_the_pause_one_at_a_time_goes_first_until_one_succeeds() -> None:
    time = Time()
    door = gate(time)
    door.pause()
    probing: list[int] = []
    most = 0
    tries = 0

    async def item(number: int) -> None:
        nonlocal most, tries
        while True:
            probe = await door.enter(never)
            began = time.now
            if probe:
                probing.append(number)
                most = max(most, len(probing))
            try:
                tries += 1
                await time.sleep(0.25)
                if tries >= 4:
                    door.resume(began)
                    return
                door.pause()
            finally:
                if probe:
                    probing.remove(number)
                    door.leave()

    await time.run(*(item(number) for number in range(16)))
    assert most == 1
    # Three failed probes and the fourth that opens; the others then go through together.
    assert tries == 4 + 15
    assert not door.closed


async def test_those_who_wait_for_a_probe_go_on_when_it_leaves_without_a_verdict() -> None:
    time = Time()
    door = gate(time)
    door.pause()
    time.now += 1
    assert await door.enter(never) is True
    waiting = asyncio.ensure_future(door.enter(never))
    await time.settle()
    assert not waiting.done()
    door.leave()
    assert await waiting is True


async def test_a_run_that_ends_is_not_held_by_a_long_pause() -> None:
    time = Time(0.0)
    door = gate(time)
    door.pause(250)
    (probe,) = await time.run(door.enter(lambda: time.now >= 1003))
    assert probe is False
    assert time.now <= 1003.5


async def test_who_is_cancelled_while_waiting_leaves_the_gate_as_it_was() -> None:
    time = Time()
    door = gate(time)
    door.pause()
    time.now += 1
    assert await door.enter(never) is True
    waiting = asyncio.ensure_future(door.enter(never))
    await time.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    door.leave()
    assert await door.enter(never) is True


@given(
    st.lists(
        st.tuples(st.sampled_from(["trouble", "asked", "success", "wait"]), st.floats(0, 100)),
        max_size=30,
    ),
    st.floats(0, 1),
)
def test_no_sequence_closes_a_gate_for_longer_than_the_longest_wait(
    steps: list[tuple[str, float]], throw: float
) -> None:
    time = Time(throw)
    door = gate(time)
    asked = 0.0
    for step, number in steps:
        match step:
            case "trouble":
                door.pause()
                assert door.pause_left() > 0
            case "asked":
                asked = max(asked, number)
                door.pause(number)
                assert door.pause_left() >= number - 1e-6
            case "success":
                door.resume(time.now)
                assert door.pause_left() == 0
            case "wait":
                time.now += number
        assert 0 <= door.pause_left() <= max(20.0, asked + 1) + 1e-6
        assert door.closed or door.pause_left() == 0


# The budget.


def test_a_retry_costs_ten_and_half_of_it_where_it_was_asked_to_come_back() -> None:
    budget = RetryBudget()
    assert budget.left == 500
    assert budget.spend(Verdict.UNKNOWN) == 10
    assert budget.spend(Verdict.NOT_SENT) == 10
    assert budget.spend(Verdict.THROTTLED) == 5
    assert budget.left == 475


def test_a_budget_gives_all_or_nothing() -> None:
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
def test_a_budget_stays_between_nothing_and_its_size(steps: list[Verdict | float]) -> None:
    budget = RetryBudget()
    for step in steps * 20:
        if isinstance(step, Verdict):
            budget.spend(step)
        else:
            budget.succeeded(step)
        assert 0 <= budget.left <= 500


def test_ten_first_successes_pay_for_a_retry() -> None:
    budget = RetryBudget()
    while budget.spend(Verdict.UNKNOWN):
        pass
    for _ in range(9):
        budget.succeeded(0.0)
    assert budget.spend(Verdict.UNKNOWN) is None
    budget.succeeded(0.0)
    assert budget.spend(Verdict.UNKNOWN) == 10


# Who shares what.


def test_an_account_shares_its_pace_and_an_origin_its_connect_gate() -> None:
    paces = AccountRegistry(Clock())
    one = paces.of("https://a", "id")
    assert paces.of("https://a", "id") is one
    neighbour = paces.of("https://a", "other")
    assert neighbour.budget is not one.budget
    assert neighbour.throttle is not one.throttle
    assert neighbour.connect is one.connect
    assert paces.of("https://b", "id").connect is not one.connect


async def test_by_default_the_loops_own_clock_and_sleep_are_used() -> None:
    clock = Clock()
    assert abs(clock.now() - asyncio.get_running_loop().time()) < 1
    await clock.sleep(0)
    assert 0 <= clock.random() <= 1
