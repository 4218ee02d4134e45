"""Scheduled rooms whose start has passed: not sent, but found by a later run of their job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.jobs import SETTLE, abandon_job, client_of, created, run_job

from videoapi import RoomSettings, RoomSpec, ValidationError
from videoapi.sandbox import Sandbox

LONG_AGO = datetime(2020, 1, 31, 10, tzinfo=UTC)
JOURNALS = pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A service on a day on which the start is in the future."""
    async with Sandbox(seed=5, clock=lambda: LONG_AGO - timedelta(days=1)) as sandbox:
        yield sandbox


def settings(when: datetime = LONG_AGO) -> RoomSettings:
    return RoomSettings.scheduled_at(when, minutes=30)


def spec(name: str, when: datetime = LONG_AGO) -> RoomSpec:
    return RoomSpec(name, settings=settings(when), key=name)


async def test_create_whose_start_has_passed_is_not_sent(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        for given in (settings(), settings().to_wire()):
            with pytest.raises(ValidationError, match="has passed; the clock of this machine shows") as failed:
                await client.rooms.create(name="A", settings=given)
            assert (failed.value.field, failed.value.code) == ("settings.scheduled_time", 10006)
            assert not failed.value.may_have_executed
        assert not sandbox.ledger.count("rooms.create")


async def test_create_is_sent_without_validation_or_if_only_the_clocks_differ(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        await client.rooms.create(name="A", settings=settings(), validate=False)
        await client.rooms.create(name="B", settings=settings(datetime.now(UTC) - timedelta(minutes=1)))
    assert await created(sandbox) == ["A", "B"]


async def test_run_sends_the_others(sandbox: Sandbox) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    async with client_of(sandbox) as client:
        report = await client.rooms.create_many([spec("A"), spec("B", later), spec("C")])
    assert report.counts == {"created": 1, "failed": 2}
    assert {outcome.error.code for outcome in report.failures if outcome.error} == {10006}
    assert await created(sandbox) == ["B"]


@JOURNALS
async def test_job_that_runs_again_finds_rooms_whose_start_has_passed(
    sandbox: Sandbox, tmp_path: Path, journal: bool
) -> None:
    options = {"journal": tmp_path / "journal"} if journal else {}
    first = await run_job(sandbox, [spec("A"), spec("B")], validate=False, **options)

    again = await run_job(sandbox, [spec("A"), spec("B"), spec("too late")], **options)

    assert [outcome.room_id for outcome in again.made] == [outcome.room_id for outcome in first.made]
    assert [outcome.key for outcome in again.failures] == ["too late"]
    assert await created(sandbox) == ["A", "B"]
    # As often as it runs: nothing of the item that was not sent is in doubt.
    third = await run_job(sandbox, [spec("A"), spec("B"), spec("too late")], settle=60 * SETTLE, **options)
    assert third.counts == {"created": 2, "failed": 1}


@JOURNALS
async def test_job_that_was_killed_finds_the_room_of_a_lost_response(
    sandbox: Sandbox, tmp_path: Path, journal: bool
) -> None:
    options = {"journal": tmp_path / "journal"} if journal else {}
    await abandon_job(sandbox, [spec("A")], {"A": "drop_after"}, validate=False, **options)

    again = await run_job(sandbox, [spec("A")], **options)

    assert again.counts == {"created": 1}
    assert await created(sandbox) == ["A"]
