"""What the attempts of a run show: why it waits, and which creates it has sent."""

from typing import Any

import pytest

from videoapi.cli.attempts import AttemptLog
from videoapi.events import AttemptEvent


def attempt(verdict: str, **facts: Any) -> AttemptEvent:
    given: dict[str, Any] = {
        "call_id": "1",
        "route": "rooms.create",
        "method": "POST",
        "path": "/rooms",
        "host": "a.example:443",
        "app_id": "a" * 24,
        "attempt": 1,
        "status": None,
        "code": None,
        "verdict": verdict,
        "reason": "",
        "seconds": 0.1,
        "waited": 0.0,
        "retry_in": None,
        "request_id": None,
        "headers": {},
        "reference": "vx1",
    }
    return AttemptEvent(**given | facts)


def test_pause_is_counted_down_although_earlier_requests_still_succeed() -> None:
    now = 100.0
    log = AttemptLog(clock=lambda: now)
    log(attempt("throttled", status=429, headers={"retry-after": "30"}))
    log(attempt("done"))
    assert log.waits() == "waiting 30 s: too many requests (HTTP 429)"
    now = 120.0
    assert log.waits() == "waiting 10 s: too many requests (HTTP 429)"
    now = 130.0
    assert log.waits() == ""


@pytest.mark.parametrize("retry_after", [{}, {"retry-after": "Fri, 27 Nov 2026 06:00:00 GMT"}])
def test_pause_of_unknown_length_lasts_until_the_next_response(retry_after: dict[str, str]) -> None:
    log = AttemptLog()
    log(attempt("throttled", status=429, headers=retry_after))
    assert log.waits() == "waiting for the service: too many requests"
    log(attempt("done"))
    assert log.waits() == ""


def test_unreachable_service_is_shown_until_it_answers() -> None:
    log = AttemptLog()
    log(attempt("not_sent", reason="connection refused"))
    assert log.waits() == "waiting for the service: connection refused"
    log(attempt("rejected"))
    assert log.waits() == ""


@pytest.mark.parametrize(("verdict", "sent"), [("done", True), ("unknown", True), ("not_sent", False)])
def test_create_counts_as_sent_once(verdict: str, sent: bool) -> None:
    log = AttemptLog()
    log(attempt(verdict))
    assert log.forget("vx1") is sent
    assert log.forget("vx1") is False
