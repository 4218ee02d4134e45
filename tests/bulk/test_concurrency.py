"""The concurrency limit of a bulk run grows slowly and shrinks quickly."""

import asyncio

from videoapi.bulk.concurrency import AIMDLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def fill(window: AIMDLimit) -> int:
    entered = 0
    while entered < window.limit:
        await window.acquire()
        entered += 1
    return entered


async def test_limit_grows_by_one_per_round_of_successes() -> None:
    window = AIMDLimit(32, Clock())
    assert await fill(window) == 8

    for _ in range(8):
        window.succeeded()

    assert window.limit == 8 or window.limit == 9
    window.succeeded()
    assert window.limit == 9


async def test_limit_does_not_grow_while_unused() -> None:
    window = AIMDLimit(32, Clock())
    await window.acquire()

    for _ in range(1000):
        window.succeeded()

    assert window.limit == 8


async def test_limit_shrinks_once_per_second_and_never_below_one() -> None:
    clock = Clock()
    window = AIMDLimit(32, clock)
    for _ in range(30):
        window.overloaded()
    assert window.limit == 5

    for second in range(1, 30):
        clock.now = float(second)
        window.overloaded()

    assert window.limit == 1


async def test_waiters_acquire_slots_in_order() -> None:
    window = AIMDLimit(1, Clock())
    await window.acquire()
    order: list[int] = []

    async def enter(number: int) -> None:
        await window.acquire()
        order.append(number)
        window.release()

    waiting = [asyncio.create_task(enter(number)) for number in range(5)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    window.release()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert order == [0, 2, 3, 4]
