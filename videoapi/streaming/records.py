"""Record streams, their pages, and the cursor for resuming them."""

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
    """A page of records, and a cursor that points just past its last record."""

    records: tuple[R, ...]
    cursor: Cursor


class RecordStream(Generic[R]):
    """A stream of records as they arrive. Iterate over it once, by record or by `pages(n)`.

    Memory use does not depend on the size of the responses, and a slow consumer slows the service down.
    To stop early, use `async with` or call `aclose()`, which close the connections immediately; after a
    bare `break` they are closed a few event loop iterations later.

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
        # Position of the last yielded record; turned into a cursor only on access.
        self._batch: Batch[R] | None = None
        self._nth = 0
        self._began = False
        self._ended: asyncio.Event | None = None
        self._generator: weakref.ref[AsyncGeneratorType[Any, None]] | None = None

    def __repr__(self) -> str:
        return f"<RecordStream {self._query.name}, {self.received} received>"

    @property
    def cursor(self) -> Cursor:
        """The position just past the last yielded record. Pass it to the same query to resume there."""
        restarted, batch = self._walk.restarted, self._batch
        if batch is None:
            return attrs.evolve(self._start, restarted=restarted)
        after = self._query.identity(batch.records[self._nth - 1])
        since, count = since_of(batch.window), batch.before + self._nth
        return Cursor(self._query.name, since, after, count, restarted)

    @property
    def rejected(self) -> Sequence[Rejected]:
        """The records that could not be parsed, with position and reason; at most the first 1,000."""
        return tuple(self._walk.filter.rejected)

    @property
    def rejected_count(self) -> int:
        """The number of records that could not be parsed."""
        return self._walk.filter.rejected_count

    @property
    def outside(self) -> int:
        """The number of records outside the period, which were skipped.

        Some are normal, because the day after the end is requested too.
        """
        return self._walk.filter.outside

    @property
    def received(self) -> int:
        """The number of records received, including skipped and rejected ones."""
        return self._walk.filter.received

    @property
    def restarted(self) -> bool:
        """Whether the cursor's record no longer exists, so that its window was yielded from the start."""
        return self._walk.restarted

    def __aiter__(self) -> AsyncIterator[R]:
        return self._only_once(self._records())

    def pages(self, size: int) -> AsyncIterator[Page[R]]:
        """Iterate over pages instead of records.

        Args:
            size: Records per page, at least 1; the last page may be shorter.

        Raises:
            ValidationError: If `size` is not an integer of at least 1.
        """
        if type(size) is not int or size < 1:
            raise ValidationError(f"pages({size!r}): give a whole number from 1", field="size")
        return self._only_once(self._pages(size))

    async def to_list(self) -> list[R]:
        """Return all records as a list, which must fit into memory."""
        async with self:
            return [record async for record in self]

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

    def _only_once(self, generator: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        if self._began:
            raise ConfigurationError("A stream is read once, and this one was. Ask again for a new one.")
        self._began = True
        # Keep only a weak reference, so that a bare `break` releases the generator and the event loop closes it.
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
        pipeline: Opens and classifies the response.
        request: The request for the list.
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
    return RecordStream(pipeline, query, strict=strict, timeout=timeout)


def _room_id(room: Room) -> str | None:
    return room.room_id or None
