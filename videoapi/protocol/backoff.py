"""Retry decisions and backoff. Pure: the remaining time and the random source are arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

from videoapi.errors import ConfigurationError
from videoapi.protocol.types import Classification, Operation, Verdict

_SECONDS: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:s|sec|secs|seconds?)?", re.ASCII | re.IGNORECASE)
_LONGEST: Final = 86_400.0
_UNREADABLE: Final = 30.0
"""The wait for a `Retry-After` that cannot be read."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The retry limits and backoff of a call.

    The wait before attempt n + 1 is random between 0 and min(cap, base * 2**(n - 1)) seconds ("full
    jitter"), and at least as long as the response's `Retry-After`.

    Args:
        attempts: Maximum number of attempts per call, 1 to 10; 1 disables retries. A room create that
            provably was not sent is retried until its `timeout`.
        base: Maximum wait after the first failure, in seconds.
        throttle_base: Maximum wait after the first throttled attempt, in seconds.
        cap: Maximum computed wait, in seconds.
        max_retry_after: Longest `Retry-After` to wait for, in seconds; a longer one fails the call at once.
        trust_429: Whether a 429 proves that the request was not executed. Pass False if the service
            counts requests after executing them.
        trust_503: Whether a gateway's 503 with `Retry-After` proves that the request was not executed.

    Raises:
        ConfigurationError: If a value is out of range.
    """

    attempts: int = 3
    base: float = 0.25
    throttle_base: float = 1.0
    cap: float = 20.0
    max_retry_after: float = 60.0
    trust_429: bool = True
    trust_503: bool = False

    def __attrs_post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or not 1 <= self.attempts <= 10:
            raise ConfigurationError(f"RetryPolicy(attempts={self.attempts!r}): give a whole number from 1 to 10.")
        for name in ("base", "throttle_base", "cap", "max_retry_after"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1e9:
                raise ConfigurationError(f"RetryPolicy({name}={value!r}): give seconds, 0 or more.")


@attrs.frozen
class Retry:
    """A decision to retry after `delay` seconds."""

    delay: float


@attrs.frozen
class GiveUp:
    """A decision not to retry; `reason` is `final`, `attempts`, `retry_after`, `deadline` or `budget`."""

    reason: str


FINAL: Final = GiveUp("final")


def jitter(base: float, cap: float, attempt: int, random: float) -> float:
    """Return the wait after attempt number `attempt`: random * min(cap, base * 2**(attempt - 1))."""
    return random * min(cap, base * 2.0 ** min(attempt - 1, 60))


def add_jitter(seconds: float, random: float) -> float:
    """Return `seconds` plus up to 10 %, at most 1 s, to avoid a thundering herd."""
    return seconds + random * min(1.0, 0.1 * seconds)


def most_attempts(policy: RetryPolicy, operation: Operation, verdict: Verdict) -> int | None:
    """Return how many attempts a call may have after one with this verdict; None if only its `timeout` limits it."""
    harmless_create = operation is Operation.NON_REPEATABLE and verdict is Verdict.NOT_SENT and policy.attempts > 1
    return None if harmless_create else policy.attempts


def decide(
    policy: RetryPolicy,
    operation: Operation,
    classification: Classification,
    *,
    attempt: int,
    unknown: int,
    retry_after: float | None,
    left: float,
    random: Callable[[], float],
) -> Retry | GiveUp:
    """Decide whether to retry a call.

    Args:
        policy: The retry limits.
        operation: The operation class of the route.
        classification: The classification of the last attempt.
        attempt: The number of the last attempt, from 1.
        unknown: How many attempts so far may have been executed, including the last one.
        retry_after: Seconds the service requested to wait, or None.
        left: Seconds left of the call's `timeout`.
        random: Returns a number from 0 to 1.
    """
    verdict = classification.verdict
    if verdict is Verdict.DONE or verdict is Verdict.REJECTED or classification.max_retries == 0:
        return FINAL
    if verdict is Verdict.UNKNOWN and unknown > classification.max_retries:
        return FINAL
    most = most_attempts(policy, operation, verdict)
    if most is not None and attempt >= most:
        return GiveUp("attempts")
    base = policy.throttle_base if verdict is Verdict.THROTTLED else policy.base
    wait = jitter(base, policy.cap, attempt, random())
    if retry_after is not None:
        if retry_after > policy.max_retry_after:
            return GiveUp("retry_after")
        wait = max(wait, add_jitter(retry_after, random()))
    return Retry(wait) if wait < left else GiveUp("deadline")


def parse_retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Return the seconds to wait according to `Retry-After`, or None without one.

    Seconds may have a fraction, which is rounded up, or a unit. A date is relative to the response's own `Date`, so
    a wrong clock on either side is harmless. Of several fields, the longest wait applies; a day is the most. If none
    can be read, the wait is 30 s, since the service did ask for one. Source: RFC 9110, 10.2.3.

    Args:
        headers: The response headers.
        now: Returns the current time; called only if the response has no valid `Date`.
    """
    if "Retry-After" not in headers:
        return None
    getall: Callable[[str], list[str]] | None = getattr(headers, "getall", None)
    fields = getall("Retry-After") if getall is not None else [headers["Retry-After"]]
    waits = [wait for field in fields if (wait := _wait_in(field.strip(), headers, now)) is not None]
    return max(waits, default=_UNREADABLE)


def _wait_in(field: str, headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    if match := _SECONDS.fullmatch(field):
        return float(math.ceil(min(float(match[1]), _LONGEST)))
    then = _date(field)
    if then is None:
        return None
    responded = _date(headers.get("Date", "")) or now()
    return min(max(0.0, (then - responded).total_seconds()), _LONGEST)


def _date(text: str) -> datetime | None:
    if len(text) > 64:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
