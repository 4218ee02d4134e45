"""The rate limiter spaces requests evenly."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi import ConfigurationError, VideoClient
from videoapi.pipeline.rate_limit import RateLimiter, parse_rate
from videoapi.sandbox import Sandbox


@pytest.mark.parametrize(
    ("rate", "interval"), [("600/min", 0.1), ("10/s", 0.1), ("3600/h", 1.0), (" 2.5 / second ", 0.4), ("90/hour", 40.0)]
)
def test_parse_rate_returns_seconds_between_requests(rate: str, interval: float) -> None:
    assert parse_rate(rate) == pytest.approx(interval)


@pytest.mark.parametrize("rate", ["", "0/s", "ten/s", "10", "10/day", "-1/s", 10, None])
def test_parse_rate_rejects_invalid_rates(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="600/min"):
        parse_rate(rate)


def make_limiter(interval: float) -> RateLimiter:
    limiter = RateLimiter()
    limiter.set(interval)
    return limiter


def test_limiter_without_a_rate_never_waits() -> None:
    limiter = RateLimiter()
    assert [limiter.reserve(5.0) for _ in range(1000)] == [0.0] * 1000


def test_slots_are_evenly_spaced_and_do_not_accumulate_when_idle() -> None:
    limiter = make_limiter(0.5)
    assert [limiter.reserve(now) for now in (0.0, 0.5, 1.0, 1.5)] == [0.0] * 4
    assert [limiter.reserve(60.0) for _ in range(3)] == [0.0, 0.5, 0.5]


def test_wait_reserves_nothing() -> None:
    limiter = make_limiter(10)
    assert limiter.reserve(0.0) == 0.0
    assert [limiter.reserve(4.0) for _ in range(100)] == [6.0] * 100
    assert limiter.reserve(10.0) == 0.0


def test_change_of_the_rate_counts_from_the_latest_request() -> None:
    limiter = make_limiter(100)
    assert limiter.reserve(0.0) == 0.0
    # A client with a slow rate has closed, and nothing of its rate remains.
    limiter.set(2.0)
    assert limiter.reserve(0.5) == 1.5
    assert limiter.reserve(2.0) == 0.0
    # The same rate again does not move the slot.
    limiter.set(2.0)
    assert limiter.reserve(3.0) == 1.0
    limiter.set(10.0)
    assert limiter.reserve(3.0) == 9.0
    limiter.set(0.0)
    assert limiter.reserve(3.0) == 0.0


def test_first_request_after_setting_a_rate_does_not_wait() -> None:
    assert make_limiter(3600).reserve(0.0) == 0.0


@pytest.mark.parametrize("rate", ["20/s", "100/s", "1/s", "2.5/s", "10000/s", "2/min", "7/min", "0.5/min"])
def test_limiter_shows_its_rate(rate: str) -> None:
    assert str(make_limiter(parse_rate(rate))) == rate


@given(
    st.sampled_from([2.0, 10.0, 20.0, 33.0, 34.0, 50.0, 100.0, 500.0]),
    st.lists(st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.3, 1.0, 60.0]), max_size=40),
)
def test_no_second_exceeds_the_rate_by_a_tenth(rate: float, delays: list[float]) -> None:
    limiter, now, sent = make_limiter(1 / rate), 1000.0, list[float]()
    for late in delays * 5:
        # A timer that wakes up late, then one more request as soon as it is allowed.
        now += limiter.reserve(now) + late
        while not limiter.reserve(now):
            sent.append(now)
    for at in sent:
        # Both ends of the second count, which adds one.
        assert sum(at <= other <= at + 1 for other in sent) <= 1.1 * rate + 1


@pytest.mark.parametrize("rate", [20.0, 100.0, 500.0])
def test_late_timers_do_not_lower_a_rate(rate: float) -> None:
    limiter, now, sent = make_limiter(1 / rate), 0.0, 0
    while now < 10:
        wait = limiter.reserve(now)
        sent += not wait
        now += wait + 0.002 if wait else 0.0
    assert sent >= 0.9 * 10 * rate


async def test_client_rate_limits_all_its_calls() -> None:
    async with Sandbox() as sandbox:
        events: list[float] = []
        clock = asyncio.get_running_loop().time
        async with VideoClient(
            sandbox.app_id, sandbox.app_key, sandbox.base_url, rate="20/s", listeners=[lambda _: events.append(clock())]
        ) as client:
            began = clock()
            await asyncio.gather(*(client.dialin.get() for _ in range(11)))

    # Eleven requests are ten intervals apart; slower is allowed, faster is not.
    assert clock() - began >= 10 * 0.05 - 0.01
