"""The tolerant parser of response bodies, for all bytes that the fast decoder does not accept.

It accepts both envelopes: `result` with `error` and `desc`, and `status` with `error_code`, `message`
and `request_id`. Source: docs/contract.md 3, 8.2.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import attrs

from videoapi.protocol.classify import BodyKind, BodyResult
from videoapi.protocol.redaction import HasAuthorization, redact

_BOM: Final = b"\xef\xbb\xbf"
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,9}")
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ENVELOPE_KEYS: Final = frozenset(
    {"result", "error_code", "status", "room", "rooms", "token", "cdr", "archive", "users"}
)
_TEXT_KEYS: Final = ("error", "message", "details", "desc")
_MAX_TEXT: Final = 500


class InvalidJSON(ValueError):
    """The bytes are not a JSON document that this library accepts."""


class _DuplicateKey(InvalidJSON):
    """The envelope has a duplicate key, or a second document follows the first."""


@attrs.frozen
class Envelope:
    """A parsed body: its result, and the document if it is a JSON object."""

    result: BodyResult
    payload: dict[str, Any] | None = None
    error: str | None = None
    desc: str | None = None
    request_id: str | None = None


def is_success(result: object) -> bool:
    """Return whether a `result` means success: only the integer 0 or the string "0"."""
    return (type(result) is int and result == 0) or (type(result) is str and result == "0")


def parse(body: bytes) -> Any:
    """Parse one JSON document strictly.

    Rejected: NaN and infinities (also by overflow), invalid UTF-8, trailing bytes, and duplicate
    envelope keys at the top level. A byte order mark is skipped; a lone surrogate escape is kept; a
    value nested too deeply is replaced (see `shallow`). Source: RFC 8259.

    Raises:
        InvalidJSON: If the bytes are not such a document.
    """
    # Here, because a client that is created must not load the models.
    from videoapi.models.strict_json import shallow

    body = shallow(body.removeprefix(_BOM))
    top: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Called for inner objects first, so the last call is for the top level.
        top[:] = pairs
        return dict(pairs)

    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=keep, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        if _two_documents(error):
            raise _DuplicateKey("a second document follows") from None
        raise InvalidJSON(type(error).__name__) from None
    if isinstance(document, dict):
        seen = [key for key, _ in top if key in _ENVELOPE_KEYS]
        if len(seen) != len(set(seen)):
            raise _DuplicateKey("duplicate key")
    return document


def parse_envelope(
    body: bytes, *, result_optional: bool = False, credentials: HasAuthorization | None = None
) -> Envelope:
    """Parse an envelope. Never raises, whatever the bytes.

    Args:
        body: The complete body.
        result_optional: Whether a success may lack `result`, as on the dial-in route (contract 5.5).
        credentials: Removed from the texts.
    """
    try:
        document = parse(body)
    except _DuplicateKey:
        return Envelope(BodyKind.BOTH)
    except InvalidJSON:
        return Envelope(BodyKind.CUT if _looks_like_json(body) else BodyKind.NONE)
    if not isinstance(document, dict):
        return Envelope(BodyKind.NONE)
    return Envelope(
        _result(document, result_optional),
        document,
        next((text for key in _TEXT_KEYS if (text := printable(document.get(key), credentials))), None),
        printable(document.get("desc"), credentials),
        printable(document.get("request_id"), credentials),
    )


def _result(document: dict[str, Any], result_optional: bool) -> BodyResult:
    result, name = document.get("result"), document.get("error_code")
    newer = _NAME.fullmatch(name) is not None if isinstance(name, str) else False
    if "result" in document and (newer or document.get("status") == "error"):
        return BodyKind.BOTH
    if newer:
        return str(name)
    if is_success(result):
        return BodyKind.SUCCESS
    if type(result) is int and 0 < result < 10**10:
        return result
    if isinstance(result, str) and _DIGITS.fullmatch(result):
        return int(result)
    complains = document.get("status") == "error" or any(key in document for key in _TEXT_KEYS)
    silent = "result" not in document and not complains
    return BodyKind.SUCCESS if result_optional and silent else BodyKind.NONE


def _two_documents(error: Exception) -> bool:
    if not isinstance(error, json.JSONDecodeError) or error.msg != "Extra data":
        return False
    return error.doc.lstrip().startswith("{") and error.doc.startswith("{", error.pos)


def _looks_like_json(body: bytes) -> bool:
    return body.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[")


def _refuse(constant: str) -> Any:
    raise InvalidJSON(constant)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJSON("a number out of range")
    return number


def printable(value: object, credentials: HasAuthorization | None = None) -> str | None:
    """Return a text from the service in a form safe for errors and logs: bounded, one line, printable.

    A lone surrogate would make printing fail, and a control character could forge a log line.

    Args:
        value: The text.
        credentials: Removed from it, as a gateway may echo the request.
    """
    if not isinstance(value, str) or not value:
        return None
    text = value[:_MAX_TEXT] if credentials is None else redact(value, credentials, _MAX_TEXT)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
