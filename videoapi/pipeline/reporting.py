"""What a client reports about its calls: events for listeners, and log records."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs

from videoapi.events import AttemptEvent, CallEvent, CallStarted, Listener, emit, log
from videoapi.pipeline.call import Call
from videoapi.protocol.backoff import GiveUp, Retry, most_attempts
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.redaction import redact
from videoapi.protocol.routes import Request

_ALLOWED: Final = frozenset({"x-request-id", "request-id", "x-correlation-id", "retry-after"})
_PREFIXES: Final = ("x-ratelimit-", "ratelimit")


@attrs.frozen
class Reporter:
    """Reports the calls of one client.

    Args:
        host: Host and port of the API.
        listeners: Called with each event.
    """

    host: str
    listeners: Sequence[Listener] = ()

    @property
    def active(self) -> bool:
        """Whether there is anybody to report to."""
        return bool(self.listeners) or log.isEnabledFor(logging.DEBUG)

    def started(self, call: Call) -> None:
        """Report the start of a call."""
        request = call.request
        emit(
            self.listeners,
            CallStarted(
                call_id=call.id,
                route=request.route.name,
                method=request.method,
                path=request.route.template,
                host=self.host,
                reference=request.reference,
            ),
        )

    def attempted(
        self, call: Call, request: Request, outcome: Outcome, attempt: int, seconds: float, step: Retry | GiveUp
    ) -> None:
        """Report an attempt."""
        emit(
            self.listeners,
            AttemptEvent(
                call_id=call.id,
                route=request.route.name,
                method=request.method,
                path=request.route.template,
                host=self.host,
                app_id=call.app_id or "",
                attempt=attempt,
                status=outcome.status,
                code=outcome.code,
                verdict=outcome.verdict.value,
                reason=outcome.reason,
                seconds=seconds,
                waited=outcome.waited,
                retry_in=step.delay if isinstance(step, Retry) else None,
                request_id=_request_id(call, outcome),
                headers=_allowed(call, outcome),
                reference=request.reference,
            ),
        )

    def retrying(self, request: Request, outcome: Outcome, attempt: int, delay: float) -> None:
        """Log a retry."""
        cause = outcome.reason if outcome.status is None else f"HTTP {outcome.status} from {self.host}"
        options, text = request.options, "retrying %s in %.1f s after %s, attempt %d"
        most = most_attempts(options.retry, request.route.operation, outcome.verdict)
        facts = (request.route.name, delay, cause, options.spent + attempt + 1)
        if most is None:
            log.info(text, *facts)
        else:
            log.info(f"{text} of %d", *facts, options.spent + most)

    def paused(self, app_id: str, seconds: float, outcome: Outcome) -> None:
        """Log the pause of an account."""
        log.warning("account %s at %s paused for %.1f s after HTTP %s", app_id, self.host, seconds, outcome.status)

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        """Report the end of a call."""
        self._ended(call, outcome.verdict.value, outcome.reason, seconds, outcome)

    def failed(self, call: Call, verdict: str, reason: str, seconds: float) -> None:
        """Report a call that ended without an outcome: cancelled, or by an error of other code."""
        self._ended(call, verdict, reason, seconds, None)

    def _ended(self, call: Call, verdict: str, reason: str, seconds: float, outcome: Outcome | None) -> None:
        request = call.request
        emit(
            self.listeners,
            CallEvent(
                call_id=call.id,
                route=request.route.name,
                method=request.method,
                path=request.route.template,
                host=self.host,
                app_id=call.app_id,
                attempts=call.sent if outcome is None else outcome.attempts,
                status=None if outcome is None else outcome.status,
                code=None if outcome is None else outcome.code,
                verdict=verdict,
                reason=reason,
                seconds=seconds,
                request_id=None if outcome is None else _request_id(call, outcome),
                headers=MappingProxyType({}) if outcome is None else _allowed(call, outcome),
                reference=request.reference,
            ),
        )


def _request_id(call: Call, outcome: Outcome) -> str | None:
    if outcome.details is not None:
        return outcome.details.request_id
    return _allowed(call, outcome).get("x-request-id")


def _allowed(call: Call, outcome: Outcome) -> Mapping[str, str]:
    """Return the response headers that help to trace a request, without the credentials that they may echo."""
    found = {name.lower(): value for name, value in outcome.headers.items()}
    shown = {name: value for name, value in found.items() if name in _ALLOWED or name.startswith(_PREFIXES)}
    if call.credentials is not None:
        credentials = call.credentials
        shown = {name: redact(value, credentials) for name, value in shown.items()}
    return MappingProxyType(shown)
