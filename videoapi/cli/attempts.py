"""What the attempts of a run show while it runs: what it waits for, and which creates it has sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from videoapi.events import AttemptEvent, Event


class AttemptLog:
    """A listener for the attempts of one client.

    Args:
        clock: Returns the current time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused_until = 0.0
        self._refused = ""
        self._sent: set[str | None] = set()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, AttemptEvent):
            return
        if event.verdict == "throttled":
            self._refused = "too many requests"
            self._paused_until = max(self._paused_until, self._clock() + _seconds(event.headers.get("retry-after")))
        elif event.verdict == "not_sent":
            self._refused = event.reason
        else:
            self._refused = ""
            if event.route == "rooms.create":
                self._sent.add(event.reference)

    def waits(self) -> str:
        """Return what the run waits for; empty if the service answers."""
        left = self._paused_until - self._clock()
        if left >= 0.5:
            return f"waiting {left:,.0f} s: too many requests (HTTP 429)"
        return f"waiting for the service: {self._refused}" if self._refused else ""

    def forget(self, reference: str | None) -> bool:
        """Return whether this client has sent the create with this reference, and forget it."""
        sent = reference in self._sent
        self._sent.discard(reference)
        return sent


def _seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after or 0)
    except ValueError:
        # A date; the wait is shown without its length.
        return 0.0
