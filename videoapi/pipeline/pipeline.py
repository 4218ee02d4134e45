"""One call: middleware around retries, under one deadline, ended by an outcome or an error."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from videoapi.config import Credentials
from videoapi.errors import ConfigurationError, VideoAPIError, text_of
from videoapi.pipeline.accounts import BODY_COST, AccountState
from videoapi.pipeline.call import Call, Wait
from videoapi.pipeline.cancellation import UserCodeCancelled
from videoapi.pipeline.middleware import Middleware, Send, chain, checked
from videoapi.pipeline.retry import Retries
from videoapi.protocol.backoff import Retry, decide
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import BufferedStream, Outcome, answered, no_response, redacted, truncated
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import NEVER, ErrorKind, Operation, Phase, Verdict
from videoapi.transport.deadlines import CLOSED, DeadlineTimer

if TYPE_CHECKING:
    from videoapi.telemetry.attempt import AttemptRecorder
    from videoapi.telemetry.operation import RecordedOperation
    from videoapi.telemetry.recorder import Recorder

T = TypeVar("T")


class Pool(Protocol):
    """What calls need to know about the connections below them."""

    @property
    def max_connections(self) -> int: ...

    def check(self) -> None:
        """Raise ConfigurationError if the connections are closed or belong to another event loop."""
        ...

    @property
    def prefetchers(self) -> list[Any]:
        """What holds responses opened in advance, to be given up if a stream needs a permit now."""
        ...

    def may_prefetch(self) -> bool:
        """Return whether a stream may be opened ahead of its use."""
        ...

    def make_room_for_waiting_streams(self) -> None:
        """Give up another prefetched response if a stream still waits for a permit."""
        ...


@attrs.frozen(kw_only=True)
class Pipeline:
    """What every namespace sends its requests through.

    Args:
        retries: Sends the attempts of a call.
        timer: Ends calls at their deadline, and all of them when the client is closed.
        pool: The connections.
        options: Limits of each call.
        middleware: Runs around the retries of each call, the first outermost.
        recorder: Records calls as spans and metrics; None if nothing does.
        operation: The recorded operation that the calls of its request belong to, or all calls if it has none.
    """

    retries: Retries
    timer: DeadlineTimer
    pool: Pool
    options: Options
    middleware: Sequence[Middleware] = ()
    recorder: Recorder | None = None
    operation: RecordedOperation | None = None

    @property
    def account(self) -> AccountState:
        """The account of the latest attempt."""
        return self.retries.accounts.current

    @property
    def origin(self) -> str:
        """Scheme, host and port of the API."""
        return self.retries.accounts.origin

    @property
    def app_id(self) -> str | None:
        """The APP_ID of the latest attempt; None if a callable has not returned any yet."""
        latest = self.retries.credentials.latest
        return None if latest is None else latest.app_id

    async def run(self, request: Request) -> Any:
        """Send a request and return its decoded payload.

        Raises:
            VideoAPIError: If the call fails; the class says how.
        """
        outcome = await self.send(request)
        if outcome.classification.verdict is Verdict.DONE:
            return outcome.value
        raise error_from_outcome(request, outcome)

    async def open_stream(self, request: Request) -> Outcome:
        """Send a request and return the outcome with its body still open; retries end with the response headers.

        Raises:
            VideoAPIError: If no successful response came.
        """
        outcome = await self.send(request)
        if outcome.verdict is Verdict.DONE:
            if outcome.stream is not None:
                return outcome
            # A middleware answered by itself.
            buffered = BufferedStream(outcome.status or 200, outcome.headers, outcome.body)
            return attrs.evolve(outcome, stream=buffered)
        raise error_from_outcome(request, outcome)

    async def send(self, request: Request, record: AttemptRecorder | None = None) -> Outcome:
        """Send a request and return its outcome, success or failure.

        Args:
            request: The request.
            record: Records its attempts; without it, the call is an operation of its own if anything is recorded.

        Raises:
            ConfigurationError: If the client is closed, or a middleware or the credentials callable misbehaves.
            UserCodeCancelled: If user code raised `CancelledError` although nothing cancels this task.
            Exception: What a middleware raised.
        """
        if record is None and self.recorder is not None and self.recorder.active():
            return await self._send_recorded(self.recorder, request)
        self.retries.transport.check()
        began = self.retries.clock.now()
        deadline = began + request.timeout
        limit = self.timer.start(deadline)
        call = self.timer.limits[limit] = Call(request, began, deadline, limit)
        call.record = record
        call.reported = self.retries.reporter.active
        outcome: Outcome | None = None
        try:
            if call.reported:
                self.retries.reporter.started(call)
            if self.middleware:
                send: Send = partial(self._send_for, call)
                outermost = self.middleware[0]
                if len(self.middleware) > 1:
                    send = chain(self.middleware[1:], send)
                # Called here: each coroutine between is resumed whenever the call is.
                given: object = outermost(request, send)
                if inspect.isawaitable(given):
                    given = await given
                outcome = checked(outermost, given)
                if outcome.classification.verdict is not Verdict.DONE:
                    outcome = _failure(call, outcome, self.retries.credentials.recent)
            else:
                outcome = await self.retries.send(call, request)
        except asyncio.CancelledError as error:
            if call.limit.expired():
                outcome = self._ended_early(call)
            elif call.limit.is_cancelled():
                self._cancelled(call, error)
                raise
            else:
                problem = _cancelled_by_user_code(call)
                outcome = self._failed(call, problem)
                if outcome is None:
                    raise problem from error
        except Exception as error:
            outcome = self._failed(call, error)
            if outcome is None:
                raise
        finally:
            call.over = True
            for part in call.parts:
                part.over = True
            self.timer.stop(call.limit)
            for stream in call.streams:
                # A middleware that failed, was cancelled, or answered by itself keeps none open.
                if outcome is None or outcome.verdict is not Verdict.DONE or stream is not outcome.stream:
                    await stream.aclose()
        assert outcome is not None
        if outcome.phase is Phase.NOT_SENT and call.was_refused:
            outcome = attrs.evolve(outcome, refused_before=True)
        if call.reported:
            self.retries.reporter.ended(call, outcome, self.retries.clock.now() - began)
        return outcome

    async def _send_recorded(self, recorder: Recorder, request: Request) -> Outcome:
        operation = self.operation
        if operation is not None and operation.covers(request):
            with operation.current():
                outcome = await self.send(request, recorder.call(operation))
            operation.saw(outcome)
            return outcome
        with recorder.operation(request.route.name, request) as operation:
            outcome = await self.send(request, recorder.call(operation))
            operation.saw(outcome)
            if outcome.verdict is not Verdict.DONE:
                operation.failed(error_from_outcome(request, outcome))
            return outcome

    async def _send_for(self, call: Call, request: Request) -> Outcome:
        """Send the request of a middleware."""
        if call.over:
            raise ConfigurationError("A middleware called send() after its call had ended.")
        if request.stream is not call.request.stream:
            raise ConfigurationError("A middleware must not change `stream` of a request. Not sent.")
        call.limit.check()
        if self.timer.is_current(call.limit):
            if call.limit.at != call.deadline:
                # User code may send while it handles a cancellation, after the deadline.
                self.timer.reschedule(call.limit, call.deadline)
            return await self.retries.send(call, request)
        return await self._send_in_task(call, request)

    async def _send_in_task(self, call: Call, request: Request) -> Outcome:
        """Send in a task that a middleware started, under a deadline for that task."""
        limit = self.timer.start(call.deadline)
        own = Call(request, call.began, call.deadline, limit, number=call.number, streams=call.streams)
        own.reported, own.record = call.reported, call.record
        call.parts.append(own)
        try:
            outcome = await self.retries.send(own, request)
        except asyncio.CancelledError:
            if not limit.expired():
                raise
            outcome = self._ended_early(own)
        finally:
            self.timer.stop(limit)
        if call.over and outcome.stream is not None:
            await outcome.stream.aclose()
        return outcome

    def _cancelled(self, call: Call, error: asyncio.CancelledError) -> None:
        request, reporter = call.request, self.retries.reporter
        # From this, a bulk run knows whether it may have been sent.
        error.may_have_executed = call.may_have_executed  # type: ignore[attr-defined]
        if request.reference is not None:
            where = f"{request.method} {request.route.template}"
            error.add_note(f"{where} cancelled. {call.state} Reference {request.reference}.")
        if call.reported:
            reporter.failed(call, "cancelled", "cancelled by the caller", self.retries.clock.now() - call.began)

    def _failed(self, call: Call, error: Exception) -> Outcome | None:
        """Return the unknown outcome that the error must not replace, or None to raise the error."""
        request, reporter = call.request, self.retries.reporter
        if isinstance(error, VideoAPIError) and request.reference is not None:
            error.reference = error.reference or request.reference
        executed = call.may_have_executed
        if executed and request.route.operation is Operation.NON_REPEATABLE:
            later = text_of(error).removesuffix(f" {call.state}".rstrip(".")).rstrip(".")
            reason = f"unknown after an attempt; then {later}"
            outcome = no_response(request, Phase.SENT, ErrorKind.CONNECTION, reason)
            return attrs.evolve(outcome, attempts=call.sent, cause=error)
        if isinstance(error, VideoAPIError) and executed:
            error.may_have_executed = True
        if call.reported:
            verdict = Verdict.UNKNOWN if executed else Verdict.NOT_SENT
            reporter.failed(call, verdict.value, type(error).__name__, self.retries.clock.now() - call.began)
        return None

    def _ended_early(self, call: Call) -> Outcome:
        """Return the outcome of a call that ended outside of an attempt, at its deadline or with the client."""
        request = call.request
        phase = Phase.SENT if call.may_have_executed else Phase.NOT_SENT
        if self.timer.closed:
            outcome = no_response(request, phase, ErrorKind.CONNECTION, CLOSED)
        else:
            outcome = no_response(request, phase, ErrorKind.TIMEOUT, self._timeout_reason(call))
        classification = outcome.classification
        # Waiting for a connection, a rate or a pause may succeed later; user code that hangs will hang again.
        if self.timer.closed or call.waiting in (Wait.CREDENTIALS, Wait.NOTHING):
            classification = attrs.evolve(classification, max_retries=NEVER)
        return attrs.evolve(outcome, classification=classification, attempts=call.sent)

    def _timeout_reason(self, call: Call) -> str:
        limit, account = call.request.timeout_text, self.account
        waiting = call.waiting
        if waiting is Wait.TURN:
            waiting = account.admission.head_waits(self.retries.transport.permits_for(call.request))
        match waiting:
            case Wait.CREDENTIALS:
                return f"the credentials callable did not return within {limit}"
            case Wait.GATE:
                return f"the rate gate did not respond within {limit}"
            case Wait.RATE:
                return f"waited {limit} for the rate limit of {account.rate}"
            case Wait.PAUSE:
                return paused_reason(limit, account.throttle.pause_left())
            case Wait.CONNECTION:
                if call.request.stream:
                    return f"no free stream within {limit}: a quarter of max_connections={self.pool.max_connections}"
                return f"no free connection within {limit}, max_connections={self.pool.max_connections}"
            case _:
                return f"a middleware did not end within {limit}" if self.middleware else f"no response within {limit}"

    def begin(self, request: Request, *, all_calls: bool = False) -> RecordedOperation | None:
        """Begin to record an operation that may have several calls; the caller ends it. None if nothing records it.

        Args:
            request: The request that it is named after.
            all_calls: Whether all calls of `within(operation)` are part of it, not only those of this request.
        """
        recorder = self.recorder
        if recorder is None or not recorder.active():
            return None
        return recorder.operation(request.route.name, request, all_calls=all_calls)

    def within(self, operation: RecordedOperation | None) -> Pipeline:
        """Return the pipeline for the calls of an operation."""
        return self if operation is None else attrs.evolve(self, operation=operation)

    def recording(self, name: str, *, is_run: bool = False) -> AbstractContextManager[RecordedOperation | None]:
        """Return a context that is recorded as one operation, with the calls made in it as its children.

        Args:
            name: Its name, such as `rooms.create_many`.
            is_run: Whether it is a bulk run.
        """
        recorder = self.recorder
        if recorder is None or not recorder.active():
            return nullcontext()
        return recorder.operation(name, is_run=is_run)

    def settling(self) -> AbstractContextManager[object]:
        """Return a context that is recorded as a wait for proof of what became of creates."""
        recorder = self.recorder
        return nullcontext() if recorder is None or not recorder.active() else recorder.settling()

    def classify(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Classify the envelope that is left of a streamed body without its items."""
        return answered(request, status, headers, body, self.retries.credentials.latest)

    def interrupted(self, request: Request, reason: str, timed_out: bool, status: int = 200) -> Outcome:
        """Classify a streamed body that broke off."""
        return truncated(request, status, {}, reason, ErrorKind.TIMEOUT if timed_out else ErrorKind.CONNECTION)

    async def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or the client is closed.

        Raises:
            ConfigurationError: If the client is closed.
        """
        await self.until_closed(lambda: self.retries.clock.sleep(seconds))

    async def until_closed(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Await something that the closing of the client ends.

        Args:
            wait: Makes the awaitable, which must not be a call of its own.

        Raises:
            ConfigurationError: If the client is closed.
        """
        limit = self.timer.start()
        try:
            self.retries.transport.check()
            return await wait()
        except asyncio.CancelledError:
            if not limit.expired():
                raise
        finally:
            self.timer.stop(limit)
        raise ConfigurationError("The client is closed.")

    async def retry_read(self, request: Request, outcome: Outcome, attempt: int) -> bool:
        """Decide whether a read whose body broke off is repeated, and wait for the backoff.

        Args:
            request: The read.
            outcome: How it ended.
            attempt: Attempts of this read so far, those that opened a response included.
        """
        step = decide(
            self.options.retry,
            request.route.operation,
            outcome.classification,
            attempt=attempt,
            unknown=attempt,
            retry_after=outcome.retry_after,
            left=request.timeout,
            random=self.retries.clock.random,
        )
        if self.timer.closed or not isinstance(step, Retry) or self.account.budget.spend(outcome.verdict) is None:
            return False
        self.retries.reporter.retrying(request, outcome, attempt, step.delay)
        await self.sleep(step.delay)
        return True

    def read_ended(self, *, retried: bool) -> None:
        """Record that the body of a read has ended; if it was read again after it broke off, that retry is refunded."""
        self.account.budget.succeeded(BODY_COST if retried else 0.0)

    def error(self, outcome: Outcome, request: Request, attempts: int) -> VideoAPIError:
        """Return the error of a failed outcome."""
        return error_from_outcome(request, attrs.evolve(outcome, attempts=attempts))


def _cancelled_by_user_code(call: Call) -> UserCodeCancelled:
    """Return the error for a `CancelledError` that user code raised."""
    request = call.request
    return UserCodeCancelled(
        f"{request.method} {request.route.template}: user code, such as a middleware, cancelled the call. {call.state}",
        method=request.method,
        path=request.route.template,
        attempts=call.sent,
    )


def _failure(call: Call, outcome: Outcome, recent: Iterable[Credentials]) -> Outcome:
    """Return the failure that a middleware returned, with the doubt that its requests left, and no credentials."""
    # Also those of earlier calls: a middleware may answer with a response that it has kept.
    for credentials in (*recent, *(part.credentials for part in (call, *call.parts))):
        if credentials is not None:
            outcome = redacted(outcome, credentials)
    if outcome.may_have_executed or call.request.route.operation is Operation.SAFE or not call.may_have_executed:
        return outcome
    return attrs.evolve(outcome, may_have_executed=True)


def paused_reason(limit: str, left: float) -> str:
    """Return why a call ended while its account was paused, and for how many more seconds it is, if it still is."""
    more = f"; the pause lasts for another {left:.1f} s" if left >= 0.05 else ""
    return f"waited {limit} while the account was paused after HTTP 429{more}"
