"""`CallRecord.flat()`: fixed columns, one type each, whatever the record holds."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.models.cdr import CallRecord, CallRoom, CallUser, Price, SignalServer, Usage
from videoapi.models.codec import RecordDecoder
from videoapi.models.fields import field_types

HUGE = pytest.param(10**5000, id="huge")
SAMPLES = Path(__file__).resolve().parents[1] / "data" / "cdr"


def sample(name: str) -> dict:
    return json.loads((SAMPLES / f"{name}.200.json").read_text(encoding="utf-8"))["cdr"][0]


def flat(fields: dict) -> dict:
    return CallRecord.from_dict(fields).flat()


def assert_fits(row: dict) -> None:
    assert list(row) == list(CallRecord.columns)
    for name, value in row.items():
        assert value is None or type(value) is CallRecord.columns[name], name
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, float):
            assert math.isfinite(value), name
        elif isinstance(value, datetime):
            assert value.utcoffset() == UTC.utcoffset(None), name
            assert 1678 <= value.year <= 2261, name


@pytest.mark.parametrize("name", ["new", "room_details", "old", "number_result"])
def test_both_shapes_have_the_same_columns_in_the_same_order(name: str) -> None:
    assert_fits(flat(sample(name)))


def test_empty_record_has_every_column() -> None:
    row = CallRecord().flat()
    assert_fits(row)
    assert set(row.values()) == {None}


def test_columns_belong_to_the_class_and_cannot_be_changed() -> None:
    assert set(CallRecord.columns.values()) == {str, float, bool, datetime}
    with pytest.raises(TypeError):
        CallRecord.columns["minutes"] = float  # type: ignore[index]
    assert "columns" not in {field.name for field in attrs.fields(CallRecord)}


def test_column_names_are_sql_identifiers() -> None:
    assert all(name.isidentifier() and name == name.lower() and "." not in name for name in CallRecord.columns)


def test_new_shape_reads_into_its_columns() -> None:
    row = flat(sample("room_details"))
    assert row["owner_ref"] == "team-42"
    assert row["trans_at"] == datetime(2024, 1, 31, 10, 20, 30, 123000, UTC)
    assert row["room_connected_at"] == row["user_connected_at"] == datetime(2024, 1, 31, 10, tzinfo=UTC)
    assert (row["user_seconds"], row["user_minutes"]) == (999.99, 999.99 / 60)
    assert (row["room_seconds"], row["room_minutes"]) == (999.0, 16.65)
    assert row["hold_seconds"] == 9.99
    assert row["connect_minutes"] == row["room_connect_minutes"] == 999.0
    assert row["send_video_avg_bitrate_quality"] == "Good"
    assert row["receive_video_bitrate_good_percent"] == 99.0
    assert row["price_connect_duration"] == 1.5
    assert (row["published_video"], row["published_screen"], row["sip"]) == (True, False, False)


def test_old_shape_reads_into_the_same_columns() -> None:
    row = flat(sample("old"))
    assert row["room_name"] == "S"
    assert (row["user_seconds"], row["user_minutes"]) == (9999.999, 9999.999 / 60)
    assert (row["published_audio"], row["published_url"]) == (True, False)
    assert row["subscribed_minutes"] == row["published_minutes"] == 9.99
    newer = ("owner_ref", "sip", "connect_minutes", "send_video_avg_bitrate", "price_connect_duration")
    assert [row[name] for name in newer] == [None] * 5


def test_room_details_win_over_the_older_name() -> None:
    fields = {"room": {"room_details": {"name": "new"}}, "user": {"confName": "old"}}
    assert flat(fields)["room_name"] == "new"


def test_both_decoders_give_the_same_row() -> None:
    for name in ("new", "room_details", "old"):
        fields = sample(name)
        decoded = RecordDecoder(CallRecord, extra=False).decode(json.dumps(fields).encode())
        assert decoded.flat() == flat(fields)


def test_join_token_has_no_column() -> None:
    row = CallRecord(user=CallUser(token="secret-token")).flat()
    assert "secret-token" not in repr(row)
    assert (
        "secret-token" not in CallRecord.from_dict(sample("old") | {"user": {"token": "secret-token"}}).flat().values()
    )


@pytest.mark.parametrize(
    "value",
    [10**30, -(2**63), HUGE, math.nan, math.inf, -math.inf, True, "many", "1e999", [], {}, object(), b"1"],
)
def test_number_that_no_float_column_holds_reads_none(value: object) -> None:
    record = CallRecord(
        sigserver=SignalServer(duration=value), stats_quality={"send": {"video": {"avg_bitrate": value}}}
    )
    row = record.flat()
    assert (row["user_seconds"], row["user_minutes"], row["send_video_avg_bitrate"]) == (None, None, None)


@pytest.mark.parametrize(("value", "number"), [(7, 7.0), (7.5, 7.5), (" 7.5 ", 7.5), ("7e1", 70.0), (2**62, 2.0**62)])
def test_quality_figure_reads_like_its_model(value: object, number: float) -> None:
    record = CallRecord(stats_quality={"send": {"video": {"avg_bitrate": value}}})
    assert record.quality.send.video.avg_bitrate == number
    assert record.flat()["send_video_avg_bitrate"] == number


@pytest.mark.parametrize(
    "value",
    [
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "2300-01-01",
        "soon",
        "",
        5,
        [],
        None,
    ],
)
def test_time_that_no_time_column_holds_reads_none(value: object) -> None:
    assert CallRecord(trans_date=value).flat()["trans_at"] is None


@pytest.mark.parametrize("text", ["2026-01-31 10:00:00", "2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"])
def test_time_is_in_utc_whatever_its_zone(text: str) -> None:
    when = CallRecord(trans_date=text).flat()["trans_at"]
    assert when == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert when.tzinfo is UTC


def test_lone_surrogate_is_replaced() -> None:
    row = CallRecord(user=CallUser(name="A\ud800nn\udfff 👋 é")).flat()
    assert row["user_name"] == "A\ufffdnn\ufffd 👋 é"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("team-42", "team-42"),
        (42, "42"),
        (True, None),
        pytest.param(10**5000, None, id="huge"),
        ({}, None),
        (None, None),
    ],
)
def test_owner_ref_is_text_also_if_it_was_sent_as_a_number(sent: object, read: str | None) -> None:
    assert CallRecord(room=CallRoom(room_details={"owner_ref": sent})).flat()["owner_ref"] == read


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from([2**64, 10**400, "true", "12", "1e400", "2026-01-31T10:00:00", "0000-00-00"]),
)
_JUNK = _SCALARS | st.lists(_SCALARS, max_size=1) | st.dictionaries(st.just("name"), _SCALARS)
_MEDIA = st.fixed_dictionaries({}, optional=dict.fromkeys(("avg_bitrate", "avg_bitrate_quality"), _JUNK)) | _JUNK
_DIRECTION = st.fixed_dictionaries({}, optional=dict.fromkeys(("video", "audio"), _MEDIA)) | _JUNK
_QUALITY = st.fixed_dictionaries({}, optional={"send": _DIRECTION, "receive": _DIRECTION}) | _JUNK
_DETAILS = st.fixed_dictionaries({}, optional={"name": _JUNK, "owner_ref": _JUNK}) | _JUNK


def _built(cls: type, **fields: st.SearchStrategy) -> st.SearchStrategy:
    values = dict.fromkeys(field_types(cls), _JUNK) | fields
    return st.fixed_dictionaries({}, optional=values).map(lambda given: cls(**given))


@given(
    _built(
        CallRecord,
        room=_JUNK | _built(CallRoom, room_details=_DETAILS),
        user=_JUNK | _built(CallUser),
        sigserver=_JUNK | _built(SignalServer),
        usage=_JUNK | _built(Usage),
        price=_JUNK | _built(Price),
        stats_quality=_QUALITY,
    )
)
def test_any_value_anywhere_leaves_the_columns_and_types_alone(record: CallRecord) -> None:
    assert_fits(record.flat())
