"""Edits one table of a TOML file, and leaves the rest of the text as it is. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

_TABLE: Final = re.compile(r"\s*\[")
_ENDS: Final = ('"""', "'''", "]")
_ASIDE: Final = re.compile(r"\s*(?:#.*)?")
# Not `str.splitlines`, which also splits comments at characters such as U+2028.
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")


def replace_table(text: str, name: str, values: Mapping[str, str]) -> str | None:
    """Return the text with `[profiles.NAME]` added, or with its values replaced; its comments stay.

    Args:
        text: A valid TOML document.
        name: The name of the profile, a bare key.
        values: All values of the profile.

    Returns:
        The new text; None if it would change anything else, such as a table of values in several lines.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    lines = _LINE.findall(text)
    header = re.compile(rf"\s*\[\s*profiles\s*\.\s*(?:{name}|\"{name}\"|'{name}')\s*\]\s*(?:#.*)?")
    table = [f"{key} = {_quoted(value)}{end}" for key, value in values.items()]
    start = next((place for place, line in enumerate(lines) if header.fullmatch(line.rstrip())), None)
    if start is None:
        before = text if not text or text.endswith("\n") else text + end
        new = "".join([before, end if before else "", f"[profiles.{name}]{end}", *table])
    else:
        first = start + 1
        last = next((place for place in range(first, len(lines)) if _TABLE.match(lines[place])), len(lines))
        kept = [line for line in lines[first:last] if _ASIDE.fullmatch(line.rstrip("\r\n"))]
        head = lines[start].rstrip("\r\n") + end
        new = "".join([*lines[:start], head, *table, *kept, *lines[last:]])
    return new if _is_edit(text, new, name, values) else None


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the number of the line that has a key, by its names from the outermost one; None if it is not found.

    Args:
        text: A valid TOML document.
        path: The names, such as `profiles`, `default` and `app_key`.
    """
    table: tuple[str, ...] = ()
    for number, line in enumerate(_LINE.findall(text), 1):
        document = _parsed(line)
        outer: tuple[str, ...] = ()
        if _TABLE.match(line):
            table = _names(document)
        else:
            outer = table
        if tuple(path[: len(outer)]) == outer and _has(document, path[len(outer) :]):
            return number
    return None


def _parsed(line: str) -> Any:
    """Return a line as a document; a value of several lines as if it ended in this one."""
    for candidate in (line, *(line + end for end in _ENDS), f"{line.partition('=')[0]} = 0"):
        with suppress(tomllib.TOMLDecodeError, RecursionError):
            return tomllib.loads(candidate)
    return {}


def _names(table: Any) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        names.append(name)
    return tuple(names)


def _has(document: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return bool(path)


def _quoted(value: str) -> str:
    # TOML's basic strings are JSON's, but for characters beyond the BMP and for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_edit(old: str, new: str, name: str, values: Mapping[str, str]) -> bool:
    """Return whether the new text differs from the old one in this profile alone."""
    document = tomllib.loads(old)
    profiles = document.setdefault("profiles", {})
    if not isinstance(profiles, dict):
        return False
    profiles[name] = dict(values)
    try:
        return tomllib.loads(new) == document
    except tomllib.TOMLDecodeError:
        return False
