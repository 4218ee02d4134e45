"""Exports periods of a stream to a folder of Parquet files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from operator import eq
from time import monotonic
from typing import Any, Final

import attrs
import pyarrow

from videoapi.arrow import periods
from videoapi.arrow.columns import compute
from videoapi.arrow.data_set import DataFile, DataSet, Note
from videoapi.arrow.periods import Period, stays_open
from videoapi.arrow.schema import TIME
from videoapi.arrow.spool import Spool
from videoapi.arrow.undated import UndatedRows
from videoapi.models.redaction import text_without_secrets
from videoapi.streaming import RecordStream
from videoapi.streaming.record_filter import Rejected

_TURN_DELAY: Final = 0.05
Source = Callable[[], Mapping[str, str]]
_Part = tuple[DataFile, Iterable[Any], Mapping[str, int]]
"""A file, its rows, and how many of them have which odd field."""


@attrs.frozen(kw_only=True)
class PeriodExport:
    """What is exported, and where to.

    Args:
        kind: How the names of files begin.
        data_set: The folder.
        source: Returns what the records are, and of which account.
        ask: Returns the stream of a period.
        late: For how many days after its last one a file stays open for late rows.
        today: The current day in UTC.
        overwrite: Whether to read complete files again.
        progress: Called with the number of records of the period read so far.
        kept: Called with the note of each complete file that stays as it is.
        written: Called with the note of each file once it is written, maybe in another thread.
    """

    kind: str
    data_set: DataSet
    source: Source
    ask: Callable[[Period], RecordStream[Any]]
    late: int
    today: date
    overwrite: bool = False
    progress: Callable[[int], None] = lambda _: None
    kept: Callable[[Note], None] = lambda _: None
    written: Callable[[Note], None] = lambda _: None

    async def whole(self, period: Period) -> Note:
        """Export a period to one file, and return its note."""
        target = DataFile(f"{self.kind}-{period}", period)
        (note,) = await self._export(
            period, [target], lambda spool: [(target, spool.batches(), _odd(spool, lambda _: True))], is_whole=True
        )
        return note

    async def by_day(self, period: Period) -> list[Note]:
        """Export a period to one file per day.

        Returns:
            The notes of the files of undated records of these days, then those of the days.
        """
        days = [DataFile(f"{self.kind}-{day}", day) for day in period.days()]

        def parts(spool: Spool) -> Iterator[_Part]:
            for day in days:
                first = day.period.first
                yield day, _selected(spool, partial(_is_on, first)), _odd(spool, partial(eq, first))

        notes = await self._export(period, days, parts)
        undated = await asyncio.to_thread(self.data_set.overlapping, self._undated(period))
        return [*(note for note in undated.values() if note is not None), *notes]

    def _undated(self, period: Period) -> DataFile:
        return DataFile(f"{self.kind}-undated-{period}", period, dated=False)

    async def _export(
        self,
        period: Period,
        targets: Sequence[DataFile],
        parts: Callable[[Spool], Iterable[_Part]],
        *,
        is_whole: bool = False,
    ) -> list[Note]:
        found = {target: await asyncio.to_thread(self._done, target) for target in targets}
        done = [note for note in found.values() if note is not None]
        for kept in done:
            self.kept(kept)
        if len(done) == len(targets):
            return done
        for target, note in found.items():
            if note is None:
                await asyncio.to_thread(self.data_set.check_replaceable, target)
        undated = self._undated(period)
        await asyncio.to_thread(self.data_set.overlapping, undated)
        # Before the request: a record that the service adds later may be missing.
        exported = periods.utc_now()
        stream = self.ask(period)
        schema = stream._converter[0]
        with self.data_set.spool_file() as file:
            spool = Spool(file, schema)
            await self._read(stream, spool)
            rows = [*map(_as_row, stream.rejected)]
            if more := stream.rejected_count - len(rows):
                rows.append({"more": more})
            rejected = DataFile(f"{self.kind}-{period}", period)
            # A file that stays as it is still lacks what an earlier reading has rejected, as do all if this one fails.
            is_less = stream.rejected_count < await asyncio.to_thread(self.data_set.rejected_in, rejected)
            if not is_less:
                await asyncio.to_thread(self.data_set.note_rejected, rejected, rows)
            reading = UndatedRows(
                data_set=self.data_set,
                own=undated,
                spool=spool,
                has_own=not is_whole,
                overwrite=self.overwrite,
                exported=exported,
            )
            notes, began = None, monotonic()
            while notes is None:
                # The lock is held within the thread, which ends its work even if this task is cancelled.
                notes = await asyncio.to_thread(self._write, reading, schema, found, parts, monotonic() - began)
                if notes is None:
                    await asyncio.sleep(_TURN_DELAY)
            if is_less and not done:
                await asyncio.to_thread(self.data_set.note_rejected, rejected, rows)
            return notes

    def _done(self, target: DataFile) -> Note | None:
        return None if self.overwrite else self.data_set.done(target)

    async def _read(self, stream: RecordStream[Any], spool: Spool) -> None:
        window = None
        async with stream:
            async for group in stream._column_groups():
                stream._move(group)
                if group.batch.window is not window:
                    window = group.batch.window
                    spool.begin_window()
                if group.rows is None:
                    spool.restart_window()
                else:
                    spool.add(group.rows, group.odd)
                self.progress(spool.rows)

    def _write(
        self,
        reading: UndatedRows,
        schema: Any,
        found: Mapping[DataFile, Note | None],
        parts: Callable[[Spool], Iterable[_Part]],
        waited: float,
    ) -> list[Note] | None:
        """Write what was read, and return the notes; None while another process writes.

        Between the file of undated records and those of the days, a record may be in none: another process that
        settles its own reading then would not find it.
        """
        with self.data_set.turn(waited) as is_ours:
            if not is_ours:
                return None

            def write(target: DataFile, **how: Any) -> Note:
                note = self.data_set.write(target, schema=schema, source=source, **how)
                self.written(note)
                return note

            source = self.source()
            again = reading.settle(found, write)
            notes: list[Note] = []
            for target, batches, odd in parts(reading.spool):
                note = found[target]
                if note is None or target in again:
                    stays_open = self._stays_open(target.period)
                    note = write(target, batches=batches, odd=odd, stays_open=stays_open, exported=reading.exported)
                notes.append(note)
            return notes

    def _stays_open(self, period: Period) -> bool:
        return stays_open(period.last, self.today, self.late)


def _odd(spool: Spool, is_own: Callable[[date | None], bool]) -> Mapping[str, int]:
    """Return how many rows of some days have which odd field."""
    found: Counter[str] = Counter()
    for (day, field), count in spool.odd.items():
        if is_own(day):
            found[field] += count
    return found


def _as_row(rejected: Rejected) -> dict[str, Any]:
    place = {"window": str(rejected.window), "index": rejected.index, "offset": rejected.offset}
    return {**place, "reason": rejected.reason, "text": text_without_secrets(rejected.text)}


def _is_on(day: date, times: Any) -> Any:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    first, end = (pyarrow.scalar(when, TIME) for when in (start, start + timedelta(days=1)))
    return compute.and_(compute.greater_equal(times, first), compute.less(times, end))


def _selected(spool: Spool, mask: Callable[[Any], Any]) -> Iterator[Any]:
    for batch in spool.batches():
        yield batch.filter(mask(batch.column("trans_at")))
