"""The outcome of an attempt as one value, with a complete or an open body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

import attrs
from yarl import URL

from videoapi.protocol import envelope
from videoapi.protocol.backoff import parse_retry_after
from videoapi.protocol.classify import (
    DONE,
    BodyKind,
    BodyResult,
    check_evidence,
    classify_no_response,
    classify_response,
)
from videoapi.protocol.redaction import HasAuthorization, redact, redact_url
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

    async def aclose(self) -> None:
        """Close the connection unless the body has ended, and release what it holds. Safe to call twice."""
        ...

    def discard(self) -> None:
        """Keep the connection from being reused, even after the end of the body; for invalid responses."""
        ...


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
    """The error details of a response, as sent by the service.

    Args:
        code: Result code: an int, or a name in the newer envelope.
        error: The service's own error text.
        desc: The service's own description.
        request_id: The service's ID of the request.
    """

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

    Args:
        classification: The verdict, the kind of error, and how often it may be repeated.
        phase: The phase that the last attempt reached.
        status: HTTP status, or None without a response.
        headers: Response headers.
        body: The complete body, or empty for a stream.
        stream: The open body of a stream, or None.
        value: The decoded payload of a success.
        details: The service's own details of an error, or None.
        retry_after: Seconds the service requested to wait, or None.
        reason: The cause of a failure without a result code, free of secrets.
        advice: What to do about the failure, if its kind does not say that already.
        waited: Seconds spent waiting for a connection, the account's pause and its rate limit.
        attempts: Number of attempts.
        may_have_executed: Whether the service may have executed the request.
        refused_before: Whether the last attempt was not sent, and an earlier one was answered and not executed.
        cause: The error after which the outcome stayed unknown.
    """

    classification: Classification
    phase: Phase = Phase.ANSWERED
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    stream: Stream | None = attrs.field(default=None, repr=False)
    value: Any = attrs.field(default=None, repr=False)
    details: ErrorDetails | None = None
    retry_after: float | None = None
    reason: str = ""
    advice: str = ""
    waited: float = 0.0
    attempts: int = 1
    may_have_executed: bool = False
    refused_before: bool = False
    cause: Exception | None = attrs.field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """What the last attempt proves about the request."""
        return self.classification.verdict

    @property
    def code(self) -> int | str | None:
        """The result code of a failure, or None."""
        return self.details.code if self.details is not None else None


_LONGEST_URL: Final = 200
_QUOTED_ELLIPSIS: Final = "%E2%80%A6"


def answered(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    credentials: HasAuthorization | None = None,
) -> Outcome:
    """Classify and decode a complete response. Never raises, whatever the bytes.

    Args:
        request: The request that it responds to.
        status: HTTP status.
        headers: Response headers.
        body: The complete body.
        credentials: Those of the request, which are removed from the texts of a failure: a gateway may echo them.
    """
    if status in (200, 201) and request.decoder is not None:
        value = _decode_fast(request, body)
        if value is not None:
            return Outcome(classification=DONE, status=status, headers=headers, body=body, value=value)
    return _decode_tolerantly(request, status, headers, body, credentials)


def redacted(outcome: Outcome, credentials: HasAuthorization) -> Outcome:
    """Return an outcome without the credentials in its texts, for one that a middleware has decoded."""

    def shown(text: str | None) -> str | None:
        return redact(text, credentials) if text else text

    details = outcome.details
    if details is not None:
        details = attrs.evolve(
            details, error=shown(details.error), desc=shown(details.desc), request_id=shown(details.request_id)
        )
    return attrs.evolve(outcome, details=details, reason=shown(outcome.reason) or "")


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
    # Leave duplicate keys to the tolerant decoder. Without the first quote, counting takes half the time.
    if body.count(b'result"') != 1 or body.count(decoder.quoted) > 1:
        return None
    try:
        result, value = decoder.fast(body)
    except ValueError:
        return None
    if value is None or not envelope.is_success(result):
        return None
    return value if request.accepts is None or request.accepts(value) else None


def _decode_tolerantly(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    credentials: HasAuthorization | None = None,
) -> Outcome:
    # With an error status, an object without the service's keys is a gateway's, and the status says what happened.
    optional = 200 <= status <= 299 and (request.route.result_optional or request.route.custom)
    read = envelope.parse_envelope(body, result_optional=optional, credentials=credentials)
    result, value, reason = read.result, None, ""
    if result is BodyKind.SUCCESS and status in (200, 201) and request.decoder is not None:
        value, result, reason = _decode(request, read.payload or {})
    if request.route.custom and 200 <= status <= 299 and result in (BodyKind.NONE, BodyKind.SUCCESS):
        return Outcome(classification=DONE, status=status, headers=headers, body=body)
    classification = _classify(request, status, headers, result)
    if classification.verdict is Verdict.DONE:
        return Outcome(classification=classification, status=status, headers=headers, body=body, value=value)
    code = None if isinstance(result, BodyKind) else result
    request_id = read.request_id or envelope.printable(headers.get("X-Request-Id"), credentials)
    fault = ErrorDetails(code, read.error, read.desc, request_id)
    if reason and credentials is not None:
        # It may quote a value that does not fit the model.
        reason = redact(reason, credentials)
    reason = reason or _reason(result, status, headers, credentials)
    return _failure(classification, status, headers, fault, body, reason)


def _decode(request: Request, payload: Mapping[str, Any]) -> tuple[Any, BodyResult, str]:
    assert request.decoder is not None
    key = request.decoder.key
    try:
        value = request.decoder.tolerant(payload if key is None else payload.get(key))
    except ValueError as error:
        return None, BodyKind.FOREIGN, f"the response does not match the model: {error}"
    if value is None:
        return None, BodyKind.FOREIGN, "the response lacks the requested object"
    if request.accepts is not None and not request.accepts(value):
        return None, BodyKind.FOREIGN, "the response belongs to a different request"
    return value, BodyKind.SUCCESS, ""


def _classify(request: Request, status: int, headers: Mapping[str, str], result: BodyResult) -> Classification:
    policy = request.options.retry
    rule: Rule | None = None
    if (status in _LIMITED or result in _LIMITED) and not policy.trust_429:
        rule = DISTRUSTED_429
    elif status == 503 and policy.trust_503 and result in (BodyKind.NONE, BodyKind.CUT) and "Retry-After" in headers:
        rule = TRUSTED_503
    classification = classify_response(request.route.operation, status, result, rule)
    return check_evidence(classification, result, names_object=request.route.names_object)


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


def _reason(result: BodyResult, status: int, headers: Mapping[str, str], credentials: HasAuthorization | None) -> str:
    match result:
        case BodyKind.SUCCESS:
            return "a success body with an error status"
        case BodyKind.BOTH:
            return "contradictory results in one body"
        case BodyKind.CUT:
            return "truncated or invalid JSON"
        case BodyKind.NONE:
            if 300 <= status <= 399:
                return redirect_reason(headers, credentials)
            # From 400 on, the status is more informative than the missing result.
            return "" if status >= 400 else "a body without a result"
        case BodyKind.FOREIGN:
            return "the response lacks the requested object"
        case _:
            return ""


def redirect_reason(headers: Mapping[str, str], credentials: HasAuthorization | None, base: URL | None = None) -> str:
    """Return where a redirect points to, without query and credentials.

    Args:
        headers: The response headers.
        credentials: Those of the request.
        base: The URL of the request, which a relative target starts from.
    """
    location = headers.get("Location", "")
    if credentials is not None:
        # Before a part of them is lost with the query, or cut off.
        location = redact(location, credentials)
    try:
        target = URL(location) if base is None or not location else base.join(URL(location))
    except ValueError:
        return "unexpected redirect"
    shown = redact_url(target) if target.absolute else target.raw_path
    shown = shown.replace(_QUOTED_ELLIPSIS, "…")[:_LONGEST_URL]
    return f"unexpected redirect to {shown}" if shown else "unexpected redirect"
