"""User middleware around the retries, and the pipeline around both."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import attrs
import pytest
from support.script import Time, Wire, ask, wire

from videoapi import ConfigurationError, RetryPolicy, VideoClient, errors
from videoapi.events import AttemptEvent, CallEvent, Event
from videoapi.models.codec import ResponseDecoder
from videoapi.models.rooms import Room
from videoapi.pipeline.middleware import Middleware, Send, chain
from videoapi.pipeline.pipeline import Pipeline
from videoapi.pipeline.retry import with_retries
from videoapi.protocol import routes
from videoapi.protocol.outcome import Outcome, answered
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import Verdict
from videoapi.session import SessionManager

ROOM = b'{"result":0,"room":{"room_id":"64f0","name":"Stand-up"}}'


def make_pipeline(time: Time, transport: Wire, *middleware: Middleware, listeners: Any = (), **limits: Any) -> Pipeline:
    account = time.account()
    return Pipeline(
        chain=chain(middleware, with_retries(transport, account, listeners)),
        options=Options(**limits),
        pool=SessionManager().pool,
        account=account,
        listeners=listeners,
        has_middleware=bool(middleware),
    )


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


async def test_timeout_ends_a_call_when_a_middleware_hangs() -> None:
    async def hanging(request: Request, send: Send) -> Outcome:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    time = Time()
    pipeline = make_pipeline(time, wire(time, "ok"), hanging)
    for route, kind in ((routes.DELETE_ROOM, errors.CallTimeout), (routes.CREATE_ROOM, errors.CreateOutcomeUnknown)):
        with pytest.raises(kind) as raised:
            await pipeline.run(ask(route, timeout=0.01))
        assert raised.value.may_have_executed
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


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
    assert kinds == [AttemptEvent, AttemptEvent, CallEvent]
    call = events[-1]
    assert isinstance(call, CallEvent)
    assert (call.route, call.attempts, call.status, call.verdict) == ("rooms.get", 2, 200, "done")
    assert call.seconds == 1 + 0.25 + 2


async def test_events_of_a_failed_call_have_code_and_request_id() -> None:
    time, events = Time(), list[Event]()

    async def reject(request: Request, deadline: float) -> Outcome:
        return answered(request, 400, {}, b'{"error_code":"INVALID_PARAM","request_id":"req_1"}')

    account = time.account()
    pipeline = Pipeline(
        chain=with_retries(reject, account, (events.append,)),
        options=Options(),
        pool=SessionManager().pool,
        account=account,
        listeners=(events.append,),
    )
    outcome = await pipeline.send(ask())
    assert outcome.verdict is Verdict.REJECTED
    assert [(event.code, event.request_id, event.status) for event in events] == [("INVALID_PARAM", "req_1", 400)] * 2


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
