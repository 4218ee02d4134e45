"""Random bytes for references, asked of the kernel for many at once: each asking costs as much as a check of a room."""

from __future__ import annotations

import os
import time
from typing import Final

from videoapi.creation.references import NOISE

_MOST: Final = 64
_FRESH: Final = 1.0
"""Seconds for which bytes are kept: so long may a machine that is saved and started twice give the same ones."""


class Noise:
    """Hands out random bytes, none of them twice."""

    __slots__ = ("_drawn", "_left")

    def __init__(self) -> None:
        self._left: list[bytes] = []
        self._drawn = 0.0

    def take(self) -> bytes:
        """Return what one reference needs."""
        now = time.monotonic()
        if not self._left or now - self._drawn > _FRESH:
            drawn, self._drawn = os.urandom(NOISE * _MOST), now
            self._left = [drawn[at : at + NOISE] for at in range(0, len(drawn), NOISE)]
        return self._left.pop()

    def forget(self) -> None:
        """Drop what is left."""
        self._left = []


noise: Final = Noise()
# A forked process would give the same references as its parent.
os.register_at_fork(after_in_child=noise.forget)
