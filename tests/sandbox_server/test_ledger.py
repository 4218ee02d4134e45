"""The ledger of executed requests."""

import pytest


async def test_ledger_records_only_executed_writes(bare):
    await bare("POST", "/rooms", {"name": "x"})
    room_id = await bare.room()
    await bare.token(room_id)
    await bare("PATCH", f"/rooms/{room_id}", {"name": "y"})
    await bare("GET", f"/rooms/{room_id}")
    await bare("DELETE", f"/rooms/{room_id}")
    await bare("DELETE", f"/rooms/{room_id}")
    ledger = bare.sandbox.ledger
    assert [entry.route for entry in ledger.entries] == [
        "rooms.create",
        "tokens.create",
        "rooms.update",
        "rooms.delete",
    ]
    assert [entry.seq for entry in ledger.entries] == [1, 2, 3, 4]
    assert {entry.room_id for entry in ledger.entries} == {room_id}
    assert ledger.rooms == {}
    assert [entry.room_id for entry in ledger.created] == [room_id]
    assert ledger.count("rooms.create") == 1
    assert ledger.requests("rooms.create") == 2
    assert (ledger.count("rooms.*"), ledger.count("*")) == (4, 5)
    assert ledger.requests() == 7
    assert ledger.connections == 1


async def test_reference_is_taken_from_data_or_else_owner_ref(bare):
    await bare.room(owner_ref="mine", data={"videoapi_ref": "vx1"})
    await bare.room(owner_ref="vx2")
    await bare.room(owner_ref="mine", data={"other": 1})
    entries = bare.sandbox.ledger.created
    assert [entry.reference for entry in entries] == ["vx1", "vx2", "mine"]
    assert [entry.owner_ref for entry in entries] == ["mine", "vx2", "mine"]
    assert bare.sandbox.ledger.duplicates() == {}


async def test_duplicates_include_deleted_rooms(bare):
    ids = [await bare.room(data={"videoapi_ref": "vx1"}) for _ in range(2)]
    await bare("DELETE", f"/rooms/{ids[0]}")
    assert bare.sandbox.ledger.duplicates() == {"vx1": tuple(ids)}


async def test_rooms_are_copies(bare):
    room_id = await bare.room()
    bare.sandbox.ledger.rooms[room_id]["name"] = "changed"
    assert bare.sandbox.ledger.rooms[room_id]["name"] == "Stand-up"


async def test_token_entry_names_the_user(bare):
    await bare.token(await bare.room(), user="ann")
    assert [(entry.name, entry.owner_ref) for entry in bare.sandbox.ledger.tokens] == [("ann", "ann")]


async def test_reads_are_counted_without_an_entry(bare):
    for _ in range(20):
        await bare("GET", "/rooms")
    assert bare.sandbox.ledger.entries == ()
    assert bare.sandbox.ledger.count("rooms.list") == 20


async def test_unknown_paths_count_as_requests_only(bare):
    await bare("GET", "/nowhere")
    assert bare.sandbox.ledger.requests() == 1
    assert bare.sandbox.ledger.count("*") == 0


async def test_unknown_route_is_rejected(bare):
    with pytest.raises(ValueError, match=r"no route 'room\.create'; known are rooms\.create"):
        bare.sandbox.ledger.count("room.create")
