"""Several processes share an account under disturbances. The judge convicts a gate that does not share."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.judge import Plan, Verdict, run, scaled, worst
from support.redis_server import BINARY


def held(verdict: Verdict) -> None:
    print(verdict.figures)
    assert verdict.problems == []


def test_judge_counts_the_worst_window() -> None:
    times = [0.0, 0.5, 1.0, 1.2, 1.4, 5.0]
    assert worst(times, 1.0, [(-1, 10)]) == 4
    assert worst(times, 1.0, [(2, 10)]) == 1
    assert worst(times, 0.1, [(-1, 10)]) == 1


@pytest.mark.slow
@pytest.mark.skipif(BINARY is None, reason="redis-server is not installed")
async def test_two_processes_share_a_rate_through_a_storm_and_an_outage(tmp_path: Path) -> None:
    held(await run(scaled(9.0, processes=2, rate=60), tmp_path))


@pytest.mark.slow
async def test_judge_convicts_local_gates_of_the_full_rate(tmp_path: Path) -> None:
    verdict = await run(Plan(processes=2, rate=40, seconds=3.0, storm=None, away=None, gate="local"), tmp_path)
    assert [problem for problem in verdict.problems if "requests in one second" in problem]


@pytest.mark.scale
@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_four_processes_share_a_rate(how: str, tmp_path: Path) -> None:
    held(await run(scaled(40.0, processes=4, rate=200, how=how), tmp_path))
