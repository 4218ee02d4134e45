"""HTTP statuses: what each one proves about a request, and how 429 and 503 slow the client down."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.clients import APP_ID, APP_KEY, EAGER, ONCE, OPERATIONS, Skipped, call, client_for
from support.gateways import free_port, haproxy, nginx
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    AttemptEvent,
    AuthenticationFailed,
    BulkReport,
    Conflict,
    CreateOutcomeUnknown,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RateLimited,
    RetryPolicy,
    RoomSpec,
    ServerFault,
    SessionManager,
    TokenDenied,
    VideoAPIError,
    VideoClient,
)
from videoapi.pipeline.clock import Clock
from videoapi.protocol import routes
from videoapi.sandbox import Sandbox

PAGE = b"<html><body><h1>It is not you, it is us</h1></body></html>"
HTML = {"Content-Type": "text/html"}
DATE = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=5, app_id=APP_ID, app_key=APP_KEY) as sandbox:
        yield sandbox


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(count))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_f36_redirect(status: int, operation: str) -> None:
    """F36 | 301, 302, 303, 307, 308 on every kind of call | not followed, sent once; create U | raw server"""
    async with serve(repeating(answer(200, room()))) as elsewhere:
        script = repeating(answer(status, b"", {"Location": f"{elsewhere.base_url}/rooms/{ROOM_ID}"}))
        async with serve(script) as server, client_for(server.base_url) as client:
            expected = CreateOutcomeUnknown if operation == "create" else ProtocolError
            with pytest.raises(expected, match=f"redirect to {re.escape(elsewhere.base_url)}/rooms/") as failed:
                await call(client, operation)
            assert failed.value.status == status
            assert len(server.requests) == 1
        assert elsewhere.accepted == 0


@pytest.mark.parametrize("where", ["host", "port", "scheme", "file", "no-scheme", "itself", "userinfo"])
async def test_f37_redirect_elsewhere(where: str) -> None:
    """F37 | redirect to another host, port, scheme, `file:`, `//evil`, itself | not followed | raw server"""
    async with serve(repeating(answer(200, room()))) as evil:
        locations = {
            "host": f"http://localhost:{evil.port}/video/v2/rooms?secret=1",
            "port": f"http://127.0.0.1:{evil.port}/video/v2/rooms?secret=1",
            "scheme": f"https://127.0.0.1:{evil.port}/?secret=1",
            "file": "file:///etc/passwd",
            "no-scheme": f"//127.0.0.1:{evil.port}/?secret=1",
            "itself": "/video/v2/rooms?secret=1",
            "userinfo": f"http://user:secret@127.0.0.1:{evil.port}/",
        }
        for status in (302, 307):
            script = repeating(answer(status, b"", {"Location": locations[where]}))
            async with serve(script) as server, client_for(server.base_url) as client:
                for operation in ("create", "get", "list"):
                    with pytest.raises(VideoAPIError) as failed:
                        await call(client, operation)
                    assert "secret" not in f"{failed.value}{failed.value!r}{vars(failed.value)}"
                assert len(server.requests) == 3
        assert evil.accepted == 0


ACCOUNTS = {
    "401": (401, {"result": 10000, "error": "[Reason] Application not found"}, AuthenticationFailed),
    "401-empty": (401, b"", AuthenticationFailed),
    "401-page": (401, PAGE, AuthenticationFailed),
    "403-page": (403, PAGE, PermissionDenied),
    "403-10000": (403, {"result": 10000, "error": "[Reason] Application not found"}, AuthenticationFailed),
    "200-10000": (200, {"result": 10000, "error": "[Reason] Application not found"}, AuthenticationFailed),
}
ITEMS = {
    f"{status}-{code}": (status, {"result": code, "error": "[Reason] no", "desc": ""})
    for status in (403, 200)
    for code in (10030, 10111, 10112, 10113, 10114, 40002)
}


@pytest.mark.parametrize(("status", "body", "expected"), ACCOUNTS.values(), ids=ACCOUNTS)
async def test_f38_account_is_rejected(status: int, body: object, expected: type[VideoAPIError]) -> None:
    """F38 | 401; 403 without a code; 10000 | one request per call; stops a bulk run, no lockout storm | raw server"""
    async with serve(repeating(answer(status, body))) as server, client_for(server.base_url) as client:
        for operation in OPERATIONS:
            with pytest.raises(expected) as failed:
                await call(client, operation)
            assert not failed.value.may_have_executed
            assert failed.value.attempts == 1
        assert len(server.requests) == len(OPERATIONS)
        report = await client.rooms.create_many(specs(200), concurrency=4)
        assert isinstance(report.stopped, expected)
        assert not report.exhausted
        assert len(server.requests) <= len(OPERATIONS) + 4 + 1


@pytest.mark.parametrize(("status", "body"), ITEMS.values(), ids=ITEMS)
async def test_f38_one_item_is_rejected(status: int, body: dict[str, object]) -> None:
    """F38 | 403 or 200 with 10030, 10111–10114, 40002 | fails that item; the run continues | raw server"""
    made = 0

    async def script(link: Link) -> None:
        nonlocal made
        while True:
            seen = await link.request()
            made += 1
            if made % 5 == 0:
                link.answer(status, body)
            else:
                link.answer(200, room(f"{made:024}", **seen.json))

    async with serve(script) as server, client_for(server.base_url) as client:
        report = await client.rooms.create_many(specs(20), concurrency=4, audit=False)
        assert report.counts == {"created": 16, "failed": 4}
        assert report.stopped is None
        assert report.exhausted
        assert len(server.requests) == 20
        errors = [outcome.error for outcome in report.failures]
    expected = {10030: Conflict, 40002: PermissionDenied}.get(body["result"], TokenDenied)  # type: ignore[call-overload]
    assert all(type(error) is expected for error in errors)
    # Worth repeating later, by the caller: the run has sent each room once.
    assert {error.retryable for error in errors if error} == {body["result"] in (10030, 10113, 10114)}


async def test_f39_delete_of_a_missing_room(sandbox: Sandbox) -> None:
    """F39 | 404 on the first DELETE; on a repeated one | `NotFound`; success | sandbox drops the first response"""
    async with client_for(sandbox.base_url) as client:
        with pytest.raises(NotFound) as failed:
            await client.rooms.delete(ROOM_ID)
        assert not failed.value.may_have_executed
        made = await client.rooms.create(name="Stand-up")
        sandbox.fault("rooms.delete", "drop_after", times=1)
        await client.rooms.delete(made.room_id)
        assert sandbox.ledger.count("rooms.delete") == 1
        assert sandbox.ledger.requests("rooms.delete") == 3


@pytest.mark.parametrize("status", [408, 409])
@pytest.mark.parametrize("body", [b"", PAGE], ids=["empty", "page"])
async def test_f40_408_and_409(status: int, body: bytes) -> None:
    """F40 | 408, 409 on create | U, sent once; a read is retried after 408 | raw server"""
    async with serve(repeating(answer(status, body, HTML))) as server, client_for(server.base_url) as client:
        with pytest.raises(CreateOutcomeUnknown) as failed:
            await call(client, "create")
        assert failed.value.status == status
        assert len(server.requests) == 1
        with pytest.raises(VideoAPIError):
            await call(client, "get")
        assert len(server.requests) == 1 + (3 if status == 408 else 1)


def date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


AFTER = {
    "0": ({"Retry-After": "0"}, 0.0),
    "1": ({"Retry-After": "1"}, 1.0),
    "7": ({"Retry-After": "7"}, 7.0),
    "date": ({"Retry-After": date(DATE + timedelta(seconds=9)), "Date": date(DATE)}, 9.0),
    "past-date": ({"Retry-After": date(DATE - HOUR), "Date": date(DATE)}, 0.0),
    "clock-an-hour-fast": (
        {"Retry-After": date(DATE + HOUR + timedelta(seconds=9)), "Date": date(DATE + HOUR)},
        9.0,
    ),
    "clock-an-hour-slow": (
        {"Retry-After": date(DATE - HOUR + timedelta(seconds=9)), "Date": date(DATE - HOUR)},
        9.0,
    ),
    "absent": ({}, 0.0),
}
UNREADABLE = 30.0
BAD_AFTER = {
    "1.5": ("1.5", 2.0),
    "7.0": ("7.0", 7.0),
    "3s": ("3s", 3.0),
    "-5": ("-5", UNREADABLE),
    "+1": ("+1", UNREADABLE),
    "soon": ("soon", UNREADABLE),
    "long": ("x" * 7000, UNREADABLE),
    "empty": ("", UNREADABLE),
    "digits-of-another-script": ("٣", UNREADABLE),
}
DAY = 86_400.0
LONG_AFTER = {
    "61": ("61", 61.0),
    "120.0": ("120.0", 120.0),
    "years": ("99999999", DAY),
    "1e12": ("1" + "0" * 12, DAY),
    "400-digits": ("9" * 400, DAY),
    "date": (date(DATE + HOUR), 3600.0),
}


@pytest.mark.parametrize("operation", ["get", "update", "token", "create"])
@pytest.mark.parametrize(("headers", "seconds"), AFTER.values(), ids=AFTER)
async def test_f41_retry_after(headers: dict[str, str], seconds: float, operation: str) -> None:
    """F41 | 429 with Retry-After 0, 1, a date, a past date, a clock ± 1 h off | waits as requested | simulated clock"""
    success = room() if operation != "update" else {"result": 0}
    success_response = answer(200, {"result": 0, "token": "t"} if operation == "token" else success)
    turns = iter([answer(429, b"", headers), success_response])

    async def script(link: Link) -> None:
        await link.request()
        link.send(next(turns))
        await link.gone()

    time = Skipped()
    async with serve(script) as server, time.manager() as manager:
        client = client_for(server.base_url, session=manager, retry=RetryPolicy())
        await call(client, operation)
        assert len(server.requests) == 2
    # At least the requested time and at most a tenth more; without a request, the jittered backoff.
    assert seconds <= sum(time.waits) <= max(1.1 * seconds, 1.0)


@pytest.mark.parametrize(("value", "seconds"), BAD_AFTER.values(), ids=BAD_AFTER)
async def test_f42_invalid_retry_after(value: str, seconds: float) -> None:
    """F42 | Retry-After 1.5, `3s`; −5, +1, `soon`, empty, 7 KiB | rounded up; else waits 30 s | simulated clock"""
    turns = iter([answer(429, b"", {"Retry-After": value}).replace("٣".encode(), b"\xd9\xa3"), answer(200, room())])

    async def script(link: Link) -> None:
        await link.request()
        link.send(next(turns))
        await link.gone()

    time = Skipped()
    async with serve(script) as server, time.manager() as manager:
        await call(client_for(server.base_url, session=manager, retry=RetryPolicy()), "get")
    assert seconds <= sum(time.waits) <= 1.1 * seconds


@pytest.mark.parametrize("operation", ["get", "create"])
@pytest.mark.parametrize(("value", "seconds"), LONG_AFTER.values(), ids=LONG_AFTER)
async def test_f42_retry_after_beyond_the_limit(value: str, seconds: float, operation: str) -> None:
    """F42 | Retry-After 61, 120.0, 10¹², years, in an hour | `RateLimited` at once, a day at most | simulated clock"""
    time = Skipped()
    async with serve(repeating(answer(429, b"", {"Retry-After": value, "Date": date(DATE)}))) as server:
        async with time.manager() as manager:
            client = client_for(server.base_url, session=manager, retry=RetryPolicy())
            with pytest.raises(RateLimited) as failed:
                await call(client, operation)
            assert not failed.value.may_have_executed
            assert failed.value.attempts == len(server.requests) == 1
            assert failed.value.retry_after == seconds
            # The account stays paused: the next call fails at once and sends nothing.
            with pytest.raises(RateLimited):
                await call(client, operation)
            assert len(server.requests) == 1
    assert sum(time.waits) == 0


async def test_f42_two_retry_after_headers() -> None:
    """F42 | two different Retry-After headers | the longest valid one applies | simulated clock"""
    two_headers = answer(429, b"", {"Retry-After": "3"}).replace(
        b"\r\n\r\n", b"\r\nRetry-After: 5\r\nRetry-After: x\r\n\r\n"
    )
    turns = iter([two_headers, answer(200, room())])

    async def script(link: Link) -> None:
        await link.request()
        link.send(next(turns))
        await link.gone()

    time = Skipped()
    async with serve(script) as server, time.manager() as manager:
        await call(client_for(server.base_url, session=manager, retry=RetryPolicy()), "get")
    assert 5.0 <= sum(time.waits) <= 5.5


async def concurrency_limits(run: asyncio.Task[BulkReport], reports: list[BulkReport]) -> list[int]:
    """Return the successive concurrency limits of a run, until it ends."""
    seen: list[int] = []
    while not run.done():
        await asyncio.sleep(0.005)
        now = reports[-1].concurrency if reports else 0
        if now and (not seen or seen[-1] != now):
            seen.append(now)
    return seen


@pytest.mark.parametrize(
    ("storm", "count"), [(1.5, 400), pytest.param(10.0, 3000, marks=pytest.mark.scale)], ids=["1.5s", "10s"]
)
async def test_f43_429_storm_during_bulk(sandbox: Sandbox, storm: float, count: int) -> None:
    """F43 | 429 for 1.5 s (scale: 10 s) in bulk | concurrency steps down, recovers; none lost, few probes | sandbox"""
    reports: list[BulkReport] = []
    clock = Clock(random=lambda: 0.3)
    async with SessionManager(clock=clock) as manager:
        client = client_for(sandbox.base_url, session=manager, retry=RetryPolicy())
        run = asyncio.create_task(
            client.rooms.create_many(specs(count), concurrency=16, progress=reports.append, audit=False)
        )
        watching = asyncio.create_task(concurrency_limits(run, reports))
        while sandbox.ledger.count("rooms.create") < 100:
            await asyncio.sleep(0.005)
        fault = sandbox.fault("rooms.create", "throttle", times=None, retry_after=0)
        await asyncio.sleep(storm)
        fault.cancel()
        report, limits = await run, await watching
    assert report.counts == {"created": count}
    assert len({entry.reference for entry in sandbox.ledger.created}) == len(sandbox.ledger.created) == count
    lowest = limits.index(min(limits))
    fall = limits[max(0, limits.index(max(limits[: lowest + 1]))) : lowest + 1]
    # The limit falls by a factor of 0.7 per step, never at once, and rises again.
    assert len(fall) >= 2
    assert all(later >= int(earlier * 0.7) for earlier, later in itertools.pairwise(fall))
    assert limits[-1] > min(limits)
    throttled = sandbox.ledger.requests("rooms.create") - count
    assert throttled == fault.hits
    # The calls in flight are throttled first, then one probe per pause.
    assert throttled <= 16 + 8 + storm


async def test_f43_concurrency_recovers_from_one(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """F43 | a storm that left concurrency at one | concurrency rises again, one by one | sandbox, run started at one"""
    monkeypatch.setattr("videoapi.bulk.concurrency._START", 1)
    async with client_for(sandbox.base_url) as client:
        report = await client.rooms.create_many(specs(60), concurrency=16, audit=False)
    assert report.counts == {"created": 60}
    assert report.concurrency >= 6


async def test_f43_rate_limiter_of_a_real_gateway(sandbox: Sandbox) -> None:
    """F43 | 429 from a real rate limiter in bulk | nothing lost, no duplicates | nginx, `limit_req`"""
    limiter = "limit_req zone=calls burst=5 nodelay; limit_req_status 429;"
    statuses: list[int | None] = []

    def keep(event: object) -> None:
        if isinstance(event, AttemptEvent):
            statuses.append(event.status)

    async with nginx(sandbox.port, location=limiter, rate=30) as front:
        async with SessionManager(clock=Clock(random=lambda: 0.1)) as manager:
            client = client_for(f"{front}/video/v2", session=manager, retry=RetryPolicy(), settle=0.3, listeners=[keep])
            report = await client.rooms.create_many(specs(80), concurrency=16)
    assert report.counts == {"created": 80}
    assert 429 in statuses
    assert sandbox.ledger.duplicates() == {}
    assert sandbox.ledger.requests("rooms.create") == 80


@pytest.mark.parametrize("gateway", ["nginx-500", "nginx-502", "nginx-504", "haproxy-503", "haproxy-504"])
async def test_f45_error_page_of_a_real_gateway(gateway: str) -> None:
    """F45 | 500, 502, 503, 504 from real gateways, in HTML | U; the page is not parsed as JSON | nginx, haproxy"""

    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(silent) as server:
        upstream = server.port if gateway.endswith("504") else free_port()
        status = int(gateway[-3:])
        fail = "return 500;" if status == 500 else ""
        front = nginx(upstream, extra=fail) if gateway.startswith("nginx") else haproxy(upstream, check=status == 503)
        async with front as address, client_for(f"{address}/video/v2") as client:
            if status == 503:
                # Wait until the gateway has noticed that it has no upstream.
                while (await status_of(address)) != 503:
                    await asyncio.sleep(0.02)
            with pytest.raises(CreateOutcomeUnknown) as created:
                await call(client, "create")
            with pytest.raises(ServerFault) as failed:
                await call(client, "get")
        if upstream == server.port:
            assert [seen.method for seen in server.requests] == ["POST", "GET", "GET", "GET"]
    for error in (created.value, failed.value):
        assert error.status == status
        assert error.code is None
        assert error.error is None
        assert "<" not in str(error)
        assert len(str(error)) < 300
    assert created.value.attempts == 1
    assert failed.value.attempts == 3
    assert failed.value.retryable


async def status_of(address: str) -> int:
    """Return the status of a request sent to a gateway without the client."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


class Flapping:
    """Respond 503 for 0.45 s, which is shorter than the shortest pause, after every 300 good answers.

    Good answers are counted, not timed: a slow machine makes as many calls between two outages as a fast one.
    """

    def __init__(self, outages: int) -> None:
        self.outages = outages
        self._good = 0
        self._until = 0.0

    async def __call__(self, link: Link) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await link.request()
            await asyncio.sleep(0.002)
            if self.outages and self._good == 300:
                self._good, self._until = 0, clock() + 0.45
                self.outages -= 1
            if clock() < self._until:
                link.answer(503, PAGE, {**HTML, "Retry-After": "0"})
            else:
                self._good += 1
                link.answer(200, room())


async def call_repeatedly(policy: RetryPolicy) -> tuple[int, int, int]:
    """Call from 8 tasks through four outages; return the number of calls, of failures and of requests."""
    calls = failures = 0
    flapping = Flapping(4)

    async def worker(client: VideoClient) -> None:
        nonlocal calls, failures
        while flapping.outages:
            calls += 1
            try:
                await client.rooms.get(ROOM_ID)
            except (ServerFault, RateLimited):
                failures += 1

    async with serve(flapping) as server, SessionManager(clock=Clock(random=lambda: 0.1)) as manager:
        client = client_for(server.base_url, retry=policy, session=manager)
        await asyncio.gather(*(worker(client) for _ in range(8)))
        return calls, failures, len(server.requests)


async def test_f46_intermittent_503() -> None:
    """F46 | intermittent 503, `trust_503=True` | > 99 % of reads succeed, < 1.1 requests per call | raw server"""
    calls, failures, requests = await call_repeatedly(RetryPolicy(trust_503=True))
    assert failures <= 0.01 * calls
    assert requests < 1.1 * calls


async def test_f46_untrusted_503_is_bounded_by_the_budget() -> None:
    """F46 | intermittent 503, not trusted | at most N + 50 + N / 10 requests | raw server"""
    calls, failures, requests = await call_repeatedly(EAGER)
    assert 0 < failures < calls
    # The budget refunds retries that succeed: those of the 8 tasks at the end of each of the four outages.
    assert requests <= 1.1 * calls + 50 + 32


@pytest.mark.parametrize("status", [*range(520, 528), 530, 598, 599])
async def test_f47_gateway_statuses(status: int) -> None:
    """F47 | 520–527, 530, 598, 599 | U: create sent once; read retried on 520–524, 598, 599 | raw server"""
    async with serve(repeating(answer(status, PAGE, HTML))) as server, client_for(server.base_url) as client:
        with pytest.raises(CreateOutcomeUnknown):
            await call(client, "create")
        assert len(server.requests) == 1
        with pytest.raises(ServerFault) as failed:
            await call(client, "get")
        assert failed.value.may_have_executed
        assert len(server.requests) == 1 + (3 if status in (*range(520, 525), 598, 599) else 1)


@pytest.mark.parametrize("status", [204, 205, 206, 202, 203, 299])
async def test_f48_unexpected_2xx(status: int) -> None:
    """F48 | 204 with a body, unsolicited 206, other 2xx | `ProtocolError`, create U; connection closed | raw server"""
    async with serve(repeating(answer(status, room()))) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(CreateOutcomeUnknown):
            await call(client, "create")
        with pytest.raises(ProtocolError):
            await call(client, "get")
        with pytest.raises(VideoAPIError):
            await call(client, "list")
        assert [seen.connection for seen in server.requests] == [1, 2, 3]


def test_f48_no_route_uses_head() -> None:
    """F48 | 200 to HEAD with a body | cannot happen: no route uses HEAD | route table"""
    methods = {value.method for value in vars(routes).values() if isinstance(value, routes.Route)}
    assert methods == {"GET", "POST", "PATCH", "DELETE"}
