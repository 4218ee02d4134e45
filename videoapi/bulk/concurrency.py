"""The number of bulk items in flight: grows slowly on success and shrinks quickly under load."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_START: Final = 8
_DECREASE: Final = 0.7
_EPOCH: Final = 1.0


class AIMDLimit:
    """A concurrency limit with additive increase and multiplicative decrease, shared by all runs of an account.

    Starts at 8. Grows by one per `limit` successes while at least half of it is in use. Shrinks to 0.7
    of itself when the service is overloaded, at most once per second, so that a burst of errors counts once.

    Args:
        most: The maximum: the pool's connections.
        clock: Returns the current time in seconds.
    """

    __slots__ = ("_clock", "_exact", "_in_flight", "_most", "_shrunk_at", "_waiting", "limit")

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self.limit: int = min(_START, most)
        """The number of items that may be in flight now."""
        self._exact = float(self.limit)
        self._in_flight = 0
        self._shrunk_at: float | None = None
        self._waiting: deque[tuple[asyncio.Future[bool], object]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a slot if one is free, and return whether it did; give it back with `release`."""
        if self._in_flight >= self.limit:
            return False
        self._in_flight += 1
        return True

    async def acquire(self, run: object = None, must_stop: Callable[[], bool] = lambda: False) -> bool:
        """Wait for a slot and take it; give it back with `release`. Return False if the run ended first."""
        while not self.acquire_nowait():
            if must_stop():
                return False
            slot: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append((slot, run))
            try:
                if not await slot:
                    return False
            except asyncio.CancelledError:
                if slot.done() and not slot.cancelled():
                    self._wake()
                raise
        return True

    def end(self, run: object) -> None:
        """End the waits of a run."""
        waiting, self._waiting = self._waiting, deque()
        for slot, owner in waiting:
            if owner is not run:
                self._waiting.append((slot, owner))
            elif not slot.done():
                slot.set_result(False)

    def release(self) -> None:
        """Give a slot back."""
        self._in_flight -= 1
        if self._waiting:
            self._wake()

    def succeeded(self, workers: int | None = None) -> None:
        """Record the success of an item in flight; the limit grows up to the number of the run's workers."""
        if self.limit < (workers or self._most) and self._in_flight >= self._exact / 2:
            self._set(min(float(self._most), self._exact + 1 / self._exact))

    def overloaded(self) -> None:
        """Record a sign of overload: 429, 503 or a timeout."""
        now = self._clock()
        if self._shrunk_at is None or now - self._shrunk_at >= _EPOCH:
            self._shrunk_at = now
            self._set(max(1.0, self._exact * _DECREASE))

    def _set(self, exact: float) -> None:
        self._exact = exact
        self.limit = int(exact)

    def _wake(self) -> None:
        free = self.limit - self._in_flight
        while free > 0 and self._waiting:
            slot, _ = self._waiting.popleft()
            if not slot.done():
                slot.set_result(True)
                free -= 1
