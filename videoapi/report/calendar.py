"""Days and hours of a time zone, and the periods of a report. Pure."""

from __future__ import annotations

import calendar
import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple, Self
from zoneinfo import ZoneInfo

import attrs

from videoapi.errors import ValidationError

_QUARTER: Final = 900_000
"""Milliseconds of a quarter of an hour: no time zone changes within one."""
_MOST: Final = 100_000
"""How many quarters of an hour are remembered: nearly three years."""
_MOST_DAYS: Final = 36_525
"""The days of 100 years."""
_FIXED: Final = {"EST": "America/New_York", "MST": "America/Denver", "HST": "Pacific/Honolulu"}
"""Names of a zone that have the time of winter all year, and the place that is probably meant."""
_OF_MACHINE: Final = frozenset({"localtime", "posixrules", "factory", "posix", "right"})
"""How names begin of a zone that is another one on another machine, or has leap seconds."""
_PERIOD: Final = re.compile(r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """A day as its proleptic ordinal, and an hour of the week: 0 is Monday from 0:00 to 1:00."""

    day: int
    hour: int


class Calendar:
    """The days and hours of a time zone.

    Args:
        zone: The time zone.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self._known: dict[int, Place] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and str(other.zone) == str(self.zone)

    def __hash__(self) -> int:
        return hash(str(self.zone))

    def place(self, at: int) -> Place:
        """Return the day and the hour of a time in milliseconds since 1970."""
        quarter = at // _QUARTER
        found = self._known.get(quarter)
        if found is None:
            when = (_EPOCH + timedelta(milliseconds=quarter * _QUARTER)).astimezone(self.zone)
            found = Place(when.toordinal(), when.weekday() * 24 + when.hour)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[quarter] = found
        return found


@attrs.frozen
class ReportPeriod:
    """The days of a report, both included.

    Args:
        first: The first day.
        last: The last day.
    """

    first: date
    last: date

    @classmethod
    def parse(cls, first: str, last: str | None = None) -> Self:
        """Parse a year, a month or a day, or the first and the last of them.

        Args:
            first: `2026`, `2026-01` or `2026-01-31`.
            last: The same, or None for the period that `first` is.

        Raises:
            ValidationError: If one is not a period, the last day is before the first, or there are too many days.
        """
        period = cls(_span(first)[0], _span(last or first)[1])
        if period.last < period.first:
            raise ValidationError(f"the period ends on {period.last}, before it begins on {period.first}", field="end")
        return period.checked()

    def checked(self) -> Self:
        """Return the period itself.

        Raises:
            ValidationError: If it has too many days.
        """
        if (days := (self.last - self.first).days + 1) > _MOST_DAYS:
            raise ValidationError(
                f"the period has {days:,} days, and a report has at most {_MOST_DAYS:,}: give a shorter one than "
                f"{self.first} to {self.last}",
                field="end",
            )
        return self

    def in_utc(self, zone: tzinfo) -> ReportPeriod:
        """Return the days in UTC that contain these days of a time zone."""
        first, last = self.first, self.last
        # Before the first day that Python has, and after the last one, there is nothing.
        with contextlib.suppress(OverflowError):
            first = datetime.combine(first, time.min, zone).astimezone(UTC).date()
        with contextlib.suppress(OverflowError):
            last = datetime.combine(last, time.max, zone).astimezone(UTC).date()
        return ReportPeriod(first, last)

    def overlapping(self, spans: Sequence[tuple[date, date]], zone: tzinfo) -> frozenset[date]:
        """Return the days of a time zone that are, if only in part, within spans of days in UTC."""
        if not spans:
            return frozenset()
        found: set[date] = set()
        for day in self.days():
            whole = ReportPeriod(day, day).in_utc(zone)
            if whole.has_any(spans):
                found.add(day)
        return frozenset(found)

    def has_any(self, spans: Sequence[tuple[date, date]]) -> bool:
        """Return whether spans of days have a day of these."""
        return any(first <= self.last and self.first <= last for first, last in spans)

    def contains(self, span: tuple[date, date], zone: tzinfo) -> bool | None:
        """Return whether a span of days in UTC is within these days of a time zone; None if only a part of it is."""
        if not self.in_utc(zone).has_any([span]):
            return False
        # A span without a beginning or an end is within no period.
        with contextlib.suppress(OverflowError):
            first = datetime.combine(span[0], time.min, UTC).astimezone(zone).date()
            last = datetime.combine(span[1], time.max, UTC).astimezone(zone).date()
            if self.first <= first and last <= self.last:
                return True
        return None

    def days(self) -> Iterator[date]:
        """Yield the days."""
        return map(date.fromordinal, range(self.first.toordinal(), self.last.toordinal() + 1))

    def unfinished(self, today: date) -> ReportPeriod | None:
        """Return the days that have not ended, of which today is the first; None if all have."""
        return None if self.last < today else ReportPeriod(max(self.first, today), self.last)

    def __str__(self) -> str:
        first, last = self.first, self.last
        if first.day == 1 and last == _month_end(first):
            return f"{first}"[:7]
        if (first.month, first.day) == (1, 1) and last == date(first.year, 12, 31):
            return f"{first}"[:4]
        return f"{first}" if first == last else f"{first} to {last}"


def parse_zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name.

    Raises:
        ValidationError: If this machine knows none of that name, or the name does not say where the zone is.
    """
    if name.upper() == "UTC":
        return UTC
    if place := _FIXED.get(name.upper()):
        raise ValidationError(
            f"time zone {name!r} has the same offset from UTC all year: give a place, such as {place}",
            field="timezone",
        )
    try:
        if name.lower().split("/")[0] in _OF_MACHINE:
            raise LookupError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValidationError(
            f"unknown time zone {name[:50]!r}: give a name such as Europe/Berlin", field="timezone"
        ) from None


def _span(text: str) -> tuple[date, date]:
    found = _PERIOD.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        year, month, day = (int(part) if part else None for part in found.groups())
        if year is None or month is None:
            return date(year or 0, 1, 1), date(year or 0, 12, 31)
        first = date(year, month, day or 1)
        return first, first if day else _month_end(first)
    except ValueError:
        raise ValidationError(
            f"{text!r} is not a period: give a month such as 2026-01, a year, or days such as 2026-01-01 2026-01-31",
            field="start",
        ) from None


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])
