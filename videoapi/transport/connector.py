"""Our connector: knows whether a request can have left, and uses no connection on which something waits."""

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
    """One connection of the pool: how often it was handed out, and how to ask the kernel what waits on it."""

    __slots__ = ("_poll", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self._poll: select.poll | None = None

    def is_stale(self, connection: Connection) -> bool:
        """Tell whether bytes or an end wait there; the loop may not have read them yet."""
        if self._poll is None:
            # The socket lives as long as the connection, so it is looked up once.
            transport = connection.transport
            socket = transport.get_extra_info("socket") if transport is not None else None
            if socket is None or socket.fileno() < 0:
                return True
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))


class AttemptState:
    """How far one attempt got, as seen from below it."""

    __slots__ = ("_state", "_use", "connect_called", "protocol", "started")

    def __init__(self) -> None:
        self.started = False
        """Whether a connection was asked for, or aiohttp's session to send the request."""
        self.connect_called = False
        """Whether the connector was asked at all; a stand-in for the session never does."""
        self.protocol: ResponseHandler | None = None
        """The connection that was handed out; from then on bytes may have left."""
        self._state: ConnectionState | None = None
        self._use = 0

    def take(self, protocol: ResponseHandler, state: ConnectionState) -> None:
        """Note that a connection was handed out to this attempt."""
        state.uses += 1
        self.protocol, self._state, self._use = protocol, state, state.uses

    def prevent_reuse(self) -> None:
        """Let nobody use the connection after this attempt; what is still to come can be read."""
        if self.protocol is not None:
            self.protocol.force_close()

    def close(self) -> None:
        """Close the connection, even if it has gone back to the pool with its last byte.

        Where the next one took it from there already, it is closed after his answer: he did no wrong,
        and would wait in vain.
        """
        if self.protocol is None or self._state is None:
            return
        if self._state.uses == self._use:
            self.protocol.abort()
        else:
            self.protocol.force_close()


current_attempt: Final[ContextVar[AttemptState | None]] = ContextVar("videoapi_exchange", default=None)
"""The attempt under way in this task. `connect()` runs in the attempt's own task, so this reaches it."""


class Connector(aiohttp.TCPConnector):
    """A pool that tells when a connection was ready, and drops those on which bytes or an end wait.

    An answer that is there before the question is nobody's answer. aiohttp hands it to the next
    request; here the connection is closed and another taken.
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
        """Return a connection, and note in `exchange` how far that got."""
        if attempt is not None:
            attempt.connect_called = True
        while True:
            connection = await super().connect(request, traces, timeout)  # type: ignore[arg-type]  # only iterated
            protocol = connection.protocol
            if protocol is None:
                return connection
            state = self._states.get(protocol)
            if state is None:
                # A fresh connection is not polled: TLS session tickets wait on it, rightly.
                state = self._states[protocol] = ConnectionState()
                break
            if not (protocol.should_close or state.is_stale(connection)):
                break
            connection.close()
        if attempt is not None:
            attempt.take(protocol, state)
        return connection
