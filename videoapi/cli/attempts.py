"""What the attempts and the log of a run show while it runs: what it waits for, and which creates it has sent."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final

from videoapi.cli.notices import FOR_PROGRAMS, handled_by
from videoapi.cli.terminal import for_people
from videoapi.events import AttemptEvent, Event

_RETRY: Final = "the list of rooms could not be read"
# Pauses and unknown outcomes: the progress and the outcome file show them.
PER_ITEM: Final = FOR_PROGRAMS | {"paused", "log_unknown"}
_SHORT_PAUSE: Final = 2.0
_RECENTLY: Final = 3.0
"""Seconds: while requests succeed, shorter pauses are not counted down, or the progress would flicker."""
_THROTTLED: Final = "too many requests"


class AttemptLog:
    """A listener for the attempts of one client.

    Args:
        clock: Returns the current time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused_until = 0.0
        self._throttled_at = self._done_at = -math.inf
        self._refused = ""
        self._retry = ""
        self._sent: set[str | None] = set()
        self._attempts = self._refusals = 0
        self.warnings: list[str] = []
        """What the library has logged about the run as a whole, each text once."""

    def __call__(self, event: Event) -> None:
        if not isinstance(event, AttemptEvent):
            return
        self._attempts += 1
        if event.verdict == "throttled":
            self._refusals += 1
            self._refused = _THROTTLED
            self._throttled_at = self._clock()
            pause = _seconds(event.headers.get("retry-after"))
            self._paused_until = max(self._paused_until, self._throttled_at + pause)
        elif event.verdict == "not_sent":
            self._refused = event.reason
        else:
            self._refused = ""
            if event.verdict == "done":
                self._retry = ""
                self._done_at = self._clock()
            if event.route == "rooms.create":
                self._sent.add(event.reference)

    @contextmanager
    def logged(self) -> Generator[None, None, None]:
        """Show what the library logs in the block; without a handler, all of its warnings would go to stderr."""
        with handled_by(_Handler(self.note)):
            yield

    def note(self, record: logging.LogRecord) -> None:
        """Note what the library has logged."""
        text = for_people(record.getMessage())
        if text.startswith(_RETRY):
            self._retry = text
        elif record.levelno >= logging.WARNING and record.funcName not in PER_ITEM and text not in self.warnings:
            self.warnings.append(text)

    def unreported(self) -> int:
        """Return how many inputs are done and have no outcome here yet: none in one process."""
        return 0

    def waits(self) -> str:
        """Return what the run waits for; empty if the service answers."""
        now = self._clock()
        left, pause = self._paused_until - now, self._paused_until - self._throttled_at
        if pause < _SHORT_PAUSE and min(self._throttled_at, self._done_at) > now - _RECENTLY:
            return "slowed down by the service (HTTP 429)"
        if left >= 0.5:
            return f"waiting {left:,.0f} s: too many requests (HTTP 429)"
        if self._refused == _THROTTLED and pause > 0 and left < -1:
            return f"no response for {-left:,.0f} s since the pause (HTTP 429)"
        return f"waiting for the service: {self._refused}" if self._refused else self._retry

    def throttled(self) -> str:
        """Return what to do about HTTP 429; empty if less than a tenth of the requests had this response."""
        if not self._refusals or self._refusals * 10 < self._attempts:
            return ""
        return (
            f"The service has refused {self._refusals:,} of {self._attempts:,} requests as too many (HTTP 429). Give a "
            "--rate below its limit, such as --rate 600/min."
        )

    def forget(self, reference: str | None) -> bool:
        """Return whether this client has sent the create with this reference, and forget it."""
        sent = reference in self._sent
        self._sent.discard(reference)
        return sent

    def take_sent(self) -> list[str]:
        """Return the references of the creates that were sent, and forget them."""
        sent, self._sent = self._sent, set()
        return [reference for reference in sent if reference is not None]

    def take_counts(self) -> tuple[int, int]:
        """Return the number of responses with HTTP 429 and of all attempts, and count from 0 again."""
        counts = self._refusals, self._attempts
        self._refusals = self._attempts = 0
        return counts

    def add_counts(self, refusals: int, attempts: int) -> None:
        """Add the attempts of another client of the same run."""
        self._refusals += refusals
        self._attempts += attempts

    def add_sent(self, references: Iterable[str]) -> None:
        """Add creates that another client of the same run has sent."""
        self._sent.update(references)


class _Handler(logging.Handler):
    def __init__(self, note: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record)


def _seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after or 0)
    except ValueError:
        # A date; the wait is shown without its length.
        return 0.0
