"""Reads windows in order, and reads a window again if its response breaks off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from videoapi.errors import NotFound, ProtocolError, RequestRejected, VideoAPIError
from videoapi.models.codec import RecordDecoder
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.streaming.record_filter import Batch, RecordFilter, Rejected
from videoapi.streaming.row_set import RowSet
from videoapi.streaming.streamed_response import Prefetcher, StreamedResponse, StreamTimeout, with_fewer_attempts
from videoapi.streaming.windows import Cursor, Window

if TYPE_CHECKING:
    from videoapi.telemetry.operation import RecordedOperation

R = TypeVar("R")

MAX_PREFETCHED: Final = 2
"""Maximum number of windows opened ahead while one is read."""

log: logging.Logger = logging.getLogger("videoapi.streaming")


@attrs.frozen(kw_only=True)
class Query(Generic[R]):
    """The query of a stream: what to request, and how to decode the records.

    Args:
        name: The query in words, stored in its cursors.
        windows: The windows into which it is split.
        request: Returns the request for a window.
        key: The key of the list in a response.
        decoder: Decodes the records.
        identity: Returns the ID of a record, or None. IDs may repeat.
        day: Returns the UTC day of a record, or None if it is unknown. None if the query has no days.
        null_is_empty: Whether `null` in place of the list means an empty list.
    """

    name: str
    windows: Sequence[Window]
    request: Callable[[Window], Request]
    key: str
    decoder: RecordDecoder[Any]
    identity: Callable[[R], str | None]
    day: Callable[[R], date | None] | None = None
    null_is_empty: bool = False


class WindowReader(Generic[R]):
    """A single pass over the windows of a query.

    Args:
        pipeline: Opens and classifies the responses.
        query: The query.
        start: The cursor after which to begin.
        windows: The windows to read, beginning with that of `start`.
        strict: Whether a record that cannot be parsed ends the stream with an error.
        timeout: Total seconds to wait for the service, or None for no limit.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        query: Query[R],
        *,
        start: Cursor,
        windows: Sequence[Window],
        strict: bool,
        timeout: float | None,
    ) -> None:
        self.restarted: list[Window] = []
        self.filter: RecordFilter[R] = RecordFilter(
            query.identity, query.day, strict=strict, on_rejected=self._log_rejected
        )
        self._pipeline = pipeline
        self._query = query
        self.decoder: RecordDecoder[Any] = query.decoder
        self._start = start
        self._windows = windows
        self._timeout = StreamTimeout(timeout, query.request(windows[0]).route)

    def begin(self) -> RecordedOperation | None:
        """Begin to record the pass as one operation, of which all its requests are a part; the caller ends it."""
        recorded = self._pipeline.begin(self._query.request(self._windows[0]), all_calls=True)
        self._pipeline = self._pipeline.within(recorded)
        return recorded

    def totals(self, *, complete: bool) -> dict[str, int | bool]:
        """Return the numbers of the pass so far.

        Args:
            complete: Whether it was read to its end.
        """
        counts = self.filter.counts
        return {
            "records": counts.received,
            "rejected": counts.rejected,
            "outside": counts.outside,
            "windows": len(self._windows),
            "restarts": len(self.restarted),
            "complete": complete,
        }

    async def batches(self) -> AsyncGenerator[Batch[R], None]:
        """Yield the records of all windows, in order.

        Raises:
            VideoAPIError: If a window cannot be read, even after retries.
        """
        prefetcher = Prefetcher(self._pipeline)
        place = (self._start.count, self._start.check, self._start.yielded)
        try:
            for nth, window in enumerate(self._windows):
                later = [self._query.request(one) for one in self._windows[nth + 1 :][:MAX_PREFETCHED]]
                self.filter.begin(window, *place)
                async with aclosing(self._window(window, prefetcher, later)) as batches:
                    async for batch in batches:
                        yield batch
                place = (0, 0, 0)
        finally:
            await prefetcher.aclose()

    async def _window(
        self, window: Window, prefetcher: Prefetcher, later: Sequence[Request]
    ) -> AsyncGenerator[Batch[R], None]:
        request, record_filter = self._query.request(window), self.filter
        # Attempts since the last new record, in one place: those that open a response, and those that read it.
        spent = restarts = 0
        while True:
            for _ in record_filter.open():
                await asyncio.sleep(0)
            response = self._response(with_fewer_attempts(request, spent))
            progressed = False
            async with aclosing(self._read(response, prefetcher, later)) as batches:
                async for batch in batches:
                    progressed = True
                    yield batch
            if record_filter.stopped_at is not None:
                raise _unreadable(request, record_filter.stopped_at)
            if not response.done and not record_filter.has_moved:
                spent = 1 if progressed else spent + response.attempts
                await self._retry(request, response.outcome, spent)
            elif not record_filter.must_restart:
                if record_filter.disappeared:
                    log.warning(
                        "%s: rows that were read before a response broke off are missing from window %s now: %d. "
                        "Their records stay yielded.",
                        self._query.name,
                        window,
                        record_filter.disappeared,
                    )
                return
            elif restarts == request.options.retry.attempts:
                raise _unstable(request, window, restarts + 1)
            else:
                restarts += 1
                log.warning(
                    "%s: the service sent other records than before; yielding window %s from its start again.",
                    self._query.name,
                    window,
                )
                self.restarted.append(window)
                discarded, start = record_filter.begin(window), record_filter.start
                yield Batch(window, discarded=discarded, start=start, before=start)

    def _response(self, request: Request) -> StreamedResponse:
        query = self._query
        return StreamedResponse(
            self._pipeline, request, query.key, query.null_is_empty, self._timeout, self.decoder.decode_list
        )

    async def _read(
        self,
        response: StreamedResponse,
        prefetcher: Prefetcher,
        later: Sequence[Request],
    ) -> AsyncGenerator[Batch[R], None]:
        async def opening() -> Outcome:
            outcome = await _with_spent(prefetcher.take, response.request)
            prefetcher.prefetch(later)
            return outcome

        async with aclosing(response.blocks(opening)) as blocks:
            async for block in blocks:
                odd: dict[int, tuple[str, ...]] = {}
                rows = self.filter.unread(block, self.decoder.decode_block(block.items, odd.__setitem__))
                if self.filter.has_moved:
                    return
                for day in self.filter.days_needed(rows):
                    self.filter.leave(day, await self._undated_on(day))
                batch = self.filter.select(rows, odd)
                if batch.records:
                    yield batch
                if self.filter.stopped_at is not None:
                    return
                prefetcher.prefetch(later)

    async def _undated_on(self, day: Window) -> RowSet:
        """Return the undated rows of one day: none if the service's end date is exclusive."""
        request = self._query.request(day)
        # It is opened while the window is read, so it must not wait for the permits of streams that users hold.
        request = attrs.evolve(request, route=attrs.evolve(request.route, inner_stream=True))
        spent = 0
        while True:
            rows = RowSet()
            response = self._response(with_fewer_attempts(request, spent))
            try:
                async with aclosing(
                    response.blocks(partial(_with_spent, self._pipeline.open_stream, response.request))
                ) as blocks:
                    async for block in blocks:
                        rows.update(self.filter.undated(block, self.decoder.decode_block(block.items)))
            except (RequestRejected, NotFound):
                # A period of one day is valid unless its end is exclusive.
                return RowSet()
            if response.done:
                return rows
            spent += response.attempts
            await self._retry(request, response.outcome, spent)

    async def _retry(self, request: Request, outcome: Outcome | None, spent: int) -> None:
        assert outcome is not None
        again = await self._timeout.wait(self._pipeline.retry_read(request, outcome, spent))
        if not again:
            raise self._pipeline.error(outcome, request, spent)
        log.debug("%s %s: the response broke off; reading it again.", request.method, request.route.template)

    def _log_rejected(self, rejected: Rejected) -> None:
        place = (rejected.window, rejected.index, rejected.offset, rejected.reason)
        if self.filter.counts.rejected == 1:
            log.warning(
                "Skipped a record of %s that cannot be parsed: window %s, index %d, offset %d: %s. "
                "Further ones are logged at DEBUG.",
                self._query.name,
                *place,
            )
        else:
            log.debug("Skipped a record: window %s, index %d, offset %d: %s", *place)


async def _with_spent(open_stream: Callable[[Request], Awaitable[Outcome]], request: Request) -> Outcome:
    """Open a response; the error of one that cannot be opened also counts the attempts before this call."""
    try:
        return await open_stream(request)
    except VideoAPIError as error:
        error.attempts += request.options.spent
        raise


def _unreadable(request: Request, rejected: Rejected) -> VideoAPIError:
    return ProtocolError(
        f"{request.method} {request.route.template}: a record cannot be read (window {rejected.window}, "
        f"index {rejected.index}, offset {rejected.offset}): {rejected.reason}",
        method=request.method,
        path=request.route.template,
        attempts=1,
    )


def _unstable(request: Request, window: Window, readings: int) -> VideoAPIError:
    return ProtocolError(
        f"{request.method} {request.route.template}: the records of window {window} were different each time it was "
        f"read, {readings} times. Resume from the error's `cursor` later.",
        method=request.method,
        path=request.route.template,
        attempts=readings,
        retryable=True,
    )
