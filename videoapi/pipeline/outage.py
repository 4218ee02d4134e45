"""Whether a shared gate answers, said once when that changes, and when to ask it again."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

from videoapi.pipeline.clock import Clock
from videoapi.pipeline.gate import AccountGates
from videoapi.protocol.backoff import add_jitter

log: logging.Logger = logging.getLogger(__name__)

_FIRST_PROBE: Final = 0.5
_LAST_PROBE: Final = 2.0
"""Longest time between two probes of a gate that does not answer, in seconds."""
_STABLE: Final = 10.0
"""After how long a new failure is not a part of the one before, in seconds."""


class Outage:
    """The state of one gate, for all accounts of a process that use it.

    Args:
        clock: Time and randomness.
        gate: The gate that the user passed.
    """

    def __init__(self, clock: Clock, gate: Any) -> None:
        self.gate = gate
        self.away: bool = False
        """Whether the gate cannot be used, and each account has its local rate."""
        self._clock = clock
        self._next_probe = 0.0
        self._delay = _FIRST_PROBE
        self._since = -math.inf

    @property
    def processes(self) -> int:
        """How many processes share the gate, as far as it says so."""
        given = getattr(self.gate, "processes", 1)
        return given if type(given) is int and given > 0 else 1

    def begin(self, reason: str, asked_at: float) -> None:
        """Note that the gate failed; the first failure is logged.

        Args:
            reason: Why, on one line and without secrets.
            asked_at: When it was asked. What was asked before the latest change says nothing new.
        """
        now = self._clock.now()
        if asked_at < self._since:
            return
        if self.away:
            self._delay = min(2 * self._delay, _LAST_PROBE)
        else:
            self._delay = _FIRST_PROBE if now - self._since > _STABLE else min(2 * self._delay, _LAST_PROBE)
            self.away = True
            self._since = now
            log.warning(
                "%s failed: %s. Until it answers, this process sends at its own part of each account's rate: "
                "rate / (2 x %d processes).",
                _name(self.gate),
                reason.rstrip("."),
                self.processes,
            )
        self._next_probe = now + add_jitter(self._delay, self._clock.random())

    def end(self, asked_at: float) -> None:
        """Note that the gate answers."""
        if self.away and asked_at >= self._since:
            now = self._clock.now()
            log.info("%s answers again, after %.1f s: the rate is shared again.", _name(self.gate), now - self._since)
            self.away = False
            self._since = now

    def may_probe(self) -> bool:
        """Return whether it is time to ask a gate that failed; of several callers, the first gets True."""
        now = self._clock.now()
        if now < self._next_probe:
            return False
        self._next_probe = now + _LAST_PROBE
        return True


def _name(gate: Any) -> str:
    """Return what to call a gate in the log; a class of the user's may show anything in its repr."""
    where = getattr(gate, "where", None) if isinstance(gate, AccountGates) else None
    kind = type(gate).__name__
    return f"{kind} at {where}" if isinstance(where, str) else kind
