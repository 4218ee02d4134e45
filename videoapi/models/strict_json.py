"""Strict JSON: rejects invalid texts that Python's parser accepts."""

import json
import math
from typing import Any

import msgspec


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


def loads_kept(raw: bytes) -> Any:
    """Parse bytes that the typed decoder has accepted; a number out of range stays text."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return json.loads(raw.decode(), parse_float=_finite_or_text, parse_int=_int_or_text)


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
