"""`rooms.audit` proves a job complete, however it was run."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.jobs import check_rooms, client_of, keyed, own_rooms

from videoapi import ConfigurationError, JobAudit, RoomSpec, ValidationError, VideoClient
from videoapi.sandbox import Sandbox

SETTLE = 0.3


async def make(sandbox: Sandbox, specs: list[RoomSpec], **options: Any) -> None:
    async with client_of(sandbox, settle=SETTLE) as client:
        await client.rooms.create_many(specs, job_id="j", audit=False, **options)


async def audited(sandbox: Sandbox, specs: Any, **options: Any) -> JobAudit:
    async with client_of(sandbox, settle=SETTLE, **options) as client:
        return await client.rooms.audit("j", specs)


def lists_read(sandbox: Sandbox) -> int:
    return sandbox.ledger.requests("rooms.list")


async def test_a_complete_job_is_proven_complete_by_a_client_that_made_no_room(sandbox: Sandbox) -> None:
    specs = [*keyed(20), RoomSpec("Owned", "ann", key="owned")]
    await make(sandbox, specs)
    rooms = set(sandbox.ledger.rooms)
    before = lists_read(sandbox)
    audit = await audited(sandbox, specs)
    assert audit.complete
    assert audit.audited is not None
    assert (audit.total, audit.found, audit.missing, audit.changed, audit.unexpected) == (21, 21, [], [], [])
    assert lists_read(sandbox) - before <= 2
    assert set(sandbox.ledger.rooms) == rooms


async def test_what_is_missing_doubled_changed_or_unexpected_is_named(sandbox: Sandbox) -> None:
    specs = keyed(6)
    await make(sandbox, specs)
    ids = {room["name"]: room_id for room_id, room in sandbox.ledger.rooms.items()}
    async with client_of(sandbox) as client:
        await client.rooms.delete(ids["Room 2"])
        await client.rooms.update(ids["Room 3"], settings={"participants": "7"})
        twice = await client.rooms.get(ids["Room 4"])
        await client.rooms.create(name="Room 4", reference=twice.owner_ref)
    changed = [*specs[:3], RoomSpec("Room 3", key="row-3", settings={"participants": 3}), specs[4]]
    audit = await audited(sandbox, changed)
    assert not audit.complete
    assert audit.audited is not None
    assert [(one.index, one.key, one.room_id) for one in audit.missing] == [(2, "row-2", None)]
    assert [(one.key, one.room_id) for one in audit.changed] == [("row-3", ids["Room 3"])]
    assert [len(rooms) for rooms in audit.duplicates.values()] == [2]
    assert audit.unexpected == [ids["Room 5"]]
    async with client_of(sandbox, settle=SETTLE) as client:
        assert await client.rooms.resolve(audit.missing[0].reference, control=ids["Room 1"]) is None


async def test_a_spec_whose_room_has_another_name_is_not_complete(sandbox: Sandbox) -> None:
    await make(sandbox, keyed(3))
    renamed = [RoomSpec("Room 1", key="row-0"), RoomSpec("Room 1", "ann", key="row-1"), keyed(3)[2]]
    audit = await audited(sandbox, renamed)
    assert [(one.key, one.other_room) for one in audit.changed] == [("row-0", True), ("row-1", True)]
    assert not audit.complete
    assert (await audited(sandbox, [RoomSpec("Room 1", settings={"participants": 9}, key="row-1")])).complete


async def test_rooms_under_other_keys_of_the_job_are_namesakes(sandbox: Sandbox) -> None:
    await make(sandbox, keyed(2))
    specs = [RoomSpec("Room 1", key="new"), keyed(2)[0]]
    await make(sandbox, specs)
    audit = await audited(sandbox, specs)
    assert list(map(list, audit.namesakes.values())) == [audit.unexpected]
    assert [sandbox.ledger.rooms[room_id]["name"] for room_id in audit.unexpected] == ["Room 1"]


async def test_a_job_without_any_room_is_proven_missing_and_leaves_none(sandbox: Sandbox) -> None:
    audit = await audited(sandbox, keyed(3))
    assert audit.audited is not None
    assert [one.key for one in audit.missing] == ["row-0", "row-1", "row-2"]
    assert not sandbox.ledger.rooms


async def test_a_client_that_knows_rooms_reads_the_list_once(sandbox: Sandbox) -> None:
    specs = keyed(3)
    async with client_of(sandbox, settle=SETTLE) as client:
        await client.rooms.create_many(specs, job_id="j", audit=False)
        before = lists_read(sandbox)
        assert (await client.rooms.audit("j", specs)).complete
        assert lists_read(sandbox) - before == 1


async def test_a_list_that_hides_rooms_proves_nothing(sandbox: Sandbox) -> None:
    specs = keyed(5)
    async with client_of(sandbox, settle=SETTLE) as client:
        await client.rooms.create_many(specs, job_id="j", audit=False)
        sandbox.set(list_lag=60.0)
        audit = await client.rooms.audit("j", specs)
    assert audit.audited is None
    assert not audit.complete


async def test_specs_may_be_streamed(sandbox: Sandbox) -> None:
    await make(sandbox, keyed(4))

    async def specs() -> AsyncIterator[RoomSpec]:
        for spec in keyed(4):
            await asyncio.sleep(0)
            yield spec

    assert (await audited(sandbox, specs())).complete
    assert (await audited(sandbox, iter(keyed(4)))).complete


async def test_left_self_check_rooms_are_deleted(sandbox: Sandbox) -> None:
    from videoapi.creation.create_request import new_self_check_reference
    from videoapi.creation.references import JobReferences

    await make(sandbox, keyed(2))
    prefix = JobReferences("j").check_prefix_of_shard("row-0")
    async with client_of(sandbox) as client:
        await client.rooms.create(name="videoapi self-check", reference=new_self_check_reference(prefix))
    assert check_rooms(sandbox)
    audit = await audited(sandbox, keyed(2))
    assert audit.complete
    assert not audit.unexpected
    assert not check_rooms(sandbox)
    assert len(own_rooms(sandbox)) == 2


async def test_the_error_of_an_iterator_and_an_unreadable_list_are_raised(sandbox: Sandbox) -> None:
    def broken() -> Any:
        yield keyed(1)[0]
        raise KeyError("row")

    with pytest.raises(KeyError):
        await audited(sandbox, broken())
    with pytest.raises(Exception, match="APP_ID"):
        async with VideoClient(sandbox.app_id, "wrong", sandbox.base_url, settle=SETTLE) as client:
            await client.rooms.audit("j", keyed(1))


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ([RoomSpec("a", key=1), RoomSpec("b")], "index 1 has no key"),
        ([RoomSpec("a", key=1), RoomSpec("b", key=1)], "appears twice"),
        (["a"], "has no key"),
    ],
)
async def test_specs_that_name_no_room_are_refused(client: VideoClient, specs: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        await client.rooms.audit("j", specs)


@pytest.mark.parametrize("job_id", ["", 3, None, "\ud800"])
async def test_a_job_needs_a_name(client: VideoClient, job_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="job_id"):
        await client.rooms.audit(job_id, [])
