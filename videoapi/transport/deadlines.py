"""One timer for the deadlines of many tasks.

A timer per call costs a tenth of the call. Here, one event loop timer fires at the earliest deadline.
It does not rely on lower-level timeouts: each attempt, including its body, ends by its deadline.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

log: Final = logging.getLogger("videoapi")
_GRAIN: Final = 0.01
"""Minimum interval between two checks, in seconds: at most 100 checks per second for any number of deadlines."""
_STALL: Final = 0.1
"""Delay of a check, in seconds, above which the event loop counts as blocked."""
_GRACE: Final = 1.0
"""Maximum postponement after a blocked loop, in seconds."""
_BLOCKED: Final = "The event loop was blocked for %.1f s; deadlines extended by %.1f s. Use asyncio.to_thread()."


class Deadline:
    """The deadline of one task, on the event loop's clock; `deadline` may change while the task runs."""

    __slots__ = ("_cancelling", "_uncancelled", "deadline", "fired", "task")

    def __init__(self, task: asyncio.Task[object], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.fired = False
        self._uncancelled = False
        self._cancelling = task.cancelling()

    def expired(self) -> bool:
        """Return, in `except CancelledError`, whether only the deadline cancelled the task, and undo that."""
        if not self.fired or self._uncancelled:
            return False
        self._uncancelled = True
        return self.task.uncancel() <= self._cancelling

    def not_cancelled(self) -> bool:
        """Return whether the task has not been cancelled since the deadline was set."""
        return self.task.cancelling() <= self._cancelling

    def uncancel(self) -> None:
        """Undo the deadline's cancellation if other code turned it into another exception."""
        if self.fired and not self._uncancelled:
            self._uncancelled = True
            self.task.uncancel()


class DeadlineTimer:
    """A timer that cancels the tasks whose deadline has passed."""

    __slots__ = ("_limits", "_loop", "_postponed", "_timer", "_wakes_at", "closed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limits: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._postponed = False
        self.closed = False

    def start(self, deadline: float) -> Deadline:
        """Set a deadline, on the loop's clock, for the current task; `stop` removes it."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        limit = Deadline(task, deadline)
        self._limits[limit] = None
        if self._timer is None or deadline < self._wakes_at:
            self._wake_by(deadline)
        return limit

    def reschedule(self, limit: Deadline, deadline: float) -> None:
        """Move a deadline."""
        limit.deadline = deadline
        self._wake_by(deadline)

    def stop(self, limit: Deadline) -> None:
        """Remove a deadline."""
        self._limits.pop(limit, None)
        if limit.fired:
            limit.uncancel()

    def close(self) -> None:
        """Cancel the tasks that still have a deadline, because no more data will arrive, and stop the timer."""
        self.closed = True
        closing = asyncio.current_task(self._loop)
        for limit in self._limits:
            if not limit.fired and limit.task is not closing:
                limit.fired = True
                limit.task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_by(self, deadline: float) -> None:
        if self._timer is not None:
            if self._wakes_at <= deadline:
                return
            self._timer.cancel()
        self._wakes_at = max(deadline, self._loop.time())
        self._timer = self._loop.call_at(self._wakes_at, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._postpone(now):
            return
        earliest: float | None = None
        for limit in self._limits:
            if limit.fired:
                continue
            if limit.deadline <= now:
                limit.fired = True
                limit.task.cancel()
            elif earliest is None or limit.deadline < earliest:
                earliest = limit.deadline
        if earliest is not None:
            self._wake_by(max(earliest, now + _GRAIN))

    def _postpone(self, now: float) -> bool:
        """Postpone the check once after the loop was blocked: responses may have arrived that were not read yet."""
        late = now - self._wakes_at
        self._postponed = not self._postponed and late > _STALL
        if self._postponed:
            log.warning(_BLOCKED, late, min(late, _GRACE))
            self._wake_by(now + min(late, _GRACE))
        return self._postponed
