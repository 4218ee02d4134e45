"""Record filter and row set tests: blocks decoded in one pass are filtered like individually decoded records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError
from videoapi.models.times import utc_day
from videoapi.streaming.readings import Readings
from videoapi.streaming.record_filter import RecordFilter, Rejected
from videoapi.streaming.row_set import RowSet, digests, have_changed
from videoapi.streaming.splitter import Block
from videoapi.streaming.windows import split_period

START = date(2026, 1, 1)
WINDOWS = split_period(START, START + timedelta(days=9))


def record(name: str, day: int | None) -> CallRecord:
    at = None if day is None else f"{START + timedelta(days=day)}T10:00:00Z"
    return CallRecord(cdr_id=name, trans_date=at)


def text_of(records: Sequence[CallRecord]) -> bytes:
    return b",".join(record.to_json().encode() for record in records)


def record_filter(rejected: list[Rejected], *, dated: bool = True) -> RecordFilter[CallRecord]:
    day = (lambda record: utc_day(record.trans_date)) if dated else None
    return RecordFilter(lambda record: record.identity, day, strict=False, on_rejected=rejected.append)


def selected(tested: RecordFilter[CallRecord], block: Block, decoded: Sequence[Any] = ()) -> tuple[Any, ...]:
    rows = tested.unread(block, decoded)
    for day in tested.days_needed(rows):
        tested.leave(day, RowSet())
    batch = tested.select(rows)
    places = [batch.place(nth) for nth in range(len(batch.records) + 1)]
    return batch.records, places, tested.counts, tested.must_restart


rows = st.builds(record, st.sampled_from("abcdef"), st.none() | st.integers(-2, 12))
readings = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.lists(rows, min_size=1, max_size=6), max_size=4)), max_size=6
)


@settings(deadline=None)
@given(readings=readings, dated=st.booleans())
def test_decoded_blocks_and_single_records_are_filtered_alike(readings: Any, dated: bool) -> None:
    together, alone = record_filter([], dated=dated), record_filter([], dated=dated)
    window = None
    for nth, blocks in sorted(readings, key=lambda reading: reading[0]):
        for tested in (together, alone):
            if WINDOWS[nth] is not window:
                tested.begin(WINDOWS[nth])
            tested.open()
        window = WINDOWS[nth]
        index = 0
        for records in blocks:
            text = text_of(records)
            items = [one.to_json().encode() for one in records]
            one = selected(together, Block(index, 0, text=text, records=records))
            two = selected(alone, Block(index, 0, items=items, text=text), records)
            assert one == two
            index += len(records)


def test_window_read_again_is_not_counted_or_yielded_again() -> None:
    tested = record_filter([])
    tested.begin(WINDOWS[0])
    records = [record("a", 0), record("b", 1)]
    kept = []
    for order in (records, records[::-1]):
        tested.open()
        kept += selected(tested, Block(0, 0, text=text_of(order), records=order))[0]
    assert kept == records
    assert tested.counts.received == 2
    assert not tested.must_restart


def test_rejected_records_have_index_and_offset() -> None:
    rejected: list[Rejected] = []
    tested = record_filter(rejected)
    tested.begin(WINDOWS[0])
    tested.open()
    selected(tested, Block(7, 99, text=b"beginning"))
    selected(tested, Block(8, 120, items=[b"[]"], text=b"[]"), [DecodeError("no")])
    assert [(one.index, one.offset, one.text) for one in rejected] == [(7, 99, "beginning"), (8, 120, "[]")]


@settings(deadline=None)
@given(
    added=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3).map(lambda n: n << 8)),
    removed=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3).map(lambda n: n << 8)),
)
def test_row_set_is_a_multiset(added: list[int], removed: list[int]) -> None:
    rows, model = RowSet(), Counter(added)
    rows.update(added)
    for one in [*removed, *added[::2]]:
        assert rows.remove(one) is (model[one] > 0)
        model[one] -= model[one] > 0
    rows.update(added)
    model += Counter(added)
    assert sorted(rows) == sorted(model.elements())
    assert all((one in rows) is (model[one] > 0) for one in [*added, *removed])
    other = RowSet()
    other.update(removed)
    assert sorted(rows.common(other)) == sorted((model & Counter(removed)).elements())
    assert sorted(rows) == sorted(model.elements())


def test_row_set_is_merged_and_sorted_in_steps() -> None:
    one, two = RowSet(), RowSet()
    one.update(range(0, 200_000, 3))
    two.update(range(0, 200_000, 2))
    one.merge(two)
    assert len([*one.sort()]) == 256
    assert sorted(one) == sorted([*range(0, 200_000, 3), *range(0, 200_000, 2)])
    assert one.remove(6)
    assert one.remove(6)
    assert not one.remove(6)
    assert not [*one.sort()]


def test_rows_that_share_an_id_are_distinguished() -> None:
    names = [str(number).encode() for number in range(200_000)]

    found = digests(["one"] * len(names), names)

    # 39 bits: a pair in thirty runs; 31 bits would make nine in each.
    assert len(set(found)) >= len(names) - 3
    assert max(found) < 2**64


def test_only_rows_that_the_first_reading_lacked_may_be_changed_ones() -> None:
    raws = [b"1", b"2", b"3"]
    found = digests(["one"] * 3, raws)

    def read_again(*numbers: int) -> Readings:
        readings = Readings()
        for rows in ((0, 1), numbers):
            readings.open()
            list(readings.prepare())
            some, theirs = [raws[nth] for nth in rows], [found[nth] for nth in rows]
            unread = readings.unread(some, theirs)
            readings.add([some[nth] for nth in unread], [theirs[nth] for nth in unread])
        return readings

    gone = read_again(1)
    assert (gone.must_restart, gone.disappeared, gone.count) == (False, 1, 2)
    changed = read_again(1, 2)
    assert (changed.must_restart, changed.disappeared, changed.count) == (True, 1, 3)
    same = read_again(1, 0, 2)
    assert (same.must_restart, same.disappeared, same.count) == (False, 0, 3)


def test_row_set_takes_8_bytes_per_row() -> None:
    rows = RowSet()
    names = [f"id{n}" for n in range(200_000)]
    rows.update(digests(names, map(str.encode, names)))
    per_row = sum(bucket.buffer_info()[1] * bucket.itemsize for bucket in rows._buckets) / 200_000
    assert per_row == 8


def test_changed_row_is_told_from_a_row_that_is_gone() -> None:
    def row_set(*rows: tuple[str | None, dict[str, Any]]) -> RowSet:
        found = RowSet()
        found.update(digests((name for name, _ in rows), (json.dumps(fields).encode() for _, fields in rows)))
        return found

    before = ("a", {"price": 1})
    assert have_changed(row_set(before), row_set(("a", {"price": 2})))
    assert not have_changed(row_set(before), row_set(("b", {"price": 1})))
    assert have_changed(row_set((None, {"price": 1})), row_set())
    assert not have_changed(row_set(), row_set(before))
