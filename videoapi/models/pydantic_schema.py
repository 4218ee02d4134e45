"""The pydantic hooks of models (also used by FastAPI): validate, serialize, describe."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

from videoapi.errors import ValidationError
from videoapi.models.fields import field_types


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
    """Return an open JSON schema: the service may add fields, and any field may be missing."""
    return {
        "type": "object",
        "title": cls.__name__,
        "properties": {name: {} for name in field_types(cls)},
        "additionalProperties": True,
    }
