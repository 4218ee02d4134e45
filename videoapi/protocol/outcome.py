"""What became of an attempt, as one value; it carries bytes or an open body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs

from videoapi.protocol import envelope
from videoapi.protocol.backoff import retry_after_of
from videoapi.protocol.classify import DONE, Body, Said, combine, without_answer
from videoapi.protocol.routes import Request
from videoapi.protocol.statuses import DISTRUSTED_429, TRUSTED_503
from videoapi.protocol.verdicts import Judgement, Kind, Phase, Row, Verdict

_LIMITED: Final = frozenset({425, 429, "RATE_LIMITED"})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Stream(Protocol):
    """A body that is still open."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Whole:
    """A body that is here already, in the place of one that is still open."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body:
            yield self._body

    async def aclose(self) -> None:
        """Nothing is open."""


@attrs.frozen
class Fault:
    """What an answer says of its failure, in the service's own words."""

    code: int | str | None = None
    error: str | None = None
    desc: str | None = None
    request_id: str | None = None


@attrs.define(kw_only=True)
class Outcome:
    """What became of a request; a value: change a copy (`attrs.evolve`).

    A middleware gets one from `send`, and may return another; make an answer of its own with
    `answered(request, status, headers, body)`. It is not frozen, as one is made for every call, and
    making a frozen one costs three times as much.
    """

    judgement: Judgement
    phase: Phase = Phase.ANSWERED
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    stream: Stream | None = attrs.field(default=None, repr=False)
    value: Any = attrs.field(default=None, repr=False)
    """The decoded payload of a success."""
    fault: Fault | None = None
    retry_after: float | None = None
    reason: str = ""
    """Why there is no answer, in words that hold no secret."""
    waited: float = 0.0
    """Seconds spent waiting for a permit."""
    attempts: int = 1
    may_have_executed: bool = False

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def code(self) -> int | str | None:
        return self.fault.code if self.fault is not None else None


def answered(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Judge a complete answer; never raises, for any bytes."""
    if status in (200, 201) and request.reader is not None:
        value = _read_fast(request, body)
        if value is not None:
            return Outcome(judgement=DONE, status=status, headers=headers, body=body, value=value)
    return _read_slowly(request, status, headers, body)


def opened(status: int, headers: Mapping[str, str], stream: Stream) -> Outcome:
    """Return the outcome of a request whose successful body is still open."""
    return Outcome(judgement=DONE, status=status, headers=headers, stream=stream)


def cut_short(request: Request, status: int, headers: Mapping[str, str], reason: str, kind: Kind) -> Outcome:
    """Judge an answer whose body did not arrive whole."""
    judgement = _combine(request, status, headers, Body.CUT)
    if 200 <= status <= 299:
        judgement = attrs.evolve(judgement, kind=kind)
    return _unsuccessful(judgement, status, headers, Fault(), reason=reason)


def unanswered(request: Request, phase: Phase, kind: Kind, reason: str) -> Outcome:
    """Judge an attempt without an answer."""
    judgement = without_answer(request.route.operation, phase, kind)
    return Outcome(
        judgement=judgement,
        phase=phase,
        reason=reason,
        may_have_executed=judgement.verdict is Verdict.UNKNOWN,
    )


def _read_fast(request: Request, body: bytes) -> Any:
    reader = request.reader
    assert reader is not None
    # A key that stands twice wants the careful reading.
    if body.count(b'"result"') != 1 or (reader.key is not None and body.count(reader.quoted) > 1):
        return None
    try:
        result, value = reader.fast(body)
    except ValueError:
        return None
    if value is None or not envelope.is_success(result):
        return None
    return value if request.ours is None or request.ours(value) else None


def _read_slowly(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    read = envelope.read(body, result_optional=request.route.result_optional)
    said, value, reason = read.said, None, ""
    if said is Body.SUCCESS and status in (200, 201) and request.reader is not None:
        value, said, reason = _structured(request, read.payload or {})
    judgement = _combine(request, status, headers, said)
    if judgement.verdict is Verdict.DONE:
        return Outcome(judgement=judgement, status=status, headers=headers, body=body, value=value)
    code = None if isinstance(said, Body) else said
    request_id = read.request_id or envelope.spoken(headers.get("X-Request-Id"))
    fault = Fault(code, read.error, read.desc, request_id)
    return _unsuccessful(judgement, status, headers, fault, body, reason or _words(said, status))


def _structured(request: Request, payload: Mapping[str, Any]) -> tuple[Any, Said, str]:
    assert request.reader is not None
    key = request.reader.key
    try:
        value = request.reader.structure(payload if key is None else payload.get(key))
    except ValueError as error:
        return None, Body.FOREIGN, f"the answer fits no model: {error}"
    if value is None:
        return None, Body.FOREIGN, "the answer lacks what was asked for"
    if request.ours is not None and not request.ours(value):
        return None, Body.FOREIGN, "the answer is plainly that to another request"
    return value, Body.SUCCESS, ""


def _combine(request: Request, status: int, headers: Mapping[str, str], said: Said) -> Judgement:
    policy = request.options.retry
    row: Row | None = None
    if (status in _LIMITED or said in _LIMITED) and not policy.trust_429:
        row = DISTRUSTED_429
    elif status == 503 and policy.trust_503 and said in (Body.NONE, Body.CUT) and "Retry-After" in headers:
        row = TRUSTED_503
    return combine(request.route.operation, status, said, row)


def _unsuccessful(
    judgement: Judgement,
    status: int,
    headers: Mapping[str, str],
    fault: Fault,
    body: bytes = b"",
    reason: str = "",
) -> Outcome:
    return Outcome(
        judgement=judgement,
        status=status,
        headers=headers,
        body=body,
        fault=fault,
        retry_after=retry_after_of(headers, _now),
        reason=reason,
        may_have_executed=judgement.verdict is Verdict.UNKNOWN,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _words(said: Said, status: int) -> str:
    match said:
        case Body.SUCCESS:
            return "a success body under a status that is none"
        case Body.BOTH:
            return "two answers in one body"
        case Body.CUT:
            return "a body that is cut short or no JSON"
        case Body.NONE:
            # From 400 on the status says more than the lack of a result.
            return "a redirect" if 300 <= status <= 399 else "" if status >= 400 else "a body without a result"
        case Body.FOREIGN:
            return "the answer lacks what was asked for"
        case _:
            return ""
