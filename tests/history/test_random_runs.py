"""Seeded runs with faults: no duplicate, lost or unrequested room, and `fail` is definitive."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.clients import Skipped

from history.checker import Event, check
from history.runs import SETTLE, Diary, client_of, healed, one, quiet, trouble, truth_of
from videoapi import RoomSpec
from videoapi.sandbox import Sandbox


async def _bulk(seed: int, rooms: int) -> None:
    print(f"seed {seed}, {rooms} creates")
    diary = Diary()
    async with Sandbox(seed=seed) as sandbox:
        trouble(sandbox, seed, rooms)
        async with Skipped().manager() as manager, client_of(sandbox, diary, session=manager) as client:
            specs = (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(rooms))
            report = await client.rooms.create_many(specs, concurrency=50, job_id=f"job {seed}")
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


async def _life(sandbox: Sandbox, config: dict[str, Any], kill_after: int | None, stops: int = 0) -> bool:
    """Run the job until it ends or that many more creates have arrived; return whether it ended.

    `stops` times, the process is suspended for longer than the settle time without noticing.
    """
    before = sandbox.ledger.requests("rooms.create")
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "history.victim",
        json.dumps(config),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        ended = asyncio.ensure_future(victim.wait())
        while not ended.done():
            if kill_after is not None and sandbox.ledger.requests("rooms.create") - before >= kill_after:
                break
            if stops and sandbox.ledger.requests("rooms.create") - before >= 10 * stops:
                stops -= 1
                victim.send_signal(signal.SIGSTOP)
                await asyncio.sleep(2 * SETTLE)
                victim.send_signal(signal.SIGCONT)
            await asyncio.wait([ended], timeout=0.005)
        assert stops == 0
    finally:
        if victim.returncode is None:
            victim.kill()
        await victim.wait()
    assert victim.returncode in (0, -9)
    return victim.returncode == 0


async def _killed(seed: int, rooms: int, kills: int, folder: Path, *, journal: bool, stops: int = 0) -> None:
    print(f"seed {seed}, {rooms} creates, {kills} kills")
    rng = random.Random(seed)
    async with Sandbox(seed=seed) as sandbox:
        trouble(sandbox, seed, rooms)
        config = {
            "app_id": sandbox.app_id,
            "app_key": sandbox.app_key,
            "base_url": sandbox.base_url,
            "settle": SETTLE,
            "job": f"job {seed}",
            "journal": str(folder / "journal.sqlite") if journal else None,
            "diary": str(folder / "diary"),
            "rooms": rooms,
            "concurrency": 16,
        }
        lives = 0
        share = rooms // (kills + 1)
        while not await _life(
            sandbox, {**config, "life": lives}, rng.randint(2, share) if lives < kills else None, stops
        ):
            lives += 1
        await quiet(sandbox)
        assert lives == kills
        history = [Event(**json.loads(line)) for line in (folder / "diary").read_text().splitlines()]
        ends = {event.cref for event in history if event.life == lives and event.what in ("ok", "fail", "unknown")}
        assert len(ends) == rooms
        assert check(history, truth_of(sandbox)) == []


@pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
async def test_job_killed_twice_resumes_and_creates_each_room_once(journal: bool, tmp_path: Path) -> None:
    await _killed(31 + journal, 60, 2, tmp_path, journal=journal)


async def test_suspended_job_creates_each_room_once(tmp_path: Path) -> None:
    await _killed(41, 40, 0, tmp_path, journal=False, stops=2)


@pytest.mark.scale
@pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
@pytest.mark.parametrize("seed", [301, 302, 303])
async def test_large_job_killed_eight_times_creates_each_room_once(seed: int, journal: bool, tmp_path: Path) -> None:
    await _killed(seed, 1500, 8, tmp_path, journal=journal)
