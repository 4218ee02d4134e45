"""The lease of a shard, and the fence that it puts around the creates of a run."""

from __future__ import annotations

import math
import weakref
from typing import Final, Protocol

from videoapi.errors import LeaseLost

MARGIN: Final = 1.0
"""Seconds by which a lease must outlast an attempt: by as much, a blocked event loop extends a deadline."""


class Lease(Protocol):
    """The right to create the rooms of one shard of a job, held by one worker at a time.

    `RedisLeases` provides leases; any object with these two members is a lease. What a lease says about earlier holders
    applies to the first run under it: a later run treats it as neither `fresh` nor `idle`.

    A lease may also have `idle`, a float: the seconds, when the lease was taken, for which certainly no earlier holder
    of the shard had sent anything. If it is missing or 0, an earlier holder may have sent until the run begins.
    """

    @property
    def fresh(self) -> bool:
        """Whether it is certain that this shard was never leased before, so that it has no rooms."""
        ...

    def left(self) -> float:
        """Return the seconds for which the lease is still held, by a monotonic clock.

        The time is measured from before the request that took or renewed the lease. The run calls this before each
        create and while it waits: it must return at once, from any thread.
        """
        ...


class Leases:
    """The leases under which runs of this process have begun."""

    def __init__(self) -> None:
        self._used: dict[int, weakref.ref[Lease]] = {}

    def is_first_run(self, lease: Lease) -> bool:
        """Return whether certainly no run has begun under a lease before, and record that one begins.

        An earlier run under the same lease may have sent creates, too, of which the lease knows nothing.
        """
        key = id(lease)
        found = self._used.get(key)
        if found is not None and found() is lease:
            return False

        def forget(gone: weakref.ref[Lease]) -> None:
            # Another object may have the same ID since.
            if self._used.get(key) is gone:
                del self._used[key]

        try:
            self._used[key] = weakref.ref(lease, forget)
        except TypeError:
            # Such as an object with slots, which may have been used before.
            return False
        return True


def is_fresh(lease: Lease) -> bool:
    """Return whether a lease says that its shard was never leased before."""
    try:
        return lease.fresh is True
    except Exception:
        return False


def idle_of(lease: Lease) -> float:
    """Return for how many seconds no earlier holder of a lease can have sent anything; 0 if it does not say."""
    try:
        idle: object = getattr(lease, "idle", 0.0)
        if isinstance(idle, bool) or not isinstance(idle, int | float) or not math.isfinite(idle):
            return 0.0
        return max(0.0, float(idle))
    except Exception:
        return 0.0


class Fence:
    """Lets creates pass as long as their lease outlasts them; once it does not, none passes any more.

    Args:
        lease: The lease of the run.
        attempt_timeout: Limit of one attempt, in seconds.
    """

    __slots__ = ("_attempt", "_lease", "error")

    def __init__(self, lease: Lease, attempt_timeout: float) -> None:
        self._lease = lease
        self._attempt = attempt_timeout
        self.error: LeaseLost | None = None
        """Why nothing passes any more; None as long as the lease is held."""

    def lets_pass(self) -> bool:
        """Return whether a create may be written now."""
        return self._lasts(self._attempt + MARGIN)

    def stands(self) -> bool:
        """Return whether the lease is still held, and nothing was refused."""
        return self._lasts(0.0)

    def _lasts(self, seconds: float) -> bool:
        if self.error is not None:
            return False
        try:
            left = self._lease.left()
            # False for NaN, too.
            lasts = left >= seconds and left > 0
        except Exception as error:
            self.error = _lost(f"does not say how long it is held: it raised {type(error).__name__}")
            self.error.__cause__ = error
            return False
        if not lasts:
            self.error = _lost(self._lack(left))
        return lasts

    def _lack(self, left: float) -> str:
        needed = f"{self._attempt:g} s (attempt_timeout) and {MARGIN:g} s more"
        if left > 0:
            return f"ends in {left:.1f} s, and a create may take {needed}"
        return f"has ended; a create may take {needed}"


def _lost(what: str) -> LeaseLost:
    return LeaseLost(
        f"The lease of this run {what}. Nothing more is sent. "
        "Run the same specs again as soon as their lease can be had.",
        retryable=True,
    )
