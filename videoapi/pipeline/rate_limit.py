"""The local rate gate: at most so many requests in so much time, evenly spaced."""

from __future__ import annotations

import re
from typing import Final

from videoapi.errors import ConfigurationError

_RATE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|sec|second|min|minute|h|hour)\s*")
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}


def parse_rate(rate: str) -> float:
    """Return the seconds between two requests at a rate such as `600/min`, `10/s` or `5000/h`.

    Raises:
        ConfigurationError: It is no such text, or the rate is 0.

    >>> interval_of("600/min")
    0.1
    """
    match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigurationError(f"rate={rate!r}: give a text such as '600/min', '10/s' or '5000/h'.")
    return _SECONDS[match[2]] / float(match[1])


class RateLimiter:
    """Gives each request a slot, one interval after the one before.

    Slots are reserved, not polled for: whoever sleeps a little too long does not slow the others.
    """

    __slots__ = ("_next", "interval")

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds between two requests; 0 where nothing limits them."""
        self._next = 0.0

    def limit(self, interval: float) -> None:
        """Set the interval; of several clients of one account the slowest counts."""
        self.interval = max(self.interval, interval)

    def reserve(self, now: float, most: float) -> float | None:
        """Take the next slot.

        Args:
            now: The clock.
            most: Longest wait that makes sense, in seconds.

        Returns:
            Seconds until the slot; None, and no slot taken, where it comes too late.
        """
        slot = max(now, self._next)
        if slot - now >= most:
            return None
        self._next = slot + self.interval
        return slot - now
