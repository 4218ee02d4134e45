"""How many items of a bulk run are in flight: a little more while all goes well, much less under load."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_START: Final = 8
_DECREASE: Final = 0.7
_EPOCH: Final = 1.0


class AIMDLimit:
    """Additive increase, multiplicative decrease.

    Starts at 8. Grows by one for each `limit` successes while at least half of it is used; shrinks to
    0.7 of itself when the service is overloaded, at most once a second, so that thirty answers of one
    moment are one sign and not thirty.

    Args:
        most: The run's `concurrency`.
        clock: Time in seconds.
    """

    __slots__ = ("_clock", "_exact", "_in_flight", "_most", "_shrunk_at", "_waiting", "limit")

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self.limit = min(_START, most)
        """How many may be in flight now."""
        self._exact = float(self.limit)
        self._in_flight = 0
        self._shrunk_at: float | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a place if one is free; each owes a `leave`."""
        if self._in_flight >= self.limit:
            return False
        self._in_flight += 1
        return True

    async def acquire(self) -> None:
        """Wait for a place; each `enter` owes a `leave`."""
        while not self.acquire_nowait():
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake()
                raise

    def release(self) -> None:
        """Give a place back."""
        self._in_flight -= 1
        if self._waiting:
            self._wake()

    def succeeded(self) -> None:
        """Note that an item in flight went well."""
        if self.limit < self._most and self._in_flight >= self._exact / 2:
            self._set(min(float(self._most), self._exact + 1 / self._exact))

    def overloaded(self) -> None:
        """Note that the service could not keep up: 429, 503, a time-out."""
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
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1
