"""Decoding of responses into models, and encoding of request bodies.

The typed decoder costs no more than parsing, and reads lax scalars (`"2"`, `"true"`) as the contract
defines them. Objects that it rejects go to the tolerant converter, one record at a time in streams.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import NoneType
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from videoapi.errors import ValidationError
from videoapi.models.base import Model, plain
from videoapi.models.extra import ExtraSource
from videoapi.models.ids import is_id
from videoapi.models.rooms import Room
from videoapi.models.strict_json import DecodeError, loads
from videoapi.models.tokens import IssuedToken

__all__ = ["MISSING", "DecodeError", "RecordDecoder", "ResponseDecoder", "encode"]

T = TypeVar("T")
M = TypeVar("M", bound=Model)


class Missing(enum.Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __bool__(self) -> Literal[False]:
        return False


MISSING: Final = Missing.MISSING
"""The `result` of a body without one."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def encode(body: Any) -> bytes:
    """Encode a request body as JSON.

    Args:
        body: Values by API field name; models are allowed at any depth.

    Raises:
        ValidationError: If a value cannot be represented in JSON.
    """
    try:
        if not (type(body) is dict and _is_plain(body)):
            body = plain(body)
            _check_numbers(body)
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        kind = type(error).__name__
    raise ValidationError(f"The request cannot be written as JSON ({kind}).")


class ResponseDecoder(Generic[T]):
    """A decoder for one kind of response.

    Args:
        key: The key of the payload, next to `result`; None if the whole body is the payload.
        model: The type to build: a model, `str`, or `NoneType` for no payload.
        many: Whether the payload is a list. Null and absent lists read as empty.
        once: The key that the fast decoder must not see twice, next to `result`; by default `key`.
    """

    def __init__(self, key: str | None, model: type[T], many: bool = False, *, once: str | None = None) -> None:
        self.key = key
        self.model = model
        self.many = many
        self._where: tuple[str, ...] = () if key is None else (key,)
        self.quoted = f'"{once or key or "result"}"'.encode()

    def fast(self, body: bytes) -> tuple[object, T | list[T] | None]:
        """Decode a complete body with the typed decoder.

        Args:
            body: The response body, without a byte order mark. The caller must ensure that it
                contains `"result"` at most once.

        Returns:
            The `result` as received, or `MISSING`; and the payload, or None.

        Raises:
            DecodeError: If the body does not fit; parse the JSON and call `tolerant`.
        """
        try:
            if not body.isascii():
                _check_text(body)
            envelope = self._envelope.decode(body)
            if envelope.error_code is not MISSING or envelope.status is not MISSING:
                # The `status` envelope, or a mixture of both envelopes.
                return MISSING, None
            payload = self._whole.decode(body) if self.key is None else envelope.payload
        except _UNREADABLE as error:
            raise DecodeError(_reason(error)) from None
        if self.many:
            payload = payload or []
            self._check(payload)
            source = ExtraSource(body, cast("type[Model]", self.model), self._where)
            for index, item in enumerate(payload):
                source.attach(item, (*self._where, index))
        else:
            _check_sound(payload)
            decoded: object = payload
            if isinstance(decoded, Model):
                ExtraSource(body, type(decoded), self._where).attach(decoded, self._where)
        return envelope.result, payload

    def tolerant(self, payload: object) -> T | list[T]:
        """Build the payload from parsed JSON.

        Args:
            payload: The value under `key`, or the whole object if the decoder has no key.

        Raises:
            DecodeError: If the payload does not fit.
        """
        built: Any
        if self.many:
            items = [] if payload is None else payload
            if not isinstance(items, list):
                raise DecodeError("expected a list")
            built = [self._structure_one(item) for item in items]
        else:
            built = self._structure_one(payload)
        self._check(built)
        return cast("T | list[T]", built)

    def _structure_one(self, payload: object) -> Any:
        from videoapi.models.converter import structure, text

        if self.model is NoneType:
            return None
        if payload is None:
            raise DecodeError("missing")
        if self.model is str:
            return text(payload)
        return structure(payload, cast("type[Model]", self.model))

    def _check(self, payload: Any) -> None:
        for item in payload if self.many else (payload,):
            _check_sound(item)

    @cached_property
    def _envelope(self) -> Any:
        fields: list[Any] = [(name, Any, MISSING) for name in ("result", "error_code", "status")]
        rename: dict[str, str] = {}
        if self.key is not None:
            payload: Any = list[self.model] if self.many else self.model  # type: ignore[name-defined]
            fields.append(("payload", payload | None, None))
            rename = {"payload": self.key}
        kind = msgspec.defstruct("Envelope", fields, rename=rename, frozen=True)
        return msgspec.json.Decoder(kind, strict=False)

    @cached_property
    def _whole(self) -> Any:
        kind: Any = object if self.model is NoneType else self.model
        return _Nothing() if kind is object else msgspec.json.Decoder(kind, strict=False)


class _Nothing:
    """A decoder for responses without a payload."""

    def decode(self, body: bytes) -> None:
        return None


class RecordDecoder(Generic[M]):
    """A decoder for the records of a stream, each on its own.

    Args:
        model: The class of the records.
        extra: Whether unknown fields are kept for `record.extra`.
    """

    def __init__(self, model: type[M], *, extra: bool) -> None:
        self.model = model
        self.extra = extra
        self._named = issubclass(model, Room)

    def decode(self, raw: bytes | msgspec.Raw) -> M:
        """Decode one record.

        Args:
            raw: The JSON text of one record.

        Raises:
            DecodeError: If the record does not fit; the reason names the location.
        """
        try:
            record: M = self._decode(raw)
        except _UNREADABLE:
            return self._decode_tolerantly(bytes(raw))
        if self._named:
            _check_sound(record)
        if self.extra:
            kept = bytes(raw)
            _check_text(kept)
            ExtraSource(kept, self.model).attach(record)
        return record

    def decode_list(self, text: bytes) -> list[M] | None:
        """Decode a JSON list of records in half the time of one by one.

        Args:
            text: The JSON text of the list.

        Returns:
            The records; None if the text is not a list or a record needs `decode`.
        """
        try:
            records: list[M] = self._decode_list(text)
            if self._named:
                for record in records:
                    _check_sound(record)
            if self.extra:
                _check_text(text)
                for record, raw in zip(records, _raw_list(text), strict=True):
                    ExtraSource(bytes(raw), self.model).attach(record)
        except _UNREADABLE:
            return None
        return records

    def decode_block(self, raws: Iterable[bytes | msgspec.Raw]) -> list[M | DecodeError]:
        """Decode records; a record that cannot be decoded is replaced by its error."""
        return [self._decode_or_error(raw) for raw in raws]

    def _decode_or_error(self, raw: bytes | msgspec.Raw) -> M | DecodeError:
        try:
            return self.decode(raw)
        except DecodeError as error:
            return error

    def _decode_tolerantly(self, raw: bytes) -> M:
        from videoapi.models.converter import structure

        record = structure(loads(raw), self.model, kept=self.extra)
        _check_sound(record)
        return record

    @cached_property
    def _decode(self) -> Any:
        return msgspec.json.Decoder(self.model, strict=False).decode

    @cached_property
    def _decode_list(self) -> Any:
        kind: Any = list[self.model]  # type: ignore[name-defined]
        return msgspec.json.Decoder(kind, strict=False).decode


_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_SAFE: Final = frozenset({str, int, bool, NoneType})


def _is_plain(body: Mapping[str, Any]) -> bool:
    """Return whether a body can be encoded as it is: without models, lists and floats."""
    for value in body.values():
        kind = type(value)
        if kind is dict:
            if not _SAFE.issuperset(map(type, value.values())) and not _is_plain(value):
                return False
        elif kind not in _SAFE:
            return False
    return True


def _check_text(raw: bytes) -> None:
    # msgspec does not validate the text that it skips, but `extra` may parse it later.
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise DecodeError("not valid UTF-8") from None


def _check_sound(item: object) -> None:
    # Reject a room whose ID is unsafe in a path: later calls would go to another resource.
    if isinstance(item, Room):
        if not is_id(item.room_id):
            raise DecodeError("is not an ID", "room_id")
    elif item == "" or (isinstance(item, IssuedToken) and not item.token):
        raise DecodeError("is empty")


def _check_numbers(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    if isinstance(value, dict):
        for item in value.values():
            _check_numbers(item)
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item)


def _reason(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
