"""Events of attempts and calls, for listeners and the log. They contain no secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import attrs

log: Final = logging.getLogger("videoapi")


@attrs.frozen(kw_only=True)
class AttemptEvent:
    """The event of one attempt, sent or not.

    Args:
        route: Name of the route, such as `rooms.create`.
        method: HTTP method.
        path: Path template.
        attempt: Its number within the call, from 1.
        status: HTTP status, or None without a response.
        code: Result code of a failure.
        verdict: `done`, `rejected`, `not_sent`, `throttled` or `unknown`.
        seconds: Duration of the attempt; for a stream, until the response headers.
        waited: Seconds of that spent waiting for a free connection.
        retry_in: Seconds until the next attempt, or None if this was the last one.
        request_id: The service's ID of the request, if it sent one.
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
    """The event of one call, after its last attempt.

    Args:
        route: Name of the route.
        method: HTTP method.
        path: Path template.
        attempts: Number of attempts.
        status: HTTP status of the last response, or None without one.
        code: Result code of a failure.
        verdict: The verdict on the last attempt.
        seconds: Duration of the complete call; for a stream, until the response headers.
        request_id: The service's ID of the last request, if it sent one.
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
"""Called synchronously with each event, in the event loop; must not block. If it raises, that is logged."""


def emit(listeners: Sequence[Listener], event: Event) -> None:
    """Pass an event to every listener and to the log."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s", event)
    for listener in listeners:
        try:
            listener(event)
        except Exception as error:
            # Log only the class: the message may contain secrets of the application.
            log.error("A listener of videoapi events raised %s.", type(error).__name__)
