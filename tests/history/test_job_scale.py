"""Jobs of 1,500 creates, killed eight times: 40 % faults, 5 % refusals, with and without a journal.

`make test-scale` runs five seeds. Run twenty of your choice by hand, printed as they end, with

    SCALE_SEEDS=20 make test-scale ARGS="tests/history/test_job_scale.py -s"

`SCALE_FIRST_SEED` sets the first one, 300 by default; the number 1 repeats a single seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import attrs
import pytest

from history.checker import check
from history.lives import Plan, arrived, live
from history.runs import KINDS, checks_left, quiet, trouble, truth_of
from history.worlds import convict
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.scale

ROOMS = 1500
KILLS = 8
REFUSALS = 0.05
# Each 429 pauses the account for half a second and more, so there are only a few.
FAULTS = (*(kind for kind in KINDS if kind != "throttle"),) * 12 + ("throttle",)
SETTLE = 0.7
"""More than late execution and list lag together, three times, for a busy machine."""
FIRST = int(os.environ.get("SCALE_FIRST_SEED", "300"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("SCALE_SEEDS", "5")))


@pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_job_killed_eight_times_creates_each_room_once(seed: int, journal: bool, tmp_path: Path) -> None:
    began = time.monotonic()
    rng = random.Random(seed)
    with Sandbox(seed=seed).in_thread() as sandbox:
        trouble(sandbox, seed, ROOMS, refusals=REFUSALS, kinds=FAULTS)
        plan = Plan.of(sandbox, f"job {seed}", ROOMS, tmp_path, journal=journal)
        plan = attrs.evolve(plan, settle=SETTLE)
        share = ROOMS // KILLS
        for life in range(KILLS):
            ended = await live(sandbox, attrs.evolve(plan, life=life), arrived(sandbox, rng.randint(share // 4, share)))
            assert not ended, "the job ended before it was to be killed"
        async with asyncio.timeout(120):
            assert await live(sandbox, attrs.evolve(plan, life=KILLS))
        await quiet(sandbox)
        history = plan.history()
        truth = truth_of(sandbox, checks=checks_left(sandbox), ended={KILLS})

    last = Counter(event.what for event in history if event.life == KILLS and event.what in ("ok", "fail", "unknown"))
    print(f"\nseed {seed}, {'with' if journal else 'without'} journal: {time.monotonic() - began:.1f} s, {dict(last)}")
    assert sum(last.values()) == ROOMS
    convict(check(history, truth))
    assert len(truth.live) == last["ok"], "each room has an acknowledgement"
