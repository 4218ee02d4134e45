"""One operation in progress, such as a call, a bulk run or a stream: its span, its attempts and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode

from videoapi.errors import VideoAPIError
from videoapi.protocol import types
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Verdict
from videoapi.telemetry.attributes import Attributes, Value, of_error
from videoapi.telemetry.guard import harmless

if TYPE_CHECKING:
    from videoapi.telemetry.recorder import Recorder

MOST_CHILDREN: Final = 1000
"""How many calls of a bulk run are in its trace: backends drop or cut traces of tens of thousands of spans."""
_OPERATION: Final = otel_context.create_key("videoapi-operation")


def enclosing() -> RecordedOperation | None:
    """Return the operation within which the current code runs."""
    found = otel_context.get_value(_OPERATION)
    return found if isinstance(found, RecordedOperation) else None


class RecordedOperation:
    """An operation in progress. As a context manager, it is current within, and ends with it.

    Args:
        recorder: The client's recorder.
        name: Its name, such as `rooms.create`.
        request: Its request; None if it only has children.
        all_calls: Whether calls of other requests are part of it, too.
        is_run: Whether it is a bulk run.
    """

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        request: Request | None,
        *,
        all_calls: bool,
        is_run: bool,
    ) -> None:
        self.recorder = recorder
        self._request = request
        self._all_calls = all_calls
        self.measured: Attributes = {"videoapi.operation": name, **recorder.target.server}
        """What its metrics are counted by."""
        self._name = name
        self._began = time.perf_counter()
        self._attempts = 0
        self._waited = self._settled = 0.0
        self._executed = False
        self._last: Outcome | None = None
        self._error: Exception | None = None
        self._unknown = 0
        self._totals: Mapping[str, Value] = {}
        self._ended = False
        self._children = 0
        self._run: RecordedOperation | None = self if is_run else None
        self.span: Span = INVALID_SPAN
        self.context: Context = otel_context.get_current()
        self._start()

    @harmless
    def _start(self) -> None:
        links: list[Link] = []
        within = enclosing()
        if self._run is None and within is not None:
            self._run = within._run
        if self._run is not None and self._run is not self:
            self._run._children += 1
            if self._run._children > MOST_CHILDREN and self._run.span.is_recording():
                links = [Link(self._run.span.get_span_context())]
                self.context = trace.set_span_in_context(INVALID_SPAN, self.context)
        if self.recorder.tracer is not None:
            kind = SpanKind.INTERNAL if self._request is None else SpanKind.CLIENT
            attributes = {"videoapi.operation": self._name, **self.recorder.known(self._request)}
            self.span = self.recorder.tracer.start_span(
                self._name, context=self.context, kind=kind, attributes=attributes, links=links
            )
            self.context = trace.set_span_in_context(self.span, self.context)
        self.context = otel_context.set_value(_OPERATION, self, self.context)

    # While it runs

    @contextmanager
    def current(self) -> Generator[None, None, None]:
        """Make its span the current one, within one task."""
        token = otel_context.attach(self.context)
        try:
            yield
        finally:
            otel_context.detach(token)

    def __enter__(self) -> Self:
        self._token = otel_context.attach(self.context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        self.end(error)

    def covers(self, request: Request) -> bool:
        """Return whether a call is part of it, and no operation of its own."""
        return self._all_calls or request is self._request

    def saw(self, outcome: Outcome) -> None:
        """Note the outcome of one of its calls."""
        self._last = outcome

    def failed(self, error: Exception) -> None:
        """Note the error that the operation's caller will raise."""
        self._error = error

    def ran(self, totals: Mapping[str, Value], unknown: int, error: Exception | None) -> None:
        """Note the result of a bulk run.

        Args:
            totals: Numbers, by name.
            unknown: How many outcomes stayed unknown.
            error: What ended it early, or None.
        """
        self._totals = {f"videoapi.run.{name}": value for name, value in totals.items()}
        self._unknown, self._error = unknown, error

    def streamed(self, totals: Mapping[str, Value]) -> None:
        """Note the totals of a stream."""
        self._totals = {f"videoapi.stream.{name}": value for name, value in totals.items()}

    def attempted(self, waited: float, verdict: Verdict) -> None:
        """Count an attempt, and add its wait for a permit."""
        self._attempts += 1
        self._waited += waited
        self._executed = self._executed or verdict in (Verdict.DONE, Verdict.UNKNOWN)

    def settled(self, seconds: float) -> None:
        """Add a wait for proof of what became of creates."""
        self._settled += seconds

    # Its end

    @harmless
    def end(self, error: BaseException | None = None) -> None:
        """End the span and record the metrics. Ending it again has no effect."""
        if self._ended:
            return
        self._ended = True
        failure = error if error is not None and not isinstance(error, GeneratorExit) else self._error
        verdict = self._verdict(failure)
        found = {**({} if failure is None else of_error(failure)), "videoapi.verdict": verdict}
        self._end_span(failure, found)
        self._measure(failure, verdict, found)

    def _verdict(self, failure: BaseException | None) -> str:
        last = None if self._last is None else self._last.verdict
        if failure is None:
            return Verdict.DONE.value
        if isinstance(failure, asyncio.CancelledError):
            return "cancelled"
        if self._run is self:
            return "stopped"
        if failure.may_have_executed if isinstance(failure, VideoAPIError) else self._executed:
            return Verdict.UNKNOWN.value
        if last is None:
            return Verdict.NOT_SENT.value
        # A create that was in doubt, and was proven absent.
        return last.value if last not in (Verdict.UNKNOWN, Verdict.DONE) else Verdict.REJECTED.value

    @harmless
    def _end_span(self, failure: BaseException | None, found: Attributes) -> None:
        span = self.span
        if span.is_recording():
            attributes: Attributes = {**found, **self._totals}
            if self._request is not None:
                attributes["videoapi.attempts"] = self._attempts
            if self._last is not None and self._last.status is not None and self._last.verdict is Verdict.DONE:
                attributes.setdefault("http.response.status_code", self._last.status)
            if self._waited:
                attributes["videoapi.permit.wait"] = self._waited
            if self._settled:
                attributes["videoapi.settle.wait"] = self._settled
            span.set_attributes(attributes)
            if failure is not None:
                # Without a description: a message may hold names.
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    @harmless
    def _measure(self, failure: BaseException | None, verdict: str, found: Attributes) -> None:
        instruments = self.recorder.instruments
        if instruments is None:
            return
        attributes = {**self.measured, "videoapi.verdict": verdict}
        if failure is not None:
            attributes["error.type"] = found["error.type"]
        instruments.operation_duration.record(time.perf_counter() - self._began, attributes)
        doubtful = verdict == Verdict.UNKNOWN.value or bool(getattr(failure, "may_have_executed", False))
        writes = self._request is not None and self._request.route.operation is not types.Operation.SAFE
        # The items of a run are counted by it, once they are settled.
        unknown = 1 if self._run is None and doubtful and writes else self._unknown
        if unknown:
            instruments.unknown_outcomes.add(unknown, self.measured)
