"""When an attempt of an account may be sent: a permit first, then the account's pause and rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import attrs

from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.gate import MOMENT, STALE, Slots
from videoapi.protocol.backoff import add_jitter
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import ALWAYS, Classification, ErrorKind, Phase, Verdict
from videoapi.transport.permits import Permits

_RECHECK: Final = 1.0
Ready = Callable[[], bool]
_PAUSED: Final = Classification(Verdict.THROTTLED, ErrorKind.RATE, max_retries=ALWAYS)
_STOPPED: Final = Classification(Verdict.NOT_SENT, ErrorKind.RATE, max_retries=ALWAYS)


class Admitting(Protocol):
    """The gate of an account as its line sees it: local, or shared with other processes."""

    async def take(self, want: int) -> Slots:
        """Reserve a request that is sent at once; up to `want` will follow."""
        ...

    def pause(self, seconds: float | None) -> None:
        """Pause the account for as long as the service asked, or for a backoff if it named no time."""
        ...


@attrs.define(eq=False)
class _Line:
    """The attempts that wait for one kind of permit."""

    turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    length: int = 0
    head: Call | None = None


class Admission:
    """Admits the attempts of one account.

    Attempts wait in line without a permit. The first in line takes one, asks the gate, and is sent or, if it has
    to wait for more than a moment, gives the permit back: neither a slow rate nor a long pause keeps permits from
    other accounts.

    Args:
        clock: Time, sleep and randomness.
        gate: Grants slots.
    """

    def __init__(self, clock: Clock, gate: Admitting) -> None:
        self.gate = gate
        self._clock = clock
        # One line per kind of permit: a call must not wait for a free stream.
        self._lines: WeakKeyDictionary[Permits, _Line] = WeakKeyDictionary()

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
            line = self._lines[permits] = _Line()
        while True:
            call.wait_for(Wait.TURN)
            line.length += 1
            try:
                async with line.turn:
                    slots = await self._in_line(line, permits, call, must_stop or _never)
            finally:
                line.length -= 1
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
        # A slot may have been due some time ago.
        return partial(self._is_fresh, now + slots.wait)

    async def _in_line(self, line: _Line, permits: Permits, call: Call, must_stop: Callable[[], bool]) -> Slots | None:
        """Return granted slots with the permit held, or a pause without it; None if the wait must end."""
        line.head = call
        while not must_stop():
            call.wait_for(Wait.CONNECTION)
            await permits.acquire()
            held = False
            try:
                if must_stop():
                    return None
                slots = await self._take(line, permits, call)
                while not slots.granted and not slots.pause and 0 < slots.wait <= MOMENT and not must_stop():
                    call.wait_for(Wait.RATE)
                    await self._clock.sleep(slots.wait)
                    slots = await self._take(line, permits, call)
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

    async def _take(self, line: _Line, permits: Permits, call: Call) -> Slots:
        call.wait_for(Wait.GATE)
        # More than can be sent now would expire while they wait for permits.
        return await self.gate.take(min(line.length, permits.free + 1))

    def pause(self, seconds: float | None) -> None:
        """Pause the account, for as long as the service asked."""
        self.gate.pause(seconds)

    def _is_fresh(self, granted_at: float) -> bool:
        """Return whether a slot may still be used: connecting can take long, and late slots would be a burst."""
        return self._clock.now() - granted_at <= STALE

    def head_waits(self, permits: Permits) -> Wait:
        """Return what the first in line waits for."""
        line = self._lines.get(permits)
        return Wait.CONNECTION if line is None or line.head is None else line.head.waiting

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
