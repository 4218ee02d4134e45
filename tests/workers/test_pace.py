"""The size of shards follows from the rate and the redelivery time."""

from __future__ import annotations

import math

import pytest

from videoapi import ConfigurationError
from videoapi.sharding.pace import ShardPace


def pace(**given: object) -> ShardPace:
    defaults = {"rate": 200.0, "processes": 4, "settle": 75.0, "lease": 90.0, "redelivery": 600.0}
    return ShardPace(**{**defaults, **given})  # type: ignore[arg-type]


def test_a_shard_ends_before_it_is_delivered_again() -> None:
    # Three waits of 90 s leave 330 s, at 50 rooms/s.
    assert pace().largest == 16_500
    assert pace().seconds(pace().largest) <= 600
    assert pace().seconds(pace().largest + 1) > 600


def test_a_shard_that_would_outlive_the_redelivery_time_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(ConfigurationError) as refused:
        pace(rate=2.0).check(250)
    message = str(refused.value)
    for fact in ("shard_size=250", "770 s", "600 s", "2/s / 4 processes = 0.5 rooms/s", "500.0 s", "3 waits", "90 s"):
        assert fact in message
    assert "shard_size=165 or less" in message
    assert message.endswith("Not sent.")


def test_a_redelivery_time_below_the_waits_leaves_no_size() -> None:
    with pytest.raises(ConfigurationError, match="Give a longer redelivery"):
        pace(redelivery=270.0).size(10)


def test_small_jobs_are_divided_among_all_processes_and_large_ones_into_usual_shards() -> None:
    assert pace().size(160) == 10
    assert pace().size(1) == 1
    assert pace().size(100_000) == 250
    assert pace(rate=2.0).size(100_000) == 165


def test_without_a_rate_a_slow_service_is_assumed_and_said() -> None:
    with pytest.raises(ConfigurationError, match="10 rooms/s assumed, as no rate is given"):
        pace(rate=None).check(10_000)


def test_processes_whose_shards_nobody_delivers_again_have_no_limit() -> None:
    assert pace(redelivery=math.inf).size(10_000) == 250
