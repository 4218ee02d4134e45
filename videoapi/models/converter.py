"""The tolerant converter from parsed JSON to models, built on cattrs.

It handles records that the typed decoder rejects, and mappings that users pass. The two agree on
every value that both can read. Each scalar has its own hook, because cattrs alone would silently
corrupt two values that this service sends: `bool("false")` and `str(None)`.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from videoapi.models.fields import field_types, is_model, rebuild, unknown
from videoapi.models.strict_json import DecodeError

_M = TypeVar("_M")
_Hook = Callable[[Any, Any], Any]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "-0": False}
_NOTHING = frozenset({"", "null"})


def structure(payload: Any, model: type[_M], *, kept: bool = True) -> _M:
    """Build a model from parsed JSON.

    Args:
        payload: Values by API field name.
        model: The class to build.
        kept: Whether unknown fields go to `extra`.

    Raises:
        DecodeError: If the shape does not fit; the reason names the field.
    """
    built: _M = _converter(kept).structure(payload, model)
    return built


@functools.cache
def _converter(kept: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind, read in _SCALARS.items():
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_factory(_is_union, lambda kind: _union_hook(kind, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_hook(kind, converter))
    converter.register_structure_hook_factory(_is_dict, lambda kind: _mapping)
    converter.register_structure_hook_factory(is_model, lambda kind: _model_hook(kind, converter, kept))
    return converter


def text(value: Any, _: Any = str) -> str:
    """Return a value as text; numbers and booleans as they look in JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise DecodeError(f"expected text, got {_kind(value)}")


def _whole(value: Any, _: Any) -> int:
    if isinstance(value, str):
        stripped = value.strip()
        if _WHOLE.fullmatch(stripped):
            return int(stripped)
        value = float(stripped) if _NUMBER.fullmatch(stripped) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise DecodeError(f"expected a whole number, got {_kind(value)}")


def _number(value: Any, _: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            if math.isfinite(number := float(value)):
                return number
        except OverflowError:
            pass
        raise DecodeError("number out of range")
    raise DecodeError(f"expected a number, got {_kind(value)}")


def _truth(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and (word := value.strip().lower()) in _TRUTHS:
        return _TRUTHS[word]
    raise DecodeError(f"expected true or false, got {_kind(value)}")


def _mapping(value: Any, _: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DecodeError(f"expected an object, got {_kind(value)}")
    return dict(value)


# In the order in which union members are tried.
_SCALARS: dict[type, _Hook] = {bool: _truth, int: _whole, float: _number, str: text}


def _union_hook(kind: Any, converter: cattrs.Converter) -> _Hook:
    members = get_args(kind)
    optional = NoneType in members
    readers = [
        (shapes, converter.get_structure_hook(member), member)
        for member in members
        if (shapes := _accepted_shapes(member)) is not None
    ]
    scalars = [read for scalar, read in _SCALARS.items() if scalar in members]

    def read(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        if isinstance(value, str):
            if str in members:
                return value
            if optional and value.strip().lower() in _NOTHING:
                return None
        for shapes, hook, member in readers:
            if isinstance(value, shapes):
                return hook(value, member)
        return _first(scalars, value)

    return read


def _first(hooks: list[_Hook], value: Any) -> Any:
    last_error: DecodeError | None = None
    for hook in hooks:
        try:
            return hook(value, None)
        except DecodeError as error:
            last_error = error
    raise last_error or DecodeError(f"expected something else than {_kind(value)}")


def _tuple_hook(kind: Any, converter: cattrs.Converter) -> _Hook:
    item_kind = get_args(kind)[0]
    read_item = converter.get_structure_hook(item_kind)

    def read(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise DecodeError(f"expected a list, got {_kind(value)}")
        return tuple(read_item(item, item_kind) for item in value)

    return read


def _model_hook(cls: Any, converter: cattrs.Converter, kept: bool) -> _Hook:
    required = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    readers = [
        (name, kind, _fitting(kind), converter.get_structure_hook(kind)) for name, kind in field_types(cls).items()
    ]

    def read(value: Any, _: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise DecodeError(f"expected an object, got {_kind(value)}")
        fields: dict[str, Any] = {}
        unread: dict[str, Any] = {}
        for name, kind, fitting, hook in readers:
            found = value.get(name)
            if found is None:
                if name in required:
                    raise DecodeError("missing", name)
                continue
            if type(found) is fitting:
                fields[name] = found
                continue
            try:
                fields[name] = hook(found, kind)
            except DecodeError as error:
                if name in required or not cls.lenient:
                    raise error.nested_in(name) from None
                unread[name] = found
        return rebuild(cls, fields, unknown(cls, value) | unread if kept else None)

    return read


def _fitting(kind: Any) -> type | None:
    """Return the type whose values are used without calling a hook: most fields hold such a value."""
    members = get_args(kind) if _is_union(kind) else (kind,)
    return next((plain for plain in (str, bool) if plain in members), None)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_dict(kind: Any) -> bool:
    return get_origin(kind) is dict


def _accepted_shapes(member: Any) -> tuple[type, ...] | None:
    if is_model(member):
        return (Mapping, member)
    if _is_dict(member):
        return (Mapping,)
    return (list, tuple) if _is_tuple(member) else None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float)):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "a list"
