"""Workers that are killed and stopped while they work, judged by the ledger of the service."""

from __future__ import annotations

from pathlib import Path

import pytest
from workers.judge import Trial, run
from workers.sandbox_process import LATE
from workers.settings import ATTEMPT, LEASE, REDELIVERY, SETTLE, STOPPED

from videoapi.bulk.lease import MARGIN


def test_the_times_of_the_judge_bring_about_what_they_must() -> None:
    # A late create is settled, an attempt fits into a lease, and a stopped worker wakes up when it is replaced.
    assert SETTLE > LATE
    assert LEASE > ATTEMPT + MARGIN
    assert max(LEASE, REDELIVERY) < STOPPED


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_room_is_lost_or_created_twice(tmp_path: Path) -> None:
    result = run(Trial(engine="taskiq", rooms=300, workers=2, rate="60/s", every=4.0, most=3), tmp_path)
    assert result.kills
    assert result.verdict.innocent, result


@pytest.mark.scale
@pytest.mark.byhand
@pytest.mark.parametrize("engine", ["taskiq", "dask"])
def test_ten_thousand_rooms(engine: str, tmp_path: Path) -> None:
    result = run(Trial(engine=engine, rooms=10_000, workers=8, rate="200/s"), tmp_path)
    print(result)
    assert result.kills > 20
    assert result.stops > 20
    assert result.verdict.innocent, result


@pytest.mark.scale
@pytest.mark.byhand
def test_without_the_fence_the_judge_finds_rooms_that_were_created_twice(tmp_path: Path) -> None:
    # Not on Dask: its scheduler closes a worker that was stopped before that sends much.
    result = run(Trial(engine="taskiq", rooms=10_000, workers=8, rate="200/s", fence=False), tmp_path)
    print(result)
    assert result.verdict.twice
