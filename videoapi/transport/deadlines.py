"""One timer for the deadlines of many tasks.

A timer per call would cost a tenth of the call. Here a call only registers its deadline, and one timer of the event
loop wakes at the earliest of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

log: logging.Logger = logging.getLogger(__name__)

CLOSED: Final = "the client was closed"
_GRAIN: Final = 0.01
"""Shortest time between two checks, in seconds: ten thousand deadlines cost a hundred checks a second."""
_STALL: Final = 0.1
"""How late a check must be, in seconds, to conclude that the event loop was blocked."""
_GRACE: Final = 1.0
"""Longest extension after that, in seconds."""


def cancellations(task: asyncio.Task[object]) -> int:
    """Return how often a task was cancelled so far, without a cancellation that has yet to arrive in it.

    On Python 3.11 and 3.12, one that a failed `TaskGroup` made counts for the rest of the task.
    """
    return task.cancelling() - bool(getattr(task, "_must_cancel", False))


class Deadline:
    """One task's deadline; set `at` with `DeadlineTimer.reschedule`."""

    __slots__ = ("_before", "_cancelling", "at", "fired", "task")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self.task: asyncio.Task[object] = task
        self.at: float = at
        self.fired: bool = False
        self._cancelling = task.cancelling()
        self._before = cancellations(task) if self._cancelling else 0

    def expired(self) -> bool:
        """Return, in an `except CancelledError`, whether nothing but this deadline cancelled the task.

        The deadline is then ready for another time.
        """
        if not self.fired:
            return False
        self.fired = False
        return self.task.uncancel() <= self._cancelling

    def is_cancelled(self) -> bool:
        """Return, in an `except CancelledError`, whether the task was cancelled since, and not only user code."""
        return self.task.cancelling() > self._before

    def check(self) -> None:
        """Cancel the task again if user code has swallowed the cancellation of this deadline.

        Raises:
            asyncio.CancelledError: If it has passed.
        """
        if self.fired:
            raise asyncio.CancelledError

    def uncancel(self) -> None:
        """Withdraw a cancellation that became another exception on its way."""
        if self.fired:
            self.fired = False
            self.task.uncancel()


class DeadlineTimer:
    """Cancels tasks whose deadline has passed; closing it cancels all of them.

    Args:
        now: The clock on which deadlines are given.
    """

    __slots__ = ("__weakref__", "_extended_to", "_loop", "_timer", "_wakes_at", "closed", "limits", "now")

    def __init__(self, now: Callable[[], float]) -> None:
        self.now: Callable[[], float] = now
        self.limits: dict[Deadline, object] = {}
        """The registered deadlines, each with what it limits, as far as that was noted."""
        # Kept, because finding the running loop costs a system call on Python 3.11.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._extended_to = -math.inf
        """Until when the deadlines lie that are being extended."""
        self.closed: bool = False

    def start(self, at: float = math.inf) -> Deadline:
        """Register a deadline of the current task until `stop`; without `at`, only closing ends it."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        limit = Deadline(task, at)
        self.limits[limit] = None
        if self._timer is None or at < self._wakes_at:
            self._wake_by(at)
        return limit

    def reschedule(self, limit: Deadline, at: float) -> None:
        """Move a deadline."""
        limit.at = at
        if self._timer is None or at < self._wakes_at:
            self._wake_by(at)

    def is_current(self, limit: Deadline) -> bool:
        """Return whether the current task is the one of this deadline."""
        return asyncio.current_task(self._loop) is limit.task

    def stop(self, limit: Deadline) -> None:
        """Forget a deadline."""
        self.limits.pop(limit, None)
        if limit.fired:
            limit.uncancel()

    def close(self) -> None:
        """Cancel every registered task but the current one, and stop the timer."""
        self.closed = True
        closing = asyncio.current_task()
        for limit in self.limits:
            if not limit.fired and limit.task is not closing:
                limit.fired = True
                limit.task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_by(self, at: float) -> None:
        if at == math.inf or self._loop is None:
            return
        if self._timer is not None:
            if self._extended_to > -math.inf:
                # While deadlines are extended, an earlier check would end what they are extended for.
                return
            self._timer.cancel()
        now = self.now()
        self._wakes_at = max(at, now)
        self._timer = self._loop.call_later(self._wakes_at - now, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self.now()
        extended_to, extension = self._extended_to, self._extension(now)
        self._extended_to = now if extension else -math.inf
        earliest = math.inf
        for limit in self.limits:
            if limit.fired or (extension and limit.at > extended_to):
                continue
            if limit.at <= now:
                limit.fired = True
                limit.task.cancel()
            elif limit.at < earliest:
                earliest = limit.at
        self._wake_by(now + extension if extension else max(earliest, now + _GRAIN))

    def _extension(self, now: float) -> float:
        """Return by how much to extend deadlines after a blocked loop: a response that is overdue may be unread.

        Each is extended once, so that calls end although the loop is blocked again and again.
        """
        late = now - self._wakes_at
        if late <= _STALL:
            return 0.0
        extension = min(late, _GRACE)
        log.warning(
            "Event loop blocked for %.1f s; deadlines extended by %.1f s. Move blocking work to asyncio.to_thread().",
            late,
            extension,
        )
        return extension
