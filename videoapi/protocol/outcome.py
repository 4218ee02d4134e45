"""The outcome of an attempt as one value, with a complete or an open body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs

from videoapi.protocol import envelope
from videoapi.protocol.backoff import parse_retry_after
from videoapi.protocol.classify import DONE, BodyKind, BodyResult, classify_no_response, classify_response
from videoapi.protocol.routes import Request
from videoapi.protocol.statuses import DISTRUSTED_429, TRUSTED_503
from videoapi.protocol.types import Classification, ErrorKind, Phase, Rule, Verdict

_LIMITED: Final = frozenset({425, 429, "RATE_LIMITED"})
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Stream(Protocol):
    """A response body that is still open."""

    status: int
    headers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...

    def discard(self) -> None: ...


class BodyInterrupted(Exception):
    """A streamed body was interrupted; `reason` contains no secrets, `rest` is data received but not yet yielded."""

    def __init__(self, reason: str, *, timed_out: bool = False, rest: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.rest = rest


class BufferedStream:
    """A complete body with the interface of a `Stream`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body:
            yield self._body

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def discard(self) -> None:
        """Do nothing: no connection is involved."""


@attrs.frozen
class ErrorDetails:
    """The error details of a response, as sent by the service."""

    code: int | str | None = None
    error: str | None = None
    desc: str | None = None
    request_id: str | None = None


@attrs.define(kw_only=True)
class Outcome:
    """The outcome of a request. Treat it as immutable; copy it with `attrs.evolve`.

    A middleware receives one from `send` and may return another; to respond without sending, build
    one with `answered(request, status, headers, body)`. The class is not frozen because every call
    creates an outcome, and creating a frozen one costs three times as much.
    """

    classification: Classification
    phase: Phase = Phase.ANSWERED
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    stream: Stream | None = attrs.field(default=None, repr=False)
    value: Any = attrs.field(default=None, repr=False)
    """The decoded payload of a success."""
    details: ErrorDetails | None = None
    retry_after: float | None = None
    reason: str = ""
    """The cause of a failure without a result code, free of secrets."""
    waited: float = 0.0
    """Seconds spent waiting for a connection permit."""
    attempts: int = 1
    may_have_executed: bool = False

    @property
    def verdict(self) -> Verdict:
        return self.classification.verdict

    @property
    def code(self) -> int | str | None:
        return self.details.code if self.details is not None else None


def answered(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Classify and decode a complete response. Never raises, whatever the bytes."""
    if status in (200, 201) and request.decoder is not None:
        value = _decode_fast(request, body)
        if value is not None:
            return Outcome(classification=DONE, status=status, headers=headers, body=body, value=value)
    return _decode_tolerantly(request, status, headers, body)


def streaming(status: int, headers: Mapping[str, str], stream: Stream) -> Outcome:
    """Return the outcome of a request whose successful body is still open."""
    return Outcome(classification=DONE, status=status, headers=headers, stream=stream)


def truncated(request: Request, status: int, headers: Mapping[str, str], reason: str, kind: ErrorKind) -> Outcome:
    """Return the outcome of a response whose body is incomplete."""
    classification = _classify(request, status, headers, BodyKind.CUT)
    if 200 <= status <= 299:
        classification = attrs.evolve(classification, kind=kind)
    return _failure(classification, status, headers, ErrorDetails(), reason=reason)


def no_response(request: Request, phase: Phase, kind: ErrorKind, reason: str) -> Outcome:
    """Return the outcome of an attempt without a response."""
    classification = classify_no_response(request.route.operation, phase, kind)
    return Outcome(
        classification=classification,
        phase=phase,
        reason=reason,
        may_have_executed=classification.verdict is Verdict.UNKNOWN,
    )


def _decode_fast(request: Request, body: bytes) -> Any:
    decoder = request.decoder
    assert decoder is not None
    # Leave duplicate keys to the tolerant decoder.
    if body.count(b'"result"') != 1 or (decoder.key is not None and body.count(decoder.quoted) > 1):
        return None
    try:
        result, value = decoder.fast(body)
    except ValueError:
        return None
    if value is None or not envelope.is_success(result):
        return None
    return value if request.accepts is None or request.accepts(value) else None


def _decode_tolerantly(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    read = envelope.parse_envelope(body, result_optional=request.route.result_optional)
    result, value, reason = read.result, None, ""
    if result is BodyKind.SUCCESS and status in (200, 201) and request.decoder is not None:
        value, result, reason = _decode(request, read.payload or {})
    classification = _classify(request, status, headers, result)
    if classification.verdict is Verdict.DONE:
        return Outcome(classification=classification, status=status, headers=headers, body=body, value=value)
    code = None if isinstance(result, BodyKind) else result
    request_id = read.request_id or envelope.printable(headers.get("X-Request-Id"))
    fault = ErrorDetails(code, read.error, read.desc, request_id)
    return _failure(classification, status, headers, fault, body, reason or _reason(result, status))


def _decode(request: Request, payload: Mapping[str, Any]) -> tuple[Any, BodyResult, str]:
    assert request.decoder is not None
    key = request.decoder.key
    try:
        value = request.decoder.tolerant(payload if key is None else payload.get(key))
    except ValueError as error:
        return None, BodyKind.FOREIGN, f"the answer fits no model: {error}"
    if value is None:
        return None, BodyKind.FOREIGN, "the answer lacks what was asked for"
    if request.accepts is not None and not request.accepts(value):
        return None, BodyKind.FOREIGN, "the answer is plainly that to another request"
    return value, BodyKind.SUCCESS, ""


def _classify(request: Request, status: int, headers: Mapping[str, str], result: BodyResult) -> Classification:
    policy = request.options.retry
    rule: Rule | None = None
    if (status in _LIMITED or result in _LIMITED) and not policy.trust_429:
        rule = DISTRUSTED_429
    elif status == 503 and policy.trust_503 and result in (BodyKind.NONE, BodyKind.CUT) and "Retry-After" in headers:
        rule = TRUSTED_503
    return classify_response(request.route.operation, status, result, rule)


def _failure(
    classification: Classification,
    status: int,
    headers: Mapping[str, str],
    fault: ErrorDetails,
    body: bytes = b"",
    reason: str = "",
) -> Outcome:
    return Outcome(
        classification=classification,
        status=status,
        headers=headers,
        body=body,
        details=fault,
        retry_after=parse_retry_after(headers, _now),
        reason=reason,
        may_have_executed=classification.verdict is Verdict.UNKNOWN,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _reason(result: BodyResult, status: int) -> str:
    match result:
        case BodyKind.SUCCESS:
            return "a success body under a status that is none"
        case BodyKind.BOTH:
            return "two answers in one body"
        case BodyKind.CUT:
            return "a body that is cut short or no JSON"
        case BodyKind.NONE:
            # From 400 on, the status is more informative than the missing result.
            return "a redirect" if 300 <= status <= 399 else "" if status >= 400 else "a body without a result"
        case BodyKind.FOREIGN:
            return "the answer lacks what was asked for"
        case _:
            return ""
