"""Workers that are killed and stopped while they work, judged by the ledger of the service."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from workers.judge import Trial, run
from workers.sandbox_process import LATE
from workers.settings import ATTEMPT, LEASE, REDELIVERY, SETTLE, STOPPED, WORKER_TTL

from videoapi.bulk.lease import MARGIN

# Dask's scheduler closes a worker that it has dismissed. One that wakes up reads the message to do so within
# milliseconds. Until then it has read the responses that came while it was stopped, and each of them lets another
# create go: so creates take a while, and no rate holds them back.
ON_DASK = Trial(engine="dask", rooms=10_000, workers=8, rate=None, takes=0.5, stopped=20.0)
# The rate makes the job last for three minutes, which is more than twenty kills.
ON_TASKIQ = Trial(engine="taskiq", rooms=10_000, workers=8, rate="20/s")
LONG = [ON_TASKIQ, ON_DASK]


def test_the_times_of_the_judge_bring_about_what_they_must() -> None:
    # A late create is settled, an attempt fits into a lease, and a stopped worker wakes up when it is replaced.
    assert SETTLE > LATE
    assert LEASE > ATTEMPT + MARGIN
    assert max(LEASE, REDELIVERY) < STOPPED
    assert ON_DASK.takes < SETTLE
    # Ten heartbeats until it is dismissed, the time until the scheduler looks, and a look-back.
    assert ON_DASK.stopped > 5.0 + WORKER_TTL + SETTLE


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_room_is_lost_or_created_twice(tmp_path: Path) -> None:
    result = run(Trial(engine="taskiq", rooms=300, workers=2, rate="60/s", every=4.0, most=3), tmp_path)
    assert result.kills
    assert result.verdict.innocent, result


@pytest.mark.scale
@pytest.mark.byhand
@pytest.mark.parametrize("trial", LONG, ids=lambda trial: trial.engine)
def test_ten_thousand_rooms(trial: Trial, tmp_path: Path) -> None:
    result = run(trial, tmp_path)
    print(result)
    assert result.kills > 20
    assert result.stops > 20
    assert result.verdict.innocent, result


@pytest.mark.scale
@pytest.mark.byhand
@pytest.mark.parametrize("trial", LONG, ids=lambda trial: trial.engine)
def test_without_the_fence_the_judge_finds_rooms_that_were_created_twice(trial: Trial, tmp_path: Path) -> None:
    result = run(attrs.evolve(trial, fence=False), tmp_path)
    print(result)
    assert result.verdict.twice
