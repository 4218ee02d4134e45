"""Keeps the files of records without a readable day in step with the latest reading of their days. Blocking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from datetime import date, datetime
from itertools import chain
from typing import Any

import attrs

from videoapi.arrow.columns import compute
from videoapi.arrow.data_set import DataFile, DataSet, Note
from videoapi.arrow.same_records import SameRecords
from videoapi.arrow.spool import Spool

WriteFile = Callable[..., Note]
"""`DataSet.write` with the schema and the source."""


@attrs.frozen(kw_only=True)
class UndatedRows:
    """A reading of a period, and what its records without a readable day belong to.

    Args:
        data_set: The folder.
        own: The file of its undated records; it need not exist.
        spool: What was read.
        has_own: Whether its undated records are in that file, and in no other.
        overwrite: Whether undated records of its days that it does not have are removed.
        exported: When the request for the records was sent, in UTC.
    """

    data_set: DataSet
    own: DataFile
    spool: Spool
    has_own: bool
    overwrite: bool
    exported: datetime

    def settle(self, days: Mapping[DataFile, Note | None], write: WriteFile) -> Set[DataFile]:
        """Take what was read out of all undated files that share a day with it, and write its own.

        After a kill at any point, a record may be missing, but not be there twice, and a file of `days` is not done, so
        that the next export reads the period again.

        Args:
            days: The files that the export writes afterwards, with the notes of those that would stay as they are.
            write: Writes a file.

        Returns:
            Which of `days` must not stay as they are: those that get or lose a record.
        """
        stored = self.data_set.overlapping(self.own)
        news = SameRecords(self._undated())
        if not stored and not news:
            return frozenset()
        shown, gaining = self._shown(
            SameRecords(chain.from_iterable(self.data_set.batches(file) for file, note in stored.items() if note))
        )
        # Also those that are written in any case: until then, they have the record, too.
        losing = {day for day in days if news and self.data_set.is_known(day) and self._has_any(day, news)}
        again = losing | {day for day in days if any(day.has(one) for one in gaining)}
        for day, note in days.items():
            if note is None or day in again:
                self.data_set.reopen(day)
        for day in losing:
            self.data_set.remove(day)
        for file, note in stored.items():
            if file != self.own:
                self._write_rest(file, note, shown, write)
        self._write_own(stored.get(self.own), bool(news), shown, write)
        return again

    def _undated(self) -> Iterator[Any]:
        """Yield the rows of the reading's own file."""
        for batch in self.spool.batches() if self.has_own else ():
            rows = batch.filter(compute.is_null(batch.column("trans_at")))
            if rows.num_rows:
                yield rows

    def _has_any(self, file: DataFile, records: SameRecords) -> bool:
        return any(any(records.has(batch)) for batch in self.data_set.batches(file))

    def _shown(self, stored: SameRecords) -> tuple[SameRecords, Set[date]]:
        """Return those rows that were read of stored records, and the days of those that have one now."""
        shown: list[Any] = []
        days: set[date] = set()
        for batch in self.spool.batches() if stored else ():
            rows = batch.filter(stored.has(batch))
            if rows.num_rows:
                shown.append(rows)
                days.update(at.date() for at in rows.column("trans_at").drop_null().to_pylist())
        return SameRecords(shown), days

    def _rest(self, file: DataFile, shown: SameRecords) -> Iterator[Any]:
        """Yield the rows of a file that stay: those that were not read, and may still be there."""
        if self.overwrite and self.own.contains(file):
            return
        for batch in self.data_set.batches(file):
            rows = batch.filter([not is_shown for is_shown in shown.has(batch)])
            if rows.num_rows:
                yield rows

    def _write_rest(self, file: DataFile, note: Note | None, shown: SameRecords, write: WriteFile) -> None:
        rows = sum(batch.num_rows for batch in self._rest(file, shown))
        if note is None or not rows:
            self.data_set.remove(file)
        elif rows < note["rows"]:
            exported = datetime.fromisoformat(note["exported"])
            rest = self._rest(file, shown)
            write(file, batches=rest, odd=_at_most(note, rows), stays_open=False, exported=exported)

    def _write_own(self, note: Note | None, has_news: bool, shown: SameRecords, write: WriteFile) -> None:
        rows = sum(batch.num_rows for batch in self._rest(self.own, shown))
        if not has_news and not rows:
            self.data_set.remove(self.own)
            return
        odd = Counter({field: count for (day, field), count in self.spool.odd.items() if day is None})
        if note is not None:
            odd.update(_at_most(note, rows))
        both = chain(self._undated(), self._rest(self.own, shown))
        write(self.own, batches=both, odd=odd, stays_open=False, exported=self.exported)


def _at_most(note: Note, rows: int) -> dict[str, int]:
    """Return the odd fields of a file of which only some rows are left: no more than these can have."""
    counts: Mapping[str, int] = note.get("odd", {})
    return {field: min(count, rows) for field, count in counts.items() if rows}
