"""When an attempt of an account may be sent: a permit first, then the account's pause and rate."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.pause import PauseGate
from videoapi.pipeline.rate_limit import RateLimiter
from videoapi.protocol.backoff import add_jitter
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import ALWAYS, Classification, ErrorKind, Phase, Verdict
from videoapi.transport.permits import Permits

log: logging.Logger = logging.getLogger(__name__)

MOMENT: Final = 0.05
"""Longest wait with a permit held, in seconds."""
_RECHECK: Final = 1.0
_STALE: Final = 0.1
"""How long a slot may wait for its connection, in seconds."""
Ready = Callable[[], bool]
_PAUSED: Final = Classification(Verdict.THROTTLED, ErrorKind.RATE, max_retries=ALWAYS)
_STOPPED: Final = Classification(Verdict.NOT_SENT, ErrorKind.RATE, max_retries=ALWAYS)


class Slots(NamedTuple):
    """The answer of a gate.

    Args:
        granted: How many requests may be sent now.
        wait: Seconds until the rate allows the next one.
        pause: Seconds until the account's pause ends.
    """

    granted: int
    wait: float = 0.0
    pause: float = 0.0


class Gate(Protocol):
    """What decides when an account may send: its rate, and its pause after HTTP 429."""

    async def take(self, want: int) -> Slots:
        """Reserve up to `want` requests that are sent at once."""
        ...

    def pause(self, seconds: float | None) -> None:
        """Pause the account for as long as the service asked, or for a backoff if it named no time."""
        ...


class LocalGate:
    """The gate of an account within one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.throttle: PauseGate = PauseGate(clock, base=1.0, cap=20.0)
        self.rate: RateLimiter = RateLimiter()

    def is_open(self) -> bool:
        """Return whether requests may be sent without asking."""
        return not (self.throttle.closed or self.rate.interval)

    async def take(self, want: int) -> Slots:
        """Reserve one request, unless the account is paused or its rate used up."""
        pause = self.throttle.pause_left()
        if pause > 0:
            return Slots(0, pause=pause)
        wait = self.rate.reserve(self._clock.now())
        return Slots(0, wait=wait) if wait > 0 else Slots(min(want, 1))

    def pause(self, seconds: float | None) -> None:
        """Pause the account."""
        self.throttle.pause(seconds)


class Admission:
    """Admits the attempts of one account.

    Attempts wait in line without a permit. The first in line takes one, asks the gate, and is sent or, if it has
    to wait for more than a moment, gives the permit back: neither a slow rate nor a long pause keeps permits from
    other accounts.

    Args:
        clock: Time, sleep and randomness.
        gate: Grants slots.
    """

    def __init__(self, clock: Clock, gate: Gate) -> None:
        self._clock = clock
        self._gate = gate
        # One line per kind of permit: a call must not wait for a free stream.
        self._lines: WeakKeyDictionary[Permits, asyncio.Lock] = WeakKeyDictionary()
        self._heads: WeakKeyDictionary[Permits, Call] = WeakKeyDictionary()
        self._failed = False

    async def enter(self, permits: Permits, call: Call, request: Request) -> Outcome | Ready:
        """Wait for a permit and a slot.

        Returns:
            Whether the attempt may still be written, to be called just before; the permit is held then. Or the
            outcome of an attempt that would have to wait too long.
        """
        began = self._clock.now()
        must_stop = request.options.must_stop
        if must_stop is not None:
            call.limit.at = math.inf
        line = self._lines.get(permits)
        if line is None:
            line = self._lines[permits] = asyncio.Lock()
        while True:
            call.wait_for(Wait.TURN)
            async with line:
                slots = await self._in_line(permits, call, must_stop or _never)
            if slots is None:
                return Outcome(classification=_STOPPED, phase=Phase.NOT_SENT, reason="the run ended")
            if slots.granted:
                break
            # Every call waits out a pause by itself, so that one that cannot wait so long fails at once.
            now = self._clock.now() if must_stop is None else began
            if (outcome := self._refuse(slots.pause, request, call.deadline - now)) is not None:
                return outcome
            call.wait_for(Wait.PAUSE)
            pause = add_jitter(slots.pause, self._clock.random())
            await self._clock.sleep(pause if must_stop is None else min(pause, _RECHECK))
        now = self._clock.now()
        if must_stop is not None:
            call.deadline += now - began
        return partial(self._is_fresh, now)

    async def _in_line(self, permits: Permits, call: Call, must_stop: Callable[[], bool]) -> Slots | None:
        """Return granted slots with the permit held, or a pause without it; None if the wait must end."""
        self._heads[permits] = call
        while not must_stop():
            call.wait_for(Wait.CONNECTION)
            await permits.acquire()
            held = False
            try:
                if must_stop():
                    return None
                slots = await self._take(call)
                while not slots.granted and not slots.pause and 0 < slots.wait <= MOMENT:
                    await self._clock.sleep(slots.wait)
                    slots = await self._take(call)
                held = slots.granted > 0
            finally:
                if not held:
                    permits.release()
            if slots.granted or slots.pause:
                return slots
            call.wait_for(Wait.RATE)
            # Not longer, as the rate may change when another client closes.
            await self._clock.sleep(min(max(slots.wait, MOMENT), _RECHECK))
        return None

    async def _take(self, call: Call) -> Slots:
        call.wait_for(Wait.GATE)
        try:
            return await self._gate.take(1)
        except Exception as error:
            self.report_failure(error)
            return Slots(1)

    def report_failure(self, error: Exception) -> None:
        """Log that the gate failed, once; it must not fail a call."""
        if not self._failed:
            self._failed = True
            log.warning("The rate gate failed (%s); requests are sent without it.", type(error).__name__)

    def pause(self, seconds: float | None) -> None:
        """Pause the account, for as long as the service asked."""
        try:
            self._gate.pause(seconds)
        except Exception as error:
            self.report_failure(error)

    def _is_fresh(self, granted_at: float) -> bool:
        """Return whether a slot may still be used: connecting can take long, and late slots would be a burst."""
        return self._clock.now() - granted_at <= _STALE

    def head_waits(self, permits: Permits) -> Wait:
        """Return what the first in line waits for."""
        head = self._heads.get(permits)
        return Wait.CONNECTION if head is None else head.waiting

    def _refuse(self, pause: float, request: Request, left: float) -> Outcome | None:
        """Return the outcome of an attempt for which the pause is too long."""
        longest = add_jitter(request.options.retry.max_retry_after, 1.0)
        if pause < left and pause <= longest:
            return None
        limit = (
            f"the remaining timeout ({max(0.0, left):.3g} s)" if pause >= left else f"max_retry_after ({longest:g} s)"
        )
        return Outcome(
            classification=_PAUSED,
            phase=Phase.NOT_SENT,
            reason=f"account paused for another {pause:.1f} s after HTTP 429, longer than {limit}",
            retry_after=pause,
        )


def _never() -> bool:
    return False
