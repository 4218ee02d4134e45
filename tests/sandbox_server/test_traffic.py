"""What arrives at a sandbox: worst second and tenth of a second, concurrency, and the rate limit that it enforces."""

import asyncio
import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.sandbox import RouteTraffic, Sandbox
from videoapi.sandbox.rate_limit import RateLimit, SlidingLimiter
from videoapi.sandbox.traffic import RECENT, SlidingWindow, TrafficRecorder

SECOND = 1_000_000_000
# Many just at, before or after the length of a window.
STEPS = st.one_of(
    st.integers(0, 3),
    st.integers(0, 3 * SECOND),
    st.sampled_from([SECOND // 10 - 1, SECOND // 10, SECOND - 1, SECOND, SECOND + 1]),
)


def times_of(steps):
    now, times = 0, []
    for step in steps:
        now += step
        times.append(now)
    return times


def worst(times, length):
    return max((sum(begin < other <= begin + length for other in times) for begin in (t - 1 for t in times)), default=0)


@given(st.lists(STEPS, max_size=60), st.sampled_from([SECOND, SECOND // 10]))
def test_window_finds_the_worst_period_wherever_it_begins(steps, length):
    times = times_of(steps)
    window = SlidingWindow(length)
    for now in times:
        window.add(now)
    assert window.worst == worst(times, length)


def test_window_spans_two_seconds_of_the_clock():
    window = SlidingWindow(SECOND)
    for now in [*[9 * SECOND // 10] * 5, *[11 * SECOND // 10] * 5]:
        window.add(now)
    assert window.worst == 10


def test_memory_depends_on_the_rate_and_not_on_the_number():
    window = SlidingWindow(SECOND)
    for number in range(100_000):
        window.add(number * SECOND // 50)
    assert window.worst == 50
    assert len(window._times) == 50


@given(st.lists(STEPS, max_size=60), st.integers(0, 6), st.sampled_from(["s", "min", "h"]), st.integers(1, 100))
def test_limiter_accepts_at_most_so_many_in_any_period(steps, requests, unit, scale):
    limit = RateLimit(requests, unit)
    times = [now * scale for now in times_of(steps)]
    clock = iter(times)
    limiter = SlidingLimiter(lambda: next(clock))
    accepted = [now for now in times if limiter.refuse(limit) is None]
    assert worst(accepted, limit.nanoseconds) <= requests
    # And no fewer: each one that was refused would have been one too many.
    for now in set(times) - set(accepted):
        assert sum(now - limit.nanoseconds < other <= now for other in accepted) == requests


@given(st.integers(1, 5), st.integers(0, 12), st.integers(0, SECOND - 1))
def test_refused_request_is_told_when_the_next_one_is_accepted(requests, earlier, later):
    now = [0]
    limiter = SlidingLimiter(lambda: now[0])
    for number in range(earlier):
        now[0] = number
        limiter.refuse(RateLimit(max(requests, 3)))
    now[0] = max(now[0], later)
    wait = limiter.refuse(RateLimit(requests))
    if wait is not None:
        assert wait > 0
        refused = now[0]
        now[0] = refused + round(wait * SECOND) - 1
        assert limiter.refuse(RateLimit(requests)) is not None
        now[0] += 1
        assert limiter.refuse(RateLimit(requests)) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (20, "20/s"),
        (20.0, "20/s"),
        ("20", "20/s"),
        ("20/s", "20/s"),
        (" 600 / minute ", "600/min"),
        ("5000/hour", "5000/h"),
        (0, "0/s"),
    ],
)
def test_rate_limit_is_a_rate_or_a_number_per_second(value, shown):
    assert str(Sandbox(rate_limit=value).switches.rate_limit) == shown


@pytest.mark.parametrize("value", ["20/day", "-1", -1, 0.5, "1e3", "nan", True, "", "20//s", b"20"])
def test_other_rate_limits_are_errors(value):
    with pytest.raises(ValueError, match=r"switch rate_limit: .* is not a rate such as '20/s'"):
        Sandbox(rate_limit=value)


def test_recorder_counts_routes_apart_and_files_outside_of_the_total():
    now = [0]
    recorder = TrafficRecorder(lambda: now[0])
    begun = [("rooms.get", recorder.begin("rooms.get")) for _ in range(3)]
    begun.append(("files.get", recorder.begin("files.get")))
    now[0] = SECOND // 2
    begun += [("rooms.create", recorder.begin("rooms.create")), ("", recorder.begin(""))]
    for route, number in begun:
        recorder.end(route, number, throttled=route == "rooms.create")
    now[0] = 2 * SECOND
    found = recorder.read(stalled=0, rate_limit=None)
    assert found.total == RouteTraffic(requests=5, throttled=1, worst_second=5, worst_tenth=3, concurrency=5)
    assert found.routes == {
        "rooms.get": RouteTraffic(requests=3, worst_second=3, worst_tenth=3, concurrency=3),
        "files.get": RouteTraffic(requests=1, worst_second=1, worst_tenth=1, concurrency=1),
        "rooms.create": RouteTraffic(requests=1, throttled=1, worst_second=1, worst_tenth=1, concurrency=1),
        "unknown": RouteTraffic(requests=1, worst_second=1, worst_tenth=1, concurrency=1),
    }
    assert found.seconds == 2


def test_cleared_recorder_still_knows_the_requests_in_progress():
    recorder = TrafficRecorder()
    waiting = recorder.begin("rooms.get")
    recorder.clear()
    assert recorder.read(stalled=0, rate_limit=None).routes == {}
    number = recorder.begin("rooms.get")
    assert recorder.read(stalled=0, rate_limit=None).total.concurrency == 2
    recorder.end("rooms.get", waiting, throttled=True)
    recorder.end("rooms.get", number, throttled=False)
    assert recorder.read(stalled=0, rate_limit=None).total == RouteTraffic(
        requests=1, worst_second=1, worst_tenth=1, concurrency=2
    )


def test_recent_seconds_move_with_the_clock():
    now = [0]
    recorder = TrafficRecorder(lambda: now[0])
    for now[0] in (SECOND // 2, SECOND // 2, SECOND + SECOND // 4):
        recorder.begin("rooms.get")
    assert recorder.recent()[-2:] == [2, 3]
    now[0] = 4 * SECOND
    assert recorder.recent()[-5:] == [2, 3, 0, 0, 0]
    now[0] = 1000 * SECOND
    assert recorder.recent() == [0] * RECENT


async def traffic_of(bare, method="GET", path="/_sandbox/traffic", **options):
    return await bare(method, bare.sandbox.base_url.removesuffix("/video/v2") + path, **options)


async def test_traffic_of_several_clients_is_counted_together(serve):
    bare = await serve()
    room_id = await bare.room()
    await asyncio.gather(*[bare("GET", f"/rooms/{room_id}") for _ in range(20)], bare("GET", "/dialin"))
    await bare("GET", "/nowhere")
    found = bare.sandbox.traffic()
    assert found.total.requests == 23
    assert found.total.worst_second <= 23
    assert {route: counts.requests for route, counts in found.routes.items()} == {
        "rooms.create": 1,
        "rooms.get": 20,
        "dialin.get": 1,
        "unknown": 1,
    }
    served = await traffic_of(bare, headers={"Authorization": ""})
    assert (served.status, served.headers["Cache-Control"]) == (200, "no-store")
    assert {**served.json, "seconds": 0, "stalled": 0} == {**found.to_dict(), "seconds": 0, "stalled": 0}


async def test_concurrency_is_what_is_being_handled(serve):
    bare = await serve()
    fault = bare.sandbox.fault("rooms.list", "delay", times=None, seconds=30)
    waiting = [asyncio.create_task(bare("GET", "/rooms")) for _ in range(7)]
    async with asyncio.timeout(20):
        while fault.hits < 7:
            await asyncio.sleep(0.01)
    await bare("GET", "/dialin")
    found = bare.sandbox.traffic()
    assert found.routes["rooms.list"].concurrency == 7
    assert found.routes["dialin.get"].concurrency == 1
    assert found.total.concurrency == 8
    for task in waiting:
        task.cancel()


async def test_requests_of_one_moment_are_concurrent(serve):
    bare = await serve()
    writers = []
    for _ in range(10):
        _, writer = await asyncio.open_connection(bare.sandbox._listener.host, bare.sandbox.port)
        writers.append(writer)
    for writer in writers:
        writer.write(b"GET /video/v2/dialin HTTP/1.1\r\nHost: x\r\n\r\n")
    # This loop also serves: all have been written before any is read.
    async with asyncio.timeout(20):
        while bare.sandbox.ledger.requests() < 10:
            await asyncio.sleep(0.01)
    for writer in writers:
        writer.close()
    assert bare.sandbox.traffic().total.concurrency == 10


async def test_control_route_is_no_request_to_the_service(serve):
    bare = await serve(rate_limit=0)
    fault = bare.sandbox.fault("*", 503, times=None)
    assert (await traffic_of(bare)).status == 200
    assert (await traffic_of(bare, "HEAD")).status == 200
    assert (fault.hits, bare.sandbox.ledger.requests(), bare.sandbox.traffic().total.requests) == (0, 0, 0)


async def test_traffic_is_cleared_over_http_with_the_credentials(serve):
    bare = await serve(rate_limit="50/s")
    room_id = await bare.room()
    denied = await traffic_of(bare, "DELETE", headers={"Authorization": "Basic eDp5"})
    assert denied.status == 401
    assert bare.sandbox.traffic().total.requests == 1
    until_then = await traffic_of(bare, "DELETE")
    assert until_then.json["total"]["requests"] == 1
    assert until_then.json["rate_limit"] == "50/s"
    assert bare.sandbox.traffic().total == RouteTraffic()
    assert room_id in bare.sandbox.ledger.rooms


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/_sandbox/traffic", 405), ("GET", "/_sandbox/", 404), ("GET", "/_sandbox/traffic/", 404)],
)
async def test_other_control_routes_are_errors(serve, method, path, status):
    reply = await traffic_of(await serve(), method, path)
    assert reply.status == status
    assert reply.json["error"]


async def test_throttled_requests_are_counted(serve):
    bare = await serve(rate_limit="5/h")
    replies = [await bare("GET", "/dialin") for _ in range(8)]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 3
    bare.sandbox.set(rate_limit=None)
    bare.sandbox.fault("rooms.list", "throttle")
    assert (await bare("GET", "/rooms")).status == 429
    found = bare.sandbox.traffic()
    assert (found.routes["dialin.get"].throttled, found.routes["rooms.list"].throttled) == (3, 1)
    assert (found.total.requests, found.total.throttled) == (9, 4)
    assert found.rate_limit is None


async def test_unauthorized_requests_use_up_no_rate(serve):
    bare = await serve(rate_limit="1/h")
    for _ in range(3):
        assert (await bare("GET", "/dialin", headers={"Authorization": ""})).status == 401
    assert (await bare("GET", "/dialin")).status == 200


async def test_retry_after_says_when_the_limit_has_room_again(serve):
    bare = await serve(rate_limit="1/h")
    assert (await bare("GET", "/dialin")).status == 200
    seconds = (await bare("GET", "/dialin")).headers["Retry-After"]
    assert 3400 < int(seconds) <= 3600
    bare.sandbox.set(retry_after="date")
    date = parsedate_to_datetime((await bare("GET", "/dialin")).headers["Retry-After"])
    assert 3400 < date.timestamp() - time.time() <= 3601


async def test_client_that_waits_as_told_is_accepted(serve):
    bare = await serve(rate_limit="1/s")
    while (reply := await bare("GET", "/dialin")).status == 200:
        pass
    assert reply.headers["Retry-After"] == "1"
    await asyncio.sleep(1)
    assert (await bare("GET", "/dialin")).status == 200


async def test_clear_forgets_the_traffic_and_what_the_limit_has_accepted(serve):
    bare = await serve(rate_limit="1/h")
    assert (await bare("GET", "/dialin")).status == 200
    assert (await bare("GET", "/dialin")).status == 429
    bare.sandbox.clear()
    assert bare.sandbox.traffic().total == RouteTraffic()
    assert bare.sandbox.traffic().routes == {}
    assert (await bare("GET", "/dialin")).status == 200
    assert bare.sandbox.traffic().rate_limit == "1/h"


async def test_stall_of_the_sandbox_itself_is_reported(serve):
    bare = await serve()
    await bare("GET", "/dialin")
    # This loop also serves.
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(0.1)
    assert bare.sandbox.traffic().stalled >= 0.2
    bare.sandbox.clear_traffic()
    assert bare.sandbox.traffic().stalled == 0


async def test_nothing_runs_in_a_sandbox_without_requests(serve):
    bare = await serve()
    await bare("GET", "/dialin")
    async with asyncio.timeout(20):
        while bare.sandbox._stalls._timer is not None:
            await asyncio.sleep(0.1)


def test_traffic_is_read_from_another_thread():
    with Sandbox(rate_limit="20/s").in_thread() as sandbox:
        assert sandbox.traffic().total == RouteTraffic()
        sandbox.clear_traffic()
