"""One function that turns what happened to an attempt into exactly one verdict."""

from __future__ import annotations

import enum
from typing import Final

from videoapi.protocol import codes, statuses
from videoapi.protocol.verdicts import (
    ALWAYS,
    NEVER,
    ONCE,
    Judgement,
    Kind,
    Operation,
    Phase,
    Row,
    Scope,
    Verdict,
)


class Body(enum.Enum):
    """What a body said, where it gave no result code."""

    SUCCESS = "result 0, with what was asked for"
    FOREIGN = "result 0, but without what was asked for or plainly another's answer"
    CUT = "truncated, undecodable or oversize"
    NONE = "no result"
    BOTH = "two answers in one"


Said = int | str | Body
"""A result code (a number or a name), or what a body without one said."""

_CERTAINTY: Final = {Verdict.REJECTED: 0, Verdict.THROTTLED: 1, Verdict.UNKNOWN: 2}

_CUT = Row(Verdict.UNKNOWN, Kind.PROTOCOL, safe=ALWAYS, idempotent=ALWAYS, duplicable=ONCE)
_NO_RESULT = Row(Verdict.UNKNOWN, Kind.PROTOCOL, safe=ONCE)
_FOREIGN = Row(Verdict.UNKNOWN, Kind.PROTOCOL, duplicable=ONCE)
_CONTRADICTION = Row(Verdict.UNKNOWN, Kind.PROTOCOL, safe=ONCE)

DONE: Final = Judgement(Verdict.DONE)


def combine(operation: Operation, status: int, said: Said, status_row: Row | None = None) -> Judgement:
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
    if said is Body.SUCCESS:
        return DONE if status in (200, 201) else _judged(_CONTRADICTION, operation)
    if said is Body.BOTH:
        return _judged(_CONTRADICTION, operation)
    by_status = status_row or statuses.row_of(status)
    by_body = _body_row(said)
    if isinstance(said, Body) or by_body is None:
        return _judged(by_status or by_body or codes.UNLISTED, operation)
    scope = Scope.ACCOUNT if status == 401 else by_body.scope
    if by_status is None:
        return _judged(by_body, operation, scope)
    if status == 401 and by_body is codes.UNLISTED:
        # Nothing is carried out for somebody who was not let in, in whatever words that is told.
        return _judged(by_status, operation)
    if status == 409 and operation is not Operation.CREATING and by_body is not codes.UNLISTED:
        return _judged(by_body, operation, scope)
    less_certain = by_body if _CERTAINTY[by_body.verdict] >= _CERTAINTY[by_status.verdict] else by_status
    return _judged(less_certain, operation, scope)


def without_answer(operation: Operation, phase: Phase, kind: Kind) -> Judgement:
    """Judge an attempt that got no answer: the phase decides, nothing else is asked."""
    if phase is Phase.NOT_SENT:
        row = statuses.BAD_CERTIFICATE if kind is Kind.CERTIFICATE else statuses.REFUSED_CONNECTION
    else:
        row = statuses.LOST_ANSWER
    return Judgement(row.verdict, kind, row.scope, row.again(operation) if kind is not Kind.CERTIFICATE else NEVER)


def _body_row(said: Said) -> Row | None:
    match said:
        case Body.CUT:
            return _CUT
        case Body.FOREIGN:
            return _FOREIGN
        case Body():
            return _NO_RESULT
        case code:
            row = codes.row_of(code)
            return statuses.row_of(code) if row is None and isinstance(code, int) else row


def _judged(row: Row, operation: Operation, scope: Scope | None = None) -> Judgement:
    return Judgement(row.verdict, row.kind, scope or row.scope, row.again(operation), row.worth_waiting)
