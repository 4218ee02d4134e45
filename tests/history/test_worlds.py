"""Seeded worlds in which jobs live: kills, journals that come and go, and what other clients do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from history.checker import check
from history.lives import Plan, arrived, live
from history.runs import LAG, REFUSAL, checks_left, is_check, quiet, trouble, truth_of
from history.worlds import World, convict, specs, world
from videoapi import ConfigurationError, Outcome, Request, RoomSpec, Send, SessionManager
from videoapi.bulk import BulkOutcome
from videoapi.sandbox import Sandbox

SEEDS = (1, 2)
JOURNALS = pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
seeded = pytest.mark.parametrize("seed", SEEDS)
LONGER = 0.8
"""Settle time where requests execute so late that a client which does not wait is sure to be wrong."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(50)]


def lost(seed: int, creates: int, late: float = 0.12) -> list[Any]:
    """Return a plan in which most creates lose their response, and half of those execute a little later."""
    rng = random.Random(seed)
    kinds: list[Any] = ["drop_after", "drop_before", ("late", {"seconds": late}), ("late", {"seconds": late / 2}), None]
    return [rng.choice(kinds) for _ in range(creates)]


class TestRefusalsAndKills:
    @JOURNALS
    @seeded
    async def test_refused_creates_of_a_killed_job_are_created_once(
        self, seed: int, journal: bool, tmp_path: Path
    ) -> None:
        rooms, kills = 40, 2
        async with Sandbox(seed=seed) as sandbox:
            print(f"seed {seed}")
            rng = random.Random(seed)
            trouble(sandbox, seed, rooms, refusals=0.2)
            plan = Plan.of(sandbox, f"job {seed}", rooms, tmp_path, journal=journal)
            for life in range(kills):
                await live(sandbox, attrs.evolve(plan, life=life), arrived(sandbox, rng.randint(10, rooms)))
            assert await live(sandbox, attrs.evolve(plan, life=kills))
            await quiet(sandbox)
            convict(check(plan.history(), truth_of(sandbox, checks=checks_left(sandbox))))

    async def test_creates_refused_first_and_in_flight_when_killed_are_created_once(self, tmp_path: Path) -> None:
        rooms = 12
        async with Sandbox(seed=1) as sandbox:
            plan = Plan.of(sandbox, "job", rooms, tmp_path, journal=True)
            sandbox.plan([REFUSAL] * rooms)
            assert await live(sandbox, plan)
            # They execute soon after the process that sent them is dead.
            sandbox.plan([("late", {"seconds": 0.25})] * rooms)
            assert not await live(sandbox, attrs.evolve(plan, life=1), arrived(sandbox, rooms))
            built = World(sandbox)
            async with built.client() as client:
                await built.many(client, specs(rooms), job_id="job", journal=plan.journal)
            convict(await built.violations())

    @JOURNALS
    async def test_self_check_rooms_of_a_killed_job_are_deleted_by_the_next(
        self, journal: bool, tmp_path: Path
    ) -> None:
        rooms = 6
        async with Sandbox(seed=1) as sandbox:
            plan = Plan.of(sandbox, "job", rooms, tmp_path, journal=journal)
            sandbox.plan(["drop_before"] * rooms if journal else [])
            assert not await live(sandbox, plan, lambda: bool(checks_left(sandbox)))
            assert checks_left(sandbox)
            assert await live(sandbox, attrs.evolve(plan, life=1))
            convict(check(plan.history(), truth_of(sandbox, checks=checks_left(sandbox))))


class TestJournals:
    @seeded
    async def test_journal_added_to_a_running_job(self, seed: int, tmp_path: Path) -> None:
        async with world(seed, list_lag=LAG) as it:
            it.sandbox.plan([None] * 4 + lost(seed, 20))
            async with it.client() as first:
                await it.each(first, specs(30), job_id="j", leave=lambda outcome: outcome.index == 3)
            async with it.client() as second:
                await it.many(second, specs(30), job_id="j", journal=tmp_path / "journal")

    @seeded
    async def test_journal_lost_between_runs(self, seed: int, tmp_path: Path) -> None:
        journal = tmp_path / "journal"
        async with world(seed, list_lag=LAG) as it:
            it.sandbox.plan([None] * 4 + lost(seed, 20))
            async with it.client() as first:
                await it.each(first, specs(30), job_id="j", journal=journal, leave=lambda one: one.index == 3)
            for file in tmp_path.iterdir():  # noqa: ASYNC240
                file.unlink()
            # A list that does not show any room of the job yet cannot show that the job is not new.
            await asyncio.sleep(LAG)
            async with it.client() as second:
                await it.many(second, specs(30), job_id="j", journal=journal)

    @seeded
    async def test_journal_of_another_account_is_refused_and_the_job_continues_without(
        self, seed: int, tmp_path: Path
    ) -> None:
        journal = tmp_path / "journal"
        async with world(seed) as staging, world(seed + 100) as production:
            trouble(staging.sandbox, seed, 20)
            trouble(production.sandbox, seed + 1, 20)
            async with staging.client() as client:
                await staging.many(client, specs(20), job_id="j", journal=journal)
            async with production.client() as client:
                with pytest.raises(ConfigurationError):
                    await client.rooms.create_many(specs(20), job_id="j", journal=journal)
                assert production.sandbox.ledger.requests() == 0
                await production.many(client, specs(20), job_id="j")
            assert len(production.sandbox.ledger.rooms) == 20


class TestLongLivedClients:
    @seeded
    async def test_resolve_of_creates_that_another_client_just_sent(self, seed: int) -> None:
        async with world(seed, settle=LONGER, list_lag=LAG) as it, it.client() as old:
            # One carries its reference in `owner_ref`, the other in `data`.
            await it.many(old, [RoomSpec("Room of mine"), RoomSpec("Room of ours", owner_ref="our-1")])
            await asyncio.sleep(1.5 * LONGER)
            it.sandbox.plan(lost(seed, 10, late=0.5))
            references: dict[str, str] = {}
            await it.sent_by_another([f"Room {n}" for n in range(10)], references)
            await asyncio.gather(*(it.resolve(old, *sent) for sent in references.items()))
            assert references

    @JOURNALS
    @seeded
    async def test_old_client_resumes_a_job_that_another_just_left(
        self, seed: int, journal: bool, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"job_id": "j", "journal": tmp_path / "journal" if journal else None}
        async with world(seed, settle=LONGER, list_lag=LAG) as it, it.client() as old:
            await it.many(old, [RoomSpec("Room of mine"), RoomSpec("Room of ours", owner_ref="our-1")])
            await asyncio.sleep(1.5 * LONGER)
            it.sandbox.plan([None] * 4 + lost(seed, 20, late=0.5))
            async with it.client() as first:
                await it.each(first, specs(30), leave=lambda outcome: outcome.index == 3, **options)
            await it.many(old, specs(30), **options)


class TestChangedSpecs:
    @JOURNALS
    @seeded
    async def test_settings_and_data_differ_in_the_second_run(self, seed: int, journal: bool, tmp_path: Path) -> None:
        options: dict[str, Any] = {"job_id": "j", "journal": tmp_path / "journal" if journal else None}
        async with world(seed, list_lag=LAG) as it:
            it.sandbox.plan([None] * 4 + lost(seed, 20))
            async with it.client() as first:
                await it.each(first, specs(30, data="1"), leave=lambda outcome: outcome.index == 3, **options)
            async with it.client() as second:
                report = await it.many(second, specs(30, data="2"), **options)
            assert report.counts == {"created": 30}

    @JOURNALS
    @seeded
    async def test_names_differ_in_the_second_run(self, seed: int, journal: bool, tmp_path: Path) -> None:
        options: dict[str, Any] = {"job_id": "j", "journal": tmp_path / "journal" if journal else None}
        async with world(seed, list_lag=LAG) as it:
            it.sandbox.plan([None] * 4 + lost(seed, 20))
            async with it.client() as first:
                await it.each(first, specs(30), leave=lambda outcome: outcome.index == 3, **options)
            await quiet(it.sandbox)
            earlier = {entry.name: entry.room_id for entry in it.sandbox.ledger.created if not is_check(entry)}
            renamed = [RoomSpec(f"{spec.name} renamed", key=spec.key) for spec in specs(30)]
            async with it.client() as second:
                report = await it.many(second, renamed, **options)
            named = {f"Room {one.index}": getattr(one.error, "room_id", None) for one in report.failures}
            assert named == earlier
            # The new names of keys that had no room are honest creates; the old rooms had theirs from the first run.
            later = [event for event in it.events if event.life == 1 and event.what == "unknown"]
            assert later == []
            it.events = [event for event in it.events if event.what != "unknown"]
            it.ended.discard(0)


class TestDedupe:
    @pytest.mark.parametrize("way", ["create_each", "create_many"])
    @seeded
    async def test_dedupe_deletes_only_what_was_not_acknowledged(self, seed: int, way: str) -> None:
        rng = random.Random(seed)
        async with world(seed) as it:

            async def twice(request: Request, send: Send) -> Outcome:
                """Send some creates twice, and acknowledge the second room."""
                if request.reference is not None and request.body and rng.random() < 0.4:
                    await send(request)
                    it.doubled.update(spec.name for spec in specs(20) if f'"{spec.name}"'.encode() in request.body)
                return await send(request)

            async with it.client(middleware=[twice]) as client:
                run = it.each if way == "create_each" else it.many
                await run(client, specs(20), dedupe="delete", audit="settled")
            assert it.doubled


class TestRoomsDeletedByOthers:
    @seeded
    async def test_acknowledged_and_self_check_rooms_are_deleted_during_the_run(self, seed: int) -> None:
        async with world(seed, list_lag=LAG) as it, it.client() as others:
            it.sandbox.plan([None] * 45 + lost(seed, 15))
            async with it.client() as client, it.removing_checks(2):
                removals: list[asyncio.Task[None]] = []

                def deleted(outcome: BulkOutcome) -> bool:
                    if outcome.room_id is not None and outcome.index < 40:
                        removals.append(asyncio.create_task(it.remove(others, outcome.room_id)))
                    return False

                report = await it.each(client, specs(60), leave=deleted, concurrency=8)
                await asyncio.gather(*removals)
            assert len(it.removed) >= 40
            assert report.counts == {"created": 60}

    @seeded
    async def test_run_after_a_run_whose_rooms_are_gone(self, seed: int) -> None:
        async with world(seed, list_lag=LAG) as it, it.client() as others, it.client() as client:
            first = await it.many(client, specs(30), job_id="first")
            for outcome in first.made:
                await it.remove(others, outcome.room_id or "")
            it.sandbox.plan(lost(seed, 15))
            await it.many(client, specs(20, start=30), job_id="second")


class TestAudit:
    @pytest.mark.parametrize("way", ["create_each", "create_many"])
    @seeded
    async def test_list_and_rooms_appear_late(self, seed: int, way: str) -> None:
        async with world(seed, settle=0.6, list_lag=0.4, get_lag=0.4) as it:
            async with it.client() as client:
                run = it.each if way == "create_each" else it.many
                await run(client, specs(25), job_id="j")

    @seeded
    async def test_two_runs_of_one_job_at_once(self, seed: int) -> None:
        async with world(seed, list_lag=LAG) as it:
            async with it.client() as one, it.client() as other:
                await asyncio.gather(*(it.many(client, specs(25), job_id="j") for client in (one, other)))
            # One run of a job at a time is assumed. Without that, the report must not hide what it costs.
            it.allowed.add("P1")
            assert it.sandbox.ledger.duplicates()


class TestQuietSources:
    @pytest.mark.parametrize("job_id", [None, "j"], ids=["without job", "with job"])
    @seeded
    async def test_source_falls_silent_and_the_run_ends_by_its_timeout(self, seed: int, job_id: str | None) -> None:
        rng = random.Random(seed)
        async with world(seed, list_lag=LAG) as it:
            it.sandbox.plan([None] * 3 + lost(seed, 10))
            closed = []

            async def stalls() -> AsyncIterator[RoomSpec]:
                try:
                    for spec in specs(10):
                        await asyncio.sleep(rng.uniform(0, 0.02))
                        yield spec
                    await asyncio.Event().wait()
                finally:
                    closed.append(True)

            async with it.client() as client:
                async with asyncio.timeout(10):
                    report = await it.many(client, stalls(), timeout=1, job_id=job_id)
                assert report.stopped is not None
                assert not report.exhausted
                assert closed
                for outcome in report.unknown:
                    await it.resolve(client, f"Room {outcome.index}", outcome.reference or "")


class TestTenants:
    @seeded
    async def test_two_tenants_share_a_session_manager(self, seed: int, tmp_path: Path) -> None:
        async with world(seed) as one, world(seed + 100) as other, SessionManager() as manager:
            for number, tenant in enumerate((one, other)):
                trouble(tenant.sandbox, seed + number, 40)

            async def run(tenant: World, journal: Path) -> None:
                async with tenant.client(session=manager) as client:
                    await tenant.many(client, specs(40), job_id="j", journal=journal)

            await asyncio.gather(run(one, tmp_path / "one"), run(other, tmp_path / "other"))
            # The first tenant is refused, which does not concern the second.
            one.sandbox.plan([])
            one.sandbox.fault("rooms.create", "suspended", times=None)
            async with one.client(session=manager) as client:
                refused = await one.many(client, specs(10, start=40))
            async with other.client(session=manager) as client:
                await other.many(client, specs(10, start=40))
            assert refused.stopped is not None
            assert len(other.sandbox.ledger.rooms) >= 0.97 * 50
