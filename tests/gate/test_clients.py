"""Clients that share a rate through Redis: whatever happens to Redis, no call fails, and nothing stays open."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support.redis_server import RedisServer
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import RedisGate, SessionManager, VideoClient, blocking
from videoapi.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox().in_thread() as running:
        yield running


@pytest.fixture
async def service() -> AsyncIterator[Server]:
    async with serve(repeating(answer(200, room()))) as server:
        yield server


def client_of(service: Server, redis: RedisServer, app_id: str = "id", **options: Any) -> VideoClient:
    given: dict[str, Any] = {"rate": "800/s", "gate": RedisGate(redis.url, processes=4)} | options
    return VideoClient(app_id, "made-up-key", service.base_url, **given)


def connected(redis: RedisServer) -> int:
    return redis.command("CLIENT", "LIST").count(b"name=videoapi")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def use(client: VideoClient, state: str) -> int:
    """Make calls until the gate is in a state; return how many."""
    calls = 0
    async with asyncio.timeout(20):
        while client.stats().gate != state:
            await client.rooms.get(ROOM_ID)
            calls += 1
    return calls


async def test_calls_of_two_clients_use_one_rate(redis_server: RedisServer, service: Server) -> None:
    # Two managers, as two processes have them.
    one, two = client_of(service, redis_server, rate="40/s"), client_of(service, redis_server, rate="40/s")
    async with one, two:
        loop = asyncio.get_running_loop()
        await asyncio.gather(one.rooms.get(ROOM_ID), two.rooms.get(ROOM_ID))
        began = loop.time()
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in (one, two) * 20))
        assert loop.time() - began >= 0.9, "40 requests at 40/s"
        assert {one.stats().gate, two.stats().gate} == {"shared"}
    await until(lambda: connected(redis_server) == 0)


async def test_429_pauses_the_other_process(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    refused = asyncio.Event()

    async def script(link: Link) -> None:
        while True:
            await link.request()
            if refused.is_set():
                link.answer(200, room())
            else:
                refused.set()
                link.answer(429, b"later", {"Retry-After": "1"})

    async with serve(script) as server:
        one, two = client_of(server, redis_server), client_of(server, redis_server)
        async with one, two:
            first = asyncio.create_task(one.rooms.get(ROOM_ID))
            await refused.wait()
            await until(lambda: one.stats().pause_left)
            await asyncio.sleep(0.1)
            second = asyncio.create_task(two.rooms.get(ROOM_ID))
            await until(lambda: two.stats().pause_left)
            assert len(server.requests) == 1
            await asyncio.gather(first, second)
    assert "paused for" in caplog.text
    assert "in another process" in caplog.text


DISTURBANCES: list[tuple[str, Callable[[RedisServer], object], Callable[[RedisServer], object]]] = [
    ("killed", RedisServer.stop, RedisServer.start),
    ("paused", RedisServer.pause, RedisServer.resume),
    (
        "full",
        lambda redis: redis.command("CONFIG", "SET", "maxmemory", "1"),
        lambda redis: redis.command("CONFIG", "SET", "maxmemory", "0"),
    ),
    (
        "read-only",
        lambda redis: redis.command("REPLICAOF", "127.0.0.1", "1"),
        lambda redis: redis.command("REPLICAOF", "NO", "ONE"),
    ),
    (
        "password",
        lambda redis: (
            redis.command("CONFIG", "SET", "requirepass", "another"),
            redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"),
        ),
        lambda redis: redis.command_as("another", "CONFIG", "SET", "requirepass", ""),
    ),
]


@pytest.mark.parametrize(("disturb", "restore"), [pair[1:] for pair in DISTURBANCES], ids=[d[0] for d in DISTURBANCES])
async def test_no_call_fails_because_of_redis(
    disturb: Callable[[RedisServer], object],
    restore: Callable[[RedisServer], object],
    redis_server: RedisServer,
    service: Server,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "videoapi.pipeline.outage")
    async with client_of(service, redis_server) as client:
        await use(client, "shared")
        disturb(redis_server)
        await use(client, "fallback")
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
        restore(redis_server)
        await use(client, "shared")
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
    said = [record for record in caplog.records if record.name == "videoapi.pipeline.outage"]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert f"RedisGate at 127.0.0.1:{redis_server.port} failed: " in said[0].getMessage()


async def test_flushed_server_is_no_outage(
    redis_server: RedisServer, service: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(service, redis_server) as client:
        await client.rooms.get(ROOM_ID)
        redis_server.command("FLUSHALL")
        redis_server.command("SCRIPT", "FLUSH")
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
        assert client.stats().gate == "shared"
    assert not caplog.records


async def test_hundred_accounts_in_an_outage_make_few_connections(
    redis_server: RedisServer, service: Server, caplog: pytest.LogCaptureFixture
) -> None:
    gate = RedisGate(redis_server.url, processes=1)
    async with SessionManager() as manager:
        clients = [client_of(service, redis_server, f"id-{n}", session=manager, gate=gate) for n in range(100)]
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in clients))
        assert connected(redis_server) <= 8
        # A busy machine may have been too slow for a hundred at once.
        await use(clients[0], "shared")
        caplog.clear()
        redis_server.stop()
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in clients))
        await asyncio.gather(*(client.rooms.get(ROOM_ID) for client in clients))
        assert {client.stats().gate for client in clients} == {"fallback"}
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
        redis_server.start()
        await use(clients[0], "shared")
        await asyncio.gather(*(client.aclose() for client in clients[:-1]))
        await clients[-1].rooms.get(ROOM_ID)
        await clients[-1].aclose()
    await until(lambda: connected(redis_server) == 0)


async def test_url_is_in_no_log(service: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = RedisGate("redis://ann:made-up-secret@127.0.0.1:1/0", processes=2)
    async with VideoClient("id", "key", service.base_url, rate="100/s", gate=gate) as client:
        await client.rooms.get(ROOM_ID)
    assert "RedisGate at 127.0.0.1:1 failed" in caplog.text
    assert "made-up-secret" not in caplog.text


async def test_bulk_and_streams_share_the_rate(redis_server: RedisServer) -> None:
    async with Sandbox() as sandbox:
        gate = RedisGate(redis_server.url, processes=1)
        options: dict[str, Any] = {"rate": "400/s", "gate": gate}
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, **options) as client:
            rooms = [(await client.rooms.create(name=f"Room {number}")).room_id for number in range(3)]
            report = await client.rooms.delete_many(rooms)
            assert report.counts == {"deleted": 3}
            assert [found async for found in client.rooms.list()] == []
            assert client.stats().gate == "shared"


# Threads, loops and the environment.


def test_blocking_client_takes_a_gate(redis_server: RedisServer, sandbox: Sandbox) -> None:
    gate = RedisGate(redis_server.url, processes=1, rate="400/s")
    options: dict[str, Any] = {"app_id": sandbox.app_id, "app_key": sandbox.app_key, "base_url": sandbox.base_url}
    with blocking.VideoClient(gate=gate, **options) as client:
        created = client.rooms.create(name="Stand-up")
        threads = [threading.Thread(target=client.rooms.get, args=(created.room_id,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = time.monotonic() + 20
        while client.stats().gate != "shared" and time.monotonic() < end:
            client.rooms.get(created.room_id)
        assert client.stats().gate == "shared"
        assert connected(redis_server) >= 1
    assert connected(redis_server) == 0
    # The same gate, in another event loop.
    with blocking.VideoClient(gate=gate, **options) as client:
        client.rooms.get(created.room_id)


def test_one_gate_serves_event_loops_one_after_another(redis_server: RedisServer, sandbox: Sandbox) -> None:
    gate = RedisGate(redis_server.url, processes=1, rate="400/s")

    async def once() -> str:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, gate=gate) as client:
            async with asyncio.timeout(20):
                while client.stats().gate != "shared" or not client.stats().connections_open:
                    await client.rooms.list().to_list()
            return client.stats().gate

    assert [asyncio.run(once()) for _ in range(3)] == ["shared"] * 3
    assert connected(redis_server) == 0


async def test_rate_of_the_environment_is_used(
    redis_server: RedisServer, service: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOAPI_REDIS", redis_server.url)
    monkeypatch.setenv("VIDEOAPI_PROCESSES", "4")
    monkeypatch.setenv("VIDEOAPI_RATE", "400/s")
    async with VideoClient("id", "key", service.base_url, gate=RedisGate.from_env()) as client:
        await client.rooms.get(ROOM_ID)
        assert (client.stats().gate, client._pipeline.account.rate) == ("shared", "400/s")


async def test_closing_while_redis_hangs_takes_a_moment(redis_server: RedisServer, service: Server) -> None:
    client = client_of(service, redis_server)
    await client.rooms.get(ROOM_ID)
    redis_server.pause()
    call = asyncio.create_task(client.rooms.get(ROOM_ID))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        await client.aclose()
    (ended,) = await asyncio.gather(call, return_exceptions=True)
    assert "closed" in str(ended)


def test_threads_share_the_part_of_their_process(sandbox: Sandbox) -> None:
    gate = RedisGate("redis://127.0.0.1:1", processes=1)

    def work() -> None:
        with blocking.VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, rate="40/s", gate=gate) as client:
            for _ in range(8):
                client.rooms.create(name="Stand-up")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    traffic = sandbox.traffic().total
    assert traffic.requests == 32
    # Half of the rate. Each at its own would send all within 0.4 s.
    assert traffic.worst_second <= 26
