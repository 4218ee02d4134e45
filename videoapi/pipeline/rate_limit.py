"""The rate limit of an account: parsing, and even spacing."""

from __future__ import annotations

import math
import re
from typing import Final

from videoapi.errors import ConfigurationError

_RATE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|sec|second|min|minute|h|hour)\s*")
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}


def parse_rate(rate: str) -> float:
    """Return the seconds between two requests at a rate such as `600/min`, `10/s` or `5000/h`.

    Raises:
        ConfigurationError: If the text has another form, or the rate is 0.

    >>> parse_rate("600/min")
    0.1
    """
    match = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigurationError(f"rate={rate!r}: give a text such as '600/min', '10/s' or '5000/h'.")
    return _SECONDS[match[2]] / float(match[1])


_CATCH_UP: Final = 0.03
"""How much time a fast rate makes up for after a late wake-up, in seconds."""


class RateLimiter:
    """Spaces requests evenly. An idle time earns no burst."""

    __slots__ = ("_latest", "_next", "interval")

    def __init__(self) -> None:
        self.interval: float = 0.0
        """Seconds between two requests; 0 for no limit."""
        self._latest = -math.inf
        self._next = 0.0

    def __str__(self) -> str:
        per_second = 1 / self.interval if self.interval else 0.0
        return f"{per_second:g}/s" if per_second >= 1 else f"{60 * per_second:g}/min"

    def set(self, interval: float) -> None:
        """Change the interval; it counts from the latest request."""
        if interval != self.interval:
            self.interval = interval
            self._next = self._latest + interval

    def reserve(self, now: float) -> float:
        """Take the slot that is due and return 0, or return the seconds until the next one."""
        if not self.interval:
            return 0.0
        if now < self._next:
            return self._next - now
        # Timers wake up late. Shifting every slot by that would make a rate of hundreds a second much slower.
        credit = _CATCH_UP if self.interval < _CATCH_UP else 0.0
        self._latest = max(self._next, now - credit)
        self._next = self._latest + self.interval
        return 0.0
