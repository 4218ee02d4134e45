"""What the attempts of a run show while it runs: what it waits for, and which creates it has sent."""

from __future__ import annotations

from typing import Final

from videoapi.events import AttemptEvent, Event

_WAITS: Final = ("throttled", "not_sent")


class AttemptLog:
    """A listener for the attempts of one client."""

    def __init__(self) -> None:
        self.waits = ""
        """Why the latest attempt must be repeated; empty after any other response."""
        self._sent: set[str | None] = set()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, AttemptEvent):
            return
        waits = event.verdict in _WAITS
        reason = "too many requests (HTTP 429)" if event.status == 429 else event.reason or f"HTTP {event.status}"
        self.waits = f"waiting for {event.host}: {reason}" if waits else ""
        if event.route == "rooms.create" and not waits:
            self._sent.add(event.reference)

    def forget(self, reference: str | None) -> bool:
        """Return whether this client has sent the create with this reference, and forget it."""
        sent = reference in self._sent
        self._sent.discard(reference)
        return sent
