"""The metrics, created once per meter provider: instruments of one name must not be created per client."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

from videoapi.config import __version__
from videoapi.telemetry.attributes import Attributes, Value
from videoapi.telemetry.settings import MeterProvider

NAME: Final = "videoapi"
# Those of `http.client.request.duration` in the semantic conventions.
_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# Calls last up to their `timeout` of 90 s; settle waits and runs last longer.
_SECONDS: Final = (*_REQUEST_SECONDS, 25, 50, 100, 250, 1000)


class Snapshot(Protocol):
    """The part of a client's statistics that is measured."""

    @property
    def state(self) -> str: ...
    @property
    def calls_in_flight(self) -> int: ...
    @property
    def retry_budget_left(self) -> float: ...


class Watched(Protocol):
    """A client."""

    def stats(self) -> Snapshot: ...


class Instruments:
    """The instruments of one meter.

    Args:
        meter: Creates them.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[Watched, Attributes] = WeakKeyDictionary()

        def durations(name: str, description: str, boundaries: Sequence[float] = _SECONDS) -> Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=boundaries
            )

        self.operation_duration: Histogram = durations(
            "videoapi.operation.duration", "Duration of calls, bulk runs and streams, waits and retries included."
        )
        self.request_duration: Histogram = durations(
            "http.client.request.duration", "Duration of HTTP client requests.", _REQUEST_SECONDS
        )
        self.permit_wait: Histogram = durations(
            "videoapi.permit.wait", "Wait of an attempt for a permit, the account's pause and its rate."
        )
        self.settle_wait: Histogram = durations("videoapi.settle.wait", "Wait for proof of what became of creates.")
        self.attempts: Counter = meter.create_counter(
            "videoapi.attempts", unit="{attempt}", description="Requests by what their outcome proves."
        )
        self.unknown_outcomes: Counter = meter.create_counter(
            "videoapi.unknown_outcomes", unit="{operation}", description="Writes that ended with an unknown outcome."
        )
        meter.create_observable_up_down_counter(
            "videoapi.calls.in_flight", [self._in_flight], unit="{call}", description="Calls that have not ended."
        )
        meter.create_observable_gauge(
            "videoapi.retry_budget.left",
            [self._budget_left],
            unit="{unit}",
            description="Retry budget left, of the account with the least; a retry costs 10.",
        )

    def watch(self, client: Watched, server: Attributes) -> None:
        """Measure a client for as long as it exists and is open."""
        with self._lock:
            self._clients[client] = server

    def _in_flight(self, options: CallbackOptions) -> Iterable[Observation]:
        for server, stats in self._by_server().items():
            yield Observation(sum(one.calls_in_flight for one in stats), dict(server))

    def _budget_left(self, options: CallbackOptions) -> Iterable[Observation]:
        for server, stats in self._by_server().items():
            yield Observation(min(one.retry_budget_left for one in stats), dict(server))

    def _by_server(self) -> Mapping[tuple[tuple[str, Value], ...], list[Snapshot]]:
        # The exporter calls this in its own thread.
        with self._lock:
            clients = list(self._clients.items())
        found: dict[tuple[tuple[str, Value], ...], list[Snapshot]] = {}
        for client, server in clients:
            stats = client.stats()
            if stats.state == "open":
                found.setdefault(tuple(server.items()), []).append(stats)
        return found


_lock: Final = threading.Lock()
_known: Final[WeakKeyDictionary[MeterProvider, Instruments]] = WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the instruments of a meter provider."""
    with _lock:
        found = _known.get(provider)
        if found is None:
            found = _known[provider] = Instruments(provider.get_meter(NAME, __version__))
        return found
