"""Creating rooms: echoed values, defaults and errors."""

import re

import pytest

CAPTURED = {
    "name": "test Room",
    "owner_ref": "xdada",
    "settings": {
        "description": "",
        "scheduled": False,
        "scheduled_time": "",
        "participants": "2",
        "duration": "60",
        "auto_recording": False,
        "active_talker": True,
        "wait_moderator": False,
        "quality": "SD",
        "adhoc": False,
        "mode": "group",
        "canvas": True,
    },
    "sip": {"enabled": False},
}
ECHOED = {
    "mode": "group",
    "scheduled": False,
    "adhoc": False,
    "duration": "60",
    "participants": "2",
    "auto_recording": False,
    "screen_share": True,
    "canvas": True,
    "media_configuration": "default",
    "quality": "SD",
    "moderators": 1,
    "active_talker": True,
    "max_active_talkers": 2,
    "single_file_recording": False,
    "media_zone": "XX",
}


async def test_captured_create_gets_the_captured_response(bare):
    reply = await bare("POST", "/rooms", CAPTURED)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert list(reply.json) == ["result", "room"]
    assert reply.json["result"] == 0
    assert type(reply.json["result"]) is int
    room = reply.json["room"]
    assert list(room) == ["name", "service_id", "owner_ref", "settings", "sip", "created", "room_id"]
    assert room["settings"] == ECHOED
    assert room["service_id"] == bare.sandbox.app_id
    assert room["created"] == "2026-03-10T12:00:00.000Z"
    assert re.fullmatch("[0-9a-f]{24}", room["room_id"])


async def test_get_returns_the_created_room_with_extra_keys(bare):
    made = (await bare("POST", "/rooms", CAPTURED)).json["room"]
    room = (await bare("GET", f"/rooms/{made['room_id']}")).json["room"]
    assert list(room)[-3:] == ["isMediaServerAvailable", "room_id", "sip"]
    assert {key: room[key] for key in made} == made


@pytest.mark.parametrize("value", ["15", 15])
async def test_counts_are_echoed_with_their_original_type(bare, value):
    body = {"name": "n", "owner_ref": 7, "settings": {"participants": value, "billing_code": ""}}
    room = (await bare("POST", "/rooms", body)).json["room"]
    assert room["settings"]["participants"] == value
    assert type(room["settings"]["participants"]) is type(value)
    assert room["settings"]["billing_code"] == ""
    assert room["owner_ref"] == 7
    assert "data" not in room


async def test_data_is_echoed_unchanged(bare):
    data = {"videoapi_ref": "vx1", "empty": "", "nested": {"a": [1, None]}}
    body = {"name": "n", "owner_ref": "o", "data": data}
    assert (await bare("POST", "/rooms", body)).json["room"]["data"] == data


async def test_non_ascii_names_are_echoed_unchanged(bare):
    raw = b'{"name":"Z\\u00fcrich \\ud83d\\ude00 \\ud800","owner_ref":"o"}'
    reply = await bare("POST", "/rooms", data=raw)
    assert reply.json["room"]["name"] == "Zürich 😀 \ud800"


async def test_number_beyond_64_bits_is_echoed(bare):
    data = {"big": 2**70}
    assert (await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", "data": data})).json["room"]["data"] == data


@pytest.mark.parametrize("sip", [False, {}, None])
async def test_sip_can_be_disabled_in_several_ways(bare, sip):
    room = (await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", "sip": sip})).json["room"]
    assert room["sip"] == {"enabled": False}


async def test_room_with_sip_has_a_pin_and_a_meeting_id(bare):
    room = (await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", "sip": {"enabled": True}})).json["room"]
    assert type(room["sip"]["pin"]) is int
    assert type(room["sip"]["meeting_id"]) is int


REFUSED = [
    ({"name": None}, 10002),
    ({"name": ""}, 10002),
    ({"name": 5}, 10002),
    ({"owner_ref": None}, 10010),
    ({"owner_ref": True}, 10010),
    ({"name": None, "owner_ref": None}, 10002),
    ({"settings": "text"}, 10009),
    ({"settings": {"colour": "red"}}, 10009),
    ({"settings": {"media": "video"}}, 10009),
    ({"settings": {"scheduled": "yes"}}, 10003),
    ({"settings": {"scheduled": True, "duration": 60}}, 10004),
    ({"settings": {"scheduled": True, "duration": 60, "scheduled_time": "2026-03-11T10:00:00Z"}}, 10005),
    ({"settings": {"scheduled": True, "duration": 60, "scheduled_time": "2026-02-30 10:00:00"}}, 10005),
    ({"settings": {"scheduled": True, "duration": 60, "scheduled_time": "2026-03-10 12:00:00"}}, 10006),
    ({"settings": {"scheduled": True, "scheduled_time": "2026-03-11 10:00:00"}}, 10011),
    ({"settings": {"scheduled": True, "duration": 0, "scheduled_time": "2026-03-11 10:00:00"}}, 10011),
    ({"settings": {"duration": "long"}}, 10011),
    ({"settings": {"duration": -1}}, 10011),
    ({"settings": {"participants": "many"}}, 10007),
    ({"settings": {"participants": True}}, 10007),
    ({"settings": {"auto_recording": "true"}}, 10008),
    ({"settings": {"active_talker": 1}}, 10012),
    ({"settings": {"wait_moderator": "no"}}, 10013),
    ({"settings": {"quality": "4K"}}, 10014),
    ({"settings": {"adhoc": "yes"}}, 10016),
    ({"settings": {"adhoc": True, "scheduled": True}}, 10017),
    ({"settings": {"mode": "p2p"}}, 10019),
    ({"settings": {"moderators": "two"}}, 10022),
    ({"settings": {"moderators": 0}}, 10023),
    ({"settings": {"moderators": "6"}}, 10023),
    ({"settings": {"peep": "x"}}, 10024),
    ({"settings": {"knock": "x"}}, 10025),
    ({"settings": {"aor": 1}}, 10026),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
async def test_invalid_field_is_rejected_with_its_code(bare, changes, code):
    reply = await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", **changes})
    assert (reply.status, reply.code) == (400, code)
    assert list(reply.json) == ["result", "error", "desc"]
    assert reply.json["error"].startswith("[Reason] ")
    assert bare.sandbox.ledger.created == ()


ACCEPTED = [
    {},
    {"settings": {}},
    {"settings": {"mode": "Group"}},
    {"settings": {"adhoc": True, "duration": "30", "participants": "1", "moderators": "1"}},
    {"settings": {"scheduled_time": "2001-01-01 00:00:00"}},
    {"settings": {"facex": True, "abwd": True, "canvas": True}},
    {"settings": {"participants": None}},
    {"unknown": "key"},
]


@pytest.mark.parametrize("changes", ACCEPTED)
async def test_bodies_of_deployed_clients_are_accepted(bare, changes):
    reply = await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", **changes})
    assert (reply.status, reply.code) == (200, 0)


async def test_video_setting_is_dropped(bare):
    body = {"name": "n", "owner_ref": "o", "settings": {"video": True}}
    assert "video" not in (await bare("POST", "/rooms", body)).json["room"]["settings"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"name":"n","owner_ref":NaN}'])
async def test_body_that_is_not_an_object_counts_as_empty(bare, raw):
    assert (await bare("POST", "/rooms", data=raw)).code == 10002


async def test_number_without_a_value_is_no_reference(bare):
    assert (await bare("POST", "/rooms", data=b'{"name":"n","owner_ref":1e999}')).code == 10010


@pytest.mark.parametrize("prefix", ["/video/v2", "/video/v1", "/v1", "/v2"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_all_prefixes_work_with_and_without_trailing_slash(bare, prefix, slash):
    origin = bare.sandbox.base_url.removesuffix("/video/v2")
    reply = await bare("POST", f"{origin}{prefix}/rooms{slash}", {"name": "n", "owner_ref": "o"})
    room_id = reply.json["room"]["room_id"]
    assert (await bare("GET", f"{origin}{prefix}/rooms/{room_id}{slash}")).code == 0
    assert "sip" in (await bare("GET", f"{origin}{prefix}/dialin{slash}")).json


@pytest.mark.parametrize("path", ["/", "/room", "/rooms/a/b", "/rooms/a/users/b", "/cdr", "/cdr/all"])
async def test_unknown_path_returns_404_json(bare, path):
    reply = await bare("GET", path)
    assert (reply.status, reply.code) == (404, 40001)
    assert reply.json["desc"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("OPTIONS", "/rooms"), ("DELETE", "/rooms"), ("PUT", "/rooms"), ("POST", "/cdr/room/x"), ("POST", "/dialin")],
)
async def test_wrong_method_returns_405_json(bare, method, path):
    reply = await bare(method, path)
    assert (reply.status, reply.code) == (405, 40001)
    assert "Access-Control-Allow-Origin" not in reply.headers


async def test_body_of_a_get_is_ignored(bare):
    room_id = await bare.room()
    for _ in range(3):
        assert (await bare("GET", f"/rooms/{room_id}", {"stray": "body"})).code == 0
    assert bare.sandbox.ledger.connections == 1


async def test_dialin_has_phone_numbers_and_no_result(bare):
    body = (await bare("GET", "/dialin/")).json
    assert "result" not in body
    assert body["app_key"] == bare.sandbox.app_key
    assert {"server_url", "username", "password", "sig_servers", "media_servers"} == set(body["sip"])
    assert all(set(number) == {"country", "country_code", "phone", "toll"} for number in body["dialin"])
    assert {type(number["toll"]) for number in body["dialin"]} == {bool}
