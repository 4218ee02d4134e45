"""Records as Arrow columns: one schema, the values of `flat()`, and no value that fails."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.arrow import ARCHIVE_SCHEMA, ROOM_SCHEMA, SCHEMA
from videoapi.arrow.columns import archive_columns, call_columns, compute, room_columns
from videoapi.cli.redaction import shown_fields
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.column_records import ColumnDecoder
from videoapi.models.redaction import SECRET_FIELD, redact_within, text_without_secrets, without_secrets
from videoapi.models.rooms import Room

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "cdr"
DECODERS = [ColumnDecoder(), RecordDecoder(CallRecord, extra=False)]
FULL = json.loads((SAMPLES / "new.200.json").read_text(encoding="utf-8"))["cdr"][0]


def in_milliseconds(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1_000 * 1_000)
    return value


def decoded_in_each_way(fields: Sequence[Any]) -> list[list[CallRecord]]:
    texts = [json.dumps(one).encode() for one in fields]
    return [
        *([decoder.decode(text) for text in texts] for decoder in DECODERS),
        *(found for decoder in DECODERS if (found := decoder.decode_list(b"[%b]" % b",".join(texts))) is not None),
    ]


def assert_agrees(fields: Sequence[Any]) -> list[dict[str, Any]]:
    """Check that a batch has the values of `flat()`, however the records were decoded; return its rows."""
    rows: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    for text in fields:
        model = RecordDecoder(CallRecord, extra=False).decode(json.dumps(text).encode())
        expected.append({name: in_milliseconds(value) for name, value in model.flat().items()})
        expected[-1]["room_details"] = without_secrets(model.room.room_details, is_room=True)
        expected[-1]["stats_quality"] = without_secrets(model.stats_quality)
    for records in decoded_in_each_way(fields):
        batch = call_columns(records)
        batch.validate(full=True)
        assert batch.schema.equals(SCHEMA)
        rows = batch.to_pylist()
        texts = [
            {name: row[name] and json.loads(row[name]) for name in ("room_details", "stats_quality")} for row in rows
        ]
        assert [row | text for row, text in zip(rows, texts, strict=True)] == expected
    return rows


def test_schema_has_the_columns_of_flat_and_the_open_parts_as_text() -> None:
    kinds = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    expected = {name: kinds.get(kind, pyarrow.timestamp("ms", "UTC")) for name, kind in CallRecord.columns.items()}
    expected |= {"room_details": pyarrow.string(), "stats_quality": pyarrow.string()}
    assert {field.name: field.type for field in SCHEMA} == expected
    for schema in (SCHEMA, ARCHIVE_SCHEMA, ROOM_SCHEMA):
        assert not any(pyarrow.types.is_dictionary(field.type) for field in schema)
        assert "token" not in schema.names


@pytest.mark.parametrize("name", ["new", "room_details", "old", "number_result"])
def test_samples_have_the_values_of_flat(name: str) -> None:
    fields = json.loads((SAMPLES / f"{name}.200.json").read_text(encoding="utf-8"))["cdr"]
    assert_agrees(fields)


def test_no_records_are_a_batch_without_rows() -> None:
    for columns, schema in ((call_columns, SCHEMA), (archive_columns, ARCHIVE_SCHEMA), (room_columns, ROOM_SCHEMA)):
        batch = columns([])
        assert (batch.num_rows, batch.schema) == (0, schema)


ODD: list[Any] = [
    10**400,
    -(2**63),
    2**53 + 1,
    1e308,
    "1.5",
    "nan",
    "\ud800",
    "a\ud800b",
    "\x00",
    True,
    [],
    {},
    {"send": []},
    {"send": {"video": {"avg_bitrate": "12", "min_bitrate": 10**30, "avg_bitrate_quality": 7}}},
    {"send": None, "receive": {"video": None, "sharing": {}}},
    {"send": {"video": {"avg_bitrate": 3, "jitter": [1, {"a": None}]}, "new": "\ud800"}, "new": 10**30},
    {"send": {"video": {"avg_bitrate": False, "max_bitrate": [1], "avg_bitrate_quality": ""}}},
    {"receive": {"audio": [1], "sharing": {"max_bitrate": False, "bitrate_good_percent": 2**60 + 1}}},
    {"owner_ref": 17, "name": 5, "sip": {"enabled": True, "pin": "1234"}},
    {"owner_ref": "\ud800", "name": "N\ud800", "sip": True},
    "2026-01-31T10:00:00.999999Z",
    "2026-01-31T10:00:60.000Z",
    "2026-02-30T10:00:00.000Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "1700-01-01T00:00:00.5Z",
    "2026-01-31 10:00:00",
    "2026-01-31T10:00:00+05:30",
    "2026-01-31T24:00:00Z",
    "1769853600",
    None,
]
PATHS = [
    ("trans_date",),
    ("cdr_id",),
    ("sip",),
    ("stats_quality",),
    ("price",),
    ("user", "name"),
    ("user", "confName"),
    ("room",),
    ("room", "duration"),
    ("room", "connect_dt"),
    ("room", "room_details"),
    ("sigserver", "duration"),
    ("usage", "connect_minutes"),
    ("published_track", "audio"),
]


def altered(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(json.dumps(FULL))
    part = fields
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return fields


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_odd_values_read_as_in_flat_and_never_fail(path: tuple[str, ...]) -> None:
    for value in ODD:
        record = altered(path, value)
        rows = assert_agrees([FULL, record, FULL])
        assert rows[0] == rows[2]
        assert_agrees([record])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(ODD)), min_size=1, max_size=6))
def test_any_mixture_of_odd_records_has_the_values_of_flat(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    assert_agrees([altered(path, value) for path, value in changes])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(),
            st.datetimes(datetime(1600, 1, 1), datetime(2400, 1, 1)).map(lambda when: f"{when.isoformat()}Z"),
            st.from_regex(
                r"[12]\d{3}-\d\d-\d\d[T ][0-3]\d:\d\d:[0-6]\d(\.\d{0,7})?(Z|[+-]\d\d:?\d\d)?", fullmatch=True
            ),
        ),
        max_size=8,
    )
)
def test_times_are_those_of_the_parser(texts: list[str | None]) -> None:
    assert_agrees([{"trans_date": None}, *({"cdr_id": "a", "trans_date": text} for text in texts)])


def test_times_before_1970_are_cut_to_the_millisecond_below() -> None:
    (row,) = assert_agrees([{"trans_date": "1969-12-31T23:59:59.9999Z"}])
    assert row["trans_at"] == datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)


def test_open_parts_are_json_text_without_secrets() -> None:
    details = {"name": "R", "sip": {"enabled": True, "pin": "1234", "secret": "geheim"}, "settings": {"mode": "group"}}
    fields = {"user": {"token": "a-token"}, "room": {"room_details": details}, "stats_quality": {"send": {}}}
    for records in [*decoded_in_each_way([fields]), [CallRecord.from_dict(fields)]]:
        (row,) = call_columns(records).to_pylist()
        assert json.loads(row["stats_quality"]) == {"send": {}}
        shown = json.loads(row["room_details"])
        assert shown == {**details, "sip": {"enabled": True, "pin": "***", "secret": "***"}}
        assert "a-token" not in str(row)
        assert "geheim" not in str(row)


def test_repr_of_a_record_for_columns_has_no_values() -> None:
    record = ColumnDecoder().decode(b'{"user":{"token":"a-token"},"stats_quality":{"send":{}}}')
    assert record.user.token == "a-token"
    assert "a-token" not in repr([record, record.user])


def test_telephone_secrets_within_settings_are_masked_too() -> None:
    settings = {"mode": "group", "sip": {"enabled": True, "pin": "9753"}}
    fields = {"room": {"room_details": {"settings": settings}}}
    for records in [*decoded_in_each_way([fields]), [CallRecord.from_dict(fields)]]:
        (row,) = call_columns(records).to_pylist()
        assert json.loads(row["room_details"]) == {"settings": {**settings, "sip": {"enabled": True, "pin": "***"}}}
    room = Room.from_dict({"room_id": "r", "settings": settings})
    (row,) = room_columns([room]).to_pylist()
    assert "9753" not in str(row)
    assert "9753" not in str(shown_fields(CallRecord.from_dict(fields), show_secrets=False))
    assert "9753" not in str(shown_fields(room, show_secrets=False))
    assert shown_fields(room, show_secrets=True)["settings"] == settings


@pytest.mark.parametrize("part", ["room_details", "stats_quality"])
@pytest.mark.parametrize("odd", [[{"pin": "9753"}], '{"pin":"9753"}', {"deep": [{"token": ["9753"]}]}])
def test_secrets_are_masked_wherever_they_are_in_an_open_part(part: str, odd: Any) -> None:
    value = {"sip": odd, "data": {"pin": "own"}, "name": "R"}
    fields = {"room": {part: value}} if part == "room_details" else {part: value}
    for records in [*decoded_in_each_way([fields, {}]), [CallRecord.from_dict(fields), CallRecord()]]:
        row, empty = call_columns(records).to_pylist()
        assert "9753" not in str(row)
        shown = json.loads(row[part])
        # The data of a room is the user's own.
        assert (shown["name"], shown["data"]) == ("R", {"pin": "own" if part == "room_details" else "***"})
        assert empty[part] is None


def test_secrets_next_to_the_link_of_an_archive_are_masked() -> None:
    archive = Archive.from_dict({"recording": [{"url": "https://files.example/1.mkv", "password": "9753"}]})
    (row,) = archive_columns([archive]).to_pylist()
    assert json.loads(row["recording"]) == [{"url": "https://files.example/1.mkv", "password": "***"}]


def test_numbers_beyond_64_bits_stay_in_the_text_of_an_open_part() -> None:
    (row,) = assert_agrees([{"stats_quality": {"n": 10**30, "t": "\ud800"}}])
    assert json.loads(row["stats_quality"]) == {"n": 10**30, "t": "\ufffd"}


def test_empty_stats_quality_stays_empty_next_to_unknown_fields() -> None:
    rows = assert_agrees([{"stats_quality": one} for one in ({}, {"new": 1}, None)])
    assert [row["stats_quality"] for row in rows][::2] == ["{}", None]


@pytest.mark.parametrize("neighbor", [b'{"cdr_id":"a"}', b'{"cdr_id":7}', b'{"stats_quality":{"send":[]}}'])
def test_stats_quality_is_the_text_as_received_whatever_the_other_records_are(neighbor: bytes) -> None:
    text = b'{"send": {"video":{"max_bitrate":1.50e2,"new":"\\u00e9"}}, "new":"\xc3\xa9"}'
    raw, decoder = b'{"cdr_id":"b","stats_quality":%b}' % text, ColumnDecoder()
    for records in (decoder.decode_list(b"[%b,%b]" % (neighbor, raw)), decoder.decode_block([neighbor, raw])):
        if records is not None:
            row = call_columns(records).to_pylist()[1]
            assert (row["stats_quality"], row["send_video_max_bitrate"]) == (text.decode(), 150)


@pytest.mark.parametrize(
    "text",
    [
        rb'{"new":"\ud800"}',
        b'{"new":"\xff"}',
        b'{"new":1e999}',
        b'{"new":' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"send":{"video":{"new":"\xff"}}}',
        b'{"send":{"video":{"avg_bitrate":1e999}}}',
        b"[]",
        b'"text"',
    ],
)
def test_odd_stats_quality_is_found_as_in_other_streams(text: bytes) -> None:
    raw = b'{"cdr_id":"a","stats_quality":%b}' % text
    found: list[dict[int, tuple[str, ...]]] = [{}, {}]
    ours, theirs = (
        decoder.decode_block([raw], names.__setitem__) for decoder, names in zip(DECODERS, found, strict=True)
    )
    assert list(map(repr, ours)) == list(map(repr, theirs))
    assert found[0] == found[1]
    assert DECODERS[0].decode_list(b"[%b]" % raw) is None


def test_archives_have_their_links_as_json_text() -> None:
    archive = Archive.from_dict(
        {
            "_id": "a1",
            "trans_date": "2026-01-31T10:00:00.000Z",
            "room_id": "r",
            "recording": [{"url": "https://files.example/1.mkv"}],
            "chatdata": "https://files.example/chat",
        }
    )
    (row,) = archive_columns([archive]).to_pylist()
    assert (row["archive_id"], row["trans_at"]) == ("a1", datetime(2026, 1, 31, 10, tzinfo=UTC))
    assert json.loads(row["recording"]) == [{"url": "https://files.example/1.mkv"}]
    assert json.loads(row["chatdata"]) == "https://files.example/chat"
    assert row["transcoded"] is None


def test_rooms_have_settings_and_access_as_json_text_without_pins() -> None:
    room = Room.from_dict(
        {
            "room_id": "r1",
            "name": "Standup",
            "settings": {"mode": "group"},
            "sip": {"enabled": True, "pin": 4321},
            "data": {"team": "a"},
            "created": "2026-01-31T10:00:00.000Z",
        }
    )
    (row,) = room_columns([room]).to_pylist()
    assert row["created_at"] == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert row["sip_enabled"] is True
    assert json.loads(row["settings"])["mode"] == "group"
    assert json.loads(row["sip"]) == {"enabled": True, "pin": "***"}
    assert msgspec.json.decode(row["data"]) == {"team": "a"}


@pytest.mark.parametrize("end", ['", "x": NaN}', "", "\\", '\\"q", "x": NaN}'])
def test_text_of_a_record_that_cannot_be_read_has_no_secrets(end: str) -> None:
    text = '{"a": "token", "sip": {"pin": 9753, "password" : "geheim", "secret":null}, "user": {"token": "a-token' + end
    shown = text_without_secrets(text)
    assert not any(secret in shown for secret in ("9753", "geheim", "a-token"))
    assert shown.startswith('{"a": "token", "sip": {"pin": "***", "password" : "***", "secret":')
    assert ("NaN" in shown) == ("NaN" in end)


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_secrets_in_json_text_within_json_text_are_masked(levels: int) -> None:
    text = json.dumps({"user": {"token": 'gehe"im\\', "pin": 9753, "name": "Ann"}, "n": 1})
    for _ in range(levels):
        text = json.dumps([text])
    shown = text_without_secrets(text)
    cut = text_without_secrets(text[: text.index("im")])
    assert not any(secret in shown + cut for secret in ("gehe", "9753"))
    for _ in range(levels):
        (shown,) = json.loads(shown)
    assert json.loads(shown) == {"user": {"token": "***", "pin": "***", "name": "Ann"}, "n": 1}


@pytest.mark.parametrize("value", ['["geheim", ["geheim"]]', '{"a": {}, "b": "geheim"}', '["geheim'])
def test_what_follows_an_object_or_a_list_as_a_secret_is_masked(value: str) -> None:
    assert text_without_secrets('{"n": 1, "token": ' + value) == '{"n": 1, "token": "***"'


def with_slashes(value: Any) -> str:
    return json.dumps(value).replace("/", "\\/")


def with_unicode_quotes(value: Any) -> str:
    return re.sub(r"\\(.)", lambda escape: r"\u0022" if escape[1] == '"' else escape[0], json.dumps(value))


def in_unicode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def with_escaped_names(value: Any) -> str:
    return json.dumps(value).replace("pin", "\\u0070in").replace("token", "tok\\u0065n")


ENCODERS = [json.dumps, in_unicode, with_slashes, with_unicode_quotes, with_escaped_names]
NAMES = ["app_key", "auth", "password", "pin", "secret", "token", "username"]


@pytest.mark.parametrize("outer", ENCODERS)
@pytest.mark.parametrize("inner", ENCODERS)
@pytest.mark.parametrize("value", ["a/S3CRET", "éS3CRET", 'a"S3CRET', "a\\S3CRET", "a\nS3CRET", ["S3CRET"]])
def test_escapes_do_not_end_a_secret_in_json_text(outer: Any, inner: Any, value: Any) -> None:
    fields = {"sip": {"pin": value, "token": value}, "name": "é/R"}
    masked = {"sip": {"pin": "***", "token": "***"}, "name": "é/R"}
    text = outer({"x": inner(fields)})
    assert compute.match_substring_regex(pyarrow.array([text]), SECRET_FIELD).to_pylist() == [True]
    assert json.loads(json.loads(text_without_secrets(text))["x"]) == masked
    assert json.loads(without_secrets(json.loads(text))["x"]) == masked
    assert "S3CRET" not in redact_within(json.loads(text))


@pytest.mark.parametrize("space", ["", " ", "\n", "\r\n\t"])
def test_line_breaks_around_the_colon_do_not_hide_a_secret_in_json_text(space: str) -> None:
    text = json.dumps({"x": f'{{"token"{space}:{space}"S3CRET","n":1}}'})
    assert json.loads(text_without_secrets(text)) == {"x": f'{{"token"{space}:{space}"***","n":1}}'}


def test_valid_json_text_without_secrets_stays_as_it_is() -> None:
    text = '{"n": 1.50e2, "n": 1e999, "big": ' + "9" * 5000 + r', "x": "\u0026\u00e9\/ \"token\"", "secret": null}'
    assert text_without_secrets(text) == text
    assert text_without_secrets(text[:-1] + ',"pin":7}') == text[:-1] + ',"pin":"***"}'


def test_texts_in_one_another_stay_small() -> None:
    text = '{"pin": "S3CRET"}'
    for _ in range(60):
        escaped = text.replace("\\", "\\u005c").replace('"', "\\u0022")
        text = f'{{"a": "{escaped}"}}' if len(escaped) < 200_000 else text
    masked = text_without_secrets(text)
    assert "S3CRET" not in masked
    assert len(masked) < 10 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "x"y", "token": "S3CRET", "b": 1}',
        '{"a": "x, "token": "S3CRET", "b": 1}',
        r'{"a": "\q", "token": "S3CRET", "b": 1}',
        '{"token": "x"S3CRET", "b": 1}',
        '{"token": x S3CRET, "b": 1}',
        '{"token": [}, "S3CRET"], "b": 1}',
        '{"token": ' + "[" * 5000 + '"S3CRET"' + "]" * 5000 + "}",
        '{"token": [' + "9" * 5000 + ', "S3CRET"]}',
        '{"a": "{"token": "S3CRET"}", "b": 1}',
        r'{"a": "{\"token\": "S3CRET"}"}',
        r"{\u0022token\u0022: \u0022S3CRET\u0022}",
        r"{\"token\"\n:\n\"S3CRET\"}",
        r'"{\"a\": 1, \"pin\\": \"S3CRET\", \"b\": [{',
        'x", "token": "S3CRET"}',
    ],
)
def test_invalid_json_text_has_no_secrets(text: str) -> None:
    assert "S3CRET" not in text_without_secrets(text)
    assert "S3CRET" not in str(without_secrets({"x": text}))


PIECES = [*'a"\\/é\n\ud800&:,{}', '"token":', '\\"pin\\":', "\\u0022", "\\u00e9", '{"pin":']
TEXT = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
HIDDEN = st.builds("{}S3CRET{}".format, TEXT, TEXT)
SECRETS = st.recursive(HIDDEN, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=3)
OBJECTS = st.builds(
    lambda name, value, before, after: {"a": before, name: value, "z": after},
    st.sampled_from(NAMES),
    SECRETS,
    TEXT,
    st.none() | st.integers() | TEXT,
)
NESTED = st.recursive(OBJECTS, lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({"in": inner}))


@given(NESTED, st.lists(st.sampled_from(ENCODERS), min_size=1, max_size=4), st.booleans(), st.data())
@settings(max_examples=300, deadline=None)
def test_no_secret_is_in_masked_json_text_cut_anywhere(
    value: Any, encoders: list[Any], wrapped: bool, data: st.DataObject
) -> None:
    expected = without_secrets(value)
    for encode in encoders:
        value = encode({"x": value, "n": 1} if wrapped else value)
    cut = value[: data.draw(st.integers(0, len(value)))]
    for text in (value, cut):
        masked = text_without_secrets(text)
        assert "S3CRET" not in masked
        assert text_without_secrets(masked) == masked
        assert "S3CRET" not in str(without_secrets({"x": text}))
    for _ in encoders:
        value = json.loads(text_without_secrets(value))
        value = value["x"] if wrapped else value
    assert value == expected


def test_masking_of_json_text_takes_linear_time() -> None:
    hard = [
        '"token',
        '"token"' + " \\n" * 9,
        '"token":',
        '{"token":[',
        '"a\\',
        '\\"',
        '{"pin":"',
        '["token',
        "\\u0070",
        "\\",
    ]
    for part in hard:
        for start in ("", '{"pin":1,"x":"', '{"pin":1,"x":'):
            began = perf_counter()
            text_without_secrets(start + part * 20_000)
            assert perf_counter() - began < 2
