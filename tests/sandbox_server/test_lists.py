"""The list of rooms: one body of any size."""

import json

import aiohttp


async def test_empty_list(bare):
    assert (await bare("GET", "/rooms")).json == {"result": 0, "rooms": []}


async def test_list_has_the_rooms_of_get_in_order_of_creation(bare):
    ids = [await bare.room(name=f"Room {place}") for place in range(5)]
    await bare("DELETE", f"/rooms/{ids.pop(2)}")
    rooms = (await bare("GET", "/rooms")).json["rooms"]
    assert rooms == [(await bare("GET", f"/rooms/{room_id}")).json["room"] for room_id in ids]


async def test_generated_rooms_precede_created_ones(serve):
    bare = await serve(seed=1, rooms=1000)
    mine = await bare.room()
    rooms = (await bare("GET", "/rooms")).json["rooms"]
    assert len({room["room_id"] for room in rooms}) == len(rooms) == 1001
    assert rooms[-1]["room_id"] == mine
    some = rooms[500]
    assert (await bare("GET", f"/rooms/{some['room_id']}")).json["room"] == some


async def test_generated_room_can_be_updated_joined_and_deleted(serve):
    bare = await serve(seed=1, rooms=3)
    first, second, third = [room["room_id"] for room in (await bare("GET", "/rooms")).json["rooms"]]
    assert (await bare("PATCH", f"/rooms/{first}", {"name": "Mine"})).code == 0
    assert (await bare("DELETE", f"/rooms/{second}")).code == 0
    assert (await bare("DELETE", f"/rooms/{second}")).code == 40001
    bare.sandbox.leave(await bare.enter(third))
    rooms = (await bare("GET", "/rooms")).json["rooms"]
    assert sorted(room["room_id"] for room in rooms) == sorted([first, third])
    assert {room["name"] for room in rooms} == {"Mine", "Room 3"}


async def test_same_seed_generates_the_same_rooms(serve):
    one, other = [await serve(seed=5, rooms=20) for _ in range(2)]
    assert (await one("GET", "/rooms")).body == (await other("GET", "/rooms")).body


async def test_long_list_is_streamed(serve):
    bare = await serve(seed=1, rooms=5_000)
    url = f"{bare.sandbox.base_url}/rooms"
    headers = {"Authorization": aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)}
    async with bare.session.get(url, headers=headers) as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert (await response.content.readexactly(21)) == b'{"result":0,"rooms":['
        # Other requests are served while the list is half read.
        assert (await bare("GET", "/dialin")).status == 200
        rest = await response.read()
    assert len(json.loads(b"[" + rest[:-1])) == 5_000


async def test_short_response_has_a_content_length(bare):
    await bare.room()
    for path in ("/rooms", "/cdr/room/x", "/archive/room/x", "/dialin", "/nowhere"):
        reply = await bare("GET", path)
        assert int(reply.headers["Content-Length"]) == len(reply.body) > 0
        assert "Transfer-Encoding" not in reply.headers
