"""Date window tests: each record once, whether the service's end date is inclusive or not."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.errors import ValidationError
from videoapi.models.times import utc_day
from videoapi.streaming.windows import UNBOUNDED, Cursor, Ownership, Window, resume, split_period

days = st.dates(date(2020, 1, 1), date(2030, 1, 1))


def d(text: str) -> date:
    return date.fromisoformat(text)


def test_month_is_split_into_weeks_that_share_their_boundary_days() -> None:
    requested = [(str(w.first), str(w.until)) for w in split_period(d("2026-01-01"), d("2026-01-31"))]
    assert requested == [
        ("2026-01-01", "2026-01-08"),
        ("2026-01-08", "2026-01-15"),
        ("2026-01-15", "2026-01-22"),
        ("2026-01-22", "2026-01-29"),
        ("2026-01-29", "2026-02-01"),
    ]


def test_single_day_is_one_window_that_requests_an_extra_day() -> None:
    (window,) = split_period(d("2026-02-28"), d("2026-02-28"))
    assert (window.first, window.last, window.until) == (
        d("2026-02-28"),
        d("2026-02-28"),
        d("2026-03-01"),
    )


@given(start=days, length=st.integers(0, 60), inclusive=st.booleans(), data=st.data())
def test_each_record_is_owned_once_for_any_end_date_rule_and_order(
    start: date, length: int, inclusive: bool, data: st.DataObject
) -> None:
    end = start + timedelta(length)
    spread = st.dates(start - timedelta(3), end + timedelta(3))
    records = list(enumerate(data.draw(st.lists(spread, max_size=20))))
    owned: list[tuple[int, date]] = []
    for window in split_period(start, end):
        assert window.first is not None
        assert window.until is not None
        last = window.until if inclusive else window.until - timedelta(1)
        response = [record for record in records if window.first <= record[1] <= last]
        owned += [r for r in data.draw(st.permutations(response)) if window.ownership(r[1]) is Ownership.OWN]
    assert sorted(owned) == [record for record in records if start <= record[1] <= end]


def test_record_of_a_shared_day_belongs_to_the_later_window() -> None:
    first, second = split_period(d("2026-01-01"), d("2026-01-10"))
    assert first.ownership(d("2026-01-08")) is Ownership.NEIGHBOUR
    assert second.ownership(d("2026-01-08")) is Ownership.OWN
    assert second.ownership(d("2026-01-11")) is Ownership.OUTSIDE
    assert first.ownership(d("2025-12-31")) is Ownership.OUTSIDE


def test_unbounded_window_owns_every_record() -> None:
    assert UNBOUNDED.ownership(d("1999-01-01")) is Ownership.OWN
    assert UNBOUNDED.ownership(None) is Ownership.OWN
    assert str(UNBOUNDED) == "all"


@pytest.mark.parametrize(
    ("start", "end"), [(d("2026-01-02"), d("2026-01-01")), (date.max, date.max), (d("1926-01-01"), d("2026-01-01"))]
)
def test_invalid_period_is_rejected(start: date, end: date) -> None:
    with pytest.raises(ValidationError, match="period") as caught:
        split_period(start, end)
    assert caught.value.field == "end"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-01-31T10:20:30.123Z", "2024-01-31"),
        ("2024-01-31T23:59:59.999Z", "2024-01-31"),
        ("2024-01-31T23:30:00-02:00", "2024-02-01"),
        ("2024-02-01T01:00:00+05:30", "2024-01-31"),
        ("2024-01-31 10:20:30", "2024-01-31"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:20:30Z  ", "2024-01-31"),
        ("  2024-01-31 10:20:30\n", "2024-01-31"),
        ("20240131T102030Z", "2024-01-31"),
        ("20240131", "2024-01-31"),
        ("1706696430", "2024-01-31"),
        ("1706696430.25", "2024-01-31"),
        ("1706696430123", "2024-01-31"),
        ("1706696430123.0", "2024-01-31"),
        ("1712345678901", "2024-04-05"),
    ],
)
def test_utc_day_converts_to_utc(text: str, day: str) -> None:
    assert utc_day(text) == d(day)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0000-00-00T00:00:00Z",
        "soon",
        "0001-01-01T00:00:00+10:00",
        "31/01/2024",
        "17123456",
        "1712",
        "171234567",
        "17123456789012345",
        "nan",
    ],
)
def test_utc_day_of_an_invalid_time_is_missing(text: str | None) -> None:
    assert utc_day(text) is None


@given(st.text() | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat))
def test_utc_day_never_raises(text: str) -> None:
    assert utc_day(text) is None or isinstance(utc_day(text), date)


@given(
    st.builds(
        Cursor,
        query=st.text(),
        since=st.text(),
        count=st.integers(0, 10**9),
        check=st.integers(0, 2**32 - 1),
        yielded=st.integers(0, 10**9),
    )
)
def test_cursor_round_trips_through_its_text(cursor: Cursor) -> None:
    text = str(cursor)
    assert Cursor.parse(text) == cursor
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


def packed(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "not a cursor",
        "é",
        packed({}),
        packed([2, "q", "", 0, 0]),
        packed([1, "q", "", None, 0]),
        packed([2, 5, "", 0, 0, 0]),
        packed([2, "q", 7, 0, 0, 0]),
        packed([2, "q", "", -1, 0, 0]),
        packed([2, "q", "", 0, True, 0]),
        packed([2, "q", "", 0, 0, None]),
        packed([2, "q", "", 0, 0, 0, 0]),
        packed([2, "q", "", 0, 0, 0]) + "!",
    ],
)
def test_invalid_cursor_text_is_rejected(text: str) -> None:
    with pytest.raises(ValidationError, match=r"page\.cursor") as caught:
        Cursor.parse(text)
    assert caught.value.field == "cursor"


@given(st.text())
def test_parsing_any_cursor_text_raises_only_validation_errors(text: str) -> None:
    with contextlib.suppress(ValidationError):
        assert Cursor.parse(text).count >= 0


def test_resume_finds_the_window_and_rejects_other_queries() -> None:
    windows = split_period(d("2026-01-01"), d("2026-01-31"))
    cursor = Cursor("cdr period", "2026-01-15", 7, 99, 5)
    assert resume(str(cursor), "cdr period", windows) == (cursor, 2)
    assert resume(cursor, "cdr period", windows)[1] == 2
    with pytest.raises(ValidationError, match="belongs to"):
        resume(cursor, "archives period", windows)
    with pytest.raises(ValidationError, match="outside the requested period"):
        resume(cursor, "cdr period", split_period(d("2026-02-01"), d("2026-02-02")))
    assert resume(Cursor("cdr room 5"), "cdr room 5", (Window(),))[1] == 0
