"""A bulk report as JSON: what another process needs of it, without specs, rooms and tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, get_args
from uuid import UUID

import msgspec

from videoapi import errors
from videoapi.bulk.outcome import BulkOutcome, Status
from videoapi.errors import ConfigurationError, VideoAPIError, facts_of

VERSION: Final = 1
"""Later versions only add fields, so that any version can be read."""
_EXACT: Final = 2**53
"""Up to here, every reader of JSON keeps an integer."""
_NOT_KEPT: Final = frozenset({"cursor", "partial"})
_Count = Annotated[int, msgspec.Meta(ge=0)]
_BY_STATUS: Final[dict[str, tuple[Status, ...]]] = {
    "made": ("created", "deleted"),
    "failures": ("failed",),
    "unknown": ("unknown",),
    "not_sent": ("not_sent",),
}


class ErrorDocument(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """An error: its class, its message, and its facts."""

    kind: str
    message: str
    facts: dict[str, str | int | float | bool | None] = {}

    def error(self) -> VideoAPIError:
        """Return the error; one of a class of a later version is a `VideoAPIError`."""
        kind = getattr(errors, self.kind, None)
        if not (isinstance(kind, type) and issubclass(kind, VideoAPIError)):
            kind = VideoAPIError
        known = facts_of(kind()).keys() - _NOT_KEPT
        facts: dict[str, Any] = {name: value for name, value in self.facts.items() if name in known}
        return kind(self.message, **facts)


class OutcomeDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """An outcome."""

    index: _Count
    status: Status
    key: Any = None
    reference: str | None = None
    room_id: str | None = None
    changed: bool = False
    error: ErrorDocument | None = None

    def outcome(self) -> BulkOutcome:
        """Return the outcome."""
        return BulkOutcome(
            index=self.index,
            status=self.status,
            key=_decoded(self.key),
            reference=self.reference,
            room_id=self.room_id,
            changed=self.changed,
            error=None if self.error is None else self.error.error(),
        )


class ReportDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A report."""

    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    total: _Count
    counts: dict[str, _Count]
    made: list[OutcomeDocument] = []
    failures: list[OutcomeDocument] = []
    unknown: list[OutcomeDocument] = []
    not_sent: list[OutcomeDocument] = []
    exhausted: bool = False
    stopped: ErrorDocument | None = None
    concurrency: _Count = 0
    in_doubt: _Count = 0
    audited: datetime | None = None
    duplicates: dict[str, list[str]] = {}
    missing: list[OutcomeDocument] = []
    removed: list[str] = []

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dictionaries, lists, numbers and text."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def outcome_document(outcome: BulkOutcome) -> OutcomeDocument:
    """Return what is kept of an outcome."""
    return OutcomeDocument(
        index=outcome.index,
        status=outcome.status,
        key=_key_document(outcome.key),
        reference=outcome.reference,
        room_id=outcome.room_id,
        changed=outcome.changed,
        error=error_document(outcome.error),
    )


def error_document(error: VideoAPIError | None) -> ErrorDocument | None:
    """Return what is kept of an error."""
    if error is None:
        return None
    facts = {
        name: _plain(value)
        for name, value in facts_of(error).items()
        if name not in _NOT_KEPT and value is not None and value is not False
    }
    return ErrorDocument(type(error).__name__, _plain(str(error)), facts)


def document_from(document: object) -> ReportDocument:
    """Return a document from what JSON holds.

    Raises:
        ConfigurationError: If it is not that of a report.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"A report is read from a dictionary, not from {type(document).__name__}.")
    try:
        read = msgspec.convert(dict(document), ReportDocument)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _not_a_report(str(error)) from None
    if problem := _contradiction(read):
        raise _not_a_report(problem)
    return read


def _not_a_report(problem: str) -> ConfigurationError:
    return ConfigurationError(f"Not the dictionary of a report: {problem}.")


def _contradiction(read: ReportDocument) -> str:
    if unknown := read.counts.keys() - set(get_args(Status)):
        return f"`counts` has an unknown status, {min(unknown)!r}"
    if sum(read.counts.values()) != read.total:
        return f"the counts add up to {sum(read.counts.values())}, not to the total of {read.total}"
    for name, statuses in _BY_STATUS.items():
        rows: list[OutcomeDocument] = getattr(read, name)
        if any(row.status not in statuses for row in rows):
            return f"`{name}` has an outcome of another status"
        # `create_each` yields outcomes instead of keeping them.
        if len(rows) > sum(read.counts.get(status, 0) for status in statuses):
            return f"`{name}` has more outcomes than were counted"
    if read.audited is not None and read.audited.tzinfo is None:
        return "`audited` has no time zone"
    return ""


def _plain(value: Any) -> Any:
    """Return a fact of an error as JSON can hold it."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _key_document(key: Any) -> Any:
    try:
        return _encoded(key)
    except Exception:
        # Of a failed input: a tuple nested too deeply, or an object without a text.
        return f"<{type(key).__name__}>"


def _encoded(key: Any) -> Any:
    """Return a key as JSON can hold it, so that `7` and `"7"` stay two keys."""
    if key is None or type(key) is bool:
        return key
    if type(key) is int and abs(key) < _EXACT:
        return key
    if type(key) is str and key.isprintable():
        return key
    if type(key) is tuple:
        return {"tuple": [_encoded(part) for part in key]}
    match key:
        case str() if type(key) is str:
            return {"str": key.encode("utf-8", "surrogatepass").hex()}
        case bytes() if type(key) is bytes:
            return {"bytes": key.hex()}
        case date() if type(key) in (date, datetime):
            return {type(key).__name__: key.isoformat()}
        case int() if type(key) is int:
            # Python limits the digits of decimal numbers.
            return {"int": hex(key)}
        case float() | Decimal() | UUID() if type(key).__name__ in _DECODERS:
            return {type(key).__name__: str(key)}
        case _:
            return _plain(str(key))


_DECODERS: Final[Mapping[str, Any]] = {
    "str": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "bytes": bytes.fromhex,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "int": lambda text: int(text, 0),
    "float": float,
    "Decimal": Decimal,
    "UUID": UUID,
    "tuple": lambda parts: tuple(map(_decoded, parts)),
}


def _decoded(key: Any) -> Any:
    if not isinstance(key, dict):
        return key
    try:
        ((kind, value),) = key.items()
        return _DECODERS[kind](value)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise _not_a_report("the key of an outcome cannot be read") from None
