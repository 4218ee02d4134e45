"""One timer for all deadlines: it cancels whom it should, and nobody else's cancellation is lost."""

from __future__ import annotations

import asyncio

import pytest

from videoapi.transport.deadlines import Deadline, DeadlineTimer

SOON = 0.005


def loop_time() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def dog() -> DeadlineTimer:
    return DeadlineTimer(asyncio.get_running_loop())


def me() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def watched(dog: DeadlineTimer, deadline: float, work: object = None) -> str:
    """Wait under a watch, as each attempt does; say how it ended."""
    watch = dog.start(deadline)
    try:
        await (for_ever() if work is None else work)  # type: ignore[misc]
    except asyncio.CancelledError:
        if not watch.expired():
            raise
        return "timed out"
    finally:
        dog.stop(watch)
    return "done"


async def test_who_is_late_is_stopped_and_nothing_of_it_is_left(dog: DeadlineTimer) -> None:
    began = loop_time()
    assert await watched(dog, began + SOON) == "timed out"
    assert loop_time() >= began + SOON
    assert me().cancelling() == 0
    await asyncio.sleep(0)


async def test_a_deadline_that_has_passed_is_late_at_once(dog: DeadlineTimer) -> None:
    assert await watched(dog, loop_time() - 1) == "timed out"


async def test_who_is_in_time_is_left_alone(dog: DeadlineTimer) -> None:
    assert await watched(dog, loop_time() + 60, asyncio.sleep(0)) == "done"
    assert me().cancelling() == 0
    dog.close()


async def test_a_deadline_can_be_moved_both_ways(dog: DeadlineTimer) -> None:
    watch = dog.start(loop_time() + 60)
    dog.reschedule(watch, loop_time() + SOON)
    with pytest.raises(asyncio.CancelledError):
        await for_ever()
    assert watch.expired()
    dog.stop(watch)
    later = dog.start(loop_time() + SOON)
    dog.reschedule(later, loop_time() + 60)
    await asyncio.sleep(SOON * 4)
    assert not later.fired
    dog.stop(later)
    dog.close()


async def test_the_callers_own_cancellation_goes_through(dog: DeadlineTimer) -> None:
    task = asyncio.ensure_future(watched(dog, loop_time() + 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    dog.close()


async def test_the_callers_cancellation_wins_over_a_deadline_at_the_same_moment(dog: DeadlineTimer) -> None:
    task = asyncio.ensure_future(watched(dog, loop_time() + 60))
    await asyncio.sleep(0)
    (watch,) = dog._limits
    for first in (task.cancel, lambda: fire(watch)):
        first()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    dog.close()


async def test_a_cancellation_that_follows_the_deadline_is_not_swallowed(dog: DeadlineTimer) -> None:
    task = asyncio.ensure_future(watched(dog, loop_time() + 60))
    await asyncio.sleep(0)
    (watch,) = dog._limits
    fire(watch)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    dog.close()


def fire(watch: Deadline) -> None:
    watch.fired = True
    watch.task.cancel()


async def test_a_task_that_is_being_cancelled_can_still_be_watched(dog: DeadlineTimer) -> None:
    """Clean-up code that calls out has a deadline of its own, and the cancellation is still there after it."""
    ended: list[str] = []

    async def cleans_up() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            ended.append(await watched(dog, loop_time() + SOON))
            assert me().cancelling() == 1
            raise

    task = asyncio.ensure_future(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["timed out"]


async def test_inside_a_longer_timeout_of_the_caller_it_is_ours_that_ends(dog: DeadlineTimer) -> None:
    async with asyncio.timeout(60):
        assert await watched(dog, loop_time() + SOON) == "timed out"
        await asyncio.sleep(0)
    assert me().cancelling() == 0


async def test_a_shorter_timeout_of_the_caller_is_the_callers(dog: DeadlineTimer) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await watched(dog, loop_time() + 60)
    assert me().cancelling() == 0
    dog.close()


async def test_around_a_shorter_timeout_inside_only_that_one_ends(dog: DeadlineTimer) -> None:
    async def inner() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await for_ever()

    assert await watched(dog, loop_time() + 60, inner()) == "done"
    dog.close()


async def test_a_cancellation_that_came_out_as_another_error_is_taken_back(dog: DeadlineTimer) -> None:
    async def turns_it_into_another() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            raise OSError("broken") from None

    with pytest.raises(OSError, match="broken"):
        await watched(dog, loop_time() + SOON, turns_it_into_another())
    assert me().cancelling() == 0
    async with asyncio.timeout(60):
        await asyncio.sleep(0)


async def test_a_cancellation_that_was_swallowed_is_taken_back(dog: DeadlineTimer) -> None:
    async def swallows() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return

    assert await watched(dog, loop_time() + SOON, swallows()) == "done"
    assert me().cancelling() == 0


async def test_a_thousand_tasks_end_each_at_its_own_time(dog: DeadlineTimer) -> None:
    now = loop_time()
    ends: list[float] = []

    async def one(number: int) -> str:
        deadline = now + 0.02 + (number * 7919 % 1000) / 20_000
        how = await watched(dog, deadline if number % 2 else now + 60, None if number % 2 else asyncio.sleep(0))
        if number % 2:
            ends.append(loop_time() - deadline)
        return how

    # Far more than it takes: a look that was forgotten would never come.
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*(one(number) for number in range(2000)))
    assert outcomes == ["done", "timed out"] * 1000
    assert min(ends) >= 0
    assert not dog._limits
    dog.close()


async def test_one_timer_serves_all_and_none_is_left_after_closing(dog: DeadlineTimer) -> None:
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        timers.append(call_at(*args, **kwargs))  # type: ignore[arg-type]
        return timers[-1]

    loop.call_at = counted  # type: ignore[method-assign,assignment]
    try:
        watches = [dog.start(loop_time() + 60 + number) for number in range(1000)]
        assert len(timers) == 1
        earlier = dog.start(loop_time() + 30)
        assert [timer.cancelled() for timer in timers] == [True, False]
        for watch in (*watches, earlier):
            dog.stop(watch)
        dog.close()
        assert all(timer.cancelled() for timer in timers)
        dog.close()
    finally:
        loop.call_at = call_at  # type: ignore[method-assign]
