"""Keys identify items, references identify keys, and a spec that differs from an earlier one is reported."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from history.runs import REFUSAL
from support.jobs import SETTLE, abandon_job, client_of, own_rooms, run_job

from videoapi import (
    Outcome,
    Request,
    RoomSettings,
    RoomSpec,
    Send,
    ValidationError,
    VideoClient,
    reference_for,
)
from videoapi.bulk import BulkReport
from videoapi.sandbox import Sandbox

JOURNALS = pytest.mark.parametrize("journal", [False, True], ids=["without journal", "with journal"])
pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


async def run(sandbox: Sandbox, given: list[RoomSpec], **options: Any) -> BulkReport:
    return await run_job(sandbox, given, **options)


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a job, with a journal if the test's parameter says so."""
    return {"journal": tmp_path / "journal"} if request.node.callspec.params.get("journal") else {}


class TestKeys:
    @JOURNALS
    @pytest.mark.parametrize("way", ["create_many", "create_each"])
    async def test_item_of_a_job_without_a_key_fails_alone(
        self, sandbox: Sandbox, kept: dict[str, Any], way: str, journal: bool
    ) -> None:
        given = [RoomSpec("keyed", key="k"), RoomSpec("without"), RoomSpec("also keyed", key="l")]
        async with client_of(sandbox) as client:
            if way == "create_many":
                report = await client.rooms.create_many(given, job_id="j", **kept)
                outcomes = [*report.made, *report.failures]
            else:
                async with client.rooms.create_each(given, job_id="j", **kept) as run:
                    outcomes = [outcome async for outcome in run]

        statuses = {outcome.index: outcome.status for outcome in outcomes}
        assert statuses == {0: "created", 1: "failed", 2: "created"}
        error = next(outcome.error for outcome in outcomes if outcome.index == 1)
        assert isinstance(error, ValidationError)
        assert error.field == "key"
        assert not error.may_have_executed
        assert sorted(room["name"] for room in own_rooms(sandbox).values()) == ["also keyed", "keyed"]

    async def test_run_without_a_job_needs_no_keys(self, client: VideoClient) -> None:
        report = await client.rooms.create_many(RoomSpec(f"Room {number}") for number in range(3))

        assert report.counts == {"created": 3}

    @JOURNALS
    async def test_failed_item_that_is_retried_alone_is_not_another_items_room(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        given = [RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(3)]
        # Without a journal, the first create is that of the self-check room.
        sandbox.plan([*([] if journal else [None]), None, REFUSAL, None])
        async with client_of(sandbox) as client:
            first = await client.rooms.create_many(given, job_id="j", concurrency=1, **kept)
        assert [outcome.index for outcome in first.failures] == [1]

        again = await run(sandbox, [given[1]], **kept)

        assert again.counts == {"created": 1}
        assert own_rooms(sandbox)[again.made[0].room_id or ""]["name"] == "Room 1"

    @JOURNALS
    async def test_keys_of_different_types_are_different(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        keys: list[Any] = [7, "7", 7.0, 1, True, "True", "1", b"7"]
        given = [RoomSpec(f"Room {number}", key=key) for number, key in enumerate(keys)]

        first = await run(sandbox, given, **kept)
        again = await run(sandbox, given[::-1], **kept)

        assert first.counts == again.counts == {"created": len(keys)}
        assert [(type(outcome.key), outcome.key) for outcome in first.made] == [(type(key), key) for key in keys]
        assert len(own_rooms(sandbox)) == len(keys)
        assert [outcome.room_id for outcome in again.made] == [outcome.room_id for outcome in first.made][::-1]

    @pytest.mark.parametrize("other", ["\x000", "\x001", "0", 0, "None", ""], ids=ascii)
    async def test_no_key_collides_with_an_item_without_one(self, client: VideoClient, other: object) -> None:
        report = await client.rooms.create_many([RoomSpec("a"), RoomSpec("b", key=other), RoomSpec("c")])

        assert report.counts == {"created": 3}
        assert len({outcome.reference for outcome in report.made}) == 3
        assert report.duplicates == {}

    @pytest.mark.parametrize("concurrency", [1, 4])
    async def test_same_key_twice_fails_the_second(self, sandbox: Sandbox, concurrency: int) -> None:
        given = [RoomSpec("a", key=7), RoomSpec("b", key=7), RoomSpec("c", key="7")]

        report = await run(sandbox, given, concurrency=concurrency)

        assert [outcome.index for outcome in report.made] == [0, 2]
        assert [outcome.index for outcome in report.failures] == [1]


def versions(count: int, version: object) -> list[RoomSpec]:
    return [RoomSpec(f"Room {n}", key=f"row-{n}", data={"version": version}) for n in range(count)]


class TestChangedSpecs:
    @JOURNALS
    @pytest.mark.parametrize("differs", ["data", "settings", "nothing"])
    async def test_existing_room_is_created_and_says_whether_it_differs(
        self, sandbox: Sandbox, kept: dict[str, Any], differs: str, journal: bool
    ) -> None:
        def specs(*, again: bool) -> list[RoomSpec]:
            version = 2 if again and differs == "data" else 1
            participants = 4 if again and differs == "settings" else 3
            settings = RoomSettings(participants=participants)
            return [RoomSpec(f"Room {n}", key=n, settings=settings, data={"v": version}) for n in range(5)]

        first = await run(sandbox, specs(again=False), **kept)
        again = await run(sandbox, specs(again=True), **kept)

        assert first.counts == again.counts == {"created": 5}
        assert [outcome.room_id for outcome in again.made] == [outcome.room_id for outcome in first.made]
        assert [outcome.changed for outcome in first.made] == [False] * 5  # type: ignore[attr-defined]
        changed = [outcome.changed for outcome in again.made]  # type: ignore[attr-defined]
        assert changed == [differs != "nothing"] * 5
        assert len(own_rooms(sandbox)) == 5

    @JOURNALS
    @pytest.mark.parametrize(
        "again",
        [
            {"knock": True, "participants": "10", "description": "A"},
            {"description": "A", "participants": 10, "knock": "true"},
            {"description": "A", "participants": "10", "knock": True, "billing_code": None},
            RoomSettings(description="A", participants="10", knock=True),
        ],
        ids=["order", "form", "null", "class"],
    )
    async def test_spec_that_asks_for_the_same_in_another_form_has_not_changed(
        self, sandbox: Sandbox, kept: dict[str, Any], again: Any, journal: bool
    ) -> None:
        given = {"description": "A", "participants": "10", "knock": True}
        await run(sandbox, [RoomSpec("Room", key=1, settings=given, sip=False)], **kept)
        report = await run(sandbox, [RoomSpec("Room", key=1, settings=again, sip=False)], validate=False, **kept)
        assert [outcome.changed for outcome in report.made] == [False]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("journal", [True])
    async def test_journal_reads_only_rooms_whose_request_differs(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        await run(sandbox, versions(5, 1), **kept)
        await run(sandbox, versions(5, 1), audit=False, **kept)
        assert sandbox.ledger.requests("rooms.get") == 0
        again = await run(sandbox, [*versions(3, 1), *versions(5, 2)[3:]], audit=False, **kept)
        assert [outcome.changed for outcome in again.made] == [False] * 3 + [True] * 2  # type: ignore[attr-defined]
        assert sandbox.ledger.requests("rooms.get") == 2

    @JOURNALS
    async def test_change_survives_several_runs(self, sandbox: Sandbox, kept: dict[str, Any], journal: bool) -> None:
        await run(sandbox, versions(2, 1), **kept)
        for _ in range(2):
            again = await run(sandbox, versions(2, 2), **kept)
            assert [outcome.changed for outcome in again.made] == [True, True]  # type: ignore[attr-defined]
        back = await run(sandbox, versions(2, 1), **kept)

        assert [outcome.changed for outcome in back.made] == [False, False]  # type: ignore[attr-defined]

    @JOURNALS
    async def test_changed_create_in_doubt_is_settled_first(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        lost = {"Room 1": "drop_after", "Room 2": ("late", {"seconds": 0.2}), "Room 3": "drop_before"}
        await abandon_job(sandbox, versions(4, 1), lost, **kept)

        again = await run(sandbox, versions(4, 2), **kept)

        assert again.counts == {"created": 4}
        rooms = own_rooms(sandbox)
        assert sorted(room["name"] for room in rooms.values()) == [f"Room {n}" for n in range(4)]
        for outcome in again.made:
            # A room of the first run is as it was; one proven absent was sent as it is now.
            is_old = rooms[outcome.room_id or ""]["data"]["version"] == 1
            assert outcome.changed is is_old  # type: ignore[attr-defined]

    @JOURNALS
    async def test_refused_item_is_sent_as_it_is_now(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        # Without a journal, the first create is that of the self-check room.
        sandbox.plan([*([] if journal else [None]), REFUSAL])
        await run(sandbox, versions(1, 1), **kept)

        again = await run(sandbox, versions(1, 2), **kept)

        assert again.counts == {"created": 1}
        assert again.made[0].changed is False  # type: ignore[attr-defined]
        (room,) = own_rooms(sandbox).values()
        assert room["data"]["version"] == 2

    @JOURNALS
    async def test_set_in_data_differs_in_each_process(
        self, sandbox: Sandbox, kept: dict[str, Any], tmp_path: Path, journal: bool
    ) -> None:
        program = (
            "import asyncio, json, sys; from videoapi import *; given = json.loads(sys.argv[1])\n"
            "tags = set('abcdefghij')\n"
            "async def main():\n"
            "    async with VideoClient(*given['client'], settle=0.5) as client:\n"
            "        specs = [RoomSpec('Room', key='k', data={'tags': list(tags)})]\n"
            "        report = await client.rooms.create_many(specs, job_id='j', journal=given['journal'])\n"
            "        print(json.dumps([dict(report.counts), [one.room_id for one in report.made]]))\n"
            "asyncio.run(main())"
        )
        given = {
            "client": [sandbox.app_id, sandbox.app_key, sandbox.base_url],
            "journal": str(kept["journal"]) if journal else None,
        }
        printed = []
        for seed in ("1", "2"):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                program,
                json.dumps(given),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            )
            printed.append(json.loads((await process.communicate())[0]))

        assert printed[0][0] == {"created": 1}
        assert printed[1] == printed[0]

    @JOURNALS
    @pytest.mark.parametrize("way", ["create_many", "create_each"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (RoomSpec("a", key="k"), RoomSpec("b", key="k")),
            (RoomSpec("a", "team-1", key="k"), RoomSpec("a", "team-2", key="k")),
            (RoomSpec("a", key="k"), RoomSpec("a", "team-1", key="k")),
            (RoomSpec("a", "team-1", key="k"), RoomSpec("a", key="k")),
        ],
        ids=["name", "owner_ref", "owner_ref is new", "owner_ref is gone"],
    )
    async def test_key_of_another_room_fails_and_names_it(
        self, sandbox: Sandbox, kept: dict[str, Any], way: str, before: RoomSpec, after: RoomSpec, journal: bool
    ) -> None:
        (room_id,) = [outcome.room_id for outcome in (await run(sandbox, [before], **kept)).made]

        async with client_of(sandbox) as client:
            if way == "create_many":
                report = await client.rooms.create_many([after], job_id="j", **kept)
                (outcome,) = (*report.made, *report.failures, *report.unknown, *report.not_sent)
            else:
                async with client.rooms.create_each([after], job_id="j", **kept) as outcomes:
                    (outcome,) = [one async for one in outcomes]

        assert outcome.status == "failed"
        assert outcome.error is not None
        assert outcome.error.room_id == room_id  # type: ignore[attr-defined]
        assert outcome.error.may_have_executed, "its room exists"
        assert list(own_rooms(sandbox)) == [room_id]

    @JOURNALS
    @pytest.mark.parametrize("keep", [False, True], ids=["", "keep_rooms"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (RoomSpec("a", key="k"), RoomSpec("b", key="k")),
            (RoomSpec("a", "team-1", key="k"), RoomSpec("a", "team-2", key="k")),
        ],
        ids=["name", "owner_ref"],
    )
    async def test_room_that_was_renamed_is_that_of_the_renamed_spec(
        self, sandbox: Sandbox, kept: dict[str, Any], before: RoomSpec, after: RoomSpec, keep: bool, journal: bool
    ) -> None:
        (room_id,) = [outcome.room_id for outcome in (await run(sandbox, [before], **kept)).made]
        async with client_of(sandbox) as client:
            room = await client.rooms.get(room_id)
            data = {**(room.data if isinstance(room.data, dict) else {})}
            owner_ref = {} if after.owner_ref is None else {"owner_ref": after.owner_ref, "data": data}
            await client.rooms.update(room_id, name=after.name, **owner_ref)

        if journal:
            sandbox.fault("rooms.get", 503, times=None)
            (unread,) = (await run(sandbox, [after], keep_rooms=keep, **kept)).failures
            assert "It cannot be read now. If it was renamed, repeat the run." in str(unread.error)
            sandbox.clear_faults()
        for _ in range(2):
            report = await run(sandbox, [after], keep_rooms=keep, **kept)
            assert [outcome.room_id for outcome in report.made] == [room_id]
            assert not report.made[0].changed
        (outcome,) = (await run(sandbox, [before], **kept)).failures
        assert "To give that room another name" in str(outcome.error)
        assert list(own_rooms(sandbox)) == [room_id]

    @JOURNALS
    @pytest.mark.parametrize("owner_ref", [None, "team-1"])
    async def test_room_created_under_the_reference_of_a_key_is_that_of_its_job(
        self, sandbox: Sandbox, kept: dict[str, Any], owner_ref: str | None, journal: bool
    ) -> None:
        given = [RoomSpec(f"Room {number}", owner_ref, key=number) for number in range(8)]
        async with client_of(sandbox) as client:
            for spec in given:
                reference = reference_for("j", spec.key)
                await client.rooms.create(name=spec.name, owner_ref=owner_ref, reference=reference)
        before = set(own_rooms(sandbox))

        report = await run(sandbox, given, **kept)

        assert {outcome.room_id for outcome in report.made} == before
        assert not any(outcome.changed for outcome in report.made)
        assert set(own_rooms(sandbox)) == before

    async def test_room_that_was_deleted_is_not_that_of_a_renamed_spec(self, sandbox: Sandbox, tmp_path: Path) -> None:
        kept = {"journal": tmp_path / "journal"}
        (room_id,) = [outcome.room_id for outcome in (await run(sandbox, [RoomSpec("a", key="k")], **kept)).made]
        async with client_of(sandbox) as client:
            await client.rooms.delete(room_id)
        await asyncio.sleep(1.2 * SETTLE)

        for _ in range(2):
            (outcome,) = (await run(sandbox, [RoomSpec("b", key="k")], **kept)).failures
            assert outcome.room_id == room_id
            assert "It was deleted since. Use another key." in str(outcome.error)
        assert not own_rooms(sandbox)

    @JOURNALS
    @pytest.mark.parametrize("fault", ["late", "drop_after", "drop_before"])
    async def test_key_of_another_room_in_doubt_is_settled_first(
        self, sandbox: Sandbox, kept: dict[str, Any], fault: str, journal: bool
    ) -> None:
        lost = {"a": (fault, {"seconds": 0.2})}
        await abandon_job(sandbox, [RoomSpec("first", key="0"), RoomSpec("a", key="k")], lost, **kept)

        report = await run(sandbox, [RoomSpec("first", key="0"), RoomSpec("b", key="k")], **kept)

        rooms = {room["name"]: room_id for room_id, room in own_rooms(sandbox).items()}
        if fault != "drop_before":
            assert "a" in rooms
            (failure,) = report.failures
            assert failure.error is not None
            assert failure.error.room_id == rooms["a"]  # type: ignore[attr-defined]
            assert failure.error.may_have_executed
            assert "b" not in rooms
        else:
            assert report.counts == {"created": 2}
            assert set(rooms) == {"first", "b"}

    @JOURNALS
    @pytest.mark.parametrize("change", ["name", "data"])
    async def test_nothing_fails_for_certain_while_its_room_may_come_to_exist(
        self, sandbox: Sandbox, kept: dict[str, Any], change: str, journal: bool
    ) -> None:
        first = RoomSpec("a", key="k", data={"v": 1})
        second = RoomSpec("b" if change == "name" else "a", key="k", data={"v": 2})
        await abandon_job(sandbox, [RoomSpec("first", key="0"), first], {"a": ("late", {"seconds": 1.5})}, **kept)
        # The list proves nothing, so that the outcome must stay open.
        sandbox.set(list_cap=0)

        report = await run(sandbox, [second], timeout=3, **kept)

        outcomes = (*report.made, *report.failures, *report.unknown, *report.not_sent)
        assert all(outcome.status != "created" for outcome in outcomes)
        assert not any(
            outcome.status == "failed" and outcome.error is not None and not outcome.error.may_have_executed
            for outcome in outcomes
        )


class TestUpdates:
    @pytest.mark.parametrize("change", [{"owner_ref": "team-1"}, {"data": {"team": 1}}, {"name": "other"}], ids=str)
    @pytest.mark.parametrize("owner_ref", [None, "team-0"], ids=["mark in owner_ref", "mark in data"])
    async def test_updated_room_is_still_found(
        self, sandbox: Sandbox, client: VideoClient, owner_ref: str | None, change: dict[str, Any]
    ) -> None:
        reference: list[str] = []

        async def noting(request: Request, send: Send) -> Outcome:
            if request.reference is not None:
                reference.append(request.reference)
            return await send(request)

        async with client_of(sandbox, middleware=[noting]) as writer:
            room = await writer.rooms.create(name="a", owner_ref=owner_ref, data={"mine": 1})
            await writer.rooms.update(room.room_id, **change)
            found = await writer.rooms.resolve(reference[0])

        assert found is not None
        assert found.room_id == room.room_id
        stored = own_rooms(sandbox)[room.room_id]
        assert {name: stored[name] for name in change if name != "data"} == {
            name: value for name, value in change.items() if name != "data"
        }
        assert stored["data"].items() >= change.get("data", {"mine": 1}).items()

    @JOURNALS
    async def test_updated_room_of_a_job_is_not_created_again(
        self, sandbox: Sandbox, kept: dict[str, Any], journal: bool
    ) -> None:
        given = [RoomSpec("a", "team-0", key="k"), RoomSpec("b", "team-0", key="l")]
        async with client_of(sandbox) as client:
            first = await client.rooms.create_many(given, job_id="j", **kept)
            await client.rooms.update(first.made[0].room_id or "", data={"more": True})

        again = await run(sandbox, given, **kept)

        assert again.counts == {"created": 2}
        assert [outcome.room_id for outcome in again.made] == [outcome.room_id for outcome in first.made]
        assert len(own_rooms(sandbox)) == 2

    @pytest.mark.parametrize("by", ["this client", "others"])
    async def test_known_room_that_was_changed_proves_nothing_and_hides_nothing(
        self, sandbox: Sandbox, by: str
    ) -> None:
        async with client_of(sandbox) as client, client_of(sandbox) as others:
            known = await client.rooms.create(name="known")
            await asyncio.sleep(SETTLE)
            updater = client if by == "this client" else others
            await updater.rooms.update(known.room_id, owner_ref="another's", data={"nothing": "of ours"})
            sandbox.fault("rooms.create", "drop_before")

            room = await client.rooms.create(name="lost", on_unknown="resend")

        assert room.name == "lost"
        assert sorted(one["name"] for one in own_rooms(sandbox).values()) == ["known", "lost"]


def test_reference_keeps_its_130_bits() -> None:
    from videoapi import reference_for

    # The last character also says where the reference is, which costs one bit.
    letters = [set[str]() for _ in range(28)]
    for reference in _references(reference_for, 2_000):
        for place, letter in enumerate(reference):
            letters[place].add(letter)
    assert [len(found) for found in letters[:2]] == [1, 1]
    assert all(len(found) >= 16 for found in letters[2:])


def _references(reference_for: Any, count: int) -> Iterator[str]:
    return (reference_for(f"job {number}", f"key {number}") for number in range(count))
