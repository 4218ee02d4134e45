"""How long look-ups are repeated: a pace, an end, and what their cost is charged to."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import attrs

from videoapi.errors import ConfigurationError, VideoAPIError
from videoapi.events import log
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.backoff import jitter

T = TypeVar("T")
_NAP: Final = 0.25
_BACKOFF: Final = (0.5, 10.0)
_MOST_UNREADABLE: Final = 8
"""How many readings in a row may arrive and be unreadable; each is retried like any read."""


def _never() -> bool:
    return False


@attrs.define
class Patience:
    """How long look-ups are repeated, and what their cost is charged to.

    Args:
        paid: Whether each read is a single request, paid from the account's retry budget and refunded if it succeeds.
        latest: When a single create must have its answer, in seconds of the event loop's clock.
        give_up_after: Seconds for which a list that cannot be read is read again; 0 for single creates.
        stopping: Polled while waiting; true ends the wait.
        waits_until: Called with the end of each settle wait, in seconds of the event loop's clock, and with None
            after it.
    """

    paid: bool = False
    latest: float = math.inf
    give_up_after: float = 0.0
    stopping: Callable[[], bool] = _never
    waits_until: Callable[[float | None], object] = lambda moment: None
    _failing_since: float | None = None
    _failures: int = 0

    def applied_to(self, pipeline: Pipeline) -> Pipeline:
        """Return the pipeline with waits for the account's pause and rate that end with the run."""
        if self.stopping is _never:
            return pipeline
        return attrs.evolve(pipeline, options=attrs.evolve(pipeline.options, must_stop=self.stopping))

    async def reads_again(self, pipeline: Pipeline, error: VideoAPIError | None, began: float) -> bool:
        """Decide whether to read the list again after an error, and wait for the backoff.

        Between two readings that succeed, `give_up_after` counts once, from the start of the first that fails.

        Args:
            pipeline: Has read the list.
            error: What broke the reading; None if nothing did.
            began: When it began, in seconds of the event loop's clock.
        """
        now = asyncio.get_running_loop().time()
        if error is None:
            self._failing_since, self._failures = None, 0
            return False
        if self._failing_since is None:
            self._failing_since = began
        self._failures += 1
        wait = max(_BACKOFF[0] / 2, jitter(*_BACKOFF, self._failures, pipeline.retries.clock.random()))
        # A list that arrives, and again cannot be read, is not an outage that ends.
        hopeless = _is_final(error) or (error.status == 200 and self._failures >= _MOST_UNREADABLE)
        if hopeless or self.stopping() or now + wait - self._failing_since > self.give_up_after:
            return False
        log.info("the list of rooms could not be read (%s); reading it again in %.1f s", error, wait)
        await self.sleep(pipeline, wait)
        # If the run has ended, this error says more than that it has.
        return not self.stopping()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await some work; cancel it, and return None, if the run ends first."""
        if self.stopping is _never:
            return await work
        task = asyncio.ensure_future(work)
        try:
            while not task.done() and not self.stopping():
                await asyncio.wait([task], timeout=_NAP)
            # The wait for a retry ends with the run, too, and then has the reason of the last failure.
            await asyncio.wait([task], timeout=2 * _NAP)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    async def sleep(self, pipeline: Pipeline, seconds: float) -> None:
        """Sleep for some seconds, or until the run or the client ends."""
        end = asyncio.get_running_loop().time() + seconds
        await self.sleep_until(pipeline, lambda: end)

    async def sleep_until(self, pipeline: Pipeline, moment: Callable[[], float]) -> None:
        """Sleep until a moment of the event loop's clock, or until the run or the client ends."""
        clock = asyncio.get_running_loop().time
        # In short sleeps: the moment moves when the list is seen to lag, and the run may be stopped.
        # Never on a test's clock: the settle time is that of the service.
        while (left := moment() - clock()) > 0 and not self.stopping():
            await pipeline.until_closed(partial(asyncio.sleep, min(left, _NAP)))


def _is_final(error: VideoAPIError) -> bool:
    """Return whether reading the list again cannot help: credentials, base URL, a closed client."""
    if isinstance(error, ConfigurationError):
        return True
    return error.status is not None and 300 <= error.status < 500 and error.status not in (408, 425, 429)
