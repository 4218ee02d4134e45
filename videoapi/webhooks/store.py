"""What has been accepted: so that a repeated delivery is recognized, and nothing accepted is forgotten."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from videoapi.webhooks.events import WebhookEvent

MOST: Final = 100_000
"""How many handled events are remembered at most, in memory."""


class DedupeStore(Protocol):
    """A store of accepted events. The default is in memory; your own may survive a crash and serve several processes.

    `event.digest` identifies an event. To store it, use `event.to_json()`; `parse_event` reads it again.
    """

    async def accept(self, event: WebhookEvent, seconds: float) -> bool:
        """Store an event before the response to its delivery. This must be atomic: equal events may arrive at once.

        If it returns true, the response is 200, and the event must not be lost. If it raises, the response is 503, and
        the event must not be stored.

        Args:
            event: The event.
            seconds: Seconds after `done` for which to recognize repetitions.

        Returns:
            False for a repetition: the event was accepted and is not done yet, or was done at most `seconds` ago.
        """
        ...

    async def done(self, event: WebhookEvent) -> None:
        """Record that each handler has succeeded, or that its failure was reported.

        This is not called for an event that was left when the receiver closed, although it is reported with an
        `EventNotHandled`: the store keeps it as accepted, for `Webhooks.resume`.

        Args:
            event: The event, as it was accepted.
        """
        ...


class MemoryStore:
    """Remembers events of this process. The oldest is forgotten when there are more than `MOST`.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._until: OrderedDict[str, float] = OrderedDict()

    async def accept(self, event: WebhookEvent, seconds: float) -> bool:
        """Remember an event; return False for a repetition."""
        digest, now = event.digest, self._clock()
        if digest in self._seconds or self._until.get(digest, now) > now:
            return False
        self._seconds[digest] = seconds
        return True

    def resume(self, event: WebhookEvent, seconds: float) -> None:
        """Remember an event that is handled again, whatever became of it before."""
        self._seconds[event.digest] = seconds

    def forget_pending(self) -> None:
        """Forget what was accepted and not handled: its queue has ended, and a repetition must be handled."""
        self._seconds.clear()

    async def done(self, event: WebhookEvent) -> None:
        """Note that an event was handled: from now on, it is remembered for its seconds."""
        digest, now = event.digest, self._clock()
        seconds = self._seconds.pop(digest, 0)
        self._until.pop(digest, None)
        if seconds > 0:
            self._until[digest] = now + seconds
        while self._until and (len(self._until) > MOST or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)
