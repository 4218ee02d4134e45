"""Selects the records to yield: each record of the period exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, Generic, TypeVar

import attrs

from videoapi.models.codec import DecodeError
from videoapi.streaming.splitter import Block
from videoapi.streaming.windows import UNBOUNDED, Ownership, Window

R = TypeVar("R")

MAX_REJECTED: Final = 1_000
_TOO_LONG: Final = DecodeError("longer than 1 MiB")


@attrs.frozen
class Rejected:
    """A record that cannot be parsed: its window, its position in the response, and the reason.

    `index` counts the records of the window's response from 0, `offset` its bytes.
    """

    window: Window
    index: int
    offset: int
    reason: str


class RecordFilter(Generic[R]):
    """A record filter: drops records before the cursor, outside the period, or already yielded.

    Args:
        identity: Returns the identity of a record, which is the same when the record is read again.
        day: Returns the UTC day of a record. None if all records belong to a single window.
        strict: Whether to stop at the first record that cannot be parsed, kept as `stopped_at`.
        on_rejected: Called with each record that cannot be parsed.

    `last` and `ordinal` are the position reached in the window: the identity of the last record
    returned, and the number of the window's records up to and including it.
    """

    def __init__(
        self,
        identity: Callable[[R], str | None],
        day: Callable[[R], date | None] | None,
        *,
        strict: bool,
        on_rejected: Callable[[Rejected], None],
    ) -> None:
        self.rejected: list[Rejected] = []
        self.rejected_count = 0
        self.outside = 0
        self.received = 0
        self.stopped_at: Rejected | None = None
        self.skipping = False
        self.last: str | None = None
        self.ordinal = 0
        self._identity = identity
        self._day = day
        self._strict = strict
        self._told = on_rejected
        self._window = UNBOUNDED
        self._counted = -1
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
        self._through: str | None = None
        self._through_ordinal = 0

    def begin(self, window: Window, after: str | None = None, count: int = 0) -> None:
        """Begin to read a window, for the first time or again.

        Args:
            window: The window.
            after: Identity of the last record to skip, or None.
            count: Number of records to skip, if that record has no identity; 0 skips nothing.
        """
        if window is not self._window:
            self._window = window
            self._counted = -1
            self._seen_before = self._seen
        self._seen = set()
        self.last, self.ordinal = after, 0
        self._through, self._through_ordinal = after, count
        self.skipping = after is not None or count > 0

    def filter(self, block: Block, records: Sequence[R | DecodeError] = ()) -> list[R]:
        """Return the records of a block that are to be yielded, in order.

        Args:
            block: The block.
            records: Its decoded items, if the block was not decoded in one pass.
        """
        if block.records is not None:
            if self._all_belong(block.records):
                return self._pass_all(block.index, block.records)
            records = block.records
        kept: list[R] = []
        for nth, record in enumerate([_TOO_LONG] if block.too_long else records):
            counts = not self.skipping and self._count(block.index + nth)
            if isinstance(record, DecodeError):
                if counts and self._reject(block, nth, record.reason):
                    break
            elif self._belongs(record, counts):
                self.ordinal += 1
                if self.skipping:
                    self._skip(record)
                else:
                    kept.append(record)
        if kept:
            self.last = self._identity(kept[-1])
        return kept

    def _all_belong(self, records: list[R]) -> bool:
        """Return whether all records are to be yielded: the usual case, decided by their few distinct days."""
        if self.skipping:
            return False
        if self._day is None:
            return True
        window = self._window
        days = set(map(self._day, records))
        return all(window.ownership(day) is Ownership.OWN and not window.overlaps(day) for day in days)

    def _pass_all(self, index: int, records: list[R]) -> list[R]:
        end = index + len(records) - 1
        self.received += max(0, end - max(self._counted, index - 1))
        self._counted = max(self._counted, end)
        self.ordinal += len(records)
        self.last = self._identity(records[-1])
        return records

    def _count(self, index: int) -> bool:
        # Do not count a record again when its window is read again.
        if index <= self._counted:
            return False
        self._counted = index
        self.received += 1
        return True

    def _belongs(self, record: R, counts: bool) -> bool:
        if self._day is None:
            return True
        day = self._day(record)
        place = self._window.ownership(day)
        if place is not Ownership.OWN:
            self.outside += counts and place is Ownership.OUTSIDE
            return False
        return not (self._window.overlaps(day) and self._is_repeated(record))

    def _is_repeated(self, record: R) -> bool:
        identity = self._identity(record)
        if identity is None:
            return False
        if identity in self._seen or identity in self._seen_before:
            return True
        self._seen.add(identity)
        return False

    def _skip(self, record: R) -> None:
        if self._through is None:
            self.skipping = self.ordinal < self._through_ordinal
        else:
            self.skipping = self._identity(record) != self._through

    def _reject(self, block: Block, nth: int, reason: str) -> bool:
        rejected = Rejected(self._window, block.index + nth, block.offset_of(nth), reason)
        self.rejected_count += 1
        if len(self.rejected) < MAX_REJECTED:
            self.rejected.append(rejected)
        self._told(rejected)
        if self._strict:
            self.stopped_at = rejected
        return self._strict
