"""JSON boundaries: the end of a value, found by brackets and quotes, and likely split points of a block."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

_SEAM: Final = re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+\{")
# Most bodies contain no white space, and this search is the cheapest. Few items are longer than _REACH.
_BARE_SEAM: Final = b"},{"
_REACH: Final = 8 * 1024
_LAST_CUTS: Final = 3
_TRIES: Final = 8

# Text without brackets. _PLAIN adds one level of brackets around it: most of an item, matched in C.
_FLAT: Final = rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")'
# In this order: up to the next bracket or unfinished string, up to a string's end, up to a scalar's end.
_PLAIN: Final = re.compile(rb"(?:%b|\{%b*+\}|\[%b*+\])*+" % (_FLAT, _FLAT, _FLAT), re.DOTALL)
_QUOTED: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BARE: Final = re.compile(rb'[^ \t\r\n,:\[\]{}"]*+')
_QUOTE, _BACKSLASH = b'"\\'


class ValueScanner:
    """A scanner for the end of one JSON value whose bytes arrive in pieces."""

    __slots__ = ("_bare", "_begun", "_depth", "_quoted", "length")

    def __init__(self) -> None:
        self.length: int = 0
        self._depth = 0
        self._quoted = self._bare = self._begun = False

    def advance(self, buffer: bytearray, start: int) -> bool:
        """Continue to scan the value at `start`, `length` bytes into it; return True once it has ended."""
        at = start + self.length
        if at >= len(buffer):
            return False
        if not self._begun:
            self._begun = True
            self._bare = buffer[at] not in b'"{['
        if self._bare:
            at = _end(_BARE, buffer, at)
            self.length = at - start
            return at < len(buffer)
        at, ended = self._follow(buffer, at)
        self.length = at - start
        return ended

    def _follow(self, buffer: bytearray, at: int) -> tuple[int, bool]:
        while at < len(buffer):
            if self._quoted:
                at = _end(_QUOTED, buffer, at)
                # The backslash is the last byte: the character it escapes has not arrived yet.
                if at == len(buffer) or buffer[at] == _BACKSLASH:
                    return at, False
                self._quoted = False
            else:
                at = _end(_PLAIN, buffer, at) if self._depth else at
                if at == len(buffer):
                    return at, False
                byte = buffer[at]
                self._quoted = byte == _QUOTE
                self._depth += 0 if self._quoted else 1 if byte in b"{[" else -1
            at += 1
            if self._depth == 0 and not self._quoted:
                return at, True
        return at, False


def split_points(buffer: bytearray, start: int, stop: int) -> Iterator[int]:
    """Yield positions where an item may end: the last few seams, then the last one of each halved range.

    Halving approaches an item that cannot be parsed in few tries; the cap bounds the cost per block.
    """
    reach = stop
    for nth in range(_TRIES):
        cut = _last_seam(buffer, start, reach)
        if cut is None:
            return
        yield cut
        reach = cut if nth < _LAST_CUTS else start + (cut - start) // 2


def _last_seam(buffer: bytearray, start: int, stop: int) -> int | None:
    near = max(start, stop - _REACH)
    bare = buffer.rfind(_BARE_SEAM, near, stop)
    if bare >= 0:
        return bare + 1
    for begin in (near, start):
        seam = deque(_SEAM.finditer(buffer, begin, stop), maxlen=1)
        if seam:
            return seam[0].start() + 1
    return None


def _end(pattern: re.Pattern[bytes], buffer: bytearray, at: int) -> int:
    match = pattern.match(buffer, at)
    assert match is not None
    return match.end()
