"""Bytes that are hostile, broken or odd; what is kept of unknown fields; what is sent."""

import json

import msgspec
import pytest

from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models import extra, strict_json
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import MISSING, DecodeError, RecordDecoder, ResponseDecoder, encode
from videoapi.models.rooms import LiveRecording, Room, RoomSettings
from videoapi.models.tokens import Participant

ROOM = ResponseDecoder("room", Room)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ('"0"', "0"), ('"50001"', "50001"), ("0.0", 0.0), ("false", False), ("null", None),
        ('" 0"', " 0"), ("[]", []), ("100000000000000000000", 10**20),
    ],
)  # fmt: skip
def test_the_result_is_handed_on_as_it_stands(text, value):
    result, _ = ROOM.fast(b'{"result":%s}' % text.encode())
    assert (type(result), result) == (type(value), value)


def test_an_absent_result_is_missing_and_not_none():
    assert ROOM.fast(b"{}") == (MISSING, None)
    assert not MISSING


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":NaN}', b'{"result":0,"room":{"room_id":"x","n":Infinity}}', b'{"result":0} x', b"",
        b"[]", b"null", b'"x"', b'{"result":0', b"\xff", b'\x00{"result":0}', b"<html>",
        b'{"result":' + b"[" * 200_000, b'{"result":0,"room":{}}', b'{"result":0,"room":{"room_id":null}}',
        b'{"result":0,"room":{"room_id":""}}', b'{"result":0,"room":{"room_id":".."}}',
        b'{"result":0,"room":{"room_id":"a/b"}}', b'{"result":0,"room":[]}', b'{"result":0,"room":"x"}',
    ],
)  # fmt: skip
def test_what_the_typed_path_cannot_read_is_refused(body):
    with pytest.raises(DecodeError):
        ROOM.fast(body)


@pytest.mark.parametrize("payload", [None, [], "x", 5, {}, {"room_id": ""}, {"room_id": ".."}, {"room_id": []}])
def test_no_room_is_made_of_what_is_none(payload):
    with pytest.raises(DecodeError):
        ROOM.tolerant(payload)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("raw", [b'{"room_id":""}', b'{"room_id":"..","new":1}', b'{"room_id":"..","owner_ref":5}'])
def test_a_listed_room_without_an_id_is_refused(raw, extra):
    (refused,) = RecordDecoder(Room, extra=extra).decode_block([raw])
    assert isinstance(refused, DecodeError)
    assert refused.reason == "room_id: is no id"


@pytest.mark.parametrize("token", [None, "", [], {}])
def test_no_token_is_made_of_what_is_none(token):
    with pytest.raises(DecodeError):
        ResponseDecoder("token", str).tolerant(token)


@pytest.mark.parametrize("body", [b'{"result":0,"users":null}', b'{"result":0,"users":[]}', b'{"result":0}'])
def test_no_users_in_any_form_is_an_empty_list(body):
    reader = ResponseDecoder("users", Participant, many=True)
    assert reader.fast(body)[1] == reader.tolerant(json.loads(body).get("users")) == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n":NaN}', b'{"cdr_id":5,"n":1e999}', b'{"cdr_id":5,"n":' + b"9" * 5000 + b"}", b"[" * 200_000,
        b'{"cdr_id":5,"n":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"\xff\xfe", b'{"cdr_id":"\xff"}', '{"cdr_id":5}'.encode("utf-16"), b"5", b"[]", b"null", b'{"cdr_id":5} x',
        b'{"room":"no object"}', b'{"usage":{"connect_minutes":"many"}}', b'{"usage":{"connect_minutes":"nan"}}',
        b'{"cdr_id":{}}',
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_refused_with_a_reason(raw):
    (refused,) = RecordDecoder(CallRecord, extra=False).decode_block([raw])
    assert isinstance(refused, DecodeError)
    assert refused.reason


def test_the_reason_names_the_place_and_no_value():
    with pytest.raises(DecodeError) as caught:
        RecordDecoder(CallRecord, extra=False).decode(b'{"usage":{"connect_minutes":"s3cret"}}')
    assert caught.value.reason == "usage.connect_minutes: expected a number, got text"


def test_one_odd_record_costs_no_other():
    raws = [b'{"cdr_id":"a"}', b"{", b'{"cdr_id":7}', b'{"cdr_id":"\\ud800"}', b'{"cdr_id":null}']
    first, broken, number, surrogate, nothing = RecordDecoder(CallRecord, extra=False).decode_block(raws)
    assert [first.cdr_id, number.cdr_id, surrogate.cdr_id, nothing.cdr_id] == ["a", "7", "\ud800", None]
    assert isinstance(broken, DecodeError)


@pytest.mark.parametrize("extra", [False, True])
def test_records_read_at_once_are_those_read_one_by_one(extra):
    raws = [b'{"cdr_id":"a","new":1,"room":{"own":[2]}}', b'{"cdr_id":"b","usage":{"connect_minutes":"2.5"}}']
    reader = RecordDecoder(CallRecord, extra=extra)
    together, alone = reader.decode_list(b"[%b]" % b" , ".join(raws)), reader.decode_block(raws)
    assert together == alone
    assert [record.to_dict() for record in together] == [record.to_dict() for record in alone]
    if extra:
        assert together[0].extra == {"new": 1}
        assert together[0].room.extra == {"own": [2]}


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (CallRecord, b'[{"cdr_id":"a"},{"cdr_id":7}]'),
        (CallRecord, b'[{"cdr_id":"a"},null]'),
        (CallRecord, b'[{"cdr_id":"\\ud800"}]'),
        (CallRecord, b'[{"cdr_id":"\xff"}]'),
        (CallRecord, b'[{"new":"\xff"}]'),
        (CallRecord, b'[{"cdr_id":"a"}]]'),
        (CallRecord, b'[{"user":{"name":"a"]'),
        (CallRecord, b'[{"stats_quality":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]"),
        (Room, b'[{"room_id":"a"},{"room_id":"../b"}]'),
        (Room, b'[{"room_id":"a"},{"name":"b"}]'),
    ],
)
def test_one_record_that_needs_a_closer_look_is_not_read_with_others(model, text):
    assert RecordDecoder(model, extra=True).decode_list(text) is None


def test_a_text_is_parsed_once_for_a_record_and_all_its_parts(monkeypatch):
    parsed = []
    monkeypatch.setattr(extra, "loads_kept", lambda raw: parsed.append(raw) or strict_json.loads_kept(raw))
    raw = b'{"cdr_id":"a","new":1,"room":{"own":2},"user":{"own":3}}'
    record = RecordDecoder(CallRecord, extra=True).decode(raw)
    assert not parsed
    assert (record.user.extra, record.room.extra, record.extra) == ({"own": 3}, {"own": 2}, {"new": 1})
    assert record.usage.extra == {}
    assert parsed == [raw]


def test_a_text_goes_when_it_has_been_parsed():
    raw = b'{"cdr_id":"a","new":1,"room":{"own":2}}'
    record = RecordDecoder(CallRecord, extra=True).decode(raw)
    source, _ = record.room._extra
    assert record.extra == {"new": 1}
    assert source._raw is None
    assert record.room.extra == {"own": 2}


def test_a_list_is_parsed_once_for_all_its_items(monkeypatch):
    parsed = []
    monkeypatch.setattr(extra, "loads_kept", lambda raw: parsed.append(raw) or strict_json.loads_kept(raw))
    body = b'{"result":0,"users":[{"name":"a","new":1},{"name":"b","new":2}]}'
    _, users = ResponseDecoder("users", Participant, many=True).fast(body)
    assert [user.extra for user in users] == [{"new": 1}, {"new": 2}]
    assert len(parsed) == 1


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_number_too_large_to_hold_is_kept_as_text(number):
    record = RecordDecoder(CallRecord, extra=True).decode(b'{"cdr_id":"a","new":%b}' % number.encode())
    assert record.extra == {"new": number}


def test_records_are_read_from_raw_views_and_do_not_keep_the_page():
    page = b'[{"cdr_id":"a","new":1},{"cdr_id":"b"}]'
    raws = msgspec.json.decode(page, type=list[msgspec.Raw])
    made = RecordDecoder(CallRecord, extra=True).decode_block(raws)
    assert [record.cdr_id for record in made] == ["a", "b"]
    source, _ = made[0]._extra
    assert type(source._raw) is bytes
    assert source._raw == b'{"cdr_id":"a","new":1}'


def test_unknown_fields_are_kept_on_a_single_object_at_every_depth():
    body = b'{"result":0,"room":{"room_id":"a","new":1,"settings":{"own":{"x":2},"live_recording":{"z":3}}}}'
    for room in (ROOM.fast(body)[1], ROOM.tolerant(json.loads(body)["room"])):
        assert room.extra == {"new": 1}
        assert room.settings.extra == {"own": {"x": 2}}
        assert room.settings.live_recording.extra == {"z": 3}
        assert room.to_dict() == json.loads(body)["room"]


def test_unknown_fields_are_kept_of_each_item_of_a_list():
    body = b'{"result":0,"users":[{"name":"a"},{"name":"b","permissions":{"hardmute":true}}]}'
    _, users = ResponseDecoder("users", Participant, many=True).fast(body)
    assert [user.extra for user in users] == [{}, {}]
    assert users[1].permissions.extra == {"hardmute": True}


@pytest.mark.parametrize("raw", [b'{"cdr_id":"a","new":1}', b'{"cdr_id":5,"new":1}'])
def test_a_record_read_without_extra_says_so_instead_of_showing_nothing(raw):
    record = RecordDecoder(CallRecord, extra=False).decode(raw)
    with pytest.raises(ConfigurationError, match="extra=True"):
        _ = record.extra
    assert "new" not in record.to_dict()
    kept = RecordDecoder(CallRecord, extra=True).decode(raw)
    assert kept.extra == {"new": 1}
    assert kept.to_dict()["new"] == 1


def test_the_wire_cannot_fill_the_place_of_what_is_kept():
    body = b'{"result":0,"room":{"room_id":"a","_kept":[1],"extra":2,"settings":{"_kept":3,"extra":4}}}'
    for room in (ROOM.fast(body)[1], ROOM.tolerant(json.loads(body)["room"])):
        assert room.extra == {"_kept": [1], "extra": 2}
        assert room.settings.extra == {"_kept": 3, "extra": 4}


def test_what_is_kept_cannot_be_changed_from_outside():
    room = Room.from_dict({"room_id": "a", "new": 1})
    room.extra["new"] = 2
    assert room.extra == {"new": 1}


def test_an_unknown_number_that_nothing_holds_stays_text():
    body = b'{"result":0,"room":{"room_id":"a","big":1e999,"long":%s}}' % (b"9" * 5000)
    _, room = ROOM.fast(body)
    assert room.extra == {"big": "1e999", "long": "9" * 5000}


def test_models_may_stand_anywhere_in_what_is_sent():
    body = {"settings": {"live_recording": LiveRecording(url="https://a/b")}, "data": [RoomSettings(knock=True)]}
    assert json.loads(encode(body)) == {
        "settings": {"live_recording": {"url": "https://a/b"}},
        "data": [{"knock": True}],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800", {1, object()}])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(value):
    with pytest.raises(ValidationError, match="JSON"):
        encode({"data": {"deep": [value]}})


def test_a_body_that_contains_itself_is_refused():
    data: dict[str, object] = {}
    data["self"] = data
    with pytest.raises(ValidationError, match="JSON"):
        encode({"data": data})
