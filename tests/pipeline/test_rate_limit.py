"""The rate limiter spaces requests evenly."""

import asyncio

import pytest

from videoapi import ConfigurationError, VideoClient
from videoapi.pipeline.rate_limit import RateLimiter, parse_rate
from videoapi.sandbox import Sandbox


@pytest.mark.parametrize(
    ("rate", "interval"), [("600/min", 0.1), ("10/s", 0.1), ("3600/h", 1.0), (" 2.5 / second ", 0.4), ("90/hour", 40.0)]
)
def test_a_rate_is_read_as_seconds_between_requests(rate: str, interval: float) -> None:
    assert parse_rate(rate) == pytest.approx(interval)


@pytest.mark.parametrize("rate", ["", "0/s", "ten/s", "10", "10/day", "-1/s", 10, None])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="600/min"):
        parse_rate(rate)


def test_slots_are_evenly_spaced_and_an_idle_gate_saves_none_up() -> None:
    gate = RateLimiter()
    gate.limit(0.5)

    assert [gate.reserve(0.0, 100) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert [gate.reserve(60.0, 100) for _ in range(2)] == [0.0, 0.5]


def test_a_slot_that_comes_too_late_is_not_taken() -> None:
    gate = RateLimiter()
    gate.limit(10)

    assert gate.reserve(0.0, 5) == 0.0
    assert gate.reserve(0.0, 5) is None
    assert gate.reserve(6.0, 5) == 4.0


async def test_a_clients_rate_holds_for_all_its_calls() -> None:
    async with Sandbox() as sandbox:
        events: list[float] = []
        clock = asyncio.get_running_loop().time
        async with VideoClient(
            sandbox.app_id, sandbox.app_key, sandbox.base_url, rate="20/s", listeners=[lambda _: events.append(clock())]
        ) as client:
            began = clock()
            await asyncio.gather(*(client.dialin.get() for _ in range(11)))

    # Eleven requests have ten intervals between them; slower is allowed, faster is not.
    assert clock() - began >= 10 * 0.05 - 0.01
