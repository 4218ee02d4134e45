"""Accounts: which calls share pause, rate and retry budget, and how long that state lives."""

from __future__ import annotations

import asyncio
import base64
import gc
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import pytest
from support.clients import EAGER, ONCE, Skipped
from support.server import ROOM_ID, Link, Seen, Server, answer, repeating, room, serve

from videoapi import (
    ConfigurationError,
    Credentials,
    Outcome,
    RateLimited,
    Request,
    Send,
    ServerFault,
    SessionManager,
    VideoClient,
)

CLOSED_CLIENTS = 1000
MIB = 1024 * 1024


def app_id_of(seen: Seen) -> str:
    return base64.b64decode(seen.headers["authorization"].removeprefix("Basic ")).decode().partition(":")[0]


def throttling(*app_ids: str, retry_after: int = 299) -> Callable[[Link], object]:
    """Return a script that responds with 429 to the given accounts, and with a room to the others."""

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if app_id_of(seen) in app_ids:
                link.answer(429, b"", {"Retry-After": str(retry_after)})
            else:
                link.answer(200, room())
            await link.drain()

    return script  # type: ignore[return-value]


def source(app_id: str) -> Callable[[], tuple[str, str]]:
    return lambda: (app_id, "key")


def sent_by(server: Server) -> Counter[str]:
    return Counter(app_id_of(seen) for seen in server.requests)


# Identity.


async def test_short_lived_callables_share_no_pause() -> None:
    refused = []
    async with serve(throttling("tenant-0")) as server, SessionManager() as manager:
        for number in range(20):
            credentials = source(f"tenant-{number}")
            client = VideoClient(credentials=credentials, base_url=server.base_url, session=manager, timeout=5)
            try:
                await client.rooms.get(ROOM_ID)
            except RateLimited:
                refused.append(number)
            await client.aclose()
            # The next callable may get the id of this one.
            del client, credentials
            gc.collect()
        assert sent_by(server) == {f"tenant-{number}": 1 for number in range(20)}
    assert refused == [0]


async def test_unclosed_short_lived_callables_share_no_pause() -> None:
    refused = []
    async with serve(throttling("tenant-0")) as server, SessionManager() as manager:
        for number in range(20):
            client = VideoClient(
                credentials=source(f"tenant-{number}"), base_url=server.base_url, session=manager, timeout=5
            )
            try:
                await client.rooms.get(ROOM_ID)
            except RateLimited:
                refused.append(number)
            del client
    assert refused == [0]


class Vault:
    """Holds credentials; each access to its method creates a new bound method."""

    def read(self) -> Credentials:
        return Credentials("id", "key")


async def test_bound_method_passed_twice_is_one_account() -> None:
    vault = Vault()
    async with serve(throttling("id")) as server, SessionManager() as manager:
        first, second = (
            VideoClient(credentials=vault.read, base_url=server.base_url, session=manager, timeout=5) for _ in range(2)
        )
        async with first, second:
            with pytest.raises(RateLimited):
                await first.rooms.get(ROOM_ID)
            with pytest.raises(RateLimited, match="paused") as refused:
                await second.rooms.get(ROOM_ID)
        assert len(server.requests) == 1
    assert refused.value.attempts == 0
    assert "Not sent." in str(refused.value)


async def test_callable_and_fixed_credentials_share_the_account_of_an_app_id() -> None:
    async with serve(throttling("id")) as server, SessionManager() as manager:
        first = VideoClient(credentials=source("id"), base_url=server.base_url, session=manager, timeout=5)
        second = VideoClient("id", "another key", server.base_url, session=manager, timeout=5)
        async with first, second:
            for client in (first, second):
                with pytest.raises(RateLimited):
                    await client.rooms.get(ROOM_ID)
        assert len(server.requests) == 1


async def test_account_is_that_of_the_app_id_sent_with_the_attempt() -> None:
    current = "a"
    async with serve(throttling("a")) as server:
        client = VideoClient(credentials=lambda: (current, "key"), base_url=server.base_url, timeout=5)
        async with client:
            with pytest.raises(RateLimited):
                await client.rooms.get(ROOM_ID)
            current = "b"
            await client.rooms.get(ROOM_ID)
            current = "a"
            with pytest.raises(RateLimited, match="paused"):
                await client.rooms.get(ROOM_ID)
        assert [app_id_of(seen) for seen in server.requests] == ["a", "b"]


async def test_retry_moves_to_the_account_of_its_own_credentials() -> None:
    ids = iter(["a", "b"])
    async with serve(throttling("a", retry_after=1)) as server:
        client = VideoClient(credentials=lambda: (next(ids), "key"), base_url=server.base_url, retry=EAGER)
        async with client:
            await client.rooms.get(ROOM_ID)
        assert [app_id_of(seen) for seen in server.requests] == ["a", "b"]


async def test_one_app_id_at_two_origins_is_two_accounts() -> None:
    async with serve(throttling("id")) as first, serve(throttling()) as second, SessionManager() as manager:
        one = VideoClient("id", "key", first.base_url, session=manager, timeout=5)
        two = VideoClient("id", "key", second.base_url, session=manager, timeout=5)
        async with one, two:
            with pytest.raises(RateLimited):
                await one.rooms.get(ROOM_ID)
            await two.rooms.get(ROOM_ID)


async def test_two_paths_at_one_origin_are_one_account() -> None:
    async with serve(throttling("id")) as server, SessionManager() as manager:
        one = VideoClient("id", "key", f"{server.origin}/video/v1", session=manager, timeout=5)
        two = VideoClient("id", "key", f"{server.origin}/video/v2/", session=manager, timeout=5)
        async with one, two:
            for client in (one, two):
                with pytest.raises(RateLimited):
                    await client.rooms.get(ROOM_ID)
        assert len(server.requests) == 1


tenant: ContextVar[str] = ContextVar("tenant")


async def as_tenant(name: str, call: Callable[[], object]) -> object:
    tenant.set(name)
    return await call()  # type: ignore[misc]


async def test_tenants_of_one_client_do_not_share_a_pause() -> None:
    async with serve(throttling("a", retry_after=20)) as server:
        client = VideoClient(credentials=lambda: (tenant.get(), "key"), base_url=server.base_url)
        async with client:
            paused = [asyncio.create_task(as_tenant("a", lambda: client.rooms.get(ROOM_ID))) for _ in range(20)]
            async with asyncio.timeout(10):
                while not server.requests:
                    await asyncio.sleep(0.01)
                await asyncio.gather(*(as_tenant("b", lambda: client.rooms.get(ROOM_ID)) for _ in range(20)))
            assert sent_by(server)["b"] == 20
            for task in paused:
                task.cancel()
            await asyncio.gather(*paused, return_exceptions=True)


# Lifetime.


async def test_thousand_closed_clients_leave_no_accounts() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        for number in range(CLOSED_CLIENTS):
            app_id = f"tenant-{number}"
            kind = {"credentials": source(app_id)} if number % 2 else {"app_id": app_id, "app_key": "key"}
            async with VideoClient(**kind, base_url=server.base_url, session=manager, rate="6000/min") as client:  # type: ignore[arg-type]
                await client.rooms.get(ROOM_ID)
        assert len(sent_by(server)) == CLOSED_CLIENTS
        assert len(manager.accounts) == 0
        del client
        gc.collect()
        assert len(manager._timers) == 0


async def test_clients_that_were_never_closed_leave_no_accounts() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        for number in range(50):
            client = VideoClient(f"tenant-{number}", "key", server.base_url, session=manager, rate="6/min")
            await client.rooms.get(ROOM_ID)
            del client
        gc.collect()
        async with VideoClient("last", "key", server.base_url, session=manager):
            assert len(manager.accounts) == 1


async def test_account_lives_as_long_as_its_last_open_client() -> None:
    async with serve(repeating(answer(503))) as server, Skipped().manager() as manager:

        def client() -> VideoClient:
            return VideoClient("id", "key", server.base_url, session=manager, retry=EAGER)

        async def attempts(one: VideoClient) -> int:
            with pytest.raises(ServerFault) as failed:
                await one.rooms.get(ROOM_ID)
            return failed.value.attempts

        first, second = client(), client()
        while await attempts(first) > 1:
            pass
        assert await attempts(second) == 1, "the retry budget is shared"
        await first.aclose()
        assert await attempts(second) == 1, "the account is still used"
        await second.aclose()
        assert len(manager.accounts) == 0
        async with client() as third:
            assert await attempts(third) > 1


async def test_spent_retry_budget_does_not_affect_another_account() -> None:
    async with serve(repeating(answer(503))) as server, Skipped().manager() as manager:
        one = VideoClient("one", "key", server.base_url, session=manager, retry=EAGER)
        two = VideoClient("two", "key", server.base_url, session=manager, retry=EAGER)
        async with one, two:
            for _ in range(100):
                with pytest.raises(ServerFault):
                    await one.rooms.get(ROOM_ID)
            with pytest.raises(ServerFault) as failed:
                await two.rooms.get(ROOM_ID)
    assert failed.value.attempts > 1


async def test_running_pause_outlives_its_last_client() -> None:
    time = Skipped()
    async with serve(throttling("id", retry_after=200)) as server, time.manager() as manager:

        def client(app_id: str) -> VideoClient:
            return VideoClient(app_id, "key", server.base_url, session=manager, timeout=5, retry=ONCE)

        async with client("id") as first:
            with pytest.raises(RateLimited):
                await first.rooms.get(ROOM_ID)
        assert len(manager.accounts) == 1
        async with client("id") as second, client("other") as other:
            with pytest.raises(RateLimited, match="paused"):
                await second.rooms.get(ROOM_ID)
            await other.rooms.get(ROOM_ID)
        assert sent_by(server) == {"id": 1, "other": 1}
        time._skew += 400
        async with client("id") as third:
            with pytest.raises(RateLimited):
                await third.rooms.get(ROOM_ID)
        assert sent_by(server)["id"] == 2
        time._skew += 400
        async with client("last"):
            assert len(manager.accounts) == 1


def resident() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc to read the resident memory")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def test_ten_thousand_clients_on_one_manager_use_constant_memory() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        before = 0
        for number in range(10_000):
            if number == 500:
                gc.collect()
                server.requests.clear()
                before = resident()
            client = VideoClient(credentials=source(f"tenant-{number}"), base_url=server.base_url, session=manager)
            async with client:
                if number % 10 == 0:
                    await client.rooms.get(ROOM_ID)
            if len(server.requests) > 40:
                server.requests.clear()
        gc.collect()
        assert resident() - before < 2 * MIB
        assert len(manager.accounts) == 0


# Rate.


async def seconds_of(client: VideoClient, calls: int) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(calls)))
    return clock() - began


async def test_rate_of_a_closed_client_does_not_throttle_a_later_one() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="6/min") as slow:
            await slow.rooms.get(ROOM_ID)
        async with VideoClient("id", "key", server.base_url, session=manager) as client:
            assert await seconds_of(client, 20) < 5
        async with VideoClient("id", "key", server.base_url, session=manager, rate="100/s") as client:
            assert await seconds_of(client, 20) < 5


async def test_rate_of_a_closed_client_does_not_throttle_an_open_one() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="100/s") as client:
            async with VideoClient("id", "key", server.base_url, session=manager, rate="6/min") as slow:
                await slow.rooms.get(ROOM_ID)
            assert await seconds_of(client, 20) < 5


async def test_waiting_calls_are_sent_when_the_slow_client_is_closed() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        async with VideoClient("id", "key", server.base_url, session=manager) as client:
            slow = VideoClient("id", "key", server.base_url, session=manager, rate="6/min")
            await slow.rooms.get(ROOM_ID)
            waiting = asyncio.create_task(seconds_of(client, 5))
            await asyncio.sleep(0.2)
            assert len(server.requests) == 1, "the strictest rate applies"
            await slow.aclose()
            assert await waiting < 5


async def test_strictest_rate_of_the_open_clients_applies_to_all() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        fast = VideoClient("id", "key", server.base_url, session=manager)
        slow = VideoClient("id", "key", server.base_url, session=manager, rate="5/s")
        other = VideoClient("other", "key", server.base_url, session=manager)
        async with fast, slow, other:
            assert await seconds_of(fast, 6) >= 5 * 0.2 - 0.02
            both = await asyncio.gather(seconds_of(fast, 3), seconds_of(slow, 3))
            assert max(both) >= 5 * 0.2 - 0.02
            assert await seconds_of(other, 20) < 5


async def test_rate_of_a_client_that_was_never_closed_ends_with_it() -> None:
    async with serve(throttling()) as server, SessionManager() as manager:
        slow = VideoClient("id", "key", server.base_url, session=manager, rate="6/min")
        await slow.rooms.get(ROOM_ID)
        del slow
        gc.collect()
        async with VideoClient("id", "key", server.base_url, session=manager) as client:
            assert await seconds_of(client, 20) < 5


async def test_closing_a_view_ends_no_rate() -> None:
    async with serve(throttling()) as server:
        async with VideoClient("id", "key", server.base_url, rate="5/s") as client:
            async with client.with_options(timeout=30) as view:
                await view.rooms.get(ROOM_ID)
            assert await seconds_of(client, 5) >= 5 * 0.2 - 0.02


async def test_client_closed_within_its_own_call_leaves_no_account() -> None:
    async def close(request: Request, send: Send) -> Outcome:
        await client.aclose()
        return await send(request)

    async with serve(throttling()) as server, SessionManager() as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, middleware=close, rate="6/min")
        with pytest.raises(ConfigurationError, match="closed"):
            await client.rooms.get(ROOM_ID)
        assert len(manager.accounts) == 0
    assert not server.requests
