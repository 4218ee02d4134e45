"""Updating and deleting rooms, and listing their users."""

import pytest


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_update_merges_settings_and_returns_no_room(bare, clock, method):
    room_id = await bare.room(settings={"participants": "2", "canvas": True})
    clock.move(minutes=1)
    reply = await bare(method, f"/rooms/{room_id}", {"name": "Retro", "settings": {"participants": 20}})
    assert reply.json == {"result": 0}
    room = (await bare("GET", f"/rooms/{room_id}")).json["room"]
    assert (room["name"], room["owner_ref"]) == ("Retro", "team-42")
    assert (room["settings"]["participants"], room["settings"]["canvas"]) == (20, True)
    assert room["updated"] == "2026-03-10T12:01:00.000Z"


async def test_update_without_body_changes_nothing(bare):
    room_id = await bare.room()
    before = (await bare("GET", f"/rooms/{room_id}")).json
    assert (await bare("PATCH", f"/rooms/{room_id}")).json == {"result": 0}
    assert (await bare("GET", f"/rooms/{room_id}")).json == before


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"settings": {"mode": "group"}}, 10020),
        ({"settings": {"scheduled": False}}, 10106),
        ({"settings": {"adhoc": True}}, 10106),
        ({"settings": {"moderators": 9}}, 10023),
        ({"settings": {"colour": 1}}, 10009),
        ({"name": ""}, 10002),
        ({"owner_ref": None}, 10010),
    ],
)
async def test_rejected_update_changes_nothing(bare, changes, code):
    room_id = await bare.room()
    before = (await bare("GET", f"/rooms/{room_id}")).json
    assert (await bare("PATCH", f"/rooms/{room_id}", {"name": "new", **changes})).code == code
    assert (await bare("GET", f"/rooms/{room_id}")).json == before


async def test_scheduled_time_can_be_updated_alone(bare):
    settings = {"scheduled": True, "scheduled_time": "2026-03-12 10:00:00", "duration": 30}
    room_id = await bare.room(settings=settings)
    path = f"/rooms/{room_id}"
    assert (await bare("PATCH", path, {"settings": {"scheduled_time": "2026-03-01 10:00:00"}})).code == 10006
    assert (await bare("PATCH", path, {"settings": {"scheduled_time": "2026-03-13 10:00:00"}})).code == 0
    assert (await bare("GET", path)).json["room"]["settings"]["scheduled_time"] == "2026-03-13 10:00:00"


async def test_room_with_a_session_cannot_be_updated_or_deleted(bare):
    room_id = await bare.room()
    token = await bare.enter(room_id)
    update = await bare("PATCH", f"/rooms/{room_id}", {"name": "x"})
    delete = await bare("DELETE", f"/rooms/{room_id}")
    assert (update.status, update.code) == (409, 10030)
    assert (delete.status, delete.code) == (409, 50004)
    bare.sandbox.leave(token)
    assert (await bare("DELETE", f"/rooms/{room_id}")).json == {"result": 0}


async def test_deleted_room_is_unknown_to_every_route(bare):
    room_id = await bare.room()
    assert (await bare("DELETE", f"/rooms/{room_id}")).status == 200
    for method, path in [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/users"), ("POST", "/tokens")]:
        body = {"name": "n", "user_ref": "u", "role": "moderator"} if method == "POST" else None
        reply = await bare(method, f"/rooms/{room_id}{path}", body)
        assert (reply.status, reply.code) == (404, 40001)


@pytest.mark.parametrize("room_id", ["x", "0" * 24, "%2e%2e", "a%2Fb", "%00"])
async def test_unknown_room_id_of_any_form_is_not_found(bare, room_id):
    assert (await bare("GET", f"/rooms/{room_id}")).code == 40001


async def test_idle_room_has_no_users(bare):
    room_id = await bare.room()
    assert (await bare("GET", f"/rooms/{room_id}/users")).json == {"result": 0, "total": 0, "users": None}


async def test_users_lists_who_has_joined_and_not_left(bare):
    room_id = await bare.room()
    ann = await bare.enter(room_id, "moderator", "ann")
    await bare.enter(room_id, "participant", "bo")
    body = (await bare("GET", f"/rooms/{room_id}/users")).json
    assert body["total"] == 2
    assert [(user["name"], user["role"]) for user in body["users"]] == [
        ("ann", "moderator"),
        ("bo", "participant"),
    ]
    assert set(body["users"][0]) == {"name", "user_ref", "role", "permissions"}
    assert body["users"][0]["permissions"]["record"] is True
    assert body["users"][1]["permissions"]["record"] is False
    bare.sandbox.leave(ann)
    assert (await bare("GET", f"/rooms/{room_id}/users")).json["total"] == 1


async def test_controller_id_appears_after_the_first_join(bare):
    room_id = await bare.room()
    assert "enablexControllerId" not in (await bare("GET", f"/rooms/{room_id}")).json["room"]
    bare.sandbox.leave(await bare.enter(room_id))
    room = (await bare("GET", f"/rooms/{room_id}")).json["room"]
    assert len(room["enablexControllerId"]) == 24
    assert list(room)[-2:] == ["room_id", "sip"]
