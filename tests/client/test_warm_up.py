"""`warm_up` opens connections and builds decoders before traffic, without sending an API request."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable

import aioresponses
import pytest
import trustme
from support.gateways import free_port
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import (
    ConfigurationError,
    ConnectionFailed,
    RetryPolicy,
    SessionManager,
    VideoClient,
)
from videoapi.transport.connector import Connector

DONE = repeating(answer(200, room()))
ONCE = RetryPolicy(attempts=1)


async def silent(link: Link) -> None:
    await link.gone()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def closed(server: Server) -> int:
    """Return the number of connections that the server has seen closed."""
    return sum(link.reader.at_eof() or link.reader.exception() is not None for link in server.links)


def free_now(manager: SessionManager) -> int:
    return manager.pool.permits.free


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def run_on(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        async def run() -> None:
            await main()

        runner.run(run())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_calls_after_warm_up_open_no_connection(loop: str, tls: bool, authority: trustme.CA, ca_file: str) -> None:
    async def main() -> None:
        async with serve(DONE, tls=server_tls(authority) if tls else None) as server:
            async with VideoClient("id", "key", server.base_url, ca_file=ca_file) as client:
                assert await client.warm_up(5) == 5
                await wait_until(lambda: server.accepted == 5)
                # Over TLS, the session tickets may still be in transit.
                await asyncio.sleep(0.05)
                assert server.requests == []
                await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(5)))
            assert server.accepted == 5
            assert {seen.connection for seen in server.requests} == {1, 2, 3, 4, 5}

    run_on(loop, main)


async def test_idle_connections_count() -> None:
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        assert await client.warm_up(3) == 3
        assert await client.warm_up() == 1
        await wait_until(lambda: server.accepted == 3)
        assert len(server.requests) == 1


async def test_view_warms_the_shared_pool() -> None:
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        assert await client.with_options(timeout=5).warm_up(2) == 2
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 2


async def test_number_is_limited_by_max_connections() -> None:
    async with serve(DONE) as server, SessionManager(max_connections=4) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager)
        for number in (5, -1, True, 1.0, None):
            with pytest.raises(ConfigurationError, match="max_connections=4"):
                await client.warm_up(number)  # type: ignore[arg-type]
        assert await client.warm_up(0) == 0
        assert server.accepted == 0
        assert await client.warm_up(4) == 4


async def test_calls_in_progress_are_neither_awaited_nor_counted() -> None:
    async with serve(silent) as server, SessionManager(max_connections=2) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager)
        for number, free in ((1, 1), (2, 0)):
            asyncio.ensure_future(client.rooms.get(ROOM_ID)).add_done_callback(lambda ended: ended.exception())
            await wait_until(lambda number=number: server.accepted >= number and free_now(manager) == 2 - number)
            async with asyncio.timeout(2):
                assert await client.warm_up(2) == free
        assert free_now(manager) == 0


async def test_closed_port_is_reported_and_later_calls_work() -> None:
    port = free_port()
    async with VideoClient("id", "key-7-canary", f"http://127.0.0.1:{port}/v1") as client:
        refused = rf"cannot connect to 127\.0\.0\.1:{port}: .* \(errno {errno.ECONNREFUSED}\)\. Not sent\."
        with pytest.raises(ConnectionFailed, match=refused) as failed:
            await client.warm_up(3)
        assert failed.value.retryable
        assert not failed.value.may_have_executed
        assert failed.value.__cause__ is None
        async with serve(DONE, port=port) as server:
            await client.rooms.get(ROOM_ID)
            assert server.accepted == 1


async def test_untrusted_certificate_is_reported_with_advice(authority: trustme.CA) -> None:
    async with serve(DONE, tls=server_tls(authority)) as server, VideoClient("id", "key", server.base_url) as client:
        with pytest.raises(ConnectionFailed, match=r"local issuer certificate\. Not sent\. .*ca_file=") as failed:
            await client.warm_up(2)
        assert f"127.0.0.1:{server.port}" in str(failed.value)
        assert not failed.value.retryable
        assert server.requests == []


async def test_partial_failure_returns_the_number_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, connects = Connector.connect, 0

    async def fail_after_two(self: Connector, *arguments: object) -> object:
        nonlocal connects
        connects += 1
        if connects > 2:
            raise OSError("no more")
        return await connect(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Connector, "connect", fail_after_two)
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url) as client:
        assert await client.warm_up(5) == 2
        assert server.accepted == 2


@pytest.mark.parametrize("bound", ["connect_timeout", "attempt_timeout"])
async def test_unfinished_tls_handshake_ends_at_the_timeout(bound: str) -> None:
    limits = {"connect_timeout": 5.0, "attempt_timeout": 30.0, bound: 0.1}
    async with serve(silent) as server, SessionManager(connect_timeout=limits["connect_timeout"]) as manager:
        base = server.base_url.replace("http:", "https:")
        client = VideoClient("id", "key", base, session=manager, attempt_timeout=limits["attempt_timeout"])
        async with asyncio.timeout(3):
            with pytest.raises(ConnectionFailed, match=rf"within 0\.1 s \({bound}\)\. Not sent\."):
                await client.warm_up(3)
        await wait_until(lambda: closed(server) == 3)
        assert free_now(manager) == 64


async def test_cancellation_releases_connections_and_permits() -> None:
    async with serve(silent) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url.replace("http:", "https:"), session=manager)
        warming = asyncio.create_task(client.warm_up(3))
        await wait_until(lambda: server.accepted == 3)
        warming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await warming
        await wait_until(lambda: closed(server) == 3)
        assert free_now(manager) == 64


async def test_warm_connection_closed_by_the_server_is_not_used() -> None:
    async with serve(DONE) as server, VideoClient("id", "key", server.base_url, retry=ONCE) as client:
        assert await client.warm_up(2) == 2
        await wait_until(lambda: len(server.links) == 2)
        for link in server.links:
            # The loop has not noticed this yet when the call begins.
            link.shut()
        await client.rooms.get(ROOM_ID)
        assert [seen.connection for seen in server.requests] == [3]


async def test_closed_client_raises_configuration_error() -> None:
    async with VideoClient("id", "key", "http://127.0.0.1:9/v1") as client:
        pass
    with pytest.raises(ConfigurationError, match="closed"):
        await client.warm_up()


async def test_close_during_warm_up_raises_connection_failed() -> None:
    async with serve(silent) as server:
        manager = SessionManager(connect_timeout=0.3)
        client = VideoClient("id", "key", server.base_url.replace("http:", "https:"), session=manager)
        warming = asyncio.create_task(client.warm_up(2))
        await wait_until(lambda: server.accepted == 2)
        await manager.aclose()
        async with asyncio.timeout(3):
            with pytest.raises(ConnectionFailed, match="the client was closed"):
                await warming


def test_use_from_another_event_loop_is_rejected() -> None:
    client = VideoClient("id", "key", "http://127.0.0.1:9/v1")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.__aenter__())
        with pytest.raises(ConfigurationError, match="one client for each"):
            second.run(client.warm_up())
        first.run(client.aclose())


async def test_tunnels_are_opened_through_a_proxy(authority: trustme.CA, ca_file: str) -> None:
    async def tunnel(link: Link) -> None:
        await link.request()
        link.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await link.writer.start_tls(server_tls(authority))
        await DONE(link)

    async with serve(tunnel) as proxy:
        client = VideoClient("id", "key", "https://127.0.0.1:9/v1", proxy=proxy.origin, ca_file=ca_file)
        async with client:
            assert await client.warm_up(2) == 2
            await client.rooms.get(ROOM_ID)
        assert [seen.method for seen in proxy.requests] == ["CONNECT", "CONNECT", "GET"]


async def test_proxy_rejection_error_does_not_contain_the_password() -> None:
    async def refuse(link: Link) -> None:
        await link.request()
        link.answer(407, b"", {"Proxy-Authenticate": "Basic"})
        await link.gone()

    async with serve(refuse) as proxy:
        address = proxy.origin.replace("://", "://user:canary-password@")
        async with VideoClient("id", "key", "https://api.example.invalid/v1", proxy=address) as client:
            with pytest.raises(ConnectionFailed) as failed:
                await client.warm_up()
    assert f"127.0.0.1:{proxy.port}" in str(failed.value)
    assert failed.value.status == 407
    assert not failed.value.retryable
    assert "canary" not in f"{failed.value} {failed.value!r}"
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__ or failed.value.__context__ is None


async def test_session_middlewares_are_not_called() -> None:
    seen: list[object] = []

    async def middleware(request: object, handler: Callable[[object], Awaitable[object]]) -> object:
        seen.append(request)
        return await handler(request)

    async with serve(DONE) as server, SessionManager(http_middlewares=[middleware]) as manager:  # type: ignore[list-item]
        client = VideoClient("id", "key", server.base_url, session=manager)
        assert await client.warm_up(2) == 2
        assert seen == []
        await client.rooms.get(ROOM_ID)
        assert len(seen) == 1


async def test_mocked_session_opens_no_connection(
    videoapi_aioresponses: aioresponses.aioresponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*arguments: object) -> None:
        raise AssertionError("a test with canned answers reached for the network")

    monkeypatch.setattr(Connector, "connect", never)
    async with VideoClient("id", "key", "https://api.example.com/v1") as client:
        assert await client.warm_up(3) == 0


PROGRAM = """
    import asyncio, sys
    from support.server import ROOM_ID, room, serve
    from videoapi import VideoClient

    async def script(link):
        while True:
            seen = await link.request()
            if "/cdr/" in seen.target:
                link.answer(200, {"result": 0, "cdr": [{"trans_date": 5, "room_id": ROOM_ID, "conf_num": 12}]})
            elif "/archive/" in seen.target:
                link.answer(200, {"result": 0, "archive": [{"trans_id": 5}]})
            elif seen.target.endswith("/dialin/"):
                link.answer(200, {"result": 0, "dialin": 5})
            elif seen.target.endswith("/tokens"):
                link.answer(200, {"result": 0, "token": 5})
            elif seen.target.endswith("/users"):
                link.answer(200, {"result": 0, "users": [{"name": 5}]})
            else:
                link.answer(200, room(name=5))

    async def calls(client):
        await client.rooms.get(ROOM_ID)
        await client.rooms.users(ROOM_ID)
        await client.tokens.create(ROOM_ID, name="Ann", role="moderator", user_ref="u-1")
        await client.cdr.by_room(ROOM_ID).to_list()
        await client.archives.by_room(ROOM_ID).to_list()

    async def main():
        async with serve(script) as server, VideoClient("id", "key", server.base_url) as client:
            if "warm" in sys.argv:
                await client.warm_up()
            before = set(sys.modules)
            await calls(client)
            print(*sorted(set(sys.modules) - before))

    asyncio.run(main())
"""


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_tolerant_decoding_after_warm_up_imports_nothing(warm: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM), "warm" if warm else "cold"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    later = set(done.stdout.split())
    assert later == set() if warm else {"cattrs", "videoapi.models.converter", "videoapi.streaming"} <= later
