"""A gate that processes share, for one account of one process: batches, slots that expire, and a fallback."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections import deque
from typing import Final

from videoapi.pipeline.clock import Clock
from videoapi.pipeline.fallback import fallback_rate
from videoapi.pipeline.gate import MOMENT, STALE, AccountGates, Gate, GateFailed, LocalGate, Slots
from videoapi.pipeline.outage import Outage

log: logging.Logger = logging.getLogger(__name__)

PATIENCE: Final = 0.25
"""Longest time without an answer that can be used, in seconds."""
_EARLY: Final = 0.001
"""Timers are not more precise."""
_JITTER: Final = 1.5
"""By how much the pauses of processes that were refused together differ at most, in seconds."""
_LATE_LOOP: Final = 0.1
_LATE_LOOPS: Final = 3
_NO_ANSWER: Final = f"no answer within {PATIENCE:g} s"


class SharedGate:
    """What admits the attempts of an account whose rate is shared with other processes.

    Slots are reserved by a task of their own: a call that is cancelled leaves them to the next in line, and no permit
    is held for longer than a moment while the gate does not answer.

    Args:
        clock: Time and randomness.
        name: The account, for the log.
        local: The account's pause, and its rate.
        gate: Shared with other processes.
        outage: Whether the gate answers.
    """

    def __init__(self, clock: Clock, name: str, local: LocalGate, gate: Gate, outage: Outage) -> None:
        self._now = clock.now
        self._name = name
        self._local = local
        self._gate = gate
        self._outage = outage
        self._fallback = fallback_rate(name, clock)
        self._slots: deque[float] = deque()
        """The earliest moments for which slots may have been reserved."""
        self._trip = 0.0
        """How much later that may have been: how long the answer took."""
        self._ask_again = -math.inf
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -math.inf
        self._pausing: set[asyncio.Task[None]] = set()
        self._paused_until = -math.inf

    @property
    def away(self) -> bool:
        """Whether the gate does not answer, and the local rate counts."""
        return self._outage.away

    @property
    def user_gate(self) -> object:
        """The gate that the user passed."""
        return self._outage.gate

    @property
    def rate(self) -> str:
        """The rate that counts now."""
        if not self._outage.away:
            return str(self._local.rate)
        self._set_fallback()
        return f"{self._fallback} in this process, as the shared gate does not answer"

    async def take(self, want: int) -> Slots:
        """Reserve one request, with those that follow it; `wait` is negative by how late its slot may be."""
        while True:
            pause = self._local.throttle.pause_left()
            if pause > 0:
                self._slots.clear()
                return Slots(0, pause=pause)
            if self._outage.away:
                if self._asking is None and self._outage.may_probe():
                    self._ask(want)
                self._set_fallback()
                wait = self._fallback.reserve(self._now())
                return Slots(0, wait=wait) if wait > 0 else Slots(1)
            due = self._next_slot()
            if due is None:
                due = self._ask_again - self._now()
            elif due <= _EARLY:
                return Slots(1, wait=min(self._slots.popleft() - self._now(), 0.0))
            if due > 0:
                return Slots(0, wait=due)
            asking = self._asking or self._ask(want)
            await asyncio.wait((asking,), timeout=MOMENT)
            if not asking.done():
                if self._now() - self._asked_at > PATIENCE + _LATE_LOOP:
                    self._outage.begin(_NO_ANSWER, self._asked_at)
                    continue
                return Slots(0, wait=2 * MOMENT)
            if asking.cancelled():
                # By the gate: once this account is closed, no call waits here.
                self._outage.begin("it was cancelled", self._asked_at)
            elif (failure := asking.exception()) is not None:
                self._outage.begin(type(failure).__name__, self._asked_at)

    def pause(self, seconds: float | None) -> None:
        """Pause the account here, and through the gate everywhere."""
        self._local.pause(seconds)
        self._slots.clear()
        left = self._local.throttle.pause_left()
        # Of a hundred calls that are refused at the same time, one announces it.
        if left > 0 and self._now() + left > self._paused_until + MOMENT:
            self._paused_until = self._now() + left
            announcing = asyncio.get_running_loop().create_task(self._announce(left))
            self._pausing.add(announcing)
            announcing.add_done_callback(self._pausing.discard)

    async def aclose(self) -> None:
        """End the tasks, and the gate's connections if nothing else needs them."""
        tasks = [*self._pausing, *([self._asking] if self._asking is not None else [])]
        for task in tasks:
            task.cancel()
        gates = self._outage.gate
        if isinstance(gates, AccountGates):
            tasks.append(asyncio.create_task(self._release(gates)))
        if tasks:
            # A gate that ignores its cancellation must not keep the client open.
            await asyncio.wait(tasks, timeout=2 * PATIENCE)

    async def _release(self, gates: AccountGates) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await gates.release(self._gate)
        except Exception as error:
            log.debug("a gate could not be released: %s", _reason(error))

    def _next_slot(self) -> float | None:
        """Return the seconds until the next slot, at most 0 if it is due; None without any."""
        now = self._now()
        while self._slots and now - self._slots[0] > STALE:
            self._slots.popleft()
        return self._slots[0] + self._trip - now if self._slots else None

    def _set_fallback(self) -> None:
        self._fallback.set(2 * self._outage.processes * self._local.rate.interval)

    def _ask(self, want: int) -> asyncio.Task[None]:
        self._asked_at = self._now()
        task = self._asking = asyncio.get_running_loop().create_task(self._reserve(want))
        task.add_done_callback(self._answered)
        return task

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._asking = None

    async def _reserve(self, want: int) -> None:
        """Ask the gate until it gives an answer that can be used, or patience ends."""
        began = self._now()
        end, blocked = began + PATIENCE, 0
        while True:
            sent = self._now()
            limit = asyncio.timeout(end - sent)
            try:
                async with limit:
                    slots = _checked(await self._gate.take(want))
            except Exception as error:
                if limit.expired() and self._now() > end + _LATE_LOOP and blocked < _LATE_LOOPS:
                    # The event loop was blocked by other code, and has not looked at the answer.
                    end, blocked = self._now() + PATIENCE, blocked + 1
                    continue
                return self._outage.begin(_NO_ANSWER if limit.expired() else _reason(error), began)
            now = self._now()
            if slots.pause > 0:
                self._adopt(slots.pause)
            elif now - sent <= STALE:
                # A late answer is dropped: its slots would be a burst on top of those of others.
                self._keep(slots, min(want, slots.granted), sent, now - sent)
            elif now < end:
                continue
            else:
                return self._outage.begin(f"each answer took more than {STALE:g} s", began)
            return self._outage.end(began)

    def _keep(self, slots: Slots, granted: int, sent: float, trip: float) -> None:
        # The gate read its clock at some moment of the trip: neither earlier, nor later than the answer came.
        first, interval = sent + slots.wait, self._local.rate.interval
        self._trip = trip
        self._slots = deque(first + number * interval for number in range(granted))
        self._ask_again = -math.inf if granted else sent + trip + max(slots.wait, MOMENT)

    def _adopt(self, pause: float) -> None:
        """Pause with the other processes."""
        was_open = self._local.throttle.extend(pause)
        # Not `pause`: the throttle has a longest one.
        left = self._local.throttle.pause_left()
        until = self._now() + left
        if was_open and until > self._paused_until + _JITTER:
            log.warning("%s paused for %.1f s after HTTP 429 in another process", self._name, left)
        self._paused_until = max(self._paused_until, until)
        self._slots.clear()

    async def _announce(self, seconds: float) -> None:
        began = self._now()
        limit = asyncio.timeout(PATIENCE)
        try:
            async with limit:
                announcing = self._gate.pause(seconds)
                if inspect.isawaitable(announcing):
                    await announcing
        except Exception as error:
            self._outage.begin(_NO_ANSWER if limit.expired() else _reason(error), began)


def _checked(slots: object) -> Slots:
    """Return the answer of a gate, if it is one.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(slots, Slots):
        raise TypeError(f"take() returned {type(slots).__name__}, not Slots")
    if type(slots.granted) is not int or slots.granted < 0:
        raise TypeError("take() returned Slots whose `granted` is not a number of requests")
    for name in ("wait", "pause"):
        seconds = getattr(slots, name)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise TypeError(f"take() returned Slots whose `{name}` is not a number of seconds")
    if slots.wait < -STALE:
        raise TypeError(f"take() returned Slots that were due more than {STALE:g} s ago")
    return slots


def _reason(error: Exception) -> str:
    """Return what an error says on one line, with its class unless the gate chose the text."""
    if isinstance(error, GateFailed):
        return str(error)
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
