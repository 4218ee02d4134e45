"""A stream of records: what users iterate over, and the cursor with which they go on."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from types import AsyncGeneratorType, TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import attrs

from videoapi.config import positive_seconds
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.models.codec import RecordDecoder
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import Request
from videoapi.streaming.record_filter import Rejected
from videoapi.streaming.window_reader import Batch, Query, WindowReader
from videoapi.streaming.windows import UNBOUNDED, Cursor, resume, since_of

R = TypeVar("R")


@attrs.frozen
class Page(Generic[R]):
    """Records handed out together, and where to go on behind them."""

    records: tuple[R, ...]
    cursor: Cursor


class RecordStream(Generic[R]):
    """Records as they arrive; iterate over it once, over records or over `pages(n)`.

    Memory stays flat whatever the size of the answers, and a slow consumer slows the service down.
    Leave early with `async with`, or call `aclose()`: it closes the connections at once; after a
    bare `break` they close some turns of the loop later.

    Example:
        async with client.cdr.by_period("2026-01-01", "2026-01-31") as records:
            async for record in records:
                ...
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
        self._start, index = resume(cursor or first, query.name, tuple(query.windows))
        self._walk = WindowReader(
            pipeline,
            query,
            start=self._start,
            windows=query.windows[index:],
            strict=strict,
            timeout=positive_seconds("timeout", timeout),
        )
        # The place of the last record handed out; made into a cursor only when somebody asks.
        self._batch: Batch[R] | None = None
        self._nth = 0
        self._began = False
        self._ended: asyncio.Event | None = None
        self._generator: weakref.ref[AsyncGeneratorType[Any, None]] | None = None

    def __repr__(self) -> str:
        return f"<RecordStream {self._query.name}, {self.received} received>"

    @property
    def cursor(self) -> Cursor:
        """Behind the last record handed out; give it to the same question to go on there."""
        restarted, batch = self._walk.restarted, self._batch
        if batch is None:
            return attrs.evolve(self._start, restarted=restarted)
        after = self._query.identity(batch.records[self._nth - 1])
        since, count = since_of(batch.window), batch.before + self._nth
        return Cursor(self._query.name, since, after, count, restarted)

    @property
    def rejected(self) -> Sequence[Rejected]:
        """The records that could not be read, with place and reason; at most the first 1,000."""
        return tuple(self._walk.filter.rejected)

    @property
    def rejected_count(self) -> int:
        """How many records could not be read."""
        return self._walk.filter.rejected_count

    @property
    def outside(self) -> int:
        """How many records outside the period came and were left out.

        The day after the end is asked for too, so some are usual.
        """
        return self._walk.filter.outside

    @property
    def received(self) -> int:
        """How many records came, whatever became of them."""
        return self._walk.filter.received

    @property
    def restarted(self) -> bool:
        """Whether a cursor's record was gone, and its window was handed out from the start."""
        return self._walk.restarted

    def __aiter__(self) -> AsyncIterator[R]:
        return self._only_once(self._records())

    def pages(self, size: int) -> AsyncIterator[Page[R]]:
        """Iterate over pages instead of records.

        Args:
            size: Records a page, at least 1; the last page may be shorter.

        Raises:
            ValidationError: The size is no such number.
        """
        if type(size) is not int or size < 1:
            raise ValidationError(f"pages({size!r}): give a whole number from 1", field="size")
        return self._only_once(self._pages(size))

    async def to_list(self) -> list[R]:
        """Return all records; they must fit into memory."""
        async with self:
            return [record async for record in self]

    async def aclose(self) -> None:
        """End the stream: its connections are closed when this returns. Closing twice does no harm.

        Raises:
            ConfigurationError: Another task is waiting for a record; cancel that task instead.
        """
        self._began = True
        generator = self._generator() if self._generator is not None else None
        if generator is not None:
            if generator.ag_running:
                raise ConfigurationError("This stream is being read by another task; cancel that task instead.")
            await generator.aclose()
        if self._ended is not None:
            # After a `break` the loop may be about to close the generator, which is out of reach then.
            await self._ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _only_once(self, generator: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        if self._began:
            raise ConfigurationError("A stream is read once, and this one was. Ask again for a new one.")
        self._began = True
        # Not held: after a bare `break` nobody but the loop may keep it alive.
        self._generator = weakref.ref(cast("AsyncGeneratorType[Any, None]", generator))
        return generator

    async def _records(self) -> AsyncGenerator[R, None]:
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                self._batch = batch
                for self._nth, record in enumerate(batch.records, 1):
                    yield record

    async def _pages(self, size: int) -> AsyncGenerator[Page[R], None]:
        waiting: list[R] = []
        last: Batch[R] | None = None
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                taken = 0
                while len(waiting) + len(batch.records) - taken >= size:
                    upto = taken + size - len(waiting)
                    waiting += batch.records[taken:upto]
                    taken = upto
                    self._batch, self._nth = batch, taken
                    page, waiting = tuple(waiting), []
                    yield Page(page, self.cursor)
                waiting += batch.records[taken:]
                last = batch
            if last is not None and waiting:
                self._batch, self._nth = last, len(last.records)
                yield Page(tuple(waiting), self.cursor)

    async def _batches(self) -> AsyncGenerator[Batch[R], None]:
        self._ended = asyncio.Event()
        try:
            async with aclosing(self._walk.batches()) as batches:
                async for batch in batches:
                    yield batch
        except VideoAPIError as error:
            error.cursor = self.cursor
            raise
        finally:
            self._ended.set()


def room_list(
    pipeline: Pipeline, request: Request, *, extra: bool, strict: bool, timeout: float | None
) -> RecordStream[Room]:
    """Return the stream of all rooms. Source: docs/contract.md 4.4.

    Args:
        caller: Opens and judges the answer.
        request: The request of the list.
        extra: Whether unknown fields are kept for `room.extra`.
        strict: Whether a room that cannot be read ends the stream.
        timeout: Seconds the service may be waited for in all, or None.
    """
    query = Query(
        name=request.route.name,
        windows=(UNBOUNDED,),
        request=lambda _: request,
        key="rooms",
        decoder=RecordDecoder(Room, extra=extra),
        identity=_room_id,
    )
    return RecordStream(pipeline, query, strict=strict, timeout=timeout)


def _room_id(room: Room) -> str | None:
    return room.room_id or None
