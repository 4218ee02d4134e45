"""Whether a `CancelledError` cancels the task that it was raised in, or comes from user code that runs in it."""

from __future__ import annotations

import asyncio

from videoapi.errors import ConfigurationError


class UserCodeCancelled(ConfigurationError):
    """User code raised `CancelledError` in a call that nothing cancels."""


def is_cancelled() -> bool:
    """Return, in an `except CancelledError`, whether this task is being cancelled, and not only user code was.

    User code raises it too, for example by awaiting a task that was cancelled. A `TaskGroup` silently drops it then.
    """
    # Not relative to an earlier count: a cancellation may be requested before a call, and arrive in it.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
