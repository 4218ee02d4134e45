"""Tokens: format, lifetime and room capacity."""

import base64
import json

import pytest


async def test_token_is_base64_of_ascii_json(bare):
    room_id = await bare.room(name="Zürich")
    text = (await bare.token(room_id)).json["token"]
    raw = base64.b64decode(text, validate=True)
    assert raw.isascii()
    body = json.loads(raw)
    assert list(body) == [
        "tokenId",
        "roomMeta",
        "host",
        "secure",
        "logId",
        "gateway",
        "signature",
        "eventServer",
    ]
    assert body["roomMeta"]["_id"] == room_id
    assert body["roomMeta"]["name"] == "Zürich"
    assert len(base64.b64decode(body["signature"])) == 40


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": None, "user_ref": None}, 10101),
        ({"user_ref": None}, 10102),
        ({"role": None}, 10103),
        ({"role": "Moderator"}, 10104),
        ({"role": 1}, 10104),
    ],
)
async def test_invalid_token_field_is_rejected_with_its_code(bare, changes, code):
    room_id = await bare.room()
    body = {"name": "n", "user_ref": "u", "role": "participant", **changes}
    reply = await bare("POST", f"/rooms/{room_id}/tokens", body)
    assert (reply.status, reply.code) == (400, code)


async def test_extra_token_keys_are_accepted(bare):
    room_id = await bare.room()
    body = {"name": "n", "user_ref": 3, "role": "viewer", "roomId": room_id, "data": "text"}
    assert (await bare("POST", f"/rooms/{room_id}/tokens", body)).code == 0


async def test_token_can_be_used_once(bare):
    text = (await bare.token(await bare.room())).json["token"]
    bare.sandbox.join(text)
    with pytest.raises(ValueError, match="used up"):
        bare.sandbox.join(text)


async def test_token_expires_after_fifteen_minutes(bare, clock):
    room_id = await bare.room()
    old, young = [(await bare.token(room_id)).json["token"] for _ in range(2)]
    clock.move(minutes=15)
    bare.sandbox.join(young)
    clock.move(seconds=1)
    with pytest.raises(ValueError, match="older than 15 minutes"):
        bare.sandbox.join(old)


@pytest.mark.parametrize("text", ["", "abc", "e30=", "bnVsbA==", "ü"])
def test_invalid_token_is_rejected(bare_sandbox, text):
    with pytest.raises(ValueError, match="not a token"):
        bare_sandbox.join(text)
    with pytest.raises(ValueError, match="not a token"):
        bare_sandbox.leave(text)


@pytest.fixture
def bare_sandbox():
    from videoapi.sandbox import Sandbox

    return Sandbox()


async def test_room_capacity_counts_present_users_by_role(bare):
    room_id = await bare.room(settings={"participants": "2"})
    for user in "abcd":
        assert (await bare.token(room_id, "participant", user)).code == 0
    inside = [await bare.enter(room_id, "participant", user) for user in "ab"]
    full = await bare.token(room_id, "participant", "c")
    assert (full.status, full.code) == (403, 10114)
    assert full.json["error"] == "[Reason] Token Denied. Room is full."
    assert (await bare.token(room_id, "moderator", "m")).code == 0
    bare.sandbox.leave(inside[0])
    assert (await bare.token(room_id, "participant", "c")).code == 0


async def test_default_capacity_limits_moderators_only(bare):
    room_id = await bare.room(settings={"audiences": 1})
    await bare.enter(room_id, "moderator", "m")
    assert (await bare.token(room_id, "moderator", "n")).code == 10114
    await bare.enter(room_id, "audience", "a")
    assert (await bare.token(room_id, "audience", "b")).code == 10114
    for role in ("participant", "viewer"):
        for user in "xyz":
            await bare.enter(room_id, role, user)
        assert (await bare.token(room_id, role, "one more")).code == 0


async def test_seats_issued_counts_unused_tokens_until_they_expire(serve, clock):
    bare = await serve(clock=clock, seats="issued")
    room_id = await bare.room(settings={"participants": 1})
    assert (await bare.token(room_id)).code == 0
    assert (await bare.token(room_id)).code == 10114
    clock.move(minutes=16)
    assert (await bare.token(room_id)).code == 0
