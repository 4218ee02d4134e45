"""Seeded runs with faults: no duplicate, lost or unrequested room, and `fail` is definitive."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import attrs
import pytest
from support.clients import Skipped

from history.checker import check
from history.lives import Plan, arrived, live
from history.runs import Diary, client_of, healed, one, quiet, trouble, truth_of
from videoapi import RoomSpec
from videoapi.sandbox import Sandbox

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow


async def _bulk(seed: int, rooms: int) -> None:
    print(f"seed {seed}, {rooms} creates")
    diary = Diary()
    async with Sandbox(seed=seed) as sandbox:
        trouble(sandbox, seed, rooms)
        async with Skipped().manager() as manager, client_of(sandbox, diary, session=manager) as client:
            specs = (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(rooms))
            report = await client.rooms.create_many(specs, concurrency=50, job_id=f"job {seed}", audit="settled")
            for outcome in (*report.made, *report.failures, *report.unknown, *report.not_sent):
                diary.outcome(outcome)
            assert report.total == rooms
            assert [outcome.index for outcome in report.made] == sorted(outcome.index for outcome in report.made)
            assert report.audited
            assert report.duplicates == {}
            assert report.missing == []
            await healed(client, diary, sandbox)
        assert check(diary.events, truth_of(sandbox, [diary])) == []
        assert len(sandbox.ledger.rooms) >= 0.97 * rooms


async def _singles(seed: int, rooms: int) -> None:
    print(f"seed {seed}, {rooms} creates one by one")
    diary = Diary()
    async with Sandbox(seed=seed) as sandbox:
        trouble(sandbox, seed, rooms)
        async with Skipped().manager() as manager, client_of(sandbox, diary, session=manager, timeout=4) as client:
            turns = asyncio.Semaphore(32)

            async def create(number: int) -> None:
                async with turns:
                    way = ("look", "resend", "strict")[number % 3]
                    await one(client, diary, f"Room {number}", on_unknown=way)

            await asyncio.gather(*map(create, range(rooms)))
            await healed(client, diary, sandbox)
        assert check(diary.events, truth_of(sandbox, [diary])) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_bulk_run_with_faults_creates_each_room_once(seed: int) -> None:
    await _bulk(seed, 150)


async def test_single_creates_with_faults_create_each_room_at_most_once() -> None:
    await _singles(4, 90)


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(100, 120))
async def test_large_bulk_run_with_faults_creates_each_room_once(seed: int) -> None:
    await _bulk(seed, 1500)


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(200, 203))
async def test_many_single_creates_with_faults_create_no_room_twice(seed: int) -> None:
    await _singles(seed, 600)


async def _killed(seed: int, rooms: int, kills: int, folder: Path, *, journal: bool, suspend: int = 0) -> None:
    print(f"seed {seed}, {rooms} creates, {kills} kills")
    rng = random.Random(seed)
    async with Sandbox(seed=seed) as sandbox:
        trouble(sandbox, seed, rooms)
        plan = Plan.of(sandbox, f"job {seed}", rooms, folder, journal=journal)
        share = rooms // (kills + 1)
        for life in range(kills):
            assert not await live(sandbox, attrs.evolve(plan, life=life), arrived(sandbox, rng.randint(2, share)))
        assert await live(sandbox, attrs.evolve(plan, life=kills), suspend=suspend)
        await quiet(sandbox)
        history = plan.history()
        ends = {event.cref for event in history if event.life == kills and event.what in ("ok", "fail", "unknown")}
        assert len(ends) == rooms
        assert check(history, truth_of(sandbox)) == []


@pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
async def test_job_killed_twice_resumes_and_creates_each_room_once(journal: bool, tmp_path: Path) -> None:
    await _killed(31 + journal, 60, 2, tmp_path, journal=journal)


async def test_suspended_job_creates_each_room_once(tmp_path: Path) -> None:
    await _killed(41, 40, 0, tmp_path, journal=False, suspend=2)
