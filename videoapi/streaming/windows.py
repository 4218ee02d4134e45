"""Date windows of a period, the records they own, and cursors.

The service does not document whether its end date is inclusive. Adjacent windows therefore share
their boundary day, the last one requests an extra day, and a record is yielded only by the window that
owns the UTC day of its `trans_date`. The result is the same either way, and in any order of rows.
Source: docs/contract.md 5.2.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
from datetime import UTC, date, datetime, timedelta
from typing import Final

import attrs

from videoapi.errors import ValidationError

WINDOW_DAYS: Final = 7
_DAY: Final = timedelta(days=1)


class Ownership(enum.Enum):
    """Where a record belongs, relative to the window that returned it."""

    OWN = "here"
    NEIGHBOUR = "in another window of the period"
    OUTSIDE = "outside the period"


@attrs.frozen
class Window:
    """The part of a query that one request covers.

    `first` to `last` are the UTC days it owns, `until` is the last day it requests; `start` and
    `end` are the first and last day of the full period. A query without a period has none of these.
    """

    index: int = 0
    first: date | None = None
    last: date | None = None
    until: date | None = None
    start: date | None = None
    end: date | None = None

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" if self.first else "all"

    def ownership(self, day: date | None) -> Ownership:
        """Return where a record of this day belongs; a record without a valid day belongs here."""
        if day is None or self.first is None or self.last is None:
            return Ownership.OWN
        if self.first <= day <= self.last:
            return Ownership.OWN
        assert self.start is not None
        assert self.end is not None
        return Ownership.NEIGHBOUR if self.start <= day <= self.end else Ownership.OUTSIDE

    def overlaps(self, day: date | None) -> bool:
        """Return whether another window may also return records of this day, so their IDs must be remembered."""
        return self.first is not None and (day is None or (self.index > 0 and day == self.first))


UNBOUNDED: Final = Window()
"""The only window of a query without dates."""


def split_period(start: date, end: date) -> tuple[Window, ...]:
    """Split a period into windows of 7 days; the last one may be shorter.

    Args:
        start: First UTC day, inclusive.
        end: Last UTC day, inclusive.

    Raises:
        ValidationError: If the period ends before it starts, or on `date.max`.
    """
    if end < start:
        raise ValidationError(f"the period ends ({end}) before it starts ({start})", field="end")
    if end == date.max:
        raise ValidationError(f"the period's end must lie before {date.max}", field="end")
    windows: list[Window] = []
    first = start
    while first <= end:
        last = min(first + (WINDOW_DAYS - 1) * _DAY, end)
        windows.append(Window(len(windows), first, last, last + _DAY, start, end))
        first = last + _DAY
    return tuple(windows)


def utc_day(text: str | None) -> date | None:
    """Return the UTC day of a timestamp of the service, or None if it is missing or invalid.

    A time without a zone is UTC. Source: docs/contract.md 5.2.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.date()


@attrs.frozen
class Cursor:
    """A position in a stream: a window, and the last record yielded from it.

    `str(cursor)` is text that you can store. Pass it, or the cursor itself, to the same query, and the
    stream resumes after that record. `restarted` is True if the record no longer existed, so that its
    window was yielded from the start.
    """

    query: str
    since: str = ""
    after: str | None = None
    count: int = 0
    restarted: bool = attrs.field(default=False, eq=False)

    def __str__(self) -> str:
        place = [1, self.query, self.since, self.after, self.count]
        packed = json.dumps(place, separators=(",", ":"), ensure_ascii=True).encode()
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor's text.

        Raises:
            ValidationError: If the text is not a cursor; take it from `page.cursor` or `stream.cursor`.
        """
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, query, since, after, count = json.loads(packed)
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _no_cursor() from None
        valid = isinstance(query, str) and isinstance(since, str) and isinstance(after, str | None)
        if version != 1 or not valid or type(count) is not int or count < 0:
            raise _no_cursor()
        return cls(query, since, after, count)


def resume(cursor: Cursor | str, query: str, windows: tuple[Window, ...]) -> tuple[Cursor, int]:
    """Return the cursor and the index of its window.

    Raises:
        ValidationError: If the text is not a cursor, or belongs to another query or period.
    """
    place = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
    if place.query != query:
        raise ValidationError(
            f"this cursor belongs to {place.query!r}, not to {query!r}; "
            "ask the same question again, or leave the cursor out",
            field="cursor",
        )
    for window in windows:
        if place.since == since_of(window):
            return place, window.index
    raise ValidationError("this cursor stands in no window of the period", field="cursor")


def since_of(window: Window) -> str:
    """Return the text that identifies a window in a cursor."""
    return window.first.isoformat() if window.first else ""


def _no_cursor() -> ValidationError:
    return ValidationError("this is no cursor; take its text from `page.cursor` or `stream.cursor`", field="cursor")
