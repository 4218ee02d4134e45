"""How many items of a bulk run are in flight: a little more while all goes well, much less under load."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_START: Final = 8
_DECREASE: Final = 0.7
_EPOCH: Final = 1.0


class Window:
    """Additive increase, multiplicative decrease.

    Starts at 8. Grows by one for each `limit` successes while at least half of it is used; shrinks to
    0.7 of itself when the service is overloaded, at most once a second, so that thirty answers of one
    moment are one sign and not thirty.

    Args:
        most: The run's `concurrency`.
        clock: Time in seconds.
    """

    __slots__ = ("_clock", "_in_flight", "_limit", "_most", "_shrunk_at", "_waiting")

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._limit = float(min(_START, most))
        self._in_flight = 0
        self._shrunk_at: float | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return int(self._limit)

    async def enter(self) -> None:
        """Wait for a place; each `enter` owes a `leave`."""
        while self._in_flight >= int(self._limit):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._wake()
                raise
        self._in_flight += 1

    def leave(self) -> None:
        """Give a place back."""
        self._in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """Note that an item in flight went well."""
        if self._limit < self._most and self._in_flight >= self._limit / 2:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)

    def overloaded(self) -> None:
        """Note that the service could not keep up: 429, 503, a time-out."""
        now = self._clock()
        if self._shrunk_at is None or now - self._shrunk_at >= _EPOCH:
            self._shrunk_at = now
            self._limit = max(1.0, self._limit * _DECREASE)

    def _wake(self) -> None:
        free = int(self._limit) - self._in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1
