"""Decoding of hostile, broken and odd bytes; unknown fields; encoding of request bodies."""

import json
import threading

import msgspec
import pytest

from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models import extra, strict_json
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import MISSING, DecodeError, RecordDecoder, ResponseDecoder, encode
from videoapi.models.extra import ExtraSource
from videoapi.models.rooms import LiveRecording, Room, RoomSettings
from videoapi.models.tokens import Participant
from videoapi.resources.tokens import TOKEN

ROOM = ResponseDecoder("room", Room)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ('"0"', "0"), ('"50001"', "50001"), ("0.0", 0.0), ("false", False), ("null", None),
        ('" 0"', " 0"), ("[]", []), ("100000000000000000000", 10**20),
    ],
)  # fmt: skip
def test_result_is_returned_unchanged(text, value):
    result, _ = ROOM.fast(b'{"result":%s}' % text.encode())
    assert (type(result), result) == (type(value), value)


def test_absent_result_is_missing_not_none():
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
def test_typed_decoder_rejects_invalid_bodies(body):
    with pytest.raises(DecodeError):
        ROOM.fast(body)


@pytest.mark.parametrize("payload", [None, [], "x", 5, {}, {"room_id": ""}, {"room_id": ".."}, {"room_id": []}])
def test_tolerant_decoder_rejects_invalid_rooms(payload):
    with pytest.raises(DecodeError):
        ROOM.tolerant(payload)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("raw", [b'{"room_id":""}', b'{"room_id":"..","new":1}', b'{"room_id":"..","owner_ref":5}'])
def test_listed_room_without_a_valid_id_is_rejected(raw, extra):
    (error,) = RecordDecoder(Room, extra=extra).decode_block([raw])
    assert isinstance(error, DecodeError)
    assert error.reason == "room_id: is not an ID"


@pytest.mark.parametrize("token", [None, "", [], {}])
def test_tolerant_decoder_rejects_invalid_tokens(token):
    with pytest.raises(DecodeError):
        TOKEN.tolerant({"result": 0, "token": token})


@pytest.mark.parametrize("body", [b'{"result":0,"users":null}', b'{"result":0,"users":[]}', b'{"result":0}'])
def test_absent_or_null_users_decode_to_an_empty_list(body):
    decoder = ResponseDecoder("users", Participant, many=True)
    assert decoder.fast(body)[1] == decoder.tolerant(json.loads(body).get("users")) == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n":NaN}', b'{"cdr_id":5,"n":-Infinity}', b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000,
        b'{"cdr_id":5,"n":' + b"[" * 200_000 + b"}",
        b"\xff\xfe", b'{"cdr_id":"\xff"}', '{"cdr_id":5}'.encode("utf-16"), b"5", b"[]", b"null", b'{"cdr_id":5} x',
    ],
)  # fmt: skip
def test_invalid_record_is_rejected_with_a_reason(raw):
    (error,) = RecordDecoder(CallRecord, extra=False).decode_block([raw])
    assert isinstance(error, DecodeError)
    assert error.reason


def test_decode_error_names_the_field_but_not_the_value():
    with pytest.raises(DecodeError) as caught:
        RecordDecoder(Room, extra=False).decode(b'{"room_id":["s3cret"]}')
    assert caught.value.reason == "room_id: expected text, got a list"


def test_invalid_record_does_not_affect_others():
    raws = [b'{"cdr_id":"a"}', b"{", b'{"cdr_id":7}', b'{"cdr_id":"\\ud800"}', b'{"cdr_id":null}']
    first, broken, number, surrogate, nothing = RecordDecoder(CallRecord, extra=False).decode_block(raws)
    assert [first.cdr_id, number.cdr_id, surrogate.cdr_id, nothing.cdr_id] == ["a", "7", "\ufffd", None]
    assert isinstance(broken, DecodeError)


@pytest.mark.parametrize("extra", [False, True])
def test_decode_list_returns_the_same_records_as_decode_block(extra):
    raws = [b'{"cdr_id":"a","new":1,"room":{"own":[2]}}', b'{"cdr_id":"b","usage":{"connect_minutes":"2.5"}}']
    decoder = RecordDecoder(CallRecord, extra=extra)
    together, alone = decoder.decode_list(b"[%b]" % b" , ".join(raws)), decoder.decode_block(raws)
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
def test_decode_list_returns_none_if_a_record_needs_the_slow_path(model, text):
    assert RecordDecoder(model, extra=True).decode_list(text) is None


def test_extra_parses_the_text_once_for_a_record_and_its_parts(monkeypatch):
    parsed = []
    monkeypatch.setattr(extra, "loads_record", lambda raw, at: parsed.append(raw) or strict_json.loads_record(raw, at))
    raw = b'{"cdr_id":"a","new":1,"room":{"own":2},"user":{"own":3}}'
    record = RecordDecoder(CallRecord, extra=True).decode(raw)
    assert not parsed
    assert (record.user.extra, record.room.extra, record.extra) == ({"own": 3}, {"own": 2}, {"new": 1})
    assert record.usage.extra == {}
    assert parsed == [raw]


def test_extra_releases_the_text_after_parsing():
    raw = b'{"cdr_id":"a","new":1,"room":{"own":2}}'
    record = RecordDecoder(CallRecord, extra=True).decode(raw)
    source, _ = record.room._extra
    assert record.extra == {"new": 1}
    assert source._raw is None
    assert record.room.extra == {"own": 2}


def test_extra_parses_a_list_once_for_all_items(monkeypatch):
    parsed = []
    monkeypatch.setattr(extra, "loads_record", lambda raw, at: parsed.append(raw) or strict_json.loads_record(raw, at))
    body = b'{"result":0,"users":[{"name":"a","new":1},{"name":"b","new":2}]}'
    _, users = ResponseDecoder("users", Participant, many=True).fast(body)
    assert [user.extra for user in users] == [{"new": 1}, {"new": 2}]
    assert len(parsed) == 1


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_extra_of_a_record_keeps_out_of_range_numbers_as_text(number):
    record = RecordDecoder(CallRecord, extra=True).decode(b'{"cdr_id":"a","new":%b}' % number.encode())
    assert record.extra == {"new": number}


def test_part_that_another_thread_builds_has_its_extra_as_soon_as_it_can_be_read(monkeypatch):
    record = RecordDecoder(CallRecord, extra=True).decode(b'{"room":{"own":1},"usage":{"own":2}}')
    building, read = threading.Event(), threading.Event()
    attach = ExtraSource.attach

    def slow_attach(self, made, where):
        if threading.current_thread() is builder and not building.is_set():
            building.set()
            assert read.wait(10)
        attach(self, made, where)

    monkeypatch.setattr(ExtraSource, "attach", slow_attach)
    builder = threading.Thread(target=lambda: record.user)
    builder.start()
    assert building.wait(10)
    try:
        assert (record.room.extra, record.usage.extra) == ({"own": 1}, {"own": 2})
    finally:
        read.set()
        builder.join()


def test_records_decoded_from_raw_views_do_not_retain_the_page():
    page = b'[{"cdr_id":"a","new":1},{"cdr_id":"b"}]'
    raws = msgspec.json.decode(page, type=list[msgspec.Raw])
    records = RecordDecoder(CallRecord, extra=True).decode_block(raws)
    assert [record.cdr_id for record in records] == ["a", "b"]
    assert type(records[0]._extra) is bytes
    assert records[0]._extra == b'{"cdr_id":"a","new":1}'


def test_extra_is_kept_at_every_depth_of_a_single_object():
    body = b'{"result":0,"room":{"room_id":"a","new":1,"settings":{"own":{"x":2},"live_recording":{"z":3}}}}'
    for room in (ROOM.fast(body)[1], ROOM.tolerant(json.loads(body)["room"])):
        assert room.extra == {"new": 1}
        assert room.settings.extra == {"own": {"x": 2}}
        assert room.settings.live_recording.extra == {"z": 3}
        assert room.to_dict() == json.loads(body)["room"]


def test_extra_is_kept_for_each_item_of_a_list():
    body = b'{"result":0,"users":[{"name":"a"},{"name":"b","permissions":{"hardmute":true}}]}'
    _, users = ResponseDecoder("users", Participant, many=True).fast(body)
    assert [user.extra for user in users] == [{}, {}]
    assert users[1].permissions.extra == {"hardmute": True}


@pytest.mark.parametrize("raw", [b'{"cdr_id":"a","new":1}', b'{"cdr_id":5,"new":1}'])
def test_extra_raises_when_the_record_was_decoded_without_it(raw):
    record = RecordDecoder(CallRecord, extra=False).decode(raw)
    with pytest.raises(ConfigurationError, match="extra=True"):
        _ = record.extra
    assert "new" not in record.to_dict()
    kept = RecordDecoder(CallRecord, extra=True).decode(raw)
    assert kept.extra == {"new": 1}
    assert kept.to_dict()["new"] == 1


def test_response_cannot_overwrite_the_extra_slot():
    body = b'{"result":0,"room":{"room_id":"a","_kept":[1],"extra":2,"settings":{"_kept":3,"extra":4}}}'
    for room in (ROOM.fast(body)[1], ROOM.tolerant(json.loads(body)["room"])):
        assert room.extra == {"_kept": [1], "extra": 2}
        assert room.settings.extra == {"_kept": 3, "extra": 4}


def test_extra_returns_a_copy():
    room = Room.from_dict({"room_id": "a", "new": 1})
    room.extra["new"] = 2
    assert room.extra == {"new": 1}


def test_extra_of_a_room_keeps_out_of_range_numbers_as_text():
    body = b'{"result":0,"room":{"room_id":"a","big":1e999,"long":%s}}' % (b"9" * 5000)
    _, room = ROOM.fast(body)
    assert room.extra == {"big": "1e999", "long": "9" * 5000}


def test_encode_accepts_models_at_any_depth():
    body = {"settings": {"live_recording": LiveRecording(url="https://a/b")}, "data": [RoomSettings(knock=True)]}
    assert json.loads(encode(body)) == {
        "settings": {"live_recording": {"url": "https://a/b"}},
        "data": [{"knock": True}],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800", {1, object()}])
def test_encode_rejects_values_that_json_cannot_represent(value):
    with pytest.raises(ValidationError, match="JSON"):
        encode({"data": {"deep": [value]}})


@pytest.mark.parametrize(
    "data",
    [float("nan"), [float("-inf")], {"a": [{"b": float("inf")}]}],
)
def test_encode_says_that_a_number_is_not_finite(data):
    with pytest.raises(ValidationError, match=r"a number in it is not finite\."):
        encode({"data": {"x": data}})


def test_encode_rejects_a_circular_body():
    data: dict[str, object] = {}
    data["self"] = data
    with pytest.raises(ValidationError, match="JSON"):
        encode({"data": data})
