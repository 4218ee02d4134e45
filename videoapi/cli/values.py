"""Option values that are objects: KEY=VALUE, a JSON object, or @FILE with one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click


def objects_of(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """Return the values of an option that takes KEY=VALUE, a JSON object, or @FILE with one, as a single object.

    Raises:
        click.UsageError: If a value is in another form, or a key is given twice.
    """
    return merged(option, texts, lambda name, value: {name: value})


def merged(option: str, texts: Iterable[str], convert: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Return the values of such an option, with what a function makes of each KEY=VALUE.

    Raises:
        click.UsageError: If a value is in another form, or a key is given twice.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        found = _json_object(option, text)
        _merge(option, fields, convert(*_pair(option, text)) if found is None else found)
    return fields


def _merge(option: str, fields: dict[str, Any], found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        known = fields.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(f"{option} {name}", known, value)
        elif name in fields:
            raise click.UsageError(f"{option}: {name} is given twice")
        else:
            fields[name] = value


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} {text}: give NAME=VALUE, a JSON object, or @FILE")
    return name, value


def _json_object(option: str, text: str) -> dict[str, Any] | None:
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
            raise click.UsageError(f"{option}: cannot read {path}: {reason}") from None
    elif not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{option}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{option}: give a JSON object")
    return value
