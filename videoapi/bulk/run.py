"""The bulk engine for creates, deletes and tokens: bounded concurrency, exactly one outcome per input."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from videoapi.bulk.course import Course
from videoapi.bulk.create_job import CreateJob
from videoapi.bulk.inputs import Inputs
from videoapi.bulk.plan import BulkItem, Plan
from videoapi.bulk.report import BulkOutcome, BulkProgress, BulkReport
from videoapi.bulk.sending import Sender, checked_concurrency, failed
from videoapi.config import positive_seconds
from videoapi.errors import ConfigurationError, ConnectionFailed, CredentialsUnavailable, ValidationError, VideoAPIError
from videoapi.pipeline.pipeline import Pipeline

S = TypeVar("S")
GIVE_UP_AFTER: Final = 120.0
_Given = BulkItem | BulkOutcome
"""An input that is ready to be sent, or the outcome of one that already has ended."""


class BulkRun(Generic[S]):
    """A bulk run that yields outcomes as they finish.

    Use it with `async with`, and iterate over it once. Leaving early stops sending, waits for the
    requests in flight, and keeps their outcomes in `report`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputs: Iterable[S] | AsyncIterable[S],
        plan: Plan[S],
        *,
        concurrency: int | None,
        timeout: float | None,
        give_up_after: float,
        progress: BulkProgress | None,
        keep_all: bool = False,
        job: CreateJob | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._job = job
        self._plan = plan
        self._workers = checked_concurrency(concurrency, pipeline.pool.max_connections)
        self._progress = progress
        self._keep_all = keep_all
        self._inputs = Inputs(inputs)
        self._keys: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._finished: asyncio.Queue[BulkOutcome | None] = asyncio.Queue(maxsize=self._workers)
        self._left = False
        self.report = BulkReport()
        limit = positive_seconds("give_up_after", give_up_after) or GIVE_UP_AFTER
        self._course = Course(pipeline.retries.accounts, self.report, positive_seconds("timeout", timeout), limit)
        self._sender = Sender(pipeline, plan.finish, job, self._course, self.report, self._workers)

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[BulkOutcome]:
        """Yield the outcomes as they finish.

        Raises:
            Exception: If the iterator of the inputs raised it, after the outcomes of all inputs read;
                it carries the report as `.report`.
        """
        self._start()
        try:
            while (outcome := await self._finished.get()) is not None:
                yield outcome
        finally:
            await self.aclose()
        if self._inputs.error is not None:
            raise _with_report(self._inputs.error, self.report)

    async def aclose(self) -> None:
        """Stop sending, wait for the requests in flight, and keep their outcomes in `report`."""
        self._left = True
        self._course.stopping = True
        self._drain()
        task = self._task
        try:
            if task is not None:
                await _ended(task)
        except BaseException as error:
            raise _with_report(error, self.report) from None
        finally:
            self._drain()
            self.report.sort()

    def _start(self) -> None:
        if self._left:
            raise ConfigurationError("This run is over; outcomes can be iterated over once.")
        if self._task is None:
            self._pipeline.pool.check()
            self._course.begin()
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        job = self._job
        try:
            if job is not None:
                await self._open(job)
            ready = self._inputs.at_once and not (job is not None and job.remembers)
            await self._pass(self._at_hand() if ready else None)
            if job is not None:
                while absent := deque(await job.settle(self._emit, self._course.must_stop)):
                    await self._send_again(absent)
                if not self._course.stopping:
                    await job.audit(self.report)
        finally:
            self.report.exhausted = self._inputs.exhausted
            for outcome in job.unsettled() if job is not None else ():
                self.report.count(outcome)
            try:
                await self._inputs.aclose()
            finally:
                if job is not None:
                    await job.aclose()
            if not self._left:
                await self._finished.put(None)

    async def _send_again(self, items: deque[BulkItem]) -> None:
        """Resend items proven absent; those left when the run ends are `failed`, because they were sent before."""
        try:
            await self._pass(self._one_by_one(items))
            while items:
                item = items.popleft()
                await self._emit(failed(item, "failed", self.report.stopped or _not_again(item)))
        finally:
            for item in items:
                self.report.count(failed(item, "failed", _not_again(item)))

    async def _open(self, job: CreateJob) -> None:
        try:
            await job.open()
        except CredentialsUnavailable as error:
            self._course.stop(error)
        except ConfigurationError:
            raise
        except VideoAPIError as error:
            self._course.stop(error)

    async def _pass(self, at_hand: Iterator[_Given] | None) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._workers):
                workers.create_task(self._work(at_hand))

    async def _work(self, at_hand: Iterator[_Given] | None) -> None:
        """Process inputs one by one: from `at_hand`, or else inputs that must be awaited."""
        while True:
            item = next(at_hand, None) if at_hand is not None else await self._next_input()
            if item is None:
                return
            outcome = item if isinstance(item, BulkOutcome) else await self._sender.send(item)
            if outcome is not None and self._note(outcome):
                await self._finished.put(outcome)

    # All workers share one generator. It never awaits, so no two of them can be inside it at once.
    def _at_hand(self) -> Iterator[_Given]:
        must_stop, read = self._course.must_stop, self._inputs.next_at_once
        while not must_stop() and (given := read()) is not None:
            yield self._prepared(*given)

    def _one_by_one(self, items: deque[BulkItem]) -> Iterator[_Given]:
        while items and not self._course.must_stop():
            yield items.popleft()

    async def _next_input(self) -> _Given | None:
        inputs, job = self._inputs, self._job
        if self._course.must_stop():
            return None
        # A loop, not recursion: a resumed job may have thousands of unresolved items in a row.
        while (read := inputs.next_at_once() if inputs.at_once else await self._read(inputs)) is not None:
            item = self._prepared(*read)
            if isinstance(item, BulkOutcome) or job is None or not job.remembers:
                return item
            try:
                outcome = await job.recall(item)
            except VideoAPIError as error:
                self._course.stop(error)
                return failed(item, "not_sent", error)
            if outcome is not None or not job.in_doubt(item):
                return outcome or item
        return None

    async def _read(self, inputs: Inputs[S]) -> tuple[int, S] | None:
        return await self._pipeline.until_closed(inputs.next)

    def _prepared(self, index: int, given: S) -> BulkItem | BulkOutcome:
        key = None
        try:
            key = self._plan.key_of(given)
            if key is not None:
                # Compare as text: an outcome file cannot distinguish 7 from "7".
                if (text := str(key)) in self._keys:
                    raise ValidationError(f"The key {key!r} stands twice in this run.", field="key")
                self._keys.add(text)
            return self._plan.prepare(index, given, key)
        except VideoAPIError as error:
            return BulkOutcome(index=index, key=key, status="failed", error=error)

    async def _emit(self, outcome: BulkOutcome) -> None:
        if self._note(outcome):
            await self._finished.put(outcome)

    def _note(self, outcome: BulkOutcome) -> bool:
        """Count an outcome in the report; return whether it must be yielded, and so is not kept there."""
        to_yield = not self._keep_all and not self._left
        self.report.count(outcome, keep=not to_yield)
        if self._progress is not None:
            self._progress(self.report)
        return to_yield

    def _drain(self) -> None:
        """Move queued outcomes to the report, which also unblocks workers waiting to put theirs."""
        while True:
            try:
                outcome = self._finished.get_nowait()
            except asyncio.QueueEmpty:
                return
            if outcome is not None:
                self.report.keep(outcome)

    async def run_to_completion(self) -> BulkReport:
        """Run to completion and return the report, with a row per input.

        Raises:
            Exception: If the iterator of the inputs raised it; it carries the report as `.report`.
        """
        self._start()
        assert self._task is not None
        try:
            await _ended(self._task, at_once=True)
        except BaseException as error:
            raise _with_report(error, self.report) from None
        finally:
            self._left = True
            self.report.sort()
        if self._inputs.error is not None:
            raise _with_report(self._inputs.error, self.report)
        return self.report


async def _ended(task: asyncio.Task[None], *, at_once: bool = False) -> None:
    """Wait for a run to end; raise the error that ended it, not its exception group.

    If the wait is cancelled, the run is cancelled too, and has ended when this raises.

    Args:
        task: The run.
        at_once: Whether to await the run unshielded, so that cancelling the wait cancels it directly.
    """
    try:
        await (task if at_once else asyncio.shield(task))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
    else:
        return
    raise failure


def _not_again(item: BulkItem) -> VideoAPIError:
    return ConnectionFailed(
        f"{item.request.method} {item.request.route.template}: sent, proven not done, and not sent again "
        "as the run ended.",
        method=item.request.method,
        path=item.request.route.template,
        retryable=True,
    )


def _with_report(error: BaseException, report: BulkReport) -> BaseException:
    # An exception class with slots cannot carry the report; the error is raised without it.
    with contextlib.suppress(AttributeError):
        error.report = report  # type: ignore[attr-defined]
    return error
