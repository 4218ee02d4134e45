"""The sender of bulk items: bounded concurrency, each item until its outcome is final or unresolved."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import attrs

from videoapi.bulk.concurrency import AIMDLimit
from videoapi.bulk.course import Course
from videoapi.bulk.create_job import CreateJob
from videoapi.bulk.plan import BulkItem
from videoapi.bulk.report import BulkOutcome, BulkReport, Status
from videoapi.errors import ConfigurationError, CredentialsUnavailable, VideoAPIError
from videoapi.pipeline.pause import PauseGate
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome, no_response
from videoapi.protocol.routes import Request
from videoapi.protocol.types import NEVER, Classification, ErrorKind, Operation, Phase, Scope, Verdict

DEFAULT_CONCURRENCY: Final = 32


class Sender:
    """The sender of bulk items: respects the account's pauses and an adaptive concurrency limit.

    The path without errors is short: it creates no task and no timer.

    Args:
        pipeline: Sends the requests.
        finish: Converts the value of a success into an outcome.
        job: Records each result; None for a run without creates.
        course: Decides whether the run continues.
        report: The report of the run.
        most: Maximum number of items in flight.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        finish: Callable[[BulkItem, Any], BulkOutcome],
        job: CreateJob | None,
        course: Course,
        report: BulkReport,
        most: int,
    ) -> None:
        self._pipeline = pipeline
        self._finish = finish
        self._job = job
        self._course = course
        self._report = report
        self._window = AIMDLimit(most, pipeline.account.clock.now)
        self._cut_off: set[int] = set()

    async def send(self, item: BulkItem) -> BulkOutcome | None:
        """Send an item until its outcome is final; None if it is unresolved. Never repeats an unsafe operation."""
        error: VideoAPIError | None = None
        resent = sent = 0
        try:
            while True:
                try:
                    outcome = await self._in_turn(item)
                except CredentialsUnavailable as problem:
                    return failed(item, "failed", problem)
                if outcome is None:
                    return self._held_back(item, error)
                classification = outcome.classification
                if self._job is not None:
                    self._job.ended(item, outcome)
                if classification.verdict is Verdict.DONE:
                    return self._finish(item, outcome.value)
                error = error_from_outcome(item.request, outcome)
                if classification.verdict is Verdict.UNKNOWN and self._may_resend(item, classification, resent):
                    resent += 1
                elif _is_final(classification):
                    return self._ended(item, classification, error)
                sent += 1
                account, reporter = self._pipeline.account, self._pipeline.retries.reporter
                pause = max(account.throttle.pause_left(), account.connect.pause_left())
                reporter.retrying(item.request, outcome, sent, pause)
        except BaseException:
            # The run is torn down, and the item may have been executed: keep it in the report.
            self._report.count(self._torn_down(item))
            raise

    def _in_turn(self, item: BulkItem) -> Awaitable[Outcome | None]:
        """Send an item once, after any throttle pause and connect backoff; None if the run ends first."""
        account = self._pipeline.account
        refused = account.connect.closed or account.throttle.closed
        return self._behind_gates(item) if refused else self._once(item)

    async def _behind_gates(self, item: BulkItem) -> Outcome | None:
        must_stop = self._course.must_stop
        account = self._pipeline.account
        wait = self._pipeline.until_closed
        async with _turn(account.connect, account, must_stop, wait), _turn(account.throttle, account, must_stop, wait):
            return await self._once(item)

    async def _once(self, item: BulkItem) -> Outcome | None:
        window = self._window
        if not window.acquire_nowait():
            await window.acquire()
        try:
            if self._course.must_stop():
                return None
            try:
                outcome = await self._pipeline.send(self._interruptible(item.request))
            except BaseException as error:
                if not isinstance(error, VideoAPIError) or error.may_have_executed:
                    self._cut_off.add(item.index)
                raise
            # Before the release: a limit of 1 counts as in use only while this item holds its slot.
            self._weigh(outcome)
        finally:
            window.release()
        return outcome

    def _interruptible(self, request: Request) -> Request:
        """Return a request whose wait for the account's rate or pause ends with the run."""
        if self._pipeline.account.gate.is_open():
            return request
        return attrs.evolve(request, options=attrs.evolve(request.options, must_stop=self._course.must_stop))

    def _weigh(self, outcome: Outcome) -> None:
        """Adjust the concurrency limit to the load of the service."""
        window, verdict = self._window, outcome.verdict
        timed_out = outcome.classification.kind is ErrorKind.TIMEOUT
        if verdict is Verdict.DONE:
            window.succeeded()
        elif outcome.phase is Phase.NOT_SENT:
            # Waiting for the account's own rate or pause says nothing about the service.
            pass
        elif verdict is Verdict.THROTTLED or outcome.status == 503 or timed_out:
            window.overloaded()
        self._report.concurrency = window.limit
        if outcome.phase is Phase.ANSWERED and verdict is not Verdict.THROTTLED:
            self._course.answered()

    def _may_resend(self, item: BulkItem, classification: Classification, resent: int) -> bool:
        if item.request.route.operation is not Operation.REPEATABLE or resent >= classification.max_retries:
            return False
        return self._pipeline.account.budget.spend(Verdict.UNKNOWN) is not None

    def _held_back(self, item: BulkItem, error: VideoAPIError | None) -> BulkOutcome:
        if self._course.gave_up and error is not None:
            self._course.stop(error)
        return failed(item, "not_sent", error or self._report.stopped)

    def _ended(self, item: BulkItem, classification: Classification, error: VideoAPIError) -> BulkOutcome | None:
        if classification.verdict is Verdict.UNKNOWN:
            in_doubt = self._job is not None and self._job.in_doubt(item)
            return None if in_doubt else failed(item, "unknown", error)
        if classification.verdict is Verdict.REJECTED or classification.kind is ErrorKind.TIMEOUT:
            if classification.scope is Scope.ACCOUNT:
                self._course.stop(error)
            return failed(item, "failed", error)
        self._course.stop(error)
        return failed(item, "not_sent", error)

    def _torn_down(self, item: BulkItem) -> BulkOutcome:
        if item.index not in self._cut_off:
            return failed(item, "not_sent", None)
        if self._job is not None:
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
    )


def _is_final(classification: Classification) -> bool:
    """Return whether an item is final; one that was not sent or was throttled waits for the pause and is resent."""
    return classification.verdict in (Verdict.REJECTED, Verdict.UNKNOWN) or classification.max_retries == NEVER


@contextlib.asynccontextmanager
async def _turn(
    gate: PauseGate,
    owner: object,
    gives_up: Callable[[], bool],
    until_closed: Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]],
) -> AsyncGenerator[None, None]:
    if not gate.closed:
        yield
        return
    probing = await until_closed(lambda: gate.enter(gives_up, owner))
    try:
        yield
    finally:
        if probing:
            gate.leave()
