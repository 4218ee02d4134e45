"""How the fields of events are read: the shapes that the service documents, and those it might send. Pure.

Each function returns the value, or None for an empty one. It raises `DecodeError` for a value that the field cannot
have, or that it would lose a part of; the event then keeps the value in `extra`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from videoapi.models.converter import text
from videoapi.models.strict_json import DecodeError
from videoapi.models.times import in_utc, parse_time


class PartlyReadable(DecodeError):
    """Some of a value was read: `value` is what."""

    def __init__(self, problem: str, value: Any) -> None:
        super().__init__(problem)
        self.value = value


def read_text(value: Any) -> str:
    """Read text; a number as it looks in JSON."""
    return text(value)


def read_time(value: Any) -> datetime | None:
    """Read seconds or milliseconds since 1970, a number or text, or a time in ISO 8601."""
    if isinstance(value, datetime):
        return in_utc(value)
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DecodeError("expected a time")
    when = parse_time(value.strip() if isinstance(value, str) else _digits(value))
    if when is None:
        raise DecodeError("expected a time")
    return when


def _digits(value: int | float) -> str:
    # An integer of thousands of digits cannot be written as text.
    return "" if abs(value) >= 1e15 else f"{value:f}" if isinstance(value, float) else str(value)


def read_count(value: Any) -> int | str | None:
    """Read a whole number, also from text; other text stays text."""
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped:
            return None
        digits = stripped.removeprefix("-")
        return int(stripped) if digits.isdecimal() and digits.isascii() and len(digits) <= 18 else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise DecodeError("expected a whole number")


def read_urls(value: Any) -> tuple[str, ...] | None:
    """Read URLs: one or a list of them, each as text or as an object with `url`."""
    if isinstance(value, str) and not value.strip():
        return None
    items = value if isinstance(value, (list, tuple)) else [value]
    urls = [url for item in items if (url := _url(item))]
    if len(urls) < len(items) or any(isinstance(item, Mapping) and len(item) > 1 for item in items):
        raise PartlyReadable("expected URLs", tuple(urls) or None)
    return tuple(urls)


def _url(item: Any) -> str | None:
    found = item.get("url") if isinstance(item, Mapping) else item
    return found if isinstance(found, str) and found.strip() else None
