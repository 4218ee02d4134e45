"""The words in which an attempt is judged."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Verdict(enum.Enum):
    """What one attempt proves about the request."""

    DONE = "done"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    THROTTLED = "throttled"
    UNKNOWN = "unknown"


class Scope(enum.Enum):
    """Whom a refusal concerns: this one item, or everything the account asks for."""

    ITEM = "item"
    ACCOUNT = "account"


class Operation(enum.Enum):
    """How harmful it is to do the same thing twice; a property of the route, never of the method."""

    SAFE = "safe"
    """Reads."""
    IDEMPOTENT = "idempotent"
    """Updates with absolute values, deletes."""
    REPEATABLE = "repeatable"
    """Tokens: a second one does no harm, but is one more."""
    NON_REPEATABLE = "non_repeatable"
    """Rooms: a second one is a fault that nobody may notice."""


class Phase(enum.Enum):
    """How far an attempt got."""

    NOT_SENT = "not sent"
    """No connection was ready: certainly no byte of the request left."""
    SENT = "sent"
    """A connection was ready, but no answer came."""
    ANSWERED = "answered"
    """Status and headers arrived; the body may still be cut."""


class ErrorKind(enum.Enum):
    """What sort of trouble it was; each becomes one class of error."""

    NONE = "none"
    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    RATE = "rate"
    TOKEN = "token"  # noqa: S105 - no secret, a word
    REQUEST = "request"
    FAULT = "fault"
    UNLISTED = "unlisted"


NEVER: Final = 0
ONCE: Final = 1
ALWAYS: Final = 1_000_000
"""How often a row lets a request be sent again; the policy's `attempts` caps it."""


@attrs.frozen
class Rule:
    """One line of a table: the verdict, and who may try again how often."""

    verdict: Verdict
    kind: ErrorKind
    scope: Scope = Scope.ITEM
    safe: int = NEVER
    idempotent: int = NEVER
    repeatable: int = NEVER
    worth_waiting: bool = False

    def max_retries(self, operation: Operation) -> int:
        """Return how many times a request of this class may be sent again on account of this row."""
        if operation is Operation.SAFE:
            return self.safe
        if operation is Operation.IDEMPOTENT:
            return self.idempotent
        if operation is Operation.REPEATABLE:
            return self.repeatable
        # A create is repeated only where it certainly was not done.
        return ALWAYS if self.verdict in (Verdict.THROTTLED, Verdict.NOT_SENT) else NEVER


@attrs.frozen
class Classification:
    """The verdict on one attempt, with what follows from it."""

    verdict: Verdict
    kind: ErrorKind = ErrorKind.NONE
    scope: Scope = Scope.ITEM
    max_retries: int = NEVER
    worth_waiting: bool = False
