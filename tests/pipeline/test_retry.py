"""The retry loop, with a scripted transport and a simulated clock."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.script import Time, ask, wire, with_retries

from videoapi.events import AttemptEvent, Event
from videoapi.protocol import routes
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request, Route
from videoapi.protocol.types import ErrorKind, Operation, Verdict

ROUTE = {
    Operation.SAFE: routes.GET_ROOM,
    Operation.IDEMPOTENT: routes.UPDATE_ROOM,
    Operation.REPEATABLE: routes.CREATE_TOKEN,
    Operation.NON_REPEATABLE: routes.CREATE_ROOM,
}

STEPS = ("ok", "502", "503", "lost", "late", "refused", "untrusted", "429", "429@2", "200", "200/50001", "400", "409")


async def play(script: str, request: Request, *, throw: float = 1.0) -> tuple[Outcome, int, list[float]]:
    """Play a script; return the outcome, the number of attempts, and the waits in seconds."""
    time = Time(throw)
    transport = wire(time, script)
    (outcome,) = await time.run(with_retries(transport, time.account())(request))
    return outcome, transport.count, time.naps


@pytest.mark.parametrize(
    ("script", "safe", "idempotent", "repeatable", "non_repeatable"),
    [
        ("ok", 1, 1, 1, 1),
        ("502 502 502 ok", 3, 3, 2, 1),
        ("lost lost lost ok", 3, 3, 2, 1),
        ("late late late ok", 3, 3, 2, 1),
        ("lost ok", 2, 2, 2, 1),
        ("408 ok", 2, 2, 2, 1),
        ("429 429 429 ok", 3, 3, 3, 3),
        ("200/10105 200/10105 ok", 3, 3, 3, 3),
        ("refused refused ok", 3, 3, 3, 3),
        ("refused refused refused ok", 3, 3, 3, 4),
        ("untrusted ok", 1, 1, 1, 1),
        ("400 ok", 1, 1, 1, 1),
        ("401 ok", 1, 1, 1, 1),
        ("403 ok", 1, 1, 1, 1),
        ("404 ok", 1, 1, 1, 1),
        ("407 ok", 1, 1, 1, 1),
        ("511 ok", 1, 1, 1, 1),
        ("409 ok", 1, 1, 1, 1),
        ("302 ok", 1, 1, 1, 1),
        ("200 200 200 ok", 2, 1, 1, 1),
        ("200/50000 200/50000 ok", 2, 2, 1, 1),
        ("200/50002 200/50002 ok", 3, 2, 1, 1),
        ("200/50004 200/50004 ok", 2, 3, 1, 1),
        ("200/50007 200/50007 ok", 1, 2, 1, 1),
        ("200/12345 200/12345 ok", 2, 2, 1, 1),
        ("400/0 400/0 ok", 2, 1, 1, 1),
        ("lost 429 lost ok", 3, 3, 3, 1),
        ("refused 502 ok", 3, 3, 3, 2),
        ("429 429 lost ok", 3, 3, 3, 3),
    ],
)
async def test_attempts_per_operation_class(
    script: str, safe: int, idempotent: int, repeatable: int, non_repeatable: int
) -> None:
    sent = {}
    for operation, route in ROUTE.items():
        outcome, count, _ = await play(script, ask(route))
        sent[operation.value] = count
        assert outcome.attempts == count
    assert sent == {"safe": safe, "idempotent": idempotent, "repeatable": repeatable, "non_repeatable": non_repeatable}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(STEPS)),
    st.integers(1, 5),
)
async def test_create_is_not_retried_once_it_may_have_executed(script: list[str], attempts: int) -> None:
    time = Time(0.5)
    transport = wire(time, [*script, "400"])
    verdicts: list[Verdict] = []

    async def observed(request: Request, deadline: float) -> Outcome:
        outcome = await transport(request, deadline)
        verdicts.append(outcome.verdict)
        return outcome

    (outcome,) = await time.run(with_retries(observed, time.account())(ask(routes.CREATE_ROOM, attempts=attempts)))
    assert Verdict.UNKNOWN not in verdicts[:-1]
    assert outcome.may_have_executed == (verdicts[-1] is Verdict.UNKNOWN)


async def test_waits_double_from_base() -> None:
    _, _, naps = await play("502", ask())
    assert naps == [0.25, 0.5]
    _, _, naps = await play("refused", ask())
    assert naps == [0.25, 0.5]
    _, _, naps = await play("502", ask(), throw=0.5)
    assert naps == [0.125, 0.25]
    _, _, naps = await play("502", ask(attempts=5, base=2, cap=5))
    assert naps == [2, 4, 5, 5]


async def test_unsent_create_is_retried_until_its_timeout() -> None:
    outcome, count, naps = await play("refused", ask(routes.CREATE_ROOM))
    assert (outcome.verdict, outcome.may_have_executed) == (Verdict.NOT_SENT, False)
    assert naps == [0.25, 0.5, 1, 2, 4, 8, 16]
    assert count == outcome.attempts == 8


async def test_unsent_create_succeeds_when_the_server_is_back() -> None:
    outcome, count, _ = await play("refused " * 6 + "ok", ask(routes.CREATE_ROOM))
    assert (outcome.verdict, count) == (Verdict.DONE, 7)


async def test_retries_can_be_disabled() -> None:
    for word in ("502", "lost", "429", "refused"):
        for route in ROUTE.values():
            _, count, naps = await play(word, ask(route, attempts=1))
            assert (count, naps) == (1, [])


async def test_no_wait_exceeds_the_timeout() -> None:
    outcome, count, naps = await play("502", ask(timeout=0.7))
    assert (count, naps) == (2, [0.25])
    assert outcome.status == 502
    # The duration of the attempts counts too.
    _, count, naps = await play("0.5:502", ask(timeout=0.7))
    assert (count, naps) == (1, [0.5])


async def test_every_attempt_gets_the_same_deadline() -> None:
    time = Time()
    transport = wire(time, "502 502 ok")
    await time.run(with_retries(transport, time.account())(ask(timeout=7)))
    assert transport.deadlines == [1007.0] * 3


@pytest.mark.parametrize("script", ["lost 404/40001", "502 410/40001", "late 200/40001", "lost 429 404/40001"])
async def test_not_found_completes_a_delete_after_an_unknown_attempt(script: str) -> None:
    outcome, count, _ = await play(script, ask(routes.DELETE_ROOM))
    assert outcome.verdict is Verdict.DONE
    assert outcome.attempts == count == len(script.split())


@pytest.mark.parametrize("script", ["lost 404", "502 410", "late 429 404", "lost 404 404"])
async def test_not_found_without_an_envelope_does_not_complete_a_delete(script: str) -> None:
    outcome, _, _ = await play(script, ask(routes.DELETE_ROOM))
    assert (outcome.verdict, outcome.classification.kind) == (Verdict.REJECTED, ErrorKind.BASE_URL)
    assert outcome.may_have_executed


@pytest.mark.parametrize("script", ["404/40001", "429 404/40001", "refused 404/40001"])
async def test_not_found_fails_a_delete_without_an_unknown_attempt(script: str) -> None:
    outcome, _, _ = await play(script, ask(routes.DELETE_ROOM))
    assert outcome.classification.kind is ErrorKind.NOT_FOUND
    assert outcome.verdict is Verdict.REJECTED
    assert not outcome.may_have_executed


@pytest.mark.parametrize("route", [routes.GET_ROOM, routes.UPDATE_ROOM, routes.CREATE_TOKEN])
async def test_not_found_completes_only_deletes(route: Route) -> None:
    outcome, _, _ = await play("lost 404/40001", ask(route))
    assert outcome.verdict is Verdict.REJECTED
    assert outcome.may_have_executed


@pytest.mark.parametrize("last", ["refused", "429", "400", "502"])
async def test_may_have_executed_is_kept_from_earlier_attempts(last: str) -> None:
    outcome, count, _ = await play(f"lost {last}", ask(routes.UPDATE_ROOM, attempts=2))
    assert (count, outcome.attempts) == (2, 2)
    assert outcome.may_have_executed


@pytest.mark.parametrize("last", ["refused", "429", "400"])
async def test_may_have_executed_is_false_when_no_attempt_was_unknown(last: str) -> None:
    outcome, _, _ = await play(f"refused 429 {last}", ask(routes.UPDATE_ROOM))
    assert not outcome.may_have_executed


async def test_success_after_retries_counts_its_attempts() -> None:
    outcome, _, _ = await play("502 429 ok", ask())
    assert (outcome.verdict, outcome.attempts, outcome.may_have_executed) == (Verdict.DONE, 3, False)


# Retry-After and pauses.


async def test_retry_waits_for_retry_after() -> None:
    outcome, count, naps = await play("429@7 ok", ask(), throw=0.0)
    assert (outcome.verdict, count, naps) == (Verdict.DONE, 2, [7])
    _, _, naps = await play("429@7 ok", ask())
    assert naps == [7.7]
    _, _, naps = await play("503@7 ok", ask(), throw=0.0)
    assert naps == [7]


@pytest.mark.parametrize("seconds", ["61", "3600", "86400"])
async def test_retry_after_above_60_seconds_fails_at_once(seconds: str) -> None:
    outcome, count, naps = await play(f"429@{seconds} ok", ask())
    assert (count, naps) == (1, [])
    assert outcome.classification.kind is ErrorKind.RATE
    assert outcome.retry_after == float(seconds)


async def test_huge_retry_after_fails_at_once_as_one_day() -> None:
    outcome, count, naps = await play("429@999999999999 ok", ask())
    assert (count, naps, outcome.retry_after) == (1, [], 86_400)


@pytest.mark.parametrize(("field", "wait"), [("1.5", 2), ("3s", 3), ("7.0", 7), ("soon", 30)])
async def test_retry_waits_for_an_unusual_retry_after(field: str, wait: float) -> None:
    outcome, count, naps = await play(f"429@{field} ok", ask(), throw=0.0)
    assert (outcome.verdict, count, naps) == (Verdict.DONE, 2, [wait])


async def test_retry_after_beyond_the_timeout_fails_at_once() -> None:
    outcome, count, naps = await play("429@30 ok", ask(timeout=20))
    assert (count, naps, outcome.retry_after) == (1, [], 30)


async def test_429_pauses_the_other_calls_of_the_account_once() -> None:
    time = Time(0.0)
    transport = wire(time, "429@7 ok")
    account = time.account()
    send = with_retries(transport, account)
    await time.run(send(ask(attempts=1)))
    assert time.now == 1000
    outcomes = await time.run(*(send(ask()) for _ in range(5)))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DONE}
    assert time.naps == [7] * 5
    assert [at for at, _ in transport.sent] == [1000] + [1007] * 5
    # The pause is over, so later calls do not wait.
    await time.run(send(ask()))
    assert len(time.naps) == 5
    assert not account.throttle.closed


async def test_calls_resume_with_jitter_after_a_pause() -> None:
    time = Time(0.0)
    transport = wire(time, "429@7 ok")
    send = with_retries(transport, time.account())
    await time.run(send(ask(attempts=1)))
    time.throw = 1.0
    await time.run(send(ask()))
    assert time.naps == [7.7]


async def test_success_sent_before_the_429_does_not_end_the_pause() -> None:
    time = Time(0.0)
    transport = wire(time, "2:ok 1:429@7 1:ok")
    account = time.account()
    send = with_retries(transport, account)
    outcomes = await time.run(send(ask()), send(ask(attempts=1)))
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DONE, Verdict.THROTTLED]
    assert time.now == 1002
    assert account.throttle.pause_left() == 6
    await time.run(send(ask()))
    assert transport.sent[-1][0] == 1008


async def test_call_fails_unsent_when_the_pause_exceeds_its_timeout() -> None:
    time = Time(0.0)
    transport = wire(time, "429@30 ok")
    send = with_retries(transport, time.account())
    await time.run(send(ask(attempts=1)))
    (outcome,) = await time.run(send(ask(timeout=20)))
    assert transport.count == 1
    assert (outcome.verdict, outcome.classification.kind) == (Verdict.THROTTLED, ErrorKind.RATE)
    assert (outcome.attempts, outcome.retry_after, outcome.may_have_executed) == (0, 30, False)


async def test_call_fails_unsent_when_the_pause_exceeds_max_retry_after() -> None:
    time = Time(0.0)
    transport = wire(time, "429@200 ok")
    send = with_retries(transport, time.account())
    await time.run(send(ask(attempts=1)))
    (outcome,) = await time.run(send(ask(timeout=1000)))
    assert (transport.count, time.naps, outcome.retry_after) == (1, [], 200)


async def test_account_pause_is_bounded_when_retry_after_is_huge() -> None:
    time = Time(0.0)
    transport = wire(time, "429@999999999999 ok")
    send = with_retries(transport, time.account())
    await time.run(send(ask()))
    (outcome,) = await time.run(send(ask()))
    assert (outcome.classification.kind, transport.count) == (ErrorKind.RATE, 1)
    time.now += 300
    (outcome,) = await time.run(send(ask()))
    assert outcome.verdict is Verdict.DONE


async def test_untrusted_429_pauses_the_account() -> None:
    time = Time(0.0)
    transport = wire(time, "429@7 ok")
    account = time.account()
    (outcome,) = await time.run(with_retries(transport, account)(ask(routes.CREATE_ROOM, trust_429=False)))
    assert (outcome.verdict, outcome.may_have_executed) == (Verdict.UNKNOWN, True)
    assert account.throttle.pause_left() == 7


# Retry budget.


@pytest.mark.parametrize("word", ["502", "lost", "late", "refused"])
@pytest.mark.parametrize("calls", [10, 200, 500])
async def test_total_outage_costs_at_most_50_retries(word: str, calls: int) -> None:
    time = Time()
    transport = wire(time, word)
    send = with_retries(transport, time.account())
    await time.run(*(send(ask()) for _ in range(calls)))
    assert transport.count == min(3 * calls, calls + 50)


async def test_budget_limits_creates_when_the_host_is_down() -> None:
    time = Time()
    transport = wire(time, "refused")
    send = with_retries(transport, time.account())
    await time.run(*(send(ask(routes.CREATE_ROOM)) for _ in range(100)))
    assert transport.count == 150


async def test_call_is_not_retried_when_the_budget_is_empty() -> None:
    time = Time()
    account = time.account()
    while account.budget.spend(Verdict.UNKNOWN):
        pass
    transport = wire(time, "502 ok")
    (outcome,) = await time.run(with_retries(transport, account)(ask()))
    assert (outcome.status, transport.count, time.naps) == (502, 1, [])


@pytest.mark.parametrize(
    ("script", "route", "left"),
    [
        ("ok", routes.GET_ROOM, 401),
        ("502 ok", routes.GET_ROOM, 400),
        ("502 502 ok", routes.GET_ROOM, 390),
        ("502 502 502", routes.GET_ROOM, 380),
        ("429 ok", routes.GET_ROOM, 400),
        ("429 429 429", routes.GET_ROOM, 390),
        ("429 502 ok", routes.GET_ROOM, 395),
        ("refused ok", routes.CREATE_ROOM, 400),
        ("400", routes.GET_ROOM, 400),
        ("lost 404/40001", routes.DELETE_ROOM, 400),
        ("lost 404", routes.DELETE_ROOM, 390),
    ],
)
async def test_budget_after_a_call(script: str, route: Route, left: float) -> None:
    time = Time()
    account = time.account()
    for _ in range(10):
        account.budget.spend(Verdict.UNKNOWN)
    await time.run(with_retries(wire(time, script), account)(ask(route)))
    assert account.budget.left == left


async def test_budget_never_exceeds_its_capacity() -> None:
    time = Time()
    account = time.account()
    send = with_retries(wire(time, "ok"), account)
    await time.run(*(send(ask()) for _ in range(5)))
    assert account.budget.left == 500


# Events and logs.


async def events_of(script: str, request: Request | None = None) -> list[Event]:
    time = Time()
    events: list[Event] = []
    await time.run(with_retries(wire(time, script), time.account(), [events.append])(request or ask()))
    return events


async def test_every_attempt_emits_an_event() -> None:
    events = await events_of("2:502 3:429 ok")
    attempts = [
        (event.attempt, event.status, event.verdict, event.seconds, event.retry_in)
        for event in events
        if isinstance(event, AttemptEvent)
    ]
    assert attempts == [(1, 502, "unknown", 2, 0.25), (2, 429, "throttled", 3, 2.0), (3, 200, "done", 0, None)]
    assert {(event.route, event.method, event.path) for event in events} == {("rooms.get", "GET", "/rooms/{room_id}")}


async def test_retry_in_is_none_for_the_last_attempt() -> None:
    events = await events_of("refused 200/50001 200/50001")
    retries = [event.retry_in is not None for event in events if isinstance(event, AttemptEvent)]
    assert retries == [True, True, False]
    assert [event.code for event in events] == [None, 50001, 50001]


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError])
async def test_listener_exception_is_logged_by_class_and_ignored(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise kind("canary")

    time = Time()
    events: list[Event] = []
    send = with_retries(wire(time, "502 ok"), time.account(), [broken, events.append])
    with caplog.at_level(logging.INFO, logger="videoapi"):
        (outcome,) = await time.run(send(ask()))
    assert outcome.verdict is Verdict.DONE
    assert len(events) == 2
    records = [record for record in caplog.records if record.name == "videoapi"]
    assert [record.levelno for record in records] == [logging.ERROR, logging.INFO, logging.ERROR]
    assert kind.__name__ in caplog.text
    assert "canary" not in caplog.text


async def test_listener_may_end_the_program() -> None:
    def ending(event: Event) -> None:
        raise SystemExit

    time = Time()
    with pytest.raises(SystemExit):
        await with_retries(wire(time, "ok"), time.account(), [ending])(ask())


async def test_retries_and_pauses_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    send = with_retries(wire(time, "503 429@7 ok"), time.account())
    with caplog.at_level(logging.INFO, logger="videoapi"):
        await time.run(send(ask(base=0.4)))
        await time.run(with_retries(wire(time, "refused 429@1 ok"), time.account())(ask(routes.CREATE_ROOM)))
        await time.run(with_retries(wire(time, "refused " * 4 + "ok"), time.account())(ask(routes.CREATE_ROOM)))
    host = "api.example.com:443"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, f"retrying rooms.get in 0.4 s after HTTP 503 from {host}, attempt 2 of 3"),
        (logging.WARNING, f"account id at {host} paused for 7.7 s after HTTP 429"),
        (logging.INFO, f"retrying rooms.get in 7.7 s after HTTP 429 from {host}, attempt 3 of 3"),
        # A create that was not sent is retried until its timeout.
        (logging.INFO, "retrying rooms.create in 0.2 s after refused, attempt 2"),
        (logging.WARNING, f"account id at {host} paused for 1.1 s after HTTP 429"),
        (logging.INFO, f"retrying rooms.create in 2.0 s after HTTP 429 from {host}, attempt 3 of 3"),
        *(
            (logging.INFO, f"retrying rooms.create in {wait} s after refused, attempt {number}")
            for number, wait in ((2, "0.2"), (3, "0.5"), (4, "1.0"), (5, "2.0"))
        ),
    ]


async def test_pause_is_logged_once_per_pause(caplog: pytest.LogCaptureFixture) -> None:
    time = Time(0.0)
    send = with_retries(wire(time, "1:429@7"), time.account())
    with caplog.at_level(logging.WARNING, logger="videoapi"):
        await time.run(*(send(ask(attempts=1)) for _ in range(20)))
    assert len(caplog.records) == 1


async def test_success_is_logged_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    send = with_retries(wire(time, "ok"), time.account())
    with caplog.at_level(logging.INFO):
        await time.run(send(ask()))
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, logger="videoapi"):
        await time.run(send(ask()))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "rooms.get" in caplog.text
