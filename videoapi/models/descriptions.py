"""The descriptions of fields, in docstrings."""

import inspect
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

_T = TypeVar("_T")

_SECTION: Final = re.compile(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)*)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^[ ]{4}(\w+): (.*(?:\n[ ]{8,}.*)*)", re.MULTILINE)


def descriptions(cls: type[Any]) -> dict[str, str]:
    """Return the description of each field, from the Args or Attributes section of the class's docstring."""
    # Docstrings are None under `python -OO`.
    sections = _SECTION.findall(inspect.cleandoc(cls.__doc__ or ""))
    return {name: " ".join(text.split()) for section in sections for name, text in _ENTRY.findall(section)}


def described_like(other: type[Any]) -> Callable[[type[_T]], type[_T]]:
    """Decorate an attrs class so that its docstring describes its fields as another class does."""

    def decorate(cls: type[_T]) -> type[_T]:
        if cls.__doc__ and other.__doc__:
            texts = descriptions(other)
            names = [field.name for field in attrs.fields(cls) if field.name in texts]  # type: ignore[arg-type]
            entries = "\n".join(f"    {name}: {texts[name]}" for name in names)
            cls.__doc__ = f"{inspect.cleandoc(cls.__doc__)}\n\nAttributes:\n{entries}\n"
        return cls

    return decorate
