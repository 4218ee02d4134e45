"""The time and randomness that retries depend on; tests replace both together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import attrs


class LoopClock:
    """The clock of one event loop, looked up once: on Python 3.11 each lookup of the loop costs a system call."""

    __slots__ = ("_time",)

    def __init__(self) -> None:
        self._time: Callable[[], float] | None = None

    def __call__(self) -> float:
        if self._time is None:
            self._time = asyncio.get_running_loop().time
        return self._time()


@attrs.frozen(kw_only=True)
class Clock:
    """The clock, sleep and random source of a session manager, replaceable in tests."""

    now: Callable[[], float] = attrs.Factory(LoopClock)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random
