"""The waits for proof of what became of creates."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span

from videoapi.telemetry.guard import harmless
from videoapi.telemetry.operation import enclosing

if TYPE_CHECKING:
    from videoapi.telemetry.recorder import Recorder

_NAME: Final = "videoapi.settle"


class Settle:
    """A context in which the client waits, or looks for a room.

    Args:
        recorder: The client's recorder.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._operation = enclosing()
        self._began = time.perf_counter()
        self._span: Span = INVALID_SPAN
        self._context = otel_context.get_current()
        self._start()

    @harmless
    def _start(self) -> None:
        if self._recorder.tracer is not None:
            self._span = self._recorder.tracer.start_span(_NAME)
            self._context = trace.set_span_in_context(self._span)

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        self._end()

    @harmless
    def _end(self) -> None:
        self._span.end()
        seconds = time.perf_counter() - self._began
        if self._operation is None:
            return
        self._operation.settled(seconds)
        if self._recorder.instruments is not None:
            self._recorder.instruments.settle_wait.record(seconds, self._operation.measured)
