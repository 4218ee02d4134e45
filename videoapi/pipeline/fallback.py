"""The rate of an account within one process, for all of its event loops together."""

from __future__ import annotations

import os
import threading
from typing import Any, Final
from weakref import WeakValueDictionary

from videoapi.pipeline.clock import Clock, LoopClock
from videoapi.pipeline.rate_limit import RateLimiter


class FallbackRate:
    """What an account may send in this process while its shared gate does not answer.

    Session managers know nothing of each other: each one in a thread or an event loop of its own would take the part
    of the whole process. Use `fallback_rate` to get the one that they share.
    """

    def __init__(self) -> None:
        self._rate = RateLimiter()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return str(self._rate)

    def set(self, interval: float) -> None:
        """Change the seconds between two requests; they count from the latest one."""
        with self._lock:
            self._rate.set(interval)

    def reserve(self, now: float) -> float:
        """Take the slot that is due and return 0, or return the seconds until the next one."""
        with self._lock:
            return self._rate.reserve(now)


_rates: Final[WeakValueDictionary[tuple[Any, ...], FallbackRate]] = WeakValueDictionary()
_lock: Final = threading.Lock()


def fallback_rate(account: str, clock: Clock) -> FallbackRate:
    """Return the rate of an account, which ends with the last that uses it.

    Args:
        account: The account's name, with its origin.
        clock: That of the caller. The clocks of all event loops are one; one of a test is its own.
    """
    # By process: a fork has none of its parent.
    key = (os.getpid(), account, None if isinstance(clock.now, LoopClock) else clock.now)
    with _lock:
        found = _rates.get(key)
        if found is None:
            found = _rates[key] = FallbackRate()
        return found
