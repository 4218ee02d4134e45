"""Permits that limit how many requests are in flight."""

from __future__ import annotations

import asyncio


class Permits(asyncio.Semaphore):
    """A semaphore that reports its free permits and can be acquired without a coroutine."""

    @property
    def free(self) -> int:
        return self._value

    def acquire_nowait(self) -> bool:
        """Acquire a permit if `acquire` would not have to wait; return whether it was acquired."""
        if not self._value or self._waiters:
            return False
        self._value -= 1
        return True
