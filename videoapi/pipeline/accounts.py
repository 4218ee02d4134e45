"""What the calls of one account share: the retry budget, and the gates that close after trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import attrs

from videoapi.pipeline.clock import Clock
from videoapi.pipeline.rate_limit import RateLimiter
from videoapi.protocol.backoff import add_jitter, jitter
from videoapi.protocol.verdicts import Verdict

_CAPACITY: Final = 500.0
_LONGEST_ASKED: Final = 300.0
"""Longest pause that one answer can put upon all calls of an account, in seconds."""
_COSTS: Final = {Verdict.UNKNOWN: 10.0, Verdict.NOT_SENT: 10.0, Verdict.THROTTLED: 5.0}


class RetryBudget:
    """How many retries an account may still spend.

    A bucket of 500: a retry costs 10, after "come back later" 5; a success at the first attempt
    gives 1 back, a success after retries what the last one cost. At a total outage N calls so send
    at most N + 50 requests.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _CAPACITY

    @property
    def left(self) -> float:
        return self._left

    def spend(self, verdict: Verdict) -> float | None:
        """Take what a retry costs, and return it; None, and nothing taken, where too little is left."""
        cost = _COSTS[verdict]
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def succeeded(self, last_cost: float) -> None:
        """Give back: what the last retry cost, or 1 where the first attempt succeeded."""
        if self._left < _CAPACITY:
            self._left = min(_CAPACITY, self._left + (last_cost or 1.0))


class PauseGate:
    """Closed for a while after trouble; then open to one at a time, until one succeeds.

    Single calls only wait for the pause to end (`passed`). Bulk items also take turns (`enter`), so
    that an outage costs a few probes and not one try an item.
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
        """Return the seconds until the pause ends; 0 where there is none."""
        return max(0.0, self._until - self._clock.now()) if self.closed else 0.0

    def pause(self, retry_after: float | None = None) -> None:
        """Close the gate, or lengthen its pause; many at the same moment count once."""
        now = self._clock.now()
        if not self.closed or now >= self._until:
            self._streak += 1
        wait = jitter(self._base, self._cap, self._streak, self._clock.random())
        # A pause of nearly nothing would make a storm of the probes themselves.
        wait = max(wait, self._base / 2)
        if retry_after is not None:
            wait = max(wait, add_jitter(min(retry_after, _LONGEST_ASKED), self._clock.random()))
        if not self.closed or now >= self._until or retry_after is not None:
            self._until = max(self._until, now + wait)
        self.closed = True
        self._since = now
        self._wake()

    def resume(self, began: float) -> None:
        """Open the gate, unless the attempt that succeeded began before the trouble: it proves nothing.

        Args:
            began: When the attempt was taken up, on the clock of `Chance`.
        """
        if self.closed and began >= self._since:
            self.closed = False
            self._streak = 0
            self._wake()

    async def enter(self, gives_up: Callable[[], bool]) -> bool:
        """Wait until it is one's turn.

        Args:
            gives_up: Asked after each wait; true ends it.

        Returns:
            Whether one is the probe, and so owes a `leave`.
        """
        while self.closed and not gives_up():
            left = self.pause_left()
            if left > 0:
                # In short naps, so that a run that ends meanwhile is not held by a long pause.
                await self._clock.sleep(min(left, 0.5))
            elif self._probing:
                await self._wait_for_change()
            else:
                self._probing = True
                return True
        return False

    def leave(self) -> None:
        """End one's turn as the probe."""
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
    """What all calls of one account at one origin share."""

    clock: Clock
    budget: RetryBudget
    throttle: PauseGate
    """Closes on 429 and its like: one for the account."""
    connect: PauseGate
    """Closes where no connection can be made: one for the origin."""
    rate: RateLimiter
    """Spaces the account's requests, where a rate is set."""

    def succeeded(self, began: float, last_cost: float) -> None:
        """Note a success: what the last retry cost comes back, and gates open."""
        self.budget.succeeded(last_cost)
        if self.throttle.closed:
            self.throttle.resume(began)
        if self.connect.closed:
            self.connect.resume(began)


class AccountRegistry:
    """The paces of all origins and accounts of one session manager."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[tuple[str, str], AccountState] = {}
        self._connects: dict[str, PauseGate] = {}

    def of(self, origin: str, app_id: str) -> AccountState:
        """Return the pace of one account at one origin; the same for every client that asks."""
        account = self._accounts.get((origin, app_id))
        if account is None:
            connect = self._connects.setdefault(origin, PauseGate(self._clock, base=0.1, cap=2.0))
            throttle = PauseGate(self._clock, base=1.0, cap=20.0)
            account = self._accounts[origin, app_id] = AccountState(
                self._clock, RetryBudget(), throttle, connect, RateLimiter()
            )
        return account
