"""User middleware around the retries, and the pipeline around both."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import attrs
import pytest
from support.groups import survive_a_failed_group
from support.script import Time, ask, retries_of, wire

from videoapi import ConfigurationError, CreateOutcomeUnknown, RetryPolicy, VideoClient, errors
from videoapi.events import AttemptEvent, CallEvent, CallStarted, Event
from videoapi.models.codec import ResponseDecoder
from videoapi.models.rooms import Room
from videoapi.pipeline.middleware import Middleware, Send
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol import routes
from videoapi.protocol.outcome import BufferedStream, Outcome, answered, streaming
from videoapi.protocol.routes import Options, Request, Route
from videoapi.protocol.types import Verdict
from videoapi.session import SessionManager
from videoapi.transport.deadlines import DeadlineTimer

ROOM = b'{"result":0,"room":{"room_id":"64f0","name":"Stand-up"}}'


def make_pipeline(time: Time, transport: Any, *middleware: Middleware, listeners: Any = (), **limits: Any) -> Pipeline:
    account = time.account()
    return Pipeline(
        retries=retries_of(transport, account, listeners),
        timer=DeadlineTimer(account.clock.now),
        options=Options(**limits),
        pool=SessionManager().pool,
        middleware=middleware,
    )


def creating(request: Request) -> Request:
    """Return the request with a reference if it is a create."""
    return attrs.evolve(request, reference="vxref") if request.route is routes.CREATE_ROOM else request


def recording(order: list[str], name: str) -> Middleware:
    async def middleware(request: Request, send: Send) -> Outcome:
        order.append(f"{name} in")
        outcome = await send(request)
        order.append(f"{name} out")
        return outcome

    return middleware


async def test_first_middleware_is_outermost_and_each_runs_once_per_call() -> None:
    time, order = Time(), list[str]()
    pipeline = make_pipeline(time, wire(time, "502 502 ok"), recording(order, "a"), recording(order, "b"))
    await time.run(pipeline.run(ask()))
    assert order == ["a in", "b in", "b out", "a out"]


async def test_middleware_adds_headers_to_every_attempt() -> None:
    async def tracing(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={**request.headers, "X-Trace": "1"}))

    time = Time()
    transport = wire(time, "502 ok")
    await time.run(make_pipeline(time, transport, tracing).run(ask()))
    assert [dict(request.headers) for _, request in transport.sent] == [{"X-Trace": "1"}] * 2


async def test_middleware_can_respond_without_sending() -> None:
    async def canned(request: Request, send: Send) -> Outcome:
        return answered(request, 200, {}, ROOM)

    time = Time()
    transport = wire(time, "502")
    request = attrs.evolve(ask(routes.CREATE_ROOM), decoder=ResponseDecoder("room", Room))
    (room,) = await time.run(make_pipeline(time, transport, canned).run(request))
    assert room.room_id == "64f0"
    assert transport.count == 0


async def test_middleware_response_to_a_stream_is_a_buffered_stream() -> None:
    async def canned(request: Request, send: Send) -> Outcome:
        return answered(request, 200, {"A": "b"}, b'{"result":0,"rooms":[]}')

    time = Time()
    request = attrs.evolve(ask(routes.LIST_ROOMS), stream=True)
    (outcome,) = await time.run(make_pipeline(time, wire(time, "502"), canned).open_stream(request))
    assert outcome.stream is not None
    assert outcome.stream.status == 200
    assert [chunk async for chunk in outcome.stream] == [b'{"result":0,"rooms":[]}']
    await outcome.stream.aclose()


async def test_middleware_can_replace_the_outcome_after_retries() -> None:
    async def replacing(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        assert (outcome.verdict, outcome.attempts) == (Verdict.UNKNOWN, 3)
        return answered(request, 200, {}, b'{"result":0}')

    time = Time()
    assert await time.run(make_pipeline(time, wire(time, "502"), replacing).run(ask())) == [None]


async def test_middleware_exception_propagates_to_the_caller() -> None:
    class CustomError(Exception):
        pass

    async def broken(request: Request, send: Send) -> Outcome:
        raise CustomError

    async def timing_out(request: Request, send: Send) -> Outcome:
        raise TimeoutError("custom")

    time = Time()
    with pytest.raises(CustomError):
        await make_pipeline(time, wire(time, "ok"), broken).run(ask())
    with pytest.raises(TimeoutError, match="custom"):
        await make_pipeline(time, wire(time, "ok"), timing_out).run(ask())


@pytest.mark.parametrize(
    ("word", "state"), [("400", "Not executed."), ("429", "Not executed."), ("refused", "Not sent.")]
)
async def test_cancelled_create_says_what_is_known_of_it(word: str, state: str) -> None:
    async def cancelled(request: Request, send: Send) -> Outcome:
        await send(request)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError

    time = Time()
    request = creating(ask(routes.CREATE_ROOM, attempts=1))
    task = asyncio.ensure_future(make_pipeline(time, wire(time, word), cancelled).run(request))
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert raised.value.__notes__ == [f"POST /rooms cancelled. {state} Reference vxref."]


@pytest.mark.parametrize(("word", "state"), [("400", "Not executed."), ("refused", "Not sent."), ("", "Not sent.")])
async def test_cancellation_by_a_middleware_is_an_error_that_says_what_is_known(word: str, state: str) -> None:
    async def cancels(request: Request, send: Send) -> Outcome:
        if word:
            await send(request)
        raise asyncio.CancelledError

    time, events = Time(), list[Event]()
    request = creating(ask(routes.CREATE_ROOM, attempts=1))
    pipeline = make_pipeline(time, wire(time, word or "ok"), cancels, listeners=(events.append,))
    with pytest.raises(ConfigurationError, match=f"user code, such as a middleware, cancelled .* {state}$") as raised:
        await pipeline.run(request)
    assert not raised.value.may_have_executed
    assert raised.value.reference == "vxref"
    assert isinstance(events[-1], CallEvent)
    assert events[-1].verdict == "not_sent"


@pytest.mark.parametrize("word", ["lost", "ok"])
async def test_cancellation_by_a_middleware_after_a_create_leaves_it_unknown(word: str) -> None:
    async def cancels(request: Request, send: Send) -> Outcome:
        await send(request)
        raise asyncio.CancelledError

    time = Time()
    pipeline = make_pipeline(time, wire(time, word), cancels)
    with pytest.raises(CreateOutcomeUnknown, match="unknown after an attempt; then POST /rooms: user code") as raised:
        await pipeline.run(creating(ask(routes.CREATE_ROOM, attempts=1)))
    assert raised.value.may_have_executed
    assert str(raised.value).count("May have been executed.") == 1


async def test_cancellation_by_a_middleware_is_told_from_an_earlier_one_of_the_task() -> None:
    async def cancels(request: Request, send: Send) -> Outcome:
        raise asyncio.CancelledError

    await survive_a_failed_group()
    time = Time()
    with pytest.raises(ConfigurationError, match="user code"):
        await make_pipeline(time, wire(time, "ok"), cancels).run(ask(routes.CREATE_ROOM, attempts=1))


async def test_cancellation_requested_before_the_call_is_no_error_of_a_middleware() -> None:
    async def waits(request: Request, send: Send) -> Outcome:
        await asyncio.sleep(0)
        raise AssertionError

    async def cancelled_first() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await make_pipeline(time, wire(time, "ok"), waits).run(ask())

    time = Time()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(cancelled_first())


async def hang(time: Time) -> None:
    """Wait forever, while the virtual time passes a deadline of 0.01 s."""
    time.now += 0.05
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("route", [routes.DELETE_ROOM, routes.CREATE_ROOM], ids=lambda route: route.name)
async def test_timeout_before_send_proves_that_nothing_was_sent(route: Route) -> None:
    async def hanging(request: Request, send: Send) -> Outcome:
        await hang(transport.time)
        return await send(request)

    transport = wire(Time(), "ok")
    with pytest.raises(errors.CallTimeout, match=r"a middleware did not end within 0.01 s \(timeout\)") as raised:
        await make_pipeline(transport.time, transport, hanging).run(creating(ask(route, timeout=0.01)))
    assert (raised.value.may_have_executed, raised.value.attempts, transport.count) == (False, 0, 0)
    assert "Not sent." in str(raised.value)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("word", ["lost", "502", "ok"])
@pytest.mark.parametrize(
    ("route", "kind"),
    [(routes.DELETE_ROOM, errors.CallTimeout), (routes.CREATE_ROOM, errors.CreateOutcomeUnknown)],
    ids=["delete", "create"],
)
async def test_timeout_after_send_leaves_the_outcome_unknown(word: str, route: Route, kind: type[Exception]) -> None:
    async def hanging(request: Request, send: Send) -> Outcome:
        await send(request)
        await hang(transport.time)
        raise AssertionError

    transport = wire(Time(), word)
    request = creating(ask(route, timeout=0.01, attempts=1))
    with pytest.raises(kind) as raised:
        await make_pipeline(transport.time, transport, hanging).run(request)
    assert isinstance(raised.value, errors.VideoAPIError)
    assert (raised.value.may_have_executed, raised.value.attempts, transport.count) == (True, 1, 1)
    assert "Not sent." not in str(raised.value)


@pytest.mark.parametrize("word", ["400", "429"])
async def test_timeout_after_a_refusal_says_that_nothing_was_executed(word: str) -> None:
    async def hanging(request: Request, send: Send) -> Outcome:
        await send(request)
        await hang(transport.time)
        raise AssertionError

    transport = wire(Time(), word)
    request = creating(ask(routes.CREATE_ROOM, timeout=0.01, attempts=1))
    with pytest.raises(errors.CallTimeout, match=r"a middleware did not end .* Not executed\.") as raised:
        await make_pipeline(transport.time, transport, hanging).run(request)
    assert (raised.value.may_have_executed, raised.value.attempts, transport.count) == (False, 1, 1)


async def test_refusal_of_a_request_that_a_task_of_a_middleware_sent_counts() -> None:
    async def hanging(request: Request, send: Send) -> Outcome:
        await asyncio.create_task(send(request))  # type: ignore[arg-type]
        await hang(transport.time)
        raise AssertionError

    transport = wire(Time(), "400")
    with pytest.raises(errors.CallTimeout, match=r"Not executed\."):
        await make_pipeline(transport.time, transport, hanging).run(ask(routes.DELETE_ROOM, timeout=0.01, attempts=1))


@pytest.mark.parametrize(
    ("route", "state"), [(routes.DELETE_ROOM, " Not executed."), (routes.GET_ROOM, "")], ids=lambda each: str(each)
)
async def test_attempt_that_is_not_sent_after_a_refusal_leaves_it_in_the_error(route: Route, state: str) -> None:
    time = Time()
    with pytest.raises(errors.ConnectionFailed) as raised:
        await time.run(make_pipeline(time, wire(time, "429 refused")).run(ask(route, attempts=2)))
    assert raised.value.attempts == 2
    assert str(raised.value).endswith(f"refused (attempt 2 of 2).{state}")


@pytest.mark.parametrize(("word", "executed"), [("400", False), ("lost", True), ("ok", True)])
async def test_cancellation_after_send_states_what_is_known(word: str, executed: bool) -> None:
    sent = asyncio.Event()

    async def hanging(request: Request, send: Send) -> Outcome:
        await send(request)
        sent.set()
        await hang(transport.time)
        raise AssertionError

    transport = wire(Time(), word)
    pipeline = make_pipeline(transport.time, transport, hanging)
    task = asyncio.ensure_future(pipeline.run(creating(ask(routes.CREATE_ROOM, attempts=1))))
    await sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    (note,) = raised.value.__notes__
    assert "Reference vxref." in note
    assert ("May have been executed" in note) == executed


async def test_error_after_a_lost_create_does_not_replace_the_doubt() -> None:
    async def failing(request: Request, send: Send) -> Outcome:
        await send(request)
        raise OSError("disk full")

    transport = wire(Time(), "lost")
    events: list[Event] = []
    pipeline = make_pipeline(transport.time, transport, failing, listeners=[events.append])
    with pytest.raises(errors.CreateOutcomeUnknown, match="disk full") as raised:
        await pipeline.run(creating(ask(routes.CREATE_ROOM)))
    assert raised.value.reference == "vxref"
    assert isinstance(raised.value.__cause__, OSError)
    assert isinstance(events[-1], CallEvent)
    assert (events[-1].verdict, events[-1].reference) == ("unknown", "vxref")


async def test_error_after_a_refused_create_is_the_middlewares_own() -> None:
    async def failing(request: Request, send: Send) -> Outcome:
        await send(request)
        raise OSError("disk full")

    transport = wire(Time(), "400")
    with pytest.raises(OSError, match="disk full"):
        await make_pipeline(transport.time, transport, failing).run(creating(ask(routes.CREATE_ROOM)))


async def test_event_does_not_claim_unsent_when_a_middleware_fails_after_success() -> None:
    async def failing(request: Request, send: Send) -> Outcome:
        await send(request)
        raise OSError("disk full")

    transport, events = wire(Time(), "ok"), list[Event]()
    pipeline = make_pipeline(transport.time, transport, failing, listeners=[events.append])
    with pytest.raises((OSError, errors.CreateOutcomeUnknown)):
        await pipeline.run(creating(ask(routes.CREATE_ROOM)))
    call = events[-1]
    assert isinstance(call, CallEvent)
    assert call.verdict != "not_sent"


class OpenStream(BufferedStream):
    """A stream that counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("ending", ["raises", "cancelled", "responds", "times out", "sends again"])
async def test_stream_that_a_middleware_keeps_is_closed(ending: str) -> None:
    streams: list[OpenStream] = []

    async def opening(request: Request, deadline: float) -> Outcome:
        streams.append(OpenStream(200, {}, b'{"result":0,"rooms":[]}'))
        return streaming(200, {}, streams[-1])

    async def keeping(request: Request, send: Send) -> Outcome:
        await send(request)
        match ending:
            case "raises":
                raise KeyError("own")
            case "responds":
                return answered(request, 200, {}, b'{"result":0,"rooms":[]}')
            case "sends again":
                return await send(request)
            case _:
                await hang(time)
                raise AssertionError

    time = Time()
    pipeline = make_pipeline(time, opening, keeping)
    request = attrs.evolve(ask(routes.LIST_ROOMS, timeout=0.01 if ending == "times out" else None), stream=True)
    task = asyncio.ensure_future(pipeline.open_stream(request))
    await time.settle()
    if ending == "cancelled":
        task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert streams[0].closed == 1
    if isinstance(result, Outcome):
        # The stream that is handed on stays open.
        assert isinstance(result.stream, BufferedStream)
        assert [stream.closed for stream in streams[1:]] == [0] * (len(streams) - 1)


async def test_failed_call_raises_its_error() -> None:
    time = Time()
    pipeline = make_pipeline(time, wire(time, "404/40001"))
    with pytest.raises(errors.NotFound) as raised:
        await time.run(pipeline.run(ask()))
    assert (raised.value.code, raised.value.attempts) == (40001, 1)
    with pytest.raises(errors.NotFound):
        await time.run(pipeline.open_stream(ask()))


async def test_call_event_follows_the_attempt_events() -> None:
    time, events = Time(), list[Event]()
    pipeline = make_pipeline(time, wire(time, "1:502 2:ok"), listeners=(events.append,))
    await time.run(pipeline.run(ask()))
    kinds = [type(event) for event in events]
    assert kinds == [CallStarted, AttemptEvent, AttemptEvent, CallEvent]
    assert len({event.call_id for event in events}) == 1
    call = events[-1]
    assert isinstance(call, CallEvent)
    assert (call.route, call.attempts, call.status, call.verdict) == ("rooms.get", 2, 200, "done")
    assert call.seconds == 1 + 0.25 + 2


async def test_events_of_a_failed_call_have_code_and_request_id() -> None:
    time, events = Time(), list[Event]()

    async def reject(request: Request, deadline: float) -> Outcome:
        return answered(request, 400, {}, b'{"error_code":"INVALID_PARAM","request_id":"req_1"}')

    pipeline = make_pipeline(time, reject, listeners=(events.append,))
    outcome = await pipeline.send(ask())
    assert outcome.verdict is Verdict.REJECTED
    ended = [event for event in events if not isinstance(event, CallStarted)]
    assert [type(event) for event in ended] == [AttemptEvent, CallEvent]
    assert [(event.code, event.request_id, event.status) for event in ended] == [("INVALID_PARAM", "req_1", 400)] * 2


async def test_events_carry_host_app_id_reference_and_allowed_headers() -> None:
    time, events = Time(), list[Event]()
    headers = {
        "X-Request-Id": "req_7",
        "X-RateLimit-Remaining": "3",
        "RateLimit-Reset": "9",
        "Retry-After": "0",
        "Set-Cookie": "canary",
        "Authorization": "canary",
        "Server": "nginx",
    }

    async def accept(request: Request, deadline: float) -> Outcome:
        return answered(request, 200, headers, ROOM)

    pipeline = make_pipeline(time, accept, listeners=(events.append,))
    await pipeline.run(creating(ask(routes.CREATE_ROOM)))
    started, attempt, call = events
    assert isinstance(started, CallStarted)
    assert isinstance(attempt, AttemptEvent)
    assert isinstance(call, CallEvent)
    assert {event.host for event in events} == {"api.example.com:443"}
    assert {event.reference for event in events} == {"vxref"}
    for event in (attempt, call):
        assert (event.app_id, event.request_id, event.reason) == ("id", "req_7", "")
        assert dict(event.headers) == {
            "x-request-id": "req_7",
            "x-ratelimit-remaining": "3",
            "ratelimit-reset": "9",
            "retry-after": "0",
        }


async def test_concurrent_calls_have_different_ids_in_events_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    time, events = Time(), list[Event]()
    pipeline = make_pipeline(time, wire(time, "1:502 1:502 1:ok"), listeners=(events.append,))
    with caplog.at_level(logging.DEBUG, logger="videoapi"):
        await time.run(pipeline.run(ask()), pipeline.run(ask()))
    ids = {event.call_id for event in events}
    assert len(ids) == 2
    for call_id in ids:
        own = [event for event in events if event.call_id == call_id]
        assert [type(event) for event in own] == [CallStarted, AttemptEvent, AttemptEvent, CallEvent]
        assert sum(call_id in record.getMessage() for record in caplog.records) >= 4


async def test_cancelled_call_ends_with_a_cancelled_event() -> None:
    time, events = Time(), list[Event]()
    pipeline = make_pipeline(time, wire(time, "9:ok"), listeners=(events.append,))
    task = asyncio.ensure_future(pipeline.run(creating(ask(routes.CREATE_ROOM))))
    await time.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(event) for event in events] == [CallStarted, CallEvent]
    call = events[-1]
    assert isinstance(call, CallEvent)
    assert (call.verdict, call.reference, call.attempts, call.status) == ("cancelled", "vxref", 1, None)


async def test_successful_call_is_logged_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    pipeline = make_pipeline(time, wire(time, "ok"))
    with caplog.at_level(logging.INFO, logger="videoapi"):
        await pipeline.run(ask())
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, logger="videoapi"):
        await pipeline.run(ask())
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


# Reads that are interrupted in the body.


async def test_interrupted_read_is_retried_according_to_the_policy() -> None:
    time = Time()
    pipeline = make_pipeline(time, wire(time, "ok"))
    request = ask(routes.LIST_ROOMS)
    interrupted = pipeline.interrupted(request, "the body broke", timed_out=False)
    assert await time.run(*(pipeline.retry_read(request, interrupted, attempt) for attempt in (1, 2))) == [True, True]
    assert await time.run(pipeline.retry_read(request, interrupted, 3)) == [False]
    assert time.naps == [0.25, 0.5]
    assert pipeline.account.budget.left == 480


async def test_interrupted_read_is_not_retried_when_the_budget_is_empty() -> None:
    time = Time()
    pipeline = make_pipeline(time, wire(time, "ok"))
    while pipeline.account.budget.spend(Verdict.UNKNOWN):
        pass
    request = ask(routes.LIST_ROOMS)
    assert not await pipeline.retry_read(request, pipeline.interrupted(request, "broke", timed_out=True), 1)
    assert time.naps == []


async def test_interrupted_read_raises_the_error_of_its_cause() -> None:
    pipeline = make_pipeline(Time(), wire(Time(), "ok"))
    request = ask(routes.LIST_ROOMS)
    connection_error = pipeline.error(pipeline.interrupted(request, "the body broke", timed_out=False), request, 3)
    timeout_error = pipeline.error(pipeline.interrupted(request, "no data", timed_out=True), request, 3)
    assert (type(connection_error), type(timeout_error)) == (errors.ConnectionFailed, errors.CallTimeout)
    assert connection_error.attempts == 3
    classified = pipeline.classify(request, 200, {}, b'{"result":50002}')
    assert classified.code == 50002


async def test_error_names_a_middleware_that_does_not_return_an_outcome() -> None:
    async def returns_none(request: Request, send: Send) -> None:
        await send(request)

    async with VideoClient("a" * 24, "k", "http://127.0.0.1:9/v1", middleware=[returns_none]) as client:  # type: ignore[list-item]
        with pytest.raises(ConfigurationError, match="returns_none returned NoneType"):
            await client.with_options(retry=RetryPolicy(attempts=1)).rooms.get("x")
