"""Classification of an attempt: exactly one verdict per attempt, with or without a response."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from videoapi.protocol import codes, statuses
from videoapi.protocol.types import (
    ALWAYS,
    NEVER,
    ONCE,
    Classification,
    ErrorKind,
    Operation,
    Phase,
    Rule,
    Scope,
    Verdict,
)


class BodyKind(enum.Enum):
    """The kind of a response body that has no result code of a failure."""

    SUCCESS = "result 0 with the expected payload"
    FOREIGN = "result 0 without the expected payload, or the response to another request"
    CUT = "truncated, undecodable or too large"
    NONE = "no result"
    BOTH = "contradictory or duplicate results"


BodyResult = int | str | BodyKind
"""A result code (a number or a name), or the kind of a body without one."""

_CERTAINTY: Final = {Verdict.REJECTED: 0, Verdict.THROTTLED: 1, Verdict.UNKNOWN: 2}

_CUT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
_NO_RESULT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ONCE)
_FOREIGN = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, repeatable=ONCE)
_CONTRADICTION = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ONCE)

DONE: Final = Classification(Verdict.DONE)


def classify_response(
    operation: Operation, status: int, result: BodyResult, status_rule: Rule | None = None
) -> Classification:
    """Classify an attempt that got a response.

    Contradictory results prove nothing. For a 2xx status the result code decides, as some servers
    respond to everything with 200; for a body without a result (a gateway's page) the status decides.
    If both have a rule, the less certain one wins: a gateway's 502 stays unknown, whatever its body.

    Args:
        operation: The operation class of the route.
        status: HTTP status of the response.
        result: The result of the response body.
        status_rule: The rule that replaces the status's own (`trust_429`, `trust_503`), or None.
    """
    if status in statuses.OF_PROXIES:
        # A proxy or a captive network responded (RFC 9110, 15.5.8; RFC 6585, 6): the service did not see the request.
        return _classification(statuses.STATUSES[status], operation)
    if result is BodyKind.SUCCESS:
        return DONE if status in (200, 201) else _classification(_CONTRADICTION, operation)
    if result is BodyKind.BOTH:
        return _classification(_CONTRADICTION, operation)
    by_status = status_rule or statuses.rule_for_status(status)
    by_body = _body_rule(result)
    if isinstance(result, BodyKind) or by_body is None:
        return _classification(by_status or by_body or codes.UNLISTED, operation)
    scope = Scope.ACCOUNT if status == 401 else by_body.scope
    if by_status is None:
        return _classification(by_body, operation, scope)
    if by_body is codes.UNLISTED and status in (401, 425, 429):
        # An unauthenticated or throttled request is not executed, whatever the result code.
        return _classification(by_status, operation)
    if status == 409 and operation is not Operation.NON_REPEATABLE and by_body is not codes.UNLISTED:
        return _classification(by_body, operation, scope)
    less_certain = by_body if _CERTAINTY[by_body.verdict] >= _CERTAINTY[by_status.verdict] else by_status
    return _classification(less_certain, operation, scope)


def check_evidence(classification: Classification, result: BodyResult, *, names_object: bool) -> Classification:
    """Return what "not found" is evidence of: an object's absence, or a wrong base URL.

    Args:
        classification: The classification of a response.
        result: The result of its body.
        names_object: Whether the route's path contains the ID of an object.
    """
    if classification.kind is not ErrorKind.NOT_FOUND:
        return classification
    if not names_object:
        # Without an object to be missing, the address itself is wrong, and all calls will fail.
        return attrs.evolve(classification, kind=ErrorKind.BASE_URL, scope=Scope.ACCOUNT)
    # A 404 without a result code can come from a gateway, and says nothing about the object.
    return attrs.evolve(classification, kind=ErrorKind.BASE_URL) if isinstance(result, BodyKind) else classification


def classify_no_response(operation: Operation, phase: Phase, kind: ErrorKind) -> Classification:
    """Classify an attempt without a response: the phase and the kind of the error decide."""
    if phase is Phase.NOT_SENT:
        rule = statuses.BAD_CERTIFICATE if kind is ErrorKind.CERTIFICATE else statuses.REFUSED_CONNECTION
    else:
        rule = statuses.LOST_RESPONSE
    return Classification(
        rule.verdict, kind, rule.scope, rule.max_retries(operation) if kind is not ErrorKind.CERTIFICATE else NEVER
    )


def _body_rule(result: BodyResult) -> Rule | None:
    match result:
        case BodyKind.CUT:
            return _CUT
        case BodyKind.FOREIGN:
            return _FOREIGN
        case BodyKind():
            return _NO_RESULT
        case code if code in statuses.OF_PROXIES:
            # A proxy speaks by its status, not in the service's envelope.
            return codes.UNLISTED
        case code:
            rule = codes.rule_for_code(code)
            return statuses.rule_for_status(code) if rule is None and isinstance(code, int) else rule


def _classification(rule: Rule, operation: Operation, scope: Scope | None = None) -> Classification:
    return Classification(rule.verdict, rule.kind, scope or rule.scope, rule.max_retries(operation), rule.worth_waiting)
