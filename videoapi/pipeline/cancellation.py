"""Whether a `CancelledError` cancels the task that it was raised in, or comes from user code that runs in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, NoReturn, TypeVar

from videoapi.errors import ConfigurationError
from videoapi.transport.deadlines import cancellations

T = TypeVar("T")


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


class Iteration(Generic[T]):
    """An iteration over an async generator, which a cancellation does not end without an error.

    A cancellation, such as by a timeout around `anext`, ends a generator: from then on, it seems to be at its end.

    Args:
        generator: The generator.
        resumed: Called before each step. If the last generator was cancelled, returns another one, or raises; otherwise
            returns None.
        close: Closes what the generator reads from, which it does not do itself once it was cancelled.
    """

    __slots__ = ("__weakref__", "_close", "_generator", "_resumed")

    def __init__(
        self,
        generator: AsyncGenerator[T, None],
        resumed: Callable[[], AsyncGenerator[T, None] | None],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._generator = generator
        self._resumed = resumed
        self._close = close

    def __aiter__(self) -> Iteration[T]:
        return self

    def __anext__(self) -> Awaitable[T]:
        # Not a coroutine of its own, which would slow down streams of records.
        try:
            generator = self._resumed()
        except Exception as error:
            # `anext` with a default value crashes the interpreter if this raises.
            return _raise(error)
        if generator is not None:
            self._generator = generator
        return self._generator.__anext__()

    async def aclose(self) -> None:
        """Close the generator."""
        await self._generator.aclose()
        if self._close is not None:
            await self._close()


async def _raise(error: Exception) -> NoReturn:
    raise error
