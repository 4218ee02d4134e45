"""No connection can be made: nothing was sent, and everything may be tried again."""

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
async def named(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> AsyncIterator[None]:
    """Let names be resolved by a name server of the test's."""
    async with name_server(answers) as address:
        connector = functools.partial(Connector, resolver=Resolver(address), use_dns_cache=False)
        monkeypatch.setattr("videoapi.transport.pool.Connector", connector)
        yield


@contextlib.contextmanager
def swallowing(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Listen with a backlog that is full, so that further SYNs get no answer."""
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
    """Return the number that the next file or socket gets."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def certain(error: VideoAPIError) -> bool:
    """Tell whether the error says that nothing was sent."""
    return not error.may_have_executed and error.status is None and "Nothing was sent." in str(error)


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL"])
async def test_f01_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, rcode: str) -> None:
    """F01 | NXDOMAIN or SERVFAIL | nothing sent; tried again, then `ConnectionFailed` | dnslib behind a resolver

    obs: ClientConnectorDNSError.
    """
    asked: list[int] = []

    def answers(number: int) -> str:
        asked.append(number)
        return rcode

    async with named(monkeypatch, answers), client_for(f"http://{NAME}:9/v2", allow_http=True) as client:
        for operation in ("get", "update", "token"):
            asked.clear()
            with pytest.raises(ConnectionFailed, match="name does not resolve") as failed:
                await call(client, operation)
            assert certain(failed.value)
            assert failed.value.retryable
            assert failed.value.attempts == len(asked) == 3


async def test_f01_a_name_that_resolves_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """F01 | a name that comes back | the create goes on past three attempts, as nothing left | dnslib"""
    async with serve(GOOD) as server:
        async with named(monkeypatch, lambda number: ["127.0.0.1"] if number > 5 else "SERVFAIL"):
            async with client_for(f"http://{NAME}:{server.port}/v2", allow_http=True) as client:
                assert await call(client, "create")
        assert len(server.requests) == 1


async def test_f02_a_name_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """F02 | DNS never answers | `attempt_timeout` ends it; nothing sent | dnslib that keeps silent"""
    async with named(monkeypatch, lambda number: None):
        options = {"allow_http": True, "attempt_timeout": 0.1}
        async with client_for(f"http://{NAME}:9/v2", **options) as client, asyncio.timeout(5):
            with pytest.raises(CallTimeout) as failed:
                await call(client, "get")
            assert certain(failed.value)
            assert failed.value.attempts == 3
            with pytest.raises(CallTimeout) as failed:
                await call(client.with_options(timeout=0.3), "create")
            assert certain(failed.value)


@pytest.mark.parametrize("first", ["refuses", "swallows"])
async def test_f03_the_first_of_two_addresses_is_dead(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """F03 | two A records, the first dead | the second is used; the event's `seconds` hold the wait | dnslib"""
    events: list[object] = []
    async with serve(GOOD) as server, contextlib.AsyncExitStack() as stack:
        if first == "swallows":
            stack.enter_context(swallowing("127.0.0.2", server.port))
        await stack.enter_async_context(named(monkeypatch, lambda number: ["127.0.0.2", "127.0.0.1"]))
        base = f"http://{NAME}:{server.port}/v2"
        async with client_for(base, allow_http=True, retry=ONCE, listeners=[events.append]) as client:
            await call(client, "get")
    (attempt,) = (event for event in events if isinstance(event, AttemptEvent))
    assert attempt.verdict == "done"
    if first == "swallows":
        assert 0.2 < attempt.seconds < 2


@pytest.mark.parametrize("scene", ["f01", "f02"])
def test_f01_f02_with_the_systems_own_resolver(needs_namespace: None, scene: str) -> None:
    """F01 | NXDOMAIN, SERVFAIL, then an address | found at the third attempt | getaddrinfo in a namespace
    F02 | getaddrinfo hangs in its thread | the call ends in time | resolv.conf of a network namespace
    """
    with namespace(scene, name_server="127.0.0.1") as name:
        inside(name, SCENES, scene)


def test_f03_behind_a_route_into_nothing(needs_namespace: None) -> None:
    """F03 | first address on a dead network | the second is used 0.25 s later | veth in a namespace"""
    with namespace("f03", name_server="127.0.0.1") as name:
        assert 0.2 < float(inside(name, SCENES, "f03")) < 2


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f04_a_refused_connection(operation: str) -> None:
    """F04 | connection refused | nothing sent; every sort of call is tried again | closed port

    obs: ClientConnectorError; connect() has not returned.
    """
    events: list[object] = []
    base = f"http://127.0.0.1:{closed_port()}/v2"
    async with Skipped().manager() as manager:
        client = client_for(base, session=manager, listeners=[events.append], timeout=2)
        with pytest.raises(ConnectionFailed) as failed:
            await call(client, operation)
    assert certain(failed.value)
    assert failed.value.retryable
    attempts = [event.verdict for event in events if isinstance(event, AttemptEvent)]
    assert attempts == ["not_sent"] * failed.value.attempts
    assert len(attempts) >= 3 if operation == "create" else len(attempts) == 3


async def test_f05_a_syn_that_is_swallowed() -> None:
    """F05 | SYN without an answer | `connect_timeout` ends it; nothing sent | full backlog

    obs: ConnectionTimeoutError at sock_connect.
    """
    with swallowing() as port:
        async with SessionManager(connect_timeout=0.1) as manager:
            client = client_for(f"http://127.0.0.1:{port}/v2", session=manager)
            async with asyncio.timeout(5):
                with pytest.raises(ConnectionFailed, match="ConnectionTimeoutError") as failed:
                    await call(client, "get")
    assert certain(failed.value)
    assert failed.value.attempts == 3


def test_f05_a_device_that_drops_everything(needs_namespace: None) -> None:
    """F05 | SYN into a dead device | `connect_timeout` ends it; nothing sent | veth in a namespace"""
    with namespace("f05") as name:
        assert "ConnectionTimeoutError" in inside(name, SCENES, "f05")


@pytest.mark.parametrize("end", [Link.reset, Link.close], ids=["rst", "fin"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f06_f07_an_end_right_after_the_accept(end: object, operation: str) -> None:
    """F06 | RST on accept | U, as the connection stood: read and update again, create once | SO_LINGER 0
    F07 | accept, then FIN unread | U, the same as F16 | close at accept

    obs: ClientOSError; ServerDisconnectedError.
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
    "unknown-authority": ("127.0.0.1", {}),
    "wrong-host": ("api.example.com", {}),
    "expired": ("127.0.0.1", {"not_after": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}),
    "not-yet-valid": ("127.0.0.1", {"not_before": datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)}),
}


@pytest.mark.parametrize("fault", CERTIFICATES)
async def test_f08_a_certificate_that_is_not_to_be_trusted(authority: trustme.CA, ca_file: str, fault: str) -> None:
    """F08 | CA unknown, expired, wrong host, not yet valid | not tried again; nothing sent; told plainly | trustme

    obs: ClientConnectorCertificateError.
    """
    host, dates = CERTIFICATES[fault]
    issuer = trustme.CA() if fault == "unknown-authority" else authority
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(host, **dates).configure_cert(served)
    async with serve(GOOD, tls=served) as server, client_for(server.base_url, ca_file=ca_file) as client:
        for operation in ("get", "create"):
            with pytest.raises(ConnectionFailed, match=r"certificate is not trusted.*ca_file=") as failed:
                await call(client, operation)
            assert certain(failed.value)
            assert failed.value.attempts == 1
            assert not failed.value.retryable
        assert server.requests == []


async def test_f09_a_tls_port_that_never_speaks_or_speaks_plainly() -> None:
    """F09 | TLS port mute, or plain HTTP on it | ends in time, nothing sent, never falls back to http | raw socket"""
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
            assert certain(failed.value)
            assert server.accepted == 3
        assert all(data.startswith(b"\x16\x03") and b"GET" not in data for data in received)


async def test_f09_tls_bytes_on_a_plain_port() -> None:
    """F09 | TLS bytes on a plain port | no HTTP: U, never a status | raw socket

    obs: ClientResponseError with a status of 400 that nobody sent; the parser in Python waits for a line until the FIN.
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
    """F10 | TLS 1.0 or 1.1, or a weak cipher, only | refused; nothing sent | server contexts without the rest"""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    with warnings.catch_warnings():
        # That these are old is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        served.minimum_version = ssl.TLSVersion.TLSv1
        served.maximum_version = {
            "tls-1.0": ssl.TLSVersion.TLSv1,
            "tls-1.1": ssl.TLSVersion.TLSv1_1,
            "weak-cipher": ssl.TLSVersion.TLSv1_2,
        }[weakness]
    served.set_ciphers("AES128-SHA:@SECLEVEL=0" if weakness == "weak-cipher" else "ALL:@SECLEVEL=0")
    options = {"ca_file": ca_file} if trusting else {}
    async with serve(GOOD, tls=served) as server, client_for(server.base_url, **options) as client:
        with pytest.raises(ConnectionFailed) as failed:
            await call(client, "get")
        assert certain(failed.value)
        assert server.requests == []


async def test_f11_a_pool_that_stays_full() -> None:
    """F11 | pool full for longer than `timeout` | `CallTimeout` that names it; nothing sent | `max_connections=1`"""
    asked = asyncio.Event()

    async def silent(link: Link) -> None:
        await link.request()
        asked.set()
        await link.gone()

    events: list[object] = []
    async with serve(silent) as server, SessionManager(max_connections=1) as manager:
        client = client_for(server.base_url, session=manager, retry=ONCE, listeners=[events.append])
        busy = asyncio.create_task(call(client, "get"))
        await asked.wait()
        for operation in ("get", "create"):
            with pytest.raises(CallTimeout, match="max_connections") as failed:
                await call(client.with_options(timeout=0.1), operation)
            assert certain(failed.value)
        assert len(server.requests) == server.accepted == 1
        busy.cancel()
        await asyncio.wait([busy])


async def test_f12_no_file_descriptor_left() -> None:
    """F12 | EMFILE | nothing sent, nothing left behind, well again when there are some | RLIMIT_NOFILE"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve(GOOD) as server, client_for(server.base_url, retry=ONCE) as client:
        first_free = lowest_free()
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            for operation in ("get", "create"):
                with pytest.raises(ConnectionFailed) as failed:
                    await call(client.with_options(timeout=0.2), operation)
                assert certain(failed.value)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert server.requests == []
        assert lowest_free() == first_free
        await call(client, "create")
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(10)))


def test_f12_no_local_port_left(needs_namespace: None) -> None:
    """F12 | local ports used up | one call fails, nothing sent; well again after | two ports in a namespace"""
    with namespace("f12") as name:
        inside(name, SCENES, "f12")


async def test_f04_a_dead_host_gets_n_and_fifty_attempts() -> None:
    """F04 | total outage: nobody listens | N calls make at most N + 50 attempts; the budget ends it | closed port"""
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
    assert all(isinstance(error, ConnectionFailed) and certain(error) for error in ended)
    assert calls < len(attempts) <= calls + 50
