"""Connection failures: no request was sent, so every call may be retried."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import os
import resource
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from support.clients import EAGER, ONCE, OPERATIONS, Skipped, call, client_for
from support.names import Answers, Resolver, name_server
from support.namespaces import inside, namespace, why_not
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    AttemptEvent,
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    ProtocolError,
    SessionManager,
    VideoAPIError,
)
from videoapi.transport.connector import Connector

SCENES = Path(__file__).with_name("in_namespace.py")
NAME = "api.videoapi.test"
GOOD = repeating(answer(200, room()))


@pytest.fixture(scope="module")
def needs_namespace() -> None:
    if reason := why_not():
        pytest.skip(reason)


@contextlib.asynccontextmanager
async def resolving(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> AsyncIterator[None]:
    """Resolve names with a name server of the test."""
    async with name_server(answers) as address:
        connector = functools.partial(Connector, resolver=Resolver(address), use_dns_cache=False)
        monkeypatch.setattr("videoapi.transport.pool.Connector", connector)
        yield


@contextlib.contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Listen with a full backlog, so that further SYNs get no reply."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((host, port))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port


def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def lowest_free() -> int:
    """Return the number of the next file descriptor."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def says_not_sent(error: VideoAPIError) -> bool:
    """Return whether the error says that nothing was sent."""
    return not error.may_have_executed and error.status is None and "Not sent." in str(error)


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL"])
async def test_f01_unresolvable_name(monkeypatch: pytest.MonkeyPatch, rcode: str) -> None:
    """F01 | NXDOMAIN or SERVFAIL | not sent; retried, then `ConnectionFailed` | dnslib

    aiohttp raises ClientConnectorDNSError.
    """
    queries: list[int] = []

    def answers(number: int) -> str:
        queries.append(number)
        return rcode

    async with resolving(monkeypatch, answers), client_for(f"http://{NAME}:9/v2", allow_http=True) as client:
        for operation in ("get", "update", "token"):
            queries.clear()
            with pytest.raises(ConnectionFailed, match=f"cannot resolve {NAME}:9: ") as failed:
                await call(client, operation)
            assert says_not_sent(failed.value)
            assert failed.value.retryable
            assert failed.value.attempts == len(queries) == 3


async def test_f01_name_that_resolves_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """F01 | a name that resolves at the sixth query | not sent, so a create gets more than three attempts | dnslib"""
    async with serve(GOOD) as server:
        async with resolving(monkeypatch, lambda number: ["127.0.0.1"] if number > 5 else "SERVFAIL"):
            async with client_for(f"http://{NAME}:{server.port}/v2", allow_http=True) as client:
                assert await call(client, "create")
        assert len(server.requests) == 1


async def test_f02_silent_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """F02 | DNS server never responds | `attempt_timeout` ends it; not sent | silent dnslib"""
    async with resolving(monkeypatch, lambda number: None):
        options = {"allow_http": True, "attempt_timeout": 0.1}
        async with client_for(f"http://{NAME}:9/v2", **options) as client, asyncio.timeout(5):
            with pytest.raises(CallTimeout) as failed:
                await call(client, "get")
            assert says_not_sent(failed.value)
            assert failed.value.attempts == 3
            with pytest.raises(CallTimeout) as failed:
                await call(client.with_options(timeout=0.3), "create")
            assert says_not_sent(failed.value)


@pytest.mark.parametrize("first", ["refuses", "swallows"])
async def test_f03_first_of_two_addresses_is_dead(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """F03 | two A records, the first dead | the second is used; the event's `seconds` include the wait | dnslib"""
    events: list[object] = []
    async with serve(GOOD) as server, contextlib.AsyncExitStack() as stack:
        if first == "swallows":
            stack.enter_context(full_backlog("127.0.0.2", server.port))
        await stack.enter_async_context(resolving(monkeypatch, lambda number: ["127.0.0.2", "127.0.0.1"]))
        base = f"http://{NAME}:{server.port}/v2"
        async with client_for(base, allow_http=True, retry=ONCE, listeners=[events.append]) as client:
            await call(client, "get")
    (attempt,) = (event for event in events if isinstance(event, AttemptEvent))
    assert attempt.verdict == "done"
    if first == "swallows":
        assert 0.2 < attempt.seconds < 2


@pytest.mark.parametrize("scene", ["f01", "f02"])
def test_f01_f02_system_resolver(needs_namespace: None, scene: str) -> None:
    """F01 | NXDOMAIN, SERVFAIL, then an address | succeeds at the third attempt | getaddrinfo in a network namespace
    F02 | getaddrinfo hangs in its thread | the call ends within its timeout | getaddrinfo in a network namespace
    """
    with namespace(scene, name_server="127.0.0.1") as name:
        inside(name, SCENES, scene)


def test_f03_first_address_on_a_dead_network(needs_namespace: None) -> None:
    """F03 | first address on a dead network | the second is used 0.25 s later | veth in a network namespace"""
    with namespace("f03", name_server="127.0.0.1") as name:
        assert 0.2 < float(inside(name, SCENES, "f03")) < 2


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f04_connection_refused(operation: str) -> None:
    """F04 | connection refused | not sent; every kind of call is retried | closed port

    aiohttp raises ClientConnectorError; connect() has not returned.
    """
    events: list[object] = []
    port = closed_port()
    async with Skipped().manager() as manager:
        base = f"http://127.0.0.1:{port}/v2"
        client = client_for(base, session=manager, listeners=[events.append], timeout=2)
        with pytest.raises(ConnectionFailed, match=rf"127\.0\.0\.1:{port}: Connection refused \(errno \d+\)") as failed:
            await call(client, operation)
    assert says_not_sent(failed.value)
    assert failed.value.retryable
    attempts = [event.verdict for event in events if isinstance(event, AttemptEvent)]
    assert attempts == ["not_sent"] * failed.value.attempts
    assert len(attempts) >= 3 if operation == "create" else len(attempts) == 3


async def test_f05_syn_without_a_reply() -> None:
    """F05 | SYN without a reply | `connect_timeout` ends it; not sent | full backlog

    aiohttp raises ConnectionTimeoutError at sock_connect.
    """
    with full_backlog() as port:
        async with SessionManager(connect_timeout=0.1) as manager:
            client = client_for(f"http://127.0.0.1:{port}/v2", session=manager)
            text = rf"127\.0\.0\.1:{port} within 0\.1 s \(connect_timeout\)"
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionFailed, match=text) as failed:
                    await call(client, "get")
    assert says_not_sent(failed.value)
    assert failed.value.attempts == 3


def test_f05_syn_into_a_dead_device(needs_namespace: None) -> None:
    """F05 | SYN into a dead device | `connect_timeout` ends it; not sent | veth in a network namespace"""
    with namespace("f05") as name:
        assert "192.0.2.7:80 within 0.2 s (connect_timeout)" in inside(name, SCENES, "f05")


@pytest.mark.parametrize("end", [Link.reset, Link.close], ids=["rst", "fin"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f06_f07_connection_ends_on_accept(end: object, operation: str) -> None:
    """F06 | RST on accept | U, as it was connected: read and update retried, create sent once | SO_LINGER 0
    F07 | FIN on accept, request unread | U, as F16 | close on accept

    aiohttp raises ClientOSError and ServerDisconnectedError.
    """

    async def script(link: Link) -> None:
        end(link)  # type: ignore[operator]

    async with serve(script) as server, client_for(server.base_url) as client:
        expected = CreateOutcomeUnknown if operation == "create" else ConnectionFailed
        with pytest.raises(expected) as failed:
            await call(client, operation)
        sent = {"create": 1, "token": 2}.get(operation, 3)
        assert server.accepted == failed.value.attempts == sent
    assert failed.value.may_have_executed


CERTIFICATES = {
    "unknown-authority": ("127.0.0.1", {}, "unable to get local issuer certificate"),
    "wrong-host": ("api.example.com", {}, "certificate is not valid for '127.0.0.1'"),
    "expired": ("127.0.0.1", {"not_after": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}, "has expired"),
    "not-yet-valid": (
        "127.0.0.1",
        {"not_before": datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)},
        "is not yet valid",
    ),
}


@pytest.mark.parametrize("fault", CERTIFICATES)
async def test_f08_untrusted_certificate(authority: trustme.CA, ca_file: str, fault: str) -> None:
    """F08 | CA unknown, expired, wrong host, not yet valid | not sent, not retried; clear error message | trustme

    aiohttp raises ClientConnectorCertificateError.
    """
    host, dates, reason = CERTIFICATES[fault]
    issuer = trustme.CA() if fault == "unknown-authority" else authority
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(host, **dates).configure_cert(context)
    async with serve(GOOD, tls=context) as server, client_for(server.base_url, ca_file=ca_file) as client:
        for operation in ("get", "create"):
            text = rf"TLS verification failed for 127\.0\.0\.1:{server.port}: .*{reason}"
            with pytest.raises(ConnectionFailed, match=text) as failed:
                await call(client, operation)
            assert says_not_sent(failed.value)
            # Another CA file helps only if the issuer is unknown.
            assert ("ca_file=" in str(failed.value)) == (fault == "unknown-authority")
            assert failed.value.attempts == 1
            assert not failed.value.retryable
        assert server.requests == []


async def test_f09_silent_or_plain_http_tls_port() -> None:
    """F09 | silent TLS port, or plain HTTP on it | ends in time, not sent, no fallback to http | raw socket"""
    received: list[bytes] = []

    async def mute(link: Link) -> None:
        while data := await link.reader.read(65536):
            received.append(data)

    async def plain(link: Link) -> None:
        received.append(await link.reader.read(65536))
        link.answer(400, b"<html>this is an http port</html>", {"Connection": "close"})
        await link.gone()

    for script in (mute, plain):
        received.clear()
        async with serve(script) as server, SessionManager(connect_timeout=0.1) as manager:
            client = client_for(server.base_url.replace("http:", "https:"), session=manager, attempt_timeout=1)
            with pytest.raises(ConnectionFailed) as failed:
                await call(client, "get")
            assert says_not_sent(failed.value)
            assert server.accepted == 3
        assert all(data.startswith(b"\x16\x03") and b"GET" not in data for data in received)


async def test_f09_tls_bytes_on_a_plain_port() -> None:
    """F09 | TLS bytes on a plain port | not HTTP: U, never a status | raw socket

    aiohttp reports a status of 400 that was not received; its pure Python parser waits for a line until the FIN.
    """

    async def alert(link: Link) -> None:
        await link.request()
        link.send(b"\x15\x03\x03\x00\x02\x02\x46")
        link.close()

    async with serve(alert) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises((ProtocolError, ConnectionFailed)) as failed:
            await call(client, "get")
        assert failed.value.may_have_executed
        assert failed.value.status is None
        with pytest.raises(CreateOutcomeUnknown):
            await call(client, "create")


@pytest.mark.parametrize("trusting", [True, False], ids=["own-context", "default-context"])
@pytest.mark.parametrize("weakness", ["tls-1.1", "tls-1.0", "weak-cipher"])
async def test_f10_old_tls_and_weak_ciphers(authority: trustme.CA, ca_file: str, weakness: str, trusting: bool) -> None:
    """F10 | only TLS 1.0, TLS 1.1 or a weak cipher | rejected; not sent | restricted server contexts"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with warnings.catch_warnings():
        # The deprecated versions are intended.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = {
            "tls-1.0": ssl.TLSVersion.TLSv1,
            "tls-1.1": ssl.TLSVersion.TLSv1_1,
            "weak-cipher": ssl.TLSVersion.TLSv1_2,
        }[weakness]
    context.set_ciphers("AES128-SHA:@SECLEVEL=0" if weakness == "weak-cipher" else "ALL:@SECLEVEL=0")
    options = {"ca_file": ca_file} if trusting else {}
    async with serve(GOOD, tls=context) as server, client_for(server.base_url, **options) as client:
        with pytest.raises(ConnectionFailed) as failed:
            await call(client, "get")
        assert says_not_sent(failed.value)
        assert server.requests == []


async def test_f11_full_pool() -> None:
    """F11 | pool full for longer than `timeout` | `CallTimeout` names the limit; not sent | `max_connections=1`"""
    requested = asyncio.Event()

    async def silent(link: Link) -> None:
        await link.request()
        requested.set()
        await link.gone()

    events: list[object] = []
    async with serve(silent) as server, SessionManager(max_connections=1) as manager:
        client = client_for(server.base_url, session=manager, retry=ONCE, listeners=[events.append])
        busy = asyncio.create_task(call(client, "get"))
        await requested.wait()
        for operation in ("get", "create"):
            with pytest.raises(CallTimeout, match="max_connections") as failed:
                await call(client.with_options(timeout=0.1), operation)
            assert says_not_sent(failed.value)
        assert len(server.requests) == server.accepted == 1
        busy.cancel()
        await asyncio.wait([busy])


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast-path", "session"])
async def test_f12_no_file_descriptors_left(fast_path: bool) -> None:
    """F12 | EMFILE | not sent, no leak; works again once descriptors are free | RLIMIT_NOFILE"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve(GOOD) as server, SessionManager(fast_path=fast_path) as manager:
        client = client_for(server.base_url, session=manager, retry=ONCE)
        # Modules that are imported on first use need descriptors, too.
        async with serve(GOOD) as other, client_for(other.base_url) as first:
            await call(first, "create")
        limited = client.with_options(timeout=0.2)
        first_free = lowest_free()
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            for operation in ("get", "create"):
                with pytest.raises(ConnectionFailed, match=r"Too many open files \(errno \d+\)") as failed:
                    await call(limited, operation)
                assert says_not_sent(failed.value)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert server.requests == []
        assert lowest_free() == first_free
        await call(client, "create")
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(10)))


def test_f12_no_local_ports_left(needs_namespace: None) -> None:
    """F12 | local ports used up | one call fails, not sent; works again later | two ports in a network namespace"""
    with namespace("f12") as name:
        inside(name, SCENES, "f12")


async def test_f04_dead_host_gets_at_most_n_plus_50_attempts() -> None:
    """F04 | total outage: no listener | N calls make at most N + 50 attempts (retry budget) | closed port"""
    attempts: list[AttemptEvent] = []

    def keep(event: object) -> None:
        if isinstance(event, AttemptEvent):
            attempts.append(event)

    calls = 300
    async with Skipped().manager() as manager:
        base = f"http://127.0.0.1:{closed_port()}/v2"
        client = client_for(base, session=manager, listeners=[keep], retry=EAGER)
        ended = await asyncio.gather(
            *(call(client, OPERATIONS[turn % len(OPERATIONS)]) for turn in range(calls)), return_exceptions=True
        )
    assert all(isinstance(error, ConnectionFailed) and says_not_sent(error) for error in ended)
    assert calls < len(attempts) <= calls + 50
