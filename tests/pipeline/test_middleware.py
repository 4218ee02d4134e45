"""Users' own middleware around the retries, and the call around everything."""

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
from videoapi.protocol.verdicts import Verdict
from videoapi.session import SessionManager

ROOM = b'{"result":0,"room":{"room_id":"64f0","name":"Stand-up"}}'


def calls(time: Time, line: Wire, *middlewares: Middleware, listeners: tuple[Any, ...] = (), **limits: Any) -> Pipeline:
    account = time.account()
    return Pipeline(
        chain=chain(middlewares, with_retries(line, account, listeners)),
        options=Options(**limits),
        pool=SessionManager().pool,
        account=account,
        listeners=listeners,
        has_middleware=bool(middlewares),
    )


def noting(notes: list[str], name: str) -> Middleware:
    async def middleware(request: Request, send: Send) -> Outcome:
        notes.append(f"{name} in")
        outcome = await send(request)
        notes.append(f"{name} out")
        return outcome

    return middleware


async def test_the_first_middleware_is_the_outermost_and_each_runs_once_a_call() -> None:
    time, notes = Time(), list[str]()
    pipeline = calls(time, wire(time, "502 502 ok"), noting(notes, "a"), noting(notes, "b"))
    await time.run(pipeline.run(ask()))
    assert notes == ["a in", "b in", "b out", "a out"]


async def test_a_middleware_adds_headers_to_every_attempt() -> None:
    async def tracing(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={**request.headers, "X-Trace": "1"}))

    time = Time()
    line = wire(time, "502 ok")
    await time.run(calls(time, line, tracing).run(ask()))
    assert [dict(request.headers) for _, request in line.sent] == [{"X-Trace": "1"}] * 2


async def test_a_middleware_answers_by_itself() -> None:
    async def canned(request: Request, send: Send) -> Outcome:
        return answered(request, 200, {}, ROOM)

    time = Time()
    line = wire(time, "502")
    request = attrs.evolve(ask(routes.CREATE_ROOM), decoder=ResponseDecoder("room", Room))
    (room,) = await time.run(calls(time, line, canned).run(request))
    assert room.room_id == "64f0"
    assert line.count == 0


async def test_a_middleware_that_answers_a_stream_gives_its_body_whole() -> None:
    async def canned(request: Request, send: Send) -> Outcome:
        return answered(request, 200, {"A": "b"}, b'{"result":0,"rooms":[]}')

    time = Time()
    request = attrs.evolve(ask(routes.LIST_ROOMS), stream=True)
    (outcome,) = await time.run(calls(time, wire(time, "502"), canned).open_stream(request))
    assert outcome.stream is not None
    assert outcome.stream.status == 200
    assert [chunk async for chunk in outcome.stream] == [b'{"result":0,"rooms":[]}']
    await outcome.stream.aclose()


async def test_a_middleware_sees_what_came_of_the_retries_and_may_change_it() -> None:
    async def forgiving(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        assert (outcome.verdict, outcome.attempts) == (Verdict.UNKNOWN, 3)
        return answered(request, 200, {}, b'{"result":0}')

    time = Time()
    assert await time.run(calls(time, wire(time, "502"), forgiving).run(ask())) == [None]


async def test_an_error_of_a_middleware_is_the_callers() -> None:
    class Mine(Exception):
        pass

    async def broken(request: Request, send: Send) -> Outcome:
        raise Mine

    async def impatient(request: Request, send: Send) -> Outcome:
        raise TimeoutError("mine")

    time = Time()
    with pytest.raises(Mine):
        await calls(time, wire(time, "ok"), broken).run(ask())
    with pytest.raises(TimeoutError, match="mine"):
        await calls(time, wire(time, "ok"), impatient).run(ask())


async def test_a_middleware_that_never_ends_ends_with_the_call() -> None:
    async def stuck(request: Request, send: Send) -> Outcome:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    time = Time()
    pipeline = calls(time, wire(time, "ok"), stuck)
    for route, kind in ((routes.DELETE_ROOM, errors.CallTimeout), (routes.CREATE_ROOM, errors.CreateOutcomeUnknown)):
        with pytest.raises(kind) as late:
            await pipeline.run(ask(route, timeout=0.01))
        assert late.value.may_have_executed
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_failed_call_raises_its_error() -> None:
    time = Time()
    pipeline = calls(time, wire(time, "404/40001"))
    with pytest.raises(errors.NotFound) as gone:
        await time.run(pipeline.run(ask()))
    assert (gone.value.code, gone.value.attempts) == (40001, 1)
    with pytest.raises(errors.NotFound):
        await time.run(pipeline.open_stream(ask()))


async def test_a_call_is_told_after_its_attempts() -> None:
    time, events = Time(), list[Event]()
    pipeline = calls(time, wire(time, "1:502 2:ok"), listeners=(events.append,))
    await time.run(pipeline.run(ask()))
    kinds = [type(event) for event in events]
    assert kinds == [AttemptEvent, AttemptEvent, CallEvent]
    call = events[-1]
    assert isinstance(call, CallEvent)
    assert (call.route, call.attempts, call.status, call.verdict) == ("rooms.get", 2, 200, "done")
    assert call.seconds == 1 + 0.25 + 2


async def test_a_failed_call_is_told_with_its_code_and_id() -> None:
    time, events = Time(), list[Event]()

    async def refuse(request: Request, deadline: float) -> Outcome:
        return answered(request, 400, {}, b'{"error_code":"INVALID_PARAM","request_id":"req_1"}')

    account = time.account()
    pipeline = Pipeline(
        chain=with_retries(refuse, account, (events.append,)),
        options=Options(),
        pool=SessionManager().pool,
        account=account,
        listeners=(events.append,),
    )
    outcome = await pipeline.send(ask())
    assert outcome.verdict is Verdict.REJECTED
    assert [(event.code, event.request_id, event.status) for event in events] == [("INVALID_PARAM", "req_1", 400)] * 2


async def test_a_call_that_works_is_said_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    pipeline = calls(time, wire(time, "ok"))
    with caplog.at_level(logging.INFO, logger="videoapi"):
        await pipeline.run(ask())
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, logger="videoapi"):
        await pipeline.run(ask())
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


# A read that broke in its body.


async def test_a_broken_read_is_made_again_as_the_policy_says() -> None:
    time = Time()
    pipeline = calls(time, wire(time, "ok"))
    request = ask(routes.LIST_ROOMS)
    lost = pipeline.interrupted(request, "the body broke", timed_out=False)
    assert await time.run(pipeline.retry_read(request, lost, 1), pipeline.retry_read(request, lost, 2)) == [True, True]
    assert await time.run(pipeline.retry_read(request, lost, 3)) == [False]
    assert time.naps == [0.25, 0.5]
    assert pipeline.account.budget.left == 480


async def test_a_broken_read_is_not_made_again_where_the_budget_is_spent() -> None:
    time = Time()
    pipeline = calls(time, wire(time, "ok"))
    while pipeline.account.budget.spend(Verdict.UNKNOWN):
        pass
    request = ask(routes.LIST_ROOMS)
    assert not await pipeline.retry_read(request, pipeline.interrupted(request, "broke", timed_out=True), 1)
    assert time.naps == []


async def test_a_broken_read_becomes_the_error_of_its_breaking() -> None:
    pipeline = calls(Time(), wire(Time(), "ok"))
    request = ask(routes.LIST_ROOMS)
    broke = pipeline.error(pipeline.interrupted(request, "the body broke", timed_out=False), request, 3)
    silent = pipeline.error(pipeline.interrupted(request, "it fell silent", timed_out=True), request, 3)
    assert (type(broke), type(silent)) == (errors.ConnectionFailed, errors.CallTimeout)
    assert broke.attempts == 3
    torn = pipeline.classify(request, 200, {}, b'{"result":50002}')
    assert torn.code == 50002


async def test_a_middleware_that_returns_no_outcome_is_named() -> None:
    async def forgetful(request: Request, send: Send) -> None:
        await send(request)

    async with VideoClient("a" * 24, "k", "http://127.0.0.1:9/v1", middleware=[forgetful]) as client:  # type: ignore[list-item]
        with pytest.raises(ConfigurationError, match="forgetful returned NoneType"):
            await client.with_options(retry=RetryPolicy(attempts=1)).rooms.get("x")
