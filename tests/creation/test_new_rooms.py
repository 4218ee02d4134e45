"""Reads of a room that was just created may lag: a 404 proves that a room is gone once a settle time has passed."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest
from support.jobs import age_journal, client_of, keyed

from videoapi import CreateOutcomeUnknown, RoomSpec, new_reference
from videoapi.sandbox import Sandbox

LAG, SETTLE = 0.5, 1.0
DAY = 86_400


@pytest.fixture
async def journal(sandbox: Sandbox, tmp_path: Path) -> Path:
    """The journal of a job of three rooms, which was just created, and which no read shows yet."""
    path = tmp_path / "journal"
    sandbox.set(list_lag=LAG, get_lag=LAG)
    async with client_of(sandbox, settle=SETTLE) as client:
        report = await client.rooms.create_many(keyed(3), job_id="j", journal=path, audit=False)
    assert report.counts == {"created": 3}
    return path


async def test_room_too_new_to_be_read_is_not_missing(
    sandbox: Sandbox, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "videoapi")
    async with client_of(sandbox, settle=75) as client:
        report = await client.rooms.create_many(keyed(3), job_id="j", journal=journal)

    assert (report.counts["created"], report.missing, report.audited) == (3, [], None)
    (message,) = [record.getMessage() for record in caplog.records]
    assert re.search(r"too new to be read: 3\. .* repeat the run in 7\d s, or with audit=\"settled\"\.", message)


async def test_settled_audit_tells_new_rooms_from_deleted_ones(sandbox: Sandbox, journal: Path) -> None:
    async with client_of(sandbox, settle=SETTLE) as client:
        deleted = next(iter(sandbox.ledger.rooms))
        await client.rooms.delete(deleted)
        report = await client.rooms.create_many(keyed(3), job_id="j", journal=journal, audit="settled")

    assert report.audited is not None
    assert [outcome.room_id for outcome in report.missing] == [deleted]


async def test_deleted_room_of_an_old_journal_is_missing_at_once(sandbox: Sandbox, journal: Path) -> None:
    deleted = next(iter(sandbox.ledger.rooms))
    async with client_of(sandbox, settle=75) as client:
        await client.rooms.delete(deleted)
        await asyncio.sleep(LAG)
        age_journal(journal, DAY)
        for _ in range(2):
            # The first run records nothing, so the journal is as old for the second one.
            report = await client.rooms.create_many(keyed(3), job_id="j", journal=journal)
            assert [outcome.room_id for outcome in report.missing] == [deleted]


async def test_renamed_spec_of_a_room_too_new_to_be_read_is_not_sent_elsewhere(sandbox: Sandbox, journal: Path) -> None:
    renamed = [RoomSpec("another name", key=keyed(1)[0].key)]
    async with client_of(sandbox, settle=75) as client:
        (outcome,) = (await client.rooms.create_many(renamed, job_id="j", journal=journal)).failures
        advice = r"It was deleted since, or is too new to be read\. Repeat the run in 7\d s\."
        assert re.search(advice, str(outcome.error))
        await asyncio.sleep(LAG)
        (outcome,) = (await client.rooms.create_many(renamed, job_id="j", journal=journal)).failures
        assert "To give that room another name, update its name alone" in str(outcome.error)


async def test_control_room_too_new_to_be_read_is_named_as_such(sandbox: Sandbox, journal: Path) -> None:
    room_id = next(iter(sandbox.ledger.rooms))
    async with client_of(sandbox, settle=75) as client:
        with pytest.raises(CreateOutcomeUnknown, match=r"or is too new to be read\. .* ask again in 75 s\.$"):
            await client.rooms.resolve(new_reference(), control=room_id)


async def test_known_room_too_new_to_be_read_still_shows_the_lag_of_the_list(sandbox: Sandbox) -> None:
    sandbox.set(list_lag=5, get_lag=LAG)
    async with client_of(sandbox, settle=75) as client:
        await client.rooms.create(name="known")
        for _ in range(2):
            assert client._creator.scanner.settle == 75
            with pytest.raises(CreateOutcomeUnknown):
                await client.rooms.resolve(new_reference(), timeout=LAG / 2)
            await asyncio.sleep(LAG)
        assert client._creator.scanner.settle > 75
