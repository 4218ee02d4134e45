"""What a response is evidence of: gateways, proxies, wrong addresses, Retry-After, and the attempts of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.clients import ONCE, OPERATIONS, Skipped, call, client_for
from support.server import OTHER_ID, ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import (
    AttemptEvent,
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    NotFound,
    ProtocolError,
    RateLimited,
    RetryPolicy,
    RoomSpec,
    ServerFault,
    SessionManager,
    TokenSpec,
    VideoAPIError,
    VideoClient,
    new_reference,
)
from videoapi.pipeline.clock import Clock
from videoapi.sandbox import Sandbox

HTML = b"<html><body><h1>404 Not Found</h1><hr>nginx</body></html>"
GONE = {"result": 40001, "error": "[Reason] Room not found", "desc": ""}
FOREIGN_BODIES = {
    "html": HTML,
    "empty": b"",
    "other-json": b'{"message":"no Route matched with those values"}',
    "list": b"[]",
    "cut-envelope": b'{"result":40001,"err',
}
PASSWORD = "canary-proxy-password"

# 404 and 410 without the service's envelope


def page(status: int, body: bytes = HTML) -> bytes:
    return answer(status, body, {"Content-Type": "text/html"})


async def both_paths(server: Server, **options: Any) -> AsyncIterator[VideoClient]:
    """Yield a client that uses the fast path, and one that uses aiohttp's session."""
    for fast_path in (True, False):
        async with SessionManager(fast_path=fast_path) as manager:
            yield client_for(server.base_url, session=manager, **options)


@pytest.mark.parametrize("body", FOREIGN_BODIES)
@pytest.mark.parametrize("status", [404, 410])
async def test_foreign_404_is_no_evidence_of_a_missing_object(status: int, body: str) -> None:
    async with serve(repeating(page(status, FOREIGN_BODIES[body]))) as server:
        async for client in both_paths(server):
            before = len(server.requests)
            calls: list[Awaitable[object]] = [call(client, operation) for operation in OPERATIONS]
            calls += [
                client.rooms.users(ROOM_ID),
                client.cdr.by_room(ROOM_ID).to_list(),
                client.cdr.by_period("2026-01-01", "2026-01-02").to_list(),
                client.archives.by_conference("123-456").to_list(),
                client.dialin.get(),
            ]
            for each in calls:
                with pytest.raises(ProtocolError, match="base_url") as failed:
                    await each
                assert (failed.value.status, failed.value.attempts) == (status, 1)
                assert not failed.value.retryable
                assert not failed.value.may_have_executed
                assert not isinstance(failed.value, NotFound)
                assert "not found" not in str(failed.value)
            assert len(server.requests) - before == len(calls)


@pytest.mark.parametrize("status", [404, 410, 200])
async def test_not_found_in_the_envelope_is_still_evidence(status: int) -> None:
    async with serve(repeating(answer(status, GONE))) as server:
        async for client in both_paths(server):
            for operation in ("get", "update", "delete", "token"):
                with pytest.raises(NotFound) as failed:
                    await call(client, operation)
                assert failed.value.code == 40001


def dropping_first(*later: bytes) -> Callable[[Link], Awaitable[None]]:
    """Return a script that resets the connection of the first request and then sends the given responses."""
    left = [b"", *later]

    async def script(link: Link) -> None:
        while True:
            await link.request()
            response = left.pop(0) if len(left) > 1 else left[0]
            if not response:
                link.reset()
                return
            link.send(response)
            await link.drain()

    return script


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("fast_path", [True, False])
async def test_repeated_delete_is_not_proven_by_a_foreign_404(fast_path: bool, status: int) -> None:
    async with serve(dropping_first(page(status))) as server, SessionManager(fast_path=fast_path) as manager:
        client = client_for(server.base_url, session=manager)
        with pytest.raises(ProtocolError, match="base_url") as failed:
            await client.rooms.delete(ROOM_ID)
        assert failed.value.may_have_executed
        assert "May have been executed." in str(failed.value)
        assert failed.value.attempts == len(server.requests) == 2


@pytest.mark.parametrize("fast_path", [True, False])
async def test_repeated_delete_is_proven_by_the_envelope(fast_path: bool) -> None:
    async with serve(dropping_first(answer(404, GONE))) as server, SessionManager(fast_path=fast_path) as manager:
        await client_for(server.base_url, session=manager).rooms.delete(ROOM_ID)
        assert len(server.requests) == 2


async def test_bulk_delete_does_not_report_a_foreign_404_as_deleted() -> None:
    async with serve(dropping_first(page(404))) as server, client_for(server.base_url) as client:
        report = await client.rooms.delete_many([ROOM_ID, OTHER_ID], concurrency=1)
    assert report.counts["deleted"] == 0
    assert report.total == 2
    assert all(isinstance(outcome.error, ProtocolError) for outcome in report.failures), report.failures


async def test_audit_does_not_report_a_room_as_missing_after_a_foreign_404() -> None:
    def respond(method: str, target: str, body: bytes) -> bytes:
        if method == "POST":
            return answer(200, room(ROOM_ID, **json.loads(body)))
        return answer(200, {"result": 0, "rooms": []}) if target.endswith("/rooms") else page(404)

    async with serve(responding(respond)) as server, client_for(server.base_url) as client:
        report = await client.rooms.create_many([RoomSpec("one", key="k")])
    assert report.counts["created"] == 1
    assert report.missing == []
    assert not report.audited


async def test_foreign_404_does_not_make_a_known_room_a_deleted_one() -> None:
    """A list that lacks a known room proves no absence, unless the service says that the room is gone."""
    rooms: list[dict[str, Any]] = []
    hidden = page(404)

    def respond(method: str, target: str, body: bytes) -> bytes:
        if method == "POST":
            rooms.append({**json.loads(body), "room_id": f"6571f3c2a1b2c3d4e5f6071{len(rooms)}"})
            return answer(200, {"result": 0, "room": rooms[-1]})
        return answer(200, {"result": 0, "rooms": rooms[:2]}) if target.endswith("/rooms") else hidden

    async with serve(responding(respond)) as server, client_for(server.base_url, settle=0.05) as client:
        await client.rooms.create(name="listed")
        await client.rooms.create(name="listed, reference in data", owner_ref="mine")
        await client.rooms.create(name="not listed")
        await asyncio.sleep(0.1)
        with pytest.raises(CreateOutcomeUnknown, match="does not show room"):
            await client.rooms.resolve(new_reference())
        # The same question with the service's own word.
        hidden = answer(404, GONE)
        assert await client.rooms.resolve(new_reference()) is None


def responding(respond: Callable[[str, str, bytes], bytes]) -> Callable[[Link], Awaitable[None]]:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.send(respond(seen.method, seen.target, seen.body))
            await link.drain()

    return script


# A base URL without the version directory


@pytest.mark.parametrize("source", ["sandbox", "sandbox-200", "gateway"])
async def test_wrong_base_url_stops_a_bulk_run_after_few_requests(source: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if source == "gateway":
            server = await stack.enter_async_context(serve(repeating(page(404))))
            base, sent = server.origin, lambda: len(server.requests)
        else:
            options = {"status_mode": "legacy200"} if source == "sandbox-200" else {}
            sandbox = await stack.enter_async_context(Sandbox(app_id="id", app_key="key", seed=7, **options))
            base, sent = sandbox.base_url.rpartition("/video/")[0], sandbox.ledger.requests
        client = await stack.enter_async_context(VideoClient("id", "key", base))
        report = await client.rooms.create_many([RoomSpec(f"Room {n}", key=n) for n in range(400)])
        assert 1 <= sent() <= 32
    assert report.counts["created"] == report.counts["unknown"] == 0
    assert isinstance(report.stopped, ProtocolError)
    assert "base_url" in str(report.stopped)
    assert "Not executed." in str(report.stopped)
    for outcome in (*report.failures, *report.not_sent):
        assert outcome.error is None or "Room not found" not in str(outcome.error)


async def test_wrong_base_url_is_named_by_every_route_without_an_id() -> None:
    async with Sandbox(app_id="id", app_key="key", seed=7) as sandbox:
        base = sandbox.base_url.rpartition("/video/")[0]
        async with VideoClient("id", "key", base) as client:
            for one in (
                client.rooms.create(name="Stand-up"),
                client.rooms.list().to_list(),
                client.cdr.by_period("2026-01-01", "2026-01-02").to_list(),
                client.archives.by_period("2026-01-01", "2026-01-02").to_list(),
                client.dialin.get(),
            ):
                with pytest.raises(ProtocolError, match=r"base_url.*version") as failed:
                    await one
                assert not isinstance(failed.value, NotFound)
                assert (failed.value.status, failed.value.attempts) == (404, 1)
                assert not failed.value.retryable
                assert not failed.value.may_have_executed


async def test_wrong_base_url_stops_a_resumable_job_before_it_creates() -> None:
    async with Sandbox(app_id="id", app_key="key", seed=7) as sandbox:
        base = sandbox.base_url.rpartition("/video/")[0]
        async with VideoClient("id", "key", base, settle=0.05) as client:
            report = await client.rooms.create_many(
                [RoomSpec(f"Room {n}", key=n) for n in range(400)], job_id="import-7"
            )
        assert sandbox.ledger.requests() <= 32
    assert report.counts["created"] == 0
    assert "base_url" in str(report.stopped)


async def test_foreign_404_of_the_list_does_not_prove_that_a_room_is_absent() -> None:
    def respond(method: str, target: str, body: bytes) -> bytes:
        return page(502) if method == "POST" else page(404)

    async with serve(responding(respond)) as server, client_for(server.base_url, settle=0.05, timeout=2) as client:
        for on_unknown in ("look", "resend"):
            with pytest.raises(CreateOutcomeUnknown) as failed:
                await client.rooms.create(name="Stand-up", on_unknown=on_unknown)  # type: ignore[arg-type]
            assert failed.value.reference is not None
        with pytest.raises(CreateOutcomeUnknown):
            await client.rooms.resolve(new_reference())


# The proxy's word


class Proxy:
    """A forward proxy that requires a password: it tunnels CONNECT and forwards plain requests."""

    def __init__(self, refusal: int = 407, headers: dict[str, str] | None = None) -> None:
        self.refusal = refusal
        self.headers = headers or {}
        self.open = False
        self.server: Server

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        async with serve(self._serve) as self.server:
            yield self

    @property
    def url(self) -> str:
        return f"http://user:{PASSWORD}@127.0.0.1:{self.server.port}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def _serve(self, link: Link) -> None:
        while True:
            seen = await link.request()
            if not self.open:
                headers = {"Proxy-Authenticate": 'Basic realm="proxy"', "Content-Type": "text/html", **self.headers}
                link.answer(self.refusal, b"<html>refused</html>", headers)
                await link.drain()
            elif seen.method == "CONNECT":
                await self._tunnel(link, seen.target)
                return
            else:
                link.answer(200, room())

    async def _tunnel(self, link: Link, target: str) -> None:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        link.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(link.reader, writer), copy(reader, link.writer))
        finally:
            writer.close()


def rejected_by_proxy(error: VideoAPIError, proxy: Proxy, status: int) -> None:
    assert isinstance(error, ConnectionFailed)
    assert not isinstance(error, CreateOutcomeUnknown | CallTimeout)
    assert (error.status, error.attempts) == (status, 1)
    assert not error.retryable
    assert not error.may_have_executed
    assert f"the proxy {proxy.name}" in str(error)
    assert f"HTTP {status}" in str(error)
    assert "canary" not in f"{error} {error!r}"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [407, 511])
async def test_proxy_refusal_of_a_plain_request_is_final(status: int, operation: str) -> None:
    async with Proxy(status, {"Retry-After": "1"}).running() as proxy:
        async with client_for("http://127.0.0.1:9/video/v2", proxy=proxy.url) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await call(client, operation, on_unknown="look")
        rejected_by_proxy(failed.value, proxy, status)
        assert len(proxy.server.requests) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [407, 403, 502, 503, 511])
async def test_refused_connect_is_final(status: int, operation: str) -> None:
    async with Proxy(status, {"Retry-After": "1"}).running() as proxy:
        async with client_for("https://127.0.0.1:9/video/v2", proxy=proxy.url) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await call(client, operation, on_unknown="look")
        rejected_by_proxy(failed.value, proxy, status)
        assert "Not sent." in str(failed.value)
        assert [seen.method for seen in proxy.server.requests] == ["CONNECT"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_refusal_stops_a_bulk_run_after_few_requests(scheme: str) -> None:
    async with Proxy().running() as proxy:
        for run in ("create", "delete", "token"):
            async with client_for(f"{scheme}://127.0.0.1:9/video/v2", proxy=proxy.url) as client:
                before = len(proxy.server.requests)
                report = await {
                    "create": lambda: client.rooms.create_many([RoomSpec(f"Room {n}") for n in range(400)]),
                    "delete": lambda: client.rooms.delete_many([f"{ROOM_ID[:-3]}{n:03}" for n in range(400)]),
                    "token": lambda: client.tokens.create_many(
                        [TokenSpec(ROOM_ID, name="Ann", role="moderator", user_ref=f"u-{n}") for n in range(400)]
                    ),
                }[run]()
                assert 1 <= len(proxy.server.requests) - before <= 32
                assert report.stopped is not None
                rejected_by_proxy(report.stopped, proxy, 407)
                assert report.counts["unknown"] == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_calls_succeed_once_the_proxy_accepts(authority: trustme.CA, ca_file: str, scheme: str) -> None:
    """A refusal leaves no pause: the next call is sent at once."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serve(repeating(answer(200, room())), tls=tls) as target, Proxy().running() as proxy:
        time = Skipped()
        manager = time.manager(proxy=proxy.url, ca_file=ca_file)
        base = target.base_url if scheme == "https" else "http://127.0.0.1:9/video/v2"
        async with manager:
            client = client_for(base, session=manager)
            with pytest.raises(ConnectionFailed):
                await client.rooms.get(ROOM_ID)
            proxy.open = True
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID
        assert time.waits == []
        assert len(target.requests) == (1 if scheme == "https" else 0)


async def test_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Proxy().running() as proxy:
        for variable in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for scheme in ("http", "https"):
            base = f"{scheme}://api.videoapi.test/v2"
            async with client_for(base, trust_env=True, allow_http=True) as client:
                with pytest.raises(ConnectionFailed) as failed:
                    await client.rooms.create(name="Stand-up")
            rejected_by_proxy(failed.value, proxy, 407)


@pytest.mark.parametrize("status", [407, 511])
async def test_refusal_by_a_network_gateway_is_final(status: int) -> None:
    """Without a proxy, these statuses come from a network that requires a login."""
    async with serve(repeating(page(status))) as server:
        async for client in both_paths(server):
            for operation in OPERATIONS:
                before = len(server.requests)
                with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{server.port}") as failed:
                    await call(client, operation, on_unknown="look")
                assert (failed.value.status, failed.value.attempts) == (status, 1)
                assert not failed.value.retryable
                assert not failed.value.may_have_executed
                assert len(server.requests) - before == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_download_through_a_refusing_proxy_names_it(scheme: str, tmp_path: Path) -> None:
    async with Proxy().running() as proxy:
        async with client_for(f"{scheme}://127.0.0.1:9/video/v2", proxy=proxy.url) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.archives.download(f"{scheme}://127.0.0.1:9/files/one.mp4", to=tmp_path)
        rejected_by_proxy(failed.value, proxy, 407)
        assert len(proxy.server.requests) == 1


async def test_proxy_that_never_answers_connect_is_named() -> None:
    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(silent) as proxy:
        url, name = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}", f"127.0.0.1:{proxy.port}"
        async with client_for("https://127.0.0.1:9/v2", proxy=url, retry=ONCE, attempt_timeout=0.1) as client:
            with pytest.raises(CallTimeout) as failed:
                await client.rooms.get(ROOM_ID)
            with pytest.raises(ConnectionFailed) as cold:
                await client.warm_up()
    for error in (failed.value, cold.value):
        assert f"cannot connect to 127.0.0.1:9 through the proxy {name} within 0.1 s (attempt_timeout)" in str(error)
        assert "Not sent." in str(error)
        assert "canary" not in str(error)


async def test_warm_up_through_a_refusing_proxy_names_it() -> None:
    async with Proxy().running() as proxy:
        async with client_for("https://127.0.0.1:9/video/v2", proxy=proxy.url) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.warm_up()
    assert f"the proxy {proxy.name}" in str(failed.value)
    assert failed.value.status == 407
    assert not failed.value.retryable
    assert "canary" not in str(failed.value)


# Retry-After


READABLE = {
    "7": 7,
    "120.0": 120,
    "1.5": 2,
    "0.2": 1,
    "3s": 3,
    "3 seconds": 3,
    " 4 ": 4,
    "9" * 30: 86_400,
    "9" * 400: 86_400,
    "100000.5": 86_400,
}
UNREADABLE = ["soon", "1e9", "-5", "inf", "nan", "", "12:00", "5, 5"]


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("text", READABLE)
async def test_retry_after_is_read_rounded_up_and_clamped(text: str, status: int, fast_path: bool) -> None:
    async with serve(repeating(answer(status, b"", {"Retry-After": text}))) as server:
        async with SessionManager(fast_path=fast_path) as manager:
            client = client_for(server.base_url, session=manager, retry=ONCE)
            with pytest.raises((RateLimited, ServerFault)) as failed:
                await client.rooms.get(ROOM_ID)
    assert failed.value.retry_after == READABLE[text]


@pytest.mark.parametrize("text", [text for text, seconds in READABLE.items() if seconds <= 10])
async def test_retry_after_is_waited_for(text: str) -> None:
    async with serve(in_turn(answer(429, b"", {"Retry-After": text}), answer(200, room()))) as server:
        time = Skipped()
        async with time.manager() as manager:
            await client_for(server.base_url, session=manager).rooms.get(ROOM_ID)
        assert READABLE[text] <= sum(time.waits) <= READABLE[text] * 1.5 + 1
        assert len(server.requests) == 2


@pytest.mark.parametrize("text", UNREADABLE)
async def test_unreadable_retry_after_still_asks_for_patience(text: str) -> None:
    async with serve(in_turn(answer(429, b"", {"Retry-After": text}), answer(200, room()))) as server:
        time = Skipped()
        async with time.manager() as manager:
            await client_for(server.base_url, session=manager).rooms.get(ROOM_ID)
        assert sum(time.waits) >= 1
        assert len(server.requests) == 2


@pytest.mark.parametrize("text", ["61", "120.0", "61s", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
@pytest.mark.parametrize("operation", ["get", "create", "list"])
async def test_retry_after_that_is_too_long_is_an_error_at_once(operation: str, text: str) -> None:
    async with serve(repeating(answer(429, b"", {"Retry-After": text}))) as server:
        time = Skipped()
        async with time.manager() as manager:
            client = client_for(server.base_url, session=manager)
            with pytest.raises(RateLimited) as failed:
                await call(client, operation)
            assert len(server.requests) == failed.value.attempts == 1
            assert time.waits == []
            assert failed.value.retry_after is not None
            assert 61 <= failed.value.retry_after <= 86_400
            # The account stays paused; the next call fails at once, without a request.
            with pytest.raises(RateLimited) as failed:
                await call(client, operation)
            assert len(server.requests) == 1
            assert time.waits == []


async def test_clamped_retry_after_pauses_an_account_for_a_bounded_time() -> None:
    async with serve(repeating(answer(429, b"", {"Retry-After": "9" * 30}))) as server:
        async with client_for(server.base_url) as client:
            with pytest.raises(RateLimited):
                await client.rooms.get(ROOM_ID)
            left = client._pipeline.account.throttle.pause_left()
    assert 60 < left <= 301


# The attempts of a stream

OPENED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"result":0,"rooms":['


def in_turn(*steps: bytes) -> Callable[[Link], Awaitable[None]]:
    """Return a script that repeats the steps over all connections; a cut body ends its connection."""
    turn = 0

    async def script(link: Link) -> None:
        nonlocal turn
        while True:
            await link.request()
            step = steps[turn % len(steps)]
            turn += 1
            link.send(step)
            await link.drain()
            if step.startswith(OPENED[:15]):
                link.close()
                return

    return script


FAULTS = {
    "503-503-cut": (answer(503), answer(503), OPENED),
    "503-cut": (answer(503), OPENED),
    "cut": (OPENED,),
    "cut-503-503": (OPENED, answer(503), answer(503)),
    "429-cut": (answer(429), OPENED),
}


@pytest.mark.parametrize("attempts", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("faults", FAULTS)
async def test_stream_counts_attempts_in_one_place(faults: str, attempts: int) -> None:
    events: list[object] = []
    async with serve(in_turn(*FAULTS[faults])) as server:
        time = Skipped()
        async with time.manager() as manager:
            policy = RetryPolicy(attempts=attempts, base=0, throttle_base=0)
            client = client_for(server.base_url, session=manager, retry=policy, listeners=[events.append])
            with pytest.raises(VideoAPIError) as failed:
                await client.rooms.list().to_list()
            assert len(server.requests) == attempts
            assert failed.value.attempts == attempts
            assert manager.pool.stream_permits.free == manager.pool.max_streams
    assert sum(isinstance(event, AttemptEvent) for event in events) == attempts


async def test_repeated_records_do_not_renew_the_attempts_of_a_stream() -> None:
    record = json.dumps({"room_id": ROOM_ID, "name": "x" * 10}).encode()
    async with serve(in_turn(OPENED + record + b",")) as server:
        async with client_for(server.base_url, retry=RetryPolicy(attempts=4, base=0)) as client:
            rooms: list[Any] = []
            with pytest.raises(ConnectionFailed):
                async for one in client.rooms.list():
                    rooms.append(one)
    assert [one.room_id for one in rooms] == [ROOM_ID]
    # The first of them brought a record; after it, at most the policy's attempts bring none.
    assert len(server.requests) <= 4 + 1


@pytest.mark.parametrize("attempts", [3, 10])
async def test_later_window_of_a_stream_is_not_attempted_twice(attempts: int) -> None:
    """A window that was opened ahead and failed has used its attempts."""
    complete = answer(200, {"result": 0, "cdr": []})
    failing: list[str] = []

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target == first[0]:
                # The others are opened ahead, and fail before this body ends.
                header, _, body = complete.partition(b"\r\n\r\n")
                link.send(header + b"\r\n\r\n" + body[:10])
                await link.drain()
                await later_failed.wait()
                link.send(body[10:])
            else:
                failing.append(seen.target)
                link.answer(503)
                if failing.count(seen.target) >= attempts:
                    asyncio.get_running_loop().call_later(0.1, later_failed.set)
            await link.drain()

    first: list[str] = []
    later_failed = asyncio.Event()

    async def discover(link: Link) -> None:
        while True:
            first.append((await link.request()).target)
            link.answer(400, {"result": 10203})
            await link.drain()

    async with serve(discover) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(VideoAPIError):
            await client.cdr.by_period("2026-01-01", "2026-03-31").to_list()
    async with serve(script) as server:
        policy = RetryPolicy(attempts=attempts, base=0)
        async with SessionManager(clock=Clock(random=lambda: 0.0)) as manager:
            client = client_for(server.base_url, session=manager, retry=policy)
            with pytest.raises(VideoAPIError):
                await client.cdr.by_period("2026-01-01", "2026-03-31").to_list()
    assert {target: failing.count(target) for target in failing} == dict.fromkeys(failing, attempts)


async def test_look_up_of_a_create_does_not_multiply_attempts() -> None:
    """Each look reads the list once, however its body ends."""

    lists = 0

    async def script(link: Link) -> None:
        nonlocal lists
        while True:
            seen = await link.request()
            if seen.method == "POST":
                link.answer(502)
                await link.drain()
                continue
            lists += 1
            link.send(OPENED)
            await link.drain()
            link.close()
            return

    time = Skipped()
    async with serve(script) as server, time.manager() as manager:
        client = client_for(server.base_url, session=manager, timeout=4, retry=RetryPolicy(attempts=10, base=0))
        with pytest.raises(CreateOutcomeUnknown):
            await client.rooms.create(name="Stand-up")
    assert 1 <= lists <= 6
