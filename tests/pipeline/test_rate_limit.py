"""The rate limiter spaces requests evenly."""

import asyncio

import pytest

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


def test_slots_are_evenly_spaced_and_do_not_accumulate_when_idle() -> None:
    limiter = RateLimiter()
    limiter.limit(0.5)

    assert [limiter.reserve(0.0, 100) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert [limiter.reserve(60.0, 100) for _ in range(2)] == [0.0, 0.5]


def test_slot_is_not_reserved_when_it_is_too_late() -> None:
    limiter = RateLimiter()
    limiter.limit(10)

    assert limiter.reserve(0.0, 5) == 0.0
    assert limiter.reserve(0.0, 5) is None
    assert limiter.reserve(6.0, 5) == 4.0


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
