"""How long the sandbox's event loop was too busy to accept requests."""

import asyncio

_STEP = 0.05
# For how many steps after the last request the loop is watched.
_STEPS = 20


class StallMeter:
    """Finds the longest delay of a timer while requests are coming. It costs nothing without requests."""

    def __init__(self) -> None:
        self.longest: float = 0.0
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Note that a request has arrived. Call it on the loop."""
        self._left = _STEPS
        if self._timer is None:
            self._schedule(asyncio.get_running_loop())

    def clear(self) -> None:
        """Forget the longest stall."""
        self.longest = 0.0

    def close(self) -> None:
        """Stop watching; the next request starts it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_STEP, self._tick, loop, loop.time() + _STEP)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.longest = max(self.longest, loop.time() - due)
        self._left -= 1
        self._timer = None
        if self._left > 0:
            self._schedule(loop)
