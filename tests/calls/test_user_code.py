"""Streams, deadlines and headers that pass through a middleware, on the fast path and through the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs
import pytest
from multidict import CIMultiDict
from support.clients import EAGER, ONCE, client_for
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import (
    CallEvent,
    CallTimeout,
    ConfigurationError,
    CreateOutcomeUnknown,
    Outcome,
    Request,
    Send,
    SessionManager,
    VideoAPIError,
    VideoClient,
    answered,
)
from videoapi.events import Event
from videoapi.protocol.types import Classification, ErrorKind, Verdict

EMPTY_LIST = b'{"result":0,"rooms":[]}'


class CustomError(Exception):
    pass


@pytest.fixture(params=[True, False], ids=["fast path", "session"])
async def manager(request: pytest.FixtureRequest) -> AsyncIterator[SessionManager]:
    async with SessionManager(max_connections=4, fast_path=request.param) as manager:
        yield manager


async def room_service(link: Link) -> None:
    """Respond to creates with the room, and to all else with success; a list never ends."""
    while True:
        seen = await link.request()
        if seen.method == "POST":
            link.answer(200, room(**seen.json))
        elif seen.method == "GET" and seen.target.endswith("/rooms"):
            link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await link.drain()
            await link.gone()
            raise EOFError
        else:
            link.answer(200, room())


async def silent(link: Link) -> None:
    while True:
        await link.request()


def nothing_is_held(manager: SessionManager) -> bool:
    pool = manager.pool
    connector = pool.session.connector
    assert connector is not None
    free = [permits.free for permits in (pool.permits, pool.stream_permits, pool.short_stream_permits)]
    return free == [4, 1, 1] and not connector._acquired


async def released(manager: SessionManager) -> bool:
    """Return whether all permits and connections are free soon."""
    for _ in range(100):
        if nothing_is_held(manager):
            return True
        await asyncio.sleep(0.01)
    return False


async def list_rooms(client: VideoClient) -> list[Any]:
    return await client.rooms.list(timeout=5).to_list()


# Streams that a middleware opens and does not hand on.


async def raises(request: Request, send: Send) -> Outcome:
    await send(request)
    raise CustomError


async def returns_none(request: Request, send: Send) -> None:
    await send(request)


async def responds(request: Request, send: Send) -> Outcome:
    await send(request)
    return answered(request, 200, {}, EMPTY_LIST)


async def rejects(request: Request, send: Send) -> Outcome:
    await send(request)
    return answered(request, 404, {}, b'{"result":40001}')


async def rejects_with_the_stream(request: Request, send: Send) -> Outcome:
    outcome = await send(request)
    return attrs.evolve(outcome, classification=Classification(Verdict.REJECTED, ErrorKind.REQUEST))


async def responds_within_a_task(request: Request, send: Send) -> Outcome:
    await asyncio.create_task(_awaited(send(request)))
    return answered(request, 200, {}, EMPTY_LIST)


async def leaves_a_task_running(request: Request, send: Send) -> Outcome:
    task = asyncio.create_task(_awaited(send(request)))
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    await asyncio.sleep(0)
    return answered(request, 200, {}, EMPTY_LIST)


async def _awaited(sending: Awaitable[Outcome]) -> Outcome:
    return await sending


_kept: set[asyncio.Task[Outcome]] = set()

ENDINGS: dict[str, tuple[Any, Any]] = {
    "raises": (raises, CustomError),
    "returns none": (returns_none, ConfigurationError),
    "responds": (responds, None),
    "rejects": (rejects, VideoAPIError),
    "rejects with the stream": (rejects_with_the_stream, VideoAPIError),
    "responds within a task": (responds_within_a_task, None),
    "leaves a task running": (leaves_a_task_running, None),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_stream_is_closed_when_a_middleware_keeps_it(manager: SessionManager, ending: str) -> None:
    middleware, error = ENDINGS[ending]
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[middleware], retry=ONCE) as client:
            # One stream permit: a single leak would end the second call with a timeout.
            for _ in range(3):
                async with asyncio.timeout(5):
                    if error is None:
                        assert await list_rooms(client) == []
                    else:
                        with pytest.raises(error):
                            await list_rooms(client)
            assert await released(manager)


async def test_stream_is_closed_when_its_middleware_is_cancelled(manager: SessionManager) -> None:
    opened = asyncio.Event()

    async def hangs(request: Request, send: Send) -> Outcome:
        await send(request)
        opened.set()
        await asyncio.sleep(60)
        raise AssertionError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[hangs]) as client:
            for _ in range(3):
                opened.clear()
                task = asyncio.create_task(list_rooms(client))
                await asyncio.wait_for(opened.wait(), 5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert nothing_is_held(manager)


async def test_stream_is_closed_when_its_middleware_hangs(manager: SessionManager) -> None:
    async def hangs(request: Request, send: Send) -> Outcome:
        await send(request)
        await asyncio.sleep(60)
        raise AssertionError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[hangs], timeout=0.2) as client:
            for _ in range(3):
                with pytest.raises(CallTimeout):
                    await list_rooms(client)
                assert nothing_is_held(manager)


async def test_stream_is_closed_when_the_client_closes_during_its_middleware(manager: SessionManager) -> None:
    opened = asyncio.Event()

    async def hangs(request: Request, send: Send) -> Outcome:
        await send(request)
        opened.set()
        await asyncio.sleep(60)
        raise AssertionError

    async with serve(room_service) as server:
        client = client_for(server.base_url, session=manager, middleware=[hangs])
        task = asyncio.create_task(list_rooms(client))
        await asyncio.wait_for(opened.wait(), 5)
        await client.aclose()
        with pytest.raises(VideoAPIError, match="closed"):
            await asyncio.wait_for(task, 5)
        assert nothing_is_held(manager)


async def test_streams_are_closed_when_a_middleware_opens_two(manager: SessionManager) -> None:
    """With a permit per stream, the first must be closed before the second can be opened."""

    async def hands_on_the_second(request: Request, send: Send) -> Outcome:
        first = await send(request)
        assert first.stream is not None
        await first.stream.aclose()
        return await send(request)

    listing = repeating(answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}]}))
    async with serve(listing) as server:
        async with client_for(server.base_url, session=manager, middleware=[hands_on_the_second]) as client:
            for _ in range(3):
                assert [one.room_id for one in await list_rooms(client)] == [ROOM_ID]
            assert nothing_is_held(manager)


async def test_stream_opened_for_a_single_call_is_closed(manager: SessionManager) -> None:
    async def streams(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, stream=True))

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[streams], retry=ONCE) as client:
            for _ in range(2):
                await asyncio.gather(client.rooms.get(ROOM_ID), return_exceptions=True)
            assert await released(manager)


async def test_stream_handed_on_is_read_to_its_end(manager: SessionManager) -> None:
    async def untouched(request: Request, send: Send) -> Outcome:
        return await send(request)

    listing = repeating(answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}]}))
    async with serve(listing) as server:
        async with client_for(server.base_url, session=manager, middleware=[untouched]) as client:
            assert [one.room_id for one in await list_rooms(client)] == [ROOM_ID]
            assert nothing_is_held(manager)


# What may have been sent is known, not assumed.


async def test_create_is_not_sent_when_a_middleware_sleeps_first(manager: SessionManager) -> None:
    async def sleeps(request: Request, send: Send) -> Outcome:
        await asyncio.sleep(60)
        return await send(request)

    events: list[Event] = []
    async with serve(room_service) as server:
        async with client_for(
            server.base_url, session=manager, middleware=[sleeps], timeout=0.2, listeners=[events.append]
        ) as client:
            with pytest.raises(CallTimeout) as raised:
                await client.rooms.create(name="Board")
        assert server.requests == []
    error = raised.value
    assert (error.may_have_executed, error.attempts) == (False, 0)
    assert error.reference is not None
    assert "Not sent." in str(error)
    assert "0.15 s (timeout)" in str(error) or "0.2 s (timeout)" in str(error)
    assert [event.verdict for event in events if isinstance(event, CallEvent)] == ["not_sent"]


@pytest.mark.parametrize("shape", ["after it", "in a task", "in a shielded task", "in an abandoned task"])
async def test_create_is_unknown_when_a_middleware_hangs_after_sending(manager: SessionManager, shape: str) -> None:
    async def hangs(request: Request, send: Send) -> Outcome:
        match shape:
            case "after it":
                await send(request)
                await asyncio.sleep(60)
            case "in a task":
                await asyncio.gather(send(request), asyncio.sleep(60))
            case "in a shielded task":
                return await asyncio.shield(send(request))
            case _:
                sending = asyncio.create_task(_awaited(send(request)))
                _kept.add(sending)
                sending.add_done_callback(_kept.discard)
                await asyncio.wait([sending])
                return sending.result()
        raise AssertionError

    script = room_service if shape == "after it" else silent
    async with serve(script) as server:
        async with client_for(server.base_url, session=manager, middleware=[hangs], timeout=0.3) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
            assert len(server.requests) == 1
            assert raised.value.may_have_executed
            assert raised.value.reference is not None
            assert raised.value.reference in str(raised.value)
            assert await released(manager)


async def test_delete_may_have_executed_when_a_middleware_hangs_after_it(manager: SessionManager) -> None:
    async def hangs(request: Request, send: Send) -> Outcome:
        await send(request)
        await asyncio.sleep(60)
        raise AssertionError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[hangs], timeout=0.3) as client:
            with pytest.raises(CallTimeout) as raised:
                await client.rooms.delete(ROOM_ID)
        assert len(server.requests) == 1
    assert raised.value.may_have_executed
    assert "Not sent" not in str(raised.value)


async def test_cancellation_note_is_true_when_a_middleware_has_sent(manager: SessionManager) -> None:
    sent = asyncio.Event()

    async def hangs(request: Request, send: Send) -> Outcome:
        await send(request)
        sent.set()
        await asyncio.sleep(60)
        raise AssertionError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[hangs]) as client:
            task = asyncio.create_task(client.rooms.create(name="Board"))
            await asyncio.wait_for(sent.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
    notes = " ".join(raised.value.__notes__)
    assert server.requests[0].json["owner_ref"] in notes
    assert "Not sent" not in notes
    assert "May have been executed" in notes


async def test_error_of_a_middleware_does_not_hide_an_executed_create(manager: SessionManager) -> None:
    async def fails(request: Request, send: Send) -> Outcome:
        await send(request)
        raise VideoAPIError("The audit log is full.")

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[fails]) as client:
            with pytest.raises(VideoAPIError, match="The audit log is full") as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
    assert raised.value.may_have_executed
    assert raised.value.reference == server.requests[0].json["owner_ref"]


async def test_error_of_a_middleware_does_not_hide_a_lost_response(manager: SessionManager) -> None:
    async def fails(request: Request, send: Send) -> Outcome:
        await send(request)
        raise CustomError("The audit log is full.")

    async with serve(repeating(answer(502))) as server:
        async with client_for(server.base_url, session=manager, middleware=[fails]) as client:
            with pytest.raises(CreateOutcomeUnknown, match="The audit log is full") as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
    assert isinstance(raised.value.__cause__, CustomError)
    assert raised.value.reference == server.requests[0].json["owner_ref"]


async def test_error_of_a_middleware_before_sending_is_raised_unchanged(manager: SessionManager) -> None:
    async def fails(request: Request, send: Send) -> Outcome:
        raise CustomError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[fails]) as client:
            with pytest.raises(CustomError):
                await client.rooms.create(name="Board")
    assert server.requests == []


@pytest.mark.parametrize("second", [400, 429])
async def test_unknown_create_stays_unknown_when_a_middleware_retries(manager: SessionManager, second: int) -> None:
    async def retries(request: Request, send: Send) -> Outcome:
        await send(request)
        return await send(request)

    later = answer(400, {"result": 10002}) if second == 400 else answer(429)
    statuses = iter([answer(502), later])

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.send(next(statuses))

    async with serve(script) as server:
        async with client_for(server.base_url, session=manager, middleware=[retries], retry=ONCE) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
        assert len(server.requests) == 2
    assert raised.value.reference == server.requests[0].json["owner_ref"]


async def test_retry_by_a_middleware_returns_the_room(manager: SessionManager) -> None:
    async def retries(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        return await send(request) if outcome.status == 409 else outcome

    answers = iter([409, 200])

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            status = next(answers)
            link.answer(status, room(**seen.json) if status == 200 else {"result": 10030})

    async with serve(script) as server:
        async with client_for(server.base_url, session=manager, middleware=[retries]) as client:
            assert (await client.rooms.create(name="Board")).room_id == ROOM_ID
            assert await released(manager)


# Two sends at once.


async def both(request: Request, send: Send) -> Outcome:
    first, _ = await asyncio.gather(send(request), send(request))
    return first


async def both_in_a_group(request: Request, send: Send) -> Outcome:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(send(request))) for _ in range(2)]
    return tasks[0].result()


@pytest.mark.parametrize("middleware", [both, both_in_a_group])
@pytest.mark.parametrize("limits", [{"timeout": 0.3}, {"attempt_timeout": 0.2, "timeout": 5}], ids=["call", "attempt"])
async def test_timeout_is_reported_when_a_middleware_sends_twice(
    manager: SessionManager, middleware: Any, limits: dict[str, float]
) -> None:
    async with serve(silent) as server:
        async with client_for(
            server.base_url, session=manager, middleware=[middleware], retry=ONCE, **limits
        ) as client:
            with pytest.raises(CreateOutcomeUnknown):
                await client.rooms.create(name="Board", on_unknown="strict")
            with pytest.raises(CallTimeout):
                await client.rooms.get(ROOM_ID)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            assert await released(manager)
        assert len(server.requests) == 4


async def test_clean_up_that_sends_after_the_deadline_does_not_wait_for_the_rate(manager: SessionManager) -> None:
    async def fails() -> None:
        raise OSError

    async def middleware(request: Request, send: Send) -> Outcome:
        # On Python 3.11 and 3.12, `cancelling()` of this task stays 1 after that.
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
        except* OSError:
            pass
        try:
            return await send(request)
        except asyncio.CancelledError:
            await send(request)
            raise

    async with serve(room_service) as server:
        async with client_for(
            server.base_url, session=manager, middleware=[middleware], timeout=0.3, rate="1/min"
        ) as client:
            await client.rooms.get(ROOM_ID)
            task = asyncio.ensure_future(client.rooms.get(ROOM_ID))
            done, _ = await asyncio.wait([task], timeout=10)
            task.cancel()
            assert done


@pytest.mark.parametrize("operation", ["get", "create"])
async def test_cancellation_is_no_timeout_though_the_clean_up_sends_and_outlasts_the_deadline(
    manager: SessionManager, operation: str
) -> None:
    async def middleware(request: Request, send: Send) -> Outcome:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await send(request)
            await asyncio.sleep(30)
            raise
        raise AssertionError

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[middleware], timeout=0.5) as client:
            call = client.rooms.get(ROOM_ID) if operation == "get" else client.rooms.create(name="n")
            task = asyncio.ensure_future(call)
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


@pytest.mark.parametrize("middleware", [both, both_in_a_group])
async def test_create_is_unknown_when_one_of_two_sends_hangs(manager: SessionManager, middleware: Any) -> None:
    refused: list[int] = []

    async def script(link: Link) -> None:
        await link.request()
        if not refused:
            refused.append(link.number)
            link.answer(400, {"result": 10002})
        await link.gone()

    async with serve(script) as server:
        async with client_for(server.base_url, session=manager, middleware=[middleware], timeout=0.4) as client:
            with pytest.raises(CreateOutcomeUnknown):
                await client.rooms.create(name="Board", on_unknown="strict")
            assert await released(manager)


async def test_create_is_unknown_when_the_faster_of_two_sends_is_refused(manager: SessionManager) -> None:
    async def first_of_two(request: Request, send: Send) -> Outcome:
        tasks = [asyncio.create_task(_awaited(send(request))) for _ in range(2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return done.pop().result()

    arrived = asyncio.Event()
    refused: list[int] = []

    async def script(link: Link) -> None:
        await link.request()
        if link.server.requests[1:]:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), 5)
        if not refused:
            refused.append(link.number)
            link.answer(400, {"result": 10002})
        await link.gone()

    async with serve(script) as server:
        async with client_for(server.base_url, session=manager, middleware=[first_of_two], timeout=5) as client:
            with pytest.raises(VideoAPIError) as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
            assert raised.value.may_have_executed
            assert await released(manager)


async def test_middleware_that_sends_twice_gets_both_responses(manager: SessionManager) -> None:
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[both]) as client:
            rooms = await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
            assert {one.room_id for one in rooms} == {ROOM_ID}
            assert len(server.requests) == 40
            assert await released(manager)


async def test_cancelled_call_ends_both_sends_of_its_middleware(manager: SessionManager) -> None:
    async with serve(silent) as server:
        async with client_for(server.base_url, session=manager, middleware=[both]) as client:
            task = asyncio.create_task(client.rooms.get(ROOM_ID))
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await released(manager)


async def test_send_kept_after_the_call_is_refused(manager: SessionManager) -> None:
    kept: list[Callable[[], Awaitable[Outcome]]] = []

    async def keeps(request: Request, send: Send) -> Outcome:
        kept.append(lambda: send(request))
        return await send(request)

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[keeps]) as client:
            await client.rooms.get(ROOM_ID)
            with pytest.raises(ConfigurationError):
                await kept[0]()
        assert len(server.requests) == 1


# Headers.

RESERVED = ("Authorization", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade")


class Shouting(str):
    """A text whose comparison keys do not help: the header name is what is written."""

    __slots__ = ()


BAD_HEADERS: dict[str, Any] = {
    **{name: {name: "1"} for name in RESERVED},
    **{name.lower(): {name.lower(): "1"} for name in RESERVED},
    **{name.upper(): {name.upper(): "1"} for name in RESERVED},
    "reserved after a good one": {"X-Trace": "1", "host": "elsewhere.invalid"},
    "case-insensitive mapping": CIMultiDict({"AUTHORIZATION": "Basic eA=="}),
    "subclass of text": {Shouting("Host"): "elsewhere.invalid"},
    "number": {"X-Number": 1},
    "none": {"X-None": None},
    "bytes": {"X-Bytes": b"1"},
    "list": {"X-List": ["1"]},
    "line end": {"X-Line": "1\r\nX-Other: 2"},
    "lone line feed": {"X-Line": "1\nX-Other: 2"},
    "lone carriage return": {"X-Line": "1\rX-Other: 2"},
    "null": {"X-Null": "a\0b"},
    "delete character": {"X-Del": "a\x7fb"},
    "lone surrogate": {"X-Surrogate": "\ud800"},
    "empty name": {"": "1"},
    "blank in name": {"X Trace": "1"},
    "blank before the colon": {"Host ": "elsewhere.invalid"},
    "colon in name": {"X:Trace": "1"},
    "line end in name": {"X-A: 1\r\nX-B": "2"},
    "name that is not ASCII": {"X-Tracé": "1"},
    "name that is bytes": {b"X-Trace": "1"},
    "name that is a number": {1: "1"},
    "no mapping": [("X-Trace", "1")],
    "text": "X-Trace: 1",
}


def adding(headers: Any) -> Any:
    async def adds(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers=headers))

    return adds


@pytest.mark.parametrize("bad", BAD_HEADERS)
async def test_bad_header_of_a_middleware_is_refused(manager: SessionManager, bad: str) -> None:
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[adding(BAD_HEADERS[bad])]) as client:
            for call in (
                lambda: client.rooms.get(ROOM_ID),
                lambda: client.rooms.create(name="Board"),
                lambda: list_rooms(client),
            ):
                with pytest.raises(ConfigurationError) as raised:
                    await call()
                assert not raised.value.may_have_executed
            assert await released(manager)
        assert server.requests == []


@pytest.mark.parametrize("bad", BAD_HEADERS)
async def test_bad_header_of_a_custom_request_is_refused(manager: SessionManager, bad: str) -> None:
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager) as client:
            with pytest.raises(ConfigurationError):
                await client.request("GET", "/extras", headers=BAD_HEADERS[bad], operation="read")
        assert server.requests == []


@pytest.mark.parametrize("bad", BAD_HEADERS)
def test_bad_header_of_a_client_is_refused(bad: str) -> None:
    with pytest.raises(ConfigurationError):
        client_for("http://127.0.0.1:9/v1", headers=BAD_HEADERS[bad])


async def test_refused_header_names_itself_but_no_secret(manager: SessionManager) -> None:
    headers = {"Authorization": "Bearer hunter2hunter2"}
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[adding(headers)]) as client:
            with pytest.raises(ConfigurationError, match="Authorization") as raised:
                await client.rooms.create(name="Board")
    assert "hunter2" not in str(raised.value)
    assert raised.value.reference is not None


GOOD_HEADERS: dict[str, Mapping[str, str]] = {
    "correlation": {"X-Correlation-ID": "a b\tc"},
    "every token character": {"!#$%&'*+.^_`|~09Az-": "1"},
    "empty value": {"X-Empty": ""},
    "value that is not ASCII": {"X-Name": "Zoë"},
    "replaced": {"accept": "application/xml"},
}


@pytest.mark.parametrize("good", GOOD_HEADERS)
async def test_good_header_of_a_middleware_is_sent_once(manager: SessionManager, good: str) -> None:
    headers = GOOD_HEADERS[good]
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[adding(headers)]) as client:
            await client.rooms.create(name="Board")
            await client.rooms.get(ROOM_ID)
            assert_each_sent(server, headers)


def assert_each_sent(server: Server, headers: Mapping[str, str]) -> None:
    assert len(server.requests) == 2
    for seen in server.requests:
        for name, value in headers.items():
            # The server decodes as Latin-1 what was sent as UTF-8.
            assert seen.headers[name.lower()].encode("latin-1").decode() == value
        assert seen.headers["host"] == f"127.0.0.1:{server.port}"
        assert seen.headers["authorization"].startswith("Basic ")


async def test_middleware_error_reaches_only_its_own_call(manager: SessionManager) -> None:
    async def fails_for_one(request: Request, send: Send) -> Outcome:
        if request.path.endswith("bad"):
            raise CustomError
        return await send(request)

    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[fails_for_one], retry=EAGER) as client:
            ids = [ROOM_ID, "bad", ROOM_ID, "bad", ROOM_ID]
            ended = await asyncio.gather(*(client.rooms.get(one) for one in ids), return_exceptions=True)
            assert [isinstance(one, CustomError) for one in ended] == [False, True, False, True, False]
            assert await released(manager)


class Repeated(dict[str, str]):
    """A mapping that has a name more than once, as multidicts have."""

    def items(self) -> Any:
        return [("X-Trace", "1"), *super().items()]


@pytest.mark.parametrize(
    "headers",
    [{"X-Trace": "1", "x-trace": "2"}, CIMultiDict([("X-Trace", "1"), ("X-Trace", "2")]), Repeated({"X-Trace": "2"})],
    ids=["names in two cases", "multidict", "mapping with a name twice"],
)
@pytest.mark.parametrize("replaces", [False, True], ids=["", "with one of the client's own"])
@pytest.mark.parametrize("operation", ["get", "create"])
async def test_the_last_one_of_a_header_is_sent(
    manager: SessionManager, headers: Mapping[str, str], replaces: bool, operation: str
) -> None:
    given = CIMultiDict([*headers.items(), ("accept", "text/plain")]) if replaces else headers
    async with serve(room_service) as server:
        async with client_for(server.base_url, session=manager, middleware=[adding(given)]) as client:
            await (client.rooms.get(ROOM_ID) if operation == "get" else client.rooms.create(name="R"))
        (seen,) = server.requests
    fields = list(map(str.lower, seen.fields))
    assert [field for field in fields if field.startswith("x-trace")] == ["x-trace: 2"]
    accept = "text/plain" if replaces else "application/json"
    assert [field for field in fields if field.startswith("accept:")] == [f"accept: {accept}"]
