"""What the JSON decoder builds: for each model a msgspec struct with the same fields, and models from these structs.

A struct is decoded in half the time of an attrs class, and does not concern the garbage collector. The model
of a record takes the record's own fields from its struct at once, and its parts when one of them is first read
(`Model.__getattr__`).
"""

from collections.abc import Callable, Iterable
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, Union, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec

from videoapi.models.fields import cached_per_class, field_types, is_model, parts

__all__ = ["Decoded", "build", "build_parts", "struct_of"]

_Build = Callable[["Decoded"], Any]
_astuple = msgspec.structs.astuple


class Decoded(msgspec.Struct, gc=False):
    """The fields of one object of a response, of the types that its model declares.

    `model` builds the model of such an object without its parts, which `build_parts` builds.
    """

    model: ClassVar[Callable[..., Any]]

    def __repr__(self) -> str:
        # The fields may be secrets, such as a user's token.
        return f"<{type(self).__name__}>"


@cached_per_class
def struct_of(cls: Any) -> type[Decoded]:
    """Return the struct into which to decode a model: the model's own fields first, then its parts."""
    required = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    hints = get_type_hints(cls, include_extras=True)
    fields: list[Any] = [
        (name, _struct_type(hints[name])) if name in required else (name, _struct_type(hints[name]) | None, None)
        for name in (*_own(cls), *parts(cls))
    ]
    struct = msgspec.defstruct(
        f"_{cls.__name__}", fields, bases=(Decoded,), namespace={"model": staticmethod(_builder(cls))}, kw_only=True
    )
    return cast("type[Decoded]", struct)


def build(decoded: Decoded) -> Any:
    """Return the model of a decoded object."""
    return type(decoded).model(decoded)


def build_parts(model: Any, made: Callable[[Any, str], None] | None = None) -> None:
    """Build the parts of a model that `build` returned, without their parts.

    All of them, because what a first read costs is more than a part.

    Args:
        model: The model.
        made: Called with each part and its name before the model has it: another thread may read it at once.
    """
    decoded = model._decoded
    for name, put, empty in _part_slots(type(model)):
        value = getattr(decoded, name)
        if value is None:
            value = empty
        part = type(value).model(value) if isinstance(value, Decoded) else _built(value)
        if made is not None:
            made(part, name)
        put(model, part)


def _built(value: Any) -> Any:
    if isinstance(value, Decoded):
        return build(value)
    return tuple(map(_built, value)) if type(value) is tuple else value


def _builder(cls: Any) -> _Build:
    """Return a function that builds a model without its parts; if it has any, it keeps its struct for them."""
    own, has_parts = _own(cls), bool(parts(cls))
    twin, count = _unfrozen(cls, own), len(own)

    def build(decoded: Decoded) -> Any:
        built = twin(*_astuple(decoded)[:count])
        if has_parts:
            built._decoded = decoded
        built._extra = None
        built.__class__ = cls
        return built

    return build


@cached_per_class
def _part_slots(cls: Any) -> tuple[tuple[str, Callable[[Any, Any], None], Decoded | None], ...]:
    # Per part: its name, the setter of its slot, and what is decoded if a part that is never None is missing.
    factories = {field.name: getattr(field.default, "factory", None) for field in attrs.fields(cls)}
    return tuple(
        (name, cls.__dict__[name].__set__, None if factories[name] is None else struct_of(part)())
        for name, part in parts(cls).items()
    )


def _unfrozen(cls: Any, names: Iterable[str]) -> Any:
    """Return a class with the same slots, whose positional arguments are the named fields.

    Objects are built with it, because a frozen class rejects plain assignments, and all ways around that take
    three times as long. Then they get their own class.
    """
    given = tuple(names)
    fields = {name: attrs.field(init=name in given, default=attrs.NOTHING) for name in field_types(cls)}
    ordered = {name: fields[name] for name in given} | fields
    # The slots are laid out by name, so their order does not matter.
    return attrs.make_class(f"_Unfrozen{cls.__name__}", ordered, bases=cls.__bases__, slots=True, eq=False, repr=False)


def _own(cls: Any) -> tuple[str, ...]:
    return tuple(name for name in field_types(cls) if name not in parts(cls))


def _open_value(levels: int) -> Any:
    scalar = str | int | float | bool | None
    kind: Any = scalar
    for _ in range(levels):
        kind = scalar | dict[str, kind] | list[kind]
    return kind


# Any JSON value, but not a deep one: those are for the tolerant converter, which bounds their depth.
_OPEN_VALUE: Final = _open_value(6)


def _struct_type(hint: Any) -> Any:
    """Return the type of a field of a struct: that of the model's field, with structs in place of models."""
    if is_model(hint):
        return struct_of(hint)
    if hint is Any:
        return _OPEN_VALUE
    origin, inner = get_origin(hint), tuple(get_args(hint))
    if origin is None or origin is Annotated:
        return hint
    types = tuple(one if one is ... else _struct_type(one) for one in inner)
    return Union[types] if origin in (Union, UnionType) else origin[types]  # noqa: UP007
