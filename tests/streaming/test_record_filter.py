"""Record filter tests: blocks decoded in one pass are filtered like individually decoded records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError
from videoapi.streaming.record_filter import RecordFilter, Rejected
from videoapi.streaming.splitter import Block
from videoapi.models.times import utc_day
from videoapi.streaming.windows import split_period

START = date(2026, 1, 1)
WINDOWS = split_period(START, START + timedelta(days=9))


def record(name: str, day: int | None) -> CallRecord:
    at = None if day is None else f"{START + timedelta(days=day)}T10:00:00Z"
    return CallRecord(cdr_id=name, trans_date=at)


def record_filter(rejected: list[Rejected], *, dated: bool = True) -> RecordFilter[CallRecord]:
    day = (lambda record: utc_day(record.trans_date)) if dated else None
    return RecordFilter(lambda record: record.identity, day, strict=False, on_rejected=rejected.append)


def result(tested: RecordFilter[Any], kept: Sequence[Any]) -> tuple[Any, ...]:
    return list(kept), tested.received, tested.outside, tested.ordinal, tested.last, tested.skipping


names = st.sampled_from("abcdef")
rows = st.builds(record, names, st.none() | st.integers(-2, 12))
readings = st.lists(st.tuples(st.integers(0, 1), st.none() | names, st.lists(st.lists(rows, min_size=1), max_size=4)))


@given(readings=readings, dated=st.booleans())
def test_decoded_blocks_and_single_records_are_filtered_alike(readings: Any, dated: bool) -> None:
    together, alone = record_filter([], dated=dated), record_filter([], dated=dated)
    for nth, after, blocks in sorted(readings, key=lambda reading: reading[0]):
        together.begin(WINDOWS[nth], after)
        alone.begin(WINDOWS[nth], after)
        index = 0
        for records in blocks:
            one = together.filter(Block(index, 0, records=records))
            two = alone.filter(Block(index, 0, items=[b"{}"] * len(records)), records)
            assert result(together, one) == result(alone, two)
            index += len(records)


def test_block_read_again_is_not_counted_again() -> None:
    tested = record_filter([])
    for _ in range(2):
        tested.begin(WINDOWS[0])
        assert len(tested.filter(Block(0, 0, records=[record("a", 0), record("b", 1)]))) == 2
    assert tested.received == 2


def test_rejected_records_have_index_and_offset() -> None:
    rejected: list[Rejected] = []
    tested = record_filter(rejected)
    tested.begin(WINDOWS[0])
    assert tested.filter(Block(7, 99)) == []
    assert tested.filter(Block(8, 120, items=[b"[]"], text=b"[]"), [DecodeError("no")]) == []
    assert [(one.index, one.offset) for one in rejected] == [(7, 99), (8, 120)]
