"""Reads windows in order, and reads a window again if its response breaks off, without duplicates."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any, Final, Generic, TypeVar

import attrs

from videoapi.errors import ProtocolError, VideoAPIError
from videoapi.models.codec import RecordDecoder
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.streaming.record_filter import RecordFilter, Rejected
from videoapi.streaming.streamed_response import Prefetcher, StreamedResponse, StreamTimeout
from videoapi.streaming.windows import Cursor, Window

R = TypeVar("R")

MAX_PREFETCHED: Final = 2
"""Maximum number of windows opened ahead while one is read."""

log = logging.getLogger("videoapi.streaming")


@attrs.frozen(kw_only=True)
class Query(Generic[R]):
    """The query of a stream: what to request, and how to decode the records.

    Args:
        name: The query in words, stored in its cursors.
        windows: The windows into which it is split.
        request: Returns the request for a window.
        key: The key of the list in a response.
        decoder: Decodes the records.
        identity: Returns the identity of a record, which is the same when the record is read again.
        day: Returns the UTC day of a record. None if the query has no dates.
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


@attrs.frozen
class Batch(Generic[R]):
    """Records of one block; `before` is the number of records that precede them in the window."""

    window: Window
    before: int
    records: list[R]


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
        self.restarted = False
        self.filter: RecordFilter[R] = RecordFilter(
            query.identity, query.day, strict=strict, on_rejected=self._log_rejected
        )
        self._pipeline = pipeline
        self._query = query
        self._start = start
        self._windows = windows
        self._timeout = StreamTimeout(timeout, query.request(windows[0]).route)

    async def batches(self) -> AsyncGenerator[Batch[R], None]:
        """Yield the records of all windows, in order.

        Raises:
            VideoAPIError: If a window cannot be read, even after retries.
        """
        prefetcher = Prefetcher(self._pipeline)
        after, count = self._start.after, self._start.count
        try:
            for nth, window in enumerate(self._windows):
                later = [self._query.request(one) for one in self._windows[nth + 1 :][:MAX_PREFETCHED]]
                async with aclosing(self._window(window, after, count, prefetcher, later)) as batches:
                    async for batch in batches:
                        yield batch
                after, count = None, 0
        finally:
            await prefetcher.aclose()

    async def _window(
        self, window: Window, after: str | None, count: int, prefetcher: Prefetcher, later: Sequence[Request]
    ) -> AsyncGenerator[Batch[R], None]:
        request, record_filter = self._query.request(window), self.filter
        # Attempts since the last new record, in one place: those that open a response, and those that read it.
        spent = 0
        while True:
            record_filter.begin(window, after, count)
            response = self._response(_with_fewer_attempts(request, spent))
            progressed = False
            async with aclosing(self._read(response, prefetcher, later, spent)) as kept:
                async for records in kept:
                    progressed = True
                    yield Batch(window, record_filter.ordinal - len(records), records)
                    after, count = record_filter.last, record_filter.ordinal
            if record_filter.stopped_at is not None:
                raise _unreadable(request, record_filter.stopped_at)
            if not response.done:
                spent = 1 if progressed else spent + response.attempts
                await self._retry(request, response.outcome, spent)
            elif record_filter.skipping:
                log.warning("The cursor's record no longer exists; reading window %s from the start.", window)
                self.restarted, after, count = True, None, 0
            else:
                return

    def _response(self, request: Request) -> StreamedResponse:
        query = self._query
        return StreamedResponse(
            self._pipeline, request, query.key, query.null_is_empty, self._timeout, query.decoder.decode_list
        )

    async def _read(
        self, response: StreamedResponse, prefetcher: Prefetcher, later: Sequence[Request], spent: int
    ) -> AsyncGenerator[list[R], None]:
        async def opening() -> Outcome:
            try:
                outcome = await prefetcher.take(response.request)
            except VideoAPIError as error:
                error.attempts += spent
                raise
            prefetcher.prefetch(later)
            return outcome

        async with aclosing(response.blocks(opening)) as blocks:
            async for block in blocks:
                kept = self.filter.filter(block, self._query.decoder.decode_block(block.items))
                if kept:
                    yield kept
                if self.filter.stopped_at is not None:
                    return
                prefetcher.prefetch(later)

    async def _retry(self, request: Request, outcome: Outcome | None, spent: int) -> None:
        assert outcome is not None
        again = await self._timeout.wait(self._pipeline.retry_read(request, outcome, spent))
        if not again:
            raise self._pipeline.error(outcome, request, spent)
        log.debug("%s %s: the response broke off; reading it again.", request.method, request.route.template)

    def _log_rejected(self, rejected: Rejected) -> None:
        place = (rejected.window, rejected.index, rejected.offset, rejected.reason)
        if self.filter.rejected_count == 1:
            log.warning(
                "Skipped a record of %s that cannot be parsed: window %s, index %d, offset %d: %s. "
                "Further ones are logged at DEBUG.",
                self._query.name,
                *place,
            )
        else:
            log.debug("Skipped a record: window %s, index %d, offset %d: %s", *place)


def _with_fewer_attempts(request: Request, spent: int) -> Request:
    """Return a request whose retries leave out the attempts that were made already."""
    if not spent:
        return request
    policy = request.options.retry
    retry = attrs.evolve(policy, attempts=max(1, policy.attempts - spent))
    return attrs.evolve(request, options=attrs.evolve(request.options, retry=retry))


def _unreadable(request: Request, rejected: Rejected) -> VideoAPIError:
    return ProtocolError(
        f"{request.method} {request.route.template}: a record cannot be read (window {rejected.window}, "
        f"index {rejected.index}, offset {rejected.offset}): {rejected.reason}",
        method=request.method,
        path=request.route.template,
        attempts=1,
    )
