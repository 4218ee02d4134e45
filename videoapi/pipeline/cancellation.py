"""Whether a `CancelledError` cancels the task that it was raised in, or comes from user code that runs in it."""

from __future__ import annotations

import asyncio

from videoapi.errors import ConfigurationError
from videoapi.transport.deadlines import cancellations


class UserCodeCancelled(ConfigurationError):
    """User code raised `CancelledError` in a call that nothing cancels."""


class CancellationWatch:
    """Says, in an `except CancelledError`, whether the current task was cancelled since this was created.

    User code raises it too, for example by awaiting a task that was cancelled. A `TaskGroup` silently drops it then.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else cancellations(self._task)

    def is_cancelled(self) -> bool:
        """Return whether the task was cancelled."""
        return self._task is not None and self._task.cancelling() > self._before
