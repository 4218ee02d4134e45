"""What a report reads of a record is what `flat()` says, however the record was made."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.errors import ValidationError
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.flat import flat_reader, flat_row, read_time
from videoapi.report.calendar import ReportPeriod, parse_zone
from videoapi.report.rows import COLUMNS, QUALITY, UsageRow, milliseconds, milliseconds_of, row_of
from videoapi.sandbox.history import Generated
from videoapi.sandbox.record_templates import call_record

GENERATED = Generated("0" * 24, seed="1", calls=40, rooms=0, today=date(2026, 1, 31), days=31)
DECODER = RecordDecoder(CallRecord, extra=False)


def expected(record: CallRecord) -> UsageRow:
    flat: dict[str, Any] = record.flat()
    return UsageRow(
        record_id=flat["cdr_id"] or flat["call_log_id"],
        **{name: flat[name] for name in ("conf_num", "room_id", "room_name", "owner_ref", "user_ref", "user_role")},
        at=milliseconds(flat["trans_at"]),
        room_from=milliseconds(flat["room_connected_at"]),
        room_to=milliseconds(flat["room_disconnected_at"]),
        user_from=milliseconds(flat["user_connected_at"]),
        user_to=milliseconds(flat["user_disconnected_at"]),
        user_seconds=flat["user_seconds"],
        room_seconds=flat["room_seconds"],
        connect_minutes=flat["connect_minutes"],
        good_percent=flat["receive_video_bitrate_good_percent"],
        quality=tuple(flat[name] for name in QUALITY),
    )


@pytest.mark.parametrize("schema", ["new", "old"])
def test_row_of_a_decoded_record_has_the_flat_values(schema: str) -> None:
    lines = [call_record(row, "0" * 24, schema) for place in GENERATED.sessions for row in GENERATED.rows(place)]
    records = DECODER.decode_list(b"[" + b",".join(lines) + b"]")
    assert records is not None
    assert [row_of(record) for record in records] == list(map(expected, records))
    assert [row_of(CallRecord.from_dict(record.to_dict())) for record in records] == list(map(expected, records))


leaf = st.none() | st.booleans() | st.integers(-5, 2_000) | st.floats(allow_nan=False) | st.text(max_size=4)
leaf |= st.sampled_from(["Good", "12.5", "2026-01-31T10:20:30.123Z"])
media = st.dictionaries(st.sampled_from(["avg_bitrate_quality", "bitrate_good_percent"]), leaf) | leaf
stats = st.dictionaries(st.sampled_from(["send", "receive"]), st.dictionaries(st.just("video"), media) | leaf) | leaf


@given(st.fixed_dictionaries({}, optional={
    "trans_date": leaf, "cdr_id": leaf, "conf_num": leaf, "stats_quality": stats,
    "room": leaf | st.fixed_dictionaries({}, optional={
        "room_id": leaf, "connect_dt": leaf, "duration": leaf,
        "room_details": leaf | st.dictionaries(st.sampled_from(["owner_ref", "name"]), leaf | st.just({})),
    }),
    "user": leaf | st.dictionaries(st.sampled_from(["ref", "role", "confName"]), leaf),
    "sigserver": leaf | st.dictionaries(st.sampled_from(["connect_dt", "duration"]), leaf),
    "usage": leaf | st.dictionaries(st.just("connect_minutes"), leaf),
}))  # fmt: skip
def test_row_of_an_odd_record_has_the_flat_values(fields: dict[str, Any]) -> None:
    (record,) = DECODER.decode_block([json.dumps(fields).encode()])
    if isinstance(record, CallRecord):
        assert row_of(record) == expected(record)


def test_reader_of_some_columns_reads_what_the_flat_row_has() -> None:
    record = DECODER.decode(call_record(next(GENERATED.rows(3)), "0" * 24, "old"))
    flat = flat_row(record)
    assert flat_reader(COLUMNS)(record) == [flat[name] for name in COLUMNS]
    assert flat_reader(["user_role", "room_name"])(record) == [flat["user_role"], flat["room_name"]]


digits = st.integers(0, 99).map("{:02d}".format)
near = st.tuples(digits, digits, digits, st.text("0123456789+-_ ²٣", min_size=3, max_size=3), st.sampled_from("Zz+"))


@given(near.map(lambda t: f"2026-01-{t[0]}T{t[1]}:30:{t[2]}.{t[3]}{t[4]}") | st.text(max_size=30))
def test_milliseconds_are_those_of_the_parsed_time(text: str) -> None:
    assert milliseconds_of(text) == milliseconds(read_time(text))


@pytest.mark.parametrize(
    ("words", "first", "last", "shown"),
    [
        (["2026-02"], "2026-02-01", "2026-02-28", "2026-02"),
        (["2024-02", "2024-03"], "2024-02-01", "2024-03-31", "2024-02-01 to 2024-03-31"),
        (["2026"], "2026-01-01", "2026-12-31", "2026"),
        (["2026-01-05"], "2026-01-05", "2026-01-05", "2026-01-05"),
        (["2026-01-05", "2026-02"], "2026-01-05", "2026-02-28", "2026-01-05 to 2026-02-28"),
    ],
)
def test_period_is_parsed(words: list[str], first: str, last: str, shown: str) -> None:
    period = ReportPeriod.parse(*words)
    assert (f"{period.first}", f"{period.last}", f"{period}") == (first, last, shown)


@pytest.mark.parametrize("words", [["2026-13"], ["2026-02-30"], ["0000"], ["january"], ["2026-02", "2026-01"], ["26"]])
def test_period_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(ValidationError, match="period"):
        ReportPeriod.parse(*words)


def test_days_in_utc_contain_those_of_the_time_zone() -> None:
    january = ReportPeriod.parse("2026-01")
    assert january.in_utc(parse_zone("Europe/Berlin")) == ReportPeriod.parse("2025-12-31", "2026-01-31")
    assert january.in_utc(parse_zone("America/New_York")) == ReportPeriod.parse("2026-01-01", "2026-02-01")
    assert january.in_utc(parse_zone("utc")) == january


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "a" * 300])
def test_time_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="time zone"):
        parse_zone(name)
