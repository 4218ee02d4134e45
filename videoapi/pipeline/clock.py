"""Time and randomness of retries, replaced together in tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import attrs


class LoopClock:
    """The clock of the one event loop in which it is read; finding that loop costs a system call on Python 3.11."""

    __slots__ = ("_time",)

    def __init__(self) -> None:
        self._time: Callable[[], float] | None = None

    def __call__(self) -> float:
        if self._time is None:
            self._time = asyncio.get_running_loop().time
        return self._time()


@attrs.frozen(kw_only=True)
class Clock:
    """Time and dice, so that tests can hold both."""

    now: Callable[[], float] = attrs.Factory(LoopClock)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random
