"""One clock for all limits, `aclose()` as the end of every call, and the maximum age of connections."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.clients import APP_ID, APP_KEY, EAGER, Skipped, call, client_for
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import (
    BulkReport,
    CallTimeout,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    RateLimited,
    RetryPolicy,
    RoomSpec,
    SessionManager,
    VideoAPIError,
    VideoClient,
    new_reference,
)
from videoapi.pipeline.clock import Clock

DONE = repeating(answer(200, room()))
EMPTY = answer(200, {"result": 0, "rooms": []})
BEGUN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"result":0,"rooms":['
TURNS = 20
"""Iterations of the event loop within which a closed call must have ended; none of them waits for a timer."""
LONG = 3600.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def some_turns(number: int = TURNS) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class Scene:
    """A server, a manager of its own, and a client whose calls are closed while they wait for something.

    Args:
        respond: Returns the response to a request, or None for silence; `b"cut"` resets the connection.
        options: Options of the client.
        pool: Options of the manager.
    """

    def __init__(
        self,
        respond: Callable[[str, str, bytes], bytes | None] = lambda *_: None,
        *,
        clock: Clock | None = None,
        pool: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.respond = respond
        self.options = options
        self.pool = {"clock": clock, **(pool or {})}
        self.calls: list[asyncio.Task[Any]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        async with serve(self._serve) as self.server, SessionManager(**self.pool) as self.manager:
            self.client = self.another()
            try:
                yield self
            finally:
                for task in self.calls:
                    task.cancel()
                await asyncio.gather(*self.calls, return_exceptions=True)

    def another(self, **options: Any) -> VideoClient:
        return client_for(self.server.base_url, session=self.manager, **{**self.options, **options})

    async def _serve(self, link: Link) -> None:
        while True:
            seen = await link.request()
            response = self.respond(seen.method, seen.target, seen.body)
            if response is None:
                await link.gone()
                return
            if response == b"cut":
                link.reset()
                return
            link.send(response)
            await link.drain()

    def start(self, *calls: Awaitable[Any]) -> None:
        self.calls += [asyncio.ensure_future(each) for each in calls]

    def sent(self, method: str = "", suffix: str = "") -> int:
        return sum(seen.method.startswith(method) and seen.target.endswith(suffix) for seen in self.server.requests)

    async def close(self) -> list[Any]:
        """Close the client; return how its calls ended, which must be within some turns of the loop."""
        assert not any(task.done() for task in self.calls), "a call ended before the client was closed"
        before = len(self.server.requests)
        async with asyncio.timeout(5):
            await self.client.aclose()
        await some_turns()
        waiting = [task for task in self.calls if not task.done()]
        assert not waiting, f"{len(waiting)} of {len(self.calls)} calls have not ended after aclose()"
        ended = await asyncio.gather(*self.calls, return_exceptions=True)
        self.calls.clear()
        await asyncio.sleep(0.02)
        assert len(self.server.requests) == before, "a request was sent after aclose()"
        pool = self.manager.pool
        assert pool.permits.free == pool.max_connections
        assert pool.stream_permits.free == pool.short_stream_permits.free == pool.max_streams
        return ended

    async def closed_run(self) -> BulkReport:
        """Close the client, and return the report of its only bulk run."""
        (ended,) = await self.close()
        if isinstance(ended, BaseException):
            assert "closed" in str(ended)
            report: BulkReport = ended.report  # type: ignore[attr-defined]
            return report
        assert isinstance(ended, BulkReport)
        return ended

    async def closed(self) -> VideoAPIError:
        """Close the client, and return the error of its only call."""
        (ended,) = await self.close()
        assert isinstance(ended, VideoAPIError), repr(ended)
        assert "closed" in str(ended)
        return ended


# aclose() ends calls in flight


@pytest.mark.parametrize("operation", ["get", "list", "update", "delete", "token", "create"])
@pytest.mark.parametrize("fast_path", [True, False])
async def test_close_ends_a_call_in_flight(fast_path: bool, operation: str) -> None:
    async with Scene(pool={"fast_path": fast_path}).running() as scene:
        scene.start(call(scene.client, operation, on_unknown="look"))
        await until(scene.sent)
        failure = await scene.closed()
        if operation not in ("get", "list"):
            assert failure.may_have_executed
        if operation == "create":
            assert isinstance(failure, CreateOutcomeUnknown)
            assert failure.reference is not None
            assert failure.reference in str(failure)


async def test_close_ends_a_call_whose_body_is_incomplete() -> None:
    body = answer(200, room())[:-5]
    async with Scene(lambda *_: body).running() as scene:
        scene.start(scene.client.rooms.get(ROOM_ID))
        await until(scene.sent)
        await asyncio.sleep(0.05)
        await scene.closed()


async def test_close_ends_calls_of_views() -> None:
    async with Scene().running() as scene:
        view = scene.client.with_options(timeout=LONG, attempt_timeout=LONG)
        scene.start(view.rooms.get(ROOM_ID), view.rooms.list().to_list())
        await until(lambda: scene.sent() == 2)
        ended = await scene.close()
        assert all(isinstance(error, ConnectionFailed) for error in ended)
        with pytest.raises(ConfigurationError, match="closed"):
            await view.rooms.get(ROOM_ID)


async def test_close_ends_a_custom_request() -> None:
    async with Scene().running() as scene:
        scene.start(scene.client.request("POST", "/things", json={}, operation="create"))
        await until(scene.sent)
        assert (await scene.closed()).may_have_executed


async def test_close_ends_a_thousand_calls() -> None:
    async with Scene(pool={"max_connections": 8}).running() as scene:
        scene.start(*(scene.client.rooms.get(ROOM_ID) for _ in range(1000)))
        await until(lambda: scene.sent() == 8)
        ended = await scene.close()
        assert all(isinstance(error, ConnectionFailed) and "closed" in str(error) for error in ended)


async def test_close_ends_a_call_that_waits_for_a_tunnel() -> None:
    async with Scene().running() as scene:
        async with SessionManager(proxy=scene.server.origin) as scene.manager:
            scene.client = client_for("https://api.example.invalid/v1", session=scene.manager)
            scene.start(scene.client.rooms.create(name="Stand-up"))
            await until(scene.sent)
            failure = await scene.closed()
            assert not failure.may_have_executed


# aclose() ends calls that wait


@pytest.mark.parametrize("operation", ["get", "delete", "list"])
@pytest.mark.parametrize("fault", [503, 429, "cut"])
async def test_close_ends_a_call_in_backoff(fault: int | str, operation: str) -> None:
    response = b"cut" if fault == "cut" else answer(int(fault), b"", {"Retry-After": "50"})
    policy = RetryPolicy(base=LONG, throttle_base=LONG, cap=LONG)
    clock = Clock(random=lambda: 0.01)
    async with Scene(lambda *_: response, clock=clock, retry=policy, timeout=LONG).running() as scene:
        scene.start(call(scene.client, operation))
        await until(scene.sent)
        await asyncio.sleep(0.05)
        failure = await scene.closed()
        assert failure.attempts == 1
        if operation == "delete":
            assert failure.may_have_executed == (fault != 429)


async def test_close_ends_a_create_in_backoff() -> None:
    """A throttled create has not been executed, and is not unknown."""
    throttled = answer(429, b"", {"Retry-After": "30"})
    async with Scene(lambda *_: throttled, timeout=LONG).running() as scene:
        scene.start(scene.client.rooms.create(name="Stand-up"))
        await until(scene.sent)
        await asyncio.sleep(0.05)
        failure = await scene.closed()
        assert not isinstance(failure, CreateOutcomeUnknown)
        assert not failure.may_have_executed
        assert failure.reference is not None
        assert "Not executed." in str(failure)


async def test_close_ends_calls_that_wait_for_the_end_of_a_pause() -> None:
    throttled = answer(429, b"", {"Retry-After": "30"})
    async with Scene(lambda *_: throttled, timeout=LONG, retry=RetryPolicy(attempts=1)).running() as scene:
        with pytest.raises(RateLimited):
            await scene.client.rooms.get(ROOM_ID)
        scene.start(*(scene.client.rooms.get(ROOM_ID) for _ in range(5)), scene.client.rooms.list().to_list())
        await asyncio.sleep(0.1)
        ended = await scene.close()
        assert all(isinstance(error, ConnectionFailed) and not error.may_have_executed for error in ended), ended
        assert len(scene.server.requests) == 1


@pytest.mark.parametrize("operation", ["get", "create", "list"])
async def test_close_ends_calls_in_line_for_a_rate(operation: str) -> None:
    done = answer(200, room())
    async with Scene(lambda *_: done, rate="1/h", timeout=LONG).running() as scene:
        await scene.client.rooms.get(ROOM_ID)
        scene.start(*(call(scene.client, operation) for _ in range(5)))
        await asyncio.sleep(0.1)
        ended = await scene.close()
        for error in ended:
            assert isinstance(error, ConnectionFailed)
            assert "Not sent." in str(error)
            assert "closed" in str(error)
            assert not error.may_have_executed
        assert len(scene.server.requests) == 1


async def test_close_ends_calls_that_wait_for_a_permit() -> None:
    async with Scene(pool={"max_connections": 1}).running() as scene:
        scene.start(
            scene.client.rooms.get(ROOM_ID),
            scene.client.rooms.create(name="Stand-up"),
            scene.client.rooms.delete(ROOM_ID),
            scene.client.rooms.list().to_list(),
            scene.client.rooms.list().to_list(),
        )
        await until(lambda: scene.sent() == 2)
        await asyncio.sleep(0.05)
        ended = await scene.close()
        assert all(isinstance(error, ConnectionFailed) and "closed" in str(error) for error in ended), ended
        assert not any(error.may_have_executed for error in ended[1:3])


@pytest.mark.parametrize("operation", ["get", "create", "list"])
async def test_close_ends_a_call_that_waits_for_credentials(operation: str) -> None:
    cancelled: list[str] = []

    async def hanging() -> tuple[str, str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise
        raise AssertionError

    async with Scene().running() as scene:
        scene.client = VideoClient(base_url=scene.server.base_url, session=scene.manager, credentials=hanging)
        scene.start(call(scene.client, operation, on_unknown="look"))
        await asyncio.sleep(0.02)
        failure = await scene.closed()
        assert isinstance(failure, ConnectionFailed)
        assert not failure.may_have_executed
        assert cancelled == ["yes"]


async def test_close_ends_a_retry_that_waits_for_credentials() -> None:
    """The doubt of the first attempt stays."""
    asked = 0

    async def hanging_later() -> tuple[str, str]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.Event().wait()
        return APP_ID, APP_KEY

    async with Scene(lambda *_: b"cut").running() as scene:
        scene.client = VideoClient(
            base_url=scene.server.base_url, session=scene.manager, credentials=hanging_later, retry=EAGER
        )
        scene.start(scene.client.rooms.delete(ROOM_ID))
        await until(lambda: asked == 2)
        failure = await scene.closed()
        assert failure.may_have_executed
        assert failure.attempts == 1


async def test_close_ends_a_middleware_that_sleeps() -> None:
    async def slow(request: Any, send: Any) -> Any:
        await asyncio.sleep(LONG)
        return await send(request)

    async with Scene(middleware=[slow]).running() as scene:
        scene.start(scene.client.rooms.create(name="Stand-up"))
        await asyncio.sleep(0.02)
        failure = await scene.closed()
        assert not failure.may_have_executed
        assert scene.sent() == 0


async def test_close_by_a_middleware_ends_its_own_call() -> None:
    async def closing(request: Any, send: Any) -> Any:
        await scene.client.aclose()
        return await send(request)

    async with Scene(middleware=[closing]).running() as scene, asyncio.timeout(5):
        with pytest.raises(ConfigurationError, match="closed"):
            await scene.client.rooms.create(name="Stand-up")
        assert scene.sent() == 0


# aclose() ends look-ups and settle waits

Respond = Callable[[str, str, bytes], bytes | None]


def losing_creates(listing: bytes | None) -> Respond:
    """Lose the response of each create; respond to the list as given."""
    return lambda method, target, body: b"cut" if method == "POST" else listing


async def test_close_ends_a_create_between_look_ups() -> None:
    async with Scene(losing_creates(EMPTY), timeout=LONG).running() as scene:
        scene.start(scene.client.rooms.create(name="Stand-up"))
        await until(lambda: scene.sent("POST"))
        await asyncio.sleep(0.05)
        failure = await scene.closed()
        assert isinstance(failure, CreateOutcomeUnknown)
        assert failure.reference is not None
        assert failure.reference in str(failure)


@pytest.mark.parametrize("listing", [None, BEGUN], ids=["silent", "incomplete"])
@pytest.mark.parametrize("number", [1, 5])
async def test_close_ends_creates_in_a_look_up(number: int, listing: bytes | None) -> None:
    """One of them reads the list, and the others wait for that read."""
    async with Scene(losing_creates(listing), timeout=LONG).running() as scene:
        scene.start(*(scene.client.rooms.create(name=f"Room {n}") for n in range(number)))
        await until(lambda: scene.sent("GET"))
        await asyncio.sleep(0.7)
        ended = await scene.close()
        assert all(isinstance(error, CreateOutcomeUnknown) for error in ended), ended
        assert all("closed" in str(error) and error.reference in str(error) for error in ended)


OWN = {"owner_ref": new_reference()}


def creating(rooms: list[dict[str, Any]], *, lose_after: int = 0) -> Respond:
    """Create the first rooms and lose later creates; list the created ones."""

    def respond(method: str, target: str, body: bytes) -> bytes:
        if method != "POST":
            return answer(
                200, {"result": 0, "rooms": rooms} if target.endswith("/rooms") else room(target[-24:], **OWN)
            )
        if len(rooms) >= lose_after:
            return b"cut"
        rooms.append({**json.loads(body), "room_id": f"6571f3c2a1b2c3d4e5f6071{len(rooms)}"})
        return answer(200, {"result": 0, "room": rooms[-1]})

    return respond


async def test_close_ends_a_create_in_its_settle_wait() -> None:
    async with Scene(creating([], lose_after=1), timeout=LONG, settle=LONG / 2).running() as scene:
        await scene.client.rooms.create(name="known")
        scene.start(scene.client.rooms.create(name="Stand-up", on_unknown="resend"))
        await until(lambda: scene.sent("GET", "/rooms"))
        await asyncio.sleep(0.1)
        failure = await scene.closed()
        assert isinstance(failure, CreateOutcomeUnknown)
        assert failure.reference is not None
        assert failure.reference in str(failure)
        assert scene.sent("POST") == 2


async def test_close_ends_a_resolve_in_its_settle_wait() -> None:
    async with Scene(creating([], lose_after=2), settle=LONG).running() as scene:
        known = await scene.client.rooms.create(name="known")
        await scene.client.rooms.create(name="known, reference in data", owner_ref="mine")
        scene.start(scene.client.rooms.resolve(new_reference(), control=known))
        await until(lambda: scene.sent("GET", "/rooms"))
        await asyncio.sleep(0.1)
        await scene.closed()


async def test_close_ends_a_resolve_that_reads_the_list() -> None:
    async with Scene().running() as scene:
        scene.start(scene.client.rooms.resolve(new_reference()))
        await until(scene.sent)
        (ended,) = await scene.close()
        assert isinstance(ended, VideoAPIError)


# aclose() ends bulk runs


async def test_close_ends_a_bulk_run_in_flight() -> None:
    async with Scene().running() as scene:
        scene.start(scene.client.rooms.create_many([RoomSpec(f"Room {n}", key=n) for n in range(50)]))
        await until(scene.sent)
        await asyncio.sleep(0.05)
        sent = scene.sent("POST")
        report = await scene.closed_run()
        assert report.counts["unknown"] == sent
        assert all(outcome.reference for outcome in report.unknown)
        assert report.counts["created"] == 0


async def test_close_ends_a_bulk_run_in_its_settle_wait() -> None:
    async with Scene(creating([], lose_after=2), settle=LONG).running() as scene:
        scene.start(scene.client.rooms.create_many([RoomSpec(f"Room {n}", key=n) for n in range(3)], concurrency=1))
        await until(lambda: scene.sent("GET", "/rooms"))
        await asyncio.sleep(0.1)
        report = await scene.closed_run()
        assert report.counts["created"] == 2
        assert report.counts["unknown"] == 1
        assert report.unknown[0].reference is not None


async def test_close_ends_a_resumed_job_that_waits_for_earlier_requests() -> None:
    async with Scene(creating([], lose_after=5), settle=LONG).running() as scene:
        scene.start(scene.client.rooms.create_many([RoomSpec("one", key="k")], job_id="import-7"))
        await until(lambda: scene.sent("POST"))
        await asyncio.sleep(0.1)
        (ended,) = await scene.close()
        assert "closed" in str(ended.stopped if not isinstance(ended, BaseException) else ended)


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("run", ["create", "delete"])
async def test_close_ends_a_bulk_run_in_a_pause(run: str, attempts: int) -> None:
    throttled = answer(429, b"", {"Retry-After": "30"})
    async with Scene(lambda *_: throttled, retry=RetryPolicy(attempts=attempts)).running() as scene:
        specs = [RoomSpec(f"Room {n}", key=n) for n in range(20)]
        ids = [f"{ROOM_ID[:-2]}{n:02}" for n in range(20)]
        many = scene.client.rooms.create_many(specs) if run == "create" else scene.client.rooms.delete_many(ids)
        scene.start(many)
        await until(scene.sent)
        await asyncio.sleep(0.2)
        report = await scene.closed_run()
        assert report.counts["unknown"] == report.counts["created"] == report.counts["deleted"] == 0


async def test_close_ends_a_bulk_run_whose_server_cannot_be_reached() -> None:
    async with Scene().running() as scene:
        scene.client = client_for("http://127.0.0.1:9/video/v2", session=scene.manager, retry=RetryPolicy(attempts=1))
        scene.start(scene.client.rooms.create_many([RoomSpec(f"Room {n}", key=n) for n in range(20)]))
        await asyncio.sleep(0.3)
        report = await scene.closed_run()
        assert report.counts["created"] == report.counts["unknown"] == 0


async def test_close_ends_a_bulk_run_in_line_for_a_rate() -> None:
    done = answer(200, room())
    async with Scene(lambda *_: done, rate="1/h").running() as scene:
        await scene.client.rooms.get(ROOM_ID)
        scene.start(scene.client.rooms.create_many([RoomSpec(f"Room {n}", key=n) for n in range(20)]))
        await asyncio.sleep(0.1)
        report = await scene.closed_run()
        assert report.counts["created"] == report.counts["unknown"] == 0
        assert len(scene.server.requests) == 1


async def test_close_ends_a_bulk_run_that_waits_for_its_inputs() -> None:
    async def inputs() -> AsyncIterator[RoomSpec]:
        yield RoomSpec("first", key=1)
        await asyncio.Event().wait()

    async with Scene(creating([], lose_after=9)).running() as scene:
        scene.start(scene.client.rooms.create_many(inputs()))
        await until(lambda: scene.sent("POST"))
        await asyncio.sleep(0.05)
        report = await scene.closed_run()
        assert report.counts["created"] == 1


# aclose() ends downloads and warm-ups


FILE = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "v1"\r\n\r\n' + b"x" * 50_000


@pytest.mark.parametrize("stage", ["before-headers", "in-body", "in-backoff", "waiting-for-a-permit"])
async def test_close_ends_a_download(stage: str, tmp_path: Path) -> None:
    response = {"in-body": FILE, "in-backoff": answer(503, b"", {"Retry-After": "50"})}.get(stage)
    async with Scene(lambda *_: response, pool={"max_connections": 1}).running() as scene:
        number = 3 if stage == "waiting-for-a-permit" else 1
        for n in range(number):
            url = f"{scene.server.origin}/files/{n}.mp4"
            scene.start(scene.client.archives.download(url, to=tmp_path / f"{n}.mp4"))
        await until(scene.sent)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await scene.client.aclose()
            # The received bytes are written by a thread before the call ends.
            ended = await asyncio.gather(*scene.calls, return_exceptions=True)
        assert all(isinstance(error, ConnectionFailed) and "closed" in str(error) for error in ended), ended
        assert scene.manager.pool.file_permits.free == scene.manager.pool.max_streams
        if stage == "in-body":
            assert sum(entry.stat().st_size for entry in os.scandir(tmp_path)) >= 50_000


async def test_close_ends_a_warm_up() -> None:
    async with Scene().running() as scene:
        base = scene.server.base_url.replace("http:", "https:")
        async with SessionManager(connect_timeout=LONG) as scene.manager:
            scene.client = client_for(base, session=scene.manager, attempt_timeout=LONG)
            scene.start(scene.client.warm_up(2))
            await until(lambda: scene.server.accepted == 2)
            try:
                await scene.closed()
            finally:
                for task in scene.calls:
                    task.cancel()
                await asyncio.gather(*scene.calls, return_exceptions=True)


# Closing twice, and closing that is cancelled


async def test_close_twice_has_no_further_effect() -> None:
    async with serve(DONE) as server:
        client = client_for(server.base_url)
        await client.rooms.get(ROOM_ID)
        await client.aclose()
        await client.aclose()
        await asyncio.gather(client.aclose(), client.aclose())
        with pytest.raises(ConfigurationError, match="closed"):
            await client.rooms.get(ROOM_ID)


async def test_concurrent_closes_all_end() -> None:
    async with Scene().running() as scene:
        client = scene.client = client_for(scene.server.base_url)
        calls = [asyncio.ensure_future(client.rooms.get(ROOM_ID)) for _ in range(3)]
        await until(lambda: scene.sent() == 3)
        async with asyncio.timeout(5):
            await asyncio.gather(*(client.aclose() for _ in range(5)))
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all("closed" in str(error) for error in ended)


@pytest.mark.parametrize("cancel_after", range(4))
async def test_cancelled_close_still_closes_everything(cancel_after: int) -> None:
    async with Scene().running() as scene:
        client = client_for(scene.server.base_url)
        calls = [
            asyncio.ensure_future(each)
            for each in (
                client.rooms.get(ROOM_ID),
                client.rooms.create(name="Stand-up"),
                client.rooms.list().to_list(),
            )
        ]
        await until(lambda: scene.sent() == 3)
        closing = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(0)
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        closing.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([closing])
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, VideoAPIError) and "closed" in str(error) for error in ended), ended
        with pytest.raises(ConfigurationError, match="closed"):
            await client.rooms.get(ROOM_ID)
        assert client._manager.closed
        # The server sees the end of every connection.
        async with asyncio.timeout(5):
            await asyncio.gather(*(link.gone() for link in scene.server.links if not link.reader.at_eof()))


async def test_close_that_is_cancelled_again_and_again_closes_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(DONE) as server:
        client = client_for(server.base_url)
        await client.rooms.get(ROOM_ID)
        session = client._manager.pool.session
        original, closed = session.close, asyncio.Event()

        async def slow() -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            await original()
            closed.set()

        monkeypatch.setattr(type(session), "close", lambda self: slow())
        closing = asyncio.ensure_future(client.aclose())
        for _ in range(5):
            await asyncio.sleep(0)
            closing.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await closing
        assert closed.is_set()
        assert session.closed


# Several clients on one manager


async def test_close_of_one_client_leaves_another_on_the_same_manager_alone() -> None:
    released = asyncio.Event()

    async def script(link: Link) -> None:
        while True:
            await link.request()
            await released.wait()
            link.answer(200, room())
            await link.drain()

    async with serve(script) as server, SessionManager() as manager:
        first, second = (client_for(server.base_url, session=manager) for _ in range(2))
        ending = [asyncio.ensure_future(first.rooms.get(ROOM_ID)) for _ in range(5)]
        staying = [asyncio.ensure_future(second.rooms.get(ROOM_ID)) for _ in range(5)]
        await until(lambda: len(server.requests) == 10)
        await first.aclose()
        await some_turns()
        assert all(task.done() for task in ending)
        assert not any(task.done() for task in staying)
        released.set()
        assert len(await asyncio.gather(*staying)) == 5
        ended = await asyncio.gather(*ending, return_exceptions=True)
        assert all(isinstance(error, ConnectionFailed) and "closed" in str(error) for error in ended)
        await second.rooms.get(ROOM_ID)
        assert not manager.closed


async def test_close_hands_the_line_for_a_rate_to_another_client() -> None:
    """The head of the line is a call of the closed client."""
    done = answer(200, room())
    async with Scene(lambda *_: done, rate="2/s", timeout=LONG).running() as scene:
        other = scene.another()
        await scene.client.rooms.get(ROOM_ID)
        scene.start(*(scene.client.rooms.get(ROOM_ID) for _ in range(100)))
        await some_turns()
        goes_on = asyncio.ensure_future(other.rooms.get(ROOM_ID))
        await some_turns()
        ended = [*scene.calls]
        await scene.client.aclose()
        await some_turns()
        assert all(task.done() for task in ended)
        async with asyncio.timeout(10):
            assert (await goes_on).room_id == ROOM_ID
        await asyncio.gather(*ended, return_exceptions=True)


async def test_close_of_one_client_does_not_end_the_look_up_of_another() -> None:
    """Both look for a room of one account: the read of the closed client is repeated for the other."""
    rooms: list[dict[str, Any]] = []
    lists = 0

    def respond(method: str, target: str, body: bytes) -> bytes | None:
        nonlocal lists
        if method == "POST":
            rooms.append({**json.loads(body), "room_id": f"6571f3c2a1b2c3d4e5f6071{len(rooms)}"})
            return b"cut"
        lists += 1
        return None if lists == 1 else answer(200, {"result": 0, "rooms": rooms})

    async with Scene(respond, timeout=20).running() as scene:
        other = scene.another()
        scene.start(scene.client.rooms.create(name="first"))
        await until(lambda: lists == 1)
        goes_on = asyncio.ensure_future(other.rooms.create(name="second"))
        await until(lambda: scene.sent("POST") == 2)
        # The second create waits for the read that the first one has begun.
        await asyncio.sleep(0.8)
        await scene.client.aclose()
        await some_turns()
        assert scene.calls[0].done()
        async with asyncio.timeout(15):
            assert (await goes_on).name == "second"


async def test_close_ends_a_create_that_waits_for_the_look_up_of_another_client() -> None:
    async with Scene(losing_creates(None), timeout=LONG).running() as scene:
        other = scene.another()
        reading = asyncio.ensure_future(other.rooms.create(name="first"))
        await until(lambda: scene.sent("GET") == 1)
        scene.start(scene.client.rooms.create(name="second"))
        await until(lambda: scene.sent("POST") == 2)
        await asyncio.sleep(0.8)
        await scene.client.aclose()
        await some_turns()
        done = scene.calls[0].done()
        reading.cancel()
        await asyncio.wait([reading])
        assert done, "the create waits for the read of another client after aclose()"
        with pytest.raises(CreateOutcomeUnknown, match="closed"):
            await scene.calls[0]


async def test_read_that_fails_by_closing_is_no_failure_of_another_client() -> None:
    """Look-ups of two clients share a read that a call of the closed client would perform."""
    wanted = new_reference()
    rooms = [{"room_id": ROOM_ID, "name": "Stand-up", "owner_ref": wanted}]
    lists = 0

    def respond(method: str, target: str, body: bytes) -> bytes | None:
        nonlocal lists
        lists += 1
        return None if lists == 1 else answer(200, {"result": 0, "rooms": rooms})

    async with Scene(respond).running() as scene:
        other = scene.another()
        # All clients of the account have sent something, so that they share its state.
        ending = [asyncio.ensure_future(scene.client.rooms.resolve(new_reference()))]
        await until(lambda: lists == 1)
        ending.append(asyncio.ensure_future(scene.client.rooms.resolve(wanted)))
        await some_turns()
        goes_on = asyncio.ensure_future(other.rooms.resolve(wanted))
        await some_turns()
        await scene.client.aclose()
        async with asyncio.timeout(10):
            await asyncio.wait(ending)
            found = await goes_on
        assert all(task.exception() is not None for task in ending)
        assert found is not None
        assert found.room_id == ROOM_ID


# Streams after aclose()


@pytest.mark.parametrize("shared", [True, False])
async def test_stream_read_after_close_says_that_the_client_is_closed(shared: bool) -> None:
    record = json.dumps({"room_id": ROOM_ID}).encode()

    async def script(link: Link) -> None:
        await link.request()
        link.send(BEGUN + record + b",")
        await link.gone()

    async with serve(script) as server:
        manager = SessionManager()
        client = client_for(server.base_url, session=manager if shared else None)
        stream = client.rooms.list()
        records = aiter(stream)
        assert (await anext(records)).room_id == ROOM_ID
        await client.aclose()
        async with asyncio.timeout(5):
            with pytest.raises(VideoAPIError, match="closed") as failed:
                await anext(records)
        assert not isinstance(failed.value, CallTimeout)
        with pytest.raises(StopAsyncIteration):
            await anext(records)
        await stream.aclose()
        pool = client._manager.pool
        assert pool.stream_permits.free == pool.max_streams
        assert len(server.requests) == 1
        await manager.aclose()


@pytest.mark.parametrize("way", ["records", "pages"])
async def test_stream_whose_wait_was_cancelled_does_not_end_in_silence(way: str) -> None:
    record = json.dumps({"room_id": ROOM_ID}).encode()

    async def script(link: Link) -> None:
        await link.request()
        link.send(BEGUN + record + b",")
        await link.gone()

    async with serve(script) as server, client_for(server.base_url) as client:
        stream = client.rooms.list()
        records: Any = aiter(stream) if way == "records" else stream.pages(1)
        await anext(records)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(records)
        for default in ((), (None,)):
            with pytest.raises(ConfigurationError, match="was cancelled, which closed the stream") as failed:
                await anext(records, *default)
            assert failed.value.cursor == stream.cursor
        await stream.aclose()


async def test_stream_that_is_first_read_after_close_says_so() -> None:
    async with serve(DONE) as server:
        client = client_for(server.base_url)
        streams = [client.rooms.list(), client.cdr.by_period("2026-01-01", "2026-03-01")]
        await client.aclose()
        for stream in streams:
            with pytest.raises(VideoAPIError, match="closed"):
                await stream.to_list()  # type: ignore[attr-defined]
        assert server.requests == []


async def test_stream_between_windows_after_close_says_so() -> None:
    record = {"cdr_id": "a", "conf_num": "c", "start_time": "2026-01-02T00:00:00.000Z"}
    respond = answer(200, {"result": 0, "cdr": [record]})
    async with serve(repeating(respond)) as server:
        client = client_for(server.base_url)
        seen = 0
        with pytest.raises(VideoAPIError, match="closed") as failed:
            async for _ in client.cdr.by_period("2026-01-01", "2026-03-31"):
                seen += 1
                await client.aclose()
        assert seen >= 1
        assert failed.value.cursor is not None


@pytest.mark.parametrize("timeout", [None, LONG])
async def test_close_ends_a_stream_that_waits_for_data(timeout: float | None) -> None:
    async with Scene(lambda *_: BEGUN).running() as scene:
        scene.start(scene.client.rooms.list(timeout=timeout).to_list())
        await until(scene.sent)
        await asyncio.sleep(0.05)
        failure = await scene.closed()
        assert isinstance(failure, ConnectionFailed)


# One clock


def offset_clock(kind: str) -> Clock:
    """Return a clock that is far ahead of the event loop's, or one that starts at 0."""
    time_of_loop = asyncio.get_running_loop().time
    offset = 1e6 if kind == "ahead" else -time_of_loop()
    return Clock(now=lambda: time_of_loop() + offset)


@pytest.mark.parametrize("kind", ["ahead", "from-zero"])
async def test_limits_hold_on_an_injected_clock(kind: str) -> None:
    """An attempt's limit, the call's deadline, the pause and the rate are on one clock."""

    async def slow(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.endswith("silent12"):
                await link.gone()
                return
            await asyncio.sleep(0.1)
            link.answer(200, room(seen.target[-8:]))
            await link.drain()

    async with serve(slow) as server, SessionManager(clock=offset_clock(kind)) as manager, asyncio.timeout(30):
        client = client_for(server.base_url, session=manager, retry=RetryPolicy(attempts=1), rate="50/s")
        assert (await client.rooms.get("room1234")).room_id == "room1234"
        for limits, name in (({"attempt_timeout": 0.3}, "attempt_timeout"), ({"timeout": 0.3}, "timeout")):
            began = time.monotonic()
            with pytest.raises(CallTimeout, match=rf"0\.3 s \({name}\)"):
                await client.with_options(**limits).rooms.get("silent12")
            assert 0.25 < time.monotonic() - began < 10


async def test_attempts_after_long_virtual_waits_keep_their_limit() -> None:
    """A clock that skips waits moves on by more than `attempt_timeout`."""
    turn = 0

    async def script(link: Link) -> None:
        nonlocal turn
        while True:
            await link.request()
            turn += 1
            if turn <= 2:
                link.answer(429, b"", {"Retry-After": "40"})
            else:
                await asyncio.sleep(0.2)
                link.answer(200, room())
            await link.drain()

    skipping = Skipped()
    async with serve(script) as server, skipping.manager() as manager:
        client = client_for(server.base_url, session=manager, timeout=600)
        assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
    assert sum(skipping.waits) >= 80
    assert turn == 3


# The maximum age of connections


@pytest.mark.parametrize("fast_path", [True, False])
async def test_connection_age_is_limited_under_constant_load(fast_path: bool) -> None:
    async with serve(DONE) as server:
        async with SessionManager(max_connection_age=0.2, fast_path=fast_path) as manager:
            client = client_for(server.base_url, session=manager)
            ends = time.monotonic() + 1.5
            while time.monotonic() < ends:
                await client.rooms.get(ROOM_ID)
            opened = server.accepted
            assert 3 <= opened <= 9
            last: dict[int, int] = {}
            for seen in server.requests:
                last[seen.connection] = last.get(seen.connection, 0) + 1
            # Every connection served many requests before it was replaced.
            assert len(server.requests) > 10 * opened
            await until(lambda: sum(not link.reader.at_eof() for link in server.links) <= 1)


async def test_connections_of_parallel_calls_are_replaced_without_a_failure() -> None:
    async with serve(DONE) as server, SessionManager(max_connection_age=0.15, max_connections=8) as manager:
        client = client_for(server.base_url, session=manager, retry=RetryPolicy(attempts=1))
        ends = time.monotonic() + 1.0

        async def work() -> int:
            done = 0
            while time.monotonic() < ends:
                await client.rooms.get(ROOM_ID)
                done += 1
            return done

        done = sum(await asyncio.gather(*(work() for _ in range(8))))
        assert len(server.requests) == done
        assert server.accepted > 8
        assert sum(not link.reader.at_eof() for link in server.links) <= 8 + 8


@pytest.mark.parametrize("fast_path", [True, False])
async def test_connections_without_a_maximum_age_are_kept(fast_path: bool) -> None:
    async with serve(DONE) as server:
        async with SessionManager(max_connection_age=None, fast_path=fast_path) as manager:
            client = client_for(server.base_url, session=manager)
            ends = time.monotonic() + 0.6
            while time.monotonic() < ends:
                await client.rooms.get(ROOM_ID)
        assert server.accepted == 1


async def test_maximum_age_is_300_s_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    skew = 0.0
    async with serve(DONE) as server, SessionManager(keepalive=LONG) as manager:
        client = client_for(server.base_url, session=manager)
        await client.rooms.get(ROOM_ID)
        connector, now = manager.pool.connector, asyncio.get_running_loop().time
        monkeypatch.setattr(connector, "_now", lambda: now() + skew)
        skew = 299.0
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 1
        skew = 301.0
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 2


@pytest.mark.parametrize("fast_path", [True, False])
async def test_call_is_not_cut_by_the_maximum_age(fast_path: bool) -> None:
    async def slow(link: Link) -> None:
        while True:
            seen = await link.request()
            response = answer(200, {"result": 0, "rooms": []} if seen.target.endswith("/rooms") else room())
            for n in range(0, len(response), 20):
                link.send(response[n : n + 20])
                await link.drain()
                await asyncio.sleep(0.05)

    async with serve(slow) as server:
        async with SessionManager(max_connection_age=0.05, fast_path=fast_path) as manager:
            client = client_for(server.base_url, session=manager, retry=RetryPolicy(attempts=1))
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
            assert await client.rooms.list().to_list() == []
            assert len(server.requests) == 2


async def test_idle_connections_are_not_closed_by_the_maximum_age() -> None:
    async with serve(DONE) as server, SessionManager(max_connection_age=0.1, keepalive=30) as manager:
        client = client_for(server.base_url, session=manager)
        await client.rooms.get(ROOM_ID)
        await asyncio.sleep(0.3)
        assert not server.links[0].reader.at_eof()
        # The next request opens a new one instead.
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 2
        await until(server.links[0].reader.at_eof)


async def test_connections_that_were_opened_ahead_have_an_age_too() -> None:
    async with serve(DONE) as server, SessionManager(max_connection_age=0.1) as manager:
        client = client_for(server.base_url, session=manager)
        assert await client.warm_up(2) == 2
        await asyncio.sleep(0.2)
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 3


@pytest.mark.parametrize("age", [0, -1, float("nan"), float("inf"), "300", True])
def test_invalid_maximum_age_is_rejected(age: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_connection_age"):
        SessionManager(max_connection_age=age)


async def test_moved_name_is_noticed_under_constant_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name points to another port of this machine after a while; calls follow it without a failure."""
    loop = asyncio.get_running_loop()
    original = loop.create_connection
    async with serve(DONE) as old, serve(DONE) as new:
        target: list[Server] = [old]

        async def connect(factory: Any, *args: Any, **options: Any) -> Any:
            sock = options.get("sock")
            if sock is None:
                return await original(factory, *args, **options)
            sock.close()
            return await original(factory, "127.0.0.1", target[0].port)

        monkeypatch.setattr(loop, "create_connection", connect)
        async with SessionManager(max_connection_age=0.2) as manager:
            client = client_for(old.base_url, session=manager, retry=RetryPolicy(attempts=1))
            await client.rooms.get(ROOM_ID)
            target[0] = new
            async with asyncio.timeout(10):
                while not new.requests:
                    await client.rooms.get(ROOM_ID)
