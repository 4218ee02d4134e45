"""Every combination of class, phase, status and code has exactly one verdict, the one written here.

The tables stand here a second time, as text and on purpose: a changed cell of the library's own is
a changed promise, and must be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.protocol import classify, codes, statuses
from videoapi.protocol.classify import BodyKind, BodyResult, classify_no_response, classify_response
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

# What is seen | verdict | whose | safe, idempotent, repeatable: how often again | what sort of error
STATUS_TABLE = """
101 | unknown | item | no no no | protocol
300-399 | unknown | item | no no no | protocol
400 402 405 406 411 413 414 415 417 421 422 426 431 451 | rejected | item | no no no | request
401 | rejected | account | no no no | authentication
403 | rejected | account | no no no | permission
404 410 | rejected | item | no no no | not found
408 | unknown | item | always always once | fault
409 | unknown | item | no no no | conflict
425 429 | throttled | item | always always always | rate
500 502 503 504 520-524 598 599 | unknown | item | always always once | fault
"""
OTHER_STATUSES = """
0-100 102-199 600-1099 | unknown | item | no no no | protocol
407 412 416 418-420 423 424 427 428 430 432-450 452-499 | unknown | item | no no no | unlisted
501 505-519 525-597 | unknown | item | no no no | fault
"""
CODE_TABLE = """
10000 UNAUTHORIZED CREDENTIAL_EXPIRED | rejected | account | no no no | authentication
PROJECT_SUSPENDED | rejected | account | no no no | permission
10001-10029 10101-10104 10106 10201-10205 INVALID_PARAM | rejected | item | no no no | request
10030 | rejected | item | no no no | conflict
10105 RATE_LIMITED | throttled | item | always always always | rate
10111 10112 10113 10114 40002 | rejected | item | no no no | token
40001 | rejected | item | no no no | not found
50000 50001 | unknown | item | once once no | fault
50002 50003 | unknown | item | always once no | fault
50004 50005 | unknown | item | once always no | fault
50007 | unknown | item | no once no | fault
"""
OTHER_CODES = """
1 399 600 4001 9999 10031 10100 10107 10110 10115 10200 10206 40000 40003 | unknown | item | once once no | unlisted
50006 50008 59999 99999 SOMETHING_NEW INVALID_PARAMS | unknown | item | once once no | unlisted
"""
BODY_TABLE = """
CUT | unknown | item | always always once | protocol
NONE | unknown | item | once no no | protocol
FOREIGN | unknown | item | no no once | protocol
BOTH | unknown | item | once no no | protocol
"""
CONTRADICTION = """
SUCCESS | unknown | item | once no no | protocol
"""
NO_ANSWER = """
refused | not_sent | item | always always always | connection
certificate | not_sent | item | no no no | certificate
lost | unknown | item | always always once | connection
"""

TIMES = {"no": NEVER, "once": ONCE, "always": ALWAYS}
CLASSES = (Operation.SAFE, Operation.IDEMPOTENT, Operation.REPEATABLE)
CERTAINTY = ("rejected", "throttled", "unknown")


@attrs.frozen
class Line:
    verdict: str
    scope: str
    again: tuple[int, int, int]
    kind: str

    def classification(
        self, operation: Operation, scope: str | None = None, *, waiting: bool = False
    ) -> Classification:
        if operation is Operation.NON_REPEATABLE:
            again = ALWAYS if self.verdict in ("throttled", "not_sent") and self.kind != "certificate" else NEVER
        else:
            again = self.again[CLASSES.index(operation)]
        return Classification(Verdict(self.verdict), ErrorKind(self.kind), Scope(scope or self.scope), again, waiting)


def lines(text: str) -> dict[int | str, Line]:
    table: dict[int | str, Line] = {}
    for row in text.strip().splitlines():
        names, verdict, scope, again, kind = (cell.strip() for cell in row.split("|"))
        safe, idempotent, repeatable = (TIMES[word] for word in again.split())
        for name in names.split():
            first, _, last = name.partition("-")
            spelled = range(int(first), int(last or first) + 1) if first.isdigit() else (name,)
            table |= dict.fromkeys(spelled, Line(verdict, scope, (safe, idempotent, repeatable), kind))
    return table


LISTED_STATUSES = lines(STATUS_TABLE)
BY_STATUS = LISTED_STATUSES | lines(OTHER_STATUSES)
LISTED_CODES = lines(CODE_TABLE)
# A three-digit result from 400 to 599 is that status.
BY_CODE = LISTED_CODES | lines(OTHER_CODES) | {code: BY_STATUS[code] for code in range(400, 600)}
BY_BODY = lines(BODY_TABLE)
CONTRADICTED = lines(CONTRADICTION)["SUCCESS"]
WITHOUT = lines(NO_ANSWER)

STATUSES = sorted({*LISTED_STATUSES, *range(0, 1100, 7), 0, 99, 100, 102, 199, 200, 201, 202, 204, 206, 299, 600})
SAID: list[BodyResult] = [*BodyKind, *BY_CODE]


def expected(operation: Operation, status: int, said: BodyResult) -> Classification:
    if said is BodyKind.SUCCESS and status in (200, 201):
        return Classification(Verdict.DONE)
    if said is BodyKind.SUCCESS or said is BodyKind.BOTH:
        return CONTRADICTED.classification(operation)
    by_status = None if 200 <= status <= 299 else BY_STATUS[status]
    if isinstance(said, BodyKind):
        return (by_status or BY_BODY[said.name]).classification(operation)
    by_code, waiting = BY_CODE[said], said == 10113
    listed = said in LISTED_CODES or (isinstance(said, int) and 400 <= said <= 599)
    scope = "account" if status == 401 else by_code.scope
    if by_status is None:
        return by_code.classification(operation, scope, waiting=waiting)
    if status == 401 and not listed:
        return by_status.classification(operation)
    settled = status == 409 and listed and operation is not Operation.NON_REPEATABLE
    if settled or CERTAINTY.index(by_code.verdict) >= CERTAINTY.index(by_status.verdict):
        return by_code.classification(operation, scope, waiting=waiting)
    return by_status.classification(operation, scope)


@pytest.mark.parametrize("operation", Operation)
def test_every_status_with_every_body_has_the_verdict_of_the_tables(operation: Operation) -> None:
    wrong = [
        (status, said, judged)
        for status in STATUSES
        for said in SAID
        if (judged := classify_response(operation, status, said)) != expected(operation, status, said)
    ]
    assert wrong == []


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("phase", [Phase.NOT_SENT, Phase.SENT, Phase.ANSWERED])
@pytest.mark.parametrize("kind", [ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.PROTOCOL, ErrorKind.CERTIFICATE])
def test_without_an_answer_the_phase_alone_decides(operation: Operation, phase: Phase, kind: ErrorKind) -> None:
    judged = classify_no_response(operation, phase, kind)
    if kind is ErrorKind.CERTIFICATE:
        assert judged.max_retries == NEVER
        assert (judged.verdict is Verdict.NOT_SENT) == (phase is Phase.NOT_SENT)
    else:
        line = WITHOUT["refused" if phase is Phase.NOT_SENT else "lost"]
        assert judged == attrs.evolve(line.classification(operation), kind=kind)


def test_a_certificate_that_is_not_trusted_is_never_tried_again() -> None:
    for operation in Operation:
        judged = classify_no_response(operation, Phase.NOT_SENT, ErrorKind.CERTIFICATE)
        assert judged == WITHOUT["certificate"].classification(operation)


@pytest.mark.parametrize(
    ("operation", "status", "said", "verdict", "scope"),
    [
        # A gateway's refusal counts, its page does not.
        (Operation.NON_REPEATABLE, 400, BodyKind.NONE, Verdict.REJECTED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 502, BodyKind.NONE, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 502, 10002, Verdict.UNKNOWN, Scope.ITEM),
        # A server that answers everything with 200 is judged by the code.
        (Operation.NON_REPEATABLE, 200, 10002, Verdict.REJECTED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 200, 10105, Verdict.THROTTLED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 200, 50001, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.SAFE, 200, 429, Verdict.THROTTLED, Scope.ITEM),
        # Two answers that contradict each other prove nothing.
        (Operation.NON_REPEATABLE, 400, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 429, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 206, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        # A stray goodbye of an idle connection, and the echo of an own attempt.
        (Operation.NON_REPEATABLE, 408, BodyKind.NONE, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 409, 10030, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.IDEMPOTENT, 409, 10030, Verdict.REJECTED, Scope.ITEM),
        # The account's refusals, and those that are one item's.
        (Operation.NON_REPEATABLE, 401, BodyKind.NONE, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 401, 1, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 403, BodyKind.NONE, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 403, 10000, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 200, 10000, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.REPEATABLE, 403, 10114, Verdict.REJECTED, Scope.ITEM),
        (Operation.REPEATABLE, 403, 40002, Verdict.REJECTED, Scope.ITEM),
        (Operation.REPEATABLE, 200, 10113, Verdict.REJECTED, Scope.ITEM),
        (Operation.IDEMPOTENT, 403, 10030, Verdict.REJECTED, Scope.ITEM),
        (Operation.REPEATABLE, 403, "PROJECT_SUSPENDED", Verdict.REJECTED, Scope.ACCOUNT),
    ],
)
def test_cases_that_are_easily_got_wrong(
    operation: Operation, status: int, said: BodyResult, verdict: Verdict, scope: Scope
) -> None:
    judged = classify_response(operation, status, said)
    assert (judged.verdict, judged.scope) == (verdict, scope)


@given(st.sampled_from(Operation), st.integers(), st.one_of(st.sampled_from(BodyKind), st.integers(), st.text()))
def test_whatever_comes_is_judged_and_a_doubtful_create_is_never_sent_again(
    operation: Operation, status: int, said: BodyResult
) -> None:
    judged = classify_response(operation, status, said)
    assert judged.verdict in Verdict
    assert judged.verdict is not Verdict.NOT_SENT
    assert (judged.verdict is Verdict.DONE) == (said is BodyKind.SUCCESS and status in (200, 201))
    if operation is Operation.NON_REPEATABLE and judged.verdict is Verdict.UNKNOWN:
        assert judged.max_retries == NEVER
    if judged.verdict is Verdict.REJECTED:
        assert judged.max_retries == NEVER


def test_the_codes_with_a_text_are_the_codes_with_a_row() -> None:
    numbers = {code for code in codes.CODES if isinstance(code, int)}
    assert numbers == {*codes.TEXTS, 10027, 10028, 10029}


# A mutation of any row is caught.


def mutants(row: Rule) -> Iterator[Rule]:
    for field, values in (
        ("verdict", Verdict),
        ("scope", Scope),
        ("kind", ErrorKind),
        ("safe", (NEVER, ONCE, ALWAYS)),
        ("idempotent", (NEVER, ONCE, ALWAYS)),
        ("repeatable", (NEVER, ONCE, ALWAYS)),
        ("worth_waiting", (False, True)),
    ):
        for value in values:
            if value != getattr(row, field):
                yield attrs.evolve(row, **{field: value})


def survives(status: int, said: BodyResult) -> bool:
    try:
        return all(classify_response(o, status, said) == expected(o, status, said) for o in Operation)
    except KeyError:
        # No row can say "done" or "not sent" about an answer.
        return False


def test_a_mutation_of_any_code_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    survivors = []
    for code, row in codes.CODES.items():
        for mutant in mutants(row):
            monkeypatch.setattr(codes, "CODES", {**codes.CODES, code: mutant})
            survivors += [(code, mutant)] if survives(200, code) else []
            monkeypatch.undo()
        monkeypatch.setattr(codes, "CODES", {c: r for c, r in codes.CODES.items() if c != code})
        survivors += [(code, "left out")] if survives(200, code) else []
        monkeypatch.undo()
    assert survivors == []
    assert set(codes.CODES) == set(LISTED_CODES)


def test_a_mutation_of_any_status_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    survivors = []
    for status, row in statuses.STATUSES.items():
        for mutant in mutants(row):
            monkeypatch.setattr(statuses, "STATUSES", {**statuses.STATUSES, status: mutant})
            survivors += [(status, mutant)] if survives(status, BodyKind.NONE) else []
            monkeypatch.undo()
    assert survivors == []
    assert set(statuses.STATUSES) == set(LISTED_STATUSES)


@pytest.mark.parametrize(
    ("module", "name", "status", "said"),
    [
        (classify, "_CUT", 200, BodyKind.CUT),
        (classify, "_NO_RESULT", 200, BodyKind.NONE),
        (classify, "_FOREIGN", 200, BodyKind.FOREIGN),
        (classify, "_CONTRADICTION", 200, BodyKind.BOTH),
        (classify, "_CONTRADICTION", 400, BodyKind.SUCCESS),
        (codes, "UNLISTED", 200, 99999),
        (statuses, "_OTHER_FAULT", 501, BodyKind.NONE),
        (statuses, "_OTHER_CLIENT", 418, BodyKind.NONE),
        (statuses, "_NO_STATUS", 1000, BodyKind.NONE),
    ],
)
def test_a_mutation_of_the_other_rows_is_caught(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, status: int, said: BodyResult
) -> None:
    assert survives(status, said)
    for mutant in mutants(getattr(module, name)):
        monkeypatch.setattr(module, name, mutant)
        assert not survives(status, said), mutant
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("name", "phase", "kind"),
    [
        ("REFUSED_CONNECTION", Phase.NOT_SENT, ErrorKind.CONNECTION),
        ("LOST_RESPONSE", Phase.SENT, ErrorKind.CONNECTION),
    ],
)
def test_a_mutation_of_the_rows_for_silence_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, phase: Phase, kind: ErrorKind
) -> None:
    line = WITHOUT["refused" if phase is Phase.NOT_SENT else "lost"]
    for mutant in mutants(getattr(statuses, name)):
        if mutant.kind is not kind or mutant.worth_waiting:
            continue  # Of these two the caller speaks, not the row.
        monkeypatch.setattr(statuses, name, mutant)
        assert any(classify_no_response(o, phase, kind) != line.classification(o) for o in Operation), mutant
        monkeypatch.undo()
