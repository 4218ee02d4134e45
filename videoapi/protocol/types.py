"""The vocabulary of classification: verdicts, scopes, operation classes, phases and error kinds."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Verdict(enum.Enum):
    """The verdict on one attempt: what it proves about its request."""

    DONE = "done"
    """The service executed it."""
    REJECTED = "rejected"
    """The service did not execute it, and would not if it were repeated unchanged at once."""
    NOT_SENT = "not_sent"
    """It never reached the service."""
    THROTTLED = "throttled"
    """The service did not execute it now, and may later."""
    UNKNOWN = "unknown"
    """The service may have executed it."""


class Scope(enum.Enum):
    """The scope of a rejection: this item, or every request of the account."""

    ITEM = "item"
    """This item."""
    ACCOUNT = "account"
    """Every request of the account."""


class Operation(enum.Enum):
    """The operation class: how harmful a repetition is. It depends on the route, not on the HTTP method."""

    SAFE = "safe"
    """Reads."""
    IDEMPOTENT = "idempotent"
    """Updates with absolute values, and deletes."""
    REPEATABLE = "repeatable"
    """Token creates: an additional token is harmless."""
    NON_REPEATABLE = "non_repeatable"
    """Room creates: a duplicate room may go unnoticed."""


class Phase(enum.Enum):
    """The phase that an attempt reached."""

    NOT_SENT = "not sent"
    """No connection was ready, so no byte of the request was sent."""
    SENT = "sent"
    """A connection was ready, but no response arrived."""
    ANSWERED = "answered"
    """Status and headers arrived; the body may be incomplete."""


class ErrorKind(enum.Enum):
    """The kind of an error, which selects the exception class."""

    NONE = "none"
    """No error."""
    CONNECTION = "connection"
    """`ConnectionFailed`."""
    CERTIFICATE = "certificate"
    """`ConnectionFailed`: the certificate is not trusted."""
    TIMEOUT = "timeout"
    """`CallTimeout`."""
    PROTOCOL = "protocol"
    """`ProtocolError`."""
    BASE_URL = "base URL"
    """`ProtocolError`: the base URL is probably wrong."""
    PROXY = "proxy"
    """`ConnectionFailed`: the proxy refused."""
    AUTHENTICATION = "authentication"
    """`AuthenticationFailed`."""
    PERMISSION = "permission"
    """`PermissionDenied`."""
    NOT_FOUND = "not found"
    """`NotFound`."""
    CONFLICT = "conflict"
    """`Conflict`."""
    RATE = "rate"
    """`RateLimited`."""
    TOKEN = "token"  # noqa: S105 - not a secret
    """`TokenDenied`."""
    REQUEST = "request"
    """`RequestRejected`."""
    FAULT = "fault"
    """`ServerFault`."""
    UNLISTED = "unlisted"
    """A code that no table lists: the status selects the class."""


NEVER: Final = 0
ONCE: Final = 1
ALWAYS: Final = 1_000_000
"""How often a rule allows a request to be repeated; `RetryPolicy.attempts` is the upper limit."""


@attrs.frozen
class Rule:
    """A row of a table: the verdict, and how often each operation class may be repeated."""

    verdict: Verdict
    kind: ErrorKind
    scope: Scope = Scope.ITEM
    safe: int = NEVER
    idempotent: int = NEVER
    repeatable: int = NEVER
    worth_waiting: bool = False

    def max_retries(self, operation: Operation) -> int:
        """Return how many times this rule allows a request of an operation class to be repeated."""
        if operation is Operation.SAFE:
            return self.safe
        if operation is Operation.IDEMPOTENT:
            return self.idempotent
        if operation is Operation.REPEATABLE:
            return self.repeatable
        # Repeat a create only if it was certainly not executed.
        return ALWAYS if self.verdict in (Verdict.THROTTLED, Verdict.NOT_SENT) else NEVER


@attrs.frozen
class Classification:
    """The classification of one attempt.

    Args:
        verdict: What the attempt proves about the request.
        kind: The kind of the error, which selects the exception class.
        scope: Whether a rejection is about this item, or about every request of the account.
        max_retries: How often the request may be repeated.
        worth_waiting: Whether the same request may succeed later.
    """

    verdict: Verdict
    kind: ErrorKind = ErrorKind.NONE
    scope: Scope = Scope.ITEM
    max_retries: int = NEVER
    worth_waiting: bool = False
