"""Bytes to models and back: the typed decoder first, the tolerant way for what it refuses.

The typed decoder costs what parsing alone costs, and reads lax scalars (`"2"`, `"true"`) as the
contract means them. It is asked for one object at a time, so one odd record costs no other.
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

__all__ = ["MISSING", "DecodeError", "RecordDecoder", "ResponseDecoder", "encode"]

T = TypeVar("T")
M = TypeVar("M", bound=Model)


class Missing(enum.Enum):
    """The kind of `MISSING`."""

    MISSING = "MISSING"

    def __bool__(self) -> Literal[False]:
        return False


MISSING: Final = Missing.MISSING
"""Stands for a `result` that the body has not."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def encode(body: Mapping[str, Any]) -> bytes:
    """Write a request body as JSON.

    Args:
        body: A mapping with the names of the wire; models may stand in it.

    Raises:
        ValidationError: JSON cannot hold something in it.
    """
    try:
        if not _is_plain(body):
            body = plain(body)
            _check_numbers(body)
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        kind = type(error).__name__
    raise ValidationError(f"The request cannot be written as JSON ({kind}).")


class ResponseDecoder(Generic[T]):
    """Reads one kind of answer.

    Args:
        key: The key beside `result` that holds the payload; None where the whole body is it.
        model: What to build: a model, `str`, or None's type where there is no payload.
        many: Whether the payload is a list. Null and absent lists read as empty.
    """

    def __init__(self, key: str | None, model: type[T], many: bool = False) -> None:
        self.key = key
        self.model = model
        self.many = many
        self._where: tuple[str, ...] = () if key is None else (key,)
        self.quoted = f'"{key}"'.encode()

    def fast(self, body: bytes) -> tuple[object, T | list[T] | None]:
        """Decode a whole body at once.

        Args:
            body: The answer, without a byte order mark. The caller has seen that `"result"`
                stands in it at most once.

        Returns:
            The `result` as on the wire, or `MISSING`; and the payload, None where there is none.

        Raises:
            Refused: this way cannot read it; parse the JSON and ask `structure`.
        """
        try:
            if not body.isascii():
                _check_text(body)
            envelope = self._envelope.decode(body)
            if envelope.error_code is not MISSING or envelope.status is not MISSING:
                # The other envelope, or both.
                return MISSING, None
            payload = self._whole.decode(body) if self.key is None else envelope.payload
        except _UNREADABLE as error:
            raise DecodeError(_reason(error)) from None
        if self.many:
            payload = payload or []
            self._check(payload)
            text = ExtraSource(body, cast("type[Model]", self.model), self._where)
            for place, item in enumerate(payload):
                text.attach(item, (*self._where, place))
        else:
            _check_sound(payload)
            made: object = payload
            if isinstance(made, Model):
                ExtraSource(body, type(made), self._where).attach(made, self._where)
        return envelope.result, payload

    def tolerant(self, payload: object) -> T | list[T]:
        """Build what the payload holds, from parsed JSON.

        Args:
            payload: The value under `key`, or the whole object where there is no key.

        Raises:
            Refused: it is nothing of the kind.
        """
        made: Any
        if self.many:
            listed = [] if payload is None else payload
            if not isinstance(listed, list):
                raise DecodeError("expected a list")
            made = [self._structure_one(item) for item in listed]
        else:
            made = self._structure_one(payload)
        self._check(made)
        return cast("T | list[T]", made)

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
    """Stands where an answer has no payload to decode."""

    def decode(self, body: bytes) -> None:
        return None


class RecordDecoder(Generic[M]):
    """Reads the records of a stream, each on its own.

    Args:
        model: The class of the records.
        extra: Whether unknown fields are kept for `record.extra`.
    """

    def __init__(self, model: type[M], *, extra: bool) -> None:
        self.model = model
        self.extra = extra
        self._named = issubclass(model, Room)

    def decode(self, raw: bytes | msgspec.Raw) -> M:
        """Read one record.

        Args:
            raw: The JSON text of one record.

        Raises:
            Refused: it cannot be read; the reason names the place.
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
        """Read a JSON list of records at once, at half the cost of one by one.

        Args:
            text: The list.

        Returns:
            The records; None where it is no list, or where one of them needs a closer look.
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
        """Read records; what cannot be read is its refusal, in its place."""
        return [self._decode_or_error(raw) for raw in raws]

    def _decode_or_error(self, raw: bytes | msgspec.Raw) -> M | DecodeError:
        try:
            return self.decode(raw)
        except DecodeError as refused:
            return refused

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
    """Tell whether a body can be written as it is: no models, no lists, and no numbers that JSON lacks."""
    for value in body.values():
        kind = type(value)
        if kind is dict:
            if not _SAFE.issuperset(map(type, value.values())) and not _is_plain(value):
                return False
        elif kind not in _SAFE:
            return False
    return True


def _check_text(raw: bytes) -> None:
    # msgspec does not look at what it skips, but what is kept for `extra` is read one day.
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise DecodeError("not valid UTF-8") from None


def _check_sound(item: object) -> None:
    # A room that cannot be named in a path is none: every later call would go elsewhere.
    if isinstance(item, Room):
        if not is_id(item.room_id):
            raise DecodeError("is no id", "room_id")
    elif item == "":
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
