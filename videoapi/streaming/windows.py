"""Date windows of a period, the records they own, and cursors.

The service does not document whether its end date is inclusive. Adjacent windows therefore share
their boundary day, the last one requests an extra day, and a record is yielded only by the window that
owns the UTC day of its `trans_date`. If that day is unknown, the boundary day is requested alone: a record
returned for it belongs to the window before, or, at the end, to none. The result is the same either way,
and in any order of rows. Source: docs/contract.md 5.2.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
from datetime import date, timedelta
from typing import Final

import attrs

from videoapi.errors import ValidationError

WINDOW_DAYS: Final = 7
MOST_DAYS: Final = 36_525
"""Longest period, in days: a longer one is a mistake, and takes a request per week."""
_VERSION: Final = 2
_DAY: Final = timedelta(days=1)


class Ownership(enum.Enum):
    """The place of a record, relative to the window that returned it."""

    OWN = "here"
    """It belongs to this window."""
    NEIGHBOUR = "in another window of the period"
    """Another window of the period yields it."""
    OUTSIDE = "outside the period"
    """No window of the period yields it."""


@attrs.frozen
class Window:
    """The part of a query that one request covers.

    A query without a period has one window, without days.

    Args:
        index: Its position in the query, from 0.
        first: The first UTC day that it owns.
        last: The last UTC day that it owns.
        until: The last day that it requests, one after `last`.
        start: The first day of the full period.
        end: The last day of the full period.
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
        """Return where a record of this day belongs; a record without a valid day belongs here.

        Args:
            day: The UTC day of the record, or None.
        """
        if day is None or self.first is None or self.last is None:
            return Ownership.OWN
        if self.first <= day <= self.last:
            return Ownership.OWN
        assert self.start is not None
        assert self.end is not None
        return Ownership.NEIGHBOUR if self.start <= day <= self.end else Ownership.OUTSIDE


UNBOUNDED: Final = Window()
"""The only window of a query without dates."""


def split_period(start: date, end: date) -> tuple[Window, ...]:
    """Split a period into windows of 7 days; the last one may be shorter.

    Args:
        start: First UTC day, inclusive.
        end: Last UTC day, inclusive.

    Raises:
        ValidationError: If the period ends before it starts, on `date.max`, or is longer than `MOST_DAYS`.
    """
    if end < start:
        raise ValidationError(f"the period ends ({end}) before it starts ({start})", field="end")
    if end == date.max or (end - start).days >= MOST_DAYS:
        raise ValidationError(
            f"the period from {start} to {end} is longer than 100 years. Not sent. Give the last day that you need.",
            field="end",
        )
    windows: list[Window] = []
    first = start
    while first <= end:
        last = min(first + (WINDOW_DAYS - 1) * _DAY, end)
        windows.append(Window(len(windows), first, last, last + _DAY, start, end))
        first = last + _DAY
    return tuple(windows)


@attrs.frozen
class Cursor:
    """A position in a stream: a window, and the rows of it that were read.

    `str(cursor)` is text that you can store. Pass it, or the cursor itself, to the same query. The stream resumes after
    these rows if the service sends the same rows first again; otherwise it yields the window from its start, and
    `stream.restarted` is true.

    Args:
        query: The query in words.
        since: The first day of the window; empty if the query has no days.
        count: The number of rows read in the window, skipped ones included.
        check: The checksum of these rows.
        yielded: The number of records yielded from them.
        restarted: Whether a window was yielded from its start again.
    """

    query: str
    since: str = ""
    count: int = 0
    check: int = 0
    yielded: int = 0
    restarted: bool = attrs.field(default=False, eq=False)

    def at_start(self) -> Cursor:
        """Return the cursor at the start of its window."""
        return Cursor(self.query, self.since)

    def __str__(self) -> str:
        place = [_VERSION, self.query, self.since, self.count, self.check, self.yielded]
        packed = json.dumps(place, separators=(",", ":"), ensure_ascii=True).encode()
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a cursor's text.

        Args:
            text: The result of `str(cursor)`.

        Raises:
            ValidationError: If the text is not a cursor; take it from `page.cursor` or `stream.cursor`.
        """
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, query, since, *numbers = json.loads(packed)
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _not_a_cursor() from None
        texts = isinstance(query, str) and isinstance(since, str)
        counts = len(numbers) == 3 and all(type(number) is int and number >= 0 for number in numbers)
        if version != _VERSION or not texts or not counts:
            raise _not_a_cursor()
        return cls(query, since, *numbers)


def resume(cursor: Cursor | str, query: str, windows: tuple[Window, ...]) -> tuple[Cursor, int]:
    """Return the cursor and the index of its window.

    Raises:
        ValidationError: If it is not a cursor, or belongs to another query or period.
    """
    place = cursor if isinstance(cursor, Cursor) else Cursor.parse(cursor)
    if place.query != query:
        raise ValidationError(
            f"cursor: it belongs to {place.query!r}, not to {query!r}. Not sent. "
            "Repeat the query of the cursor, or omit the cursor.",
            field="cursor",
        )
    for window in windows:
        if place.since == since_of(window):
            return place, window.index
    raise ValidationError("cursor: it lies outside the requested period. Not sent.", field="cursor")


def since_of(window: Window) -> str:
    """Return the text that identifies a window in a cursor."""
    return window.first.isoformat() if window.first else ""


def _not_a_cursor() -> ValidationError:
    return ValidationError(
        "cursor: not a cursor of this version. Not sent. Take its text from `page.cursor` or `stream.cursor`.",
        field="cursor",
    )
