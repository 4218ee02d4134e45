"""From a failed outcome to the error that tells it."""

from __future__ import annotations

from typing import Any, Final

from videoapi import errors
from videoapi.protocol import statuses
from videoapi.protocol.codes import TEXTS, TOKEN_REASONS, group_of
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.verdicts import Kind, Operation, Phase, Verdict

_CLASSES: Final[dict[Kind, type[errors.VideoAPIError]]] = {
    Kind.CONNECTION: errors.ConnectionFailed,
    Kind.CERTIFICATE: errors.ConnectionFailed,
    Kind.TIMEOUT: errors.CallTimeout,
    Kind.PROTOCOL: errors.ProtocolError,
    Kind.AUTHENTICATION: errors.AuthenticationFailed,
    Kind.PERMISSION: errors.PermissionDenied,
    Kind.NOT_FOUND: errors.NotFound,
    Kind.CONFLICT: errors.Conflict,
    Kind.RATE: errors.RateLimited,
    Kind.TOKEN: errors.TokenDenied,
    Kind.REQUEST: errors.RequestRejected,
    Kind.FAULT: errors.ServerFault,
}
_ADVICE: Final[dict[Kind, str]] = {
    Kind.CERTIFICATE: "Check the host's certificate, or name its authority with `ca_file=`.",
    Kind.AUTHENTICATION: "Check APP_ID and APP_KEY, and that both belong to this project.",
    Kind.PERMISSION: "Check that the project is active and may do this.",
    Kind.PROTOCOL: "Check that the base URL names the API itself.",
}
_PHRASES: Final[dict[Kind, str]] = {
    Kind.AUTHENTICATION: "the credentials were refused",
    Kind.PERMISSION: "the account may not do this",
    Kind.NOT_FOUND: "there is no such thing",
    Kind.CONFLICT: "the room's state forbids it",
    Kind.RATE: "too many requests",
    Kind.TOKEN: "no token for this room now",
    Kind.REQUEST: "the request was refused",
    Kind.FAULT: "the service failed",
    Kind.UNLISTED: "an answer that is not documented",
}
_TRANSIENT: Final = frozenset({Kind.CONNECTION, Kind.TIMEOUT, Kind.FAULT, Kind.RATE})


def error_of(request: Request, outcome: Outcome) -> errors.VideoAPIError:
    """Return the error that tells an outcome other than DONE: what, whether it may be done, what next."""
    kind = outcome.judgement.kind
    facts = _facts(request, outcome)
    text = _sentence(request, outcome)
    if request.route.operation is Operation.CREATING and outcome.may_have_executed:
        facts["retryable"] = False
        return errors.CreateOutcomeUnknown(
            f"{text} The room may exist; look for its reference before creating it again.",
            reference=request.reference,
            **facts,
        )
    if kind is Kind.TOKEN:
        return errors.TokenDenied(text, reason=TOKEN_REASONS.get(outcome.code or 0), **facts)
    return _class_of(outcome)(text, **facts)


def _kind_of(outcome: Outcome) -> Kind:
    """Return what to call it: a code that nobody documented proves nothing, but its status has a name for it."""
    kind = outcome.judgement.kind
    row = statuses.row_of(outcome.status) if kind is Kind.UNLISTED and outcome.status is not None else None
    return kind if row is None else row.kind


def _class_of(outcome: Outcome) -> type[errors.VideoAPIError]:
    kind, code = _kind_of(outcome), outcome.code
    if kind is not Kind.UNLISTED:
        return _CLASSES.get(kind, errors.ProtocolError)
    faulty = isinstance(code, int) and 50_000 <= code <= 59_999
    return errors.ServerFault if faulty else errors.RequestRejected


def _facts(request: Request, outcome: Outcome) -> dict[str, Any]:
    fault = outcome.fault
    judgement = outcome.judgement
    transient = _kind_of(outcome) in _TRANSIENT and judgement.verdict is not Verdict.REJECTED
    return {
        "method": request.method,
        "path": request.route.template,
        "status": outcome.status,
        "code": outcome.code,
        "group": group_of(outcome.code, outcome.status),
        "error": fault.error if fault else None,
        "desc": fault.desc if fault else None,
        "request_id": fault.request_id if fault else None,
        "attempts": outcome.attempts,
        "retry_after": outcome.retry_after,
        # 50007 is what a foreign room is answered with: asking again cannot help.
        "retryable": judgement.worth_waiting or (transient and outcome.code != 50007),
        "may_have_executed": outcome.may_have_executed,
    }


def _sentence(request: Request, outcome: Outcome) -> str:
    fault, code = outcome.fault, outcome.code
    words = (fault.error if fault else None) or (TEXTS.get(code) if isinstance(code, int) else None)
    kind = _kind_of(outcome)
    what = (words or "").removeprefix("[Reason] ") or outcome.reason or _PHRASES.get(kind, kind.value)
    where = f"{request.method} {request.route.template}"
    answer = ", ".join(
        part
        for part in (
            f"HTTP {outcome.status}" if outcome.status is not None else "",
            f"code {code}" if code is not None else "",
            f"request {fault.request_id}" if fault and fault.request_id else "",
            f"{outcome.attempts} attempts" if outcome.attempts > 1 else "",
        )
        if part
    )
    parts = [f"{where}: {what.rstrip('.')}" + (f" ({answer})." if answer else ".")]
    if outcome.phase is Phase.NOT_SENT:
        parts.append(
            "Nothing was sent." if not outcome.may_have_executed else "An earlier attempt may have been carried out."
        )
    elif outcome.may_have_executed and request.route.operation is not Operation.SAFE:
        parts.append("The service may have done it.")
    if outcome.judgement.verdict is Verdict.THROTTLED and outcome.retry_after:
        parts.append(f"Come back in {outcome.retry_after:g} s.")
    if advice := _ADVICE.get(kind):
        parts.append(advice)
    return " ".join(parts)
