"""The base of all models: unknown fields, conversion, and a repr that redacts secrets."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Protocol, Self, TypeVar, cast

import attrs
import msgspec

from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models.decoded import Decoded, build_parts
from videoapi.models.fields import parts, rebuild, wire_fields
from videoapi.models.pydantic_schema import core_schema, json_schema
from videoapi.models.redaction import redact_within
from videoapi.models.strict_json import MAX_DEPTH, DecodeError

_M = TypeVar("_M", bound="Model")
Where = tuple[str | int, ...]
"""The path of a model inside a JSON text: keys and list indexes."""


class UnknownFields(Protocol):
    """The source of the unknown fields of decoded models."""

    def unknown_at(self, where: Where) -> dict[str, Any]:
        """Return the unknown fields of the model at this path."""
        ...

    def attach(self, made: Any, where: Where) -> None:
        """Become the source of a model or of a tuple of models, and of their parts."""
        ...


Kept = bytes | tuple[UnknownFields, Where] | Mapping[str, Any] | None
"""What a model keeps of its unknown fields: the JSON text of a record, a source and the path in it, or the fields."""


class Model:
    """A frozen object of the API.

    `==` and `hash` use the known fields, so that a copy, a pickled object and an object that was read with
    `extra=True` equal the original. The repr shows the fields that have a value and redacts secrets.

    To encode a model, use `to_dict` or `to_json`: encoders that read the attributes of attrs classes directly, such as
    that of msgspec, do not see the parts of a response that have not been read.
    """

    # _extra is set after decoding; it is an attrs field of each model only so that `attrs.evolve` keeps it.
    # The parts of a decoded object are built from _decoded.
    __slots__ = ("__weakref__", "_decoded", "_extra")

    # Built by the client, not decoded from a response, so it has no unknown fields to lose.
    composed: ClassVar[bool] = False
    # Envelope keys to exclude from `extra`, for an object that is the whole body.
    envelope: ClassVar[frozenset[str]] = frozenset()

    _decoded: Decoded
    _extra: Any  # Kept, of which requests take only mappings

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only called for an empty slot: that of a part of a decoded object, until one of them is read.
            if name not in parts(type(self)):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            if self._extra is not None and isinstance(kept := self._unknown(), tuple):
                source, where = kept
                build_parts(self, lambda made, part: source.attach(made, (*where, part)))
            else:
                build_parts(self)
            return object.__getattribute__(self, name)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # attrs keeps a hash that the class itself defines; its own would fail for a field with a mapping.
        cls.__hash__ = cls.__hash__  # type: ignore[method-assign]

    @property
    def extra(self) -> dict[str, Any]:
        """Fields of the response that this version does not know or cannot read, by API field name.

        Raises:
            ConfigurationError: If they were not kept; read the stream with `extra=True`.
        """
        kept = self._extra_fields()
        if kept is None:
            raise ConfigurationError(
                f"The unknown fields of this {type(self).__name__} were not kept; read it with extra=True."
            )
        return dict(kept)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by API field name, plus `extra` if it was kept."""
        wire: dict[str, Any] = {}
        for name, is_part in wire_fields(type(self)):
            value = plain(getattr(self, name))
            if value is None or (is_part and not value):
                continue
            wire[name] = value
        wire.update(self._extra_fields() or {})
        return wire

    def to_json(self) -> str:
        """Return `to_dict()` as JSON text."""
        fields = self.to_dict()
        try:
            return msgspec.json.encode(fields).decode()
        except OverflowError:  # an integer of more than 64 bits
            return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the object from the result of `to_dict`, or from a parsed response.

        A field with a value that it cannot have reads None, and the value goes to `extra`, as in a response.

        Args:
            fields: Values by API field name; unknown ones go to `extra`.

        Raises:
            ValidationError: If `fields` is not a mapping, or a required field is missing or cannot be read.
        """
        from videoapi.models.converter import structure

        try:
            return structure(fields, cls)
        except DecodeError as error:
            raise ValidationError(
                f"Not a valid {cls.__name__}: {error.reason}.", field=error.location or None
            ) from None

    def _extra_fields(self) -> Mapping[str, Any] | None:
        kept = self._unknown()
        if kept is None:
            return {} if self.composed else None
        if isinstance(kept, tuple):
            source, where = kept
            return source.unknown_at(where)
        return kept

    def __hash__(self) -> int:
        return hash((type(self), *(hashable(getattr(self, name)) for name, _ in wire_fields(type(self)))))

    def _unknown(self) -> tuple[UnknownFields, Where] | Mapping[str, Any] | None:
        kept: Kept = getattr(self, "_extra", None)
        if not isinstance(kept, bytes):
            return kept
        from videoapi.models.extra import ExtraSource

        source = (ExtraSource(kept, type(self)), ())
        set_extra(self, source)
        return source

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in attrs.fields(cast(Any, type(self))):
            # Missing in a traceback of its own constructor.
            value = getattr(self, field.name, None)
            if value is None or field.repr is False:
                continue
            # Whatever its type says, a field whose shape is open holds what the service sends.
            open_shape = isinstance(value, Mapping | list | tuple)
            show = field.repr if callable(field.repr) else redact_within if open_shape else repr
            shown.append(f"{field.name}={show(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name, _ in wire_fields(type(self))}
        return rebuild, (type(self), fields, self._extra_fields())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return json_schema(cls)


# The slot's setter: frozen classes reject assignment, and this is the fastest way around that.
set_extra: Callable[[Model, Kept], None] = cast(Any, Model)._extra.__set__


def forget_extra(made: Model) -> None:
    """Make a model and its parts as if their unknown fields had not been kept."""
    set_extra(made, None)
    for name in parts(type(made)):
        value = getattr(made, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Model):
                forget_extra(part)


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def plain(value: Any, levels: int = MAX_DEPTH) -> Any:
    """Return a value as JSON types, with models at any depth converted.

    Raises:
        ValidationError: If objects and lists are nested deeper than `levels`.
    """
    if levels and type(value) is dict and _SCALARS.issuperset(map(type, value.values())):
        return dict(value)
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: plain(item, levels - 1) for name, item in value.items()} if levels else _too_deep()
    if isinstance(value, (list, tuple)):
        return [plain(item, levels - 1) for item in value] if levels else _too_deep()
    return value


def _too_deep() -> NoReturn:
    raise ValidationError("A value is nested too deeply, or contains itself.")


def hashable(value: Any) -> Any:
    """Return a value that can be hashed, equal for equal values: mappings and lists at any depth are replaced."""
    if isinstance(value, Mapping):
        return frozenset((name, hashable(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(hashable(item) for item in value)
    return value
