"""Record streams, their pages, and the cursor for resuming them."""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from types import AsyncGeneratorType, SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

import attrs

from videoapi.arrow.optional import require_pyarrow
from videoapi.config import positive_seconds
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.column_records import ColumnDecoder
from videoapi.models.rooms import Room
from videoapi.models.unreadable import unreadable_fields
from videoapi.pipeline.cancellation import Iteration
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import Request
from videoapi.streaming.column_groups import GROUP, MAX_BATCH, ColumnGroup, column_groups
from videoapi.streaming.record_filter import Batch, Counts, Rejected
from videoapi.streaming.window_reader import Query, WindowReader
from videoapi.streaming.windows import UNBOUNDED, Cursor, Window, resume, since_of

if TYPE_CHECKING:
    import pyarrow
else:
    # For `typing.get_type_hints`: the optional package is imported only when it is used.
    pyarrow = SimpleNamespace(RecordBatch=Any)

R = TypeVar("R")
_CANCELLED: Final = (
    "The wait for a record was cancelled, which closed the stream. To continue, pass `stream.cursor` to the same query."
)


@attrs.frozen
class Page(Generic[R]):
    """A page of records, and a cursor that points just past its last record.

    Args:
        records: The records.
        cursor: The position just past the last record.
        discarded: Number of records before this page that are yielded again: remove that many from the end of your
            stored records before you add this page. 0 unless a window restarts.
    """

    records: tuple[R, ...]
    cursor: Cursor
    discarded: int = 0


class RecordStream(Generic[R]):
    """A stream of records as they arrive. Iterate over it once, by record or by `pages(n)`.

    Memory use is about 10 bytes per record of the window being read, and twice that while a window is read again; a
    slow consumer slows the service down. If a response is interrupted, the client reads the window again and still
    yields each record once, in whatever order the service sends them. If the records themselves have changed, it yields
    their window from the start; see `restarted_windows`.

    If the wait for a record is cancelled, such as by a timeout around `anext`, the stream is closed, and iterating on
    raises a `ConfigurationError`. To continue, pass `cursor` to the same query.

    To stop early, use `async with` or call `aclose()`, which close the connections immediately; after a bare `break`
    they are closed a few event loop iterations later.

    Example:
        async with client.cdr.by_period(first_day, last_day) as records:
            async for record in records:
                print(record.trans_at, record.user.name)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        query: Query[R],
        *,
        cursor: Cursor | str | None = None,
        strict: bool = False,
        timeout: float | None = None,
    ) -> None:
        self._query = query
        first = Cursor(query.name, since_of(query.windows[0]))
        self._start, index = resume(first if cursor is None else cursor, query.name, tuple(query.windows))
        self._walk = WindowReader(
            pipeline,
            query,
            start=self._start,
            windows=query.windows[index:],
            strict=strict,
            timeout=positive_seconds("timeout", timeout),
        )
        # Position of the last yielded record; turned into a cursor only on access.
        self._batch: Batch[R] | None = None
        self._nth = 0
        # The restart of a window of which no record was yielded again so far.
        self._restart: Batch[R] | None = None
        self._discarded = 0
        self._began = self._cancelled = False
        self._ended: asyncio.Event | None = None
        self._generator: weakref.ref[AsyncGeneratorType[Any, None]] | None = None

    def __repr__(self) -> str:
        return f"<RecordStream {self._query.name}, {self.received} received>"

    @property
    def cursor(self) -> Cursor:
        """The position just past the last yielded record. Pass it to the same query to resume there."""
        batch, restarted = self._batch, self.restarted
        if batch is None:
            return attrs.evolve(self._start, restarted=restarted)
        return Cursor(self._query.name, since_of(batch.window), *batch.place(self._nth), restarted)

    def counts(self, *, without_last: bool = False) -> Counts:
        """Return the counters of the records up to `cursor`; the properties also count records that were read ahead.

        Args:
            without_last: Whether to leave out the last record.
        """
        if self._restart is not None:
            return self._restart.counts(0)
        return Counts() if self._batch is None else self._batch.counts(max(0, self._nth - without_last))

    @property
    def window_counts(self) -> Counts:
        """The counters at the start of the window of `cursor`."""
        return Counts() if self._batch is None else self._batch.start.copy()

    @property
    def total_counts(self) -> Counts:
        """The counters of all records that were read."""
        return self._walk.filter.counts.copy()

    @property
    def rejected(self) -> Sequence[Rejected]:
        """The records that could not be parsed, with position, reason and text; at most the first 1,000."""
        return tuple(self._walk.filter.rejected)

    @property
    def rejected_count(self) -> int:
        """The number of records that could not be parsed."""
        return self._walk.filter.counts.rejected

    @property
    def outside(self) -> int:
        """The number of records outside the period, which were skipped.

        Some are normal, because the day after the end is requested too.
        """
        return self._walk.filter.counts.outside

    @property
    def undated(self) -> int:
        """The number of yielded records of a period whose day is unknown: `trans_date` is missing or unusual."""
        return self._walk.filter.counts.undated

    @property
    def odd(self) -> Counter[str]:
        """The fields with a value of an unexpected type, which read None, and the number of records with each."""
        return Counter(self._walk.filter.counts.odd)

    @property
    def received(self) -> int:
        """The number of records of the requested period that were received, rejected ones included."""
        return self._walk.filter.counts.received

    @property
    def restarted(self) -> bool:
        """Whether any window was yielded from its start again; see `restarted_windows`."""
        return bool(self._walk.restarted)

    @property
    def restarted_windows(self) -> tuple[Window, ...]:
        """The windows that were yielded from their start again, because their records have changed.

        A window is added before its first record is yielded again. `page.discarded` says how many records to remove.
        """
        return tuple(self._walk.restarted)

    @property
    def discarded(self) -> int:
        """The number of rows before the last batch of `arrow` that are yielded again: remove them before you add it.

        0 unless a window restarts, like `page.discarded`.
        """
        return self._discarded

    def __aiter__(self) -> AsyncIterator[R]:
        return self._only_once(self._records())

    def pages(self, size: int) -> AsyncIterator[Page[R]]:
        """Iterate over pages instead of records.

        Args:
            size: Records per page, at least 1. The last page may be shorter, and so may one before a restart.

        Raises:
            ValidationError: If `size` is not an integer of at least 1.
        """
        if type(size) is not int or size < 1:
            raise ValidationError(f"pages({size!r}): give a whole number from 1", field="size")
        return self._only_once(self._pages(size))

    def arrow(self, batch: int = 10_000) -> AsyncIterator[pyarrow.RecordBatch]:
        """Iterate over Arrow batches instead of records. Requires the extra `data`.

        `cursor` points just past the last row of the last batch. If a window restarts, `discarded` says how many rows
        to remove before you add the next batch.

        Args:
            batch: Rows per batch, 1 to 1,000,000. The last batch may be shorter; it is empty only if rows are
                discarded and none replaces them.

        Raises:
            ValidationError: If `batch` is not an integer of that range.
            ConfigurationError: If pyarrow is not installed.
        """
        if type(batch) is not int or not 1 <= batch <= MAX_BATCH:
            raise ValidationError(f"arrow({batch!r}): give a whole number from 1 to {MAX_BATCH:,}", field="batch")
        require_pyarrow()
        return self._only_once(self._arrow(batch))

    async def to_list(self) -> list[R]:
        """Return all records as a list, which must fit into memory.

        Raises:
            VideoAPIError: If the stream fails. `error.partial` holds the records that were read, and `error.cursor`
                is the position where this stream began, so that repeating it from there loses nothing.
        """
        records: list[R] = []
        window, start = None, 0
        async with self:
            try:
                async for batch in self._only_once(self._batches()):
                    if batch.window is not window:
                        window, start = batch.window, len(records)
                    if batch.discarded is not None:
                        del records[start:]
                    records += batch.records
                    self._batch, self._nth = batch, len(batch.records)
            except VideoAPIError as error:
                error.cursor, error.partial = self._start, tuple(records)
                raise
        return records

    async def aclose(self) -> None:
        """Close the stream and wait until its connections are closed. Closing it again has no effect.

        Raises:
            ConfigurationError: If another task is waiting for a record; cancel that task instead.
        """
        self._began = True
        generator = self._generator() if self._generator is not None else None
        if generator is not None:
            if generator.ag_running:
                raise ConfigurationError("This stream is being read by another task; cancel that task instead.")
            await generator.aclose()
        if self._ended is not None:
            # After a `break`, the event loop may still be closing a generator that is unreachable from here.
            await self._ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _only_once(self, generator: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
        if self._began:
            raise ConfigurationError("A stream is read once, and this one was. Ask again for a new one.")
        self._began = True
        # Keep only a weak reference, so that a bare `break` releases the generator and the event loop closes it.
        self._generator = weakref.ref(cast("AsyncGeneratorType[Any, None]", generator))
        return Iteration(generator, self._resumed)

    def _resumed(self) -> None:
        if self._cancelled:
            error = ConfigurationError(_CANCELLED)
            error.cursor = self.cursor
            raise error

    async def _records(self) -> AsyncGenerator[R, None]:
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                for record in self._each(batch):
                    yield record

    def _chunks(self) -> AsyncIterator[Iterator[R]]:
        """Iterate as `__aiter__` does, but over chunks of records that arrived together, in order.

        `cursor` follows the iteration over a chunk, so each one must be read to its end before the next is requested.
        """
        return self._only_once(self._iterators())

    async def _iterators(self) -> AsyncGenerator[Iterator[R], None]:
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                yield self._each(batch)

    def _each(self, batch: Batch[R]) -> Iterator[R]:
        """Iterate over the records of a batch, each of which moves `cursor`."""
        if batch.discarded is not None:
            # The cursor stays: if the stream fails now, the one that resumes there restarts the window.
            self._restart = batch
            return
        self._batch, self._nth, self._restart = batch, 0, None
        for self._nth, record in enumerate(batch.records, 1):
            yield record

    async def _pages(self, size: int) -> AsyncGenerator[Page[R], None]:
        waiting: list[R] = []
        # How many of the waiting records are from earlier windows.
        earlier = 0
        discarded = 0
        last: Batch[R] | None = None
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                if last is None or batch.window is not last.window:
                    earlier = len(waiting)
                if batch.discarded is not None:
                    again = batch.discarded - (len(waiting) - earlier)
                    if earlier:
                        self._batch, self._nth = batch, 0
                        yield Page(tuple(waiting[:earlier]), self.cursor, discarded)
                        discarded = 0
                    waiting, earlier, discarded = [], 0, discarded + again
                taken = 0
                while len(waiting) + len(batch.records) - taken >= size:
                    upto = taken + size - len(waiting)
                    waiting += batch.records[taken:upto]
                    taken = upto
                    self._batch, self._nth = batch, taken
                    page, waiting, earlier = tuple(waiting), [], 0
                    yield Page(page, self.cursor, discarded)
                    discarded = 0
                waiting += batch.records[taken:]
                last = batch
            if last is not None and (waiting or discarded):
                self._batch, self._nth = last, len(last.records)
                yield Page(tuple(waiting), self.cursor, discarded)

    async def _arrow(self, size: int) -> AsyncGenerator[pyarrow.RecordBatch, None]:
        from videoapi.arrow.batches import joined

        schema = self._converter[0]
        held: list[Any] = []
        rows = discarded = 0
        last: ColumnGroup[R] | None = None
        async with aclosing(self._groups(lambda: min(GROUP, size - rows))) as groups:
            async for group in groups:
                last = group
                if group.rows is None:
                    # No group has rows of two windows, so those that come again are the last groups, or yielded.
                    again = group.discarded
                    while again and held:
                        again -= held[-1].num_rows
                        rows -= held.pop().num_rows
                    discarded += again
                    continue
                held.append(group.rows)
                rows += group.rows.num_rows
                if rows == size:
                    # A large batch would hold the event loop for seconds.
                    whole = await self._in_thread(joined, held, schema)
                    held, rows = [], 0
                    self._move(group)
                    self._discarded, discarded = discarded, 0
                    yield whole
            if last is not None and (held or discarded):
                rest = await self._in_thread(joined, held, schema)
                self._batch, self._nth = last.batch, last.nth
                self._discarded = discarded
                yield rest

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *args)
        except asyncio.CancelledError:
            self._cancelled = True
            raise

    async def _groups(self, most: Callable[[], int] = lambda: GROUP) -> AsyncGenerator[ColumnGroup[R], None]:
        """Yield groups of columns; `cursor` follows only if each is passed to `_move`."""
        if self._query.decoder.model is CallRecord:
            self._walk.decoder = ColumnDecoder()
        async with aclosing(self._batches()) as batches:
            async with aclosing(column_groups(batches, self._converter[1], most)) as groups:
                async for group in groups:
                    yield group

    def _column_groups(self) -> AsyncIterator[ColumnGroup[R]]:
        """Iterate as `arrow` does, but over small groups of one window each; pass each to `_move`."""
        self._count_unreadable()
        return self._only_once(self._groups())

    def _count_unreadable(self, counts: Callable[[R], bool] | None = None) -> None:
        """Count also those values of call records in `odd` that no column can show, such as a time of unknown form.

        Args:
            counts: Returns whether to count those of a record, or None for all.
        """

        def counted(record: R, odd: Iterable[str]) -> Iterable[str]:
            found = unreadable_fields(record, odd)
            return found if found and counts is not None and counts(record) else ()

        if self._query.decoder.model is CallRecord:
            self._walk.filter.unreadable = cast("Any", unreadable_fields) if counts is None else counted

    @property
    def _converter(self) -> tuple[Any, Any]:
        from videoapi.arrow.columns import converter

        return converter(self._query.decoder.model)

    def _move(self, group: ColumnGroup[R]) -> None:
        """Move the cursor past the records of a group."""
        if group.rows is None:
            # The cursor stays: if the stream fails now, the one that resumes there restarts the window.
            self._restart = group.batch
        else:
            self._batch, self._nth, self._restart = group.batch, group.nth, None

    async def _batches(self) -> AsyncGenerator[Batch[R], None]:
        self._ended = asyncio.Event()
        recorded = self._walk.begin()
        ended_by: BaseException | None = None
        try:
            async with aclosing(self._walk.batches()) as batches:
                async for batch in batches:
                    yield batch
        except VideoAPIError as error:
            error.cursor, ended_by = self.cursor, error
            raise
        except BaseException as error:
            self._cancelled = self._cancelled or isinstance(error, asyncio.CancelledError)
            ended_by = error
            raise
        finally:
            self._ended.set()
            if recorded is not None:
                recorded.streamed(self._walk.totals(complete=ended_by is None))
                recorded.end(ended_by)


def room_list(
    pipeline: Pipeline,
    request: Request,
    *,
    cursor: Cursor | str | None = None,
    extra: bool,
    strict: bool,
    timeout: float | None,
) -> RecordStream[Room]:
    """Return the stream of all rooms. Source: docs/contract.md 4.4.

    Args:
        pipeline: Opens and classifies the response.
        request: The request for the list.
        cursor: The position of an earlier stream, or None.
        extra: Whether to keep unknown fields for `room.extra`.
        strict: Whether a room that cannot be parsed ends the stream with an error.
        timeout: Total seconds to wait for the service, or None for no limit.
    """
    query = Query(
        name=request.route.name,
        windows=(UNBOUNDED,),
        request=lambda _: request,
        key="rooms",
        decoder=RecordDecoder(Room, extra=extra),
        identity=_room_id,
    )
    return RecordStream(pipeline, query, cursor=cursor, strict=strict, timeout=timeout)


def _room_id(room: Room) -> str | None:
    return room.room_id or None
