"""Which of the records that arrive are handed out: each of the period once, and none twice."""

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
    """A record that cannot be read: the window that brought it, its place there, and why.

    `index` counts the records of the window's answer from 0, `offset` its bytes.
    """

    window: Window
    index: int
    offset: int
    reason: str


class RecordFilter(Generic[R]):
    """Goes through the blocks of one window after the other.

    Args:
        identity: What makes a record the same when it is read again.
        day: The UTC day a record belongs to; None where all belong to the one window.
        strict: Whether to stop at the first record that cannot be read; it is then `stopped_at`.
        told: Called with each record that cannot be read.

    `last` and `ordinal` name the place reached in the window: the identity of the last record that
    was let through, and how many were before it, itself included.
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
        """Begin a reading of a window, the first or another one.

        Args:
            window: Which.
            after: Identity of the record through which to skip.
            count: Its place, for a record without identity; 0 and no identity skip nothing.
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
        """Return those records that are to be handed out, in order.

        Args:
            block: Where they come from.
            records: What its items were read as, where the block was not read at once.
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
        """Tell whether all are plainly to be handed out: the usual case, decided by their few days."""
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
        # A second reading of a window counts nothing twice.
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
