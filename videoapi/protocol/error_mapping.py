"""Mapping from a failed outcome to its exception."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from videoapi import errors
from videoapi.protocol import statuses
from videoapi.protocol.backoff import most_attempts
from videoapi.protocol.codes import TEXTS, TOKEN_REASONS, group_of
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import ErrorKind, Operation, Phase, Rule, Verdict

_CLASSES: Final[dict[ErrorKind, type[errors.VideoAPIError]]] = {
    ErrorKind.CONNECTION: errors.ConnectionFailed,
    ErrorKind.CERTIFICATE: errors.ConnectionFailed,
    ErrorKind.TIMEOUT: errors.CallTimeout,
    ErrorKind.PROTOCOL: errors.ProtocolError,
    ErrorKind.BASE_URL: errors.ProtocolError,
    ErrorKind.PROXY: errors.ConnectionFailed,
    ErrorKind.AUTHENTICATION: errors.AuthenticationFailed,
    ErrorKind.PERMISSION: errors.PermissionDenied,
    ErrorKind.NOT_FOUND: errors.NotFound,
    ErrorKind.CONFLICT: errors.Conflict,
    ErrorKind.RATE: errors.RateLimited,
    ErrorKind.TOKEN: errors.TokenDenied,
    ErrorKind.REQUEST: errors.RequestRejected,
    ErrorKind.FAULT: errors.ServerFault,
}
_ADVICE: Final[dict[ErrorKind, str]] = {
    ErrorKind.AUTHENTICATION: "Check APP_ID and APP_KEY, and that both belong to this project.",
    ErrorKind.PERMISSION: "Check that the project is active and permits this.",
    ErrorKind.PROTOCOL: "Check base_url.",
    ErrorKind.BASE_URL: "Check base_url: host and version directory.",
    ErrorKind.PROXY: "Check the proxy and its credentials.",
}
_PHRASES: Final[dict[ErrorKind, str]] = {
    ErrorKind.AUTHENTICATION: "credentials rejected",
    ErrorKind.PERMISSION: "not permitted for this account",
    ErrorKind.NOT_FOUND: "not found",
    ErrorKind.BASE_URL: "not a path of the Video API",
    ErrorKind.PROXY: "rejected by a proxy",
    ErrorKind.CONFLICT: "not possible in the room's present state",
    ErrorKind.RATE: "rate limited",
    ErrorKind.TOKEN: "no token for this room now",
    ErrorKind.REQUEST: "request rejected",
    ErrorKind.FAULT: "the service failed",
    ErrorKind.UNLISTED: "undocumented response",
}
_TRANSIENT: Final = frozenset({ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.FAULT, ErrorKind.RATE})


def error_from_outcome(request: Request, outcome: Outcome) -> errors.VideoAPIError:
    """Return the error for an outcome other than DONE: cause, whether it may have executed, next step."""
    outcome = _with_kind_of_denial(request, outcome)
    facts = _facts(request, outcome)
    text = _message(request, outcome)
    error: errors.VideoAPIError
    if request.route.operation is Operation.NON_REPEATABLE and outcome.may_have_executed:
        facts["retryable"] = False
        error = errors.CreateOutcomeUnknown(text, **facts)
    elif outcome.classification.kind is ErrorKind.TOKEN:
        error = errors.TokenDenied(text, reason=TOKEN_REASONS.get(outcome.code or 0), **facts)
    else:
        error = _class_of(outcome)(text, **facts)
    error.__cause__ = outcome.cause
    return error


def _with_kind_of_denial(request: Request, outcome: Outcome) -> Outcome:
    """Return an outcome in which code 40002 ("unauthorized") denies a token only on a route of tokens.

    It may be the response to a refused login, on any route (contract 8.2).
    """
    if outcome.code != 40002 or outcome.classification.kind is not ErrorKind.TOKEN:
        return outcome
    if outcome.status != 401 and request.route.template.endswith("/tokens"):
        return outcome
    kind = ErrorKind.AUTHENTICATION if outcome.status == 401 else ErrorKind.PERMISSION
    return attrs.evolve(outcome, classification=attrs.evolve(outcome.classification, kind=kind))


def _rule_instead(outcome: Outcome) -> Rule | None:
    """Return the rule of the status if the code is undocumented, otherwise None."""
    if outcome.classification.kind is not ErrorKind.UNLISTED or outcome.status is None:
        return None
    return statuses.rule_for_status(outcome.status)


def _kind_of(outcome: Outcome) -> ErrorKind:
    """Return the kind of the error; for an undocumented code, the kind of its status."""
    return (_rule_instead(outcome) or outcome.classification).kind


def _class_of(outcome: Outcome) -> type[errors.VideoAPIError]:
    kind, code = _kind_of(outcome), outcome.code
    if kind is not ErrorKind.UNLISTED:
        return _CLASSES.get(kind, errors.ProtocolError)
    faulty = isinstance(code, int) and 50_000 <= code <= 59_999
    return errors.ServerFault if faulty else errors.RequestRejected


def _facts(request: Request, outcome: Outcome) -> dict[str, Any]:
    details = outcome.details
    classification = outcome.classification
    transient = _kind_of(outcome) in _TRANSIENT and classification.verdict is not Verdict.REJECTED
    return {
        "method": request.method,
        "path": request.route.template,
        "status": outcome.status,
        "code": outcome.code,
        "group": group_of(outcome.code, outcome.status),
        "error": details.error if details else None,
        "desc": details.desc if details else None,
        "request_id": details.request_id if details else None,
        "attempts": outcome.attempts,
        "retry_after": outcome.retry_after,
        # 50007 is the response for a room of another project; a retry cannot succeed.
        "retryable": (_rule_instead(outcome) or classification).worth_waiting or (transient and outcome.code != 50007),
        "may_have_executed": outcome.may_have_executed,
        "reference": request.reference,
    }


def _message(request: Request, outcome: Outcome) -> str:
    """Return what failed, whether the request was sent or executed, and the next step."""
    where = f"{request.method} {request.route.template}"
    facts = ", ".join(_circumstances(request, outcome))
    # What failed later has facts of its own.
    what, then, later = (part.rstrip(".") for part in _what(outcome).partition("; then"))
    sentences = [
        f"{where}: {what}" + (f" ({facts})" if facts else "") + f"{then}{later}.",
        _state(request, outcome),
        *_next_steps(request, outcome),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _what(outcome: Outcome) -> str:
    details, code, kind = outcome.details, outcome.code, _kind_of(outcome)
    if kind is ErrorKind.BASE_URL:
        # The service's text for it, "Room not found", would be misleading.
        return outcome.reason or _PHRASES[kind]
    text = (details.error if details else None) or (TEXTS.get(code) if isinstance(code, int) else None)
    if text := (text or "").removeprefix("[Reason] "):
        # What failed after the response is in the reason alone.
        return text + "".join(outcome.reason.partition("; then")[1:])
    return outcome.reason or _PHRASES.get(kind, kind.value)


def _circumstances(request: Request, outcome: Outcome) -> Iterator[str]:
    if outcome.status is not None:
        yield f"HTTP {outcome.status}"
    if outcome.code is not None:
        yield f"code {outcome.code}"
    if outcome.details and outcome.details.request_id:
        yield f"request {outcome.details.request_id}"
    options = request.options
    count = options.spent + outcome.attempts
    if outcome.attempts and count > 1:
        limit = most_attempts(options.retry, request.route.operation, outcome.verdict)
        if limit is None or outcome.attempts > limit:
            yield f"{count} attempts"
        else:
            yield f"attempt {count} of {options.spent + limit}"


def _state(request: Request, outcome: Outcome) -> str:
    reads = request.route.operation is Operation.SAFE
    if outcome.may_have_executed:
        return "" if reads else "May have been executed."
    if outcome.phase is Phase.NOT_SENT and not outcome.refused_before:
        return "Not sent."
    return "" if reads or outcome.verdict is Verdict.UNKNOWN else "Not executed."


def _next_steps(request: Request, outcome: Outcome) -> Iterator[str]:
    if outcome.verdict is Verdict.THROTTLED and outcome.retry_after:
        source = "Retry-After" if outcome.phase is Phase.ANSWERED else "pause of the account"
        yield f"Retry after {_seconds(outcome.retry_after)} s ({source})."
    if advice := outcome.advice or _ADVICE.get(_kind_of(outcome)):
        yield advice
    if request.reference is not None and outcome.may_have_executed:
        yield f'Before retrying, call rooms.resolve("{request.reference}").'


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
