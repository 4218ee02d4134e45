"""Retry decisions, backoff and `Retry-After`."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from videoapi.errors import ConfigurationError
from videoapi.protocol.backoff import FINAL, GiveUp, Retry, RetryPolicy, add_jitter, decide, jitter, parse_retry_after
from videoapi.protocol.types import ALWAYS, NEVER, ONCE, Classification, Operation, Verdict

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RANDOM = st.floats(0, 1)
UNREADABLE = 30
"""The wait in seconds for a `Retry-After` that cannot be read."""
THROTTLED = Classification(Verdict.THROTTLED, max_retries=ALWAYS)
UNKNOWN = Classification(Verdict.UNKNOWN, max_retries=ALWAYS)
UNKNOWN_ONCE = Classification(Verdict.UNKNOWN, max_retries=ONCE)
NOT_SENT = Classification(Verdict.NOT_SENT, max_retries=ALWAYS)


def step(
    classification: Classification,
    policy: RetryPolicy | None = None,
    *,
    operation: Operation = Operation.SAFE,
    attempt: int = 1,
    unknown: int | None = None,
    retry_after: float | None = None,
    left: float = 90.0,
    random_value: float = 1.0,
) -> Retry | GiveUp:
    if unknown is None:
        unknown = attempt if classification.verdict is Verdict.UNKNOWN else 0
    return decide(
        policy or RetryPolicy(),
        operation,
        classification,
        attempt=attempt,
        unknown=unknown,
        retry_after=retry_after,
        left=left,
        random=lambda: random_value,
    )


def retry_after_in(headers: dict[str, str]) -> float | None:
    return parse_retry_after(headers, lambda: NOW)


# Backoff.


def test_maximum_waits_double_up_to_the_cap() -> None:
    assert [jitter(0.25, 20, n, 1.0) for n in range(1, 10)] == [0.25, 0.5, 1, 2, 4, 8, 16, 20, 20]
    assert [jitter(1.0, 20, n, 0.5) for n in (1, 2, 3, 6)] == [0.5, 1, 2, 10]
    assert jitter(0.25, 20, 1_000_000, 1.0) == 20


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 10_000), RANDOM)
def test_wait_is_between_zero_and_its_maximum(base: float, cap: float, n: int, random_value: float) -> None:
    wait = jitter(base, cap, n, random_value)
    assert 0 <= wait <= cap
    assert wait <= jitter(base, cap, n + 1, random_value)
    assert jitter(base, cap, n, 0.0) == 0


@given(st.floats(0, 1e6), RANDOM)
def test_add_jitter_adds_at_most_a_tenth_and_one_second(seconds: float, random_value: float) -> None:
    assert seconds <= add_jitter(seconds, random_value) <= seconds + min(1.0, seconds / 10) + 1e-9


def test_first_wait_is_longer_when_throttled() -> None:
    assert step(UNKNOWN) == Retry(0.25)
    assert step(THROTTLED) == Retry(1.0)
    assert step(NOT_SENT, attempt=2) == Retry(0.5)


# Decisions.


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("verdict", [Verdict.DONE, Verdict.REJECTED])
def test_done_and_rejected_are_final(operation: Operation, verdict: Verdict) -> None:
    assert step(Classification(verdict, max_retries=ALWAYS), operation=operation) == FINAL


def test_default_limit_is_three_attempts() -> None:
    for classification in (UNKNOWN, THROTTLED, NOT_SENT):
        kinds = [isinstance(step(classification, attempt=n), Retry) for n in (1, 2, 3, 4)]
        assert kinds == [True, True, False, False]
        assert step(classification, attempt=3) == GiveUp("attempts")


def test_once_allows_one_retry_regardless_of_the_policy() -> None:
    patient = RetryPolicy(attempts=10)
    assert isinstance(step(UNKNOWN_ONCE, patient, unknown=1), Retry)
    assert step(UNKNOWN_ONCE, patient, attempt=2, unknown=2) == FINAL
    # Attempts that were certainly not executed do not count.
    assert isinstance(step(UNKNOWN_ONCE, patient, attempt=5, unknown=1), Retry)


def test_unsent_create_is_retried_until_the_deadline() -> None:
    creating = Operation.NON_REPEATABLE
    assert step(NOT_SENT, operation=creating, attempt=50) == Retry(20)
    assert step(NOT_SENT, operation=creating, attempt=50, left=20) == GiveUp("deadline")
    assert step(NOT_SENT, RetryPolicy(attempts=1), operation=creating) == GiveUp("attempts")
    assert step(THROTTLED, operation=creating, attempt=3) == GiveUp("attempts")
    assert step(NOT_SENT, operation=Operation.SAFE, attempt=50) == GiveUp("attempts")


def test_long_retry_after_gives_up() -> None:
    assert step(THROTTLED, retry_after=60, random_value=0.0) == Retry(60)
    assert step(THROTTLED, retry_after=60.5) == GiveUp("retry_after")
    assert step(THROTTLED, RetryPolicy(max_retry_after=2), retry_after=3) == GiveUp("retry_after")
    assert step(THROTTLED, retry_after=30, left=20) == GiveUp("deadline")
    assert step(THROTTLED, retry_after=0, random_value=0.0) == Retry(0)
    # The computed wait applies if it is longer.
    assert step(THROTTLED, retry_after=0) == Retry(1.0)
    assert step(THROTTLED, attempt=2, retry_after=1) == Retry(2.0)


@given(
    policy=st.builds(RetryPolicy, attempts=st.integers(1, 10), cap=st.floats(0, 60), max_retry_after=st.floats(0, 90)),
    operation=st.sampled_from(Operation),
    verdict=st.sampled_from(Verdict),
    max_retries=st.sampled_from([NEVER, ONCE, ALWAYS]),
    attempt=st.integers(1, 12),
    unknown=st.integers(0, 12),
    retry_after=st.none() | st.floats(0, 1e12),
    left=st.floats(-10, 100),
    random_value=RANDOM,
)
def test_decide_invariants(
    policy: RetryPolicy,
    operation: Operation,
    verdict: Verdict,
    max_retries: int,
    attempt: int,
    unknown: int,
    retry_after: float | None,
    left: float,
    random_value: float,
) -> None:
    if operation is Operation.NON_REPEATABLE:
        max_retries = ALWAYS if verdict in (Verdict.THROTTLED, Verdict.NOT_SENT) else NEVER
    decision = step(
        Classification(verdict, max_retries=max_retries),
        policy,
        operation=operation,
        attempt=attempt,
        unknown=unknown + (verdict is Verdict.UNKNOWN),
        retry_after=retry_after,
        left=left,
        random_value=random_value,
    )
    if isinstance(decision, GiveUp):
        assert decision.reason in ("final", "attempts", "retry_after", "deadline")
        return
    unsent_create = operation is Operation.NON_REPEATABLE and verdict is Verdict.NOT_SENT
    assert verdict not in (Verdict.DONE, Verdict.REJECTED)
    assert not (operation is Operation.NON_REPEATABLE and verdict is Verdict.UNKNOWN)
    assert attempt < policy.attempts or (unsent_create and policy.attempts > 1)
    assert decision.delay < left
    assert decision.delay >= (retry_after or 0)
    assert decision.delay <= max(policy.cap, policy.max_retry_after + 1)


# Retry-After.


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 7 ", 7),
        ("0010", 10),
        # A fraction is rounded up, and a unit is allowed.
        ("120.0", 120),
        ("1.5", 2),
        ("1.0", 1),
        ("0.001", 1),
        ("0.0", 0),
        (".5", 1),
        ("5.", 5),
        ("3s", 3),
        ("3 S", 3),
        ("2.5s", 3),
        ("2 sec", 2),
        ("2 secs", 2),
        ("1 second", 1),
        ("90 seconds", 90),
        # A day is the longest wait.
        ("86400", 86_400),
        ("86400.5", 86_400),
        ("86401", 86_400),
        ("999999999999", 86_400),
        ("1000000000000000000000", 86_400),
        ("9" * 8192, 86_400),
        ("9" * 8192 + ".5s", 86_400),
        ("Tue, 03 Mar 2026 12:00:09 GMT", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        # The service requested a wait, even if its length cannot be read.
        ("-5", UNREADABLE),
        ("+1", UNREADABLE),
        ("1e3", UNREADABLE),
        ("1,5", UNREADABLE),
        ("2, 3", UNREADABLE),
        ("5 bananas", UNREADABLE),
        (".", UNREADABLE),
        ("s", UNREADABLE),
        ("inf", UNREADABLE),
        ("nan", UNREADABLE),
        ("soon", UNREADABLE),
        ("", UNREADABLE),
        ("²", UNREADABLE),
        ("\u0661", UNREADABLE),
        ("0x10", UNREADABLE),
        ("Sun, 01 Mar 2026 12:00:09 GMT", 9),
        ("Sunday, 01-Mar-26 12:00:09 GMT", 9),
        ("Sun Mar  1 12:00:09 2026", 9),
        ("Sun, 01 Mar 2026 13:00:09 +0100", 9),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 99 Mar 2026 12:00:09 GMT", UNREADABLE),
        ("Sun, 01 Mar 99999 12:00:09 GMT", UNREADABLE),
        ("Sun, 01 Mar 2026 12:00:09 GMT" + " " * 100 + "x", UNREADABLE),
    ],
)
def test_parse_retry_after_reads_what_can_be_read(field: str, seconds: float) -> None:
    assert retry_after_in({"Retry-After": field}) == seconds


def test_missing_retry_after_is_none() -> None:
    assert retry_after_in({}) is None


@pytest.mark.parametrize("skew", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_retry_after_date_is_relative_to_the_response_date(skew: timedelta) -> None:
    served = NOW + skew
    later = format_datetime(served + timedelta(seconds=30), usegmt=True)
    assert retry_after_in({"Retry-After": later, "Date": format_datetime(served, usegmt=True)}) == 30


@pytest.mark.parametrize("date", ["", "yesterday", "x" * 100])
def test_local_clock_is_used_when_the_response_date_is_invalid(date: str) -> None:
    later = format_datetime(NOW + timedelta(seconds=30), usegmt=True)
    assert retry_after_in({"Retry-After": later, "Date": date}) == 30


def test_local_clock_is_not_called_when_not_needed() -> None:
    def never() -> datetime:
        raise AssertionError

    served = {"Retry-After": "Sun, 01 Mar 2026 12:00:09 GMT", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"}
    assert parse_retry_after(served, never) == 9
    assert parse_retry_after({"Retry-After": "3"}, never) == 3


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (("2", "9"), 9),
        (("9", "2"), 9),
        (("soon", "4"), 4),
        (("-1", "x"), UNREADABLE),
        (("5", "-1"), 5),
        (("1.2", "1"), 2),
        (("999999", "7"), 86_400),
    ],
)
def test_longest_valid_retry_after_field_applies(fields: tuple[str, ...], seconds: float) -> None:
    headers: CIMultiDict[str] = CIMultiDict([("retry-after", field) for field in fields])
    assert parse_retry_after(headers, lambda: NOW) == seconds


@given(st.text(), st.text())
def test_parse_retry_after_never_raises(field: str, date: str) -> None:
    seconds = retry_after_in({"Retry-After": field, "Date": date})
    assert seconds is not None
    assert 0 <= seconds <= 86_400


@given(st.floats(0, 1e9), st.sampled_from(["", "s", " s", " seconds"]))
def test_retry_after_is_never_shorter_than_the_number(number: float, unit: str) -> None:
    seconds = retry_after_in({"Retry-After": f"{number:f}{unit}"})
    assert seconds == min(86_400, math.ceil(float(f"{number:f}")))


# RetryPolicy.


@pytest.mark.parametrize(
    "invalid",
    [
        {"attempts": 0},
        {"attempts": 11},
        {"attempts": -1},
        {"attempts": 2.0},
        {"attempts": True},
        {"attempts": "3"},
        {"attempts": None},
        *({name: value} for name in ("base", "throttle_base", "cap", "max_retry_after") for value in (-1, math.inf)),
        {"base": math.nan},
        {"cap": "20"},
        {"cap": None},
        {"base": True},
    ],
    ids=repr,
)
def test_policy_error_names_the_field_out_of_range(invalid: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(invalid))):
        RetryPolicy(**invalid)


def test_policy_defaults() -> None:
    policy = RetryPolicy()
    assert (policy.attempts, policy.base, policy.throttle_base, policy.cap) == (3, 0.25, 1.0, 20.0)
    assert (policy.max_retry_after, policy.trust_429, policy.trust_503) == (60.0, True, False)
    assert RetryPolicy(attempts=1, base=0, cap=0, max_retry_after=0).attempts == 1
