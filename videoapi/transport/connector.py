"""The aiohttp connector: records whether a request may have been sent, and discards stale connections."""

from __future__ import annotations

import select
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection


class ConnectionState:
    """A pooled connection: its use count, and a poller that detects unread data."""

    __slots__ = ("_poll", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self._poll: select.poll | None = None

    def is_stale(self, connection: Connection) -> bool:
        """Return whether the socket has unread data or was closed by the peer, even if the loop has not seen it yet."""
        if self._poll is None:
            # The socket lives as long as the connection, so look it up once.
            transport = connection.transport
            socket = transport.get_extra_info("socket") if transport is not None else None
            if socket is None or socket.fileno() < 0:
                return True
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))


class AttemptState:
    """The progress of one attempt, recorded while it is sent."""

    __slots__ = ("_state", "_use", "connect_called", "protocol", "started")

    def __init__(self) -> None:
        self.started = False
        """Whether a connection was requested, or the request was passed to aiohttp's session."""
        self.connect_called = False
        """Whether the connector was called; a mocked session never calls it."""
        self.protocol: ResponseHandler | None = None
        """The acquired connection; once it is set, the request may have been sent."""
        self._state: ConnectionState | None = None
        self._use = 0

    def take(self, protocol: ResponseHandler, state: ConnectionState) -> None:
        """Record that this attempt has acquired a connection."""
        state.uses += 1
        self.protocol, self._state, self._use = protocol, state, state.uses

    def prevent_reuse(self) -> None:
        """Keep the connection from being reused after this attempt; the rest of the response can still be read."""
        if self.protocol is not None:
            self.protocol.force_close()

    def close(self) -> None:
        """Close the connection, even if its last byte has already returned it to the pool.

        If another attempt has acquired it since, it is closed only after that attempt's response, so
        that an unrelated request does not fail.
        """
        if self.protocol is None or self._state is None:
            return
        if self._state.uses == self._use:
            self.protocol.abort()
        else:
            self.protocol.force_close()


current_attempt: Final[ContextVar[AttemptState | None]] = ContextVar("videoapi_attempt", default=None)
"""The attempt running in the current task, which is also the task that calls `connect()`."""


class Connector(aiohttp.TCPConnector):
    """A connection pool that discards stale connections and records whether a request may have been sent.

    Stale: unread data, or closed by the peer. aiohttp would return unread data as the response to the
    next request; this connector closes the connection and takes another one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._states: weakref.WeakKeyDictionary[ResponseHandler, ConnectionState] = weakref.WeakKeyDictionary()

    async def connect(self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        return await self.acquire(req, timeout, current_attempt.get(), traces)

    async def acquire(
        self,
        request: ClientRequest,
        timeout: aiohttp.ClientTimeout,
        attempt: AttemptState | None,
        traces: Sequence[Any] = (),
    ) -> Connection:
        """Return a connection that is not stale, and record the progress in `attempt`."""
        if attempt is not None:
            attempt.connect_called = True
        while True:
            connection = await super().connect(request, traces, timeout)  # type: ignore[arg-type]  # only iterated
            protocol = connection.protocol
            if protocol is None:
                return connection
            state = self._states.get(protocol)
            if state is None:
                # Do not poll a new connection: unread TLS session tickets are normal there.
                state = self._states[protocol] = ConnectionState()
                break
            if not (protocol.should_close or state.is_stale(connection)):
                break
            connection.close()
        if attempt is not None:
            attempt.take(protocol, state)
        return connection
