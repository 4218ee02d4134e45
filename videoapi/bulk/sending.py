"""What a bulk run does with one item: sends it until its outcome is final or unresolved, or until the run ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import attrs
import msgspec

from videoapi.bulk.concurrency import AIMDLimit
from videoapi.bulk.lease import Fence
from videoapi.bulk.outcome import BulkOutcome, Status
from videoapi.bulk.report import BulkReport
from videoapi.errors import CallTimeout, ConfigurationError, VideoAPIError
from videoapi.pipeline.accounts import AccountState
from videoapi.pipeline.pause import PauseGate
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome, no_response
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import NEVER, Classification, ErrorKind, Operation, Phase, Scope, Verdict

S = TypeVar("S")
DEFAULT_CONCURRENCY: Final = 32
_GRACE: Final = 1.0
"""How much later than its last attempt a run may end at its timeout, in seconds."""


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One input, ready to be sent."""

    index: int
    request: Request
    given: Any
    key: Any = None
    room_id: str | None = None


@attrs.frozen(kw_only=True)
class Plan(Generic[S]):
    """One kind of bulk operation: how an input becomes a request, and a response an outcome.

    Args:
        name: The name of the route, such as `rooms.create`.
        key_of: Returns an input's key, or None.
        prepare: Makes the item from an input's index, the input, its key, and the options of its request.
        finish: Makes the outcome from an item and the value of its success.
        sends_once: Whether a call is one attempt, because the run itself decides about repetition.
    """

    name: str
    key_of: Callable[[S], Any]
    prepare: Callable[[int, S, Any, Options], BulkItem]
    finish: Callable[[BulkItem, Any], BulkOutcome]
    sends_once: bool = False


def key_of(spec: object) -> Any:
    """Return the key of an input, or None.

    Accepts any object: an input that is not a spec fails later, with its own outcome.
    """
    return getattr(spec, "key", None)


class Job:
    """What a run of one kind of operation records about its items; nothing for deletes and tokens."""

    audits: bool = False
    """Whether the list of rooms is read at the end."""

    def ended(self, item: BulkItem, outcome: Outcome) -> None:
        """Record what an attempt has proved."""

    def not_sent(self, item: BulkItem) -> None:
        """Record that an item will not be sent in this run, and that no attempt of it was executed."""

    def in_doubt(self, item: BulkItem) -> bool:
        """Return whether an item is unresolved."""
        return False

    def torn_down(self, item: BulkItem) -> None:
        """Record that an item was abandoned in flight."""


class Sender:
    """The sender of bulk items, and the end of their run: its timeout, an error of the account, `give_up_after`.

    The path without errors is short: it creates no task and no timer.

    Args:
        pipeline: Sends the requests.
        finish: Converts the value of a success into an outcome.
        job: Records each result.
        report: The report of the run; receives the error that stopped it.
        workers: Maximum number of items in flight.
        timeout: Limit of the whole run, in seconds, or None.
        give_up_after: Seconds for which items may be refused, without any other response, before the run ends.
        stopped: Called once, when the run ends early.
        overdue: Called when a run has not ended although its timeout is over and every attempt has reached its own.
        fence: What each create must pass, if the run has a lease.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        finish: Callable[[BulkItem, Any], BulkOutcome],
        job: Job,
        report: BulkReport,
        *,
        workers: int,
        timeout: float | None,
        give_up_after: float,
        stopped: Callable[[], object],
        overdue: Callable[[], object],
        fence: Fence | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._finish = finish
        self._job = job
        self._report = report
        self._workers = workers
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._stopped = stopped
        self._fence = fence
        self._overdue = overdue
        self._timers: list[asyncio.TimerHandle] = []
        self.latest: float | None = None
        """When user code may hold up the run no longer, on the loop's clock."""
        self._limits: set[AIMDLimit] = set()
        self._refused = 0
        self._refused_since = 0.0
        self._refusal: VideoAPIError | None = None
        self._cut_off: set[int] = set()
        self.stopping: bool = False
        self.timed_out: CallTimeout | None = None
        """The error of the run's timeout, once it has a limit."""

    # The end of the run

    def begin(self) -> None:
        """Start the run's timeout."""
        if self._timeout is not None:
            error = self.timed_out = CallTimeout(f"The run's timeout of {self._timeout:g} s ended.", retryable=True)
            loop, longest = asyncio.get_running_loop(), self._pipeline.options.attempt_timeout
            self.latest = loop.time() + self._timeout + longest + _GRACE
            self._timers = [
                loop.call_later(self._timeout, self.stop, error),
                loop.call_at(self.latest, self._overdue),
            ]

    def end(self) -> None:
        """Stop the timers of a run that has ended."""
        for timer in self._timers:
            timer.cancel()

    def stop(self, error: VideoAPIError | None = None) -> None:
        """Send nothing more, and end all waits; `report.stopped` keeps the first error."""
        self._report.stopped = self._report.stopped or error
        if self.stopping:
            return
        self.stopping = True
        for limit in self._limits:
            limit.end(self)
        self._stopped()

    def must_stop(self) -> bool:
        """Return whether nothing more may be sent."""
        # Only what waits to be sent counts: neither a slow source of inputs nor a settle time is a refusal.
        # Nor is a wait for the account's own rate: with a rate, only a pause counts, and the next refusal.
        if self._fence is not None and not self._fence.stands():
            self.stop(self._fence.error)
        if not self.stopping and self._refused:
            account = self._pipeline.account
            paused = account.throttle.pause_left() or account.connect.pause_left()
            if paused or not account.gate.rate.interval:
                self._give_up_in_time()
        return self.stopping

    def _give_up_in_time(self) -> None:
        if self._refused and self._now() - self._refused_since > self._give_up_after:
            self.stop(self._refusal)

    def _now(self) -> float:
        return self._pipeline.retries.clock.now()

    # One item

    async def send(self, item: BulkItem) -> BulkOutcome | None:
        """Send an item until its outcome is final; None if it is unresolved."""
        error: VideoAPIError | None = None
        sent = 0
        try:
            while True:
                try:
                    outcome = await self._in_turn(item)
                except Exception as problem:
                    return self._failed(item, problem)
                if outcome is None:
                    return self._held_back(item, error)
                classification = outcome.classification
                try:
                    self._job.ended(item, outcome)
                    if classification.verdict is Verdict.DONE:
                        return self._finish(item, outcome.value)
                except Exception as problem:
                    # A middleware returned a success without the value of one.
                    return failed(item, "unknown", _wrapped(item.request, problem, unsure=True))
                error = error_from_outcome(item.request, outcome)
                if _is_final(classification):
                    return self._ended(item, classification, error)
                if not sent:
                    self._begin_refusal()
                self._refusal = error
                self._give_up_in_time()
                sent += 1
                account, reporter = self._pipeline.account, self._pipeline.retries.reporter
                pause = max(account.throttle.pause_left(), account.connect.pause_left())
                if not self.must_stop():
                    reporter.retrying(item.request, outcome, sent, pause)
        except BaseException:
            # The run is torn down, and the item may have been executed: keep it in the report.
            self._report.count(self._torn_down(item))
            raise
        finally:
            if sent:
                self._refused -= 1

    def _begin_refusal(self) -> None:
        if not self._refused:
            self._refused_since = self._now()
        self._refused += 1

    def _in_turn(self, item: BulkItem) -> Awaitable[Outcome | None]:
        """Send an item once, after any throttle pause and connect backoff; None if the run ends first."""
        account = self._pipeline.account
        refused = account.connect.closed or account.throttle.closed
        return self._behind_gates(item, account) if refused else self._once(item)

    async def _behind_gates(self, item: BulkItem, account: AccountState) -> Outcome | None:
        async with self._turn(account.connect, account), self._turn(account.throttle, account):
            return await self._once(item)

    @contextlib.asynccontextmanager
    async def _turn(self, gate: PauseGate, account: AccountState) -> AsyncGenerator[None, None]:
        probing = gate.closed and await self._pipeline.until_closed(lambda: gate.enter(self.must_stop, account))
        try:
            yield
        finally:
            if probing:
                gate.leave()

    async def _once(self, item: BulkItem) -> Outcome | None:
        limit = self._limit()
        if not limit.acquire_nowait() and not await limit.acquire(self, self.must_stop):
            return None
        try:
            if self.must_stop() or not self._passes():
                return None
            try:
                outcome = await self._pipeline.send(item.request)
            except BaseException as error:
                if getattr(error, "may_have_executed", True):
                    self._cut_off.add(item.index)
                raise
            # Before the release: a limit of 1 counts as in use only while this item holds its slot.
            self._weigh(outcome, limit)
        finally:
            limit.release()
        return outcome

    def _passes(self) -> bool:
        """Return whether the lease, if there is one, outlasts another create; end the run if it does not."""
        if self._fence is None or self._fence.lets_pass():
            return True
        self.stop(self._fence.error)
        return False

    def _limit(self) -> AIMDLimit:
        """Return the limit of the account, which all its runs share."""
        account = self._pipeline.account
        limit: AIMDLimit | None = account.shared.get(AIMDLimit)
        if limit is None:
            limit = account.shared[AIMDLimit] = AIMDLimit(self._pipeline.pool.max_connections, account.clock.now)
        self._limits.add(limit)
        return limit

    def _weigh(self, outcome: Outcome, limit: AIMDLimit) -> None:
        """Adjust the concurrency limit to the load of the service."""
        verdict = outcome.verdict
        timed_out = outcome.classification.kind is ErrorKind.TIMEOUT
        if verdict is Verdict.DONE:
            limit.succeeded(self._workers)
        elif outcome.phase is Phase.NOT_SENT:
            # Waiting for the account's own rate or pause says nothing about the service.
            pass
        elif verdict is Verdict.THROTTLED or outcome.status == 503 or timed_out:
            limit.overloaded()
        self._report.concurrency = min(limit.limit, self._workers)
        if self._refused and outcome.phase is Phase.ANSWERED and verdict is not Verdict.THROTTLED:
            self._refused_since = self._now()

    def _held_back(self, item: BulkItem, error: VideoAPIError | None) -> BulkOutcome:
        if error is not None and error.may_have_executed:
            return failed(item, "unknown", error)
        self._job.not_sent(item)
        return failed(item, "not_sent", error or self._report.stopped)

    def _ended(self, item: BulkItem, classification: Classification, error: VideoAPIError) -> BulkOutcome | None:
        if classification.verdict is Verdict.UNKNOWN:
            return None if self._job.in_doubt(item) else failed(item, "unknown", error)
        if classification.verdict is Verdict.REJECTED or classification.kind is ErrorKind.TIMEOUT:
            if classification.scope is Scope.ACCOUNT:
                self.stop(error)
            return failed(item, "failed", error)
        if self._fence is not None and self._fence.error is not None:
            error = self._fence.error
        self.stop(error)
        self._job.not_sent(item)
        return failed(item, "not_sent", error)

    def _failed(self, item: BulkItem, problem: Exception) -> BulkOutcome:
        """Return the outcome of an item whose call raised: its credentials, a middleware, or a closed client."""
        request = item.request
        # The pipeline turns a create that may have been executed into an outcome, and does not raise.
        unsure = request.route.operation not in (Operation.NON_REPEATABLE, Operation.SAFE)
        error = problem if isinstance(problem, VideoAPIError) else _wrapped(request, problem, unsure=unsure)
        if error.may_have_executed:
            return failed(item, "unknown", error)
        self._job.not_sent(item)
        if self._pipeline.timer.closed:
            self.stop(error)
            return failed(item, "not_sent", error)
        return failed(item, "failed", error)

    def _torn_down(self, item: BulkItem) -> BulkOutcome:
        if item.index not in self._cut_off:
            self._job.not_sent(item)
            return failed(item, "not_sent", None)
        self._job.torn_down(item)
        lost = no_response(item.request, Phase.SENT, ErrorKind.CONNECTION, "the run was cancelled before the answer")
        return failed(item, "unknown", error_from_outcome(item.request, lost))


def checked_concurrency(given: int | None, limit: int) -> int:
    """Return the number of items that may be in flight: by default 32, at most the pool's connections.

    Raises:
        ConfigurationError: If it is not an integer of 1 or more, or exceeds the pool's connections.
    """
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


def failed(item: BulkItem, status: Status, error: VideoAPIError | None) -> BulkOutcome:
    """Return the outcome of an item that did not succeed."""
    return BulkOutcome(
        index=item.index,
        key=item.key,
        reference=item.request.reference,
        status=status,
        room_id=item.room_id,
        error=error,
        spec=item.given,
    )


def _is_final(classification: Classification) -> bool:
    """Return whether an item is final; one that was not sent or was throttled waits for the pause and is resent."""
    return classification.verdict in (Verdict.REJECTED, Verdict.UNKNOWN) or classification.max_retries == NEVER


def _wrapped(request: Request, error: Exception, *, unsure: bool) -> VideoAPIError:
    """Return an error for what user code raised; only its class, as its text may hold anything."""
    wrapped = ConfigurationError(
        f"{request.method} {request.route.template}: a middleware raised {type(error).__name__}. "
        + ("May have been executed." if unsure else "Not sent."),
        method=request.method,
        path=request.route.template,
        may_have_executed=unsure,
        reference=request.reference,
    )
    wrapped.__cause__ = error
    return wrapped
