"""Streamed responses: opened (also ahead of time), read in blocks, and classified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, TypeVar

import attrs

from videoapi.errors import CallTimeout, ProtocolError
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.outcome import BodyInterrupted, Outcome
from videoapi.protocol.routes import Request, Route
from videoapi.protocol.types import Verdict
from videoapi.streaming.splitter import Block, ListValue, Read, Splitter

T = TypeVar("T")

MAX_BODY: Final = 1024**3
"""Largest streamed body, inflated, in bytes."""
# Bytes fed to the splitter at a time: a chunk may be 1 MB, and copying that much would block the event loop.
_PIECE: Final = 128 * 1024


class StreamTimeout:
    """The total time a stream may wait for the service; the consumer's own time does not count.

    Args:
        limit: Total seconds, or None for no limit.
        route: The route to name in the error.
    """

    def __init__(self, limit: float | None, route: Route) -> None:
        self._limit = self._left = limit
        self._route = route

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await the service, and deduct the time from the limit.

        Raises:
            CallTimeout: If the limit is used up; resume from the error's `cursor`.
        """
        if self._left is None:
            return await awaitable
        clock = asyncio.get_running_loop().time
        began, limit = clock(), asyncio.timeout(self._left)
        try:
            async with limit:
                return await awaitable
        except TimeoutError:
            if limit.expired():
                raise CallTimeout(
                    f"{self._route.method} {self._route.template}: the stream's timeout of {self._limit:g} s "
                    "ended. Resume from the error's `cursor`.",
                    method=self._route.method,
                    path=self._route.template,
                    retryable=True,
                ) from None
            raise
        finally:
            self._left = max(0.0, self._left - (clock() - began))


class Prefetcher:
    """A prefetcher: opens the next responses while one is read, if permits are free.

    Only their headers are read; their bodies wait in the buffers of the connections. If another stream needs a
    permit, the pool makes it give up responses.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._tasks: dict[str, asyncio.Task[Outcome]] = {}
        self._taken: asyncio.Task[Outcome] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self, request: Request) -> Outcome:
        """Return the opened response to a request, prefetched or opened now."""
        task = self._tasks.pop(request.path, None)
        failed = task is not None and task.done() and (task.cancelled() or task.exception())
        # Do not reuse an earlier failure unless it used all attempts: the service may have recovered since.
        if task is None or (failed and getattr(failed, "attempts", 0) < request.options.retry.attempts):
            return await self._pipeline.open_stream(request)
        # Keep the task until its outcome is received, so that `aclose` closes it after a cancellation.
        self._taken = task
        outcome = await task
        self._taken = None
        return outcome

    def prefetch(self, requests: Iterable[Request]) -> None:
        """Start to open the next responses, in order."""
        pool = self._pipeline.pool
        for request in requests:
            if request.path not in self._tasks:
                if not pool.may_prefetch():
                    return
                if self not in pool.prefetchers:
                    pool.prefetchers.append(self)
                self._tasks[request.path] = asyncio.create_task(self._pipeline.open_stream(request))

    def give_up(self) -> bool:
        """Close the newest response, and return whether there was one."""
        if not self._tasks:
            return False
        _, task = self._tasks.popitem()
        self._close(task)
        return True

    async def aclose(self) -> None:
        """Cancel pending requests and close open responses."""
        if self in self._pipeline.pool.prefetchers:
            self._pipeline.pool.prefetchers.remove(self)
        tasks = [*self._tasks.values(), *([] if self._taken is None else [self._taken])]
        self._tasks, self._taken = {}, None
        for task in tasks:
            self._close(task)
        if self._closing:
            # Not `gather`: a second cancellation of the reader must not reach them, or they would keep their permits.
            await asyncio.wait(self._closing)

    def _close(self, task: asyncio.Task[Outcome]) -> None:
        closing = asyncio.create_task(_close(task))
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        # What was closed may have held no permit: it waited for its turn, or for another attempt.
        self._pipeline.pool.make_room_for_waiting_streams()


async def _close(task: asyncio.Task[Outcome]) -> None:
    """Cancel a pending request, or close its response."""
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(ended, Outcome) and ended.stream is not None:
        await ended.stream.aclose()


@attrs.define(eq=False)
class StreamedResponse:
    """One streamed response.

    `decode` decodes the items of a block in one pass; without it they stay bytes.
    `outcome` is set after the last block: with any verdict but DONE, the records are incomplete.
    `max_bytes` limits the size of the body; None means `MAX_BODY`.
    """

    pipeline: Pipeline
    request: Request
    key: str
    null_is_empty: bool
    timeout: StreamTimeout
    decode: Read | None = None
    outcome: Outcome | None = None
    max_bytes: int | None = None
    attempts: int = 1

    @property
    def done(self) -> bool:
        return self.outcome is not None and self.outcome.verdict is Verdict.DONE

    async def blocks(self, opening: Callable[[], Awaitable[Outcome]]) -> AsyncGenerator[Block, None]:
        """Open the response, and yield its items in blocks as they arrive.

        Raises:
            VideoAPIError: If it cannot be opened, takes too long, or is too large.
        """
        splitter = Splitter(self.key, self.decode)
        opened = await self.timeout.wait(opening())
        self.attempts = opened.attempts
        body = opened.stream
        assert body is not None
        chunks = aiter(body)
        try:
            received = 0
            while splitter.broken is None:
                chunk = await self.timeout.wait(anext(chunks, None))
                if chunk is None:
                    break
                received += len(chunk)
                if received > (self.max_bytes or MAX_BODY):
                    raise self._too_large(body.status)
                for start in range(0, len(chunk), _PIECE):
                    for block in splitter.feed(chunk[start : start + _PIECE]):
                        yield block
                        # Let other tasks run, even if much data is already buffered.
                        await asyncio.sleep(0)
            self.outcome = self._classify(splitter, opened)
            if self.done:
                self.pipeline.read_ended(retried=self.request.options.spent > 0)
        except BodyInterrupted as error:
            self.outcome = self.pipeline.interrupted(self.request, error.reason, error.timed_out, body.status)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
            if not self.done:
                # Not a valid response, even if it was read to its end: its connection must not be reused.
                body.discard()
            await body.aclose()

    def _classify(self, splitter: Splitter, opened: Outcome) -> Outcome:
        status = opened.status or 200
        if splitter.broken is not None:
            return self._malformed(status, opened, splitter.broken)
        if splitter.begun and not splitter.complete:
            return self.pipeline.interrupted(self.request, "the response ends too early", False, status)
        outcome = self.pipeline.classify(self.request, status, opened.headers, splitter.envelope)
        if outcome.verdict is not Verdict.DONE or splitter.found is ListValue.LIST:
            return outcome
        if splitter.found is ListValue.NULL and self.null_is_empty:
            return outcome
        return self._malformed(status, opened, f"{self.key!r} is {splitter.found.value}, not a list")

    def _malformed(self, status: int, opened: Outcome, reason: str) -> Outcome:
        outcome = self.pipeline.classify(self.request, status, opened.headers, b"")
        return attrs.evolve(outcome, reason=reason)

    def _too_large(self, status: int) -> ProtocolError:
        return ProtocolError(
            f"{self.request.method} {self.request.route.template}: the response is larger than "
            + (f"{self.max_bytes // 1024**3} GiB." if self.max_bytes else "1 GiB. Ask for a shorter period."),
            method=self.request.method,
            path=self.request.route.template,
            status=status,
            attempts=1,
        )


def with_fewer_attempts(request: Request, spent: int) -> Request:
    """Return a request whose retries leave out the attempts that were made already."""
    if not spent:
        return request
    policy = request.options.retry
    retry = attrs.evolve(policy, attempts=max(1, policy.attempts - spent))
    return attrs.evolve(request, options=attrs.evolve(request.options, retry=retry, spent=spent))
