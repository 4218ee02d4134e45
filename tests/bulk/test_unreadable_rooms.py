"""A list does not prove that a room does not exist if one of its rooms cannot be read and may be that room."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.damage import DAMAGES, OF_A_REFERENCE, Damage, damage_room, deepen
from support.jobs import client_of, keyed, run_job

from videoapi import BulkReport, CreateOutcomeUnknown, JobAudit, RoomSpec
from videoapi.creation.references import reference_for, reference_in
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.slow
SETTLE = 0.3
HIDDEN = r"item \d of the list( \(room \w+\))? cannot be read"
ALL = {**DAMAGES, **OF_A_REFERENCE}
EACH = pytest.mark.parametrize("damage", ALL.values(), ids=ALL)
OTHERS = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
FOREIGN: dict[str, Any] = {"room_id": "6571f3c2a1b2c3d4e5f60718", "name": "vx", "owner_ref": "row-1", "settings": {}}


class HeldLease:
    """A lease of a shard that was leased before."""

    fresh = False
    idle = 0.0

    def left(self) -> float:
        return math.inf


async def again(sandbox: Sandbox, specs: list[RoomSpec], way: str, folder: Path) -> BulkReport:
    """Run a job again in a process that does not know what the first one has created."""
    if way == "a new journal":
        return await run_job(sandbox, specs, settle=SETTLE, journal=folder / "journal")
    options = {"lease": HeldLease()} if way == "a shard" else {}
    return await run_job(sandbox, specs, settle=SETTLE, **options)


def names(sandbox: Sandbox) -> list[str]:
    return sorted(str(room["name"]) for room in sandbox.ledger.rooms.values())


@EACH
@pytest.mark.parametrize("way", ["no journal", "a new journal", "a shard"])
async def test_a_job_that_runs_again_does_not_create_a_room_that_cannot_be_read(
    sandbox: Sandbox, damage: Damage, way: str, tmp_path: Path
) -> None:
    specs = keyed(3)
    await run_job(sandbox, specs, settle=SETTLE)
    await damage_room(sandbox, "Room 1", damage)
    # Twice, as the journal must not believe what the first of them has found.
    for _ in range(2):
        report = await again(sandbox, specs, way, tmp_path)
        assert names(sandbox) == ["Room 0", "Room 2"]
        assert report.counts == {"created": 2, "unknown": 1}
        assert report.audited is None
        (unknown,) = report.unknown
        assert unknown.key == "row-1"
        assert isinstance(unknown.error, CreateOutcomeUnknown)
        assert re.search(HIDDEN, str(unknown.error))


@pytest.mark.parametrize("way", ["no journal", "a new journal", "a shard"])
async def test_a_job_that_runs_again_finds_a_room_that_is_nested_too_deeply(
    sandbox: Sandbox, way: str, tmp_path: Path
) -> None:
    specs = keyed(3)
    await run_job(sandbox, specs, settle=SETTLE)
    await damage_room(sandbox, "Room 1", deepen)
    report = await again(sandbox, specs, way, tmp_path)
    assert names(sandbox) == ["Room 0", "Room 2"]
    assert report.counts == {"created": 3}


@pytest.mark.parametrize("way", ["no journal", "a new journal", "a shard"])
async def test_what_a_readable_list_lacks_is_created_beside_a_room_that_cannot_be_read(
    sandbox: Sandbox, way: str, tmp_path: Path
) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)
    await damage_room(sandbox, "Room 1", DAMAGES["raw control character"])
    report = await again(sandbox, keyed(4), way, tmp_path)
    assert report.counts == {"created": 3, "unknown": 1}
    assert names(sandbox) == ["Room 0", "Room 2", "Room 3"]


@pytest.mark.parametrize("field", ["owner_ref", "videoapi_ref"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xff\xfe", b"\xef\xbf\xbd", rb"\ufffd"])
@pytest.mark.parametrize("others", [0, 1, 40])
async def test_a_room_that_was_not_utf8_hides_in_no_block_of_others(
    sandbox: Sandbox, field: str, bad: bytes, others: int
) -> None:
    specs = keyed(2) if field == "owner_ref" else [attrs.evolve(spec, owner_ref="me") for spec in keyed(2)]
    for _ in range(others):
        sandbox.add_room(json.dumps(FOREIGN).encode())
    await run_job(sandbox, specs, settle=SETTLE)

    def damage(room: dict[str, Any]) -> bytes:
        reference = reference_in(room["owner_ref"], room.get("data"))
        assert reference is not None
        return (
            json.dumps(room).encode().replace(reference.encode(), bad + reference[1 + (bad == b"\xff\xfe") :].encode())
        )

    await damage_room(sandbox, "Room 1", damage)
    for _ in range(others):
        sandbox.add_room(json.dumps(FOREIGN).encode())
    report = await run_job(sandbox, specs, settle=SETTLE)
    assert report.counts == {"created": 1, "unknown": 1}
    assert names(sandbox) == ["Room 0"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"REFERENCE", b"\xff" * 28),
        (b"REFERENCE", b"\x00" * 28),
        (b'"owner_ref"', b'"own\xffr_ref"'),
        (b'"owner_ref"', b'"own\x00r_ref"'),
    ],
    ids=["all bytes", "all characters", "a byte of the name", "a character of the name"],
)
async def test_a_room_of_which_nothing_of_the_reference_is_left_is_not_created_again(
    sandbox: Sandbox, old: bytes, new: bytes
) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)

    def damage(room: dict[str, Any]) -> bytes:
        old_text = old if old != b"REFERENCE" else room["owner_ref"].encode()
        return json.dumps(room).encode().replace(old_text, new)

    for _ in range(5):
        sandbox.add_room(json.dumps(FOREIGN).encode())
    await damage_room(sandbox, "Room 1", damage)
    for _ in range(5):
        sandbox.add_room(json.dumps(FOREIGN).encode())
    report = await run_job(sandbox, keyed(2), settle=SETTLE)
    assert report.counts == {"created": 1, "unknown": 1}
    assert report.audited is None


@pytest.mark.parametrize("owner_ref", [b'"\xf6sterreichischepost"', b'"\xfcmit"', b'"\tteam"', b'"caf\xe9"'])
async def test_a_damaged_value_that_is_too_short_for_a_reference_blocks_no_job(
    sandbox: Sandbox, owner_ref: bytes
) -> None:
    sandbox.add_room(json.dumps(FOREIGN).encode().replace(b'"row-1"', owner_ref))
    report = await run_job(sandbox, keyed(2), settle=SETTLE)
    assert report.counts == {"created": 2}


@pytest.mark.parametrize("way", ["no journal", "a new journal"])
async def test_a_job_of_one_room_that_cannot_be_read_does_not_look_new(
    sandbox: Sandbox, way: str, tmp_path: Path
) -> None:
    await run_job(sandbox, keyed(1), settle=SETTLE)
    await damage_room(sandbox, "Room 0", DAMAGES["bad escape"])
    report = await again(sandbox, keyed(1), way, tmp_path)
    assert report.counts == {"unknown": 1}
    assert names(sandbox) == []


@OTHERS
@pytest.mark.parametrize("way", ["no journal", "a new journal", "a shard"])
async def test_a_room_of_others_that_cannot_be_read_blocks_no_job(
    sandbox: Sandbox, damage: Damage, way: str, tmp_path: Path
) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)
    sandbox.add_room(damage(FOREIGN))
    sandbox.add_room(damage({**FOREIGN, "owner_ref": reference_for("another job", 1)}))
    report = await again(sandbox, keyed(3), way, tmp_path)
    assert report.counts == {"created": 3}
    assert names(sandbox) == ["Room 0", "Room 1", "Room 2"]


async def test_a_readable_room_that_quotes_a_reference_blocks_no_job(sandbox: Sandbox) -> None:
    reference = reference_for("j", "row-0")
    async with client_of(sandbox) as client:
        await client.rooms.create(name=f"copy of {reference}", owner_ref="me", data={"copy_of": reference})
    report = await run_job(sandbox, keyed(1), settle=SETTLE)
    assert report.counts == {"created": 1}


@EACH
async def test_an_audit_does_not_prove_that_a_room_that_cannot_be_read_is_missing(
    sandbox: Sandbox, damage: Damage
) -> None:
    specs = keyed(3)
    await run_job(sandbox, specs, settle=SETTLE)
    await damage_room(sandbox, "Room 1", damage)
    audit = await audited(sandbox, specs)
    assert (audit.audited, audit.complete) == (None, False)
    assert [one.key for one in audit.missing] == ["row-1"]
    (text,) = audit.unreadable
    assert text.startswith("item 3 of the list")


async def test_an_audit_names_the_id_of_a_room_that_cannot_be_read(sandbox: Sandbox) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)
    room_id = await damage_room(sandbox, "Room 1", DAMAGES["NaN"])
    assert (await audited(sandbox, keyed(2))).unreadable == [f"item 2 of the list (room {room_id})"]


@OTHERS
async def test_an_audit_proves_a_job_beside_a_room_of_others_that_cannot_be_read(
    sandbox: Sandbox, damage: Damage
) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)
    sandbox.add_room(damage(FOREIGN))
    audit = await audited(sandbox, keyed(2))
    assert audit.complete
    assert audit.unreadable == []


async def audited(sandbox: Sandbox, specs: list[RoomSpec]) -> JobAudit:
    async with client_of(sandbox, settle=SETTLE) as client:
        return await client.rooms.audit("j", specs)


@OTHERS
async def test_the_audit_of_a_run_proves_nothing_if_a_room_of_the_job_cannot_be_read(
    sandbox: Sandbox, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sandbox.add_room(damage({**FOREIGN, "owner_ref": reference_for("j", "row-0")}))
    async with client_of(sandbox, settle=SETTLE) as client:
        await client.rooms.create_many(keyed(1), job_id="another", audit=False)
        report = await client.rooms.create_many(keyed(3)[1:], job_id="j", audit="settled")
    assert report.counts == {"created": 2}
    assert report.audited is None
    assert re.search(HIDDEN, caplog.text)


@EACH
async def test_resolve_does_not_prove_absent_a_room_that_cannot_be_read(sandbox: Sandbox, damage: Damage) -> None:
    reference = reference_for("j", "row-0")
    sandbox.add_room(damage({**FOREIGN, "owner_ref": reference}))
    async with client_of(sandbox, settle=SETTLE) as client:
        # With an `owner_ref` of its own, it serves both locations.
        control = await client.rooms.create(name="control", owner_ref="me")
        with pytest.raises(CreateOutcomeUnknown, match=HIDDEN):
            await client.rooms.resolve(reference, control=control)


@OTHERS
async def test_resolve_proves_absence_beside_a_room_of_others_that_cannot_be_read(
    sandbox: Sandbox, damage: Damage
) -> None:
    sandbox.add_room(damage({**FOREIGN, "owner_ref": reference_for("j", "row-1")}))
    async with client_of(sandbox, settle=SETTLE) as client:
        control = await client.rooms.create(name="control", owner_ref="me")
        assert await client.rooms.resolve(reference_for("j", "row-0"), control=control) is None


async def test_a_reference_in_escapes_is_found_in_a_room_that_can_be_read(sandbox: Sandbox) -> None:
    await run_job(sandbox, keyed(2), settle=SETTLE)
    spelled = OF_A_REFERENCE["reference in escapes, and NaN"]
    room_id = await damage_room(sandbox, "Room 1", lambda room: spelled(room).replace(b"NaN", b"1"))
    report = await run_job(sandbox, keyed(2), settle=SETTLE)
    assert report.counts == {"created": 2}
    assert report.made[1].room_id == room_id
