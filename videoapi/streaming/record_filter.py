"""Selects the records to yield: each record of the period exactly once, in any order of rows."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Final, Generic, TypeVar, cast

import attrs

from videoapi.models.codec import DecodeError
from videoapi.streaming.readings import Readings
from videoapi.streaming.row_set import Raw, RowSet, checksums, digests
from videoapi.streaming.splitter import Block
from videoapi.streaming.windows import UNBOUNDED, Ownership, Window

R = TypeVar("R")

MAX_REJECTED: Final = 1_000
_MAX_TEXT: Final = 1_000
_TOO_LONG: Final = DecodeError("longer than 1 MiB")
_NO_ODD_FIELDS: Final[Mapping[int, tuple[str, ...]]] = {}


@attrs.frozen
class Rejected:
    """A record that could not be parsed.

    Args:
        window: The part of the query whose response contains it.
        index: Its position among the records of that response, from 0.
        offset: Its position in that response, in bytes.
        reason: Why it could not be parsed.
        text: Its text, at most 1,000 characters; the repr omits it.
    """

    window: Window
    index: int
    offset: int
    reason: str
    text: str = attrs.field(default="", repr=False)


@attrs.define
class Counts:
    """The counters of a stream.

    Args:
        received: Records that were yielded.
        outside: Records outside the period, which were skipped.
        undated: Yielded records of a period whose day is unknown.
        rejected: Records that could not be parsed.
        odd: Fields with a value of an unexpected type, by name; their records were yielded.
    """

    received: int = 0
    outside: int = 0
    undated: int = 0
    rejected: int = 0
    odd: Counter[str] = attrs.field(factory=Counter)

    def copy(self) -> Counts:
        """Return an independent copy."""
        return attrs.evolve(self, odd=Counter(self.odd))

    def add(self, counter: str, field: str = "") -> None:
        """Add 1 to a counter.

        Args:
            counter: The name of the counter.
            field: The name of the field, for `odd`.
        """
        if counter == "odd":
            self.odd[field] += 1
        else:
            setattr(self, counter, getattr(self, counter) + 1)


@attrs.frozen(eq=False)
class Rows(Generic[R]):
    """The rows of a block that were not read before, with the index of each in the block.

    `days` are the different days of the records; None means that the day of a record is unknown.
    """

    block: Block
    indexes: Sequence[int]
    records: Sequence[R | DecodeError]
    raws: Sequence[Raw] = attrs.field(repr=False)
    digests: Sequence[int]
    days: frozenset[date | None]


@attrs.frozen(eq=False)
class Batch(Generic[R]):
    """Records to yield, and their place in the window. The repr omits the text of rows, which may contain tokens.

    Args:
        window: The window.
        records: The records.
        rows: The rows among which they are.
        positions: The index of each record among the rows; None if all rows are yielded.
        count: The number of rows before these.
        check: The checksum of the rows before these.
        yielded: The number of records before these.
        discarded: The number of records that are yielded again from here; None if the window does not restart.
        start: The counters at the start of the window.
        before: The counters before the rows.
        changes: The counters that the rows have changed, except `received`, with the index of each row.
    """

    window: Window
    records: list[R] = attrs.field(factory=list)
    rows: Sequence[Raw] = attrs.field(default=(), repr=False)
    positions: Sequence[int] | None = None
    count: int = 0
    check: int = 0
    yielded: int = 0
    discarded: int | None = None
    start: Counts = attrs.field(factory=Counts)
    before: Counts = attrs.field(factory=Counts)
    changes: Sequence[tuple[int, str, str]] = ()

    def counts(self, nth: int) -> Counts:
        """Return the counters after the nth record, counted from 1."""
        counts = self.before.copy()
        end = self._end(nth)
        for position, counter, field in self.changes:
            if position < end:
                counts.add(counter, field)
        counts.received += nth + counts.rejected - self.before.rejected
        return counts

    def place(self, nth: int) -> tuple[int, int, int]:
        """Return the numbers of a cursor after the nth record, counted from 1."""
        end = self._end(nth)
        return self.count + end, self._checks[end], self.yielded + nth

    def odd(self) -> Iterator[tuple[int, str]]:
        """Yield the odd fields, each with the index of its record."""
        for position, counter, field in self.changes:
            if counter == "odd":
                yield position if self.positions is None else bisect_left(self.positions, position), field

    def _end(self, nth: int) -> int:
        """Return the number of rows up to the nth record."""
        return nth if self.positions is None or nth == 0 else self.positions[nth - 1] + 1

    @cached_property
    def _checks(self) -> list[int]:
        # Of all rows at once, because some callers ask for a cursor after each record.
        return list(checksums(self.rows, self.check))


class RecordFilter(Generic[R]):
    """A record filter: drops records before the cursor, outside the period, or already yielded.

    Args:
        identity: Returns the ID of a record, or None. IDs may repeat.
        day: Returns the UTC day of a record, or None if it is unknown. None if the query has no days.
        strict: Whether to stop at the first record that cannot be parsed, kept as `stopped_at`.
        on_rejected: Called with each record that cannot be parsed.
    """

    def __init__(
        self,
        identity: Callable[[R], str | None],
        day: Callable[[R], date | None] | None,
        *,
        strict: bool,
        on_rejected: Callable[[Rejected], None],
    ) -> None:
        self.counts: Counts = Counts()
        self.rejected: list[Rejected] = []
        self.stopped_at: Rejected | None = None
        self.unreadable: Callable[[R, Iterable[str]], Iterable[str]] | None = None
        """Returns which fields of a record have no value in its columns, given its odd ones."""
        self._identity = identity
        self._day = day
        self._strict = strict
        self._on_rejected = on_rejected
        self._window = UNBOUNDED
        self._start: tuple[Counts, int] | None = None
        self._changes: list[tuple[int, str, str]] = []
        self._readings = Readings()
        self._yielded = 0
        # The undated rows of this window: those before the cursor, and those yielded.
        self._resumed = RowSet()
        self._undated = RowSet()
        # Those of the window before; None if they are unknown.
        self._before: RowSet | None = None
        # Those of the first day and of the day after the period, which are not yielded; None until requested.
        self._not_before: RowSet | None = None
        self._after: RowSet | None = None

    def begin(self, window: Window, count: int = 0, check: int = 0, yielded: int = 0) -> int:
        """Begin a window, or begin it again from its start; return how many of its records were yielded before.

        Args:
            window: The window.
            count: Number of rows that an earlier stream has read.
            check: The checksum of these rows.
            yielded: Number of records that it has yielded from them.
        """
        before, self._yielded = self._yielded, yielded
        if self._start is not None and window is self._window:
            counts, rejected = self._start
            self.counts = counts.copy()
            del self.rejected[rejected:]
        else:
            self._before = RowSet() if window.index == 0 else None
            if self._start is not None:
                self._before = self._undated
                self._before.merge(self._resumed)
            self._window = window
            self._start = self.counts.copy(), len(self.rejected)
        self._readings = Readings(count, check)
        self._undated, self._resumed = RowSet(), RowSet()
        self._not_before = self._after = None
        return before

    def open(self) -> Iterator[None]:
        """Begin to read a response of the window, the first one or another; in small steps, if many rows were read."""
        if self._readings.is_resuming:
            self._resumed = RowSet()
        self._readings.open()
        return self._readings.prepare()

    @property
    def has_moved(self) -> bool:
        """Whether the response does not begin with the rows of the cursor."""
        return self._readings.has_moved

    @property
    def must_restart(self) -> bool:
        """Whether a complete response contradicts what was yielded before, or may do so."""
        return self._readings.must_restart

    @property
    def disappeared(self) -> int:
        """How many rows of earlier responses a complete response lacks."""
        return self._readings.disappeared

    def unread(self, block: Block, decoded: Sequence[R | DecodeError] = ()) -> Rows[R]:
        """Return the rows of a block that were not read before.

        Args:
            block: The block.
            decoded: Its decoded items, if the block was not decoded in one pass.
        """
        records: Sequence[R | DecodeError] = block.records or decoded or (_TOO_LONG,)
        raws = block.raws()
        digests = self._digests(block, records, raws)
        was_resuming = self._readings.is_resuming
        indexes = self._readings.unread(raws, digests)
        if was_resuming and self._day is not None:
            self._resumed.update(
                one
                for record, one in zip(records[: len(raws) - len(indexes)], digests, strict=False)
                if self._day_of(record) is None
            )
        if len(indexes) < len(raws):
            records, raws = [records[nth] for nth in indexes], [raws[nth] for nth in indexes]
            digests = [digests[nth] for nth in indexes]
        # Most blocks were decoded in one pass, and have no errors among their records.
        day_of = self._day_of if block.records is None else self._day
        days = frozenset() if self._day is None or day_of is None else frozenset(map(day_of, cast("list[R]", records)))
        return Rows(block, indexes, records, raws, digests, days)

    def days_needed(self, rows: Rows[R]) -> list[Window]:
        """Return the boundary days to request alone before `select`, because the day of a row is unknown."""
        window = self._window
        if None not in rows.days or window.first is None or window.until is None:
            return []
        needed: list[date] = []
        if self._not_before is None and self._may_be_before(rows):
            needed.append(window.first)
        if self._after is None and window.last == window.end:
            needed.append(window.until)
        return [Window(window.index, day, day, day) for day in needed]

    def _may_be_before(self, rows: Rows[R]) -> bool:
        """Return whether the window before may have yielded an undated row of these."""
        before = self._before
        if not before:
            return before is None
        undated = (one for record, one in zip(rows.records, rows.digests, strict=True) if self._day_of(record) is None)
        return any(one in before for one in undated)

    def undated(self, block: Block, decoded: Sequence[R | DecodeError] = ()) -> Iterable[int]:
        """Return the digests of a block's rows whose day is unknown."""
        records, raws = block.records or decoded or (_TOO_LONG,), block.raws()
        for record, one in zip(records, self._digests(block, records, raws), strict=True):
            if self._day_of(record) is None:
                yield one

    def leave(self, day: Window, rows: RowSet) -> None:
        """Set the undated rows of a boundary day, which this window leaves to the others."""
        for one in [*self._resumed]:
            # The earlier stream has left it.
            if rows.remove(one):
                self._resumed.remove(one)
        if day.first == self._window.first:
            self._not_before = rows if self._before is None else self._before.common(rows)
        else:
            self._after = rows

    def select(self, rows: Rows[R], odd: Mapping[int, tuple[str, ...]] = _NO_ODD_FIELDS) -> Batch[R]:
        """Return the records to yield, in order.

        Args:
            rows: The rows.
            odd: The names of the odd fields of records, by index in the block.
        """
        readings = self._readings
        count, check, yielded, before = readings.count, readings.check, self._yielded, self.counts.copy()
        changes: list[tuple[int, str, str]] = []
        self._changes = changes
        kept: list[R] = []
        positions: list[int] | None = None
        if rows.block.records is not None and self._all_own(rows.days):
            kept = cast("list[R]", rows.records)
            self.counts.received += len(kept)
            if self.unreadable is not None:
                for position, one_kept in enumerate(kept):
                    for field in self.unreadable(one_kept, ()):
                        self._count(position, "odd", field)
        else:
            positions = []
            for position, (record, one) in enumerate(zip(rows.records, rows.digests, strict=True)):
                if not self._is_own(record, one, position):
                    continue
                self.counts.received += 1
                if isinstance(record, DecodeError):
                    self._reject(rows, position, record.reason)
                    if self._strict:
                        break
                    continue
                fields: Iterable[str] = odd.get(rows.indexes[position], ())
                for field in fields if self.unreadable is None else self.unreadable(record, fields):
                    self._count(position, "odd", field)
                kept.append(record)
                positions.append(position)
        readings.add(rows.raws, rows.digests)
        self._yielded += len(kept)
        return Batch(
            self._window,
            kept,
            rows.raws,
            positions,
            count,
            check,
            yielded,
            start=self.start,
            before=before,
            changes=changes,
        )

    @property
    def start(self) -> Counts:
        """The counters at the start of the window."""
        return Counts() if self._start is None else self._start[0]

    def _count(self, position: int, counter: str, field: str = "") -> None:
        self.counts.add(counter, field)
        self._changes.append((position, counter, field))

    def _all_own(self, days: frozenset[date | None]) -> bool:
        """Return whether all records are to be yielded: the usual case, decided by their few different days."""
        return all(day is not None and self._window.ownership(day) is Ownership.OWN for day in days)

    def _is_own(self, record: R | DecodeError, one: int, position: int) -> bool:
        if self._day is None:
            return True
        day = self._day_of(record)
        window = self._window
        if day is None:
            if self._not_before is not None and self._not_before.remove(one):
                return False
            if self._after is not None and self._after.remove(one):
                self._count(position, "outside")
                return False
            self._undated.update((one,))
            if not isinstance(record, DecodeError):
                self._count(position, "undated")
            return True
        place = window.ownership(day)
        if place is Ownership.OUTSIDE:
            self._count(position, "outside")
        return place is Ownership.OWN

    def _digests(self, block: Block, records: Sequence[R | DecodeError], raws: Sequence[Raw]) -> list[int]:
        if block.records is not None:
            return digests(map(self._identity, cast("list[R]", records)), raws)
        return digests((None if isinstance(one, DecodeError) else self._identity(one) for one in records), raws)

    def _day_of(self, record: R | DecodeError) -> date | None:
        return None if isinstance(record, DecodeError) or self._day is None else self._day(record)

    def _reject(self, rows: Rows[R], position: int, reason: str) -> None:
        nth, block = rows.indexes[position], rows.block
        text = bytes(rows.raws[position])[:_MAX_TEXT].decode(errors="replace")
        rejected = Rejected(self._window, block.index + nth, block.offset_of(nth), reason, text)
        self._count(position, "rejected")
        if len(self.rejected) < MAX_REJECTED:
            self.rejected.append(rejected)
        self._on_rejected(rejected)
        if self._strict:
            self.stopped_at = rejected
