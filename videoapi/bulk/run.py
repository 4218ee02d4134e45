"""One engine for many creates, deletes and tokens: bounded in flight, exactly one outcome an input."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from videoapi.aimd import Window
from videoapi.bulk.inputs import Inputs
from videoapi.bulk.plan import Item, Plan, Settling
from videoapi.bulk.report import BulkOutcome, BulkReport, Progress, Status
from videoapi.caller import Caller
from videoapi.config import positive_seconds
from videoapi.errors import CallTimeout, ConfigurationError, ConnectionFailed, ValidationError, VideoAPIError
from videoapi.pacing import Gate
from videoapi.rules.failure import error_of
from videoapi.rules.outcome import Outcome, unanswered
from videoapi.rules.verdicts import Kind, Operation, Phase, Scope, Verdict

S = TypeVar("S")
DEFAULT_CONCURRENCY: Final = 32
GIVE_UP_AFTER: Final = 120.0
_Take = Callable[[], Awaitable["Item | BulkOutcome | None"]]


class BulkRun(Generic[S]):
    """A run whose outcomes come one by one, as they finish.

    Use it with `async with`, and iterate over it once. Leaving early stops sending, waits for what
    is in flight, and keeps what that became in `report`.
    """

    def __init__(
        self,
        caller: Caller,
        inputs: Iterable[S] | AsyncIterable[S],
        plan: Plan[S],
        *,
        concurrency: int | None,
        timeout: float | None,
        give_up_after: float,
        progress: Progress | None,
        keep_all: bool = False,
        settling: Settling | None = None,
    ) -> None:
        self._caller = caller
        self._settling = settling
        self._plan = plan
        self._workers = _checked_concurrency(concurrency, caller.manager.max_connections)
        self._timeout = positive_seconds("timeout", timeout)
        self._give_up_after = positive_seconds("give_up_after", give_up_after) or GIVE_UP_AFTER
        self._progress = progress
        self._keep_all = keep_all
        self._window = Window(self._workers, caller.pace.chance.clock)
        self._inputs = Inputs(inputs)
        self._keys: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._finished: asyncio.Queue[BulkOutcome | None] = asyncio.Queue(maxsize=self._workers)
        self._in_flight: set[int] = set()
        self._left = False
        self._stopping = False
        self._gave_up = False
        self._deadline: float | None = None
        self._last_success = 0.0
        self.report = BulkReport()

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
            Exception: What the inputs' own iterator raised, after the outcomes of all that was read;
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
        """Stop sending, wait for what is in flight, and let `report` have it."""
        self._left = True
        self._stopping = True
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
            self._caller.manager.api()
            clock = self._caller.pace.chance.clock
            self._last_success = clock()
            self._deadline = None if self._timeout is None else clock() + self._timeout
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        settling = self._settling
        try:
            if settling is not None:
                await self._open(settling)
            await self._pass(self._next_input)
            if settling is not None:
                while again := deque(await settling.settle(self._emit, self._must_stop)):
                    await self._send_again(again)
                if not self._stopping:
                    await settling.audit(self.report)
        finally:
            self.report.exhausted = self._inputs.exhausted
            for outcome in settling.unsettled() if settling is not None else ():
                self._record(outcome)
            try:
                await self._inputs.aclose()
            finally:
                if settling is not None:
                    await settling.aclose()
            if not self._left:
                await self._finished.put(None)

    async def _send_again(self, items: deque[Item]) -> None:
        """Send what is proven absent; what the run does not come to is a failure, as it was sent before."""
        try:
            await self._pass(_taking(items))
            while items:
                item = items.popleft()
                await self._emit(_failed(item, "failed", self.report.stopped or _not_again(item)))
        finally:
            for item in items:
                self._record(_failed(item, "failed", _not_again(item)))

    async def _open(self, settling: Settling) -> None:
        try:
            await settling.open()
        except ConfigurationError:
            raise
        except VideoAPIError as error:
            self._stop(error)

    async def _pass(self, take: _Take) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._workers):
                workers.create_task(self._work(take))

    async def _work(self, take: _Take) -> None:
        while not self._must_stop():
            item = await take()
            if item is None:
                return
            outcome = item if isinstance(item, BulkOutcome) else await self._send(item)
            if outcome is not None:
                await self._emit(outcome)

    async def _next_input(self) -> Item | BulkOutcome | None:
        # A loop: a job that goes on may have thousands in a row that wait to be settled.
        while (read := await self._inputs.next()) is not None:
            item = self._prepared(*read)
            if isinstance(item, BulkOutcome) or self._settling is None:
                return item
            try:
                outcome = await self._settling.recall(item)
            except VideoAPIError as error:
                self._stop(error)
                return _failed(item, "not_sent", error)
            if outcome is not None or not self._settling.in_doubt(item):
                return outcome or item
        return None

    def _prepared(self, index: int, given: S) -> Item | BulkOutcome:
        key = None
        try:
            key = self._plan.key_of(given)
            if key is not None:
                # By its text: 7 and "7" are told apart in an outcome, but not in a file of outcomes.
                if (text := str(key)) in self._keys:
                    raise ValidationError(f"The key {key!r} stands twice in this run.", field="key")
                self._keys.add(text)
            return self._plan.prepare(index, given)
        except VideoAPIError as error:
            return BulkOutcome(index=index, key=key, status="failed", error=error)

    async def _send(self, item: Item) -> BulkOutcome | None:
        """Send an item; None where it is in doubt, and settled later."""
        try:
            return await self._until_final(item)
        except BaseException:
            # The run is torn down: what is in flight may be done, and is not lost from the report.
            self._record(self._torn_down(item))
            raise

    async def _until_final(self, item: Item) -> BulkOutcome | None:
        """Send one item until something final is known of it; never again once it may be done."""
        error: VideoAPIError | None = None
        resent = 0
        while True:
            outcome = await self._in_turn(item)
            if outcome is None:
                if self._gave_up and error is not None:
                    self._stop(error)
                return _failed(item, "not_sent", error or self.report.stopped)
            judgement = outcome.judgement
            if self._settling is not None:
                self._settling.ended(item, outcome)
            if judgement.verdict is Verdict.DONE:
                return self._plan.finish(item, outcome.value)
            error = error_of(item.request, outcome)
            if judgement.verdict is Verdict.REJECTED:
                if judgement.scope is Scope.ACCOUNT:
                    self._stop(error)
                return _failed(item, "failed", error)
            if judgement.verdict is Verdict.UNKNOWN:
                harmless = item.request.route.operation is Operation.DUPLICABLE
                if harmless and resent < judgement.again and self._may_resend():
                    resent += 1
                    continue
                in_doubt = self._settling is not None and self._settling.in_doubt(item)
                return None if in_doubt else _failed(item, "unknown", error)
            if judgement.kind is Kind.CERTIFICATE:
                self._stop(error)
                return _failed(item, "not_sent", error)

    async def _in_turn(self, item: Item) -> Outcome | None:
        """Send an item once, behind the shared pause and the connect back-off; None where the run ends."""
        pace = self._caller.pace
        if not (pace.connect.closed or pace.throttle.closed):
            return await self._once(item)
        async with _turn(pace.connect, self._must_stop), _turn(pace.throttle, self._must_stop):
            return await self._once(item)

    async def _once(self, item: Item) -> Outcome | None:
        window = self._window
        await window.enter()
        try:
            if self._must_stop():
                return None
            self._in_flight.add(item.index)
            outcome = await self._caller.outcome(item.request)
            self._in_flight.discard(item.index)
            # Before it gives its place back: a window of one is in use only by the item that went well.
            self._weigh(outcome)
        finally:
            window.leave()
        return outcome

    def _weigh(self, outcome: Outcome) -> None:
        """Let the window follow how the service keeps up."""
        verdict = outcome.judgement.verdict
        if verdict is Verdict.DONE:
            self._window.succeeded()
        elif verdict is Verdict.THROTTLED or outcome.status == 503 or outcome.judgement.kind is Kind.TIMEOUT:
            self._window.overloaded()
        self.report.concurrency = self._window.limit
        if outcome.phase is Phase.ANSWERED and verdict is not Verdict.THROTTLED:
            self._last_success = self._caller.pace.chance.clock()

    def _may_resend(self) -> bool:
        return self._caller.pace.budget.spend(Verdict.UNKNOWN) is not None

    def _must_stop(self) -> bool:
        if self._stopping:
            return True
        pace = self._caller.pace
        now = pace.chance.clock()
        refused = pace.connect.closed or pace.throttle.closed
        self._gave_up = refused and now - self._last_success > self._give_up_after
        if self._deadline is not None and now >= self._deadline:
            self._stop(CallTimeout(f"The run's timeout of {self._timeout:g} s ended.", retryable=True))
        self._stopping = self._stopping or self._gave_up
        return self._stopping

    def _stop(self, error: VideoAPIError) -> None:
        self._stopping = True
        self.report.stopped = self.report.stopped or error

    async def _emit(self, outcome: BulkOutcome) -> None:
        self._record(outcome, handed_out=not self._keep_all and not self._left)
        if self._progress is not None:
            self._progress(self.report)
        if not self._keep_all and not self._left:
            await self._finished.put(outcome)

    def _record(self, outcome: BulkOutcome, *, handed_out: bool = False) -> None:
        self.report.count(outcome)
        if not handed_out:
            self.report.keep(outcome)

    def _torn_down(self, item: Item) -> BulkOutcome:
        if item.index not in self._in_flight:
            return _failed(item, "not_sent", None)
        if self._settling is not None:
            self._settling.torn_down(item)
        lost = unanswered(item.request, Phase.SENT, Kind.CONNECTION, "the run was cancelled before the answer")
        return _failed(item, "unknown", error_of(item.request, lost))

    def _drain(self) -> None:
        """Keep what the consumer has left in the queue, and make room for those who wait to put."""
        while True:
            try:
                outcome = self._finished.get_nowait()
            except asyncio.QueueEmpty:
                return
            if outcome is not None:
                self.report.keep(outcome)

    async def to_end(self) -> BulkReport:
        """Run to the end and return the report, with a row for every input.

        Raises:
            Exception: What the inputs' own iterator raised; it carries the report as `.report`.
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
    """Wait for a run's end; raise what broke it, not the group around it.

    Cancelled while waiting, the run is given up, and has ended all the same when this returns.

    Args:
        task: The run.
        at_once: Whether a cancelled wait cancels the run by itself.
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


@contextlib.asynccontextmanager
async def _turn(gate: Gate, gives_up: Callable[[], bool]) -> AsyncGenerator[None, None]:
    if not gate.closed:
        yield
        return
    probing = await gate.enter(gives_up)
    try:
        yield
    finally:
        if probing:
            gate.leave()


def _taking(items: deque[Item]) -> _Take:
    async def take() -> Item | None:
        return items.popleft() if items else None

    return take


def _not_again(item: Item) -> VideoAPIError:
    return ConnectionFailed(
        f"{item.request.method} {item.request.route.template}: sent, proven not done, and not sent again "
        "as the run ended.",
        method=item.request.method,
        path=item.request.route.template,
        retryable=True,
    )


def _failed(item: Item, status: Status, error: VideoAPIError | None) -> BulkOutcome:
    return BulkOutcome(
        index=item.index,
        key=item.key,
        reference=item.request.reference,
        status=status,
        room_id=item.room_id,
        error=error,
    )


def _with_report(error: BaseException, report: BulkReport) -> BaseException:
    # A class with slots cannot carry it; its error is raised all the same.
    with contextlib.suppress(AttributeError):
        error.report = report  # type: ignore[attr-defined]
    return error


def _checked_concurrency(given: int | None, limit: int) -> int:
    if given is None:
        return min(DEFAULT_CONCURRENCY, limit)
    value: object = given
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"concurrency={given!r}: give a whole number, 1 or more.")
    if value > limit:
        raise ConfigurationError(
            f"concurrency={given} is above max_connections={limit}: "
            f"give the client a SessionManager(max_connections={given})."
        )
    return value
