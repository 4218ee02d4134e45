"""The bulk engine for creates, deletes and tokens: bounded concurrency, exactly one outcome per input."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Iterable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import attrs

from videoapi.bulk.audit import NOT_CHECKED
from videoapi.bulk.compact import SeenKeys
from videoapi.bulk.create_job import CreateJob
from videoapi.bulk.inputs import Inputs
from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.report import BulkProgress, BulkReport
from videoapi.bulk.sending import BulkItem, Job, Plan, Sender, checked_concurrency, failed
from videoapi.config import positive_seconds
from videoapi.creation.patience import Patience
from videoapi.errors import ConfigurationError, ConnectionFailed, CredentialsUnavailable, ValidationError, VideoAPIError
from videoapi.pipeline.cancellation import CancellationWatch, Iteration, UserCodeCancelled
from videoapi.pipeline.pipeline import Pipeline

log: logging.Logger = logging.getLogger(__name__)

S = TypeVar("S")
GIVE_UP_AFTER: Final = 120.0
_WORKER_CANCELLED: Final = (
    "User code, such as a middleware or progress=, or the end of the event loop cancelled a task of the run. "
    "See the report."
)
_ONE_CONSUMER: Final = "The outcomes of a run can be iterated over once, by one consumer."
_ITERATION_CANCELLED: Final = (
    "The iteration was cancelled, which ended the run; the report has its outcomes. To continue after a timeout around "
    "`anext`, use the run with `async with`."
)


class BulkRun(Generic[S]):
    """A bulk run that yields outcomes as they finish.

    Use it with `async with`, and iterate over it once. Leaving early stops sending, waits for the
    requests in flight, and keeps their outcomes in `report`.
    """

    report: BulkReport
    """The report, updated while the run proceeds."""

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
        self._keys = SeenKeys()
        self._absent: deque[BulkItem] = deque()
        self._task: asyncio.Task[None] | None = None
        self._finished: asyncio.Queue[BulkOutcome | None] = asyncio.Queue(maxsize=self._workers)
        self._working: list[asyncio.Task[None]] = []
        self._yielding: set[asyncio.Task[None] | None] = set()
        self._iterated = self._left = self._over = self._abandoned = False
        self._entered = self._cancelled = self._audited = self._waiting = False
        self.report = BulkReport()
        fence = None if job is None else job.fence
        self._give_up_after = positive_seconds("give_up_after", give_up_after) or GIVE_UP_AFTER
        self._sender = Sender(
            pipeline,
            plan.finish,
            job or Job(),
            self.report,
            workers=self._workers,
            timeout=positive_seconds("timeout", timeout),
            give_up_after=self._give_up_after,
            stopped=self._inputs.stop,
            fence=fence,
            overdue=self._cut_off,
        )
        must_pass = None if fence is None else fence.lets_pass
        options = attrs.evolve(pipeline.options, must_stop=self._sender.must_stop, fence=must_pass)
        if plan.sends_once:
            options = attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))
        self._options = options

    # What the consumer calls

    async def __aenter__(self) -> Self:
        self._start()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[BulkOutcome]:
        """Yield the outcomes as they finish.

        Within `async with`, cancelling the wait for an outcome, such as by a timeout around `anext`, does not end the
        iteration.

        Raises:
            ConfigurationError: At once, if the run is iterated over a second time, or is over; also if the iteration
                was cancelled outside of `async with`, which ended the run.
            VideoAPIError: At the end, what stopped the run (`report.stopped`) before all inputs were read, or before
                all outcomes were yielded. The others are in the report.
            Exception: At the end, what the iterator of the inputs raised. Both carry the report as `.report`.
        """
        if self._iterated or self._left:
            raise ConfigurationError(_ONE_CONSUMER)
        self._iterated = True
        return Iteration(self._outcomes(), self._resumed, self.aclose)

    def _resumed(self) -> AsyncGenerator[BulkOutcome, None] | None:
        if self._waiting:
            raise ConfigurationError(_ONE_CONSUMER)
        if not self._cancelled:
            return None
        if not self._entered:
            raise _with_report(ConfigurationError(_ITERATION_CANCELLED), self.report)
        self._cancelled = False
        return self._outcomes(resumed=True)

    async def _outcomes(self, *, resumed: bool = False) -> AsyncGenerator[BulkOutcome, None]:
        if not resumed:
            self._start()
        try:
            while not (self._over and self._finished.empty()):
                self._waiting = True
                try:
                    outcome = await self._finished.get()
                finally:
                    self._waiting = False
                if outcome is None:
                    break
                yield outcome
            await self.aclose()
        except asyncio.CancelledError as cancelled:
            self._cancelled = True
            raise _with_report(cancelled, self.report) from None
        finally:
            # After a cancellation, `async with` closes the run, unless the consumer continues.
            if not (self._cancelled and self._entered):
                await self.aclose()
        ended_early = not self.report.exhausted or self.report.has_rows
        error = self._inputs.error or (self.report.stopped if ended_early else None)
        if error is not None:
            raise _with_report(error, self.report)

    def _put_back(self, outcome: BulkOutcome) -> None:
        """Keep an outcome that was taken, but did not reach the consumer."""
        self.report.keep(outcome)

    async def run_to_completion(self) -> BulkReport:
        """Run to completion and return the report, with a row per input.

        Raises:
            Exception: If the iterator of the inputs raised it; it carries the report as `.report`.
        """
        self._start()
        assert self._task is not None
        try:
            await self._wait_for(self._task)
        except BaseException as error:
            raise _with_report(error, self.report) from None
        finally:
            self._left = True
            self.report.sort()
        if self._inputs.error is not None:
            raise _with_report(self._inputs.error, self.report)
        return self.report

    async def _wait_for(self, task: asyncio.Task[None]) -> None:
        """Wait for the run to end, and raise the error that ended it.

        If the wait is cancelled, the run is cancelled too, and has ended when this raises.
        """
        try:
            if not task.done():
                await asyncio.wait([task])
        except asyncio.CancelledError:
            self._abandoned = True
            task.cancel()
            await asyncio.wait([task])
            raise
        if not task.cancelled():
            task.result()
        elif not self._abandoned:
            # By user code, before it began.
            self._sender.stop(UserCodeCancelled(_WORKER_CANCELLED))

    async def aclose(self) -> None:
        """Stop sending, wait for the requests in flight, and keep their outcomes in `report`.

        Called by `progress=` or by the iterator of the inputs, it only stops the run, which waits for both.

        Raises:
            ConfigurationError: If the run belongs to another event loop and has not ended. It continues.
        """
        self._check_loop()
        self._sender.stop()
        current = asyncio.current_task()
        if current in self._working or current is self._inputs.task or (current is not None and current is self._task):
            return
        self._left = True
        self._drain()
        task = self._task
        try:
            if task is not None:
                await self._wait_for(task)
        except BaseException as error:
            raise _with_report(error, self.report) from None
        finally:
            self._drain()
            self.report.sort()
            # A consumer may wait in another task, or iterate on.
            self._end()

    def _start(self) -> None:
        if self._left:
            raise ConfigurationError("This run is over.")
        self._check_loop()
        if self._task is None:
            self._pipeline.pool.check()
            self._task = asyncio.get_running_loop().create_task(self._run())
            # Also if it is cancelled before it begins.
            self._task.add_done_callback(lambda _: self._end())

    def _check_loop(self) -> None:
        task = self._task
        # One that has ended may be of an event loop that has, too.
        if task is not None and not task.done() and task.get_loop() is not asyncio.get_running_loop():
            raise ConfigurationError("The run belongs to another event loop. Close it there.")

    # The run

    async def _run(self) -> None:
        name = f"{self._plan.name}_{'many' if self._keep_all else 'each'}"
        # In the task of the run, so that its workers inherit the context.
        with self._pipeline.recording(name, is_run=True) as recorded:
            try:
                await self._run_to_end()
            except asyncio.CancelledError:
                if not self._abandoned:
                    self._sender.stop(UserCodeCancelled(_WORKER_CANCELLED))
                    return
                self._left = True
                self._drain()
                self._end()
                raise
            finally:
                if recorded is not None:
                    error = self._inputs.error or self.report.stopped
                    recorded.ran(self.report.totals, self.report.counts["unknown"], error)

    async def _run_to_end(self) -> None:
        job = self._job
        self._sender.begin()
        try:
            # Nothing is sent for an empty input.
            if await self._pipeline.until_closed(self._inputs.peek) and (job is None or await self._open(job)):
                await self._pass()
                while job is not None and job.unsettled:
                    await job.settle(self._emit, self._absent)
                    if job.failure is not None and not self._inputs.exhausted:
                        self._sender.stop(job.failure)
                    elif self._pipeline.timer.closed:
                        self._sender.stop(ConfigurationError("The client is closed."))
                    await self._pass()
                while self._absent:
                    await self._emit(_not_sent_again(self._absent.popleft(), self.report.stopped))
                if job is not None and not self._sender.stopping:
                    self._audited = True
                    await job.audit()
            for given in self._inputs.take_unclaimed():
                await self._emit(self._unsent(*given))
        finally:
            self._sender.end()
            await self._close(job)

    async def _close(self, job: CreateJob | None) -> None:
        """Give every input that was read an outcome, and close what the run has opened."""
        try:
            await self._inputs.aclose()
        finally:
            self.report.exhausted = self._inputs.exhausted
            for absent in self._absent:
                self.report.count(_not_sent_again(absent, self.report.stopped))
            for given in self._inputs.take_unclaimed():
                self.report.count(self._unsent(*given))
            try:
                if job is not None:
                    for outcome in job.give_up():
                        self.report.count(outcome)
                self._forget_timeout(job)
                if job is not None:
                    await self._close_job(job)
            finally:
                self._end()

    def _forget_timeout(self, job: CreateJob | None) -> None:
        """Remove the run's timeout from the report if it ended nothing but the final audit."""
        report, error = self.report, self._sender.timed_out
        if error is None or report.stopped is not error or not report.is_done:
            return
        report.stopped = None
        if job is not None and job.audits and not self._audited:
            log.warning("%s: %s", NOT_CHECKED, error)

    def _end(self) -> None:
        # Without waiting for a place: a consumer that never reads on must not keep the run from ending.
        self._over = True
        if not self._finished.full():
            self._finished.put_nowait(None)

    async def _close_job(self, job: CreateJob) -> None:
        try:
            await job.aclose()
        except ConfigurationError as error:
            # The journal: all outcomes are known, but a later run will not find them there.
            self.report.stopped = self.report.stopped or error

    async def _open(self, job: CreateJob) -> bool:
        patience = Patience(
            give_up_after=self._give_up_after,
            stopping=self._sender.must_stop,
            waits_until=job.waits_until,
        )
        try:
            async with asyncio.timeout_at(self._sender.latest):
                await job.open(self.report, patience, self._first_key(), self._all_keys)
        except VideoAPIError as error:
            of_user_code = isinstance(error, CredentialsUnavailable | UserCodeCancelled)
            if isinstance(error, ConfigurationError) and not (of_user_code or self._pipeline.timer.closed):
                raise
            self._sender.stop(error)
            return False
        except Exception as error:
            kind = type(error).__name__
            stopped = ConfigurationError(f"Looking for rooms of an earlier run: a middleware raised {kind}.")
            stopped.__cause__ = error
            self._sender.stop(stopped)
            return False
        return True

    def _first_key(self) -> object:
        first = self._inputs.first
        try:
            return None if first is None else self._plan.key_of(first)
        except Exception:
            # The failure of its item.
            return None

    def _all_keys(self) -> list[object] | None:
        """Return the keys of all inputs, or None if they are not known yet."""
        inputs = self._inputs.listed
        try:
            return None if inputs is None else [self._plan.key_of(given) for given in inputs]
        except Exception:
            return None

    async def _pass(self) -> None:
        """Send what is to be sent again, then read on, until the inputs or the run end or too many are in doubt."""
        loop = asyncio.get_running_loop()
        self._working = workers = [loop.create_task(self._work()) for _ in range(self._workers)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            if not self._sender.must_stop() and any(worker.cancelled() for worker in workers):
                self._sender.stop(UserCodeCancelled(_WORKER_CANCELLED))
        except asyncio.CancelledError:
            # Also for a worker in user code that swallows its cancellation.
            self._sender.stop()
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error

    async def _work(self) -> None:
        while (item := await self._next()) is not None:
            if isinstance(item, BulkOutcome):
                await self._emit(item)
                # Thousands of invalid inputs must not hold up the event loop.
                await asyncio.sleep(0)
            elif (outcome := await self._sender.send(item)) is not None:
                await self._emit(outcome)

    async def _next(self) -> BulkItem | BulkOutcome | None:
        """Return the next item to send, or the outcome of an input that needs no request."""
        job, sender = self._job, self._sender
        if self._absent and not sender.must_stop():
            item = self._absent.popleft()
            assert job is not None
            return await self._noted(item, job.sends_again(item))
        while not sender.must_stop() and not (job is not None and job.full):
            given = self._inputs.next_at_once() if self._inputs.at_once else await self._read()
            if given is None:
                return None
            prepared = self._prepared(*given)
            if job is None:
                return prepared
            if isinstance(prepared, BulkOutcome):
                return await self._noted(prepared, job.recall_invalid(prepared))
            outcome = await self._noted(prepared, job.recall(prepared))
            if isinstance(outcome, BulkOutcome) or not job.in_doubt(prepared):
                return outcome
        return None

    async def _read(self) -> tuple[int, S] | None:
        try:
            return await self._pipeline.until_closed(self._inputs.next)
        except ConfigurationError as error:
            # The client is closed.
            self._sender.stop(error)
            return None

    async def _noted(
        self, prepared: BulkItem | BulkOutcome, note: Awaitable[BulkOutcome | None]
    ) -> BulkItem | BulkOutcome:
        """Await what the job knows about an input, and its journal; return the item if it may be sent."""
        try:
            return await note or prepared
        except VideoAPIError as error:
            self._sender.stop(error)
            return _not_sent(prepared, error)
        except BaseException:
            self.report.count(_not_sent(prepared, None))
            raise

    def _prepared(self, index: int, given: S) -> BulkItem | BulkOutcome:
        key = None
        try:
            key = self._plan.key_of(given)
            if key is not None and not self._keys.add(key):
                raise ValidationError(f"The key {key!r} appears twice in this run.", field="key")
            return self._plan.prepare(index, given, key, self._options)
        except VideoAPIError as error:
            # A traceback keeps its frames, and the report may keep thousands of these errors.
            problem = error.with_traceback(None)
        except (Exception, asyncio.CancelledError) as error:
            # Such as a key whose hash raises, or data nested too deeply.
            problem = ValidationError(f"The input cannot be read: it raised {type(error).__name__}.")
            problem.__cause__ = error
        return BulkOutcome(index=index, key=key, status="failed", error=problem, spec=given)

    def _unsent(self, index: int, given: S) -> BulkOutcome:
        return _not_sent(self._prepared(index, given), self.report.stopped)

    async def _emit(self, outcome: BulkOutcome) -> None:
        """Count an outcome in the report, and yield it unless the report keeps it."""
        to_yield = not self._keep_all and not self._left
        self.report.count(outcome, keep=not to_yield)
        try:
            if self._progress is not None:
                await self._show_progress(self._progress)
            if to_yield:
                await self._yield(outcome)
        except BaseException:
            if to_yield:
                self.report.keep(outcome)
            raise

    async def _yield(self, outcome: BulkOutcome) -> None:
        task = asyncio.current_task()
        self._yielding.add(task)
        try:
            await self._finished.put(outcome)
        finally:
            self._yielding.discard(task)

    def _cut_off(self) -> None:
        """Cancel the workers that a middleware or `progress=` holds up, but not those that wait for the consumer."""
        for worker in self._working:
            if worker not in self._yielding:
                worker.cancel()

    async def _show_progress(self, progress: BulkProgress) -> None:
        watch = CancellationWatch()
        try:
            shown = progress(self.report)
            if inspect.isawaitable(shown):
                async with asyncio.timeout_at(self._sender.latest):
                    await shown
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and watch.is_cancelled():
                raise
            # It does not change the outcome.
            log.exception("progress= raised an error")

    def _drain(self) -> None:
        """Move queued outcomes to the report, which also unblocks workers waiting to put theirs."""
        while True:
            try:
                outcome = self._finished.get_nowait()
            except asyncio.QueueEmpty:
                return
            if outcome is not None:
                self.report.keep(outcome)


def _not_sent(prepared: BulkItem | BulkOutcome, error: VideoAPIError | None) -> BulkOutcome:
    if isinstance(prepared, BulkOutcome):
        # Whether an earlier run has created the room of an invalid input was not looked up.
        return attrs.evolve(prepared, status="not_sent")
    return failed(prepared, "not_sent", error)


def _not_sent_again(item: BulkItem, stopped: VideoAPIError | None) -> BulkOutcome:
    """Return the outcome of an item that was sent, was proven absent, and was not sent again."""
    where = f"{item.request.method} {item.request.route.template}"
    error = ConnectionFailed(
        f"{where}: sent, proven not executed, and not sent again as the run ended.",
        method=item.request.method,
        path=item.request.route.template,
        reference=item.request.reference,
        retryable=True,
    )
    return failed(item, "failed", stopped or error)


def _with_report(error: BaseException, report: BulkReport) -> BaseException:
    # An exception class with slots cannot carry the report; the error is raised without it.
    with contextlib.suppress(AttributeError):
        error.report = report  # type: ignore[attr-defined]
    return error
