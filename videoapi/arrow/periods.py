"""Periods of an export: the days, weeks, months or years between two dates. Works without pyarrow."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import attrs

from videoapi.errors import ValidationError
from videoapi.models.validation import period_day

By = Literal["day", "week", "month", "year"]

LATE_DAYS: Final = 3
"""For how many days after its last one a period is read again, because the service may add records late."""

_DAY: Final = timedelta(days=1)


@attrs.frozen(order=True)
class Period:
    """A period of consecutive UTC days.

    Args:
        first: The first day, inclusive.
        last: The last day, inclusive.
    """

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}_{self.last}"

    def days(self) -> tuple[Period, ...]:
        """Return each day as a period."""
        return tuple(
            Period(day, day) for day in (self.first + n * _DAY for n in range((self.last - self.first).days + 1))
        )


def windows(start: date | str, end: date | str, by: By = "month") -> tuple[Period, ...]:
    """Split a period into days, weeks (from Monday), calendar months or years.

    The first and the last window may be shorter. Together, the windows contain each day of the period once.

    Args:
        start: First day in UTC, inclusive: a date, or `YYYY-MM-DD`.
        end: Last day in UTC, inclusive.
        by: `day`, `week`, `month` or `year`.

    Returns:
        The windows, in order of time.

    Raises:
        ValidationError: If a day or `by` is invalid, or the period ends before it starts.
    """
    first, last = period_day(start, field="start"), period_day(end, field="end")
    if last < first:
        raise ValidationError(f"the period ends ({last}) before it starts ({first})", field="end")
    if by not in ("day", "week", "month", "year"):
        raise ValidationError(f"by={by!r}: give day, week, month or year", field="by")
    found: list[Period] = []
    while first <= last:
        stop = min(_last_of(first, by), last)
        found.append(Period(first, stop))
        if stop == last:
            break
        first = stop + _DAY
    return tuple(found)


def stays_open(last: date, exported: date, late: int = LATE_DAYS) -> bool:
    """Return whether the service may add records to a period after its export.

    Args:
        last: The last day of the period.
        exported: The day of the export.
        late: For how many days after its last one a period is open.
    """
    return (exported - last).days <= late


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def utc_today() -> date:
    """Return the current day in UTC."""
    return utc_now().date()


def moment(when: datetime) -> str:
    """Return a time in UTC as RFC 3339, in whole seconds: `2026-01-31T10:20:30Z`."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def day_of(text: object) -> date | None:
    """Return the day in UTC of a `moment`; None if the text is not a moment."""
    try:
        when = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if when is None or when.utcoffset() is None else when.astimezone(UTC).date()
    except (ValueError, OverflowError):
        return None


def period_of(window: Any) -> Period:
    """Return a window of `windows` as a period; anything with the dates `first` and `last` is one.

    Raises:
        ValidationError: If it lacks them, or ends before it starts.
    """
    first, last = getattr(window, "first", None), getattr(window, "last", None)
    if first is None or last is None:
        raise ValidationError(f"window {window!r}: give one of videoapi.windows(start, end)", field="window")
    period = Period(period_day(first, field="window"), period_day(last, field="window"))
    if period.last < period.first:
        raise ValidationError(f"the window ends ({last}) before it starts ({first})", field="window")
    return period


def _last_of(day: date, by: By) -> date:
    """Return the last day of the day, week, month or year that a day is in."""
    if by == "day":
        return day
    if by == "week":
        return min(day, date.max - 6 * _DAY) + (6 - day.weekday()) * _DAY
    if by == "year" or day.month == 12:
        return date(day.year, 12, 31)
    return date(day.year, day.month + 1, 1) - _DAY
