"""Jobs that are run again after odd endings, with other inputs, keys or rooms than before."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from support.jobs import SETTLE, abandon_job, client_of, created, keyed, own_rooms, run_job

from videoapi import CreateOutcomeUnknown, RoomSpec, ValidationError
from videoapi.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40)]


def each_once(count: int) -> list[str]:
    return sorted(f"Room {number}" for number in range(count))


class TestTakenOverPast:
    """A journal that was added later is trusted only once it holds the whole past of the job."""

    async def test_run_that_ends_before_the_past_is_known_leaves_the_journal_untrusted(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        await run_job(sandbox, keyed(6))
        journal = tmp_path / "journal"
        report = await run_job(sandbox, keyed(6), journal=journal, timeout=SETTLE / 5)
        assert report.stopped is not None

        again = await run_job(sandbox, keyed(6), journal=journal)

        assert again.counts == {"created": 6}
        assert await created(sandbox) == each_once(6)

    async def test_list_that_cannot_be_read_leaves_the_journal_untrusted(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        await run_job(sandbox, keyed(6))
        journal = tmp_path / "journal"
        sandbox.fault("rooms.list", "status", status=503, times=None)
        await run_job(sandbox, keyed(6), journal=journal, give_up_after=0.3)
        sandbox.clear_faults()

        again = await run_job(sandbox, keyed(6), journal=journal)

        assert again.counts == {"created": 6}
        assert await created(sandbox) == each_once(6)

    async def test_run_over_some_of_the_inputs_records_the_past_of_all(self, sandbox: Sandbox, tmp_path: Path) -> None:
        first = await run_job(sandbox, keyed(6))
        journal = tmp_path / "journal"
        await run_job(sandbox, keyed(2), journal=journal)

        again = await run_job(sandbox, keyed(7), journal=journal, audit=False)

        assert [outcome.room_id for outcome in again.made[:6]] == [outcome.room_id for outcome in first.made]
        assert not any(outcome.changed for outcome in again.made)
        assert await created(sandbox) == each_once(7)

    async def test_room_taken_over_is_compared_with_the_spec(self, sandbox: Sandbox, tmp_path: Path) -> None:
        await run_job(sandbox, keyed(3))
        journal = tmp_path / "journal"
        await run_job(sandbox, keyed(1), journal=journal)
        given = [RoomSpec("Room 0", key="row-0"), RoomSpec("other", key="row-1"), RoomSpec("Room 2", key="row-2")]
        given[2] = RoomSpec("Room 2", data={"more": 1}, key="row-2")

        again = await run_job(sandbox, given, journal=journal)

        assert [(outcome.key, outcome.changed) for outcome in again.made] == [("row-0", False), ("row-2", True)]
        assert [outcome.key for outcome in again.failures] == ["row-1"]

    async def test_unchanged_specs_of_a_journal_are_unchanged(self, sandbox: Sandbox, tmp_path: Path) -> None:
        # Enough for every first byte of a hash.
        given = [RoomSpec(f"Room {number}", data={"n": number}, key=number) for number in range(600)]
        await run_job(sandbox, given, journal=tmp_path / "journal", audit=False)

        again = await run_job(sandbox, given, journal=tmp_path / "journal", audit=False)

        assert again.counts == {"created": 600}
        assert not [outcome.key for outcome in again.made if outcome.changed]
        assert sandbox.ledger.requests("rooms.get") == 0

    async def test_self_check_room_alone_shows_that_the_job_has_run(self, sandbox: Sandbox, tmp_path: Path) -> None:
        late = {f"Room {number}": ("late", {"seconds": 0.3}) for number in range(4)}
        await abandon_job(sandbox, keyed(4), late)
        # The abandoned run has deleted its self-check room; one that was killed leaves it.
        sandbox.fault("rooms.delete", "status", status=503, times=None)
        await run_job(sandbox, [RoomSpec("Room 9", key="row-9")], timeout=2)
        sandbox.clear_faults()

        again = await run_job(sandbox, keyed(4), journal=tmp_path / "journal")

        assert again.counts == {"created": 4}
        assert await created(sandbox) == sorted([*each_once(4), "Room 9"])


class TestReferences:
    async def test_spec_that_gains_an_owner_ref_while_in_doubt_is_found_in_the_other_field(
        self, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        journal = tmp_path / "journal"
        await abandon_job(sandbox, [RoomSpec("A", key="k")], {"A": "drop_after"}, journal=journal)

        again = await run_job(sandbox, [RoomSpec("A", owner_ref="team", key="k")], journal=journal)

        assert again.counts == {"failed": 1}
        assert isinstance(again.failures[0].error, ValidationError)
        assert again.failures[0].error.room_id in own_rooms(sandbox)
        assert len(own_rooms(sandbox)) == 1

    async def test_invalid_spec_names_the_room_of_its_key(self, sandbox: Sandbox, tmp_path: Path) -> None:
        for journal in ({}, {"journal": tmp_path / "journal"}):
            first = await run_job(sandbox, [RoomSpec("A", key="k")], **journal)
            spoiled = RoomSpec("A", settings={"quality": "odd"}, key="k")

            again = await run_job(sandbox, [spoiled], **journal)

            (outcome,) = again.failures
            assert outcome.error is not None
            assert outcome.error.may_have_executed
            assert outcome.room_id == first.made[0].room_id
            assert str(outcome.room_id) in str(outcome.error)

    async def test_reference_copied_from_another_room_is_not_sent(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client:
            room = await client.rooms.create(name="A", owner_ref="team")
            assert isinstance(room.data, dict)
            copy = await client.rooms.create(name="B", data=room.data)

        assert copy.owner_ref != room.owner_ref
        assert "videoapi_ref" not in (sandbox.ledger.rooms[copy.room_id].get("data") or {})

    @pytest.mark.parametrize("twice", [math.nan, (math.nan, 1)], ids=str)
    async def test_keys_with_one_reference_are_one_key(self, sandbox: Sandbox, twice: Any) -> None:
        report = await run_job(sandbox, [RoomSpec("A", key=twice), RoomSpec("B", key=twice)])

        assert report.counts == {"created": 1, "failed": 1}

    async def test_keys_that_are_equal_and_of_different_types_are_two(self, sandbox: Sandbox) -> None:
        keys: list[Any] = [("a", 1), ("a", True), ("a", "1"), 0.0, -0.0]
        report = await run_job(sandbox, [RoomSpec(f"Room {place}", key=key) for place, key in enumerate(keys)])

        assert report.counts == {"created": len(keys)}

    async def test_key_of_a_type_of_ones_own_is_refused(self, sandbox: Sandbox) -> None:
        report = await run_job(sandbox, [RoomSpec("A", key=object())])

        assert report.counts == {"failed": 1}
        assert isinstance(report.failures[0].error, ValidationError)


class TestUpdates:
    async def test_room_that_was_updated_twice_keeps_its_reference(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client:
            first = await client.rooms.create_many(keyed(1), job_id="j")
            room_id = first.made[0].room_id or ""
            await client.rooms.update(room_id, owner_ref="one")
            await client.rooms.update(room_id, owner_ref="two", data={"mine": True})

        again = await run_job(sandbox, [RoomSpec("Room 0", owner_ref="two", key="row-0")])

        assert again.made[0].room_id == room_id
        assert sandbox.ledger.rooms[room_id]["data"]["mine"]  # type: ignore[index]

    async def test_room_found_by_a_look_up_keeps_its_reference(self, sandbox: Sandbox) -> None:
        sandbox.fault("rooms.create", "drop_after", times=1)
        async with client_of(sandbox) as client:
            room = await client.rooms.create(name="A")
            await client.rooms.update(room.room_id, owner_ref="mine")
            found = await client.rooms.resolve(str(room.owner_ref))

        assert found is not None
        assert found.room_id == room.room_id


class TestProof:
    async def test_rooms_that_others_delete_do_not_make_proof_slower(self, sandbox: Sandbox) -> None:
        async with client_of(sandbox) as client, client_of(sandbox) as others:
            for _ in range(3):
                room = await client.rooms.create(name="short-lived")
                await others.rooms.delete(room.room_id)
                with pytest.raises(CreateOutcomeUnknown):
                    await client.rooms.resolve("vx" + "a" * 26)
            await client.rooms.create(name="known")
            sandbox.fault("rooms.create", "drop_before", times=1)
            # If each of them had multiplied the settle time, this would end without proof.
            room = await client.with_options(timeout=8).rooms.create(name="lost", on_unknown="resend")

        assert room.name == "lost"

    async def test_resolve_proves_nothing_while_the_same_client_still_creates_it(self, sandbox: Sandbox) -> None:
        from videoapi import reference_for

        sandbox.plan([None, *["drop_before"] * 2])
        async with client_of(sandbox) as client:
            run = asyncio.create_task(client.rooms.create_many(keyed(1), job_id="j"))
            while not sandbox.ledger.requests("rooms.create") > 1:
                await asyncio.sleep(0.01)
            with pytest.raises(CreateOutcomeUnknown, match="still creating"):
                await client.rooms.resolve(reference_for("j", "row-0"))
            assert (await run).counts == {"created": 1}

    @pytest.mark.parametrize("journal", [False, True])
    async def test_resumed_run_deletes_no_room_that_an_outcome_names(
        self, sandbox: Sandbox, tmp_path: Path, journal: bool
    ) -> None:
        async def twice(request: Any, send: Any) -> Any:
            outcome = await send(request)
            if request.reference is not None:
                return await send(request)
            return outcome

        kept: dict[str, Any] = {"journal": tmp_path / "journal"} if journal else {}
        async with client_of(sandbox, middleware=[twice]) as client:
            first = await client.rooms.create_many(keyed(1), job_id="j", **kept)

        again = await run_job(sandbox, keyed(1), dedupe="delete", **kept)

        assert len(again.duplicates) == 1
        assert first.made[0].room_id in own_rooms(sandbox)
        # Without a journal, this run does not know which of the two rooms the first one has reported.
        assert len(again.removed) == (1 if journal else 0)
