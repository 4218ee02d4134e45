"""Opening, sharing and closing clients: misuse raises a clear error, and no resources leak."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import textwrap

import pytest
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    ConfigurationError,
    ConnectionFailed,
    CreateOutcomeUnknown,
    RetryPolicy,
    SessionManager,
    VideoAPIError,
    VideoClient,
)
from videoapi.pipeline.clock import Clock

DONE = repeating(answer(200, room()))


async def silent(link: Link) -> None:
    await link.request()
    await link.gone()


async def test_closed_client_raises_configuration_error() -> None:
    async with serve(DONE) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await client.rooms.get(ROOM_ID)
        for call in (
            client.rooms.get(ROOM_ID),
            client.rooms.create(name="Stand-up", on_unknown="strict"),
            client.rooms.list().to_list(),
        ):
            with pytest.raises(ConfigurationError, match="closed"):
                await call
        with pytest.raises(ConfigurationError, match="closed"):
            async with client:
                pass
        assert len(server.requests) == 1


async def test_close_is_safe_when_repeated_or_unused() -> None:
    client = VideoClient("id", "key", "http://127.0.0.1:9/v1")
    await client.aclose()
    await client.aclose()
    manager = SessionManager()
    await manager.aclose()
    await manager.aclose()
    assert manager.closed


def test_use_from_another_event_loop_is_rejected() -> None:
    client = VideoClient("id", "key", "http://127.0.0.1:9/v1")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(client.__aenter__())
        with pytest.raises(ConfigurationError, match="one client for each"):
            second.run(client.rooms.get(ROOM_ID))
        first.run(client.aclose())


async def test_client_can_be_created_outside_an_event_loop() -> None:
    client = await asyncio.to_thread(VideoClient, "id", "key", "http://127.0.0.1:9/v1")
    async with client:
        with pytest.raises(ConnectionFailed):
            await client.with_options(retry=RetryPolicy(attempts=1)).rooms.get(ROOM_ID)


async def test_two_projects_share_only_the_pool() -> None:
    async with serve(DONE) as server, SessionManager(max_connections=4) as manager:
        first = VideoClient("one", "key-1", server.base_url, session=manager)
        second = VideoClient("two", "key-2", server.base_url, session=manager)
        for client in (first, second, first, second):
            await client.rooms.get(ROOM_ID)
        assert server.accepted == 1
        logins = [base64.b64decode(seen.headers["authorization"][6:]).decode() for seen in server.requests]
        assert logins == ["one:key-1", "two:key-2"] * 2

        await first.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await first.rooms.get(ROOM_ID)
        await second.rooms.get(ROOM_ID)
        assert server.accepted == 1
    with pytest.raises(ConfigurationError, match="closed"):
        await second.rooms.get(ROOM_ID)


async def test_async_with_closes_the_client_but_not_a_shared_pool() -> None:
    async with serve(DONE) as server, SessionManager() as manager:
        for _ in range(2):
            async with VideoClient("id", "key", server.base_url, session=manager) as client:
                await client.rooms.get(ROOM_ID)
        assert not manager.closed
        assert server.accepted == 1


@pytest.mark.parametrize("option", [{"proxy": "http://proxy"}, {"trust_env": True}, {"ca_file": "ca.pem"}])
async def test_pool_options_are_rejected_with_a_shared_session_manager(option: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="SessionManager"):
        VideoClient("id", "key", session=SessionManager(), **option)  # type: ignore[arg-type]


async def test_view_shares_the_pool_and_does_not_close_it() -> None:
    async with serve(DONE) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await client.rooms.get(ROOM_ID)
            view = client.with_options(timeout=5, retry=RetryPolicy(attempts=1))
            await view.rooms.get(ROOM_ID)
            async with view:
                pass
            await view.aclose()
            await client.rooms.get(ROOM_ID)
            assert server.accepted == 1
        with pytest.raises(ConfigurationError, match="closed"):
            await view.rooms.get(ROOM_ID)


async def test_view_keeps_options_that_are_not_changed() -> None:
    async with VideoClient("id", "key", "http://127.0.0.1:9/v1", timeout=7, attempt_timeout=3) as client:
        view = client.with_options(retry=RetryPolicy(attempts=2)).with_options(attempt_timeout=1)
        options = view._pipeline.options
        assert (options.timeout, options.attempt_timeout, options.retry.attempts) == (7, 1, 2)
        assert client._pipeline.options.retry.attempts == 3
        with pytest.raises(ConfigurationError):
            client.with_options(timeout=0)


@pytest.mark.parametrize("max_connections", [64, 1])
async def test_close_ends_calls_in_flight_with_a_library_error(max_connections: int) -> None:
    """Calls waiting for a connection also end, and none ends with CancelledError."""
    async with serve(silent) as server, SessionManager(max_connections=max_connections) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager)
        calls = [
            asyncio.create_task(call)
            for call in (
                client.rooms.create(name="Stand-up", on_unknown="strict"),
                client.rooms.get(ROOM_ID),
                client.rooms.delete(ROOM_ID),
                client.rooms.list().to_list(),
            )
        ]
        while len(server.requests) < (4 if max_connections > 1 else 2):
            await asyncio.sleep(0)
        await manager.aclose()
        async with asyncio.timeout(5):
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, VideoAPIError) for error in ended), ended
    assert all("closed" in str(error) for error in ended), ended
    assert isinstance(ended[0], CreateOutcomeUnknown)
    sent = {seen.method for seen in server.requests}
    deleted = ended[2]
    assert isinstance(deleted, VideoAPIError)
    assert deleted.may_have_executed == ("DELETE" in sent)


async def test_close_during_backoff_reports_the_first_attempt() -> None:
    async def script(link: Link) -> None:
        await link.request()
        link.reset()

    async def close_during_sleep(seconds: float) -> None:
        await manager.aclose()

    async with serve(script) as server:
        manager = SessionManager(clock=Clock(sleep=close_during_sleep))
        client = VideoClient("id", "key", server.base_url, session=manager)
        with pytest.raises(ConfigurationError, match="closed") as failed:
            await client.rooms.delete(ROOM_ID)
        assert len(server.requests) == 1
    assert failed.value.may_have_executed
    assert failed.value.attempts == 1


async def test_close_during_dns_lookup_raises_connection_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested = asyncio.Event()

    async def never(*args: object, **options: object) -> None:
        requested.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    client = VideoClient("id", "key", "https://api.example.com/v1")
    call = asyncio.create_task(client.rooms.create(name="Stand-up", on_unknown="strict"))
    await requested.wait()
    await client.aclose()
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionFailed, match="closed") as failed:
            await call
    assert not failed.value.may_have_executed


async def test_thousands_of_tasks_share_one_client() -> None:
    async with serve(DONE) as server, SessionManager(max_connections=8) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager)
        rooms = await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(3000)))
        assert len(rooms) == len(server.requests) == 3000
        assert server.accepted <= 8
        assert manager.pool.permits.free == 8


PROGRAM = """
    import asyncio, gc, sys
    from support.server import answer, repeating, room, serve
    from videoapi import NotFound, VideoAPIError, VideoClient

    async def script(link):
        while True:
            seen = await link.request()
            if seen.target.endswith("gone1234"):
                link.answer(404, {"result": 40001, "error": "[Reason] Room not found", "desc": ""})
            elif seen.target.endswith("cut12345"):
                link.send(answer(200, room())[:-5])
                link.close()
            elif seen.target.endswith("/rooms") and seen.method == "GET":
                link.answer(200, {"result": 0, "rooms": [{"room_id": "abc12345"}] * 1000})
            elif seen.target.endswith("hang1234"):
                await link.gone()
            else:
                link.answer(200, room("abc12345"))

    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60
        tls = ca_file = None
        if "tls" in sys.argv:
            import ssl, trustme
            authority = trustme.CA()
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("127.0.0.1").configure_cert(tls)
            authority.cert_pem.write_to_path(ca_file := sys.argv[-1])
        async with serve(script, tls=tls) as server:
            async with VideoClient("id", "key", server.base_url, ca_file=ca_file) as client:
                await client.rooms.get("abc12345")
                async for _ in client.rooms.list():
                    break
                async with client.rooms.list() as rooms:
                    async for _ in rooms:
                        break
                await client.rooms.list().to_list()
                for bad in ("gone1234", "cut12345", "hang1234"):
                    try:
                        await client.with_options(timeout=0.3).rooms.get(bad)
                    except VideoAPIError:
                        pass
                await asyncio.gather(*(client.rooms.get("abc12345") for _ in range(20)))
                hanging = asyncio.create_task(client.rooms.get("hang1234"))
                await asyncio.sleep(0.02)
                hanging.cancel()
                await asyncio.wait([hanging])
                try:
                    await client.rooms.get("gone1234")
                except NotFound:
                    pass
        gc.collect()

    asyncio.run(main())
    gc.collect()
    print("done")
"""


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_no_resource_warnings_are_emitted(kind: str, tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(PROGRAM), kind, f"{tmp_path}/ca.pem"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "done\n", done.stderr
    assert done.stderr == ""
