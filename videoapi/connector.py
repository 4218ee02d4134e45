"""Our connector: knows whether a request can have left, and uses no connection on which something waits."""

from __future__ import annotations

import select
import weakref
from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection

Uses = weakref.WeakKeyDictionary[ResponseHandler, int]
"""How often each connection has been handed out."""


class Exchange:
    """How far one attempt got, as seen from below it."""

    __slots__ = ("_use", "_uses", "asked", "begun", "protocol")

    def __init__(self) -> None:
        self.begun = False
        """Whether the request was handed to aiohttp."""
        self.asked = False
        """Whether the connector was asked at all; a stand-in for the session never does."""
        self.protocol: ResponseHandler | None = None
        """The connection that was handed out; from then on bytes may have left."""
        self._uses: Uses | None = None
        self._use = 0

    def take(self, protocol: ResponseHandler, uses: Uses) -> None:
        """Note that a connection was handed out to this attempt."""
        self.protocol, self._uses = protocol, uses
        self._use = uses[protocol]

    def spoil(self) -> None:
        """Let nobody use the connection after this attempt; what is still to come can be read."""
        if self.protocol is not None:
            self.protocol.force_close()

    def close(self) -> None:
        """Close the connection, even if it has gone back to the pool with its last byte.

        Where the next one took it from there already, it is closed after his answer: he did no wrong,
        and would wait in vain.
        """
        if self.protocol is None or self._uses is None:
            return
        if self._uses.get(self.protocol) == self._use:
            self.protocol.abort()
        else:
            self.protocol.force_close()


exchange_now: Final[ContextVar[Exchange | None]] = ContextVar("videoapi_exchange", default=None)
"""The attempt under way in this task. `connect()` runs in the attempt's own task, so this reaches it."""


class Connector(aiohttp.TCPConnector):
    """A pool that tells when a connection was ready, and drops those on which bytes or an end wait.

    An answer that is there before the question is nobody's answer. aiohttp hands it to the next
    request; here the connection is closed and another taken.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._uses: Uses = weakref.WeakKeyDictionary()

    async def connect(self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        exchange = exchange_now.get()
        if exchange is not None:
            exchange.asked = True
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            # A fresh connection is not polled: TLS session tickets wait on it, rightly.
            if protocol is None or protocol not in self._uses:
                break
            if not (protocol.should_close or _something_waits(connection)):
                break
            connection.close()
        if protocol is not None:
            self._uses[protocol] = self._uses.get(protocol, 0) + 1
            if exchange is not None:
                exchange.take(protocol, self._uses)
        return connection


def _something_waits(connection: Connection) -> bool:
    """Ask the kernel, as the loop may not have read yet what lies there."""
    transport = connection.transport
    socket = transport.get_extra_info("socket") if transport is not None else None
    if socket is None or socket.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))
