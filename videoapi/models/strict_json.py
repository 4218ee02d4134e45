"""Strict JSON: rejects invalid texts that Python's parser accepts."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
"""Maximum number of levels of objects and lists in a value that is kept."""
REPLACEMENT: Final = "\ufffd"
Path = tuple[str, ...]

_ATOMS: Final = frozenset({int, float, bool, type(None)})
# Possessive, and matches wherever the text ends, so that no input causes backtracking.
_BRACKET: Final = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?+[^"\[\]{}]*+)*+([\[\]{}]|\Z)', re.DOTALL)


class DecodeError(ValueError):
    """Bytes or a value that cannot be decoded as the requested type.

    `reason` names the location and the types, never the value: a body may contain secrets.
    """

    def __init__(self, problem: str, location: str = "") -> None:
        super().__init__(problem, location)
        self.problem = problem
        self.location = location

    @property
    def reason(self) -> str:
        """The location, if known, and the problem."""
        return f"{self.location}: {self.problem}" if self.location else self.problem

    def __str__(self) -> str:
        return self.reason

    def nested_in(self, key: str) -> "DecodeError":
        """Return the same error with the location seen from one level further out."""
        return DecodeError(self.problem, f"{key}.{self.location}" if self.location else key)


def loads(raw: bytes) -> Any:
    """Parse one JSON text strictly.

    msgspec is as strict and several times faster, but rejects a few valid texts, such as a lone surrogate.

    Args:
        raw: UTF-8 bytes, without a byte order mark.

    Raises:
        DecodeError: If the text is not valid JSON, or contains NaN, Infinity or a number out of range.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise DecodeError("nested too deeply") from None
    except ValueError:
        raise DecodeError("not valid JSON") from None


def loads_record(raw: bytes, where: Iterable[Any] = ()) -> tuple[Any, list[Path]]:
    """Parse one record of a list: as `loads`, but no value costs the record. A number out of range stays text.

    Args:
        raw: The JSON text.
        where: The path of the record inside the text: keys and list indexes.

    Returns:
        The value, and what was replaced in it, as by `clean`.

    Raises:
        DecodeError: If the text is not valid JSON.
    """
    try:
        value = msgspec.json.decode(raw)
        # Not deep; and msgspec accepts no lone surrogates.
        is_clean = raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value, is_clean = _loads_lenient(raw), False
    for step in where:
        value = value[step]
    return (value, []) if is_clean else clean(value)


def clean(value: Any) -> tuple[Any, list[Path]]:
    """Return parsed JSON with all that could not be written again replaced by U+FFFD.

    These are lone surrogates, and values nested deeper than `MAX_DEPTH` levels.

    Returns:
        The value; and the paths of what was replaced: the keys on the way, without list indexes.
    """
    if _is_clean(value, MAX_DEPTH):
        return value, []
    replaced: dict[Path, None] = {}
    return _clean(value, (), replaced, MAX_DEPTH), list(replaced)


def _is_clean(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is str:
        return not has_lone_surrogate(value)
    if kind is dict:
        if not levels:
            return False
        for name, item in value.items():
            if has_lone_surrogate(str(name)) or not (type(item) in _ATOMS or _is_clean(item, levels - 1)):
                return False
        return True
    return kind in _ATOMS or (kind is list and levels > 0 and all(_is_clean(item, levels - 1) for item in value))


def _clean(value: Any, path: Path, replaced: dict[Path, None], levels: int) -> Any:
    if isinstance(value, str):
        if has_lone_surrogate(value):
            replaced[path] = None
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if not levels:
        replaced[path] = None
        return REPLACEMENT
    if isinstance(value, Mapping):
        cleaned: dict[Any, Any] = {}
        for key, item in value.items():
            name = _clean(key, (*path, REPLACEMENT), replaced, levels) if isinstance(key, str) else key
            cleaned[name] = _clean(item, (*path, name), replaced, levels - 1)
        return cleaned
    return [_clean(item, path, replaced, levels - 1) for item in value]


def is_utf8(raw: bytes) -> bool:
    """Return whether bytes are valid UTF-8."""
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def has_lone_surrogate(text: str) -> bool:
    """Return whether a text cannot be encoded as UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def shallow(text: bytes) -> bytes:
    """Return a JSON text with U+FFFD in place of each value that is nested too deeply.

    It keeps one level more than `MAX_DEPTH`: the envelope around an object. Replaced values are not validated.
    """
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return text
    kept: list[bytes] = []
    depth = at = 0
    for match in _BRACKET.finditer(text):
        bracket = match[1]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == MAX_DEPTH + 2:
                kept.append(text[at : match.start(1)])
        elif bracket:
            depth -= 1
            if depth == MAX_DEPTH + 1:
                kept.append(rb'"\ufffd"')
                at = match.end()
    return b"".join((*kept, text[at:] if depth <= MAX_DEPTH + 1 else b""))


def _loads_lenient(raw: bytes) -> Any:
    try:
        return json.loads(
            shallow(raw).decode(), parse_constant=_no_constant, parse_float=_finite_or_text, parse_int=_int_or_text
        )
    except (ValueError, RecursionError):
        raise DecodeError("not valid JSON") from None


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("out of range")
    return number


def _finite_or_text(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _int_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text
