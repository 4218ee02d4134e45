"""Pauses: of an account after HTTP 429, and of an origin that cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from videoapi.pipeline.clock import Clock
from videoapi.protocol.backoff import add_jitter, jitter

_POLL: Final = 0.5
_LONGEST: Final = 300.0
"""Longest pause that one response can cause for all calls of an account, in seconds. Then the service is asked again:
it may have named a time that is too long, and recovered."""


class PauseGate:
    """A gate that a failure closes for a while; then it opens for one at a time, until one succeeds.

    Single calls wait for the end of the pause only. Bulk items also take turns (`enter`), so that an
    outage costs a few probes, not one attempt per item.
    """

    def __init__(self, clock: Clock, *, base: float, cap: float) -> None:
        self._clock = clock
        self._base = base
        self._cap = cap
        self._until = 0.0
        self._since = 0.0
        self.closed: bool = False
        self._probing = False
        self._owner: object = None
        self._streak = 0
        self._changed: asyncio.Event | None = None

    def pause_left(self) -> float:
        """Return the seconds until the pause ends; 0 without a pause."""
        return max(0.0, self._until - self._clock.now()) if self.closed else 0.0

    def pause(self, retry_after: float | None = None) -> None:
        """Close the gate, or extend its pause; failures at the same time count once.

        Args:
            retry_after: Seconds that the service named. After 300 s, it is asked again, however long they are.
        """
        now = self._clock.now()
        if not self.closed or now >= self._until:
            self._streak += 1
        if retry_after:
            # The service knows how long; repeated failures do not make it longer.
            wait = add_jitter(min(retry_after, _LONGEST), self._clock.random())
        else:
            wait = jitter(self._base, self._cap, self._streak, self._clock.random())
        # Probes without a pause between them would be a storm.
        wait = max(wait, self._base / 2)
        if not self.closed or now >= self._until or retry_after:
            self._until = max(self._until, now + wait)
        self.closed = True
        self._since = now
        self._wake()

    def extend(self, seconds: float) -> bool:
        """Close the gate for at least some seconds, after HTTP 429 in another process; return whether it was open."""
        now = self._clock.now()
        was_open = self.pause_left() <= 0
        self._until = max(self._until, now + min(seconds, _LONGEST)) if self.closed else now + min(seconds, _LONGEST)
        self.closed = True
        self._since = now
        self._wake()
        return was_open

    def resume(self, began: float) -> None:
        """Open the gate, unless the attempt that succeeded began before the failure, and so proves nothing.

        Args:
            began: When the attempt began, on the account's clock.
        """
        if self.closed and began >= self._since:
            self.closed = False
            self._streak = 0
            self._wake()

    async def enter(self, gives_up: Callable[[], bool], owner: object = None) -> bool:
        """Wait for a turn.

        Args:
            gives_up: Polled while waiting; true ends the wait.
            owner: The account; the probe of another one is waited for only briefly.

        Returns:
            Whether the caller is the probe, and must call `leave`.
        """
        while self.closed and not gives_up():
            left = self.pause_left()
            if left > 0:
                # In short sleeps, so that a long pause does not hold up a run that ends.
                await self._clock.sleep(min(left, _POLL))
            elif self._probing:
                if not await self._wait_for_change() and owner is not self._owner:
                    # The probe may wait for something else, such as the rate of its own account.
                    return False
            else:
                self._probing, self._owner = True, owner
                return True
        return False

    def leave(self) -> None:
        """End the turn of the probe."""
        self._probing = False
        self._wake()

    async def _wait_for_change(self) -> bool:
        if self._changed is None:
            self._changed = asyncio.Event()
        # Not for long, so that a run that ends does not wait for the probe of another.
        try:
            async with asyncio.timeout(_POLL):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
