"""The attempts of one call: a span and metrics for each, and its `traceparent`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Verdict
from videoapi.telemetry.attributes import Attributes, attempt_name, of_attempt, of_error
from videoapi.telemetry.guard import harmless
from videoapi.telemetry.operation import RecordedOperation

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Progress(Protocol):
    """How far an attempt got."""

    expired: bool

    @property
    def may_have_sent(self) -> bool: ...


A = TypeVar("A", bound=Progress)


class AttemptRecorder:
    """The record of one call.

    Args:
        operation: The operation that the call belongs to.
    """

    def __init__(self, operation: RecordedOperation) -> None:
        self._operation = operation
        self._sent = 0
        self._waited = 0.0

    def waited(self, seconds: float) -> None:
        """Note how long the next attempt has waited for its permit, the account's pause and its rate."""
        self._waited += seconds

    async def attempt(self, send: Callable[[Request, A], Awaitable[Outcome]], request: Request, attempt: A) -> Outcome:
        """Send an attempt within a span of its own, and return its outcome."""
        record = _Attempt(self._operation, request, self._sent, self._waited)
        outcome: Outcome | None = None
        error: BaseException | None = None
        token = otel_context.attach(record.context)
        try:
            outcome = await send(record.request, attempt)
            return outcome
        except BaseException as raised:
            error = raised
            raise
        finally:
            otel_context.detach(token)
            # Otherwise the slot of its rate passed while it connected, or the client was closed.
            counts = not attempt.expired if outcome is not None else attempt.may_have_sent
            record.end(outcome, error, counts=counts)
            if counts:
                self._sent += 1
                self._waited = 0.0


class _Attempt:
    """One attempt in progress."""

    def __init__(self, operation: RecordedOperation, request: Request, earlier: int, waited: float) -> None:
        self._operation = operation
        self._earlier = earlier
        self._waited = waited
        self._began = time.perf_counter()
        self._known: Attributes = {}
        self._span: Span = INVALID_SPAN
        self.request = request
        self.context = operation.context
        self._start()

    @harmless
    def _start(self) -> None:
        recorder = self._operation.recorder
        self._known = recorder.known(self.request)
        if recorder.tracer is not None and self._operation.span.is_recording():
            attributes = dict(self._known)
            if self._earlier:
                attributes["http.request.resend_count"] = self._earlier
            self._span = recorder.tracer.start_span(
                attempt_name(self._known), context=self.context, kind=SpanKind.CLIENT, attributes=attributes
            )
            self.context = trace.set_span_in_context(self._span, self.context)
        if recorder.traceparent:
            headers: dict[str, str] = {}
            _PROPAGATOR.inject(headers, self.context)
            if headers and "traceparent" not in map(str.lower, self.request.headers):
                self.request = self.request.with_headers(headers)

    @harmless
    def end(self, outcome: Outcome | None, error: BaseException | None, *, counts: bool) -> None:
        """End the span and record the metrics.

        Args:
            outcome: The attempt's outcome, or None if it raised an error.
            error: That error.
            counts: Whether a request was or may have been sent, or could not be.
        """
        if outcome is not None:
            verdict, found = outcome.verdict, of_attempt(outcome)
        else:
            verdict, found = Verdict.UNKNOWN if counts else Verdict.NOT_SENT, {}
        if error is not None:
            found["error.type"] = of_error(error)["error.type"]
        if counts:
            self._operation.attempted(self._waited, verdict)
            self._measure(verdict, found)
        self._end_span(verdict, found)

    @harmless
    def _end_span(self, verdict: Verdict, found: Attributes) -> None:
        if self._span.is_recording():
            self._span.set_attributes({**found, "videoapi.verdict": verdict.value})
            if verdict is not Verdict.DONE:
                # Without a description: a reason may name what a server sent.
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    @harmless
    def _measure(self, verdict: Verdict, found: Attributes) -> None:
        instruments = self._operation.recorder.instruments
        if instruments is None:
            return
        # The full URL is for spans only.
        known = {name: value for name, value in self._known.items() if name != "url.full"}
        instruments.request_duration.record(time.perf_counter() - self._began, {**known, **found})
        operation = self._operation.measured
        instruments.attempts.add(1, {**operation, "videoapi.verdict": verdict.value})
        instruments.permit_wait.record(self._waited, operation)
