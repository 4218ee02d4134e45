"""What the attempts of a run show: why it waits, and which creates it has sent."""

from typing import Any

import pytest

from videoapi.cli.attempts import AttemptLog
from videoapi.events import AttemptEvent, log, log_unknown


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


def test_short_pauses_between_successes_are_not_counted_down() -> None:
    now = 100.0
    log = AttemptLog(clock=lambda: now)
    for _ in range(4):
        log(attempt("throttled", status=429, headers={"retry-after": "1"}))
        assert log.waits() in ("waiting 1 s: too many requests (HTTP 429)", "slowed down by the service (HTTP 429)")
        now += 1
        log(attempt("done"))
        assert log.waits() == "slowed down by the service (HTTP 429)"
    now += 5
    assert log.waits() == ""


def test_service_that_is_silent_after_a_pause_is_shown_as_such() -> None:
    now = 100.0
    log = AttemptLog(clock=lambda: now)
    log(attempt("throttled", status=429, headers={"retry-after": "2"}))
    assert log.waits() == "waiting 2 s: too many requests (HTTP 429)"
    now = 122.0
    assert log.waits() == "no response for 20 s since the pause (HTTP 429)"
    log(attempt("done"))
    assert log.waits() == ""


@pytest.mark.parametrize("retry_after", [{}, {"retry-after": "Fri, 27 Nov 2026 06:00:00 GMT"}])
def test_pause_of_unknown_length_lasts_until_the_next_response(retry_after: dict[str, str]) -> None:
    now = 100.0
    log = AttemptLog(clock=lambda: now)
    log(attempt("throttled", status=429, headers=retry_after))
    assert log.waits() == "waiting for the service: too many requests"
    now = 120.0
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


def test_warnings_about_the_run_are_kept_and_those_of_items_are_not() -> None:
    attempts = AttemptLog()
    level = log.level
    with attempts.logged():
        for _ in range(2):
            log.warning("self-check rooms were not deleted: %s", "HTTP 503")
        log_unknown("rooms.create", "vx1")
        log.info("retrying rooms.list in 0.1 s")
    log.warning("afterwards")
    assert attempts.warnings == ["self-check rooms were not deleted: HTTP 503"]
    assert log.level == level


def test_list_that_cannot_be_read_is_waited_for_until_a_request_succeeds() -> None:
    attempts = AttemptLog()
    with attempts.logged():
        log.info("the list of rooms could not be read (%s); reading it again in 1.0 s", "HTTP 503")
    assert attempts.waits() == "the list of rooms could not be read (HTTP 503); reading it again in 1.0 s"
    attempts(attempt("rejected"))
    assert attempts.waits() != ""
    attempts(attempt("done"))
    assert attempts.waits() == ""


def test_many_refusals_are_answered_with_advice_on_the_rate() -> None:
    log, all_of_them = AttemptLog(), AttemptLog()
    for number in range(100):
        log(attempt("throttled" if number < 9 else "done"))
    assert log.throttled() == all_of_them.throttled() == ""
    log(attempt("throttled"))
    log(attempt("throttled"))
    assert "refused 11 of 102 requests as too many (HTTP 429). Give a --rate below its limit" in log.throttled()
    # A worker process gives its counts to the command.
    all_of_them.add_counts(*log.take_counts())
    assert all_of_them.throttled().startswith("The service has refused 11 of 102")
    assert log.throttled() == ""
