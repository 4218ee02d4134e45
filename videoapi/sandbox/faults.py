"""Scripted trouble: which request meets which fault, and what it is told. Nothing is sent here."""

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
    "status": "answers an HTTP status without executing",
    "throttle": "answers 429 without executing, with a body that is no JSON",
    "expired": "answers 401 CREDENTIAL_EXPIRED without executing",
    "suspended": "answers 403 PROJECT_SUSPENDED without executing",
    "html": "answers a proxy's HTML page without executing",
    "empty": "answers an empty body without executing",
    "redirect": "answers 302 without executing",
    "delay": "waits, then goes on as usual",
    "hang": "never answers and never executes",
    "drop_before": "closes the connection without executing",
    "reset_before": "resets the connection without executing",
    "drop_after": "executes, then closes the connection without an answer",
    "reset_after": "executes, then resets the connection without an answer",
    "status_after": "executes, then answers an HTTP status",
    "late": "closes the connection, and executes a while later",
    "late_status": "answers an HTTP status, and executes a while later",
    "cut": "executes, sends the first part of the body, then closes the connection",
    "truncated": "executes, sends the first part of the body as if it were all",
    "result_after": "executes, then answers with an error's `result` behind what was asked for",
    "stray": "executes and answers, then writes an answer to the connection that nobody asked for",
    "refuse": "executes, but closes the listening socket for a while",
}
_ALIASES = {"drop": "drop_before", "reset": "reset_before", "429": "throttle", "page": "html"}
_CODES = {400: 10009, 401: 10000, 403: 40002, 404: 40001, 409: 10030}
_REASONS = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


def _bytes(body: Mapping[str, object] | str | bytes | None) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else dump(body)


@attrs.define
class Fault:
    """One scripted fault, as `Sandbox.fault` made it; `hits` counts the requests that met it."""

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
        """Let no further request meet this fault."""
        self._cancelled = True

    @property
    def spent(self) -> bool:
        """Whether no further request can meet this fault."""
        return self._cancelled or (self.times is not None and self.hits >= self.times)

    def meets(self, route: str, rng: random.Random) -> bool:
        """Whether a request of this route meets the fault; counts it if so."""
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
    """The faults in force, in the order in which they were added; a request meets at most one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = []
        self._planned: dict[str, deque[Fault | None]] = {}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        with self._lock:
            self._faults = [known for known in self._faults if not known.spent] + [fault]
        return fault

    def plan(self, route: str, steps: Iterable[Fault | None]) -> None:
        """Plan the next requests of a route one by one; what was planned for it before is forgotten."""
        with self._lock:
            self._planned[route] = deque(steps)

    def clear(self) -> None:
        """Cancel them all."""
        with self._lock:
            self._planned = {}
            for fault in self._faults:
                fault.cancel()
            self._faults = []

    def met_by(self, route: str) -> Fault | None:
        """The fault that a request of this route meets, if any: the planned one before all others."""
        if not self._faults and not self._planned:
            return None
        with self._lock:
            steps = self._planned.get(route)
            planned = steps.popleft() if steps else None
            if planned is not None and not planned.spent:
                planned.hits += 1
                return planned
            return next((fault for fault in self._faults if fault.meets(route, self._rng)), None)


class FaultOptions(TypedDict, total=False):
    """What `Sandbox.fault` may be told beside route, kind and times."""

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
"""One step of a plan: nothing, a kind, or a kind and what `Sandbox.fault` would be told beside it."""


def scripted(route: str, kind: str | int, times: int | None, **details: Unpack[FaultOptions]) -> Fault:
    """Read what `Sandbox.fault` was told.

    Raises:
        ValueError: the route or the kind is unknown, or a number makes no sense.
    """
    spelled = str(kind).strip().lower().replace("-", "_")
    spelled = _ALIASES.get(spelled, spelled)
    if spelled.isdigit():
        details["status"] = int(spelled)
        spelled = "status"
    if spelled not in KINDS:
        kinds = "; ".join(f"{name}: {does}" for name, does in KINDS.items())
        raise ValueError(f"unknown fault {kind!r}; known are {kinds}")
    rate = details.get("rate")
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"rate={rate!r} is no probability from 0 to 1")
    if times is not None and times < 1:
        raise ValueError(f"times={times!r}: a fault happens at least once, or with None for ever")
    return Fault(spelled, selected(route), times, **details)


def planned(route: str, step: FaultStep) -> Fault | None:
    """Read one step of a plan.

    Raises:
        ValueError: the route or the kind is unknown, or a number makes no sense.
    """
    if step is None:
        return None
    if isinstance(step, str | int):
        return scripted(route, step, 1)
    kind, details = step
    return scripted(route, kind, 1, **details)


def stray_response(fault: Fault) -> bytes:
    """What the fault `stray` writes: the bytes that it was told, or a whole answer of the status and code."""
    if fault.body is not None:
        return fault.body
    status = HTTPStatus(fault.status or 401)
    body = dump(_envelope(status, fault.code))
    head = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def fault_response(fault: Fault) -> HttpResponse | None:
    """What a fault answers in place of the service; None for those that let it execute or say nothing."""
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
    # Without a code of its own the status stands in the body too: it says no more than the status does.
    code = code if code is not None else _CODES.get(status, status)
    return {"result": code, "error": f"[Reason] Scripted fault {status}", "desc": ""}


def _seconds(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
