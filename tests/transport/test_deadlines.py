"""The deadline timer cancels exactly the expired tasks, and loses no other cancellation."""

from __future__ import annotations

import asyncio
import math

import pytest

from videoapi.transport.deadlines import Deadline, DeadlineTimer

SOON = 0.005


def loop_time() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def timer() -> DeadlineTimer:
    return DeadlineTimer(loop_time)


def this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def wait_forever() -> None:
    await asyncio.get_running_loop().create_future()


async def run_until(timer: DeadlineTimer, deadline: float, work: object = None) -> str:
    """Wait under a deadline, as each attempt does, and return how the wait ended."""
    limit = timer.start(deadline)
    try:
        await (wait_forever() if work is None else work)  # type: ignore[misc]
    except asyncio.CancelledError:
        if not limit.expired():
            raise
        return "timed out"
    finally:
        timer.stop(limit)
    return "done"


async def test_expired_deadline_cancels_the_task_cleanly(timer: DeadlineTimer) -> None:
    began = loop_time()
    assert await run_until(timer, began + SOON) == "timed out"
    assert loop_time() >= began + SOON
    assert this_task().cancelling() == 0
    await asyncio.sleep(0)


async def test_deadline_in_the_past_expires_at_once(timer: DeadlineTimer) -> None:
    assert await run_until(timer, loop_time() - 1) == "timed out"


async def test_task_that_finishes_in_time_is_not_cancelled(timer: DeadlineTimer) -> None:
    assert await run_until(timer, loop_time() + 60, asyncio.sleep(0)) == "done"
    assert this_task().cancelling() == 0
    timer.close()


async def test_deadline_can_be_moved_earlier_and_later(timer: DeadlineTimer) -> None:
    deadline = timer.start(loop_time() + 60)
    timer.reschedule(deadline, loop_time() + SOON)
    with pytest.raises(asyncio.CancelledError):
        await wait_forever()
    assert deadline.expired()
    timer.stop(deadline)
    later = timer.start(loop_time() + SOON)
    timer.reschedule(later, loop_time() + 60)
    await asyncio.sleep(SOON * 4)
    assert not later.fired
    timer.stop(later)
    timer.close()


async def test_deadline_that_expired_can_expire_a_second_time(timer: DeadlineTimer) -> None:
    """Each attempt of a call moves the call's deadline."""
    deadline = timer.start(loop_time() + 60)
    for _ in range(2):
        timer.reschedule(deadline, loop_time() + SOON)
        with pytest.raises(asyncio.CancelledError):
            await wait_forever()
        assert deadline.expired()
        assert this_task().cancelling() == 0
    timer.stop(deadline)
    assert not timer.limits


async def test_deadline_is_given_on_the_clock_of_the_timer() -> None:
    hour = 3600.0
    timer = DeadlineTimer(lambda: loop_time() + hour)
    async with asyncio.timeout(5):
        assert await run_until(timer, loop_time() + hour / 2) == "timed out"
        assert await run_until(timer, loop_time() + hour + SOON) == "timed out"
    assert await run_until(timer, loop_time() + 2 * hour, asyncio.sleep(SOON * 4)) == "done"
    timer.close()


async def test_close_ends_every_waiting_task_at_once(timer: DeadlineTimer) -> None:
    ended: list[bool] = []

    async def wait(at: float) -> None:
        limit = timer.start(at)
        try:
            await wait_forever()
        except asyncio.CancelledError:
            ended.append(limit.expired())
        finally:
            timer.stop(limit)

    tasks = [asyncio.ensure_future(wait(at)) for at in (loop_time() + 60, math.inf)]
    await asyncio.sleep(0)
    own = timer.start()
    timer.close()
    # One turn of the event loop delivers the cancellations; the task that closes is spared.
    await asyncio.sleep(0)
    assert ended == [True, True]
    assert [task.cancelling() for task in tasks] == [0, 0]
    assert (own.fired, this_task().cancelling(), timer.closed) == (False, 0, True)
    timer.stop(own)


async def test_close_does_not_hide_a_cancellation_by_the_caller(timer: DeadlineTimer) -> None:
    task = asyncio.ensure_future(run_until(timer, loop_time() + 60))
    await asyncio.sleep(0)
    timer.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_cancellation_by_the_caller_propagates(timer: DeadlineTimer) -> None:
    task = asyncio.ensure_future(run_until(timer, loop_time() + 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    timer.close()


async def test_cancellation_by_the_caller_wins_over_a_simultaneous_deadline(timer: DeadlineTimer) -> None:
    task = asyncio.ensure_future(run_until(timer, loop_time() + 60))
    await asyncio.sleep(0)
    (deadline,) = timer.limits
    task.cancel()
    expire(deadline)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    timer.close()


async def test_cancellation_after_the_deadline_fired_is_not_swallowed(timer: DeadlineTimer) -> None:
    task = asyncio.ensure_future(run_until(timer, loop_time() + 60))
    await asyncio.sleep(0)
    (deadline,) = timer.limits
    expire(deadline)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    timer.close()


def expire(deadline: Deadline) -> None:
    deadline.fired = True
    deadline.task.cancel()


async def test_deadline_works_in_a_task_that_is_being_cancelled(timer: DeadlineTimer) -> None:
    """A call made during cleanup has its own deadline, and the task's cancellation still applies afterwards."""
    ended: list[str] = []

    async def clean_up() -> None:
        try:
            await wait_forever()
        except asyncio.CancelledError:
            ended.append(await run_until(timer, loop_time() + SOON))
            assert this_task().cancelling() == 1
            raise

    task = asyncio.ensure_future(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["timed out"]


async def test_deadline_expires_first_inside_a_longer_timeout_of_the_caller(timer: DeadlineTimer) -> None:
    async with asyncio.timeout(60):
        assert await run_until(timer, loop_time() + SOON) == "timed out"
        await asyncio.sleep(0)
    assert this_task().cancelling() == 0


async def test_shorter_timeout_of_the_caller_raises_its_own_timeout_error(timer: DeadlineTimer) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await run_until(timer, loop_time() + 60)
    assert this_task().cancelling() == 0
    timer.close()


async def test_shorter_inner_timeout_does_not_trigger_the_deadline(timer: DeadlineTimer) -> None:
    async def inner() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await wait_forever()

    assert await run_until(timer, loop_time() + 60, inner()) == "done"
    timer.close()


async def test_cancellation_is_undone_when_turned_into_another_error(timer: DeadlineTimer) -> None:
    async def raise_another_error() -> None:
        try:
            await wait_forever()
        except asyncio.CancelledError:
            raise OSError("broken") from None

    with pytest.raises(OSError, match="broken"):
        await run_until(timer, loop_time() + SOON, raise_another_error())
    assert this_task().cancelling() == 0
    async with asyncio.timeout(60):
        await asyncio.sleep(0)


async def test_cancellation_is_undone_when_swallowed(timer: DeadlineTimer) -> None:
    async def swallow() -> None:
        try:
            await wait_forever()
        except asyncio.CancelledError:
            return

    assert await run_until(timer, loop_time() + SOON, swallow()) == "done"
    assert this_task().cancelling() == 0


async def test_each_of_a_thousand_tasks_ends_at_its_own_deadline(timer: DeadlineTimer) -> None:
    now = loop_time()
    ends: list[float] = []

    async def one(number: int) -> str:
        deadline = now + 0.02 + (number * 7919 % 1000) / 20_000
        how = await run_until(timer, deadline if number % 2 else now + 60, None if number % 2 else asyncio.sleep(0))
        if number % 2:
            ends.append(loop_time() - deadline)
        return how

    # Far longer than needed: a missed check would never be made up for.
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*(one(number) for number in range(2000)))
    assert outcomes == ["done", "timed out"] * 1000
    assert min(ends) >= 0
    assert not timer.limits
    timer.close()


async def test_one_event_loop_timer_serves_all_and_none_remains_after_close(timer: DeadlineTimer) -> None:
    loop = asyncio.get_running_loop()
    handles: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> asyncio.TimerHandle:
        handles.append(call_at(*args, **kwargs))  # type: ignore[arg-type]
        return handles[-1]

    loop.call_at = counted  # type: ignore[method-assign,assignment]
    try:
        deadlines = [timer.start(loop_time() + 60 + number) for number in range(1000)]
        assert len(handles) == 1
        earlier = timer.start(loop_time() + 30)
        assert [handle.cancelled() for handle in handles] == [True, False]
        for deadline in (*deadlines, earlier):
            timer.stop(deadline)
        timer.close()
        assert all(handle.cancelled() for handle in handles)
        timer.close()
    finally:
        loop.call_at = call_at  # type: ignore[method-assign]


@pytest.mark.parametrize("moves", [False, True], ids=["another call begins", "another deadline is moved"])
async def test_extension_after_a_blocked_loop_holds_though_an_earlier_deadline_is_registered(moves: bool) -> None:
    now = loop_time()
    timer = DeadlineTimer(lambda: now)
    overdue = asyncio.create_task(run_until(timer, now + 1))
    other = timer.start(now + 5)
    await asyncio.sleep(0)
    # The loop was blocked for a second: the response to the first call may be there, unread.
    now += 2
    timer._check()
    if moves:
        timer.reschedule(other, now + 0.01)
    else:
        timer.stop(timer.start(now + 0.01))
    await asyncio.sleep(0.05)
    assert not overdue.done()
    now += 1.1
    timer.stop(other)
    timer._check()
    assert await overdue == "timed out"


async def test_second_block_extends_the_deadlines_that_it_has_passed_and_no_others() -> None:
    now = loop_time()
    timer = DeadlineTimer(lambda: now)
    first, second = (asyncio.create_task(run_until(timer, now + due)) for due in (0.3, 1.0))
    await asyncio.sleep(0)
    for blocked in (0.6, 0.8):
        now += blocked
        timer._check()
    assert await first == "timed out"
    # The response to the second call may have arrived while the loop was blocked.
    await asyncio.sleep(0.05)
    assert not second.done()
    now += 0.9
    timer._check()
    assert await second == "timed out"
