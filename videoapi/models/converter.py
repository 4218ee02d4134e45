"""The tolerant converter from parsed JSON to models, built on cattrs.

It handles records that the typed decoder rejects, and mappings that users pass. The two agree on
every value that both can read. Each scalar has its own hook, because cattrs alone would silently
corrupt two values that this service sends: `bool("false")` and `str(None)`.

A field whose value cannot be read costs only itself: it reads None, and its value goes to `extra` under
the field's name. Such a field is odd. Only a missing or unreadable required field makes an object invalid.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from videoapi.models.base import Model, forget_extra
from videoapi.models.fields import field_types, is_model, parts, rebuild, unknown, wire_fields
from videoapi.models.strict_json import DecodeError, Path, clean

_M = TypeVar("_M", bound=Model)
_Hook = Callable[[Any, Any], Any]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "-0": False}


class _PartlyRead(DecodeError):
    """Some items of a list cannot be read; `items` are the others."""

    def __init__(self, error: DecodeError, items: tuple[Any, ...]) -> None:
        super().__init__(error.problem, error.location)
        self.items = items


def structure(payload: Any, model: type[_M]) -> _M:
    """Build a model from parsed JSON; unknown and odd fields go to `extra`.

    Args:
        payload: Values by API field name.
        model: The class to build.

    Raises:
        DecodeError: If the payload is not an object, or a required field is missing or cannot be read.
    """
    return structure_record(*clean(payload), model)[0]


def structure_record(
    payload: Any, changed: list[Path], model: type[_M], *, kept: bool = True
) -> tuple[_M, tuple[str, ...]]:
    """Build a model from parsed JSON, and name its odd fields.

    Args:
        payload: Values by API field name, cleaned.
        changed: The paths of what was replaced by cleaning.
        model: The class to build.
        kept: Whether unknown and odd fields go to `extra`.

    Returns:
        The model; and the dotted names of the fields that cannot be read, or whose text or depth had to be
        changed (see `clean`). A field that the model does not know is named `extra`.

    Raises:
        DecodeError: If the payload is not an object, or a required field is missing or cannot be read.
    """
    built: _M = _converter().structure(payload, model)
    odd = dict.fromkeys([*_odd_fields(built), *(_field_at(model, path) for path in changed)])
    if not kept:
        forget_extra(built)
    return built, tuple(odd)


def _odd_fields(built: Model) -> Iterator[str]:
    model = type(built)
    yield from (name for name in built._extra_fields() or () if name in field_types(model))
    for name in parts(model):
        value = getattr(built, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Model):
                yield from (f"{name}.{inner}" for inner in _odd_fields(part))


def _field_at(model: type[Any] | None, path: Path) -> str:
    names: list[str] = []
    for key in path:
        if model is None:
            break
        known = key in field_types(model)
        names.append(key if known else "extra")
        model = parts(model).get(key) if known else None
    return ".".join(names)


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind, read in _SCALARS.items():
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook_factory(_is_union, lambda kind: _union_hook(kind, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_hook(kind, converter))
    converter.register_structure_hook_factory(_is_dict, lambda kind: _mapping)
    converter.register_structure_hook_factory(is_model, lambda kind: _model_hook(kind, converter))
    return converter


def text(value: Any, _: Any = str) -> str:
    """Return a value as text; numbers and booleans as they look in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return _exact_text(value)


def _exact_text(value: Any, _: Any = str) -> str:
    if isinstance(value, str):
        return value
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
    # Empty text means "not given" only for values that may be written as text.
    nothing = ("", "null") if not _SCALARS.keys().isdisjoint(members) else ("null",)
    readers = [
        (shapes, converter.get_structure_hook(member), member)
        for member in members
        if (shapes := _accepted_shapes(member)) is not None
    ]
    # Next to objects and lists, a text is a URL or a JSON text: never a number.
    scalars = [read for scalar, read in _SCALARS.items() if scalar in members and not (readers and scalar is str)]

    def read(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        if isinstance(value, str):
            if str in members:
                return value
            if optional and value.strip().lower() in nothing:
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
        if isinstance(value, Mapping):
            value = (value,)
        if not isinstance(value, (list, tuple)):
            raise DecodeError(f"expected a list, got {_kind(value)}")
        items: list[Any] = []
        failed: DecodeError | None = None
        for item in value:
            try:
                items.append(read_item(item, item_kind))
            except DecodeError as error:
                failed = error
        if failed is not None:
            raise _PartlyRead(failed, tuple(items))
        return tuple(items)

    return read


def _model_hook(cls: Any, converter: cattrs.Converter) -> _Hook:
    required = {field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING}
    exact = {field.name for field in attrs.fields(cls) if "exact" in field.metadata}
    readers = [
        (name, kind, _fitting(kind), _exact_text if name in exact else converter.get_structure_hook(kind))
        for name, hint in field_types(cls).items()
        for kind in (hint if name in required else hint | None,)
    ]
    always = [name for name, has_factory in wire_fields(cls) if has_factory]

    def build(value: Any, _: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise DecodeError(f"expected an object, got {_kind(value)}")
        fields: dict[str, Any] = {}
        odd: dict[str, Any] = {}
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
                read = hook(found, kind)
            except DecodeError as error:
                if name in required:
                    raise error.nested_in(name) from None
                odd[name] = found
                read = error.items if isinstance(error, _PartlyRead) else None
            if read is not None:
                fields[name] = read
        for name in always:
            if name not in fields:
                # Unlike one from the factory, this part has unknown fields: none.
                fields[name] = converter.structure({}, field_types(cls)[name])
        return rebuild(cls, fields, unknown(cls, value) | odd)

    return build


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
    return (list, tuple, Mapping) if _is_tuple(member) else None


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
