"""What a receiver has done with its deliveries, as one value: for health endpoints, metrics and people in a shell."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, Literal

import attrs

from videoapi.webhooks.errors import DeliveryRejected, EventTooLarge, InvalidCredentials, InvalidEvent, ReceiverBusy

Count = Literal[
    "accepted",
    "repeated",
    "ignored",
    "resumed",
    "handled",
    "failed",
    "rejected_credentials",
    "rejected_method",
    "rejected_invalid",
    "rejected_too_large",
    "rejected_incomplete",
    "rejected_busy",
    "rejected_error",
]

_REASONS: Final[dict[type[DeliveryRejected], Count]] = {
    InvalidCredentials: "rejected_credentials",
    InvalidEvent: "rejected_invalid",
    EventTooLarge: "rejected_too_large",
    ReceiverBusy: "rejected_busy",
}


@attrs.frozen(kw_only=True)
class WebhookStats:
    """What a receiver has done since it was created, from `hooks.stats()`. It contains no secrets.

    Each process counts its own deliveries. All but `waiting` and `running` only grow.

    Args:
        accepted: Events that were accepted for the first time, and put into the queue.
        repeated: Deliveries of an event that had been accepted before (200, not handled again).
        ignored: Events without a handler (200).
        resumed: Events that `resume` has put into the queue.
        handled: Events whose handlers have all succeeded.
        failed: Events with a handler that failed on its last try, and events that were left when the receiver closed.
        rejected_credentials: Deliveries with a missing or wrong user or password (401).
        rejected_method: Requests that are not a POST (405), such as the probes of a load balancer.
        rejected_invalid: Deliveries whose body is not an event (400).
        rejected_too_large: Deliveries larger than `max_body` (413).
        rejected_incomplete: Deliveries whose body broke off (400) or did not arrive in time (408).
        rejected_busy: Deliveries that were not accepted because the queue was full, the receiver was closing, or the
            store failed (503).
        rejected_error: Deliveries that ended in an unexpected error, which is logged (500).
        waiting: Events that wait for a handler now.
        running: Events that are being handled now.
    """

    accepted: int = 0
    repeated: int = 0
    ignored: int = 0
    resumed: int = 0
    handled: int = 0
    failed: int = 0
    rejected_credentials: int = 0
    rejected_method: int = 0
    rejected_invalid: int = 0
    rejected_too_large: int = 0
    rejected_incomplete: int = 0
    rejected_busy: int = 0
    rejected_error: int = 0
    waiting: int = 0
    running: int = 0


class DeliveryCounts:
    """The counts of one receiver; any thread may add to them, as a view of the user's own may run in one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, count: Count, by: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            self._counts[count] += by

    def rejected(self, error: DeliveryRejected) -> None:
        """Count a rejected delivery by its reason."""
        self.add(_REASONS.get(type(error), "rejected_error"))

    def stats(self, *, waiting: int, running: int) -> WebhookStats:
        """Return the counts, and the state of the queue."""
        with self._lock:
            return WebhookStats(**self._counts, waiting=waiting, running=running)
