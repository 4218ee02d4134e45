"""Scripted faults: which request meets which fault, and the response it gets. Sends nothing itself."""

import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TypedDict, Unpack

import attrs

from videoapi.sandbox.responses import HttpResponse, dump, named_error
from videoapi.sandbox.routing import selected

KINDS: dict[str, str] = {
    "status": "responds with an HTTP status without executing",
    "throttle": "responds 429 without executing, with a body that is not JSON",
    "expired": "responds 401 CREDENTIAL_EXPIRED without executing",
    "suspended": "responds 403 PROJECT_SUSPENDED without executing",
    "html": "responds with a proxy's HTML page without executing",
    "empty": "responds with an empty body without executing",
    "redirect": "responds 302 without executing",
    "delay": "waits, then proceeds as usual",
    "hang": "never responds and never executes",
    "drop_before": "closes the connection without executing",
    "reset_before": "resets the connection without executing",
    "drop_after": "executes, then closes the connection without a response",
    "reset_after": "executes, then resets the connection without a response",
    "status_after": "executes, then responds with an HTTP status",
    "late": "closes the connection, then executes after a delay",
    "late_status": "responds with an HTTP status, then executes after a delay",
    "cut": "executes, sends the first part of the body, then closes the connection",
    "truncated": "executes, then sends the first part of the body as if it were complete",
    "result_after": "executes, then responds with the requested data followed by an error's `result`",
    "stray": "executes and responds, then writes an unsolicited response to the connection",
    "refuse": "executes, but closes the listening socket for a while",
}
"""The kinds of faults, and for each what the sandbox does with a request that meets it."""
# The client gets no response to a request that meets one of these.
UNANSWERED = frozenset(("hang", "drop_before", "reset_before", "drop_after", "reset_after", "late"))
# The kinds that use the fields `status` and `seconds` of a fault.
WITH_STATUS = frozenset(("status", "status_after", "late_status", "html", "empty", "redirect", "stray"))
WITH_SECONDS = frozenset(("delay", "refuse", "late", "late_status", "stray"))
_ALIASES = {"drop": "drop_before", "reset": "reset_before", "429": "throttle", "page": "html"}
_CODES = {400: 10009, 401: 10000, 403: 40002, 404: 40001, 409: 10030}
_REASONS = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


def _bytes(body: Mapping[str, object] | str | bytes | None) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else dump(body)


@attrs.define
class Fault:
    """A scripted fault, as returned by `Sandbox.fault`.

    Args:
        kind: One of `KINDS`.
        routes: Names of the routes to which it applies.
        times: Number of requests that meet it; None for all.
        rate: The probability, from 0 to 1, with which a request meets it; None for every request.
        seconds: The duration or delay of the kinds that have one; None for the kind's own.
        status: The HTTP status, for kinds that respond with one.
        retry_after: The `Retry-After` header, in seconds or as text.
        code: The `result` in the body, for kinds that have one.
        body: The complete body in place of the kind's own.
        at: Where `cut` and `truncated` cut: below 1 a fraction of the body, otherwise bytes.
        after: Number of requests that pass before the first one meets it.
        location: The URL that `redirect` points to.
        hits: Number of requests that have met it.
    """

    kind: str
    routes: frozenset[str]
    times: int | None = 1
    rate: float | None = None
    seconds: float | None = None
    status: int | None = None
    retry_after: float | str | None = None
    code: int | None = None
    body: bytes | None = attrs.field(default=None, converter=_bytes)
    at: float | None = None
    after: int = 0
    location: str | None = None
    hits: int = 0
    _cancelled: bool = False

    def cancel(self) -> None:
        """Stop applying this fault."""
        self._cancelled = True

    @property
    def spent(self) -> bool:
        """Whether no further request can meet this fault."""
        return self._cancelled or (self.times is not None and self.hits >= self.times)

    def meets(self, route: str, rng: random.Random) -> bool:
        """Return whether a request to this route meets the fault, and count it if so.

        Args:
            route: The name of the request's route.
            rng: The random source of the sandbox.
        """
        if self.spent or route not in self.routes:
            return False
        if self.rate is not None and rng.random() >= self.rate:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


class Faults:
    """The active faults, in the order in which they were added. A request meets at most one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: dict[int, Fault] = {}
        self._added = 0
        self._planned: dict[str, deque[Fault | None]] = {}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Activate a fault."""
        with self._lock:
            self._added += 1
            self._faults = {**self._unspent(), self._added: fault}
        return fault

    def active(self) -> dict[int, Fault]:
        """Return the faults that requests can still meet, by number. A number is never reused."""
        with self._lock:
            return self._unspent()

    def planned(self) -> dict[str, int]:
        """Return how many steps of each route's plan are left."""
        with self._lock:
            return {route: len(steps) for route, steps in self._planned.items() if steps}

    def cancel(self, number: int) -> None:
        """Cancel an active fault.

        Raises:
            ValueError: If no active fault has this number.
        """
        fault = self.active().get(number)
        if fault is None:
            raise ValueError(f"fault {number} is over or was cancelled")
        fault.cancel()

    def plan(self, route: str, steps: Iterable[Fault | None]) -> None:
        """Plan the faults of the next requests to a route, one by one. Replaces an earlier plan for it."""
        with self._lock:
            self._planned[route] = deque(steps)

    def clear(self) -> None:
        """Cancel all faults and plans."""
        with self._lock:
            self._planned = {}
            for fault in self._faults.values():
                fault.cancel()
            self._faults = {}

    def met_by(self, route: str) -> Fault | None:
        """Return the fault that a request to this route meets, if any. Planned faults take precedence."""
        if not self._faults and not self._planned:
            return None
        with self._lock:
            steps = self._planned.get(route)
            planned = steps.popleft() if steps else None
            if planned is not None and not planned.spent:
                planned.hits += 1
                return planned
            return next((fault for fault in self._faults.values() if fault.meets(route, self._rng)), None)

    def _unspent(self) -> dict[int, Fault]:
        return {number: fault for number, fault in self._faults.items() if not fault.spent}


class FaultOptions(TypedDict, total=False):
    """The options of `Sandbox.fault` in addition to route, kind and times."""

    rate: float | None
    seconds: float | None
    status: int | None
    retry_after: float | str | None
    code: int | None
    body: Mapping[str, object] | str | bytes | None
    at: float | None
    after: int
    location: str | None


FaultStep = str | int | tuple[str | int, FaultOptions] | None
"""One step of a plan: None, a kind, or a kind with options of `Sandbox.fault`."""


def scripted(route: str, kind: str | int, times: int | None, **details: Unpack[FaultOptions]) -> Fault:
    """Build a fault from the arguments of `Sandbox.fault`.

    Raises:
        ValueError: If the route or kind is unknown, or a number is out of range.
    """
    spelled = str(kind).strip().lower().replace("-", "_")
    spelled = _ALIASES.get(spelled, spelled)
    if spelled.isdecimal():
        details["status"] = int(spelled)
        spelled = "status"
    if spelled not in KINDS:
        kinds = "; ".join(f"{name}: {does}" for name, does in KINDS.items())
        raise ValueError(f"unknown fault {kind!r}; known are {kinds}")
    rate = details.get("rate")
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"rate={rate!r} is not a probability from 0 to 1")
    if times is not None and times < 1:
        raise ValueError(f"times={times!r}: a fault happens at least once, or with None for ever")
    return Fault(spelled, selected(route), times, **details)


def planned(route: str, step: FaultStep) -> Fault | None:
    """Build the fault of one step of a plan; None leaves the request alone.

    Raises:
        ValueError: If the route or kind is unknown, or a number is out of range.
    """
    if step is None:
        return None
    if isinstance(step, str | int):
        return scripted(route, step, 1)
    kind, details = step
    return scripted(route, kind, 1, **details)


def stray_response(fault: Fault) -> bytes:
    """Return the bytes that a `stray` fault writes: its `body`, or a complete response with its status and code."""
    if fault.body is not None:
        return fault.body
    status = HTTPStatus(fault.status or 401)
    body = dump(_envelope(status, fault.code))
    head = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def fault_response(fault: Fault) -> HttpResponse | None:
    """Return the response that replaces the service's own; None if the fault has none."""
    headers = {} if fault.retry_after is None else {"Retry-After": _seconds(fault.retry_after)}
    kind = fault.kind
    if kind in ("status", "status_after", "late_status"):
        status = fault.status or 503
        body = fault.body if fault.body is not None else dump(_envelope(status, fault.code))
        return HttpResponse(body, status, headers=headers)
    if kind == "throttle":
        return _named(fault, 429, b"Too Many Requests", "text/plain; charset=utf-8", headers)
    if kind == "expired":
        return _named(fault, 401, dump(named_error("CREDENTIAL_EXPIRED", "The credential has expired")))
    if kind == "suspended":
        return _named(fault, 403, dump(named_error("PROJECT_SUSPENDED", "The project is suspended")))
    if kind == "html":
        status = fault.status or 502
        page = f"<html><body><h1>{status} {_REASONS.get(status, 'Error')}</h1></body></html>".encode()
        return _named(fault, status, page, "text/html; charset=utf-8", headers)
    if kind == "empty":
        return HttpResponse(b"", fault.status or 200, headers=headers)
    if kind == "redirect":
        location = fault.location or "https://elsewhere.invalid/"
        return _named(fault, fault.status or 302, b"Found", "text/plain", {**headers, "Location": location})
    return None


def _named(
    fault: Fault,
    status: int,
    body: bytes,
    content_type: str = "application/json; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    return HttpResponse(body if fault.body is None else fault.body, status, content_type, headers or {})


def _envelope(status: int, code: int | None) -> dict[str, object]:
    if status < 400 and code is None:
        return {"result": 0}
    # Without a code, the body repeats the status, so that it adds no information.
    code = code if code is not None else _CODES.get(status, status)
    return {"result": code, "error": f"[Reason] Scripted fault {status}", "desc": ""}


def _seconds(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
