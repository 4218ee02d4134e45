"""The latest requests that the sandbox received, and what became of each."""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

import attrs
import msgspec
from aiohttp import web

from videoapi.sandbox.faults import UNANSWERED, Fault

KEPT = 500
# Longer paths and results are cut; the parsed part of a body is limited, too.
_LONGEST = 200
_PARSED = 64 * 1024
# A streamed body that met one of these is complete, and begins with the result of a success.
_WHOLE = frozenset(("delay", "refuse", "stray"))


@attrs.define
class LoggedRequest:
    """A request: `outcome` is `waiting`, `answered`, `no response` or `failed`."""

    number: int
    at: datetime
    method: str
    path: str
    route: str
    started: float
    outcome: str = "waiting"
    status: int | None = None
    result: str | None = None
    fault: str | None = None
    milliseconds: float | None = None


class RequestLog:
    """The last `KEPT` requests, and which of them have changed since the last `take`.

    Args:
        clock: Returns the service's time, an aware datetime.
        changed: Called after each change.
    """

    def __init__(self, clock: Callable[[], datetime], changed: Callable[[], None]) -> None:
        self.requests: deque[LoggedRequest] = deque(maxlen=KEPT)
        self.forgotten: int = 0
        self._clock = clock
        self._changed = changed
        self._number = 0
        self._unsent: dict[int, LoggedRequest] = {}
        self._missed = 0

    def begin(self, method: str, path: str, route: str) -> LoggedRequest:
        """Add a request that has arrived.

        Args:
            method: The HTTP method.
            path: The path, without the query.
            route: The name of the route, empty if the path or method is unknown.
        """
        self._number += 1
        request = LoggedRequest(
            self._number, self._clock(), method[:_LONGEST], path[:_LONGEST], route, time.perf_counter()
        )
        self.requests.append(request)
        self._mark(request)
        return request

    def end(self, request: LoggedRequest, response: web.StreamResponse | None, fault: Fault | None) -> None:
        """Note what became of a request.

        Args:
            request: The request, from `begin`.
            response: What the handler returned; None if it raised.
            fault: The fault that the request met.
        """
        request.milliseconds = (time.perf_counter() - request.started) * 1000
        request.fault = fault.kind if fault else None
        if response is None:
            request.outcome = "failed"
        elif fault is not None and fault.kind in UNANSWERED:
            request.outcome = "no response"
        else:
            request.outcome, request.status = "answered", response.status
            request.result = _result(response, fault)
        self._mark(request)

    def take(self) -> tuple[list[LoggedRequest], int]:
        """Return the requests that have changed since the last call, and how many more were too many to keep."""
        changed, missed = list(self._unsent.values()), self._missed
        self._unsent, self._missed = {}, 0
        return changed, missed

    def clear(self) -> None:
        """Forget all requests; `forgotten` is the number of the last one."""
        self.requests.clear()
        self.take()
        self.forgotten = self._number
        self._changed()

    def _mark(self, request: LoggedRequest) -> None:
        self._unsent[request.number] = request
        if len(self._unsent) > KEPT:
            del self._unsent[next(iter(self._unsent))]
            self._missed += 1
        self._changed()


class _Envelope(msgspec.Struct):
    result: object = None
    error_code: object = None


def _result(response: web.StreamResponse, fault: Fault | None) -> str | None:
    if response.content_type != "application/json":
        return None
    body = response.body if isinstance(response, web.Response) else None
    if body is None:
        return "0" if response.status < 300 and (fault is None or fault.kind in _WHOLE) else None
    if not isinstance(body, bytes) or len(body) > _PARSED:
        return None
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = envelope.result if envelope.result is not None else envelope.error_code
    return None if found is None else str(found)[:_LONGEST]
