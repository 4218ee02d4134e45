"""The rate gate spaces requests, the window of a bulk run opens slowly and closes quickly."""

import asyncio

import pytest

from videoapi import ConfigurationError, VideoClient
from videoapi.bulk.concurrency import Window
from videoapi.pipeline.rate_limit import RateGate, interval_of
from videoapi.sandbox import Sandbox


@pytest.mark.parametrize(
    ("rate", "interval"), [("600/min", 0.1), ("10/s", 0.1), ("3600/h", 1.0), (" 2.5 / second ", 0.4), ("90/hour", 40.0)]
)
def test_a_rate_is_read_as_seconds_between_requests(rate: str, interval: float) -> None:
    assert interval_of(rate) == pytest.approx(interval)


@pytest.mark.parametrize("rate", ["", "0/s", "ten/s", "10", "10/day", "-1/s", 10, None])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="600/min"):
        interval_of(rate)


def test_slots_are_evenly_spaced_and_an_idle_gate_saves_none_up() -> None:
    gate = RateGate()
    gate.limit(0.5)

    assert [gate.reserve(0.0, 100) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert [gate.reserve(60.0, 100) for _ in range(2)] == [0.0, 0.5]


def test_a_slot_that_comes_too_late_is_not_taken() -> None:
    gate = RateGate()
    gate.limit(10)

    assert gate.reserve(0.0, 5) == 0.0
    assert gate.reserve(0.0, 5) is None
    assert gate.reserve(6.0, 5) == 4.0


async def test_a_clients_rate_holds_for_all_its_calls() -> None:
    async with Sandbox() as sandbox:
        events: list[float] = []
        clock = asyncio.get_running_loop().time
        async with VideoClient(
            sandbox.app_id, sandbox.app_key, sandbox.base_url, rate="20/s", listeners=[lambda _: events.append(clock())]
        ) as client:
            began = clock()
            await asyncio.gather(*(client.dialin.get() for _ in range(11)))

    # Eleven requests have ten intervals between them; slower is allowed, faster is not.
    assert clock() - began >= 10 * 0.05 - 0.01


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def filled(window: Window) -> int:
    entered = 0
    while entered < window.limit:
        await window.enter()
        entered += 1
    return entered


async def test_a_window_opens_by_one_for_each_round_of_successes() -> None:
    window = Window(32, Clock())
    assert await filled(window) == 8

    for _ in range(8):
        window.succeeded()

    assert window.limit == 8 or window.limit == 9
    window.succeeded()
    assert window.limit == 9


async def test_a_window_that_is_not_used_does_not_open() -> None:
    window = Window(32, Clock())
    await window.enter()

    for _ in range(1000):
        window.succeeded()

    assert window.limit == 8


async def test_many_signs_of_one_moment_close_it_once_and_it_never_closes_wholly() -> None:
    clock = Clock()
    window = Window(32, clock)
    for _ in range(30):
        window.overloaded()
    assert window.limit == 5

    for second in range(1, 30):
        clock.now = float(second)
        window.overloaded()

    assert window.limit == 1


async def test_those_who_wait_enter_in_order_as_places_come_free() -> None:
    window = Window(1, Clock())
    await window.enter()
    order: list[int] = []

    async def enter(number: int) -> None:
        await window.enter()
        order.append(number)
        window.leave()

    waiting = [asyncio.create_task(enter(number)) for number in range(5)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    window.leave()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert order == [0, 2, 3, 4]
