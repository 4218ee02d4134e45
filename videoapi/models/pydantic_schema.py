"""The pydantic hooks of models (also used by FastAPI): validate, serialize, describe."""

import inspect
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Protocol, Self, Union, cast, get_args, get_origin

import attrs

from videoapi.errors import ValidationError
from videoapi.models.descriptions import descriptions
from videoapi.models.fields import field_types, is_model


class Convertible(Protocol):
    """A class that converts from and to mappings."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self: ...

    def to_dict(self) -> dict[str, Any]: ...


def core_schema(cls: type[Convertible]) -> Any:
    """Return a pydantic schema that validates with `from_dict` and serializes with `to_dict`."""
    from pydantic_core import core_schema as schema

    def read(value: Any) -> Convertible:
        if isinstance(value, cls):
            return value
        try:
            return cls.from_dict(value)
        except ValidationError as error:
            raise ValueError(str(error)) from None

    def write(value: Convertible) -> dict[str, Any]:
        return value.to_dict()

    return schema.no_info_plain_validator_function(
        read, serialization=schema.plain_serializer_function_ser_schema(write)
    )


def json_schema(cls: type[Convertible]) -> dict[str, Any]:
    """Return an open JSON schema: the service may add fields, and any optional field may be missing."""
    schema: dict[str, Any] = {
        "type": "object",
        "title": cls.__name__,
        "properties": properties(cls),
        "additionalProperties": True,
    }
    required = [field.name for field in attrs.fields(cast(Any, cls)) if field.default is attrs.NOTHING]
    if summary := inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]:
        schema["description"] = " ".join(summary.split())
    return {**schema, "required": required} if required else schema


def properties(cls: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of each field, with its description."""
    texts = descriptions(cls)
    return {
        name: {**_schema(hint), **({"description": texts[name]} if name in texts else {})}
        for name, hint in field_types(cls).items()
    }


def _schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type. A null is not named: it is read, but never written."""
    if is_model(hint):
        return json_schema(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _schema(inner[0])
    if origin in (Union, UnionType):
        members = [_schema(member) for member in inner if member is not NoneType]
        # A mapping in place of a model says nothing more.
        listed = [member for member in members if member != _TYPES[Mapping] or len(members) == 1]
        return listed[0] if len(listed) == 1 else {"anyOf": listed}
    if origin is tuple:
        return {"type": "array", "items": _schema(inner[0])}
    return _TYPES.get(origin or hint, {})


_TYPES: Final[dict[Any, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    dict: {"type": "object", "additionalProperties": True},
    Mapping: {"type": "object"},
}
