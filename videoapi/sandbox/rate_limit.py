"""The rate limit that the sandbox enforces."""

import re
import time
from collections import deque
from collections.abc import Callable

import attrs

_RATE = re.compile(r"\s*([0-9]{1,9})(?:\.0)?\s*(?:/\s*(s|sec|second|min|minute|h|hour))?\s*")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_SHORT = {"sec": "s", "second": "s", "minute": "min", "hour": "h"}
_NANOSECONDS = 1_000_000_000


@attrs.frozen
class RateLimit:
    """A limit on the number of requests within any period of a given length.

    Args:
        requests: Maximum number of requests; 0 rejects all.
        unit: The length of the period: `s`, `min` or `h`.
    """

    requests: int
    unit: str = "s"

    @classmethod
    def parse(cls, value: object) -> "RateLimit":
        """Parse `20/s`, `600/min`, `5000/h`, or a number of requests per second.

        Args:
            value: The text or number; a `RateLimit` is returned unchanged.

        Raises:
            ValueError: If the value has another form.
        """
        if isinstance(value, cls):
            return value
        found = _RATE.fullmatch(str(value))
        if found is None:
            raise ValueError(f"{value!r} is not a rate such as '20/s', '600/min' or '5000/h'")
        unit = found[2] or "s"
        return cls(int(found[1]), _SHORT.get(unit, unit))

    def __str__(self) -> str:
        return f"{self.requests}/{self.unit}"

    @property
    def nanoseconds(self) -> int:
        """The length of the period in nanoseconds."""
        return _SECONDS[self.unit] * _NANOSECONDS


class SlidingLimiter:
    """Accepts at most as many requests as a limit says within any of its periods. Refused requests do not count.

    Args:
        clock: Returns a monotonic time in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._accepted: deque[int] = deque()

    def refuse(self, limit: RateLimit) -> float | None:
        """Accept a request and return None, or return in how many seconds the next one is accepted."""
        now, accepted = self._clock(), self._accepted
        begin = now - limit.nanoseconds
        while accepted and accepted[0] <= begin:
            accepted.popleft()
        if len(accepted) < limit.requests:
            accepted.append(now)
            return None
        # With a limit that was lowered since, more than one must have left the period.
        leaves = accepted[len(accepted) - limit.requests] if limit.requests else now
        return (leaves - begin) / _NANOSECONDS

    def clear(self) -> None:
        """Forget what was accepted."""
        self._accepted.clear()
