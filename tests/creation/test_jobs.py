"""Bulk jobs: resolving lost responses, resuming after a crash, and the final audit."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from videoapi import ConfigurationError, RoomSpec, ValidationError, VideoClient
from videoapi.sandbox import Sandbox


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(count))


def client_of(sandbox: Sandbox) -> VideoClient:
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3)


async def test_lost_responses_are_resolved_and_absent_rooms_resent(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=10, after=5)
    sandbox.fault("rooms.create", "drop_before", times=10, after=20)

    report = await client.rooms.create_many(specs(60), audit="settled")

    assert report.counts == {"created": 60}
    assert len(sandbox.ledger.rooms) == 60
    assert sandbox.ledger.duplicates() == {}
    assert report.audited
    assert report.duplicates == {}
    assert report.missing == []


async def test_strict_resolves_but_does_not_resend(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=3, after=5)
    sandbox.fault("rooms.create", "drop_before", times=3, after=8)

    report = await client.rooms.create_many(specs(30), concurrency=1, on_unknown="strict")

    assert report.counts == {"created": 27, "failed": 3}
    assert sandbox.ledger.requests("rooms.create") == 30
    assert not any(outcome.error.may_have_executed for outcome in report.failures if outcome.error)


async def test_create_each_yields_resolved_outcomes_last(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=2, after=3)

    async with client.rooms.create_each(specs(20), concurrency=1) as outcomes:
        seen = [outcome async for outcome in outcomes]

    assert [outcome.index for outcome in seen[-2:]] == [3, 4]
    assert all(outcome.status == "created" and outcome.room is not None for outcome in seen)


async def test_leaving_early_reports_unresolved_creates_as_unknown(client: VideoClient, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after", times=2)

    async with client.rooms.create_each(specs(1000), concurrency=1) as outcomes:
        async for _ in outcomes:
            break

    assert len(outcomes.report.unknown) == 2
    assert all(outcome.reference for outcome in outcomes.report.unknown)


async def test_job_resumes_without_local_state(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        first = await client.rooms.create_many(specs(20), job_id="import-7")
    async with client_of(sandbox) as client:
        again = await client.rooms.create_many(specs(25), job_id="import-7")

    assert again.counts == {"created": 25}
    assert [outcome.room_id for outcome in again.made[:20]] == [outcome.room_id for outcome in first.made]
    assert len(sandbox.ledger.rooms) == 25
    assert sandbox.ledger.duplicates() == {}


async def test_jobs_do_not_share_references(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        one = await client.rooms.create_many(specs(3), job_id="one")
        two = await client.rooms.create_many(specs(3), job_id="two")

    assert not {outcome.reference for outcome in one.made} & {outcome.reference for outcome in two.made}
    assert len(sandbox.ledger.rooms) == 6


async def test_resumed_job_sends_nothing_when_the_list_omits_references(sandbox: Sandbox) -> None:
    async with client_of(sandbox) as client:
        await client.rooms.create_many(specs(10), job_id="import-7")
    sandbox.set(list_omits="owner_ref")
    async with client_of(sandbox) as client:
        again = await client.rooms.create_many(specs(10), job_id="import-7")

    assert again.counts == {"unknown": 10}
    assert len(sandbox.ledger.rooms) == 10


class TestJournal:
    async def test_new_job_reads_the_list_once_and_resumed_job_sends_only_the_rest(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        journal = tmp_path / "jobs.sqlite"
        async with client_of(sandbox) as client:
            first = await client.rooms.create_many(specs(20), job_id="j", journal=journal, audit=False)
            assert sandbox.ledger.requests("rooms.list") == 1
        async with client_of(sandbox) as client:
            again = await client.rooms.create_many(specs(25), job_id="j", journal=journal, audit=False)

        assert again.counts == {"created": 25}
        assert [outcome.room_id for outcome in again.made[:20]] == [outcome.room_id for outcome in first.made]
        assert sandbox.ledger.requests("rooms.create") == 25
        assert sandbox.ledger.requests("rooms.list") == 1

    async def test_resumed_job_looks_up_creates_in_progress(self, sandbox: Sandbox, tmp_path: Path) -> None:
        journal = tmp_path / "jobs.sqlite"
        sandbox.fault("rooms.create", "drop_after", times=2, after=3)
        async with client_of(sandbox) as client:
            async with client.rooms.create_each(specs(20), job_id="j", journal=journal, concurrency=1) as outcomes:
                async for outcome in outcomes:
                    if outcome.index == 7:
                        break
        async with client_of(sandbox) as client:
            report = await client.rooms.create_many(specs(20), job_id="j", journal=journal)

        assert report.counts == {"created": 20}
        assert len(sandbox.ledger.rooms) == 20
        assert sandbox.ledger.duplicates() == {}

    async def test_different_spec_under_a_known_key_fails(self, sandbox: Sandbox, tmp_path: Path) -> None:
        journal = tmp_path / "jobs.sqlite"
        async with client_of(sandbox) as client:
            await client.rooms.create_many([RoomSpec("a", key="k")], job_id="j", journal=journal)
            report = await client.rooms.create_many([RoomSpec("b", key="k")], job_id="j", journal=journal)

        assert report.counts == {"failed": 1}
        assert isinstance(report.failures[0].error, ValidationError)

    async def test_file_is_private_and_contains_no_names(self, sandbox: Sandbox, tmp_path: Path) -> None:
        journal = tmp_path / "jobs.sqlite"
        async with client_of(sandbox) as client:
            await client.rooms.create_many([RoomSpec("Quarterly secrets", key="k")], job_id="j", journal=journal)

        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        held = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))  # noqa: ASYNC240
        assert b"Quarterly" not in held
        assert sandbox.app_key.encode() not in held

    @pytest.mark.parametrize("content", ["directory", "no database"])
    async def test_invalid_file_is_rejected_before_anything_is_sent(
        self, sandbox: Sandbox, tmp_path: Path, content: str
    ) -> None:
        journal = tmp_path / "journal"
        if content == "directory":
            journal.mkdir()
        else:
            journal.write_text(json.dumps(["no", "database"]) * 100)
        async with client_of(sandbox) as client:
            with pytest.raises(ConfigurationError, match="journal"):
                await client.rooms.create_many(specs(3), job_id="j", journal=journal)

        assert sandbox.ledger.requests() == 0


class TestAudit:
    async def test_duplicate_rooms_are_reported(self, client: VideoClient, sandbox: Sandbox) -> None:
        report = await self.doubled(client, sandbox, dedupe="report")

        assert len(report.duplicates) == 1
        assert len(sandbox.ledger.rooms) == 6
        assert report.removed == []

    async def test_dedupe_delete_keeps_the_acknowledged_room(self, client: VideoClient, sandbox: Sandbox) -> None:
        report = await self.doubled(client, sandbox, dedupe="delete")

        assert len(report.removed) == 1
        assert set(sandbox.ledger.rooms) == {outcome.room_id for outcome in report.made}

    async def doubled(self, client: VideoClient, sandbox: Sandbox, dedupe: str):  # type: ignore[no-untyped-def]
        async def twice(request, send):  # type: ignore[no-untyped-def]
            outcome = await send(request)
            if request.route.name == "rooms.create" and b"Room 3" in request.body:
                await send(request)
            return outcome

        doubling = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3, middleware=[twice])
        async with doubling:
            return await doubling.rooms.create_many(specs(5), dedupe=dedupe)

    async def test_missing_acknowledged_room_is_reported(self, client: VideoClient, sandbox: Sandbox) -> None:
        async def forgetting(request, send):  # type: ignore[no-untyped-def]
            outcome = await send(request)
            if request.route.name == "rooms.create" and b"Room 2" in request.body:
                await client.rooms.delete(outcome.value.room_id)
            return outcome

        forgetful = VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.3, middleware=[forgetting])
        async with forgetful:
            report = await forgetful.rooms.create_many(specs(5), audit="settled")

        assert [outcome.index for outcome in report.missing] == [2]

    async def test_audit_can_be_disabled(self, client: VideoClient, sandbox: Sandbox) -> None:
        report = await client.rooms.create_many(specs(5), audit=False)

        assert not report.audited
        assert sandbox.ledger.requests("rooms.list") == 0


@pytest.mark.parametrize(
    "arguments",
    [{"on_unknown": "look"}, {"dedupe": "yes"}, {"job_id": ""}, {"journal": "j.sqlite"}],
)
async def test_invalid_arguments_are_rejected(client: VideoClient, sandbox: Sandbox, arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        await client.rooms.create_many(specs(1), **arguments)  # type: ignore[arg-type]
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize("journal", [False, True])
async def test_spec_that_gains_an_owner_ref_is_not_created_again(
    sandbox: Sandbox, tmp_path: Path, journal: bool
) -> None:
    more = {"journal": tmp_path / "jobs.sqlite"} if journal else {}
    async with client_of(sandbox) as client:
        await client.rooms.create_many([RoomSpec("a", key="k")], job_id="j", **more)
    async with client_of(sandbox) as client:
        report = await client.rooms.create_many([RoomSpec("a", owner_ref="team-1", key="k")], job_id="j", **more)

    assert len(sandbox.ledger.rooms) == 1
    assert report.counts == {"failed": 1}
    assert next(iter(sandbox.ledger.rooms)) in str(report.failures[0].error)
