"""The connection pool of aiohttp, with stale and old connections discarded."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection

from videoapi.transport.attempt import AttemptState, ConnectionState, SlotExpired, current_attempt

_READ_SIZE: Final = 64 * 1024
"""How many bytes asyncio may read at once. By default, it allocates 256 KiB, however short a response is: from 128 KiB
on, the C library maps new memory for each read, which costs a seventh of a call."""


class Connector(aiohttp.TCPConnector):
    """A connection pool that records whether a request may have been sent, and discards connections.

    A connection with unread data is discarded, because a response that arrived before its request
    belongs to no request; so is one that the peer closed, and one that is too old.

    Args:
        now: The clock for the age of connections.
        max_age: Seconds after which a connection is not used for another request; None for no limit.
        options: Those of `aiohttp.TCPConnector`.
    """

    def __init__(self, *, now: Callable[[], float], max_age: float | None, **options: Any) -> None:
        super().__init__(**options)
        self._now = now
        self._max_age = max_age
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
        """Return a connection, and record in `attempt` that it was obtained."""
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
                state = self._states[protocol] = ConnectionState(self._now())
                # Only asyncio's own transport of a plain connection has it.
                transport: Any = protocol.transport
                if hasattr(transport, "max_size"):
                    transport.max_size = _READ_SIZE
                break
            if not (protocol.should_close or self._is_old(state) or state.is_stale(connection)):
                break
            connection.close()
        if attempt is not None:
            if attempt.ready is not None and not attempt.ready():
                connection.release()
                raise SlotExpired
            attempt.connected(protocol, state)
        return connection

    @property
    def idle(self) -> int:
        """The number of connections that no request uses."""
        return sum(len(idle) for idle in tuple(self._conns.values()))

    @property
    def busy(self) -> int:
        """The number of connections that are in use or being opened."""
        return len(self._acquired)

    def _is_old(self, state: ConnectionState) -> bool:
        return self._max_age is not None and self._now() - state.opened_at > self._max_age
