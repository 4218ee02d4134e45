"""State shared by all calls of one account: the retry budget and the pauses after errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import attrs

from videoapi.pipeline.clock import Clock
from videoapi.pipeline.rate_limit import RateLimiter
from videoapi.protocol.backoff import add_jitter, jitter
from videoapi.protocol.types import Verdict

_CAPACITY: Final = 500.0
_LONGEST_ASKED: Final = 300.0
"""Longest pause of an account that one `Retry-After` can cause, in seconds."""
_COSTS: Final = {Verdict.UNKNOWN: 10.0, Verdict.NOT_SENT: 10.0, Verdict.THROTTLED: 5.0}


class RetryBudget:
    """A token bucket that limits the retries of one account.

    It holds 500 tokens. A retry costs 10, or 5 after a throttled attempt. A success at the first
    attempt returns 1; a success after retries returns the cost of the last retry. In a total outage,
    N calls therefore send at most N + 50 requests.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _CAPACITY

    @property
    def left(self) -> float:
        return self._left

    def spend(self, verdict: Verdict) -> float | None:
        """Deduct the cost of a retry and return it, or return None if too little is left."""
        cost = _COSTS[verdict]
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def succeeded(self, last_cost: float) -> None:
        """Refund the cost of the last retry, or 1 if the first attempt succeeded."""
        if self._left < _CAPACITY:
            self._left = min(_CAPACITY, self._left + (last_cost or 1.0))


class PauseGate:
    """A gate that pauses requests after errors, then admits one probe at a time until one succeeds.

    Single calls only wait for the pause to end (`pause_left`). Bulk items also take turns (`enter`),
    so that an outage costs a few probes instead of one attempt per item.
    """

    __slots__ = ("_base", "_cap", "_changed", "_clock", "_probing", "_since", "_streak", "_until", "closed")

    def __init__(self, clock: Clock, *, base: float, cap: float) -> None:
        self._clock = clock
        self._base = base
        self._cap = cap
        self._until = 0.0
        self._since = 0.0
        self.closed = False
        self._probing = False
        self._streak = 0
        self._changed: asyncio.Event | None = None

    def pause_left(self) -> float:
        """Return the seconds until the pause ends, or 0 without a pause."""
        return max(0.0, self._until - self._clock.now()) if self.closed else 0.0

    def pause(self, retry_after: float | None = None) -> None:
        """Start or extend the pause, by up to 300 s of `retry_after`; errors during a pause count once."""
        now = self._clock.now()
        if not self.closed or now >= self._until:
            self._streak += 1
        wait = jitter(self._base, self._cap, self._streak, self._clock.random())
        wait = max(wait, self._base / 2)  # Full jitter can be near 0, and probes would follow without a pause.
        if retry_after is not None:
            wait = max(wait, add_jitter(min(retry_after, _LONGEST_ASKED), self._clock.random()))
        if not self.closed or now >= self._until or retry_after is not None:
            self._until = max(self._until, now + wait)
        self.closed = True
        self._since = now
        self._wake()

    def resume(self, began: float) -> None:
        """Open the gate, unless the successful attempt started before the last error.

        Args:
            began: When the attempt started, in seconds of `Clock.now`.
        """
        if self.closed and began >= self._since:
            self.closed = False
            self._streak = 0
            self._wake()

    async def enter(self, gives_up: Callable[[], bool]) -> bool:
        """Wait until the gate is open or admits this item as the probe.

        Args:
            gives_up: Called before each wait; true ends the waiting.

        Returns:
            Whether this item is the probe and must call `leave`.
        """
        while self.closed and not gives_up():
            left = self.pause_left()
            if left > 0:
                # Sleep briefly, so that a long pause does not delay the end of a stopped run.
                await self._clock.sleep(min(left, 0.5))
            elif self._probing:
                await self._wait_for_change()
            else:
                self._probing = True
                return True
        return False

    def leave(self) -> None:
        """End the turn of the probe."""
        self._probing = False
        self._wake()

    async def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


@attrs.frozen
class AccountState:
    """The state shared by all calls of one account at one origin."""

    clock: Clock
    budget: RetryBudget
    throttle: PauseGate
    """Pauses after 429 and other throttling; one per account."""
    connect: PauseGate
    """Pauses after a failed connect; one per origin."""
    rate: RateLimiter
    """Spaces the account's requests if a rate is set."""

    def succeeded(self, began: float, last_cost: float) -> None:
        """Record a success: refund the last retry and open the gates."""
        self.budget.succeeded(last_cost)
        if self.throttle.closed:
            self.throttle.resume(began)
        if self.connect.closed:
            self.connect.resume(began)


class AccountRegistry:
    """The account states of one session manager, by origin and APP_ID."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[tuple[str, str], AccountState] = {}
        self._connects: dict[str, PauseGate] = {}

    def of(self, origin: str, app_id: str) -> AccountState:
        """Return the state of one account at one origin, shared by all its clients."""
        account = self._accounts.get((origin, app_id))
        if account is None:
            connect = self._connects.setdefault(origin, PauseGate(self._clock, base=0.1, cap=2.0))
            throttle = PauseGate(self._clock, base=1.0, cap=20.0)
            account = self._accounts[origin, app_id] = AccountState(
                self._clock, RetryBudget(), throttle, connect, RateLimiter()
            )
        return account
