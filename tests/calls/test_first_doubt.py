"""A create that may have been executed stays unknown, keeps its reference, and costs a bounded number of requests."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from support.clients import EAGER, ONCE, call, client_for
from support.server import ROOM_ID, Link, Script, Server, answer, repeating, room, serve

import videoapi
from videoapi import (
    CallEvent,
    CallStarted,
    CallTimeout,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    CredentialsUnavailable,
    NotFound,
    Outcome,
    Request,
    RequestRejected,
    RetryPolicy,
    Room,
    RoomSpec,
    Send,
    SessionManager,
    ValidationError,
    VideoAPIError,
    VideoClient,
    new_reference,
    reference_for,
)
from videoapi.events import Event
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.slow

EMPTY_LIST = answer(200, {"result": 0, "rooms": []})
SHAPE = re.compile(r"vx[a-z2-7]{26}")
PATHS = pytest.mark.parametrize("fast", [True, False], ids=["fast path", "session"])
MODES = pytest.mark.parametrize("mode", ["look", "resend"])


class CustomError(Exception):
    pass


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=17) as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox, **options: Any) -> VideoClient:
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **{"settle": 0.2, **options})


def losing_creates(listing: bytes = EMPTY_LIST) -> Script:
    """Return a script that loses the response to each create, and responds to all else."""

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.send(answer(502) if seen.method == "POST" else listing)

    return script


def reference_sent(server: Server) -> str:
    reference: str = next(seen for seen in server.requests if seen.method == "POST").json["owner_ref"]
    return reference


# Nothing replaces the first doubt.


def assert_still_unknown(error: CreateOutcomeUnknown, server: Server, text: str) -> None:
    assert error.reference == reference_sent(server)
    assert error.may_have_executed
    assert not error.retryable
    assert error.reference in str(error)
    assert text in str(error)
    assert "May have been executed." in str(error)
    assert "Not sent." not in str(error)
    assert error.__cause__ is not None


def causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while error.__cause__ is not None:
        error = error.__cause__
        found.append(error)
    return found


@MODES
@PATHS
async def test_create_stays_unknown_when_credentials_fail_later(mode: Any, fast: bool) -> None:
    calls: list[int] = []

    def credentials() -> tuple[str, str]:
        calls.append(1)
        if len(calls) > 1:
            raise OSError("the vault is sealed")
        return "id", "key"

    async with serve(losing_creates()) as server, SessionManager(fast_path=fast) as manager:
        async with VideoClient(
            credentials=credentials, base_url=server.base_url, session=manager, timeout=1, settle=0.1
        ) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown=mode)
        assert_still_unknown(raised.value, server, "the credentials callable raised OSError")
    assert {type(cause) for cause in causes(raised.value)} >= {CredentialsUnavailable, OSError}


@MODES
async def test_create_stays_unknown_when_later_credentials_are_invalid(mode: Any) -> None:
    calls: list[int] = []

    def credentials() -> Any:
        calls.append(1)
        return ("id", "key") if len(calls) == 1 else 17

    async with serve(losing_creates()) as server:
        async with VideoClient(credentials=credentials, base_url=server.base_url, timeout=1, settle=0.1) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown=mode)
        assert_still_unknown(raised.value, server, "must return Credentials")
    assert isinstance(raised.value.__cause__, ConfigurationError)


LATER_ERRORS = [CustomError("no list today"), OSError("no list today"), ConfigurationError("no list today")]


@MODES
@PATHS
@pytest.mark.parametrize("later", [*LATER_ERRORS, NotFound("no list today")], ids=lambda error: type(error).__name__)
async def test_create_stays_unknown_when_a_middleware_fails_on_the_list(
    mode: Any, fast: bool, later: Exception
) -> None:
    async def fails(request: Request, send: Send) -> Outcome:
        if request.route.name == "rooms.list":
            raise later
        return await send(request)

    async with serve(losing_creates()) as server, SessionManager(fast_path=fast) as manager:
        async with client_for(server.base_url, session=manager, middleware=[fails], timeout=1, settle=0.1) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown=mode)
        assert_still_unknown(raised.value, server, "no list today")
    assert later in causes(raised.value)


@MODES
@pytest.mark.parametrize("listing", [answer(401, {"result": 10000}), answer(404, b"<html>"), answer(302)])
async def test_create_stays_unknown_when_the_list_is_refused(mode: Any, listing: bytes) -> None:
    async with serve(losing_creates(listing)) as server:
        async with client_for(server.base_url, timeout=1, settle=0.1) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown=mode)
        assert_still_unknown(raised.value, server, "GET /rooms")
    assert isinstance(raised.value.__cause__, VideoAPIError)


@pytest.mark.parametrize("second", ["raises", "hangs"])
async def test_create_stays_unknown_when_credentials_fail_in_a_retry(second: str) -> None:
    """A middleware that repeats a create asks for credentials again."""
    calls: list[int] = []

    async def credentials() -> tuple[str, str]:
        calls.append(1)
        if len(calls) > 1 and second == "raises":
            raise OSError("the vault is sealed")
        if len(calls) > 1:
            await asyncio.sleep(60)
        return "id", "key"

    async def repeats(request: Request, send: Send) -> Outcome:
        await send(request)
        return await send(request)

    async with serve(losing_creates()) as server:
        async with VideoClient(
            credentials=credentials, base_url=server.base_url, middleware=[repeats], timeout=0.5
        ) as client:
            with pytest.raises(CreateOutcomeUnknown) as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
        assert raised.value.reference == reference_sent(server)
    assert "credentials callable" in str(raised.value)


# Closing the client.


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@MODES
@PATHS
@pytest.mark.parametrize("moment", ["during the attempt", "before the look-up", "during the look-up"])
async def test_create_stays_unknown_when_the_client_is_closed(mode: Any, fast: bool, moment: str) -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.method == "POST" and moment != "during the attempt":
                link.answer(502)
            # A list never gets a response.

    async with serve(script) as server, SessionManager(fast_path=fast) as manager:
        client = client_for(server.base_url, session=manager, timeout=8, settle=30)
        creating = asyncio.create_task(client.rooms.create(name="Board", on_unknown=mode))
        await until(lambda: len(server.requests) >= (2 if moment == "during the look-up" else 1))
        if moment == "before the look-up":
            await asyncio.sleep(0.05)
        await client.aclose()
        done, _ = await asyncio.wait([creating], timeout=2)
        assert done, "the create still runs after aclose()"
        error = creating.exception()
        assert isinstance(error, CreateOutcomeUnknown)
        assert error.reference == reference_sent(server)
        assert error.may_have_executed
        assert "closed" in str(error)


async def test_error_without_a_text_after_an_attempt_is_named_by_its_class(sandbox: Sandbox) -> None:
    async def limited(request: Request, send: Send) -> Outcome:
        async with asyncio.timeout(0.1):
            return await send(request)

    sandbox.fault("rooms.create", "hang", times=1)
    events: list[Event] = []
    async with client_of(sandbox, middleware=[limited], listeners=[events.append]) as client:
        with pytest.raises(CreateOutcomeUnknown, match=r"attempt; then TimeoutError\. May") as failed:
            await client.rooms.create(name="u", on_unknown="strict")
    assert isinstance(failed.value.__cause__, TimeoutError)
    assert [event.reason for event in events if isinstance(event, CallEvent)] == [
        "unknown after an attempt; then TimeoutError"
    ]


async def test_unsent_create_of_a_closed_client_is_not_unknown() -> None:
    async def waits(request: Request, send: Send) -> Outcome:
        await asyncio.sleep(60)
        return await send(request)

    client = client_for("http://127.0.0.1:9/v1", middleware=[waits])
    creating = asyncio.create_task(client.rooms.create(name="Board"))
    await asyncio.sleep(0.05)
    await client.aclose()
    done, _ = await asyncio.wait([creating], timeout=2)
    assert done
    error = creating.exception()
    assert isinstance(error, VideoAPIError)
    assert not isinstance(error, CreateOutcomeUnknown)
    assert not error.may_have_executed
    assert error.reference is not None


async def hung_scan(link: Link) -> None:
    """Lose creates, and never finish the list."""
    while True:
        seen = await link.request()
        if seen.method == "POST":
            link.answer(502)
        else:
            link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await link.gone()
            return


async def test_closing_ends_a_create_that_waits_for_the_scan_of_another_client() -> None:
    async with serve(hung_scan) as server, SessionManager() as manager:
        reading, waiting = (client_for(server.base_url, session=manager, settle=30) for _ in range(2))
        first = asyncio.create_task(reading.rooms.create(name="First", on_unknown="resend"))
        await until(lambda: any(seen.method == "GET" for seen in server.requests))
        second = asyncio.create_task(waiting.rooms.create(name="Second", on_unknown="resend"))
        await until(lambda: sum(seen.method == "POST" for seen in server.requests) == 2)
        await asyncio.sleep(0.05)
        await waiting.aclose()
        await asyncio.wait([second], timeout=2)
        states = (first.done(), second.done())
        await reading.aclose()
        ended = await asyncio.gather(first, second, return_exceptions=True)
    assert states == (False, True), "the create waits for the scan of another client after aclose()"
    assert [type(error) for error in ended] == [CreateOutcomeUnknown] * 2


# A scan is shared, its failures are not.


@pytest.mark.parametrize("fault", ["closed", "cancelled", "middleware", "credentials"])
async def test_shared_scan_serves_others_when_its_reader_fails(fault: str) -> None:
    lookup = new_reference()
    release = asyncio.Event()
    failing = False
    lists: list[Link] = []

    async def script(link: Link) -> None:
        while True:
            await link.request()
            lists.append(link)
            if len(lists) == 1:
                await release.wait()
            elif len(lists) == 2 and fault in ("closed", "cancelled"):
                await link.gone()
                return
            link.answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID, "owner_ref": lookup}]})

    async def fails(request: Request, send: Send) -> Outcome:
        if failing and fault == "middleware":
            raise NotFound("no list today")
        return await send(request)

    def credentials() -> tuple[str, str]:
        if failing and fault == "credentials":
            raise OSError("the vault is sealed")
        return "id", "key"

    async with serve(script) as server, SessionManager() as manager:
        shared: dict[str, Any] = {"base_url": server.base_url, "session": manager, "retry": EAGER, "settle": 30}
        first = VideoClient("id", "key", **shared)
        reader = VideoClient(credentials=credentials, middleware=[fails], **shared)
        other = VideoClient("id", "key", **shared)
        # The account of a credentials callable is known from its first attempt on.
        one = asyncio.create_task(first.rooms.resolve(lookup))
        await until(lambda: len(lists) == 1)
        reader._accounts.use("id")
        two = asyncio.create_task(reader.rooms.resolve(new_reference()))
        await asyncio.sleep(0.02)
        three = asyncio.create_task(other.rooms.resolve(lookup))
        await asyncio.sleep(0.02)
        failing = True
        release.set()
        if fault in ("closed", "cancelled"):
            await until(lambda: len(lists) == 2)
            if fault == "closed":
                await reader.aclose()
            else:
                two.cancel()
        async with asyncio.timeout(5):
            ended = await asyncio.gather(one, two, three, return_exceptions=True)
        for client in (first, reader, other):
            await client.aclose()
    assert [getattr(found, "room_id", found) for found in (ended[0], ended[2])] == [ROOM_ID] * 2
    assert isinstance(ended[1], VideoAPIError | asyncio.CancelledError)


async def test_lookups_of_two_clients_read_one_list_at_a_time() -> None:
    rooms: list[dict[str, Any]] = []
    reading, peak = 0, 0

    async def script(link: Link) -> None:
        nonlocal reading, peak
        while True:
            seen = await link.request()
            if seen.method == "POST":
                rooms.append({"room_id": f"{len(rooms):024x}", **seen.json})
                link.answer(502)
                continue
            reading += 1
            peak = max(peak, reading)
            await asyncio.sleep(0.05)
            reading -= 1
            link.answer(200, {"result": 0, "rooms": rooms})

    async with serve(script) as server, SessionManager() as manager:
        clients = [client_for(server.base_url, session=manager, timeout=20) for _ in range(2)]
        found = await asyncio.gather(*(clients[number % 2].rooms.create(name=f"Room {number}") for number in range(20)))
        for client in clients:
            await client.aclose()
    assert [one.name for one in found] == [f"Room {number}" for number in range(20)]
    assert peak == 1
    assert len(server.requests) < 40


# Cancellation from outside.


async def time_out_after(turns: int, create: Callable[[], Awaitable[Any]]) -> TimeoutError | None:
    """Let `asyncio.timeout` end a create after that many turns of the event loop; None if it had ended before."""
    scopes: list[asyncio.Timeout] = []

    async def body() -> None:
        async with asyncio.timeout(None) as scope:
            scopes.append(scope)
            await create()

    task = asyncio.ensure_future(body())
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    if task.done():
        await asyncio.gather(task, return_exceptions=True)
        return None
    scopes[0].reschedule(asyncio.get_running_loop().time())
    await asyncio.wait([task], timeout=5)
    assert task.done(), f"still running after a timeout at turn {turns}"
    error = task.exception()
    if error is None or isinstance(error, VideoAPIError):
        return None
    assert isinstance(error, TimeoutError), repr(error)
    assert task.cancelling() == 0
    return error


def notes_of(error: TimeoutError) -> list[str]:
    assert isinstance(error.__cause__, asyncio.CancelledError)
    return list(getattr(error.__cause__, "__notes__", ()))


@PATHS
@pytest.mark.parametrize("owner_ref", [None, "team-1"])
async def test_timeout_at_every_turn_leaves_a_note_and_an_event(
    sandbox: Sandbox, fast: bool, owner_ref: str | None
) -> None:
    states: list[str] = []
    async with client_of(sandbox) as other:
        control = await other.rooms.create(name="control", owner_ref=owner_ref)
        for turn in range(200):
            events: list[Event] = []
            reference = new_reference()
            before = len(sandbox.ledger.created)
            async with SessionManager(fast_path=fast) as manager:
                async with client_of(sandbox, session=manager, listeners=[events.append]) as client:
                    error = await time_out_after(
                        turn,
                        lambda: client.rooms.create(
                            name="Board",
                            owner_ref=owner_ref,
                            reference=reference,  # noqa: B023
                        ),
                    )
                    if error is None:
                        break
                    # Let the service finish a request that reached it.
                    await asyncio.sleep(0.01)
                    executed = len(sandbox.ledger.created) - before
                    (note,) = notes_of(error)
                    assert reference in note
                    states.append("unsent" if "Not sent" in note else "sent")
                    assert not (executed and states[-1] == "unsent"), f"turn {turn}: {note}"
                    started, *_, ended = events
                    assert isinstance(started, CallStarted)
                    assert isinstance(ended, CallEvent)
                    assert [event for event in events if isinstance(event, CallEvent)] == [ended]
                    assert (ended.verdict, ended.reference, ended.call_id) == ("cancelled", reference, started.call_id)
                    found = await client.rooms.resolve(reference, control=control)
                    assert (found is not None) == bool(executed)
            if executed:
                elsewhere = await other.rooms.resolve(reference)
                assert elsewhere is not None
                assert found is not None
                assert elsewhere.room_id == found.room_id
    assert set(states) == {"unsent", "sent"}


@MODES
@pytest.mark.parametrize("kind", ["drop_after", "drop_before", "status_after"])
async def test_timeout_at_every_turn_of_the_lookup_leaves_a_note(sandbox: Sandbox, mode: Any, kind: str) -> None:
    seen = 0
    async with client_of(sandbox) as other:
        await other.rooms.create(name="control")
        turn = 0.0
        while True:
            events: list[Event] = []
            reference = new_reference()
            sandbox.clear_faults()
            sandbox.fault("rooms.create", kind, times=1)
            async with client_of(sandbox, timeout=1.2, settle=0.05, listeners=[events.append]) as client:
                error = await time_out_after(
                    int(turn),
                    lambda: client.rooms.create(name="Board", reference=reference, on_unknown=mode),  # noqa: B023
                )
                if error is None:
                    break
                seen += 1
                assert any(reference in note for note in notes_of(error)), f"turn {turn}"
                ended = [event for event in events if isinstance(event, CallEvent) and event.reference == reference]
                assert ended, f"turn {turn}"
                assert ended[-1].verdict in ("cancelled", "unknown")
            turn = turn + 1 if turn < 40 else turn * 1.4
    assert seen > 20


async def test_cancelled_create_raises_its_cancellation_with_a_note(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "hang")
    async with client_of(sandbox) as client:
        task = asyncio.create_task(client.rooms.create(name="Board"))
        await until(lambda: sandbox.ledger.requests("rooms.create"))
        task.cancel("the browser disconnected")
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
    assert raised.value.args == ("the browser disconnected",)
    (note,) = raised.value.__notes__
    assert SHAPE.search(note)
    assert "May have been executed" in note


async def test_cancelled_call_other_than_a_create_has_no_note(sandbox: Sandbox) -> None:
    events: list[Event] = []
    sandbox.fault("rooms.get", "hang")
    async with client_of(sandbox, listeners=[events.append]) as client:
        task = asyncio.create_task(client.rooms.get(ROOM_ID))
        await until(lambda: sandbox.ledger.requests("rooms.get"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
    assert getattr(raised.value, "__notes__", []) == []
    (ended,) = (event for event in events if isinstance(event, CallEvent))
    assert (ended.verdict, ended.reference, ended.route) == ("cancelled", None, "rooms.get")


async def test_create_cancelled_while_paused_is_not_sent(sandbox: Sandbox) -> None:
    events: list[Event] = []
    sandbox.fault("rooms.create", "throttle", times=1, retry_after=30)
    async with client_of(sandbox, listeners=[events.append], timeout=90) as client:
        with pytest.raises(TimeoutError) as raised:
            async with asyncio.timeout(0.3):
                await client.rooms.create(name="Board")
    (note,) = notes_of(raised.value)
    assert "May have been executed" not in note
    (ended,) = (event for event in events if isinstance(event, CallEvent))
    assert ended.verdict == "cancelled"
    assert ended.reference is not None
    assert ended.reference in note


async def test_cancellation_of_a_bulk_run_has_a_reference_per_create(sandbox: Sandbox) -> None:
    events: list[Event] = []
    sandbox.fault("rooms.create", "hang", times=None)
    async with client_of(sandbox, listeners=[events.append]) as client:
        task = asyncio.create_task(client.rooms.create_many([RoomSpec("A"), RoomSpec("B")]))
        await until(lambda: sandbox.ledger.requests("rooms.create") == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    ended = [event for event in events if isinstance(event, CallEvent)]
    assert [event.verdict for event in ended] == ["cancelled"] * 2
    assert len({event.reference for event in ended} - {None}) == 2


# References of the caller's own.


def test_new_references_differ_and_derived_ones_do_not() -> None:
    assert len({new_reference() for _ in range(1000)}) == 1000
    assert reference_for("import-7", "row-1") == reference_for("import-7", "row-1")
    given = [("import-7", "row-1"), ("import-7", "row-2"), ("import-71", "row-1"), ("import", "-7row-1"), ("", "")]
    assert len({reference_for(*pair) for pair in given}) == len(given)
    assert all(SHAPE.fullmatch(reference_for(*pair)) for pair in given)
    assert SHAPE.fullmatch(new_reference())


def test_reference_functions_are_public() -> None:
    assert {"new_reference", "reference_for"} <= set(videoapi.__all__)


@pytest.mark.parametrize("owner_ref", [None, "team-1", 17])
@pytest.mark.parametrize("derived", [True, False])
async def test_create_carries_the_given_reference(sandbox: Sandbox, owner_ref: Any, derived: bool) -> None:
    reference = reference_for("import-7", "row-1") if derived else new_reference()
    async with client_of(sandbox) as client:
        created = await client.rooms.create(name="Board", owner_ref=owner_ref, reference=reference)
        assert [entry.reference for entry in sandbox.ledger.created] == [reference]
        if owner_ref is None:
            assert created.owner_ref == reference
        else:
            assert str(created.owner_ref) == str(owner_ref)
        found = await client.rooms.resolve(reference)
    async with client_of(sandbox) as other:
        elsewhere = await other.rooms.resolve(reference)
    assert found is not None
    assert elsewhere is not None
    assert found.room_id == elsewhere.room_id == created.room_id


VALID = reference_for("import-7", "row-1")
INVALID = ("", "team-42", "vx", VALID.upper(), VALID + "\n", " " + VALID, "vx" + "1" * 26)


@pytest.mark.parametrize("reference", [*INVALID, b"vx", 17, True, ["vx"]], ids=repr)
async def test_create_refuses_a_reference_of_another_form(sandbox: Sandbox, reference: Any) -> None:
    async with client_of(sandbox) as client:
        with pytest.raises(ValidationError) as raised:
            await client.rooms.create(name="Board", reference=reference)
        with pytest.raises(ValidationError):
            await client.rooms.resolve(reference)
    assert raised.value.field == "reference"
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize("key", [("job", "ключ"), ("job", "\ud800"), ("j" * 10_000, "k" * 10_000), ("job\0", "a\n")])
async def test_derived_reference_accepts_any_text(sandbox: Sandbox, key: tuple[str, str]) -> None:
    async with client_of(sandbox) as client:
        created = await client.rooms.create(name="Board", reference=reference_for(*key))
        found = await client.rooms.resolve(reference_for(*key))
    assert found is not None
    assert found.room_id == created.room_id


async def test_room_of_a_bulk_run_is_found_by_its_derived_reference(sandbox: Sandbox) -> None:
    specs = [RoomSpec("A", key="row-1"), RoomSpec("B", owner_ref="team-1", key="row-2")]
    async with client_of(sandbox) as client:
        report = await client.rooms.create_many(specs, job_id="import-7")
        ids = {outcome.key: outcome.room_id for outcome in report.made}
    async with client_of(sandbox) as other:
        for key in ("row-1", "row-2"):
            found = await other.rooms.resolve(reference_for("import-7", key))
            assert found is not None
            assert found.room_id == ids[key]


EXECUTED = ("done", "lost", "timed out", "cancelled", "closed", "middleware")
NOT_EXECUTED = {
    "refused": ("status", {"status": 400, "code": 10002}),
    "throttled": ("throttle", {"retry_after": 0}),
    "lost": ("drop_before", {}),
}
OWNER_REFS = pytest.mark.parametrize("owner_ref", [None, "team-1"])


@OWNER_REFS
@pytest.mark.parametrize("ending", EXECUTED)
async def test_resolve_finds_the_room_after_any_ending(sandbox: Sandbox, ending: str, owner_ref: str | None) -> None:
    reference = new_reference()
    await end_create(sandbox, ending, reference, owner_ref)
    (entry,) = sandbox.ledger.created
    assert entry.reference == reference
    async with client_of(sandbox) as other:
        found = await other.rooms.resolve(reference)
    assert found is not None
    assert found.name == "Board"
    assert found.room_id in sandbox.ledger.rooms


@OWNER_REFS
@pytest.mark.parametrize("ending", NOT_EXECUTED)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same client", "another client"])
async def test_resolve_proves_absence_after_any_ending(
    sandbox: Sandbox, ending: str, owner_ref: str | None, elsewhere: bool
) -> None:
    reference = new_reference()
    async with client_of(sandbox, retry=ONCE) as client, client_of(sandbox) as other:
        control = await client.rooms.create(name="control", owner_ref=owner_ref)
        kind, details = NOT_EXECUTED[ending]
        sandbox.fault("rooms.create", kind, times=1, **details)
        with pytest.raises(VideoAPIError) as raised:
            await client.rooms.create(name="Board", owner_ref=owner_ref, reference=reference, on_unknown="strict")
        assert raised.value.reference == reference
        sandbox.clear_faults()
        if elsewhere:
            assert await other.rooms.resolve(reference, control=control.room_id) is None
        else:
            assert await client.rooms.resolve(reference) is None


async def end_create(sandbox: Sandbox, ending: str, reference: str, owner_ref: str | None) -> None:
    """Create a room in a client of its own, with the given ending."""
    if ending == "lost":
        sandbox.fault("rooms.create", "drop_after", times=1)
    proceed = asyncio.Event()

    async def after_sending(request: Request, send: Send) -> Outcome:
        outcome = await send(request)
        proceed.set()
        if ending == "middleware":
            raise CustomError
        await asyncio.sleep(60)
        return outcome

    middleware = [after_sending] if ending in ("timed out", "cancelled", "closed", "middleware") else []
    timeout = 0.5 if ending == "timed out" else 5
    client = client_of(sandbox, middleware=middleware, timeout=timeout)
    task = asyncio.create_task(
        client.rooms.create(name="Board", owner_ref=owner_ref, reference=reference, on_unknown="strict")
    )
    if ending in ("cancelled", "closed"):
        await asyncio.wait_for(proceed.wait(), 5)
    if ending == "cancelled":
        task.cancel()
    if ending == "closed":
        await client.aclose()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    if not task.cancelled():
        assert (task.exception() is None) == (ending == "done")
    await client.aclose()


# Every error of a create has its reference.


def statuses(*codes: int) -> dict[str, Script]:
    return {str(code): repeating(answer(code)) for code in codes}


async def drops(link: Link) -> None:
    await link.request()
    link.close()


async def never_responds(link: Link) -> None:
    await link.request()
    await link.gone()


FAILURES: dict[str, Script] = {
    **statuses(200, 201, 204, 302, 400, 401, 403, 404, 407, 408, 409, 410, 413, 425, 429, 500, 502, 503, 504, 511, 599),
    "10002": repeating(answer(400, {"result": 10002, "error": "Invalid"})),
    "10000": repeating(answer(401, {"result": 10000})),
    "40001": repeating(answer(404, {"result": 40001})),
    "50002": repeating(answer(200, {"result": 50002})),
    "another room": repeating(answer(200, room(name="Other", owner_ref="vx" + "b" * 26))),
    "retry-after": repeating(answer(429, b"", {"Retry-After": "5000"})),
    "html": repeating(answer(200, b"<html>")),
    "not http": repeating(b"220 smtp ready\r\n\r\n"),
    "drop": drops,
    "timeout": never_responds,
}


def copies(error: VideoAPIError) -> list[VideoAPIError]:
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    return [*pickled, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(copy.copy(error)))]


def assert_kept(error: VideoAPIError, reference: str) -> None:
    assert error.reference == reference
    error.add_note("seen by the importer")
    for one in copies(error):
        assert type(one) is type(error)
        assert one.reference == reference
        assert str(one) == str(error)
        assert (one.may_have_executed, one.retryable) == (error.may_have_executed, error.retryable)
        assert one.__notes__ == error.__notes__


@PATHS
@pytest.mark.parametrize("failure", FAILURES)
async def test_error_of_a_create_keeps_its_reference(fast: bool, failure: str) -> None:
    async with serve(FAILURES[failure]) as server, SessionManager(fast_path=fast) as manager:
        async with client_for(server.base_url, session=manager, retry=ONCE, timeout=0.5) as client:
            with pytest.raises(VideoAPIError) as raised:
                await client.rooms.create(name="Board", on_unknown="strict")
        assert_kept(raised.value, reference_sent(server))


async def test_error_of_an_unreachable_create_keeps_its_reference() -> None:
    reference = new_reference()
    async with serve(drops) as server:
        pass
    async with client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(VideoAPIError) as raised:
            await client.rooms.create(name="Board", reference=reference)
    assert not raised.value.may_have_executed
    assert_kept(raised.value, reference)


async def test_error_of_a_paused_create_keeps_its_reference() -> None:
    async with serve(repeating(answer(429, b"", {"Retry-After": "200"}))) as server:
        async with client_for(server.base_url, retry=ONCE) as client:
            for _ in range(2):
                reference = new_reference()
                with pytest.raises(VideoAPIError) as raised:
                    await client.rooms.create(name="Board", reference=reference)
                assert_kept(raised.value, reference)
        assert len(server.requests) == 1


async def test_error_of_failed_credentials_keeps_the_reference() -> None:
    def credentials() -> tuple[str, str]:
        raise OSError("the vault is sealed")

    reference = new_reference()
    async with VideoClient(credentials=credentials, base_url="http://127.0.0.1:9/v1") as client:
        with pytest.raises(CredentialsUnavailable) as raised:
            await client.rooms.create(name="Board", reference=reference)
    assert_kept(raised.value, reference)


async def test_error_of_a_bad_middleware_keeps_the_reference() -> None:
    async def returns_none(request: Request, send: Send) -> None:
        return None

    reference = new_reference()
    async with client_for("http://127.0.0.1:9/v1", middleware=[returns_none]) as client:
        with pytest.raises(ConfigurationError) as raised:
            await client.rooms.create(name="Board", reference=reference)
    assert_kept(raised.value, reference)


async def test_error_of_a_closed_client_keeps_the_reference() -> None:
    reference = new_reference()
    client = client_for("http://127.0.0.1:9/v1")
    await client.aclose()
    with pytest.raises(ConfigurationError) as raised:
        await client.rooms.create(name="Board", reference=reference)
    assert_kept(raised.value, reference)


@pytest.mark.parametrize("fields", [{"name": ""}, {"name": "Board", "owner_ref": ""}, {"name": "Board", "data": 1}])
async def test_validation_error_of_a_create_keeps_the_reference(fields: Any) -> None:
    reference = new_reference()
    async with client_for("http://127.0.0.1:9/v1") as client:
        with pytest.raises(ValidationError) as raised:
            await client.rooms.create(**fields, reference=reference)
    assert raised.value.field is not None
    assert_kept(raised.value, reference)


async def test_error_of_resolve_keeps_the_reference(sandbox: Sandbox) -> None:
    reference = new_reference()
    async with client_of(sandbox) as client:
        with pytest.raises(CreateOutcomeUnknown) as raised:
            await client.rooms.resolve(reference)
    assert_kept(raised.value, reference)


async def test_bulk_failures_keep_their_references(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "status", times=None, status=400, code=10002)
    async with client_of(sandbox) as client:
        report = await client.rooms.create_many([RoomSpec("A"), RoomSpec("B")])
    assert len(report.failures) == 2
    for outcome in report.failures:
        assert outcome.reference is not None
        assert outcome.error is not None
        assert outcome.error.reference == outcome.reference


async def test_error_of_another_call_has_no_reference() -> None:
    async with serve(repeating(answer(400, {"result": 10002}))) as server, client_for(server.base_url) as client:
        with pytest.raises(RequestRejected) as raised:
            await client.rooms.update(ROOM_ID, name="Retro")
    assert raised.value.reference is None


# What a total outage costs.

N = 300
PATIENT = RetryPolicy()


def outage(kind: str) -> Script:
    async def script(link: Link) -> None:
        while True:
            await link.request()
            match kind:
                case "drop":
                    link.close()
                    return
                case "reset":
                    link.reset()
                    return
                case _:
                    link.answer(int(kind))

    return script


async def at_intervals(gap: float, one: Callable[[int], Awaitable[object]]) -> list[object]:
    async def later(number: int) -> object:
        await asyncio.sleep(number * gap)
        return await one(number)

    return await asyncio.gather(*(later(number) for number in range(N)), return_exceptions=True)


@pytest.mark.parametrize("mode", ["look", "resend", "strict"])
@pytest.mark.parametrize("gap", [0.0, 0.01], ids=["at once", "10 ms apart"])
@pytest.mark.parametrize("kind", ["502", "drop"])
async def test_creates_in_a_total_outage_send_few_requests(mode: Any, gap: float, kind: str) -> None:
    async with serve(outage(kind)) as server:
        async with client_for(server.base_url, retry=PATIENT, timeout=6, settle=0.3) as client:
            ended = await at_intervals(gap, lambda number: client.rooms.create(name=str(number), on_unknown=mode))
    assert {type(error) for error in ended} == {CreateOutcomeUnknown}
    assert N <= len(server.requests) <= N + 80


@pytest.mark.parametrize("gap", [0.0, 0.01], ids=["at once", "10 ms apart"])
async def test_creates_that_fail_while_the_list_is_fine_share_its_reads(gap: float) -> None:
    async def script(link: Link) -> None:
        while (await link.request()).method == "GET":
            link.answer(200, {"result": 0, "rooms": []})
        link.close()

    async with serve(script) as server:
        async with client_for(server.base_url, retry=PATIENT, timeout=6) as client:
            ended = await at_intervals(gap, lambda number: client.rooms.create(name=str(number)))
    assert {type(error) for error in ended} == {CreateOutcomeUnknown}
    assert len(server.requests) <= N + 80


async def test_look_ups_that_share_reads_end_before_their_deadlines() -> None:
    rooms: list[Any] = []

    async def script(link: Link) -> None:
        while (request := await link.request()).method == "GET":
            await asyncio.sleep(0.05)
            link.answer(200, {"result": 0, "rooms": rooms})
        sent = json.loads(request.body)
        rooms.append({"room_id": f"{len(rooms):024x}", "settings": {}, "created": "2026-01-01T00:00:00.000Z", **sent})
        await link.gone()

    async with serve(script) as server, client_for(server.base_url, retry=PATIENT, timeout=2) as client:

        async def one(number: int) -> object:
            await asyncio.sleep(number * 0.06)
            return await client.rooms.create(name=str(number))

        ended = await asyncio.gather(*map(one, range(40)), return_exceptions=True)
    # All of them, unless the machine was held up.
    assert sum(isinstance(room, Room) for room in ended) >= 30


@pytest.mark.parametrize("gap", [0.0, 0.01], ids=["at once", "10 ms apart"])
async def test_streams_whose_bodies_are_all_cut_send_few_requests(gap: float) -> None:
    async def script(link: Link) -> None:
        await link.request()
        link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":0,"rooms":[')
        await link.drain()
        link.close()

    async with serve(script) as server, client_for(server.base_url, retry=PATIENT) as client:
        ended = await at_intervals(gap, lambda number: client.rooms.list().to_list())
    assert {type(error) for error in ended} == {ConnectionFailed}
    assert len(server.requests) <= N + 50


async def test_stream_earns_what_its_retries_cost_when_its_body_ends() -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number % 2:
            link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":0,"rooms":[')
            await link.drain()
        else:
            link.answer(200, {"result": 0, "rooms": []})
        link.close()

    async with serve(script) as server, client_for(server.base_url, retry=RetryPolicy(base=0)) as client:
        for _ in range(60):
            await client.rooms.list().to_list()
        assert client.stats().retry_budget_left == 500


async def test_lost_create_costs_no_budget_if_known_rooms_serve(sandbox: Sandbox) -> None:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.1) as client:
        await client.rooms.create(name="known")
        for _ in range(5):
            sandbox.fault("rooms.create", "drop_before")
            await client.rooms.create(name="Stand-up", on_unknown="resend")
        assert client.stats().retry_budget_left == 500


async def test_stream_that_is_left_gets_back_what_its_opening_cost() -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number % 2:
            link.answer(503)
        else:
            link.answer(200, {"result": 0, "rooms": [room()["room"]] * 2})
            await link.gone()
        link.close()

    async with serve(script) as server, client_for(server.base_url, retry=RetryPolicy(base=0)) as client:
        for _ in range(60):
            async with client.rooms.list() as rooms:
                async for _room in rooms:
                    break
        assert client.stats().retry_budget_left >= 490


async def test_creates_of_several_clients_in_an_outage_send_few_requests() -> None:
    async with serve(outage("502")) as server, SessionManager() as manager:
        clients = [client_for(server.base_url, session=manager, retry=PATIENT, timeout=6) for _ in range(10)]
        ended = await at_intervals(0.01, lambda number: clients[number % 10].rooms.create(name=str(number)))
        for client in clients:
            await client.aclose()
    assert {type(error) for error in ended} == {CreateOutcomeUnknown}
    assert len(server.requests) <= N + 80


@pytest.mark.parametrize("gap", [0.0, 0.01], ids=["at once", "10 ms apart"])
@pytest.mark.parametrize("operation", ["get", "list", "update", "delete", "token", "request", "resolve"])
async def test_other_calls_in_a_total_outage_send_few_requests(operation: str, gap: float) -> None:
    async with serve(outage("502")) as server:
        async with client_for(server.base_url, retry=PATIENT, settle=0.1, timeout=10) as client:

            async def one(number: int) -> object:
                if operation == "request":
                    return await client.request("GET", "/extras", operation="read")
                if operation == "resolve":
                    return await client.rooms.resolve(new_reference())
                return await call(client, operation)

            ended = await at_intervals(gap, one)
    assert all(isinstance(error, VideoAPIError) for error in ended)
    assert 0 < len(server.requests) <= N + 50


async def test_mixed_calls_in_a_total_outage_share_one_budget() -> None:
    async with serve(outage("reset")) as server:
        async with client_for(server.base_url, retry=PATIENT, timeout=6, settle=0.3) as client:

            async def one(number: int) -> object:
                if number % 2:
                    return await client.rooms.create(name=str(number))
                return await client.rooms.get(ROOM_ID)

            ended = await at_intervals(0.005, one)
    assert all(isinstance(error, VideoAPIError) for error in ended)
    assert len(server.requests) <= N + 80


async def test_timed_out_create_is_a_timeout_for_generic_handlers() -> None:
    """A create of which nothing was sent is a `TimeoutError`, and retryable."""

    async def hangs() -> tuple[str, str]:
        await asyncio.sleep(60)
        return "id", "key"

    async with VideoClient(credentials=hangs, base_url="http://127.0.0.1:9/v1", timeout=0.1) as client:
        with pytest.raises(TimeoutError) as raised:
            await client.rooms.create(name="Board")
    assert isinstance(raised.value, CallTimeout)
    assert not raised.value.may_have_executed
    assert raised.value.reference is not None
