"""Rows added up: in any order, in any number of parts, and in bounded memory."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoapi.report.calendar import Calendar, ReportPeriod
from videoapi.report.rows import UsageRow
from videoapi.report.selection import Limits, Selection
from videoapi.report.summary import UsageSummary, summarize
from videoapi.report.tally import Tally
from videoapi.report.usage import GRADES, MOST_MS, UsageSums, grades

DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01T00:00Z
ZONES = (UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/New_York"))

times = st.none() | st.integers(START, START + 40 * DAY)
words = st.sampled_from([None, "Good", "Bad", " good ", "Fair", ""])
few = st.sampled_from([None, "", "a", "b", "c"])
rows = st.builds(
    UsageRow,
    record_id=st.none() | st.sampled_from("xyz"),
    conf_num=few,
    room_id=few,
    room_name=few,
    owner_ref=few,
    user_ref=few,
    user_role=few,
    at=times,
    room_from=times,
    room_to=times,
    user_from=times,
    user_to=times,
    user_seconds=st.none() | st.floats(-1e3, 1e5) | st.sampled_from([1.7e308, -1.7e308, 2_678_400.001]),
    connect_minutes=st.none() | st.floats(-10, 1e4) | st.just(1.7e308),
    good_percent=st.none() | st.floats(-1, 101),
    quality=st.tuples(*[words] * 6),
)


def usage_of(some: list[UsageRow], calendar: Calendar) -> UsageSums:
    usage = UsageSums(calendar)
    usage.add(some)
    return usage


def summary_of(some: list[UsageRow], *, kept: int = 20_000, zone: object = UTC) -> UsageSummary:
    with Tally(Calendar(zone), kept=kept) as tally:  # type: ignore[arg-type]
        tally.add(some)
        return summarize(
            tally, period=None, timezone="UTC", source="rows", groups=("room", "owner_ref", "user", "role"), top=2
        )


@given(st.lists(rows), st.integers(0, 50), st.sampled_from(ZONES))
def test_parts_that_are_merged_equal_the_whole(some: list[UsageRow], cut: int, zone: object) -> None:
    calendar = Calendar(zone)  # type: ignore[arg-type]
    merged = usage_of(some[cut:], calendar)
    merged.merge(usage_of(some[:cut], calendar))
    assert merged == usage_of(some, calendar)
    assert usage_of(some[::-1], calendar) == usage_of(some, calendar)


@given(st.lists(rows))
@settings(max_examples=50)
def test_bounded_memory_changes_no_figure(some: list[UsageRow]) -> None:
    assert summary_of(some, kept=1) == summary_of(some)


@given(st.lists(rows), st.lists(rows), st.lists(rows))
@settings(max_examples=50)
def test_rewinding_forgets_the_rows_since_the_mark(
    before: list[UsageRow], again: list[UsageRow], after: list[UsageRow]
) -> None:
    with Tally(Calendar(), kept=1) as tally:
        tally.add(before)
        for some in (after, again):
            tally.mark()
            tally.add(some)
        tally.rewind()
        tally.add(again)
        found = summarize(tally, period=None, timezone="UTC", source="rows", groups=("room",), top=2)
    expected = summary_of([*before, *after, *again])
    assert found == attrs_with(expected, groups={"room": expected.groups["room"]})


def attrs_with(summary: UsageSummary, **changes: object) -> UsageSummary:
    import attrs

    return attrs.evolve(summary, **changes)


@given(st.lists(rows))
@settings(max_examples=50)
def test_every_part_adds_up_to_the_total(some: list[UsageRow]) -> None:
    summary = summary_of(some, kept=3)
    total = summary.total
    assert total.records == len(some)
    assert sum(figures.records for _, figures in summary.days) + summary.undated.records == len(some)
    minutes = sum(figures.participant_minutes for _, figures in summary.days) + summary.undated.participant_minutes
    assert minutes == pytest.approx(total.participant_minutes)
    for name, group in summary.groups.items():
        parts = [*(entry.figures for entry in group.entries), group.rest]
        assert sum(one.records for one in parts) == len(some), name
        assert sum(one.participant_minutes for one in parts) == pytest.approx(total.participant_minutes)
    for name in ("room", "owner_ref"):
        group = summary.groups[name]
        parts = [*(entry.figures for entry in group.entries), group.rest]
        # Records without a session have a room, but no session.
        assert sum(one.sessions or 0 for one in parts) == total.sessions
        assert sum(one.room_minutes or 0 for one in parts) == pytest.approx(total.room_minutes)
    assert all(sum(counts.values()) == len(some) for counts in grades_of(some))
    assert sum(map(sum, summary.hours)) + summary.odd["without_start"] == len(some)


def grades_of(some: list[UsageRow]) -> list[Counter[int]]:
    return list(grades(usage_of(some, Calendar()).quality))


def row(**fields: object) -> UsageRow:
    usual = {"conf_num": "c", "room_id": "r", "at": START + DAY, "room_from": START, "room_to": START + 600_000}
    usual |= {"user_from": START, "user_to": START + 600_000, "user_seconds": 600.0}
    return UsageRow(**{**usual, **fields})  # type: ignore[arg-type]


def test_users_of_a_session_share_its_room_minutes() -> None:
    summary = summary_of([row(), row(room_from=START - 60_000), row(room_to=START + 660_000, user_seconds=60.0)])
    assert (summary.total.sessions, summary.total.room_minutes) == (1, 12)
    assert summary.total.participant_minutes == 21
    assert summary.groups["room"].entries[0].figures.room_minutes == 12
    assert summary.groups["user"].entries[0].figures.room_minutes is None


@pytest.mark.parametrize(
    ("fields", "odd"),
    [
        ({"user_seconds": None}, "without_minutes"),
        ({"user_seconds": -1.0}, "minutes_impossible"),
        ({"user_seconds": 1.7e308}, "minutes_impossible"),
        ({"user_seconds": MOST_MS / 1000 + 1}, "minutes_impossible"),
        ({"connect_minutes": -1.0}, "counted_impossible"),
        ({"user_to": None}, "unfinished"),
        ({"user_from": None}, "without_start"),
        ({"user_to": START - 1}, "ends_before_start"),
        ({"at": None}, "without_day"),
        ({"conf_num": None}, "without_session"),
        ({"room_to": None}, "session_without_times"),
        ({"room_to": START - 1}, "session_impossible"),
        ({"room_to": START + MOST_MS + 1}, "session_impossible"),
        ({"room_id": None}, "without_room"),
        ({"good_percent": 100.5}, "percent_impossible"),
    ],
)
def test_odd_record_is_counted_and_never_hidden(fields: dict[str, object], odd: str) -> None:
    usual = {"owner_ref": "o", "user_ref": "u"}
    summary = summary_of([row(**usual), row(**{**usual, "conf_num": "d"} | fields)])
    assert summary.total.records == 2
    lacks = {"unreadable_values": 1} if {"user_to", "user_from", "at"} & {*fields} and None in fields.values() else {}
    assert {name: count for name, count in summary.odd.items() if count} == {odd: 1} | lacks
    assert summary.total.participant_minutes == (10 if "user_seconds" in fields else 20)


@pytest.mark.parametrize("kept", [1, 100])
def test_repeated_records_are_reported_and_counted(kept: int) -> None:
    some = [row(record_id="1"), row(record_id="2"), row(record_id="1"), row(record_id="1", user_seconds=1.0)]
    summary = summary_of([*some, *some], kept=kept)
    # Per four rows one repeat, and all of the second four.
    assert (summary.odd["repeated"], summary.odd["same_id"]) == (5, 1)
    assert summary.repeated_minutes == pytest.approx(40 + 1 / 60)
    assert summary.total.records == 8


def test_records_without_an_id_repeat_only_the_same_connection_of_a_user() -> None:
    at = {"user_ref": "u", "user_from": START}
    for first, second, repeated in (
        (at, at, 1),
        (at, at | {"user_from": START + 1}, 0),
        (at, at | {"user_ref": "v"}, 0),
        (at, at | {"conf_num": "d"}, 0),
        (at | {"user_ref": None}, at | {"user_ref": None}, 0),
        (at | {"user_from": None}, at | {"user_from": None}, 0),
        (at | {"conf_num": None}, at | {"conf_num": None}, 0),
    ):
        odd = summary_of([row(**first), row(**second)]).odd
        assert (odd["repeated"], odd["same_id"]) == (repeated, 0)


def test_quality_words_that_are_unknown_are_another_grade() -> None:
    quality = ("GOOD", "Bad", "Fair", None, "", "bad ")
    found = [GRADES[next(iter(counts))] for counts in grades_of([row(quality=quality)])]
    assert found == ["good", "bad", "other", "not measured", "not measured", "bad"]


def test_days_and_hours_are_those_of_the_time_zone() -> None:
    # 2025-12-31 23:50 in New York.
    at = START + 5 * 3_600_000 - 600_000
    place = Calendar(ZoneInfo("America/New_York")).place(at)
    assert place == (ReportPeriod.parse("2025-12-31").first.toordinal(), 2 * 24 + 23)
    # A zone of five hours and three quarters: 2026-01-01 05:44:59 and 05:45.
    kathmandu = Calendar(ZoneInfo("Asia/Kathmandu"))
    assert [kathmandu.place(START + shift).hour for shift in (-1, 0)] == [3 * 24 + 5, 3 * 24 + 5]
    assert [kathmandu.place(START + 900_000 + shift).hour for shift in (-1, 0)] == [3 * 24 + 5, 3 * 24 + 6]


def test_day_without_a_record_is_a_day_of_the_period() -> None:
    summary = summary_of([row(), row(at=START + 3 * DAY)])
    assert [figures.records for _, figures in summary.days] == [1, 0, 1]


def test_selection_leaves_out_other_days_and_counts_them() -> None:
    selection = Selection(Calendar(), ReportPeriod.parse("2026-01-02"))
    some = [row(), row(at=START), row(at=None), row(at=START + 2 * DAY)]
    assert selection.of(some) == [some[0], some[2]]
    assert selection.outside == 2
    assert Selection(Calendar(), limits=Limits("r", "d")).of([row(), row(conf_num="d")]) == [row(conf_num="d")]
