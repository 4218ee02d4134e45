"""One call: its deadline, what it waits for, and what it has sent."""

from __future__ import annotations

import enum
import itertools
from typing import TYPE_CHECKING, Final

import attrs

from videoapi.config import Credentials
from videoapi.protocol.outcome import Stream
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Phase, Verdict
from videoapi.transport.attempt import Attempt
from videoapi.transport.deadlines import Deadline

if TYPE_CHECKING:
    from videoapi.telemetry.attempt import AttemptRecorder

_numbers: Final = itertools.count(1)


class Wait(enum.Enum):
    """What a call waits for, for the error if its deadline passes."""

    NOTHING = ""
    CREDENTIALS = "the credentials callable"
    TURN = "its turn among the requests of this account"
    CONNECTION = "a free connection"
    GATE = "the rate gate"
    RATE = "the rate limit"
    PAUSE = "the end of the account's pause after HTTP 429"
    BACKOFF = "the next attempt"


@attrs.define(eq=False)
class Call:
    """One call of a client, over all its attempts.

    Args:
        request: The request as the namespace made it.
        began: When the call began.
        deadline: When it ends at the latest.
        limit: Cancels the call's task then.
    """

    request: Request
    began: float
    deadline: float
    limit: Deadline
    number: int = attrs.field(factory=_numbers.__next__)
    attempts: int = 0
    """Attempts that were made."""
    executed: int = 0
    """How many of them were or may have been executed."""
    refused: int = 0
    """How many were answered and not executed."""
    attempt: Attempt | None = None
    """The attempt in progress."""
    credentials: Credentials | None = None
    """Those of the latest attempt."""
    waiting: Wait = Wait.NOTHING
    streams: list[Stream] = attrs.field(factory=list)
    """Every body that the call opened."""
    parts: list[Call] = attrs.field(factory=list)
    """What a middleware sends in other tasks."""
    over: bool = False
    reported: bool = True
    """Whether listeners or the log get its events."""
    record: AttemptRecorder | None = None
    """Records its attempts; None if nothing does."""

    @property
    def id(self) -> str:
        """Distinguishes concurrent calls in logs and events."""
        return f"{self.number:06x}"

    @property
    def may_have_executed(self) -> bool:
        """Whether an attempt, including one in progress, was or may have been executed."""
        under_way = self.attempt is not None and self.attempt.may_have_sent
        return self.executed > 0 or under_way or any(part.may_have_executed for part in self.parts)

    @property
    def state(self) -> str:
        """What is known of the request."""
        if self.may_have_executed:
            return "May have been executed."
        return "Not executed." if self.was_refused else "Not sent."

    @property
    def was_refused(self) -> bool:
        """Whether an attempt was answered and not executed."""
        return self.refused > 0 or any(part.refused for part in self.parts)

    @property
    def sent(self) -> int:
        """How many attempts were made, including one in progress."""
        under_way = self.attempt is not None and self.attempt.may_have_sent
        return self.attempts + under_way + sum(part.sent for part in self.parts)

    @property
    def app_id(self) -> str | None:
        """The APP_ID of the latest attempt."""
        parts = (part.app_id for part in self.parts)
        return self.credentials.app_id if self.credentials is not None else next(parts, None)

    def wait_for(self, what: Wait) -> None:
        """Record what the call waits for."""
        self.waiting = what

    def begin(self, attempt: Attempt) -> Attempt:
        """Record that an attempt begins."""
        self.credentials, self.attempt, self.waiting = attempt.credentials, attempt, Wait.NOTHING
        return attempt

    def end(self, verdict: Verdict, phase: Phase) -> None:
        """Record the verdict of the attempt in progress, and how far it got."""
        self.attempts += 1
        if verdict is Verdict.DONE or verdict is Verdict.UNKNOWN:
            self.executed += 1
        elif phase is not Phase.NOT_SENT:
            # A proxy that refuses to connect rejects a request that was not sent.
            self.refused += 1
        self.attempt = None
