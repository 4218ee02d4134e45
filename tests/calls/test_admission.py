"""Admission: pause and rate are checked last, callers wait in line without permits, and nothing is lost there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import attrs
import pytest
import trustme
from support.clients import EAGER, ONCE
from support.script import Time, ask, retries_of, wire
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import AttemptEvent, CallTimeout, RateLimited, RoomSpec, SessionManager, VideoClient
from videoapi.pipeline.call import Call
from videoapi.transport.deadlines import DeadlineTimer

TOLERANCE = 1.1
"""By how much a second may exceed the rate."""


class Arrivals:
    """A server script that records when each request arrived, and answers after a delay."""

    def __init__(self, delay: float = 0.0, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.times: list[float] = []
        self.delay = delay
        self.status = status
        self.headers = headers
        self.hold: asyncio.Event | None = None

    async def __call__(self, link: Link) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            seen = await link.request()
            self.times.append(clock())
            if self.hold is not None:
                await self.hold.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            body = {"result": 0, "rooms": []} if seen.target.endswith("/rooms") else room(seen.target[-24:])
            link.answer(self.status, body if self.status == 200 else b"", self.headers)
            await link.drain()

    def most_within(self, seconds: float) -> int:
        """Return the largest number of requests in any period of that length."""
        return max(sum(at <= other < at + seconds for other in self.times) for at in self.times)


async def gets(client: VideoClient, count: int) -> list[object]:
    return await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(count)), return_exceptions=True)


async def in_background(awaitables: Iterable[Awaitable[object]]) -> list[asyncio.Task[object]]:
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    await asyncio.sleep(0)
    return tasks  # type: ignore[return-value]


async def end(tasks: list[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


# Pause.


@pytest.mark.parametrize("connections", [1, 10, 64])
async def test_no_request_leaves_after_the_first_429(connections: int) -> None:
    script = Arrivals(status=429, headers={"Retry-After": "5"})
    async with serve(script) as server, SessionManager(max_connections=connections) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, timeout=3) as client:
            ends = await gets(client, 500)
            assert manager.pool.permits.free == connections
    assert len(script.times) <= connections
    assert {type(end) for end in ends} == {RateLimited}
    assert all("Retry after" in str(end) for end in ends)


async def test_paused_calls_are_all_served_once_the_pause_ends() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "1"})
    async with serve(script) as server, SessionManager(max_connections=10) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager) as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(500))
            await asyncio.sleep(0.8)
            early = len(script.times)
            script.status, script.headers = 200, None
            ends = await asyncio.gather(*tasks)
    assert early <= 10
    assert len(ends) == 500
    assert len(script.times) <= 510
    # One second from the first 429; the request itself arrived a moment before that.
    assert script.times[early] - script.times[0] >= 1


async def test_pause_is_checked_after_waiting_for_a_permit() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "30"})
    script.hold = asyncio.Event()
    async with serve(script) as server, SessionManager(max_connections=2) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, timeout=10) as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(50))
            await until(lambda: len(script.times) == 2)
            script.hold.set()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(script.times) == 2
    assert {type(end) for end in ends} == {RateLimited}


async def test_pause_that_outlasts_a_call_is_an_error_at_once_in_line() -> None:
    """The head of the line can wait for the pause; a call in line with less time cannot."""
    clock = asyncio.get_running_loop().time
    script = Arrivals(status=429, headers={"Retry-After": "20"})
    async with serve(script) as server, VideoClient("id", "key", server.base_url, timeout=60) as client:
        waiting = await in_background([client.rooms.get(ROOM_ID)])
        await until(lambda: client._pipeline.account.throttle.closed)
        # The first call backs off; the second one is the head of the line.
        waiting += await in_background([client.rooms.get(ROOM_ID)])
        await asyncio.sleep(0.05)
        began = clock()
        with pytest.raises(RateLimited, match="paused") as refused:
            await client.with_options(timeout=5).rooms.get(ROOM_ID)
        assert clock() - began < 3
        await end(waiting)
    assert refused.value.retry_after == pytest.approx(20, abs=5)


async def test_deadline_in_a_paused_line_names_the_pause() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "20"})
    async with serve(script) as server, VideoClient("id", "key", server.base_url, timeout=60) as client:
        waiting = await in_background([client.rooms.get(ROOM_ID)])
        await until(lambda: client._pipeline.account.throttle.closed)
        # The first call backs off; the second one is the head of the line.
        waiting += await in_background([client.rooms.get(ROOM_ID)])
        await asyncio.sleep(0.05)
        with pytest.raises((RateLimited, CallTimeout)) as refused:
            await client.with_options(timeout=0.5).rooms.get(ROOM_ID)
        await end(waiting)
    assert "paused" in str(refused.value)
    assert "connection" not in str(refused.value)


async def test_long_pause_holds_no_permit() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "20"})
    async with serve(script) as server, SessionManager(max_connections=4) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager) as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(100))
            await until(lambda: script.times and manager.pool.permits.free == 4)
            for _ in range(20):
                assert manager.pool.permits.free >= 3
                await asyncio.sleep(0.01)
            await end(tasks)
            assert manager.pool.permits.free == 4


# Rate.


@pytest.mark.parametrize("delay", [0.0, 0.2, 1.0])
async def test_no_second_exceeds_the_rate_whatever_the_latency(delay: float) -> None:
    script = Arrivals(delay)
    async with serve(script) as server, SessionManager(max_connections=10) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="20/s") as client:
            await gets(client, 32)
    assert len(script.times) == 32
    assert script.most_within(1.0) <= 20 * TOLERANCE
    assert script.most_within(0.1) <= 4


@pytest.mark.parametrize(("rate", "calls"), [(20, 42), (50, 90)])
async def test_no_second_exceeds_the_rate_when_the_server_stalls(rate: int, calls: int) -> None:
    script = Arrivals()
    script.hold = asyncio.Event()
    async with serve(script) as server, SessionManager(max_connections=10) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate=f"{rate}/s") as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(calls))
            await asyncio.sleep(1.7)
            assert len(script.times) == 10, "all permits are in flight"
            script.hold.set()
            await asyncio.gather(*tasks)
    assert len(script.times) == calls
    assert script.most_within(1.0) <= rate * TOLERANCE
    assert script.most_within(0.1) <= 0.2 * rate


async def test_no_second_exceeds_the_rate_when_connecting_stalls(authority: trustme.CA, ca_file: str) -> None:
    """Connections whose TLS handshakes end at one moment must not all send at that moment."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    script, opened = Arrivals(), asyncio.Event()
    async with serve(script, tls=tls) as server, forwarding(server.port, opened) as port:
        manager = SessionManager(max_connections=10, ca_file=ca_file)
        url = f"https://127.0.0.1:{port}/video/v2"
        async with manager, VideoClient("id", "key", url, session=manager, rate="20/s") as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(35))
            await asyncio.sleep(1)
            opened.set()
            await asyncio.gather(*tasks)
    assert len(script.times) == 35
    assert script.most_within(1.0) <= 20 * TOLERANCE


@contextlib.asynccontextmanager
async def forwarding(port: int, opened: asyncio.Event) -> AsyncIterator[int]:
    """Accept connections at once, but forward no byte to the port until the event is set."""
    running: set[asyncio.Task[Any]] = set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await opened.wait()
            source, target = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(reader, target), copy(source, writer))
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            running.discard(task)

    listening = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)


async def test_idle_time_earns_no_burst() -> None:
    script = Arrivals()
    async with serve(script) as server, VideoClient("id", "key", server.base_url, rate="20/s") as client:
        await gets(client, 5)
        await asyncio.sleep(1.5)
        await gets(client, 32)
    assert script.most_within(1.0) <= 20 * TOLERANCE
    assert script.most_within(0.1) <= 4


@pytest.mark.parametrize("rate", [1, 20, 100, 400])
async def test_rate_after_an_idle_minute_on_a_virtual_clock(rate: int) -> None:
    time = Time()
    account = time.account()
    account.gate.rate.interval = 1 / rate
    transport = wire(time, "ok")
    retries = retries_of(transport, account)
    await time.run(*(send(retries, time) for _ in range(3)))
    time.now += 60
    idle_until = time.now
    await time.run(*(send(retries, time) for _ in range(3 * rate)))
    times = [at for at, _ in transport.sent if at >= idle_until]
    assert len(times) == 3 * rate
    most = max(sum(at <= other < at + 1 - 1e-6 for other in times) for at in times)
    assert most <= max(1, rate * TOLERANCE)
    # Nor is it much slower than the rate.
    assert times[-1] - times[0] <= 3.1


async def send(retries: Any, time: Time, timeout: float | None = None, **options: Any) -> Any:
    request = ask(timeout=timeout)
    request = attrs.evolve(request, options=attrs.evolve(request.options, **options))
    timer = DeadlineTimer(retries.clock.now)
    began = time.now
    call = Call(request, began, began + request.timeout, timer.start(began + request.timeout))
    try:
        return await retries.send(call, request)
    finally:
        timer.stop(call.limit)


async def test_slow_rate_holds_no_permit_for_long() -> None:
    script = Arrivals()
    async with serve(script) as server, SessionManager(max_connections=4) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="1/s") as client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(50))
            await until(lambda: script.times)
            free = []
            for _ in range(60):
                await asyncio.sleep(0.01)
                free.append(manager.pool.permits.free)
            await end(tasks)
            assert manager.pool.permits.free == 4
    assert min(free) >= 3
    assert sum(each == 4 for each in free) >= 40


async def test_attempt_timeout_starts_after_the_wait_for_the_rate() -> None:
    script = Arrivals()
    async with serve(script) as server:
        client = VideoClient("id", "key", server.base_url, rate="2/s", attempt_timeout=0.4, timeout=30, retry=ONCE)
        async with client:
            ends = await gets(client, 5)
    assert not [each for each in ends if isinstance(each, BaseException)]
    assert len(script.times) == 5


async def test_attempt_timeout_starts_after_the_pause() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "1"})
    async with serve(script) as server:
        client = VideoClient("id", "key", server.base_url, attempt_timeout=0.5, timeout=30, retry=EAGER)
        async with client:
            tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(3))
            await until(lambda: client._pipeline.account.throttle.closed)
            script.status, script.headers = 200, None
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in ends if isinstance(each, BaseException)]


# Deadlines.


async def test_deadline_in_the_rate_line_names_the_rate() -> None:
    async with serve(Arrivals()) as server:
        async with VideoClient("id", "key", server.base_url, rate="30/min", timeout=1) as client:
            ends = await gets(client, 4)
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert len(server.requests) == 1
    errors = [each for each in ends if isinstance(each, BaseException)]
    assert [type(error) for error in errors] == [CallTimeout] * 3
    for error in errors:
        assert "waited 1 s" in str(error)
        assert "for the rate limit of 30/min" in str(error)
        assert "connection" not in str(error)
        assert "Not sent." in str(error)
        assert not error.may_have_executed  # type: ignore[attr-defined]


async def test_create_that_waits_for_the_rate_ends_as_not_sent() -> None:
    async with serve(Arrivals()) as server:
        async with VideoClient("id", "key", server.base_url, rate="6/min", timeout=2) as client:
            await client.rooms.get(ROOM_ID)
            with pytest.raises(CallTimeout, match="rate limit") as failed:
                await client.rooms.create(name="Stand-up")
        assert [seen.method for seen in server.requests] == ["GET"]
    assert not failed.value.may_have_executed


async def test_deadline_without_free_connection_does_not_name_the_rate() -> None:
    script = Arrivals()
    script.hold = asyncio.Event()
    async with serve(script) as server, SessionManager(max_connections=1) as manager:
        other = VideoClient("other", "key", server.base_url, session=manager)
        limited = VideoClient("id", "key", server.base_url, session=manager, rate="1000/s", timeout=0.5)
        async with other, limited:
            tasks = await in_background([other.rooms.get(ROOM_ID)])
            await until(lambda: script.times)
            with pytest.raises(CallTimeout, match=r"no free connection within 0\.5 s.*max_connections=1") as failed:
                await limited.rooms.get(ROOM_ID)
            await end(tasks)
    assert "rate limit" not in str(failed.value)


async def test_deadline_in_line_after_a_refusal_says_that_nothing_was_executed() -> None:
    held = asyncio.Event()

    async def script(link: Link) -> None:
        while True:
            if (await link.request()).method == "GET":
                await held.wait()
            link.answer(429, b"", {"Retry-After": "1"})
            await link.drain()

    async with serve(script) as server, SessionManager(max_connections=1) as manager:
        other = VideoClient("other", "key", server.base_url, session=manager)
        client = VideoClient("id", "key", server.base_url, session=manager, timeout=3, retry=EAGER)
        async with other, client:
            (task,) = await in_background([client.rooms.create(name="Stand-up")])
            await until(lambda: server.requests)
            tasks = await in_background([other.rooms.get(ROOM_ID)])
            with pytest.raises(CallTimeout, match=r"no free connection within .* Not executed\.") as failed:
                await task
            assert len(server.requests) == 2
            await end(tasks)
            held.set()
    assert (failed.value.may_have_executed, failed.value.attempts) == (False, 1)


async def test_time_in_line_is_reported_as_waited() -> None:
    events: list[AttemptEvent] = []

    def listen(event: object) -> None:
        if isinstance(event, AttemptEvent):
            events.append(event)

    async with serve(Arrivals()) as server:
        async with VideoClient("id", "key", server.base_url, rate="4/s", listeners=[listen]) as client:
            await gets(client, 4)
    waits = sorted(event.waited for event in events)
    assert waits[0] < 0.2
    assert waits[-1] >= 0.7
    assert all(event.seconds < 0.2 + event.waited for event in events)


# Several accounts, and streams.


async def test_paused_account_does_not_delay_another_one() -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            busy = seen.headers["authorization"] == busy_login
            link.answer(429 if busy else 200, b"" if busy else room(), {"Retry-After": "20"} if busy else None)
            await link.drain()

    async with serve(script) as server, SessionManager(max_connections=4) as manager:
        busy_client = VideoClient("busy", "key", server.base_url, session=manager)
        busy_login = busy_client._pipeline.retries.credentials.fixed.authorization  # type: ignore[union-attr]
        calm = VideoClient("calm", "key", server.base_url, session=manager)
        async with busy_client, calm:
            tasks = await in_background(busy_client.rooms.get(ROOM_ID) for _ in range(200))
            assert await slowest(calm, 50) < 2
            await end(tasks)


async def test_slow_rate_of_one_account_does_not_delay_another_one() -> None:
    async with serve(Arrivals()) as server, SessionManager(max_connections=2) as manager:
        busy = VideoClient("busy", "key", server.base_url, session=manager, rate="2/s")
        calm = VideoClient("calm", "key", server.base_url, session=manager)
        async with busy, calm:
            tasks = await in_background(busy.rooms.get(ROOM_ID) for _ in range(200))
            assert await slowest(calm, 50) < 2
            await end(tasks)


async def test_fifty_clients_of_a_throttled_tenant_do_not_delay_another() -> None:
    script = Arrivals()
    async with serve(script) as server, SessionManager(max_connections=4) as manager:
        busy = [VideoClient("busy", "key", server.base_url, session=manager, rate="5/s") for _ in range(50)]
        calm = [VideoClient("calm", "key", server.base_url, session=manager) for _ in range(50)]
        tasks = await in_background(client.rooms.get(ROOM_ID) for client in busy for _ in range(3))
        waits = await asyncio.gather(*(slowest(client, 4) for client in calm))
        assert max(waits) < 4
        await end(tasks)
        for client in (*busy, *calm):
            await client.aclose()
        assert len(manager.accounts) == 0


async def slowest(client: VideoClient, calls: int) -> float:
    """Make calls one by one, and return the duration of the slowest one."""
    clock = asyncio.get_running_loop().time
    longest = 0.0
    for _ in range(calls):
        began = clock()
        await client.rooms.get(ROOM_ID)
        longest = max(longest, clock() - began)
    return longest


async def test_streams_and_calls_of_one_account_share_its_rate() -> None:
    script = Arrivals()
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, rate="20/s") as client:
            lists = (client.rooms.list().to_list() for _ in range(15))
            await asyncio.gather(*lists, gets(client, 15))
    assert len(script.times) == 30
    assert script.most_within(1.0) <= 20 * TOLERANCE
    assert script.times[-1] - script.times[0] >= 29 * 0.05 - 0.1


async def test_stream_that_waits_for_a_permit_does_not_block_calls() -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            if seen.target.endswith("/rooms"):
                link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b'{"result": 0, "rooms": [')
                await link.gone()
            link.answer(200, room())
            await link.drain()

    async with serve(script) as server, SessionManager(max_connections=4) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="100/s", timeout=10) as client:
            # There is one permit for streams, which the first of them holds.
            tasks = await in_background(client.rooms.list().to_list() for _ in range(3))
            await until(lambda: server.requests)
            assert await slowest(client, 20) < 3
            assert sum(seen.target.endswith("/rooms") for seen in server.requests) == 1
            await end(tasks)
            assert manager.pool.stream_permits.free == 1


async def test_pause_of_an_account_stops_its_streams() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "30"})
    async with serve(script) as server, VideoClient("id", "key", server.base_url, timeout=5) as client:
        with pytest.raises(RateLimited):
            await client.rooms.get(ROOM_ID)
        with pytest.raises(RateLimited, match="paused"):
            await client.rooms.list().to_list()
        pool = client._manager.pool
        assert pool.stream_permits.free == pool.max_streams
    assert len(script.times) == 1


# Cancellation.


async def test_cancelled_head_of_the_line_is_followed_by_the_next() -> None:
    async with serve(Arrivals()) as server, VideoClient("id", "key", server.base_url, rate="2/s") as client:
        await client.rooms.get(ROOM_ID)
        tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(3))
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks[1:])
        assert tasks[0].cancelled()
        assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert len(server.requests) == 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("situation", ["rate", "moment", "pause", "open"])
async def test_cancellation_in_line_loses_no_permit(situation: str, seed: int) -> None:
    dice = random.Random(seed)
    script = Arrivals(0.001)
    rate = {"rate": "5/s", "moment": "150/s"}.get(situation)
    async with serve(script) as server, SessionManager(max_connections=2) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate=rate) as client:
            await client.rooms.get(ROOM_ID)
            if situation == "pause":
                client._pipeline.account.gate.pause(0.5)
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: client.rooms.get(ROOM_ID),
                lambda: client.rooms.list().to_list(),
            ]
            tasks = await in_background(dice.choice(calls)() for _ in range(60))
            dice.shuffle(tasks)
            for task in tasks[:55]:
                await asyncio.sleep(dice.choice([0, 0, 0.001, 0.01]))
                task.cancel()
            async with asyncio.timeout(30):
                await asyncio.gather(*tasks, return_exceptions=True)
            pool = manager.pool
            assert (pool.permits.free, pool.stream_permits.free) == (2, pool.max_streams)
            await client.rooms.get(ROOM_ID)
    assert not [task for task in tasks[55:] if task.cancelled() or task.exception()]


async def test_deadlines_in_line_lose_no_permit() -> None:
    script = Arrivals(0.001)
    async with serve(script) as server, SessionManager(max_connections=2) as manager:
        async with VideoClient("id", "key", server.base_url, session=manager, rate="150/s") as client:
            views = [client.with_options(timeout=0.01 + number * 0.005) for number in range(100)]
            ends = await asyncio.gather(*(view.rooms.get(ROOM_ID) for view in views), return_exceptions=True)
            assert manager.pool.permits.free == 2
            await client.rooms.get(ROOM_ID)
    errors = [each for each in ends if isinstance(each, BaseException)]
    assert {type(each) for each in errors} <= {CallTimeout}


async def test_closing_the_client_ends_its_line_at_once() -> None:
    async with serve(Arrivals()) as server, SessionManager(max_connections=2) as manager:
        client = VideoClient("id", "key", server.base_url, session=manager, rate="6/min")
        other = VideoClient("id", "key", server.base_url, session=manager)
        await client.rooms.get(ROOM_ID)
        tasks = await in_background(client.rooms.get(ROOM_ID) for _ in range(20))
        await asyncio.sleep(0.05)
        await client.aclose()
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all("closed" in str(each) for each in ends)
        assert manager.pool.permits.free == 2
        async with other, asyncio.timeout(5):
            await other.rooms.get(ROOM_ID)


# Bulk.


def ids(count: int) -> list[str]:
    return [f"{ROOM_ID[:-3]}{number:03d}" for number in range(count)]


async def test_own_rate_does_not_count_against_the_timeout_of_items() -> None:
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with VideoClient("id", "key", server.base_url, rate="10/s", timeout=0.4) as client:
            report = await client.rooms.delete_many(ids(25), concurrency=25)
    assert report.counts == {"deleted": 25}
    assert report.concurrency >= 8, "waiting for the rate does not signal overload"


async def test_own_rate_makes_no_create_unknown() -> None:
    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            number = len(link.server.requests)
            link.answer(200, {"result": 0, "room": {**seen.json, "room_id": f"{ROOM_ID[:-3]}{number:03d}"}})
            await link.drain()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, rate="10/s", timeout=0.4) as client:
            specs = [RoomSpec(f"Room {number}") for number in range(20)]
            report = await client.rooms.create_many(specs, concurrency=20, audit=False)
        assert len(server.requests) == 20
    assert report.counts == {"created": 20}
    assert report.concurrency >= 8


async def test_time_limit_of_a_run_ends_the_wait_for_the_rate() -> None:
    clock = asyncio.get_running_loop().time
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with VideoClient("id", "key", server.base_url, rate="30/min") as client:
            began = clock()
            report = await client.rooms.delete_many(ids(10), timeout=1)
            assert clock() - began < 5
            assert client._manager.pool.permits.free == client._manager.pool.max_connections
        assert len(server.requests) <= 3
    assert report.total == 10
    assert report.counts["deleted"] == len(server.requests)
    assert report.counts["not_sent"] == 10 - len(server.requests)


async def test_leaving_a_run_sends_nothing_that_waits_for_the_rate() -> None:
    clock = asyncio.get_running_loop().time
    async with serve(repeating(answer(200, {"result": 0}))) as server:
        async with VideoClient("id", "key", server.base_url, rate="30/min") as client:
            run = client.rooms.delete_each(ids(10))
            async with run:
                async for _ in run:
                    break
                began = clock()
            assert clock() - began < 5
        assert len(server.requests) <= 3


async def test_pause_in_bulk_never_ends_an_item_as_unknown() -> None:
    script = Arrivals(status=429, headers={"Retry-After": "1"})
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, timeout=0.5) as client:
            run = asyncio.create_task(client.rooms.delete_many(ids(12)))
            await until(lambda: client._pipeline.account.throttle.closed)
            script.status, script.headers = 200, None
            report = await run
    assert report.counts == {"deleted": 12}
