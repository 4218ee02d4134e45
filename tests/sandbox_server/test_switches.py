"""Each switch, and the errors for unknown ones."""

import time
from datetime import date
from email.utils import parsedate_to_datetime

import attrs
import pytest

from videoapi.sandbox import Sandbox, Switches

BODY = {"name": "n", "owner_ref": "MyOwnReference-0123456789", "data": {"videoapi_ref": "VX1", "n": 1}}
UNKNOWN = "0" * 24


async def test_result_as_string_applies_to_errors_only(serve):
    bare = await serve(result_as="string")
    assert (await bare("GET", f"/rooms/{UNKNOWN}")).code == "40001"
    assert (await bare("GET", "/rooms")).code == 0


async def test_cdr_result(serve):
    bare = await serve(cdr_result="number")
    assert (await bare("GET", "/cdr/room/x")).code == 0
    assert (await bare("GET", "/archive/room/x")).code == 0


async def test_dialin_result(serve):
    assert (await (await serve(dialin_result=0))("GET", "/dialin")).code == 0


async def test_envelope_status_applies_to_all_errors(serve):
    bare = await serve(envelope="status")
    for path, name, status in [
        (f"/rooms/{UNKNOWN}", "NOT_FOUND", 404),
        ("/cdr/conf", "INVALID_PARAM", 400),
        ("/nowhere", "NOT_FOUND", 404),
    ]:
        reply = await bare("GET", path)
        assert list(reply.json) == ["status", "error_code", "message", "request_id"]
        assert (reply.status, reply.json["status"], reply.json["error_code"]) == (status, "error", name)


async def test_legacy200_always_returns_200(serve):
    bare = await serve(status_mode="legacy200", create_status=201)
    replies = [
        await bare("POST", "/rooms", {}),
        await bare("POST", "/rooms", BODY),
        await bare("GET", f"/rooms/{UNKNOWN}"),
        await bare("GET", "/nowhere"),
        await bare("DELETE", "/rooms"),
        await bare("GET", "/rooms", headers={"Authorization": ""}),
    ]
    assert [(reply.status, reply.code) for reply in replies] == [
        (200, 10002),
        (200, 0),
        (200, 40001),
        (200, 40001),
        (200, 40001),
        (200, 10000),
    ]


async def test_create_status_applies_to_rooms_and_tokens(serve):
    bare = await serve(create_status=201)
    made = await bare("POST", "/rooms", BODY)
    token = await bare.token(made.json["room"]["room_id"])
    assert (made.status, token.status, (await bare("GET", "/rooms")).status) == (201, 201, 200)


@pytest.mark.parametrize(
    ("missing", "code"),
    [("scheduled", 10003), ("adhoc", 10016), ("mode", 10019), ("moderators", 10022), ("participants", 10007)],
)
async def test_strict_requires_the_documented_keys(serve, missing, code):
    bare = await serve(strict=True)
    settings = {"scheduled": False, "adhoc": False, "mode": "group", "moderators": 1, "participants": 2}
    assert (await bare("POST", "/rooms", {**BODY, "settings": settings})).code == 0
    del settings[missing]
    assert (await bare("POST", "/rooms", {**BODY, "settings": settings})).code == code


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"mode": "Group"}, 10019),
        ({"canvas": "yes"}, 10018),
        ({"max_active_talkers": 17}, 10018),
        ({"media_zone": "EU"}, 10018),
        ({"hls_view_url": "http://x"}, 10018),
        ({"role_based_recording": {"viewer": "audio"}}, 10018),
        ({"live_recording": True}, 10018),
    ],
)
async def test_strict_validates_values_without_their_own_code(serve, settings, code):
    bare = await serve(strict=True)
    whole = {"scheduled": False, "adhoc": False, "mode": "group", "moderators": 1, "participants": 2, **settings}
    assert (await bare("POST", "/rooms", {**BODY, "settings": whole})).code == code
    bare.sandbox.set(strict=False)
    assert (await bare("POST", "/rooms", {**BODY, "settings": whole})).code == 0


async def test_unknown_settings_may_be_dropped(serve):
    bare = await serve(unknown_settings="drop")
    made = await bare("POST", "/rooms", {**BODY, "settings": {"colour": "red", "media": 1, "canvas": True}})
    assert made.code == 0
    assert {"colour", "media"}.isdisjoint(made.json["room"]["settings"])
    assert made.json["room"]["settings"]["canvas"] is True


async def test_unknown_room(serve):
    reply = await (await serve(unknown_room=50007))("GET", f"/rooms/{UNKNOWN}")
    assert (reply.status, reply.code) == (500, 50007)


async def test_delete_active(serve):
    bare = await serve(delete_active=10030)
    room_id = await bare.room()
    await bare.enter(room_id)
    reply = await bare("DELETE", f"/rooms/{room_id}")
    assert (reply.status, reply.code) == (409, 10030)


async def test_room_keys_of_2018(serve):
    bare = await serve(room_keys="2018")
    settings = {"participants": "2", "duration": "60", "moderators": "1", "canvas": True}
    made = (await bare("POST", "/rooms", {"name": "n", "owner_ref": "o", "settings": settings})).json["room"]
    assert list(made) == ["name", "owner_ref", "settings", "created", "room_id"]
    assert list(made["settings"]) == [
        "mode",
        "scheduled",
        "adhoc",
        "participants",
        "auto_recording",
        "quality",
        "active_talker",
    ]
    sip = (await bare("POST", "/rooms", {**BODY, "sip": {"enabled": True}})).json["room"]["sip"]
    assert sip == {"uri": "", "name": "", "auth": "", "secret": "", "proxy": "", "enabled": True}


async def test_room_keys_of_v2(serve):
    bare = await serve(room_keys="v2")
    made = (await bare("POST", "/rooms", {**BODY, "settings": {"participants": 5}})).json["room"]
    settings = made["settings"]
    assert (settings["participants"], settings["moderators"], settings["duration"]) == ("5", "1", "0")
    assert (settings["encryption"], settings["viewers"]) == (False, 0)
    assert made["isMediaServerAvailable"] is False


async def test_sip_ids(serve):
    bare = await serve(sip_ids="string")
    sip = (await bare("POST", "/rooms", {**BODY, "sip": {"enabled": True}})).json["room"]["sip"]
    assert (type(sip["pin"]), type(sip["meeting_id"])) == (str, str)


async def test_project_quality(serve):
    bare = await serve(project_quality="SD")
    codes = [(await bare("POST", "/rooms", {**BODY, "settings": {"quality": q}})).code for q in ("LD", "SD", "HD")]
    assert codes == [0, 0, 10021]
    assert (await bare("POST", "/rooms", BODY)).json["room"]["settings"]["quality"] == "SD"


@pytest.mark.parametrize(
    ("echo", "owner_ref", "data"),
    [
        ("exact", BODY["owner_ref"], BODY["data"]),
        ("lower", BODY["owner_ref"].lower(), {"videoapi_ref": "vx1", "n": 1}),
        ("truncate", BODY["owner_ref"][:16], BODY["data"]),
        ("no_data", BODY["owner_ref"], None),
    ],
)
async def test_echo_changes_responses_but_not_the_ledger(serve, echo, owner_ref, data):
    bare = await serve(echo=echo)
    made = (await bare("POST", "/rooms", BODY)).json["room"]
    shown = (await bare("GET", f"/rooms/{made['room_id']}")).json["room"]
    listed = (await bare("GET", "/rooms")).json["rooms"][0]
    for room in (made, shown, listed):
        assert (room["owner_ref"], room.get("data")) == (owner_ref, data)
    assert bare.sandbox.ledger.created[0].reference == "VX1"


@pytest.mark.parametrize("key", ["data", "owner_ref"])
async def test_list_omits(serve, key):
    bare = await serve(list_omits=key)
    room_id = (await bare("POST", "/rooms", BODY)).json["room"]["room_id"]
    shown = (await bare("GET", f"/rooms/{room_id}")).json["room"]
    listed = (await bare("GET", "/rooms")).json["rooms"][0]
    assert set(shown) - set(listed) == {key}


async def test_list_cap(serve):
    bare = await serve(list_cap=2)
    ids = [await bare.room() for _ in range(3)]
    assert [room["room_id"] for room in (await bare("GET", "/rooms")).json["rooms"]] == ids[:2]


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, {"result": 0, "total": 0, "users": None}),
        ([], {"result": 0, "total": 0, "users": []}),
        ("absent", {"result": 0, "total": 0}),
    ],
)
async def test_idle_users(serve, value, answer):
    bare = await serve(idle_users=value)
    assert (await bare("GET", f"/rooms/{await bare.room()}/users")).json == answer


async def test_period_end_exclusive(serve):
    bare = await serve(seed=1, calls=310, today=date(2026, 3, 31), period_end="exclusive")
    days = bare.sandbox.history.per_day()
    body = (await bare("GET", "/cdr/period/2026-03-30/2026-03-31")).json
    assert len(body["cdr"]) == days[date(2026, 3, 30)]
    assert (await bare("GET", "/cdr/period/2026-03-31/2026-03-31")).json["cdr"] == []


async def test_cdr_schema_old(serve):
    bare = await serve(seed=1, calls=10, cdr_schema="old")
    bare.sandbox.conference(room_id := await bare.room(name='"'))
    row = (await bare("GET", f"/cdr/room/{room_id}")).json["cdr"][0]
    assert list(row) == [
        "trans_date",
        "conf_num",
        "call_num",
        "call_log_id",
        "room",
        "user",
        "sigserver",
        "published_track",
        "usage",
        "app_id",
        "cdr_id",
    ]
    assert type(row["room"]["duration"]) is float
    assert set(row["published_track"].values()) <= {"true", "false"}
    assert row["user"]["confName"] == '"'


@pytest.mark.parametrize(("value", "archive"), [("[]", []), (None, None)])
async def test_empty_archive(serve, value, archive):
    bare = await serve(empty_archive=value)
    assert (await bare("GET", "/archive/room/x")).json["archive"] == archive


async def test_empty_archive_bare_is_an_item_without_files(serve):
    bare = await serve(empty_archive="bare")
    (item,) = (await bare("GET", "/archive/room-period/r1/2026-03-01/2026-03-02")).json["archive"]
    assert list(item) == ["_id", "trans_date", "conf_num", "app_id", "room_id"]
    assert (item["room_id"], item["trans_date"][:10]) == ("r1", "2026-03-01")


async def test_file_refusal_401_has_a_basic_challenge(serve):
    bare = await serve(file_refusal=401)
    reply = await bare("GET", bare.sandbox.base_url.removesuffix("/video/v2") + "/files/a/b/c")
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("how", ["absent", "seconds", "date"])
async def test_rate_limit_rejects_excess_requests(serve, how):
    bare = await serve(rate_limit=3, retry_after=how)
    replies = [await bare("POST", "/rooms", BODY) for _ in range(12)]
    limited = [reply for reply in replies if reply.status == 429]
    assert limited
    assert len(bare.sandbox.ledger.created) == 12 - len(limited)
    assert limited[0].body == b"Too Many Requests"
    retry_after = limited[0].headers.get("Retry-After")
    if how == "date":
        assert parsedate_to_datetime(retry_after).timestamp() > time.time() - 1
    else:
        assert retry_after == {"absent": None, "seconds": "1"}[how]


@pytest.mark.parametrize("field", attrs.fields(Switches), ids=lambda field: field.name)
def test_unknown_value_error_names_the_switch(field):
    with pytest.raises(ValueError, match=f"switch {field.name}: 'nonsense' is n"):
        Sandbox(**{field.name: "nonsense"})


def test_unknown_switch_error_lists_the_known_switches():
    with pytest.raises(ValueError, match=r"unknown switch stricter; known are adhoc_rule, auth_failure_body"):
        Sandbox(stricter=True)


def test_values_can_be_strings():
    switches = Switches.of({"strict": "true", "create_status": "201", "list_cap": "5", "list_omits": None})
    assert (switches.strict, switches.create_status, switches.list_cap) == (True, 201, 5)
    assert switches.list_omits == "nothing"


def test_setting_switches_is_all_or_nothing():
    sandbox = Sandbox()
    with pytest.raises(ValueError, match="switch envelope"):
        sandbox.set(strict=True, envelope="x")
    assert sandbox.switches.strict is False
    with pytest.raises(ValueError, match="switch envelope"):
        sandbox.switches.envelope = "x"
