"""What decides when an account may send: the protocol, and the gate of one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, runtime_checkable

import attrs

from videoapi.errors import ConfigurationError
from videoapi.pipeline.clock import Clock
from videoapi.pipeline.pause import PauseGate
from videoapi.pipeline.rate_limit import RateLimiter

MOMENT: Final = 0.05
"""Longest wait with a permit held, in seconds."""
STALE: Final = 0.1
"""How late a slot may be used, and how late the answer that grants it may come, in seconds."""


class GateFailed(Exception):
    """The error of a gate that cannot respond. The client logs its text unchanged: use one line without secrets."""


@attrs.frozen
class Slots:
    """The response of a gate. All times are in seconds from now.

    Args:
        granted: Number of requests that are reserved.
        wait: Time until the first of them may be sent; the others follow at the account's rate. If none is granted, the
            time until the client should ask again.
        pause: Time until the account's pause ends; nothing is granted before that.
    """

    granted: int
    wait: float = 0.0
    pause: float = 0.0


@runtime_checkable
class Gate(Protocol):
    """A gate, which decides when the requests of an account may be sent, for all processes that share the account.

    The client calls it only for requests that are about to be sent, and reserves several at a time. It ignores errors
    and late responses of the gate. Until the gate responds again, it uses a rate of its own, `rate / (2 x processes)`;
    `processes` is an optional attribute of the gate, 1 by default.
    """

    async def take(self, want: int, /) -> Slots:
        """Reserve up to `want` requests, at least 1.

        A reservation that the client does not use within 0.1 s expires; the client does not return it.

        Args:
            want: Number of requests that wait to be sent.
        """
        ...

    def pause(self, seconds: float, /) -> Awaitable[None] | None:
        """Pause the account in all processes, after an HTTP 429. This may be a coroutine function.

        Args:
            seconds: Length of the pause in seconds, from now: at most 300, and up to 1 s of jitter.
        """
        ...


@runtime_checkable
class AccountGates(Protocol):
    """A gate for any number of accounts, such as `RedisGate`."""

    def for_account(self, origin: str, app_id: str, interval: Callable[[], float], /) -> Gate:
        """Return the gate of one account.

        Args:
            origin: Scheme, host and port of the API.
            app_id: The account's APP_ID.
            interval: Returns the seconds between two requests, which change as clients open and close.
        """
        ...

    async def release(self, gate: Gate, /) -> None:
        """Close the connections that only this account of the running event loop needs.

        Args:
            gate: The gate that `for_account` returned.
        """
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
        """Pause the account, or back off if the service named no time."""
        self.throttle.pause(seconds)


def checked_gate(gate: Gate | AccountGates | None, rate: str | None) -> str | None:
    """Return the `rate=` of a client, which a gate may know if the client does not.

    Raises:
        ConfigurationError: If `gate` is not a gate, or neither it nor the client has a rate.
    """
    if gate is None:
        return rate
    given: object = gate
    if isinstance(given, type) or not isinstance(given, Gate | AccountGates):
        raise ConfigurationError(
            f"gate must be a RedisGate, or have the methods take(want) and pause(seconds), not {type(given).__name__}."
        )
    if rate is None and isinstance(gate, AccountGates):
        rate = getattr(gate, "rate", None)
    if rate is None:
        raise ConfigurationError(
            "gate= needs rate=: the limit of the account, in all processes together, such as '200/s'."
        )
    return rate
