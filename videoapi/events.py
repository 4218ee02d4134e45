"""Events of calls and attempts, for listeners. They contain no secrets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

log: Final = logging.getLogger("videoapi")


def log_unknown(route: str, reference: str | None) -> None:
    """Warn about a create that ended with an unknown outcome; one of a custom route has no reference."""
    if reference is None:
        log.warning("%s ended with an unknown outcome", route)
    else:
        log.warning("%s ended with an unknown outcome, reference %s", route, reference)


def log_cancelled(error: asyncio.CancelledError, route: str, reference: str | None) -> None:
    """Warn about a cancelled create that may have been executed: web frameworks do not show the note of the error."""
    if getattr(error, "may_have_executed", True):
        log_unknown(route, reference)


@attrs.frozen(kw_only=True)
class CallStarted:
    """The start of a call, before any wait.

    Args:
        call_id: Distinguishes concurrent calls in this process.
        route: Name of the route, such as `rooms.create`.
        method: HTTP method.
        path: Path template.
        host: Host and port of the API.
        reference: The reference of a create, otherwise None.
    """

    call_id: str
    route: str
    method: str
    path: str
    host: str
    reference: str | None


@attrs.frozen(kw_only=True)
class AttemptEvent:
    """The end of one attempt: a request that was sent, or that could not be sent.

    Args:
        call_id: The ID of its call, as in `CallStarted`.
        route: Name of the route, such as `rooms.create`.
        method: HTTP method.
        path: Path template.
        host: Host and port of the API.
        app_id: The APP_ID that was sent.
        attempt: Its number within the call, from 1.
        status: HTTP status, or None without a response.
        code: Result code of a failure.
        verdict: `done`, `rejected`, `not_sent`, `throttled` or `unknown`.
        reason: What failed, or an empty text.
        seconds: Seconds from the start of the attempt to its verdict; for a stream, to its response headers.
        waited: Seconds spent waiting for a free connection, the account's pause and its rate limit.
        retry_in: Seconds until the next attempt, or None after the last one.
        request_id: The service's ID of the request, if it sent one.
        headers: Response headers about the request's ID, rate limits and Retry-After, by lowercase name.
        reference: The reference of a create, otherwise None.
    """

    call_id: str
    route: str
    method: str
    path: str
    host: str
    app_id: str
    attempt: int
    status: int | None
    code: int | str | None
    verdict: str
    reason: str
    seconds: float
    waited: float
    retry_in: float | None
    request_id: str | None
    headers: Mapping[str, str]
    reference: str | None


@attrs.frozen(kw_only=True)
class CallEvent:
    """The end of a call.

    Args:
        call_id: Distinguishes concurrent calls in this process.
        route: Name of the route.
        method: HTTP method.
        path: Path template.
        host: Host and port of the API.
        app_id: The APP_ID of the last attempt, or None if there was none.
        attempts: Number of attempts.
        status: HTTP status of the last response, or None.
        code: Result code of a failure.
        verdict: The verdict on the last attempt, or `cancelled` if your code cancelled the call.
        reason: What failed, or an empty text.
        seconds: Duration of the whole call in seconds, waits included; for a stream, to its response headers.
        request_id: The service's ID of the last request, if it sent one.
        headers: Headers of the last response, as in `AttemptEvent`.
        reference: The reference of a create, otherwise None.
    """

    call_id: str
    route: str
    method: str
    path: str
    host: str
    app_id: str | None
    attempts: int
    status: int | None
    code: int | str | None
    verdict: str
    reason: str
    seconds: float
    request_id: str | None
    headers: Mapping[str, str]
    reference: str | None


Event = CallStarted | AttemptEvent | CallEvent
Listener = Callable[[Event], object]
"""A function that receives each event, in the event loop: it must not block. Its errors are logged, except
`SystemExit`."""


def emit(listeners: Sequence[Listener], event: Event) -> None:
    """Pass an event to every listener, and to the log at DEBUG."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("%s", event)
    for listener in listeners:
        try:
            listener(event)
        except (Exception, asyncio.CancelledError) as error:
            # A listener awaits nothing, so a cancellation is its own error. Only its class: the text may hold anything.
            log.error("A listener of videoapi events raised %s.", type(error).__name__)
