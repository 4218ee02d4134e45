"""What one attempt was given, and how far it got."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from videoapi.config import Credentials
from videoapi.transport.deadlines import Deadline
from videoapi.transport.permits import Permits

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection


class ConnectionState:
    """A pooled connection: how often it was used, since when it exists, and whether it is stale."""

    __slots__ = ("_poll", "opened_at", "uses")

    def __init__(self, opened_at: float) -> None:
        self.opened_at: float = opened_at
        self.uses: int = 0
        self._poll: select.poll | None = None

    def is_stale(self, connection: Connection) -> bool:
        """Return whether data or an end of file waits there, even if the event loop has not read it yet."""
        if self._poll is None:
            # The socket lives as long as the connection, so look it up once.
            transport = connection.transport
            socket = transport.get_extra_info("socket") if transport is not None else None
            if socket is None or socket.fileno() < 0:
                return True
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))


class SlotExpired(Exception):
    """Connecting took so long that the attempt may not be written any more; it begins again."""


class AttemptState:
    """How far an attempt got."""

    __slots__ = ("_state", "_use", "connect_called", "expired", "protocol", "ready", "started")

    def __init__(self) -> None:
        self.started: bool = False
        """Whether a connection was requested, from the pool or through aiohttp's session."""
        self.connect_called: bool = False
        """Whether the connector was called at all; a replacement of the session never calls it."""
        self.protocol: ResponseHandler | None = None
        """The connection; from here on, bytes may have been sent."""
        self._state: ConnectionState | None = None
        self._use = 0
        self.ready: Callable[[], bool] | None = None
        """Returns whether the request may be written now."""
        self.expired: bool = False
        """Whether it could not be written, and nothing was sent."""

    @property
    def may_have_sent(self) -> bool:
        """Whether a byte of the request may have left."""
        return self.protocol is not None if self.connect_called else self.started

    def connected(self, protocol: ResponseHandler, state: ConnectionState) -> None:
        """Record the connection that this attempt uses."""
        state.uses += 1
        self.protocol, self._state, self._use = protocol, state, state.uses

    def prevent_reuse(self) -> None:
        """Close the connection once the response has been read."""
        if self.protocol is not None:
            self.protocol.force_close()

    def close(self) -> None:
        """Close the connection, even if it is back in the pool.

        If another attempt uses it already, it is closed after that attempt's response.
        """
        if self.protocol is None or self._state is None:
            return
        if self._state.uses == self._use:
            self.protocol.abort()
        else:
            self.protocol.force_close()


class Attempt(AttemptState):
    """One attempt of a call.

    Args:
        credentials: Sent with the request.
        limit: The call's deadline; it may end before that.
        deadline: When the call ends.
        began: When the attempt was admitted.
        permits: Where the permit that the caller holds comes from.
        ready: Called just before the request is written; returns whether it may be.
    """

    __slots__ = ("began", "credentials", "deadline", "limit", "permits")

    def __init__(
        self,
        credentials: Credentials,
        limit: Deadline,
        deadline: float,
        began: float,
        permits: Permits,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        # Not by `super`: one of these is created for every request.
        self.started = self.connect_called = self.expired = False
        self.protocol: ResponseHandler | None = None
        self._state = None
        self._use = 0
        self.ready = ready
        self.credentials: Credentials = credentials
        self.limit: Deadline = limit
        self.deadline: float = deadline
        self.began: float = began
        self.permits: Permits = permits


current_attempt: Final[ContextVar[AttemptState | None]] = ContextVar("videoapi_attempt", default=None)
"""The attempt of this task, for the connector: aiohttp's session calls `connect()` in the same task."""
