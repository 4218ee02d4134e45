"""What all models share: unknown fields, the ways in and out, and a repr that keeps secrets."""

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, Self, TypeVar, cast

import attrs
import msgspec

from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models.absent import often_absent
from videoapi.models.fields import rebuild, wire_fields
from videoapi.models.pydantic_schema import core_schema, json_schema
from videoapi.models.strict_json import DecodeError

_M = TypeVar("_M", bound="Model")
Where = tuple[str | int, ...]
"""The keys and places that lead to a model inside a text."""


class Unset(enum.Enum):
    """The kind of `UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    # An unset field and an absent one are the same setting, so what was written equals what comes back.
    def __eq__(self, other: object) -> bool:
        return other is None or other is self

    def __hash__(self) -> int:
        return hash(None)


UNSET: Final = Unset.UNSET
"""Stands in a setting that was not given, and so is not sent."""


class UnknownFields(Protocol):
    """What models came from."""

    def unknown_at(self, where: Where) -> dict[str, Any]:
        """Return the unknown fields of the model that stands there."""
        ...


class Model:
    """A frozen object of the contract.

    `==` compares the known fields. A repr shows the fields that have a value, secrets masked.
    """

    # Set after decoding and no attrs field, so that nothing on the wire can fill it.
    __slots__ = ("__weakref__", "_extra")

    # Whether a scalar that does not fit its field is left in `extra` (the field reads None)
    # instead of making the whole object unreadable.
    lenient: ClassVar[bool] = False
    # Made here out of parts, not read from the wire: there are no unknown fields to lose.
    composed: ClassVar[bool] = False
    # Keys beside the object's own where the whole body is the object.
    envelope: ClassVar[frozenset[str]] = frozenset()

    _extra: tuple[UnknownFields, Where] | dict[str, Any]

    @property
    def extra(self) -> dict[str, Any]:
        """Fields of the answer that this version does not know, under their names on the wire.

        Raises:
            ConfigurationError: they were not kept; read the stream with `extra=True`.
        """
        kept = self._extra_fields()
        if kept is None:
            raise ConfigurationError(
                f"The unknown fields of this {type(self).__name__} were not kept; read it with extra=True."
            )
        return dict(kept)

    def to_dict(self) -> dict[str, Any]:
        """Give the fields under their names on the wire, with `extra` where it was kept."""
        wire: dict[str, Any] = {}
        for name, is_part in wire_fields(type(self)):
            value = plain(getattr(self, name))
            if value is None or value is UNSET or (is_part and not value):
                continue
            wire[name] = value
        wire.update(self._extra_fields() or {})
        return wire

    def to_json(self) -> str:
        """Give `to_dict` as JSON text."""
        return msgspec.json.encode(self.to_dict()).decode()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the object from what `to_dict` gives, or from a parsed answer.

        Args:
            fields: Values by their names on the wire; unknown ones go to `extra`.

        Raises:
            ValidationError: a field cannot be read as what it should be.
        """
        from videoapi.models.converter import structure

        try:
            return structure(fields, cls)
        except DecodeError as refused:
            raise ValidationError(
                f"This is no {cls.__name__}: {refused.reason}.", field=refused.location or None
            ) from None

    def _extra_fields(self) -> dict[str, Any] | None:
        try:
            kept = self._extra
        except AttributeError:
            return {} if self.composed else None
        if isinstance(kept, tuple):
            source, where = kept
            kept = source.unknown_at(where)
            set_extra(self, kept)
        return kept

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in attrs.fields(cast(Any, type(self))):
            value = getattr(self, field.name)
            if value is None or value is UNSET:
                continue
            show = field.repr if callable(field.repr) else repr
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


def sparse(cls: type[_M]) -> type[_M]:
    """Decorate a model most of whose fields are absent on the wire, so that it decodes faster."""
    return often_absent(*(name for name, is_part in wire_fields(cls) if not is_part))(cls)


# The slot's own setter: frozen classes refuse any other way in, and this one is the fastest.
set_extra: Callable[[Model, tuple[UnknownFields, Where] | dict[str, Any]], None] = cast(Any, Model)._extra.__set__


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """Turn models, wherever they stand in a value, into what JSON has; what is unset is left out."""
    if type(value) is dict and _SCALARS.issuperset(map(type, value.values())):
        return dict(value)
    if isinstance(value, Model):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items() if item is not UNSET}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
