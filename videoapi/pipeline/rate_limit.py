"""The client-side rate limit, which spaces requests evenly."""

from __future__ import annotations

import re
from typing import Final

from videoapi.errors import ConfigurationError

_RATE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|sec|second|min|minute|h|hour)\s*")
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}


def parse_rate(rate: str) -> float:
    """Return the seconds between two requests at a rate such as `600/min`, `10/s` or `5000/h`.

    Raises:
        ConfigurationError: If `rate` is malformed or 0.

    >>> parse_rate("600/min")
    0.1
    """
    match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigurationError(f"rate={rate!r}: give a text such as '600/min', '10/s' or '5000/h'.")
    return _SECONDS[match[2]] / float(match[1])


class RateLimiter:
    """A rate limiter that gives each request a time slot, one interval after the previous one.

    Slots are reserved, not polled: a request that oversleeps does not delay the others.
    """

    __slots__ = ("_next", "interval")

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds between two requests; 0 means unlimited."""
        self._next = 0.0

    def limit(self, interval: float) -> None:
        """Raise the interval to at least `interval` seconds: the slowest client of an account sets the rate."""
        self.interval = max(self.interval, interval)

    def reserve(self, now: float, most: float) -> float | None:
        """Reserve the next slot.

        Args:
            now: The current time of the clock, in seconds.
            most: The wait, in seconds, from which on the slot is too late.

        Returns:
            Seconds until the slot, or None (and nothing is reserved) if it is too late.
        """
        slot = max(now, self._next)
        if slot - now >= most:
            return None
        self._next = slot + self.interval
        return slot - now
