"""Errors, logs and events name what an operator needs, and no frame of a failed call holds a secret."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import datetime
import errno
import logging
import os
import pickle
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import aioresponses
import attrs
import pytest
import trustme
from support.clients import APP_ID, APP_KEY, ONCE, Skipped, client_for
from support.names import Resolver, name_server
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

import videoapi
from videoapi import (
    AttemptEvent,
    CallEvent,
    CallStarted,
    CallTimeout,
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    CredentialsUnavailable,
    NotFound,
    Outcome,
    ProtocolError,
    RateLimited,
    Request,
    RetryPolicy,
    Send,
    SessionManager,
    VideoAPIError,
    VideoClient,
)
from videoapi.sandbox import Sandbox
from videoapi.transport.connector import Connector

pytestmark = pytest.mark.slow

PATHS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "session"])
PASSWORD = "Canary7Recording7Password7Anywhere"
QUERY = "Canary7Query7MustNeverBeSeen7"
LOGIN = base64.b64encode(f"{APP_ID}:{APP_KEY}".encode()).decode().rstrip("=")
RECORDING_LOGIN = base64.b64encode(f"recorder:{PASSWORD}".encode()).decode().rstrip("=")
SECRETS = (APP_KEY, LOGIN, PASSWORD, RECORDING_LOGIN)
GOOD = repeating(answer(200, room(name="Stand-up")))
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@contextlib.asynccontextmanager
async def client_on(
    base_url: str, fast: bool, *, manager: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[VideoClient]:
    """Open a client of its own manager, on the fast path or on aiohttp's session."""
    async with SessionManager(fast_path=fast, **(manager or {})) as sessions:
        async with client_for(base_url, session=sessions, **options) as client:
            yield client


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Listen with a full backlog, so that further SYNs get no reply."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def system_text(number: int) -> str:
    return f"{os.strerror(number)} (errno {number})"


async def silent(link: Link) -> None:
    """Read requests without a response."""
    while True:
        await link.request()


async def half_a_body(link: Link) -> None:
    await link.request()
    link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":0')
    await link.drain()
    await link.gone()


# Errors


@PATHS
async def test_refused_connection_names_host_port_and_errno(fast: bool) -> None:
    port = closed_port()
    async with client_on(f"http://127.0.0.1:{port}/video/v2", fast, retry=ONCE) as client:
        with pytest.raises(ConnectionFailed) as failed:
            await client.rooms.get(ROOM_ID)
    expected = (
        f"GET /rooms/{{room_id}}: cannot connect to 127.0.0.1:{port}: {system_text(errno.ECONNREFUSED)}. Not sent. "
        "Check base_url: host and port, and that the service runs."
    )
    assert str(failed.value).startswith(expected)
    assert "ca_file" not in str(failed.value)


@PATHS
async def test_refusal_of_the_proxy_advises_to_check_the_proxy(fast: bool) -> None:
    port = closed_port()
    proxy = f"http://127.0.0.1:{port}"
    async with SessionManager(fast_path=fast, proxy=proxy) as manager:
        async with VideoClient("id", "key", "https://api.example.com/video/v2", session=manager, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.get(ROOM_ID)
    assert f"cannot connect to the proxy 127.0.0.1:{port}: " in str(failed.value)
    assert "Not sent. Check the proxy's host and port, and that it runs." in str(failed.value)


@PATHS
@pytest.mark.parametrize("operation", ["get", "create", "list"])
async def test_reset_connection_names_host_port_and_errno(fast: bool, operation: str) -> None:
    async def reset(link: Link) -> None:
        await link.request()
        link.reset()

    async with serve(reset) as server, client_on(server.base_url, fast, retry=ONCE) as client:
        with pytest.raises(VideoAPIError) as failed:
            if operation == "get":
                await client.rooms.get(ROOM_ID)
            elif operation == "list":
                await client.rooms.list().to_list()
            else:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert f"127.0.0.1:{server.port}" in str(failed.value)
    assert system_text(errno.ECONNRESET) in str(failed.value)
    assert ("May have been executed." in str(failed.value)) == (operation == "create")


@PATHS
async def test_closed_connection_names_host_and_port(fast: bool) -> None:
    async def close(link: Link) -> None:
        await link.request()
        link.close()

    async with serve(close) as server, client_on(server.base_url, fast, retry=ONCE) as client:
        with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{server.port} closed the connection"):
            await client.rooms.get(ROOM_ID)


@PATHS
@pytest.mark.parametrize("operation", ["get", "list"])
async def test_body_that_breaks_off_names_host_and_port(fast: bool, operation: str) -> None:
    async def cut(link: Link) -> None:
        await link.request()
        link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":0,"rooms":[')
        await link.drain()
        link.close()

    async with serve(cut) as server, client_on(server.base_url, fast, retry=ONCE) as client:
        with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{server.port}"):
            await (client.rooms.get(ROOM_ID) if operation == "get" else client.rooms.list().to_list())


@PATHS
async def test_unknown_host_name_names_host_port_and_resolver_text(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with client_on("https://api.videoapi.test:8443/v2", fast, retry=ONCE) as client:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(ConnectionFailed) as failed:
            await client.rooms.get(ROOM_ID)
    assert "api.videoapi.test:8443" in str(failed.value)
    assert "Name or service not known" in str(failed.value)
    assert "Not sent." in str(failed.value)


async def test_name_server_failure_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with name_server(lambda asked: "SERVFAIL") as address:
        monkeypatch.setattr(
            "videoapi.transport.pool.Connector",
            lambda **options: Connector(**{**options, "resolver": Resolver(address), "use_dns_cache": False}),
        )
        async with client_on("https://api.videoapi.test/v2", True, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed, match=r"api\.videoapi\.test.*SERVFAIL"):
                await client.rooms.get(ROOM_ID)


@PATHS
async def test_connect_timeout_names_host_port_and_seconds(fast: bool) -> None:
    with full_backlog() as port:
        base_url = f"http://127.0.0.1:{port}/video/v2"
        async with client_on(base_url, fast, manager={"connect_timeout": 0.2}, retry=ONCE) as client:
            with pytest.raises(VideoAPIError) as failed:
                await client.rooms.get(ROOM_ID)
    assert f"cannot connect to 127.0.0.1:{port} within 0.2 s (connect_timeout). Not sent." in str(failed.value)


def tls_for(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@PATHS
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong-host", r"mismatch, certificate is not valid for '127\.0\.0\.1'"),
        ("expired", "certificate has expired"),
        ("unknown-ca", "unable to get local issuer certificate"),
    ],
)
async def test_tls_failures_read_differently(
    authority: trustme.CA, ca_file: str, fast: bool, fault: str, reason: str
) -> None:
    certificate = {
        "unknown-ca": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "wrong-host": lambda: authority.issue_cert("api.example.com"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=PAST),
    }[fault]()
    async with serve(GOOD, tls=tls_for(certificate)) as server:
        async with client_on(server.base_url, fast, manager={"ca_file": ca_file}) as client:
            with pytest.raises(ConnectionFailed, match=reason) as failed:
                await client.rooms.create(name="Stand-up")
        assert server.requests == []
    text = str(failed.value)
    assert f"127.0.0.1:{server.port}" in text
    assert "Not sent." in text
    # Another CA file cannot help against an expired certificate or one of another host.
    assert ("ca_file=" in text) == (fault == "unknown-ca")


async def test_self_signed_certificate_advises_a_ca_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # The CA's own certificate as the server's is self-signed.
    pem = tmp_path / "self.pem"
    pem.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context.load_cert_chain(str(pem))
    async with serve(GOOD, tls=context) as server, client_on(server.base_url, True) as client:
        with pytest.raises(ConnectionFailed, match=r"self-signed certificate.*ca_file="):
            await client.rooms.get(ROOM_ID)


async def test_plain_text_on_a_tls_port_is_not_a_certificate_error(ca_file: str) -> None:
    async def plain(link: Link) -> None:
        await link.reader.read(100)
        link.answer(400)
        await link.gone()

    async with serve(plain) as server:
        base_url = server.base_url.replace("http://", "https://")
        async with client_on(base_url, True, manager={"ca_file": ca_file}, retry=ONCE) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.rooms.get(ROOM_ID)
    assert f"127.0.0.1:{server.port}" in str(failed.value)
    assert re.search(
        r"WRONG_VERSION_NUMBER|wrong version number|record layer failure", str(failed.value), re.IGNORECASE
    )
    assert "ca_file=" not in str(failed.value)


@PATHS
@pytest.mark.parametrize("script", [silent, half_a_body])
@pytest.mark.parametrize(
    ("limits", "named"), [({"attempt_timeout": 0.2}, "0.2 s (attempt_timeout)"), ({"timeout": 0.3}, "0.3 s (timeout)")]
)
async def test_call_timeout_names_its_limit_and_seconds(
    fast: bool, script: Callable[[Link], Awaitable[None]], limits: dict[str, float], named: str
) -> None:
    async with serve(script) as server, client_on(server.base_url, fast, retry=ONCE, **limits) as client:
        with pytest.raises(CallTimeout) as failed:
            await client.rooms.get(ROOM_ID)
    assert named in str(failed.value)
    assert f"127.0.0.1:{server.port}" in str(failed.value)


@PATHS
async def test_create_timeout_names_the_timeout_that_was_given(fast: bool) -> None:
    with full_backlog() as port:
        base_url = f"http://127.0.0.1:{port}/video/v2"
        async with client_on(base_url, fast, retry=ONCE, timeout=0.8) as client:
            with pytest.raises(CallTimeout, match=r"\b0\.8 s \(timeout\)") as failed:
                await client.rooms.create(name="Stand-up")
    assert not failed.value.may_have_executed


async def test_wait_for_a_connection_names_the_limit() -> None:
    async with serve(silent) as server:
        async with client_on(server.base_url, True, manager={"max_connections": 1}) as client:
            first = asyncio.ensure_future(client.rooms.get(ROOM_ID))
            while not server.requests:
                await asyncio.sleep(0.005)
            with pytest.raises(CallTimeout) as failed:
                await client.with_options(timeout=0.2).rooms.get(ROOM_ID)
            first.cancel()
            await asyncio.wait([first])
    assert "no free connection within 0.2 s (timeout), max_connections=1" in str(failed.value)
    assert "Not sent." in str(failed.value)


async def test_wait_for_the_rate_names_rate_and_seconds() -> None:
    async with serve(GOOD) as server, client_on(server.base_url, True, rate="1/min") as client:
        await client.rooms.get(ROOM_ID)
        with pytest.raises(
            CallTimeout, match=r"waited 0\.2 s \(timeout\) for the rate limit of .*Not sent\."
        ) as failed:
            await client.with_options(timeout=0.2).rooms.get(ROOM_ID)
    assert "1/min" in str(failed.value)
    assert "connection" not in str(failed.value)


async def test_timeout_in_a_middleware_names_it() -> None:
    async def sleepy(request: Request, send: Send) -> Outcome:
        await asyncio.sleep(30)
        return await send(request)

    async with serve(GOOD) as server, client_on(server.base_url, True, middleware=[sleepy], timeout=0.2) as client:
        with pytest.raises(CallTimeout, match=r"middleware .*0\.2 s \(timeout\)"):
            await client.rooms.get(ROOM_ID)
    assert server.requests == []


async def test_stream_timeout_names_its_limit_and_seconds() -> None:
    async with serve(half_a_body) as server, client_on(server.base_url, True, retry=ONCE) as client:
        with pytest.raises(CallTimeout, match=r"timeout of 0\.2 s"):
            await client.rooms.list(timeout=0.2).to_list()


@pytest.mark.parametrize("on_unknown", ["strict", "look", "resend"])
async def test_unknown_create_text_holds_the_reference(on_unknown: Any) -> None:
    async def drop(link: Link) -> None:
        await link.request()
        link.close()

    async with serve(drop) as server, client_on(server.base_url, True, timeout=0.5) as client:
        with pytest.raises(CreateOutcomeUnknown) as failed:
            await client.rooms.create(name="Stand-up", on_unknown=on_unknown)
        assert failed.value.reference is not None
        assert f'rooms.resolve("{failed.value.reference}")' in str(failed.value)
        assert server.requests[0].json["owner_ref"] == failed.value.reference


@PATHS
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (f"https://user:{QUERY}@portal.example:8443/login?next={QUERY}#{QUERY}", "https://portal.example:8443/login"),
        (f"//portal.example/login?token={QUERY}", "http://portal.example/login"),
        (f"http://[2001:db8::1]:8080/a%20b?{QUERY}", "http://[2001:db8::1]:8080/a%20b"),
    ],
)
async def test_redirect_names_its_target_without_secrets(fast: bool, location: str, shown: str) -> None:
    async with serve(repeating(answer(302, b"", {"Location": location}))) as server:
        events: list[object] = []
        async with client_on(server.base_url, fast, retry=ONCE, listeners=[events.append]) as client:
            with pytest.raises(ProtocolError) as failed:
                await client.rooms.get(ROOM_ID)
    assert re.search(rf"redirect to {re.escape(shown)}(?![:/?#\w])", str(failed.value))
    assert QUERY not in str(failed.value)
    assert QUERY not in repr(events)


async def test_relative_redirect_names_scheme_and_host() -> None:
    async with serve(repeating(answer(302, b"", {"Location": f"/login?next={QUERY}"}))) as server:
        async with client_on(server.base_url, True, retry=ONCE) as client:
            with pytest.raises(ProtocolError, match=f"{server.origin}/login"):
                await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("location", ["http://[", "http://a.example:99999999/", "", "\\\\x", "javascript:alert(1)"])
async def test_unreadable_redirect_target_is_still_a_redirect(location: str) -> None:
    async with serve(repeating(answer(307, b"", {"Location": location}))) as server:
        async with client_on(server.base_url, True, retry=ONCE) as client:
            with pytest.raises(ProtocolError, match=r"redirect.*HTTP 307"):
                await client.rooms.get(ROOM_ID)


@pytest.mark.parametrize("operation", ["get", "create"])
async def test_unmatched_mock_names_method_and_url(
    videoapi_aioresponses: aioresponses.aioresponses, operation: str
) -> None:
    async with VideoClient("id", "key", "https://api.example.com/v2", retry=ONCE) as client:
        with pytest.raises(VideoAPIError) as failed:
            if operation == "get":
                await client.rooms.get(ROOM_ID)
            else:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
    target = (
        f"GET https://api.example.com/v2/rooms/{ROOM_ID}"
        if operation == "get"
        else "POST https://api.example.com/v2/rooms"
    )
    assert target in str(failed.value)


# Logs


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "videoapi" and record.levelno == level]


async def test_each_retry_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    refusals = [answer(503), answer(503), answer(200, room())]
    skipped = Skipped()
    async with serve(lambda link: repeating(refusals[link.number - 1])(link)) as server, skipped.manager() as manager:
        async with client_for(server.base_url, session=manager, retry=RetryPolicy(attempts=3)) as client:
            await client.rooms.get(ROOM_ID)
    lines = logged(caplog, logging.INFO)
    assert [re.sub(r"in \d+\.\d s", "in N s", line) for line in lines] == [
        f"retrying rooms.get in N s after HTTP 503 from 127.0.0.1:{server.port}, attempt {number} of 3"
        for number in (2, 3)
    ]
    shown = [float(re.findall(r"in (\d+\.\d) s", line)[0]) for line in lines]
    assert shown == [round(wait, 1) for wait in skipped.waits]


async def test_retry_after_a_lost_connection_names_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    port = closed_port()
    async with client_on(f"http://127.0.0.1:{port}/v2", True, retry=RetryPolicy(attempts=2, base=0)) as client:
        with pytest.raises(ConnectionFailed):
            await client.rooms.get(ROOM_ID)
    (line,) = logged(caplog, logging.INFO)
    assert f"127.0.0.1:{port}" in line
    assert system_text(errno.ECONNREFUSED) in line
    assert line.endswith("attempt 2 of 2")


async def test_retry_of_a_self_check_room_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    with Sandbox().in_thread() as sandbox:
        sandbox.fault("rooms.create", "drop_before")
        sandbox.fault("rooms.create", 500)
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.1) as client:
            await client.rooms.create(name="Stand-up", on_unknown="resend")
    (line,) = logged(caplog, logging.INFO)
    assert re.fullmatch(r"the self-check room was not created \(HTTP 500\); trying again in \d\.\d s", line)


def broken_then(status: int, body: dict[str, Any]) -> Callable[[Link], Awaitable[None]]:
    """A list of rooms that breaks off, and that this response follows."""

    async def script(link: Link) -> None:
        await link.request()
        if link.number == 1:
            link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":0,"rooms":[')
            await link.drain()
            return
        link.answer(status, body)
        await link.gone()

    return script


async def test_retry_of_a_broken_stream_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    script = broken_then(200, {"result": 0, "rooms": []})
    async with serve(script) as server, client_on(server.base_url, True) as client:
        await client.rooms.list().to_list()
    (line,) = logged(caplog, logging.INFO)
    assert re.match(r"retrying rooms\.list in \d+\.\d s after .*, attempt 2 of \d+$", line)


async def test_retries_of_a_broken_stream_are_counted_from_its_first_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    script = broken_then(503, {"result": 1, "error": "busy"})
    async with serve(script) as server, client_on(server.base_url, True, retry=RetryPolicy(base=0)) as client:
        with pytest.raises(VideoAPIError, match=r"attempt 3 of 3"):
            await client.rooms.list().to_list()
    assert [line.partition(", attempt ")[2] for line in logged(caplog, logging.INFO)] == ["2 of 3", "3 of 3"]


async def test_error_of_the_day_after_a_period_counts_all_attempts() -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.count("2026-01-10") < 2:
                link.answer(200, {"result": "0", "cdr": [{"cdr_id": "a", "trans_date": None}]})
            elif not cut:
                # The response to the query of that day alone breaks off.
                cut.append(link.number)
                link.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":"0","cdr":[')
                await link.drain()
                return
            else:
                link.answer(503, {"result": "1", "error": "busy"})
                await link.gone()

    cut: list[int] = []
    async with serve(script) as server, client_on(server.base_url, True, retry=RetryPolicy(base=0)) as client:
        with pytest.raises(VideoAPIError, match=r"attempt 3 of 3") as failed:
            await client.cdr.by_period("2026-01-09", "2026-01-09").to_list()
    assert failed.value.attempts == 3


async def test_retry_of_a_bulk_item_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.method == "GET":
                link.answer(200, {"result": 0, "rooms": [room(owner_ref="x")["room"]]})
            elif len(link.server.requests) == 1:
                link.answer(429, {"result": 10104}, {"Retry-After": "1"})
            else:
                link.answer(200, room(name="Stand-up", owner_ref=seen.json["owner_ref"]))

    async with serve(script) as server, Skipped().manager() as manager:
        async with client_for(server.base_url, session=manager) as client:
            report = await client.rooms.create_many([videoapi.RoomSpec("Stand-up")])
    assert report.counts["created"] == 1
    assert any(line.startswith("retrying rooms.create in ") for line in logged(caplog, logging.INFO)), caplog.messages


async def test_pause_of_an_account_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    arrived = asyncio.Event()

    async def script(link: Link) -> None:
        while True:
            await link.request()
            if len(link.server.requests) == 1:
                link.answer(200, room())
                continue
            if len(link.server.requests) == 21:
                arrived.set()
            # All of them are in flight when the first refusal arrives.
            await arrived.wait()
            link.answer(429, {"result": 10104}, {"Retry-After": "7"})

    async with serve(script) as server, client_on(server.base_url, True, retry=ONCE) as client:
        await client.rooms.get(ROOM_ID)
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)), return_exceptions=True)
    (line,) = logged(caplog, logging.WARNING)
    assert APP_ID in line
    assert f"127.0.0.1:{server.port}" in line
    assert re.search(r"paused for [78]\.\d s after HTTP 429", line)


@pytest.mark.parametrize("many", [False, True], ids=["single", "bulk"])
async def test_each_unknown_create_is_one_warning(caplog: pytest.LogCaptureFixture, many: bool) -> None:
    async def drop(link: Link) -> None:
        await link.request()
        link.close()

    caplog.set_level(logging.INFO, "videoapi")
    async with serve(drop) as server, Skipped().manager() as manager:
        async with client_for(server.base_url, session=manager, retry=ONCE, settle=0.1) as client:
            if many:
                report = await client.rooms.create_many([videoapi.RoomSpec("Stand-up")], timeout=1)
                references = [outcome.reference for outcome in report.unknown]
            else:
                with pytest.raises(CreateOutcomeUnknown) as failed:
                    await client.rooms.create(name="Stand-up", on_unknown="strict")
                references = [failed.value.reference]
    assert len(references) == 1
    warnings = [line for line in logged(caplog, logging.WARNING) if "rooms.create" in line]
    assert len(warnings) == 1
    assert str(references[0]) in warnings[0]


async def test_unknown_create_through_request_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def drop(link: Link) -> None:
        await link.request()
        link.close()

    caplog.set_level(logging.INFO, "videoapi")
    async with serve(drop) as server, client_on(server.base_url, True) as client:
        with pytest.raises(CreateOutcomeUnknown):
            await client.request("POST", "/webinars", json={}, operation="create")
    assert len(logged(caplog, logging.WARNING)) == 1


async def test_successful_call_logs_nothing_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "videoapi")
    async with serve(GOOD) as server, client_on(server.base_url, True) as client:
        await client.rooms.get(ROOM_ID)
    assert logged(caplog, logging.INFO) + logged(caplog, logging.WARNING) == []


async def test_debug_log_distinguishes_concurrent_calls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "videoapi")
    events: list[Any] = []

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.answer(*((503,) if len(link.server.requests) <= 8 else (200, room())))
            await link.drain()

    async with serve(script) as server:
        async with client_on(server.base_url, True, listeners=[events.append]) as client:
            await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(8)))
    ids = {event.call_id for event in events}
    assert len(ids) == 8
    attempts = [line for line in logged(caplog, logging.DEBUG) if "attempt=" in line]
    assert len(attempts) == sum(isinstance(event, AttemptEvent) for event in events) >= 8
    for line in attempts:
        assert sum(f"call_id={call_id!r}" in line for call_id in ids) == 1


# Events


async def test_events_carry_the_facts_of_a_call() -> None:
    headers = {
        "X-Request-Id": "req-7",
        "X-RateLimit-Remaining": "3",
        "RateLimit-Reset": "9",
        "Retry-After": "2",
        "Set-Cookie": "session=hush",
        "Server": "nginx",
        "Location": "/x",
    }
    responses = [answer(503, {"result": 50001}, headers), answer(200, room(), headers)]
    events: list[Any] = []
    async with (
        serve(lambda link: repeating(responses[link.number - 1])(link)) as server,
        Skipped().manager() as manager,
    ):
        async with client_for(server.base_url, session=manager, listeners=[events.append]) as client:
            await client.rooms.get(ROOM_ID)
    started, first, second, ended = events
    assert [type(event) for event in events] == [CallStarted, AttemptEvent, AttemptEvent, CallEvent]
    assert len({event.call_id for event in events}) == 1
    assert {event.host for event in events} == {f"127.0.0.1:{server.port}"}
    assert {event.app_id for event in events[1:]} == {APP_ID}
    assert {event.reference for event in events} == {None}
    assert [event.request_id for event in events[1:]] == ["req-7"] * 3
    shown = {"x-request-id": "req-7", "x-ratelimit-remaining": "3", "ratelimit-reset": "9", "retry-after": "2"}
    assert [dict(event.headers) for event in events[1:]] == [shown] * 3
    assert [type(event.verdict) for event in events[1:]] == [str] * 3
    assert (second.verdict, ended.verdict, ended.attempts) == ("done", "done", 2)
    assert (second.reason, ended.reason) == ("", "")
    assert started.route == ended.route == "rooms.get"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        started.call_id = "x"
    with pytest.raises(TypeError):
        first.headers["x"] = "y"


async def test_events_of_a_failure_carry_its_reason() -> None:
    port, events = closed_port(), []
    async with client_on(f"http://127.0.0.1:{port}/v2", True, retry=ONCE, listeners=[events.append]) as client:
        with pytest.raises(ConnectionFailed) as failed:
            await client.rooms.create(name="Stand-up")
    started, attempt, ended = events
    assert system_text(errno.ECONNREFUSED) in attempt.reason
    assert attempt.reason == ended.reason
    assert started.reference == attempt.reference == ended.reference == failed.value.reference is not None


async def test_cancelled_create_is_an_event_with_its_reference() -> None:
    events: list[Any] = []
    async with serve(silent) as server, client_on(server.base_url, True, listeners=[events.append]) as client:
        with pytest.raises(TimeoutError) as failed:
            async with asyncio.timeout(0.2):
                await client.rooms.create(name="Stand-up")
    ended = events[-1]
    assert isinstance(ended, CallEvent)
    assert ended.verdict == "cancelled"
    assert ended.reference == server.requests[0].json["owner_ref"]
    assert any(ended.reference in note for note in getattr(failed.value.__cause__, "__notes__", ()))


async def test_timed_out_call_is_an_event_with_its_reason() -> None:
    events: list[Any] = []
    async with (
        serve(silent) as server,
        client_on(server.base_url, True, listeners=[events.append], timeout=0.2) as client,
    ):
        with pytest.raises(CallTimeout):
            await client.rooms.get(ROOM_ID)
    assert isinstance(events[-1], CallEvent)
    assert "0.2 s (timeout)" in events[-1].reason
    assert events[-1].attempts == 1


async def test_credentials_echoed_in_allowed_headers_are_not_in_events() -> None:
    events: list[Any] = []

    async def echo(link: Link) -> None:
        while True:
            seen = await link.request()
            link.answer(503, {"result": 50001}, {"X-Request-Id": seen.headers["authorization"]})
            await link.drain()

    async with serve(echo) as server, client_on(server.base_url, True, retry=ONCE, listeners=[events.append]) as client:
        with pytest.raises(VideoAPIError) as failed:
            await client.rooms.get(ROOM_ID)
    assert LOGIN not in repr(vars(failed.value))
    assert LOGIN not in repr(events)


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
async def test_credentials_echoed_in_another_case_are_redacted(change: Callable[[str], str]) -> None:
    async def echo(link: Link) -> None:
        seen = await link.request()
        link.answer(
            503, {"result": 50001, "error": f"rejected {change(seen.headers['authorization'])} of {change(APP_KEY)}"}
        )

    async with serve(echo) as server, client_on(server.base_url, True, retry=ONCE) as client:
        with pytest.raises(VideoAPIError, match="rejected") as failed:
            await client.rooms.get(ROOM_ID)
    shown = f"{failed.value} {vars(failed.value)}".lower()
    assert LOGIN.lower() not in shown
    assert APP_KEY.lower() not in shown


# Errors as values


ERRORS = sorted(
    (
        kind
        for name in videoapi.__all__
        if isinstance(kind := getattr(videoapi, name), type) and issubclass(kind, VideoAPIError)
    ),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "clone", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_error_keeps_its_notes_and_facts(
    kind: type[VideoAPIError], clone: Callable[[VideoAPIError], VideoAPIError]
) -> None:
    error = kind(
        "what failed", method="GET", status=503, attempts=2, retryable=True, reference="vxref", request_id="r-1"
    )
    error.add_note("row 17")
    error.add_note("tenant b")
    twin = clone(error)
    assert type(twin) is kind
    assert twin.__notes__ == ["row 17", "tenant b"]
    assert str(twin) == "what failed"
    assert {name: value for name, value in vars(twin).items() if name != "__notes__"} == {
        name: value for name, value in vars(error).items() if name != "__notes__"
    }
    twin.add_note("later")
    assert error.__notes__ == ["row 17", "tenant b"]


def test_error_without_notes_survives_pickle_without_notes() -> None:
    assert not hasattr(pickle.loads(pickle.dumps(NotFound("gone"))), "__notes__")


def test_credentials_unavailable_takes_the_common_arguments() -> None:
    error = CredentialsUnavailable("the vault is shut", method="GET", path="/rooms", attempts=1, retryable=True)
    assert isinstance(error, ConfigurationError)
    assert (error.method, error.path, error.attempts, error.retryable) == ("GET", "/rooms", 1, True)


@PATHS
async def test_user_agent_carries_both_versions(fast: bool) -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.answer(
                200,
                {"result": 0, "rooms": []}
                if seen.target.endswith("/rooms") and seen.method == "GET"
                else room(name="Stand-up"),
            )

    async with serve(script) as server, client_on(server.base_url, fast) as client:
        await client.rooms.create(name="Stand-up")
        await client.rooms.get(ROOM_ID)
        await client.rooms.list().to_list()
        await client.request("GET", "/x", operation="read")
    agents = {seen.headers["user-agent"] for seen in server.requests}
    assert len(server.requests) == 4
    assert agents == {f"videoapi/{videoapi.__version__} Python/{sys.version_info.major}.{sys.version_info.minor}"}


# Frames


def chained(error: BaseException) -> list[BaseException]:
    """Return an error and everything that it refers to as a cause, context or member."""
    found: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and id(current) not in found:
            found[id(current)] = current
            waiting += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    return list(found.values())


def texts_of(value: object) -> Iterator[str]:
    """Return what an error reporter would store of a local variable: its repr, and those of its items."""
    with contextlib.suppress(Exception):
        yield repr(value)
    with contextlib.suppress(Exception):
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield f"{key!r}: {item!r}"
        elif isinstance(value, list | tuple | set):
            for item in value:
                yield repr(item)


def leaks_of(error: BaseException) -> set[str]:
    """Return the places in an error's chain where a secret is visible."""
    found: set[str] = set()
    for one in chained(error):
        shown = [repr(one), str(one), repr(vars(one)), *getattr(one, "__notes__", ())]
        if any(secret in text for secret in SECRETS for text in shown):
            found.add(f"{type(one).__name__}: its text")
        trace = one.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            for name, value in frame.f_locals.items():
                if any(secret in text for secret in SECRETS for text in texts_of(value)):
                    found.add(
                        f"{type(one).__name__}: {Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{name}"
                    )
            trace = trace.tb_next
    return found


class FailsAtAwait:
    """Awaits a coroutine, and raises an error at its n-th suspension instead of waiting."""

    def __init__(self, call: Awaitable[object], number: int, error: Callable[[], BaseException]) -> None:
        self._call = call
        self._number = number
        self._error = error
        self.reached = 0

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._call.__await__()
        raised: BaseException | None = None
        while True:
            try:
                waited = steps.throw(raised) if raised is not None else steps.send(None)
            except StopIteration as stop:
                return stop.value
            raised = None
            self.reached += 1
            if self.reached == self._number:
                raised = self._error()
                continue
            try:
                yield waited
            except BaseException as error:
                raised = error


async def answering(link: Link) -> None:
    """Respond to everything, in pieces, so that a call is suspended at its head and in its body."""
    while True:
        seen = await link.request()
        await asyncio.sleep(0.001)
        if seen.target.endswith("/file.mp4"):
            data = answer(200, b"x" * 64)
        elif seen.method == "GET" and seen.target.endswith("/rooms"):
            data = answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}]})
        elif seen.method == "POST" and "drop" in seen.body.decode():
            link.close()
            return
        else:
            data = answer(200, room(name="Stand-up"))
        link.send(data[:-5])
        await link.drain()
        await asyncio.sleep(0.001)
        link.send(data[-5:])
        await link.drain()


async def ask() -> tuple[str, str]:
    await asyncio.sleep(0)
    return APP_ID, APP_KEY


def keyed(kind: str) -> dict[str, Any]:
    return {"app_id": APP_ID, "app_key": APP_KEY} if kind == "fixed" else {"credentials": ask}


async def one_call(client: VideoClient, server: Server, operation: str, folder: Path) -> None:
    match operation:
        case "get":
            await client.rooms.get(ROOM_ID)
        case "create":
            await client.rooms.create(name="Stand-up", on_unknown="strict")
        case "look-up":
            await client.rooms.create(name="drop")
        case "stream":
            await client.rooms.list().to_list()
        case "request":
            await client.request("PATCH", "/x", json={}, headers={"X-Trace": "t"}, operation="update")
        case "download":
            await client.archives.download(f"{server.origin}/file.mp4", folder, overwrite=True)


INJECTED: dict[str, Callable[[], BaseException]] = {
    "cancelled": asyncio.CancelledError,
    "reset": lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "timeout": TimeoutError,
    "aiohttp": lambda: aiohttp.ServerDisconnectedError(),
    "foreign": lambda: RuntimeError("an error of other code"),
}


@pytest.mark.slow
@PATHS
@pytest.mark.parametrize("kind", ["fixed", "callable"])
@pytest.mark.parametrize("operation", ["get", "create", "look-up", "stream", "request", "download"])
@pytest.mark.parametrize("fault", INJECTED)
async def test_no_frame_holds_a_secret_at_any_await(
    tmp_path: Path, fast: bool, kind: str, operation: str, fault: str
) -> None:
    async def run(number: int) -> tuple[int, set[str] | None]:
        """Return how many awaits there were, and what the error shows; None if the call succeeded."""
        async with SessionManager(fast_path=fast) as manager:
            if fast:
                # The self-check is not part of the call; tests of its own cover it.
                manager.pool.bind()
                assert await manager.pool.check_fast_path()
            client = VideoClient(
                base_url=server.base_url,
                session=manager,
                retry=ONCE,
                timeout=1,
                recording_auth=("recorder", PASSWORD),
                recording_hosts=["127.0.0.1"],
                **keyed(kind),
            )
            folder = tmp_path / str(number)
            folder.mkdir()
            call = FailsAtAwait(one_call(client, server, operation, folder), number, INJECTED[fault])
            shown = None
            try:
                await call
            except (Exception, asyncio.CancelledError) as error:
                shown = leaks_of(error)
            await client.aclose()
            return call.reached, shown

    # Futures that the injected error abandons are reported to this handler.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with serve(answering) as server:
        awaits, _ = await run(10_000)
        results = await asyncio.gather(*(run(number) for number in range(1, awaits + 1)))
    errors = [shown for _, shown in results if shown is not None]
    assert awaits > 3
    assert errors
    assert set().union(*errors) == set()


@PATHS
@pytest.mark.parametrize("kind", ["fixed", "callable"])
@pytest.mark.parametrize("operation", ["get", "create", "stream", "request"])
@pytest.mark.parametrize("place", ["connect", "head", "body"])
@pytest.mark.parametrize("limit", ["attempt_timeout", "timeout", "asyncio.timeout", "cancel"])
async def test_no_frame_of_a_call_that_ends_late_holds_a_secret(
    tmp_path: Path, fast: bool, kind: str, operation: str, place: str, limit: str
) -> None:
    if operation == "stream" and place == "body" and limit in ("attempt_timeout", "timeout"):
        pytest.skip("these limits end with the response headers of a stream")
    script = {"connect": silent, "head": silent, "body": half_a_body}[place]
    options = {"attempt_timeout": {"attempt_timeout": 0.1}, "timeout": {"timeout": 0.1}}.get(limit, {})
    with full_backlog() as port:
        async with serve(script) as server, SessionManager(fast_path=fast) as manager:
            base_url = f"http://127.0.0.1:{port}/video/v2" if place == "connect" else server.base_url
            client = VideoClient(base_url=base_url, session=manager, retry=ONCE, **keyed(kind), **options)
            with pytest.raises((VideoAPIError, TimeoutError, asyncio.CancelledError)) as failed:
                async with asyncio.timeout(0.1 if limit == "asyncio.timeout" else None):
                    task = asyncio.ensure_future(one_call(client, server, operation, tmp_path))
                    if limit == "cancel":
                        asyncio.get_running_loop().call_later(0.1, task.cancel)
                    await task
            assert leaks_of(failed.value) == set()
            await client.aclose()


@pytest.mark.parametrize("operation", ["get", "create", "stream"])
async def test_no_frame_of_an_aiohttp_middleware_error_holds_a_secret(tmp_path: Path, operation: str) -> None:
    async def broken(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise ValueError("the tracer failed")

    async with serve(answering) as server, SessionManager(http_middlewares=[broken]) as manager:
        client = VideoClient(APP_ID, APP_KEY, server.base_url, session=manager, retry=ONCE)
        # What a middleware of aiohttp has sent is not known, so a create ends unknown.
        with pytest.raises((ValueError, CreateOutcomeUnknown), match="tracer") as failed:
            await one_call(client, server, operation, tmp_path)
        assert leaks_of(failed.value) == set()


@PATHS
async def test_no_frame_of_a_middleware_check_that_raises_holds_a_secret(fast: bool) -> None:
    def check(value: object) -> bool:
        raise LookupError("the check failed")

    async def checking(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, accepts=check))

    async with serve(GOOD) as server, client_on(server.base_url, fast, retry=ONCE, middleware=[checking]) as client:
        with pytest.raises(LookupError) as failed:
            await client.rooms.get(ROOM_ID)
        assert leaks_of(failed.value) == set()


@pytest.mark.parametrize(
    "given",
    [
        lambda: (APP_ID, f"{APP_KEY}\n"),
        lambda: (APP_ID, f"{APP_KEY}\ud800"),
        lambda: (f"{APP_ID}:", APP_KEY),
        lambda: (APP_ID, APP_KEY, "x"),
        lambda: {"app_id": APP_ID, "app_key": APP_KEY},
        lambda: f"{APP_ID}:{APP_KEY}",
        lambda: ("", APP_KEY),
    ],
    ids=["control", "surrogate", "colon", "triple", "mapping", "text", "empty"],
)
@pytest.mark.parametrize("awaited", [False, True], ids=["plain", "async"])
async def test_no_frame_of_unusable_credentials_holds_them(given: Callable[[], Any], awaited: bool) -> None:
    async def later() -> Any:
        return given()

    source: Any = later if awaited else given
    async with VideoClient(base_url="http://127.0.0.1:9/v2", credentials=source) as client:
        with pytest.raises(ConfigurationError) as failed:
            await client.rooms.get(ROOM_ID)
    assert leaks_of(failed.value) == set()


async def test_refused_header_of_a_middleware_leaves_no_secret_in_frames() -> None:
    async def adding(request: Request, send: Send) -> Outcome:
        return await send(attrs.evolve(request, headers={"X-Trace": "bad\r\nvalue"}))

    for fast in (True, False):
        async with serve(GOOD) as server, client_on(server.base_url, fast, middleware=[adding]) as client:
            await client.warm_up(0)
            with pytest.raises(ConfigurationError) as failed:
                await client.rooms.get(ROOM_ID)
            assert leaks_of(failed.value) == set()


@PATHS
async def test_closed_client_leaves_no_secret_in_frames(fast: bool) -> None:
    async with serve(silent) as server, client_on(server.base_url, fast) as client:
        call = asyncio.ensure_future(client.rooms.create(name="Stand-up"))
        while not server.requests:
            await asyncio.sleep(0.005)
        await client.aclose()
        with pytest.raises(CreateOutcomeUnknown) as failed:
            await call
    assert leaks_of(failed.value) == set()


async def test_rate_limited_call_leaves_no_secret_in_frames() -> None:
    async with serve(repeating(answer(429, {"result": 10104}, {"Retry-After": "300"}))) as server:
        async with client_on(server.base_url, True, timeout=1) as client:
            for _ in range(2):
                with pytest.raises(RateLimited) as failed:
                    await client.rooms.get(ROOM_ID)
                assert leaks_of(failed.value) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        {"base_url": "ftp://x"},
        {"app_key": APP_KEY + "\n"},
        {"app_id": "a:b"},
        {"settle": -1},
        {"recording_auth": ("user", APP_KEY), "settle": -1},
    ],
)
def test_frames_of_a_configuration_error_hold_no_key(arguments: dict[str, Any]) -> None:
    wrong = {"app_id": APP_ID, "app_key": APP_KEY, **arguments}
    with pytest.raises(videoapi.ConfigurationError) as failed:
        videoapi.VideoClient(**wrong)
    trace = failed.value.__traceback__
    assert trace is not None
    # Not the frame of this test.
    assert leaks_of(failed.value.with_traceback(trace.tb_next)) == set()


def test_frames_of_missing_credentials_do_not_hold_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOAPI_APP_ID", raising=False)
    monkeypatch.setenv("VIDEOAPI_APP_KEY", APP_KEY)
    with pytest.raises(videoapi.ConfigurationError) as failed:
        videoapi.VideoClient()
    assert leaks_of(failed.value) == set()
