"""Single calls: results, errors, threads, context variables, and the life of a client."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from support.server import Link, serve

import videoapi
from videoapi import (
    BulkReport,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    NotFound,
    Outcome,
    Request,
    Room,
    Send,
    ValidationError,
)
from videoapi.blocking import SessionManager, VideoClient
from videoapi.blocking.callbacks import Callbacks, _Callback
from videoapi.blocking.portal import Portal
from videoapi.sandbox import Sandbox

MISSING = "0123456789abcdef01234567"
USER: ContextVar[str] = ContextVar("USER", default="none")


def client_of(sandbox: Sandbox, **options: Any) -> VideoClient:
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **options)


_EARLIER: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def earlier() -> None:
    """Forget the threads that other tests in this process have left to the garbage collector."""
    _EARLIER.clear()
    _EARLIER.update(portals())


def portals() -> list[threading.Thread]:
    found = [thread for thread in threading.enumerate() if thread.name == "videoapi-blocking"]
    return [thread for thread in found if thread not in _EARLIER]


def test_every_namespace_returns_plain_values(client: VideoClient, sandbox: Sandbox) -> None:
    room = client.rooms.create(name="Stand-up")
    assert isinstance(room, Room)
    assert client.rooms.get(room.room_id).name == "Stand-up"
    client.rooms.update(room.room_id, name="Retro")
    token = client.tokens.create(room.room_id, name="Ann", role="moderator", user_ref="u")
    sandbox.join(token.value)
    assert [user.name for user in client.rooms.users(room.room_id)] == ["Ann"]
    assert client.dialin.get().numbers is not None
    assert client.warm_up(2) >= 1
    assert client.base_url == sandbox.base_url
    answer = client.request("GET", f"/rooms/{room.room_id}", operation="read")
    assert b"Retro" in answer.body
    assert repr(client) == f"<VideoClient {sandbox.base_url}>"


def test_errors_pass_through_with_a_traceback_into_both_threads(client: VideoClient) -> None:
    with pytest.raises(NotFound) as caught:
        client.rooms.get(MISSING)
    assert caught.value.code == 40001
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[0] == "test_errors_pass_through_with_a_traceback_into_both_threads"
    assert names[-2:] == ["get", "run"]
    with pytest.raises(ValidationError, match="name"):
        client.rooms.create(name="")
    with pytest.raises(TypeError, match="nme"):
        client.rooms.create(nme="Stand-up")  # type: ignore[call-arg]


def test_error_is_not_kept_alive_by_its_own_frames(client: VideoClient) -> None:
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, NotFound)}
    gc.disable()
    try:
        with pytest.raises(NotFound):
            client.rooms.get(MISSING)
        assert not [found for found in gc.get_objects() if isinstance(found, NotFound) and id(found) not in before]
    finally:
        gc.enable()


def test_limits_of_a_view_apply(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "hang", times=None)
    quick = client.with_options(timeout=0.2)
    with pytest.raises(videoapi.CallTimeout):
        quick.rooms.get(MISSING)
    quick.close()
    sandbox.clear_faults()
    with pytest.raises(NotFound):
        client.rooms.get(MISSING)


def test_threads_share_a_client_and_its_only_thread(client: VideoClient, sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        rooms = list(threads.map(lambda number: client.rooms.create(name=f"Room {number}"), range(40)))
    assert len({room.room_id for room in rooms}) == 40
    assert sorted(room.name or "" for room in rooms) == sorted(entry.name or "" for entry in sandbox.ledger.created)
    assert len(portals()) == 1


def test_first_calls_of_many_threads_start_one_portal(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    ready = threading.Barrier(8)

    def first(_: int) -> object:
        ready.wait()
        return client.rooms

    with client, ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(first, range(8)))) == 1
        assert len(portals()) == 1


def test_thread_starts_with_the_first_call_and_ends_with_close(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    assert portals() == []
    client.rooms.list().to_list()
    assert len(portals()) == 1
    client.close()
    client.close()
    assert portals() == []


@pytest.mark.parametrize("used", [True, False])
def test_closed_client_says_so(sandbox: Sandbox, used: bool) -> None:
    client = client_of(sandbox)
    stream = client.rooms.list()
    if used:
        client.rooms.create(name="Stand-up")
    client.close()
    for call in (lambda: client.rooms.get(MISSING), client.__enter__, lambda: next(iter(stream))):
        with pytest.raises(ConfigurationError, match=r"is closed\. Create a new one"):
            call()
    stream.close()
    assert portals() == []


def test_close_ends_calls_of_other_threads_with_an_error(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "hang", times=None)
    sandbox.fault("rooms.create", "hang", times=None)
    client = client_of(sandbox)
    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit(client.rooms.get, MISSING) for _ in range(2)]
        create = threads.submit(client.rooms.create, name="Stand-up")
        while sandbox.ledger.requests() < 3:
            time.sleep(0.01)
        closing = [threads.submit(client.close), threads.submit(client.close)]
        for read in reads:
            with pytest.raises(ConnectionFailed, match="closed"):
                read.result(20)
        with pytest.raises(videoapi.CreateOutcomeUnknown) as unknown:
            create.result(20)
        assert unknown.value.reference
        for one in closing:
            one.result(20)
    assert portals() == []


def test_clients_share_a_session_manager(sandbox: Sandbox) -> None:
    with SessionManager(max_connections=4) as session:
        first, second = (client_of(sandbox, session=session) for _ in range(2))
        first.rooms.create(name="One")
        first.close()
        with second:
            second.rooms.create(name="Two")
        assert len(portals()) == 1
        assert not session.closed
    assert session.closed
    assert portals() == []
    with pytest.raises(ConfigurationError, match="is closed"):
        second.rooms.create(name="Three")
    second.close()


def test_async_session_manager_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match=r"SessionManager of videoapi\.blocking"):
        client_of(sandbox, session=videoapi.SessionManager())
    with pytest.raises(ConfigurationError, match="session must be a SessionManager"):
        videoapi.VideoClient("id", "key", sandbox.base_url, session=SessionManager())  # type: ignore[arg-type]


async def test_call_in_an_event_loop_names_the_async_client(client: VideoClient) -> None:
    for call in (lambda: client.rooms.get(MISSING), lambda: list(client.rooms.list()), client.__enter__):
        with pytest.raises(ConfigurationError, match=r"videoapi\.VideoClient.*await.*asyncio\.to_thread"):
            call()
    rooms = await asyncio.to_thread(client.rooms.list().to_list)
    assert rooms == []


def test_call_from_a_listener_or_middleware_is_refused_and_does_not_hang(sandbox: Sandbox) -> None:
    caught: list[Exception] = []

    def listener(event: object) -> None:
        try:
            client.rooms.get(MISSING)
        except ConfigurationError as error:
            caught.append(error)

    with client_of(sandbox, listeners=listener) as client:
        client.rooms.create(name="Stand-up")
    assert caught
    assert "own event loop" in str(caught[0])


def test_close_that_is_refused_in_a_listener_leaves_the_client_open(sandbox: Sandbox) -> None:
    refused: list[Exception] = []

    def listener(event: object) -> None:
        try:
            client.close()
        except ConfigurationError as error:
            refused.append(error)

    with client_of(sandbox, listeners=listener) as client:
        client.rooms.create(name="First")
        assert client.rooms.create(name="Second").name == "Second"
    assert refused


def test_middleware_listeners_and_credentials_see_the_context_of_the_caller(sandbox: Sandbox) -> None:
    seen: list[tuple[str, str, bool]] = []
    caller = threading.current_thread()

    def note(what: str) -> None:
        seen.append((what, USER.get(), threading.current_thread() is caller))

    async def middleware(request: Request, send: Send) -> Outcome:
        note("middleware")
        return await send(request)

    def credentials() -> tuple[str, str]:
        note("credentials")
        return sandbox.app_id, sandbox.app_key

    options: dict[str, Any] = {"middleware": middleware, "listeners": lambda _: note("listener")}
    with VideoClient(base_url=sandbox.base_url, credentials=credentials, **options) as client:
        for user in ("Ann", "Bob"):
            USER.set(user)
            seen.clear()
            client.rooms.create(name="Stand-up")
            assert {what for what, _, _ in seen} == {"middleware", "credentials", "listener"}
            assert {(name, same) for _, name, same in seen} == {(user, False)}


def test_slow_credentials_do_not_delay_other_calls(sandbox: Sandbox) -> None:
    released = threading.Event()

    def credentials() -> tuple[str, str]:
        if USER.get() == "slow":
            assert released.wait(20)
        return sandbox.app_id, sandbox.app_key

    def slow() -> Room:
        USER.set("slow")
        return client.rooms.create(name="Slow")

    with VideoClient(base_url=sandbox.base_url, credentials=credentials) as client, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(slow)
        client.rooms.create(name="Quick")
        assert not waiting.done()
        released.set()
        waiting.result(20)


@pytest.mark.parametrize("error", [StopIteration, ValueError, asyncio.CancelledError])
def test_failing_credentials_callable_is_the_documented_error(sandbox: Sandbox, error: type[BaseException]) -> None:
    def credentials() -> tuple[str, str]:
        raise error

    with (
        VideoClient(base_url=sandbox.base_url, credentials=credentials) as client,
        pytest.raises(videoapi.CredentialsUnavailable),
    ):
        client.rooms.get(MISSING)


def test_coroutine_function_of_credentials_works(sandbox: Sandbox) -> None:
    async def credentials() -> tuple[str, str]:
        return sandbox.app_id, sandbox.app_key

    with VideoClient(base_url=sandbox.base_url, credentials=credentials) as client:
        assert client.rooms.create(name="Stand-up").room_id in sandbox.ledger.rooms


def test_middleware_that_cancels_is_an_error_and_not_a_cancellation(sandbox: Sandbox) -> None:
    async def middleware(request: Request, send: Send) -> Outcome:
        raise asyncio.CancelledError

    with client_of(sandbox, middleware=middleware) as client, pytest.raises(ConfigurationError, match="cancelled"):
        client.rooms.get(MISSING)


def test_system_exit_of_a_listener_reaches_the_caller_and_closes_the_client(sandbox: Sandbox) -> None:
    def listener(event: object) -> None:
        raise SystemExit(7)

    client = client_of(sandbox, listeners=listener)
    with pytest.raises(SystemExit) as caught:
        client.rooms.get(MISSING)
    assert caught.value.code == 7
    with pytest.raises(ConfigurationError, match="is closed"):
        client.rooms.get(MISSING)
    client.close()
    assert portals() == []


def test_unclosed_client_warns_and_leaves_no_thread(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    client.rooms.create(name="Stand-up")
    clients = [client]
    del client
    with pytest.warns(ResourceWarning, match=r"VideoClient .* was not closed"):
        clients.clear()
    assert portals() == []


def test_stream_keeps_the_portal_of_its_client_alive(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    client.rooms.create_many(videoapi.RoomSpec(f"Room {number}") for number in range(5))
    stream = client.rooms.list()
    streams = [stream]
    del client, stream
    gc.collect()
    assert len(list(streams[0])) == 5
    with pytest.warns(ResourceWarning):
        streams.clear()


async def test_portal_closes_without_waiting_for_a_call_that_ignores_its_cancellation() -> None:
    """A server that sends nothing; the call is cancelled, and the thread that waits gets an error."""

    async def silent(link: Link) -> None:
        await link.request()
        await asyncio.Event().wait()

    async with serve(silent) as server:
        client = VideoClient("id", "key", server.base_url)
        call = asyncio.create_task(asyncio.to_thread(client.rooms.get, MISSING))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(client.close)
        with pytest.raises(ConnectionFailed, match="closed"):
            await call


class Interruption(KeyboardInterrupt):
    pass


def interrupted(coroutine: Coroutine[Any, Any, object], callbacks: Callbacks, *, form: Any = None) -> Interruption:
    """Run a coroutine whose callback or form raises an interruption, and return it."""
    portal = Portal("A client", partial(asyncio.sleep, 0))
    try:
        with pytest.raises(Interruption) as caught:
            portal.run(coroutine, callbacks, *([] if form is None else [form]))
        return caught.value
    finally:
        portal.close()


def interrupt(*_: object) -> None:
    raise Interruption


def test_interruption_keeps_the_report_of_a_run_that_had_completed() -> None:
    callbacks = Callbacks(lambda: False)

    async def completed() -> BulkReport:
        callbacks.post(interrupt)
        return BulkReport(total=7)

    error: Any = interrupted(completed(), callbacks)
    assert error.report.total == 7


def test_interruption_hides_no_doubt_of_the_error_that_it_replaces() -> None:
    callbacks = Callbacks(lambda: False)

    async def failed() -> None:
        callbacks.post(interrupt)
        raise CreateOutcomeUnknown("No response. Reference r-1.", may_have_executed=True, reference="r-1")

    error: Any = interrupted(failed(), callbacks)
    assert error.may_have_executed
    assert "Reference r-1" in error.__notes__[0]


def test_interruption_before_the_result_is_returned_names_the_room(sandbox: Sandbox) -> None:
    with client_of(sandbox) as client:
        room = client.rooms.create(name="Stand-up")

    async def created() -> Room:
        return room

    error = interrupted(created(), Callbacks(lambda: False), form=interrupt)
    assert room.room_id in error.__notes__[0]


def test_second_interruption_says_that_the_call_may_have_been_executed() -> None:
    callbacks = Callbacks(lambda: False)

    async def lasting() -> None:
        callbacks.post(interrupt)
        callbacks.post(interrupt)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.3)

    error = interrupted(lasting(), callbacks)
    assert isinstance(error.__context__, Interruption)
    assert "May have been executed" in error.__notes__[0]


def test_callback_that_exits_each_time_hides_nothing_that_the_call_says_at_its_end() -> None:
    callbacks = Callbacks(lambda: False)
    portal = Portal("A client", partial(asyncio.sleep, 0))

    async def lasting() -> None:
        callbacks.post(partial(sys.exit, "first"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            callbacks.post(partial(sys.exit, "second"))
            await asyncio.sleep(0.3)
            cancelled.add_note("Reference r-1.")
            raise

    with pytest.raises(SystemExit, match="first") as caught:
        portal.run(lasting(), callbacks)
    portal.close()
    assert caught.value.__notes__ == ["Reference r-1."]


@pytest.mark.parametrize("place", ["before", "after"])
def test_interruption_beside_a_callback_does_not_keep_the_call_waiting(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks = Callbacks(lambda: False)
    portal = Portal("A client", partial(asyncio.sleep, 0))
    run = _Callback.run

    def interrupted(callback: _Callback, loop: asyncio.AbstractEventLoop) -> None:
        monkeypatch.setattr(_Callback, "run", run)
        if place == "after":
            # Its function has run, and the event loop does not know yet.
            callback.function()
            callback.thread = threading.get_ident()
        raise Interruption

    monkeypatch.setattr(_Callback, "run", interrupted)
    ran: list[int] = []
    with pytest.raises(Interruption) as caught:
        portal.run(callbacks.run(ran.append, 1), callbacks)
    portal.close()
    assert ran == ([1] if place == "after" else [])
    assert "has not ended" not in str(getattr(caught.value, "__notes__", ""))
