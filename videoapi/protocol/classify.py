"""One function that turns what happened to an attempt into exactly one verdict."""

from __future__ import annotations

import enum
from typing import Final

from videoapi.protocol import codes, statuses
from videoapi.protocol.verdicts import (
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
    """What a body said, where it gave no result code."""

    SUCCESS = "result 0, with what was asked for"
    FOREIGN = "result 0, but without what was asked for or plainly another's answer"
    CUT = "truncated, undecodable or oversize"
    NONE = "no result"
    BOTH = "two answers in one"


BodyResult = int | str | BodyKind
"""A result code (a number or a name), or what a body without one said."""

_CERTAINTY: Final = {Verdict.REJECTED: 0, Verdict.THROTTLED: 1, Verdict.UNKNOWN: 2}

_CUT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ALWAYS, idempotent=ALWAYS, repeatable=ONCE)
_NO_RESULT = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ONCE)
_FOREIGN = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, repeatable=ONCE)
_CONTRADICTION = Rule(Verdict.UNKNOWN, ErrorKind.PROTOCOL, safe=ONCE)

DONE: Final = Classification(Verdict.DONE)


def classify_response(
    operation: Operation, status: int, result: BodyResult, status_rule: Rule | None = None
) -> Classification:
    """Judge an attempt that was answered.

    Two answers that contradict each other prove nothing. A 2xx has no opinion, so that a server
    which answers everything with 200 is judged by the code; a body that says nothing has none
    either, so that a gateway's page is judged by its status. Where both have one, the less certain
    wins: a gateway's 502 stays unknown, whatever stands in its body.

    Args:
        operation: The route's class.
        status: HTTP status of the answer.
        said: What the body said.
        status_row: The status's row where the caller overrides the table (`trust_429`, `trust_503`).
    """
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
    if status == 401 and by_body is codes.UNLISTED:
        # Nothing is carried out for somebody who was not let in, in whatever words that is told.
        return _classification(by_status, operation)
    if status == 409 and operation is not Operation.NON_REPEATABLE and by_body is not codes.UNLISTED:
        return _classification(by_body, operation, scope)
    less_certain = by_body if _CERTAINTY[by_body.verdict] >= _CERTAINTY[by_status.verdict] else by_status
    return _classification(less_certain, operation, scope)


def classify_no_response(operation: Operation, phase: Phase, kind: ErrorKind) -> Classification:
    """Judge an attempt that got no answer: the phase decides, nothing else is asked."""
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
        case code:
            rule = codes.rule_for_code(code)
            return statuses.rule_for_status(code) if rule is None and isinstance(code, int) else rule


def _classification(rule: Rule, operation: Operation, scope: Scope | None = None) -> Classification:
    return Classification(rule.verdict, rule.kind, scope or rule.scope, rule.max_retries(operation), rule.worth_waiting)
