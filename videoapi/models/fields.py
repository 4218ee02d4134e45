"""Metadata from the attrs fields of a model: names, types, nested models and defaults."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import attrs

_M = TypeVar("_M")
_T = TypeVar("_T")


def cached_per_class(function: Callable[[Any], _T]) -> Callable[[Any], _T]:
    """Return `functools.cache` of a function of one class."""
    # functools.cache requires hashable arguments, and mypy does not treat classes as hashable.
    return functools.cache(function)


def rebuild(cls: type[_M], fields: Mapping[str, Any], kept: dict[str, Any] | None) -> _M:
    """Build a model from checked values; omitted fields take their defaults."""
    instance = cls.__new__(cls)
    for name, put, default, make in _slots(cls):
        put(instance, fields[name] if name in fields else make() if make is not None else default)
    # A frozen class rejects plain assignment.
    object.__setattr__(instance, "_extra", kept)
    return instance


def unknown(cls: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the model has no attribute for."""
    known = _known(cls)
    return {name: value for name, value in fields.items() if name not in known}


def is_model(kind: Any) -> bool:
    """Return whether a type is a model: no other attrs classes are used as field types."""
    return isinstance(kind, type) and attrs.has(kind)


@cached_per_class
def parts(cls: Any) -> dict[str, type[Any]]:
    """Return the fields that may hold models, with the class of each."""
    return {name: part for name, hint in field_types(cls).items() if (part := _model_in(hint)) is not None}


@cached_per_class
def field_types(cls: Any) -> dict[str, Any]:
    """Return the type of each attrs field, in order."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in _fields(cls)}


@cached_per_class
def wire_fields(cls: Any) -> tuple[tuple[str, bool], ...]:
    # (name, whether it has a factory). A part with a factory is never None; it is empty if absent.
    return tuple((field.name, _factory(field) is not None) for field in _fields(cls))


def _fields(cls: Any) -> "list[attrs.Attribute[Any]]":
    # _extra holds the unknown fields: it is a field for `attrs.evolve` only.
    return [field for field in attrs.fields(cls) if field.name != "_extra"]


@cached_per_class
def _slots(cls: Any) -> tuple[tuple[str, Callable[[Any, Any], None], Any, Callable[[], Any] | None], ...]:
    # Per field: name, slot setter, default, factory. A required field has None as its default.
    return tuple(
        (
            field.name,
            getattr(cls, field.name).__set__,
            None if field.default is attrs.NOTHING else field.default,
            _factory(field),
        )
        for field in _fields(cls)
    )


@cached_per_class
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
