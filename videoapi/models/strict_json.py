"""JSON as the contract means it: what Python's parser would let through is refused."""

import json
import math
from typing import Any

import msgspec


class DecodeError(ValueError):
    """These bytes, or this value, cannot be read as what was asked for.

    `reason` names the place and the kinds, never the value: a body may hold secrets.
    """

    def __init__(self, trouble: str, place: str = "") -> None:
        super().__init__(trouble, place)
        self.problem = trouble
        self.location = place

    @property
    def reason(self) -> str:
        """Where it is, and what is wrong there."""
        return f"{self.location}: {self.problem}" if self.location else self.problem

    def __str__(self) -> str:
        return self.reason

    def nested_in(self, place: str) -> "DecodeError":
        """Say the same one level further out."""
        return DecodeError(self.problem, f"{place}.{self.location}" if self.location else place)


def loads(raw: bytes) -> Any:
    """Parse one JSON text strictly.

    msgspec parses as strictly, several times as fast. It refuses a few texts more, such as a lone surrogate.

    Args:
        raw: UTF-8 bytes, without a byte order mark.

    Raises:
        Refused: it is no JSON, or has numbers that JSON has not or that nothing holds.
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
    """Parse bytes that a typed decoder has gone over; a number too large to hold stays text."""
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
