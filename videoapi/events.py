"""What happened at each attempt and each call, for listeners and the log; no secrets in either."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import attrs

log: Final = logging.getLogger("videoapi")


@attrs.frozen(kw_only=True)
class AttemptEvent:
    """One request on the wire, or one that could not be sent.

    Args:
        route: Name of the route, such as `rooms.create`.
        method: HTTP method.
        path: Path template.
        attempt: Its number within the call, from 1.
        status: HTTP status, or None without an answer.
        code: Result code of a failure.
        verdict: `done`, `rejected`, `not_sent`, `throttled` or `unknown`.
        seconds: From taking up the attempt to its verdict; a stream's ends with its head.
        waited: How much of that was spent waiting for a free connection.
        retry_in: Seconds until the next attempt, or None where this was the last.
        request_id: The service's id of the request, where it gives one.
    """

    route: str
    method: str
    path: str
    attempt: int
    status: int | None
    code: int | str | None
    verdict: str
    seconds: float
    waited: float
    retry_in: float | None
    request_id: str | None


@attrs.frozen(kw_only=True)
class CallEvent:
    """One call, after its last attempt.

    Args:
        route: Name of the route.
        method: HTTP method.
        path: Path template.
        attempts: How many there were.
        status: HTTP status of the last answer, or None.
        code: Result code of a failure.
        verdict: The verdict on the last attempt.
        seconds: The whole call as the caller waited for it; a stream's ends with its head.
        request_id: The service's id of the last request, where it gives one.
    """

    route: str
    method: str
    path: str
    attempts: int
    status: int | None
    code: int | str | None
    verdict: str
    seconds: float
    request_id: str | None


Event = AttemptEvent | CallEvent
Listener = Callable[[Event], object]
"""Called with each event, at once and in the loop: it must not block. What it raises is logged."""


def emit(listeners: Sequence[Listener], event: Event) -> None:
    """Hand an event to every listener and to the log."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s", event)
    for listener in listeners:
        try:
            listener(event)
        except Exception as error:
            # Only its class: a listener's message is not ours to put into a log.
            log.error("A listener of videoapi events raised %s.", type(error).__name__)
