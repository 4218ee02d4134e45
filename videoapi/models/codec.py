"""Decoding of responses into models, and encoding of request bodies.

The typed decoder costs no more than parsing, and reads lax scalars (`"2"`, `"true"`) as the contract
defines them. Objects that it rejects go to the tolerant converter, one record at a time in streams.
"""

import enum
import math
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from types import NoneType
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from videoapi.errors import ValidationError
from videoapi.models.base import Model, plain, set_extra
from videoapi.models.decoded import Decoded, build, struct_of
from videoapi.models.extra import ExtraSource
from videoapi.models.fields import is_model
from videoapi.models.ids import is_id
from videoapi.models.rooms import Room
from videoapi.models.strict_json import DecodeError, is_utf8, loads_record
from videoapi.models.tokens import IssuedToken

__all__ = ["MISSING", "DecodeError", "RecordDecoder", "ResponseDecoder", "encode"]

T = TypeVar("T")
M = TypeVar("M", bound=Model)
OnOdd = Callable[[int, tuple[str, ...]], None]
"""Called with the index of a record, and the names of its odd fields."""


class Missing(enum.Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __bool__(self) -> Literal[False]:
        return False


MISSING: Final = Missing.MISSING
"""The `result` of a body without one."""

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def encode(body: Any, *, is_plain: bool = False) -> bytes:
    """Encode a request body as JSON.

    Args:
        body: Values by API field name; models are allowed at any depth.
        is_plain: Whether it is known to contain no models.

    Raises:
        ValidationError: If a value cannot be represented in JSON.
    """
    try:
        body = body if is_plain else plain(body, sys.maxsize)
        encoded = msgspec.json.encode(body)
        if b"null" in encoded:
            # NaN and infinity are written as null, too.
            _check_numbers(body)
        return encoded
    except UnicodeEncodeError:
        reason = "a text in it is not valid Unicode"
    except RecursionError:
        reason = "it is nested too deeply"
    except _NotFinite:
        reason = "a number in it is not finite"
    except (TypeError, ValueError, OverflowError) as error:
        reason = type(error).__name__
    raise ValidationError(f"The request cannot be written as JSON: {reason}.")


class _NotFinite(ValueError):
    """NaN or infinity, which JSON does not have."""


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
        self._is_model = issubclass(model, Model)
        self._where: tuple[str, ...] = () if key is None else (key,)
        self.quoted: bytes = f'"{once or key or "result"}"'.encode()

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
                check_text(body)
            envelope = self._envelope.decode(body)
            if envelope.error_code is not MISSING or envelope.status is not MISSING:
                # The `status` envelope, or a mixture of both envelopes.
                return MISSING, None
            payload: Any = self._whole.decode(body) if self.key is None else envelope.payload
        except UNREADABLE as error:
            raise DecodeError(_reason(error)) from None
        if isinstance(payload, Decoded):
            payload = build(payload)
        if self.many:
            payload = [build(item) for item in payload or ()]
            self._check(payload)
            source = ExtraSource(body, cast("type[Model]", self.model), self._where)
            for index, item in enumerate(payload):
                set_extra(item, (source, (*self._where, index)))
        else:
            _check_sound(payload)
            if self._is_model and payload is not None:
                set_extra(payload, (ExtraSource(body, cast("type[Model]", self.model), self._where), self._where))
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
            kind = _decoded_type(self.model)
            payload: Any = list[kind] if self.many else kind  # type: ignore[valid-type]
            fields.append(("payload", payload | None, None))
            rename = {"payload": self.key}
        envelope = msgspec.defstruct("Envelope", fields, rename=rename, frozen=True)
        return msgspec.json.Decoder(envelope, strict=False)

    @cached_property
    def _whole(self) -> Any:
        if self.model is NoneType:
            return _Nothing()
        return msgspec.json.Decoder(_decoded_type(self.model), strict=False)


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
        record, _ = self._decode_one(raw)
        return record

    def decode_list(self, text: bytes) -> list[M] | None:
        """Decode a JSON list of records in half the time of one by one.

        Args:
            text: The JSON text of the list.

        Returns:
            The records; None if the text is not a list or a record needs `decode_block`.
        """
        try:
            decoded = self._decode_list(text)
            raws = self._raws(text) if self.extra else None
        except UNREADABLE:
            return None
        records: list[M] = [build(one) for one in decoded]
        if self._named and not all(is_id(cast("Room", record).room_id) for record in records):
            return None
        if raws is not None:
            for record, raw in zip(records, raws, strict=True):
                set_extra(record, bytes(raw))
        return records

    def decode_block(self, raws: Iterable[bytes | msgspec.Raw], odd: OnOdd | None = None) -> list[M | DecodeError]:
        """Decode records; a record that cannot be decoded is replaced by its error.

        Args:
            raws: The JSON text of each record.
            odd: Called for each record with odd fields, with the record's index in `raws` and the dotted names
                of these fields, such as `usage.connect_minutes`. An odd field has a value that it cannot have,
                and reads None; or its text had to be changed, because it cannot be encoded.
                Fields that the model does not know are named `extra`.
        """
        records: list[M | DecodeError] = []
        for index, raw in enumerate(raws):
            try:
                record, names = self._decode_one(raw)
            except DecodeError as error:
                records.append(error)
                continue
            records.append(record)
            if names and odd is not None:
                odd(index, names)
        return records

    def _decode_one(self, raw: bytes | msgspec.Raw) -> tuple[M, tuple[str, ...]]:
        names: tuple[str, ...] = ()
        try:
            decoded = self._decode(raw)
            if self.extra:
                check_text(bytes(raw))
        except UNREADABLE:
            from videoapi.models.converter import structure_record

            record, names = structure_record(*loads_record(bytes(raw)), self.model, kept=self.extra)
        else:
            record = build(decoded)
            if self.extra:
                # A copy: a raw view would keep the text of all records around it.
                set_extra(record, bytes(raw))
        if self._named:
            _check_sound(record)
        return record, names

    def _raws(self, text: bytes) -> list[msgspec.Raw]:
        check_text(text)
        return _raw_list(text)

    @cached_property
    def _decode(self) -> Any:
        return msgspec.json.Decoder(struct_of(self.model), strict=False).decode

    @cached_property
    def _decode_list(self) -> Any:
        kind: Any = list[struct_of(self.model)]  # type: ignore[misc]
        return msgspec.json.Decoder(kind, strict=False).decode


_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _decoded_type(model: Any) -> Any:
    return struct_of(model) if is_model(model) else model


def check_text(raw: bytes) -> None:
    """Raise DecodeError if a body is not valid UTF-8."""
    # msgspec does not validate the text that it skips, but `extra` may parse it later.
    if not is_utf8(raw):
        raise DecodeError("not valid UTF-8")


def _check_sound(item: object) -> None:
    # Reject a room whose ID is unsafe in a path: later calls would go to another resource.
    if isinstance(item, Room):
        if not is_id(item.room_id):
            raise DecodeError("is not an ID", "room_id")
    elif item == "" or (isinstance(item, IssuedToken) and not item.token):
        raise DecodeError("is empty")


def _check_numbers(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotFinite
    if isinstance(value, dict):
        for item in value.values():
            _check_numbers(item)
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item)


def _reason(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
