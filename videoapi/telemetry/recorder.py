"""What one client records: finds the providers, and begins operations."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Final
from weakref import ReferenceType, ref

from opentelemetry import metrics, trace
from opentelemetry.trace import NoOpTracer, Tracer

from videoapi.config import BaseUrl, __version__
from videoapi.protocol.routes import Request
from videoapi.telemetry.attempt import AttemptRecorder
from videoapi.telemetry.attributes import Attributes, Target
from videoapi.telemetry.guard import harmless
from videoapi.telemetry.instruments import NAME, Instruments, Watched, instruments_of
from videoapi.telemetry.operation import RecordedOperation
from videoapi.telemetry.settings import MeterProvider, Telemetry, TracerProvider
from videoapi.telemetry.settle import Settle

_RECHECK: Final = 0.1
"""Seconds between two looks for global providers: a look costs as much as a hundredth of a call."""


class Recorder:
    """Records the operations of one client as spans and metrics.

    Without an SDK it stays inactive, and asks only now and then whether one was installed.

    Args:
        base: The base URL of the API.
        settings: The providers and options.
    """

    def __init__(self, base: BaseUrl, settings: Telemetry) -> None:
        self.target: Target = Target(base.origin, base.prefix)
        self.traceparent: bool = settings.traceparent
        self.tracer: Tracer | None = None
        self.instruments: Instruments | None = None
        self._settings = settings
        self._client: ReferenceType[Watched] | None = None
        self._complete = False
        self._next_look = 0.0
        self._routes: dict[str, Attributes] = {}

    def watch(self, client: Watched) -> None:
        """Measure the calls in flight and the retry budget of a client."""
        self._client = ref(client)

    def active(self) -> bool:
        """Return whether spans or metrics are recorded, or headers sent."""
        if not self._complete and time.monotonic() >= self._next_look:
            self._look()
        return self.tracer is not None or self.instruments is not None

    def _look(self) -> None:
        self._next_look = time.monotonic() + _RECHECK
        # One that raises does not stop the other.
        self._look_for_tracer()
        self._look_for_meter()
        self._complete = self.tracer is not None and self.instruments is not None

    @harmless
    def _look_for_tracer(self) -> None:
        if self.tracer is not None:
            return
        tracers = self._settings.tracer_provider or trace.get_tracer_provider()
        # An API without an SDK passes the caller's span on, for its `traceparent`.
        if self.traceparent or _records(tracers):
            tracer = tracers.get_tracer(NAME, __version__)
            self.tracer = tracer if self.traceparent or not isinstance(tracer, NoOpTracer) else None

    @harmless
    def _look_for_meter(self) -> None:
        if self.instruments is not None:
            return
        meters = self._settings.meter_provider or metrics.get_meter_provider()
        if _records(meters):
            self.instruments = instruments_of(meters)
            client = None if self._client is None else self._client()
            if client is not None:
                self.instruments.watch(client, self.target.server)

    def operation(
        self, name: str, request: Request | None = None, *, all_calls: bool = False, is_run: bool = False
    ) -> RecordedOperation:
        """Begin an operation, whose span is a child of the current one.

        Args:
            name: Its name, such as `rooms.create`.
            request: Its request; None if it only has children.
            all_calls: Whether calls of other requests are part of it, too.
            is_run: Whether it is a bulk run.
        """
        return RecordedOperation(self, name, request, all_calls=all_calls, is_run=is_run)

    def call(self, operation: RecordedOperation) -> AttemptRecorder:
        """Return the record of a call that is part of an operation."""
        return AttemptRecorder(operation)

    def settling(self) -> AbstractContextManager[object]:
        """Return a context in which the client waits for proof of what became of creates."""
        return Settle(self)

    def known(self, request: Request | None) -> Attributes:
        """Return the attributes that are known before anything is sent."""
        if request is None:
            return self.target.server
        route = request.route
        if route.custom:
            return self.target.of_route(route)
        known = self._routes.get(route.name)
        if known is None:
            known = self._routes[route.name] = self.target.of_route(route)
        return known


def _records(provider: TracerProvider | MeterProvider) -> bool:
    """Return whether a provider is not one of the API's own, which record nothing."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
