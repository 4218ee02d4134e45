"""Permits that limit how many requests are in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal


class Permits(asyncio.Semaphore):
    """A semaphore that reports its free permits and can be acquired without a coroutine.

    Args:
        value: The number of permits.
        before_wait: Called before `acquire` waits for a permit.
    """

    def __init__(self, value: int, before_wait: Callable[[], object] | None = None) -> None:
        super().__init__(value)
        self._before_wait = before_wait

    @property
    def free(self) -> int:
        return self._value

    @property
    def awaited(self) -> bool:
        """Whether a caller waits for a permit that has not been released yet."""
        return any(not waiter.done() for waiter in self._waiters or ())

    async def acquire(self) -> Literal[True]:
        if self._before_wait is not None and self.locked():
            self._before_wait()
        return await super().acquire()

    def acquire_nowait(self) -> bool:
        """Acquire a permit if `acquire` would not have to wait; return whether it was acquired."""
        if not self._value or self._waiters:
            return False
        self._value -= 1
        return True
