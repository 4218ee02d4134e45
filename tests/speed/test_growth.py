"""The documented cost formulas, checked where the result is known."""

from __future__ import annotations

import pytest

from benchmarks.speed.fitting import middle, through
from benchmarks.speed.growth import creates_at, flight_seconds, reads_at


@pytest.mark.parametrize("relative", [False, True])
def test_fit_recovers_a_line(relative: bool) -> None:
    xs = [1, 10, 100]
    line = through(xs, [5 + 3 * x for x in xs], relative=relative)
    assert line.fixed == pytest.approx(5)
    assert line.each == pytest.approx(3)


def test_relative_fit_is_not_dominated_by_large_points() -> None:
    xs, ys = [1, 2, 500, 1000], [1.0, 2.0, 500.0, 1100.0]
    assert abs(through(xs, ys, relative=True).at(1) - 1) < 0.1 < abs(through(xs, ys).at(1) - 1)


def test_median_is_taken_per_point() -> None:
    assert middle([[1, 9], [2, 7], [30, 8]]) == [2, 8]


def test_outage_costs_50_requests_for_any_number_of_calls() -> None:
    for calls in (500, 2000, 100_000):
        assert (reads_at(1.0, calls) - 1) * calls == pytest.approx(50)


def test_few_errors_cost_three_attempts() -> None:
    assert reads_at(0.0, 1000) == 1
    assert reads_at(0.1, 1000) == pytest.approx(1.11)
    # The initial budget of 500 is worth less per call, the more calls there are.
    assert reads_at(0.9, 10_000) < reads_at(0.9, 1000) < reads_at(0.9, 10) == pytest.approx(2.71)


def test_throttled_creates_are_sent_until_accepted() -> None:
    assert creates_at(0.5) == 2


def test_calls_in_flight_share_latency_until_cpu_bound() -> None:
    assert flight_seconds(100, 1, 0.02, 0.0002) == pytest.approx(2)
    assert flight_seconds(100, 4, 0.02, 0.0002) == pytest.approx(0.5)
    assert flight_seconds(100_000, 1000, 0.02, 0.0002) == pytest.approx(20)
