"""Docstrings, written for `help()`, as the reStructuredText that autodoc expects."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import Any, Final, get_type_hints

import attrs
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from videoapi.models.base import Model

_LITERAL: Final = re.compile(r"(?<![`\w:])`([^`\n]+)`(?!`)")
_SECTION: Final = re.compile(r"^(Args|Attributes|Example|Returns|Raises|Yields)[^\n]*:$")
_SOURCE: Final = re.compile(r"^Source: docs/contract\.md (.*)$")
_FIELD: Final = re.compile(r"^    (\w+): ")
_CONTRACT: Final = re.compile(r"\bdocs/contract\.md\b")
_HIDDEN_MEMBERS: Final = {"composed", "envelope"}


def convert(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn literals into ReST literals, and the fields of a value class into attributes with types."""
    fields = _types(value) if what in ("class", "exception") and inspect.isclass(value) else None
    section, code, moved = "", False, False
    converted: list[str] = []
    # napoleon takes what precedes a colon in the first line of a property for its type.
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(": ", " – ")
    for line in lines:
        if heading := _SECTION.match(line):
            section = heading[1]
            if section == "Example":
                converted += [".. rubric:: Example", "", ".. code-block:: python", ""]
                code = True
                continue
            if section == "Raises":
                line = "Raises:"
            if section == "Args" and fields is not None:
                line = "Attributes:"
        elif line and not line.startswith(" "):
            section, code = "", False
        if code:
            converted.append(line)
            continue
        if section in ("Args", "Attributes") and fields and (field := _FIELD.match(line)):
            if field[1] in fields:
                line = f"    {field[1]} ({fields[field[1]]}): {line[field.end() :]}"
            elif not moved:
                # An argument that is not a field, such as the last one of RoomSettings.
                moved = True
                converted += ["", "Args:"]
        if source := _SOURCE.match(line):
            line = f"Source: :doc:`contract </contract>` {source[1]}"
        converted.append(_LITERAL.sub(r"``\1``", line))
    lines[:] = converted


def _types(cls: type[Any]) -> dict[str, str] | None:
    if not attrs.has(cls):
        return {} if issubclass(cls, BaseException) else None
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
    """Leave out the signature of classes that only the library constructs."""
    if what not in ("class", "exception") or not inspect.isclass(value):
        return None
    constructed = not issubclass(value, BaseException) and "Args:" in (value.__doc__ or "")
    if issubclass(value, Model) and value.__name__ not in ("RoomSettings", "Sip"):
        constructed = False
    if value.__module__ in ("videoapi.events", "videoapi.stats", "videoapi.bulk.report"):
        constructed = False
    return None if constructed else ("", None)


def public_bases(app: Sphinx, name: str, value: Any, options: Any, bases: list[Any]) -> None:
    """Leave out base classes that are private."""
    bases[:] = [base for base in bases if not getattr(base, "__name__", "").startswith("_")] or [object]


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what only the library itself uses."""
    return True if name in _HIDDEN_MEMBERS else None
