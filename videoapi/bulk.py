"""One engine for many creates, deletes and tokens: bounded in flight, exactly one outcome an input."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar

import attrs

from videoapi.caller import Caller
from videoapi.config import positive_seconds
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.pacing import Gate
from videoapi.rules.failure import error_of
from videoapi.rules.outcome import Outcome, unanswered
from videoapi.rules.routes import Options, Request
from videoapi.rules.verdicts import Kind, Operation, Phase, Scope, Verdict

Status = Literal["created", "deleted", "failed", "unknown", "not_sent"]
S = TypeVar("S")
DEFAULT_CONCURRENCY: Final = 32
GIVE_UP_AFTER: Final = 120.0


@attrs.frozen(kw_only=True)
class BulkOutcome:
    """What one input of a bulk run ended as.

    Args:
        index: The input's place, from 0.
        key: The input's key as it was given, or None where it has none; a delete's key is its room id.
        reference: The mark of a create; the room carries it if it exists.
        status: `created`, `deleted`, `failed` (certainly not done), `unknown` (may be done) or
            `not_sent`.
        room_id: The room made, deleted, or that the token is for.
        token: The token issued; its text comes only from `.value`.
        error: Why not.
        room: The room made, where the run keeps rooms.
    """

    index: int
    key: Any = None
    reference: str | None = None
    status: Status
    room_id: str | None = None
    token: Any = None
    error: VideoAPIError | None = None
    room: Any = None


@attrs.define(kw_only=True)
class BulkReport:
    """What a run has done; it grows while the run goes on.

    Args:
        total: Inputs that have an outcome.
        counts: How many ended as what, by status.
        made: Outcomes that are `created` or `deleted`, by index.
        failures: Outcomes that are `failed`, by index.
        unknown: Outcomes that nobody knows, by index; a create's `reference` finds its room.
        not_sent: Outcomes of inputs that were read but not sent, by index.
        exhausted: Whether the inputs were read to their end.
        stopped: What stopped the run before that, if anything did.
    """

    total: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)
    made: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    failures: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    unknown: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    not_sent: list[BulkOutcome] = attrs.field(factory=list, repr=False)
    exhausted: bool = False
    stopped: VideoAPIError | None = None

    def _count(self, outcome: BulkOutcome) -> None:
        self.total += 1
        self.counts[outcome.status] += 1

    def _keep(self, outcome: BulkOutcome) -> None:
        match outcome.status:
            case "created" | "deleted":
                self.made.append(outcome)
            case "failed":
                self.failures.append(outcome)
            case "unknown":
                self.unknown.append(outcome)
            case "not_sent":
                self.not_sent.append(outcome)

    def _sort(self) -> None:
        for rows in (self.made, self.failures, self.unknown, self.not_sent):
            rows.sort(key=lambda outcome: outcome.index)


Progress = Callable[[BulkReport], object]
"""Called after each outcome with the report so far; it must not block."""


@attrs.frozen(kw_only=True)
class Item:
    """One input, ready to be sent."""

    index: int
    request: Request
    key: Any = None
    room_id: str | None = None
    given: Any = None


@attrs.frozen(kw_only=True)
class Plan(Generic[S]):
    """What a kind of run does: how an input becomes a request, and an answer an outcome."""

    prepare: Callable[[int, S], Item]
    key_of: Callable[[S], Any]
    finish: Callable[[Item, Any], BulkOutcome]


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
    ) -> None:
        self._caller = caller
        self._plan = plan
        self._workers = _checked_concurrency(concurrency, caller.manager.max_connections)
        self._timeout = positive_seconds("timeout", timeout)
        self._give_up_after = positive_seconds("give_up_after", give_up_after) or GIVE_UP_AFTER
        self._progress = progress
        self._keep_all = keep_all
        self._inputs = _Inputs(inputs)
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
            self.report._sort()

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
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._workers):
                    workers.create_task(self._work())
        finally:
            self.report.exhausted = self._inputs.exhausted
            await self._inputs.aclose()
            if not self._left:
                await self._finished.put(None)

    async def _work(self) -> None:
        while not self._must_stop():
            read = await self._inputs.next()
            if read is None:
                return
            await self._emit(await self._outcome_of(*read))

    async def _outcome_of(self, index: int, given: S) -> BulkOutcome:
        key = None
        try:
            key = self._plan.key_of(given)
            if key is not None:
                # By its text: 7 and "7" are told apart in an outcome, but not in a file of outcomes.
                if (text := str(key)) in self._keys:
                    raise ValidationError(f"The key {key!r} stands twice in this run.", field="key")
                self._keys.add(text)
            item = self._plan.prepare(index, given)
        except VideoAPIError as error:
            return BulkOutcome(index=index, key=key, status="failed", error=error)
        return await self._send(item)

    async def _send(self, item: Item) -> BulkOutcome:
        try:
            return await self._until_final(item)
        except BaseException:
            # The run is torn down: what is in flight may be done, and is not lost from the report.
            self._record(self._torn_down(item))
            raise

    async def _until_final(self, item: Item) -> BulkOutcome:
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
                return _failed(item, "unknown", error)
            if judgement.kind is Kind.CERTIFICATE:
                self._stop(error)
                return _failed(item, "not_sent", error)

    async def _in_turn(self, item: Item) -> Outcome | None:
        """Send an item once, behind the shared pause and the connect back-off; None where the run ends."""
        pace = self._caller.pace
        async with _turn(pace.connect, self._must_stop), _turn(pace.throttle, self._must_stop):
            if self._must_stop():
                return None
            self._in_flight.add(item.index)
            outcome = await self._caller.outcome(item.request)
            self._in_flight.discard(item.index)
        if outcome.phase is Phase.ANSWERED and outcome.verdict is not Verdict.THROTTLED:
            self._last_success = pace.chance.clock()
        return outcome

    def _may_resend(self) -> bool:
        return self._caller.pace.budget.spend(Verdict.UNKNOWN) is not None

    def _must_stop(self) -> bool:
        if self._stopping or self._inputs.error is not None:
            return True
        pace = self._caller.pace
        now = pace.chance.clock()
        refused = pace.connect.closed or pace.throttle.closed
        self._gave_up = refused and now - self._last_success > self._give_up_after
        self._stopping = self._gave_up or (self._deadline is not None and now >= self._deadline)
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
        self.report._count(outcome)
        if not handed_out:
            self.report._keep(outcome)

    def _torn_down(self, item: Item) -> BulkOutcome:
        if item.index not in self._in_flight:
            return _failed(item, "not_sent", None)
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
                self.report._keep(outcome)

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
            self.report._sort()
        if self._inputs.error is not None:
            raise _with_report(self._inputs.error, self.report)
        return self.report


class _Inputs(Generic[S]):
    """Reads any iterable or async iterable lazily, one input at a time."""

    def __init__(self, inputs: Iterable[S] | AsyncIterable[S]) -> None:
        self._sync: Iterator[S] | None = None
        self._async: AsyncIterator[S] | None = None
        if isinstance(inputs, AsyncIterable):
            self._async = aiter(inputs)
        elif isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
            self._sync = iter(inputs)
        else:
            raise ConfigurationError("A bulk run reads an iterable or async iterable of inputs.")
        self._lock = asyncio.Lock()
        self._next_index = 0
        self.exhausted = False
        self.error: Exception | None = None

    async def next(self) -> tuple[int, S] | None:
        """Return the next input with its index; None at the end, or after an error of the iterator."""
        if self._sync is not None:
            return self._step(self._sync)
        async with self._lock:
            if self.exhausted or self.error is not None:
                return None
            assert self._async is not None
            try:
                given = await anext(self._async)
            except StopAsyncIteration:
                self.exhausted = True
                return None
            except Exception as error:
                self.error = error
                return None
            return self._numbered(given)

    async def aclose(self) -> None:
        """Close the caller's generator, so that it does not wait for the collector."""
        close: Callable[[], Awaitable[object]] | None = getattr(self._async, "aclose", None)
        if close is not None:
            await close()

    def _step(self, inputs: Iterator[S]) -> tuple[int, S] | None:
        if self.exhausted or self.error is not None:
            return None
        try:
            return self._numbered(next(inputs))
        except StopIteration:
            self.exhausted = True
        except Exception as error:
            self.error = error
        return None

    def _numbered(self, given: S) -> tuple[int, S]:
        index = self._next_index
        self._next_index += 1
        return index, given


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


def single_attempt(options: Options) -> Options:
    """Return the limits of a bulk item: one attempt, as the run decides whether there is another."""
    return attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))


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
