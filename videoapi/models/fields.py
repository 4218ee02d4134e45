"""What is read from the attrs fields of a model: names, types, nested models, and defaults."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import attrs

_M = TypeVar("_M")
_T = TypeVar("_T")


def _once_a_class(function: Callable[[Any], _T]) -> Callable[[Any], _T]:
    # functools.cache itself is typed for values with a __hash__, which mypy does not see in classes.
    return functools.cache(function)


def rebuild(cls: type[_M], fields: Mapping[str, Any], kept: dict[str, Any] | None) -> _M:
    """Make a model from values that need no more checks; fields left out take their defaults."""
    made = cls.__new__(cls)
    for name, put, default, make in _slots(cls):
        put(made, fields[name] if name in fields else make() if make is not None else default)
    if kept is not None:
        # A frozen class refuses any other way in.
        object.__setattr__(made, "_extra", kept)
    return made


def unknown(cls: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the fields that the model has no attribute for."""
    known = _known(cls)
    return {name: value for name, value in fields.items() if name not in known}


def is_model(kind: Any) -> bool:
    """Return whether a type is a model; models are the only attrs classes among the types of fields."""
    return isinstance(kind, type) and attrs.has(kind)


@_once_a_class
def parts(cls: Any) -> dict[str, type[Any]]:
    """The fields that may hold models, each with their class."""
    return {name: part for name, hint in field_types(cls).items() if (part := _model_in(hint)) is not None}


@_once_a_class
def field_types(cls: Any) -> dict[str, Any]:
    """The type of each attrs field, in order."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


@_once_a_class
def wire_fields(cls: Any) -> tuple[tuple[str, bool], ...]:
    # A part with a factory is always there, and empty where the wire had none.
    return tuple((field.name, _factory(field) is not None) for field in attrs.fields(cls))


@_once_a_class
def _slots(cls: Any) -> tuple[tuple[str, Callable[[Any, Any], None], Any, Callable[[], Any] | None], ...]:
    # Of each field its name, its slot's setter, and its default or what makes it; a required one reads None.
    return tuple(
        (
            field.name,
            getattr(cls, field.name).__set__,
            None if field.default is attrs.NOTHING else field.default,
            _factory(field),
        )
        for field in attrs.fields(cls)
    )


@_once_a_class
def _known(cls: Any) -> frozenset[str]:
    envelope: frozenset[str] = cls.envelope
    return envelope.union(field_types(cls))


def _model_in(hint: Any) -> type[Any] | None:
    if is_model(hint):
        model: type[Any] = hint
        return model
    return next((found for inner in get_args(hint) if (found := _model_in(inner)) is not None), None)


def _factory(field: "attrs.Attribute[Any]") -> Callable[[], Any] | None:
    return getattr(field.default, "factory", None)
