"""One timer for the deadlines of many tasks.

A timer for each call costs a tenth of the call; here each call only notes its deadline, and one
timer of the event loop wakes at the earliest of them. It does not trust the limits below it: each
attempt, its body included, ends here at the latest.
"""

from __future__ import annotations

import asyncio
from typing import Final

from videoapi.events import log

_GRAIN: Final = 0.01
"""Shortest time between two looks, in seconds: ten thousand deadlines cost a hundred looks a second."""
_STALL: Final = 0.1
"""How late a look must come, in seconds, for the loop to have been blocked."""
_GRACE: Final = 1.0
"""Longest postponement after that, in seconds."""


class Deadline:
    """One task's deadline, on the loop's clock; `deadline` may be moved while it runs."""

    __slots__ = ("_cancelling", "_uncancelled", "deadline", "fired", "task")

    def __init__(self, task: asyncio.Task[object], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.fired = False
        self._uncancelled = False
        self._cancelling = task.cancelling()

    def expired(self) -> bool:
        """Tell, in an `except CancelledError`, whether the deadline and nobody else cancelled the task."""
        if not self.fired or self._uncancelled:
            return False
        self._uncancelled = True
        return self.task.uncancel() <= self._cancelling

    def not_cancelled(self) -> bool:
        """Tell whether nobody has asked the task to end since the watch began."""
        return self.task.cancelling() <= self._cancelling

    def uncancel(self) -> None:
        """Take back a cancellation that something on its way turned into another exception."""
        if self.fired and not self._uncancelled:
            self._uncancelled = True
            self.task.uncancel()


class DeadlineTimer:
    """Cancels the tasks whose deadline has passed."""

    __slots__ = ("_limits", "_loop", "_postponed", "_timer", "_wakes_at", "closed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limits: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._postponed = False
        self.closed = False

    def start(self, deadline: float) -> Deadline:
        """Watch the current task until `stop`."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        limit = Deadline(task, deadline)
        self._limits[limit] = None
        if self._timer is None or deadline < self._wakes_at:
            self._wake_by(deadline)
        return limit

    def reschedule(self, limit: Deadline, deadline: float) -> None:
        """Give a watch another deadline."""
        limit.deadline = deadline
        self._wake_by(deadline)

    def stop(self, limit: Deadline) -> None:
        """Watch no more."""
        self._limits.pop(limit, None)
        if limit.fired:
            limit.uncancel()

    def close(self) -> None:
        """End what is still watched, as what it waits for will not come; then the timer."""
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
        """Look a second time after the loop was blocked: what is late by then may be here, and unread."""
        late = now - self._wakes_at
        self._postponed = not self._postponed and late > _STALL
        if self._postponed:
            log.warning("The event loop was blocked for %.1f s; keep such work in a thread.", late)
            self._wake_by(now + min(late, _GRACE))
        return self._postponed
