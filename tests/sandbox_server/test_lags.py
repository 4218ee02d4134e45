"""Rooms that appear late, incomplete lists, and a 429 that executes."""

import json

import pytest

REFERENCE = "VX" + "abcdefghij" * 2


async def listed(bare):
    return (await bare("GET", "/rooms")).json["rooms"]


async def test_new_room_is_listed_after_list_lag(serve, clock):
    bare = await serve(clock=clock, rooms=2, list_lag=0.3)
    room_id = await bare.room()
    assert (await bare("GET", f"/rooms/{room_id}")).code == 0
    clock.move(seconds=0.299)
    assert len(await listed(bare)) == 2
    clock.move(seconds=0.001)
    assert [room["room_id"] for room in (await listed(bare))[2:]] == [room_id]
    await bare("PATCH", f"/rooms/{room_id}", {"name": "again"})
    assert len(await listed(bare)) == 3


async def test_new_room_is_not_found_until_get_lag_is_over(serve, clock):
    bare = await serve(clock=clock, get_lag=2)
    room_id = await bare.room()
    assert [room["room_id"] for room in await listed(bare)] == [room_id]
    assert (await bare("GET", f"/rooms/{room_id}")).code == 40001
    assert (await bare.token(room_id)).code == 0
    clock.move(seconds=2)
    assert (await bare("GET", f"/rooms/{room_id}")).code == 0


@pytest.mark.parametrize(("executes", "created"), [(False, 0), (True, 1)])
async def test_limited_call_executes_only_with_limited_executes(serve, executes, created):
    bare = await serve(rate_limit=0, limited_executes=executes)
    reply = await bare("POST", "/rooms", {"name": "n", "owner_ref": "o"})
    assert (reply.status, reply.body) == (429, b"Too Many Requests")
    assert len(bare.sandbox.ledger.created) == created


async def test_invalid_limited_call_returns_429(serve):
    bare = await serve(rate_limit=0, limited_executes=True)
    assert (await bare("POST", "/rooms", {})).status == 429
    assert (await bare("POST", "/rooms", {}, headers={"Authorization": ""})).status == 401
    assert bare.sandbox.ledger.count("*") == 0


@pytest.mark.parametrize(
    ("cap", "keeps", "shown"),
    [(2, "oldest", [0, 1]), (2, "newest", [3, 4]), (0, "newest", []), (9, "newest", [0, 1, 2, 3, 4])],
)
async def test_capped_list_keeps_the_oldest_or_newest_rooms(serve, cap, keeps, shown):
    bare = await serve(rooms=2, list_cap=cap, list_keeps=keeps)
    bare.sandbox.set(list_cap=None)
    first = [room["room_id"] for room in await listed(bare)]
    ids = first + [await bare.room() for _ in range(3)]
    bare.sandbox.set(list_cap=cap)
    assert [room["room_id"] for room in await listed(bare)] == [ids[place] for place in shown]


@pytest.mark.parametrize(
    ("echo", "owner_ref", "data"),
    [
        ("exact", REFERENCE, {"videoapi_ref": REFERENCE}),
        ("lower", REFERENCE.lower(), {"videoapi_ref": REFERENCE.lower()}),
        ("truncate", REFERENCE[:16], {"videoapi_ref": REFERENCE}),
        ("no_data", REFERENCE, None),
    ],
)
async def test_list_echo_applies_to_the_list_only(serve, echo, owner_ref, data):
    bare = await serve(list_echo=echo)
    room_id = await bare.room(owner_ref=REFERENCE, data={"videoapi_ref": REFERENCE})
    (item,) = await listed(bare)
    assert (item["owner_ref"], item.get("data")) == (owner_ref, data)
    room = (await bare("GET", f"/rooms/{room_id}")).json["room"]
    assert (room["owner_ref"], room["data"]) == (REFERENCE, {"videoapi_ref": REFERENCE})


async def test_foreign_item_is_listed_byte_for_byte(bare):
    odd = b'{"room_id": "1", "owner_ref":7,"name":"\\ud800","data":null}'
    null = b'{"room_id":"2","owner_ref":"x","name":null}'
    room_id = await bare.room()
    bare.sandbox.add_room(odd)
    bare.sandbox.add_room(null)
    body = (await bare("GET", "/rooms")).body
    assert body.endswith(b"," + odd + b"," + null + b"]}")
    assert [room["room_id"] for room in json.loads(body)["rooms"]] == [room_id, "1", "2"]
    assert len(bare.sandbox.ledger.rooms) == 1
