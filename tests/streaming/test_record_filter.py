"""The sieve: blocks read at once are let through, or not, as their records one by one would be."""

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
from videoapi.streaming.windows import split_period, utc_day

START = date(2026, 1, 1)
WINDOWS = split_period(START, START + timedelta(days=9))


def record(name: str, day: int | None) -> CallRecord:
    at = None if day is None else f"{START + timedelta(days=day)}T10:00:00Z"
    return CallRecord(cdr_id=name, trans_date=at)


def sieve(told: list[Rejected], *, dated: bool = True) -> RecordFilter[CallRecord]:
    day = (lambda record: utc_day(record.trans_date)) if dated else None
    return RecordFilter(lambda record: record.identity, day, strict=False, on_rejected=told.append)


def outcome(sieve: RecordFilter[Any], kept: Sequence[Any]) -> tuple[Any, ...]:
    return list(kept), sieve.received, sieve.outside, sieve.ordinal, sieve.last, sieve.skipping


names = st.sampled_from("abcdef")
rows = st.builds(record, names, st.none() | st.integers(-2, 12))
readings = st.lists(st.tuples(st.integers(0, 1), st.none() | names, st.lists(st.lists(rows, min_size=1), max_size=4)))


@given(readings=readings, dated=st.booleans())
def test_read_at_once_or_one_by_one_the_same_records_come_through(readings: Any, dated: bool) -> None:
    together, alone = sieve([], dated=dated), sieve([], dated=dated)
    for nth, after, blocks in sorted(readings, key=lambda reading: reading[0]):
        together.begin(WINDOWS[nth], after)
        alone.begin(WINDOWS[nth], after)
        index = 0
        for records in blocks:
            one = together.filter(Block(index, 0, records=records))
            two = alone.filter(Block(index, 0, items=[b"{}"] * len(records)), records)
            assert outcome(together, one) == outcome(alone, two)
            index += len(records)


def test_a_block_that_is_read_again_counts_nothing_twice() -> None:
    sifted = sieve([])
    for _ in range(2):
        sifted.begin(WINDOWS[0])
        assert len(sifted.filter(Block(0, 0, records=[record("a", 0), record("b", 1)]))) == 2
    assert sifted.received == 2


def test_a_block_that_could_not_be_kept_is_rejected_with_its_place() -> None:
    told: list[Rejected] = []
    sifted = sieve(told)
    sifted.begin(WINDOWS[0])
    assert sifted.filter(Block(7, 99)) == []
    assert sifted.filter(Block(8, 120, items=[b"[]"], text=b"[]"), [DecodeError("no")]) == []
    assert [(one.index, one.offset) for one in told] == [(7, 99), (8, 120)]
