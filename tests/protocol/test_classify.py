"""Each combination of operation, phase, status and code has exactly one verdict, as listed here.

These tables duplicate those of the library on purpose: changing a cell changes documented behavior,
so a test must fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.protocol import classify, codes, statuses
from videoapi.protocol.classify import BodyKind, BodyResult, check_evidence, classify_no_response, classify_response
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

# Status, code or body | verdict | scope | retries if safe, idempotent, repeatable | error kind
STATUS_TABLE = """
101 | unknown | item | no no no | protocol
300-399 | unknown | item | no no no | protocol
400 402 405 406 411 413 414 415 417 421 422 426 431 451 | rejected | item | no no no | request
401 | rejected | account | no no no | authentication
403 | rejected | account | no no no | permission
404 410 | rejected | item | no no no | not found
407 511 | rejected | account | no no no | proxy
408 | unknown | item | always always once | fault
409 | unknown | item | no no no | conflict
425 429 | throttled | item | always always always | rate
500 502 503 504 520-524 598 599 | unknown | item | always always once | fault
"""
OTHER_STATUSES = """
0-100 102-199 600-1099 | unknown | item | no no no | protocol
412 416 418-420 423 424 427 428 430 432-450 452-499 | unknown | item | no no no | unlisted
501 505-510 512-519 525-597 | unknown | item | no no no | fault
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
1 399 407 511 600 4001 9999 10031 10100 10107 10110 10115 | unknown | item | once once no | unlisted
10200 10206 40000 40003 | unknown | item | once once no | unlisted
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
NO_RESPONSE_TABLE = """
refused | not_sent | item | always always always | connection
certificate | not_sent | item | no no no | certificate
lost | unknown | item | always always once | connection
"""

LIMITS = {"no": NEVER, "once": ONCE, "always": ALWAYS}
OPERATIONS = (Operation.SAFE, Operation.IDEMPOTENT, Operation.REPEATABLE)
CERTAINTY = ("rejected", "throttled", "unknown")


@attrs.frozen
class ExpectedRule:
    verdict: str
    scope: str
    max_retries: tuple[int, int, int]
    kind: str

    def classification(
        self, operation: Operation, scope: str | None = None, *, waiting: bool = False
    ) -> Classification:
        if operation is Operation.NON_REPEATABLE:
            limit = ALWAYS if self.verdict in ("throttled", "not_sent") and self.kind != "certificate" else NEVER
        else:
            limit = self.max_retries[OPERATIONS.index(operation)]
        # A conflict ends with the session that causes it.
        waiting = waiting or self.kind == "conflict"
        return Classification(Verdict(self.verdict), ErrorKind(self.kind), Scope(scope or self.scope), limit, waiting)


def parse_table(text: str) -> dict[int | str, ExpectedRule]:
    table: dict[int | str, ExpectedRule] = {}
    for row in text.strip().splitlines():
        names, verdict, scope, max_retries, kind = (cell.strip() for cell in row.split("|"))
        safe, idempotent, repeatable = (LIMITS[word] for word in max_retries.split())
        for name in names.split():
            first, _, last = name.partition("-")
            spelled = range(int(first), int(last or first) + 1) if first.isdigit() else (name,)
            table |= dict.fromkeys(spelled, ExpectedRule(verdict, scope, (safe, idempotent, repeatable), kind))
    return table


LISTED_STATUSES = parse_table(STATUS_TABLE)
BY_STATUS = LISTED_STATUSES | parse_table(OTHER_STATUSES)
LISTED_CODES = parse_table(CODE_TABLE)
# A result from 400 to 599 is an HTTP status.
UNLISTED = parse_table(OTHER_CODES)
BY_CODE = LISTED_CODES | {code: BY_STATUS[code] for code in range(400, 600)} | UNLISTED
BY_BODY = parse_table(BODY_TABLE)
CONTRADICTED = parse_table(CONTRADICTION)["SUCCESS"]
NO_RESPONSE = parse_table(NO_RESPONSE_TABLE)

STATUSES = sorted({*LISTED_STATUSES, *range(0, 1100, 7), 0, 99, 100, 102, 199, 200, 201, 202, 204, 206, 299, 600})
RESULTS: list[BodyResult] = [*BodyKind, *BY_CODE]


def expected(operation: Operation, status: int, result: BodyResult) -> Classification:
    if status in (407, 511):
        # A proxy responded, whatever the body.
        return BY_STATUS[status].classification(operation)
    if result is BodyKind.SUCCESS and status in (200, 201):
        return Classification(Verdict.DONE)
    if result is BodyKind.SUCCESS or result is BodyKind.BOTH:
        return CONTRADICTED.classification(operation)
    by_status = None if 200 <= status <= 299 else BY_STATUS[status]
    if isinstance(result, BodyKind):
        return (by_status or BY_BODY[result.name]).classification(operation)
    by_code, waiting = BY_CODE[result], result in (10113, 10114)
    listed = result not in UNLISTED
    scope = "account" if status == 401 else by_code.scope
    if by_status is None:
        return by_code.classification(operation, scope, waiting=waiting)
    if not listed and status in (401, 425, 429):
        return by_status.classification(operation)
    settled = status == 409 and listed and operation is not Operation.NON_REPEATABLE
    if settled or CERTAINTY.index(by_code.verdict) >= CERTAINTY.index(by_status.verdict):
        return by_code.classification(operation, scope, waiting=waiting)
    return by_status.classification(operation, scope)


@pytest.mark.parametrize("operation", Operation)
def test_every_status_and_body_matches_the_tables(operation: Operation) -> None:
    wrong = [
        (status, result, actual)
        for status in STATUSES
        for result in RESULTS
        if (actual := classify_response(operation, status, result)) != expected(operation, status, result)
    ]
    assert wrong == []


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("phase", [Phase.NOT_SENT, Phase.SENT, Phase.ANSWERED])
@pytest.mark.parametrize("kind", [ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.PROTOCOL, ErrorKind.CERTIFICATE])
def test_phase_decides_without_a_response(operation: Operation, phase: Phase, kind: ErrorKind) -> None:
    actual = classify_no_response(operation, phase, kind)
    if kind is ErrorKind.CERTIFICATE:
        assert actual.max_retries == NEVER
        assert (actual.verdict is Verdict.NOT_SENT) == (phase is Phase.NOT_SENT)
    else:
        rule = NO_RESPONSE["refused" if phase is Phase.NOT_SENT else "lost"]
        assert actual == attrs.evolve(rule.classification(operation), kind=kind)


def test_untrusted_certificate_is_never_retried() -> None:
    for operation in Operation:
        actual = classify_no_response(operation, Phase.NOT_SENT, ErrorKind.CERTIFICATE)
        assert actual == NO_RESPONSE["certificate"].classification(operation)


@pytest.mark.parametrize(
    ("operation", "status", "result", "verdict", "scope"),
    [
        # A gateway's rejection counts; the result code in a 502 does not.
        (Operation.NON_REPEATABLE, 400, BodyKind.NONE, Verdict.REJECTED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 502, BodyKind.NONE, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 502, 10002, Verdict.UNKNOWN, Scope.ITEM),
        # If a server responds to everything with 200, the code decides.
        (Operation.NON_REPEATABLE, 200, 10002, Verdict.REJECTED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 200, 10105, Verdict.THROTTLED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 200, 50001, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.SAFE, 200, 429, Verdict.THROTTLED, Scope.ITEM),
        # A throttled request was not executed, even if the code is not listed; a listed code may contradict that.
        (Operation.NON_REPEATABLE, 429, 12345, Verdict.THROTTLED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 429, "SLOW_DOWN", Verdict.THROTTLED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 425, 12345, Verdict.THROTTLED, Scope.ITEM),
        (Operation.NON_REPEATABLE, 429, 50001, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 503, 12345, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 400, 12345, Verdict.UNKNOWN, Scope.ITEM),
        # Contradictory results prove nothing.
        (Operation.NON_REPEATABLE, 400, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 429, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 206, BodyKind.SUCCESS, Verdict.UNKNOWN, Scope.ITEM),
        # 408 may close an idle connection, and 409 may result from an earlier attempt of the call.
        (Operation.NON_REPEATABLE, 408, BodyKind.NONE, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.NON_REPEATABLE, 409, 10030, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.IDEMPOTENT, 409, 10030, Verdict.REJECTED, Scope.ITEM),
        # A proxy's rejection counts whatever its body, because the service did not see the request.
        (Operation.NON_REPEATABLE, 407, BodyKind.NONE, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 407, BodyKind.SUCCESS, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 407, 50001, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.NON_REPEATABLE, 200, 407, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.SAFE, 200, 511, Verdict.UNKNOWN, Scope.ITEM),
        (Operation.SAFE, 511, BodyKind.CUT, Verdict.REJECTED, Scope.ACCOUNT),
        (Operation.IDEMPOTENT, 511, BodyKind.BOTH, Verdict.REJECTED, Scope.ACCOUNT),
        # Rejections of the account, and of one item.
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
def test_error_prone_cases(
    operation: Operation, status: int, result: BodyResult, verdict: Verdict, scope: Scope
) -> None:
    actual = classify_response(operation, status, result)
    assert (actual.verdict, actual.scope) == (verdict, scope)


@given(st.sampled_from(Operation), st.integers(), st.one_of(st.sampled_from(BodyKind), st.integers(), st.text()))
def test_any_result_is_classified_and_unknown_creates_are_not_retried(
    operation: Operation, status: int, result: BodyResult
) -> None:
    actual = classify_response(operation, status, result)
    assert actual.verdict in Verdict
    assert actual.verdict is not Verdict.NOT_SENT
    assert (actual.verdict is Verdict.DONE) == (result is BodyKind.SUCCESS and status in (200, 201))
    if operation is Operation.NON_REPEATABLE and actual.verdict is Verdict.UNKNOWN:
        assert actual.max_retries == NEVER
    if actual.verdict is Verdict.REJECTED:
        assert actual.max_retries == NEVER


# "Not found" is evidence of an object's absence only if the service says it about an object.


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind is not ErrorKind.NOT_FOUND])
@pytest.mark.parametrize("names_object", [True, False])
def test_evidence_concerns_only_not_found(kind: ErrorKind, names_object: bool) -> None:
    for verdict in Verdict:
        for scope in Scope:
            classification = Classification(verdict, kind, scope, ALWAYS, worth_waiting=True)
            for result in RESULTS:
                assert check_evidence(classification, result, names_object=names_object) == classification


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    ("status", "result", "with_id", "without_id"),
    [
        (404, 40001, ("not found", "item"), ("base URL", "account")),
        (410, 40001, ("not found", "item"), ("base URL", "account")),
        (200, 40001, ("not found", "item"), ("base URL", "account")),
        (200, 404, ("not found", "item"), ("base URL", "account")),
        (404, 404, ("not found", "item"), ("base URL", "account")),
        (404, BodyKind.NONE, ("base URL", "item"), ("base URL", "account")),
        (404, BodyKind.CUT, ("base URL", "item"), ("base URL", "account")),
        (404, BodyKind.FOREIGN, ("base URL", "item"), ("base URL", "account")),
        (410, BodyKind.NONE, ("base URL", "item"), ("base URL", "account")),
        (410, BodyKind.CUT, ("base URL", "item"), ("base URL", "account")),
        (400, BodyKind.NONE, ("request", "item"), ("request", "item")),
        (401, BodyKind.NONE, ("authentication", "account"), ("authentication", "account")),
    ],
)
def test_not_found_without_an_id_or_a_code_is_about_the_base_url(
    operation: Operation, status: int, result: BodyResult, with_id: tuple[str, str], without_id: tuple[str, str]
) -> None:
    before = classify_response(operation, status, result)
    for names_object, (kind, scope) in ((True, with_id), (False, without_id)):
        after = check_evidence(before, result, names_object=names_object)
        assert (after.kind, after.scope) == (ErrorKind(kind), Scope(scope))
        assert attrs.evolve(after, kind=before.kind, scope=before.scope) == before
        assert (after.verdict, after.max_retries) == (Verdict.REJECTED, NEVER)


def test_codes_with_a_text_have_a_rule() -> None:
    numbers = {code for code in codes.CODES if isinstance(code, int)}
    assert numbers == {*codes.TEXTS, 10027, 10028, 10029}


# Each mutated rule is detected.


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


def survives(status: int, result: BodyResult) -> bool:
    try:
        return all(classify_response(o, status, result) == expected(o, status, result) for o in Operation)
    except KeyError:
        # A response never has the verdict "done" or "not sent" by a rule.
        return False


def test_mutated_code_rule_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_mutated_status_rule_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    survivors = []
    for status, row in statuses.STATUSES.items():
        for mutant in mutants(row):
            monkeypatch.setattr(statuses, "STATUSES", {**statuses.STATUSES, status: mutant})
            survivors += [(status, mutant)] if survives(status, BodyKind.NONE) else []
            monkeypatch.undo()
    assert survivors == []
    assert set(statuses.STATUSES) == set(LISTED_STATUSES)


@pytest.mark.parametrize(
    ("module", "name", "status", "result"),
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
def test_mutated_body_or_fallback_rule_is_detected(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, status: int, result: BodyResult
) -> None:
    assert survives(status, result)
    for mutant in mutants(getattr(module, name)):
        monkeypatch.setattr(module, name, mutant)
        assert not survives(status, result), mutant
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("name", "phase", "kind"),
    [
        ("REFUSED_CONNECTION", Phase.NOT_SENT, ErrorKind.CONNECTION),
        ("LOST_RESPONSE", Phase.SENT, ErrorKind.CONNECTION),
    ],
)
def test_mutated_no_response_rule_is_detected(
    monkeypatch: pytest.MonkeyPatch, name: str, phase: Phase, kind: ErrorKind
) -> None:
    rule = NO_RESPONSE["refused" if phase is Phase.NOT_SENT else "lost"]
    for mutant in mutants(getattr(statuses, name)):
        if mutant.kind is not kind or mutant.worth_waiting:
            continue  # The caller sets these two, not the rule.
        monkeypatch.setattr(statuses, name, mutant)
        assert any(classify_no_response(o, phase, kind) != rule.classification(o) for o in Operation), mutant
        monkeypatch.undo()
