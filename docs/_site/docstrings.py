"""Docstrings, written for `help()`, as the reStructuredText that autodoc expects."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import Any, Final, Generic, get_type_hints

import attrs
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from videoapi.models.base import Model

LITERAL: Final = re.compile(r"(?<![`\w:])`([^`\n]+)`(?!`)")
_SECTION: Final = re.compile(r"^(Args|Attributes|Example|Returns|Raises|Yields)[^\n]*:$")
_SOURCE: Final = re.compile(r"^Source: docs/contract\.md (.*)$")
_FIELD: Final = re.compile(r"^    (\w+): ")
_CONTRACT: Final = re.compile(r"\bdocs/contract\.md\b")
# As Sphinx 9.0 shows the aliases of `autodoc_type_aliases` inside of unions.
_ALIAS: Final = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")
_HIDDEN_MEMBERS: Final = {"composed", "envelope"}


def convert(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn literals into ReST literals, and the fields of a value class into attributes with types."""
    fields = _types(value) if what in ("class", "exception") and inspect.isclass(value) else {}
    # napoleon takes what precedes a colon in the first line of a property for its type.
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(": ", " – ")
    section, in_field = "", False
    converted: list[str] = []
    arguments: list[str] = []
    for line in lines:
        if heading := _SECTION.match(line):
            section, in_field = heading[1], False
            if section == "Example":
                converted += [".. rubric:: Example", "", ".. code-block:: python", ""]
            elif section not in ("Args", "Attributes") or not fields:
                converted.append(f"{section}:")
            continue
        if line and not line.startswith(" "):
            section = ""
        if section == "Example":
            converted.append(line)
            continue
        if source := _SOURCE.match(line):
            line = f"Source: :doc:`contract </contract>` {source[1]}"
        line = LITERAL.sub(r"``\1``", line)
        if fields and section in ("Args", "Attributes"):
            if field := _FIELD.match(line):
                in_field = field[1] in fields
                if in_field:
                    converted += ["", f".. py:attribute:: {field[1]}", f"   :type: {fields[field[1]]}", ""]
                    line = "   " + line[field.end() :]
            elif in_field and line:
                line = "   " + line.strip()
            (converted if in_field or not line else arguments).append(line)
        else:
            converted.append(line)
    # What is an argument but not a field, such as the last one of RoomSettings.
    lines[:] = [*converted, "", *(["Args:", *arguments, ""] if arguments else [])]


def _types(cls: type[Any]) -> dict[str, str]:
    if not attrs.has(cls):
        return {}
    hints: dict[str, Any] = {field.name: field.type for field in attrs.fields(cls)}
    # Some names are imported for type checkers only.
    with suppress(NameError):
        hints |= {name: hint for name, hint in get_type_hints(cls).items() if name in hints}
    return {
        name: kind if isinstance(kind, str) else stringify_annotation(kind, "smart") for name, kind in hints.items()
    }


def signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, given: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Leave out the signature of classes that only the library constructs; name type aliases by their names."""
    given, returned = (text and _ALIAS.sub(r"~\1", text) for text in (given, returned))
    if given is None:
        return None
    if what not in ("class", "exception") or not inspect.isclass(value):
        return given, returned
    constructed = not issubclass(value, BaseException) and "Args:" in (value.__doc__ or "")
    if issubclass(value, Model) and value.__name__ not in ("RoomSettings", "Sip"):
        constructed = False
    if value.__module__ in ("videoapi.events", "videoapi.stats", "videoapi.bulk.report"):
        constructed = False
    return (given, returned) if constructed else ("", None)


def public_bases(app: Sphinx, name: str, value: Any, options: Any, bases: list[Any]) -> None:
    """Replace private base classes by their own bases."""
    bases[:] = bases_of(value)


def bases_of(cls: type[Any]) -> list[type[Any]]:
    """Return the nearest public base classes other than `object`."""
    found: list[type[Any]] = []
    for base in cls.__bases__:
        if base.__name__.startswith("_"):
            found += bases_of(base)
        elif base not in (object, Generic):
            found.append(base)
    return list(dict.fromkeys(found))


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what only the library itself uses."""
    return True if name in _HIDDEN_MEMBERS else None
