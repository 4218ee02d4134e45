"""Mapping from a failed outcome to its exception."""

from __future__ import annotations

from typing import Any, Final

from videoapi import errors
from videoapi.protocol import statuses
from videoapi.protocol.codes import TEXTS, TOKEN_REASONS, group_of
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import ErrorKind, Operation, Phase, Verdict

_CLASSES: Final[dict[ErrorKind, type[errors.VideoAPIError]]] = {
    ErrorKind.CONNECTION: errors.ConnectionFailed,
    ErrorKind.CERTIFICATE: errors.ConnectionFailed,
    ErrorKind.TIMEOUT: errors.CallTimeout,
    ErrorKind.PROTOCOL: errors.ProtocolError,
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
    ErrorKind.CERTIFICATE: "Check the host's certificate, or name its authority with `ca_file=`.",
    ErrorKind.AUTHENTICATION: "Check APP_ID and APP_KEY, and that both belong to this project.",
    ErrorKind.PERMISSION: "Check that the project is active and may do this.",
    ErrorKind.PROTOCOL: "Check that the base URL names the API itself.",
}
_PHRASES: Final[dict[ErrorKind, str]] = {
    ErrorKind.AUTHENTICATION: "the credentials were refused",
    ErrorKind.PERMISSION: "the account may not do this",
    ErrorKind.NOT_FOUND: "not found",
    ErrorKind.CONFLICT: "the room's state forbids it",
    ErrorKind.RATE: "too many requests",
    ErrorKind.TOKEN: "no token for this room now",
    ErrorKind.REQUEST: "the request was refused",
    ErrorKind.FAULT: "the service failed",
    ErrorKind.UNLISTED: "an answer that is not documented",
}
_TRANSIENT: Final = frozenset({ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.FAULT, ErrorKind.RATE})


def error_from_outcome(request: Request, outcome: Outcome) -> errors.VideoAPIError:
    """Return the error for an outcome other than DONE: cause, whether it may have executed, next step."""
    kind = outcome.classification.kind
    facts = _facts(request, outcome)
    text = _sentence(request, outcome)
    if request.route.operation is Operation.NON_REPEATABLE and outcome.may_have_executed:
        facts["retryable"] = False
        return errors.CreateOutcomeUnknown(
            f"{text} The room may exist; look for its reference before creating it again.",
            reference=request.reference,
            **facts,
        )
    if kind is ErrorKind.TOKEN:
        return errors.TokenDenied(text, reason=TOKEN_REASONS.get(outcome.code or 0), **facts)
    return _class_of(outcome)(text, **facts)


def _kind_of(outcome: Outcome) -> ErrorKind:
    """Return the kind of the error; for an undocumented code, the kind of its status."""
    kind = outcome.classification.kind
    rule = (
        statuses.rule_for_status(outcome.status) if kind is ErrorKind.UNLISTED and outcome.status is not None else None
    )
    return kind if rule is None else rule.kind


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
        "retryable": classification.worth_waiting or (transient and outcome.code != 50007),
        "may_have_executed": outcome.may_have_executed,
    }


def _sentence(request: Request, outcome: Outcome) -> str:
    details, code = outcome.details, outcome.code
    words = (details.error if details else None) or (TEXTS.get(code) if isinstance(code, int) else None)
    kind = _kind_of(outcome)
    what = (words or "").removeprefix("[Reason] ") or outcome.reason or _PHRASES.get(kind, kind.value)
    where = f"{request.method} {request.route.template}"
    response = ", ".join(
        part
        for part in (
            f"HTTP {outcome.status}" if outcome.status is not None else "",
            f"code {code}" if code is not None else "",
            f"request {details.request_id}" if details and details.request_id else "",
            f"{outcome.attempts} attempts" if outcome.attempts > 1 else "",
        )
        if part
    )
    parts = [f"{where}: {what.rstrip('.')}" + (f" ({response})." if response else ".")]
    if outcome.phase is Phase.NOT_SENT:
        parts.append(
            "Nothing was sent." if not outcome.may_have_executed else "An earlier attempt may have been carried out."
        )
    elif outcome.may_have_executed and request.route.operation is not Operation.SAFE:
        parts.append("The service may have done it.")
    if outcome.classification.verdict is Verdict.THROTTLED and outcome.retry_after:
        parts.append(f"Come back in {outcome.retry_after:g} s.")
    if advice := _ADVICE.get(kind):
        parts.append(advice)
    return " ".join(parts)
