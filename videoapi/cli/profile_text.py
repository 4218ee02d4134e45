"""Edits one table of a TOML file, and leaves the rest of the text as it is. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Final

_TABLE: Final = re.compile(r"\s*\[")
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
