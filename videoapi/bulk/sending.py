"""Sending the items of a bulk run: bounded in flight, each until something final is known of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from videoapi.bulk.concurrency import Window
from videoapi.bulk.course import Course
from videoapi.bulk.create_job import CreateJob
from videoapi.bulk.plan import Item
from videoapi.bulk.report import BulkOutcome, BulkReport, Status
from videoapi.errors import ConfigurationError, VideoAPIError
from videoapi.pipeline.accounts import Gate
from videoapi.pipeline.pipeline import Caller
from videoapi.protocol.error_mapping import error_of
from videoapi.protocol.outcome import Outcome, unanswered
from videoapi.protocol.verdicts import Judgement, Kind, Operation, Phase, Scope, Verdict

DEFAULT_CONCURRENCY: Final = 32


class Sender:
    """Sends items, behind the shared gates and in the places of a window.

    What comes every time is short: no task, no timer and no clock but one; the rest waits for trouble.

    Args:
        caller: Sends.
        finish: Turns what a success holds into an outcome.
        job: Told of each end, where there is one.
        course: Tells whether the run goes on.
        report: Of the run.
        most: How many may be in flight at most.
    """

    def __init__(
        self,
        caller: Caller,
        finish: Callable[[Item, Any], BulkOutcome],
        job: CreateJob | None,
        course: Course,
        report: BulkReport,
        most: int,
    ) -> None:
        self._caller = caller
        self._pace = caller.pace
        self._finish = finish
        self._job = job
        self._course = course
        self._report = report
        self._window = Window(most, caller.pace.chance.clock)
        self._cut_off: set[int] = set()

    async def send(self, item: Item) -> BulkOutcome | None:
        """Send an item, never again once it may be done; None where it is in doubt, and settled later."""
        error: VideoAPIError | None = None
        resent = 0
        try:
            while True:
                outcome = await self._in_turn(item)
                if outcome is None:
                    return self._held_back(item, error)
                judgement = outcome.judgement
                if self._job is not None:
                    self._job.ended(item, outcome)
                if judgement.verdict is Verdict.DONE:
                    return self._finish(item, outcome.value)
                error = error_of(item.request, outcome)
                if judgement.verdict is Verdict.UNKNOWN and self._may_resend(item, judgement, resent):
                    resent += 1
                elif _is_final(judgement):
                    return self._ended(item, judgement, error)
        except BaseException:
            # The run is torn down: what is in flight may be done, and is not lost from the report.
            self._report.count(self._torn_down(item))
            raise

    def _in_turn(self, item: Item) -> Awaitable[Outcome | None]:
        """Send an item once, behind the shared pause and the connect back-off; None where the run ends."""
        pace = self._pace
        refused = pace.connect.closed or pace.throttle.closed
        return self._behind_gates(item) if refused else self._once(item)

    async def _behind_gates(self, item: Item) -> Outcome | None:
        must_stop = self._course.must_stop
        async with _turn(self._pace.connect, must_stop), _turn(self._pace.throttle, must_stop):
            return await self._once(item)

    async def _once(self, item: Item) -> Outcome | None:
        window = self._window
        if not window.take():
            await window.enter()
        try:
            if self._course.must_stop():
                return None
            try:
                outcome = await self._caller.outcome(item.request)
            except BaseException:
                self._cut_off.add(item.index)
                raise
            # Before it gives its place back: a window of one is in use only by the item that went well.
            self._weigh(outcome)
        finally:
            window.leave()
        return outcome

    def _weigh(self, outcome: Outcome) -> None:
        """Let the window follow how the service keeps up."""
        judgement, window = outcome.judgement, self._window
        if judgement.verdict is Verdict.DONE:
            window.succeeded()
        elif judgement.verdict is Verdict.THROTTLED or outcome.status == 503 or judgement.kind is Kind.TIMEOUT:
            window.overloaded()
        self._report.concurrency = window.limit
        if outcome.phase is Phase.ANSWERED and judgement.verdict is not Verdict.THROTTLED:
            self._course.answered()

    def _may_resend(self, item: Item, judgement: Judgement, resent: int) -> bool:
        harmless = item.request.route.operation is Operation.DUPLICABLE
        return harmless and resent < judgement.again and self._pace.budget.spend(Verdict.UNKNOWN) is not None

    def _held_back(self, item: Item, error: VideoAPIError | None) -> BulkOutcome:
        if self._course.gave_up and error is not None:
            self._course.stop(error)
        return failed(item, "not_sent", error or self._report.stopped)

    def _ended(self, item: Item, judgement: Judgement, error: VideoAPIError) -> BulkOutcome | None:
        if judgement.verdict is Verdict.UNKNOWN:
            in_doubt = self._job is not None and self._job.in_doubt(item)
            return None if in_doubt else failed(item, "unknown", error)
        if judgement.verdict is Verdict.REJECTED:
            if judgement.scope is Scope.ACCOUNT:
                self._course.stop(error)
            return failed(item, "failed", error)
        self._course.stop(error)
        return failed(item, "not_sent", error)

    def _torn_down(self, item: Item) -> BulkOutcome:
        if item.index not in self._cut_off:
            return failed(item, "not_sent", None)
        if self._job is not None:
            self._job.torn_down(item)
        lost = unanswered(item.request, Phase.SENT, Kind.CONNECTION, "the run was cancelled before the answer")
        return failed(item, "unknown", error_of(item.request, lost))


def checked_concurrency(given: int | None, limit: int) -> int:
    """Return how many items may be in flight.

    Raises:
        ConfigurationError: It is no such number, or the pool has fewer connections.
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


def failed(item: Item, status: Status, error: VideoAPIError | None) -> BulkOutcome:
    """Return the outcome of an item that was not done."""
    return BulkOutcome(
        index=item.index,
        key=item.key,
        reference=item.request.reference,
        status=status,
        room_id=item.room_id,
        error=error,
    )


def _is_final(judgement: Judgement) -> bool:
    """Tell whether an item is at its end: what was not sent, or put off, waits at the gates and is sent again."""
    return judgement.verdict in (Verdict.REJECTED, Verdict.UNKNOWN) or judgement.kind is Kind.CERTIFICATE


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
