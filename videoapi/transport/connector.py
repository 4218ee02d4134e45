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


class Line:
    """One connection of the pool: how often it was handed out, and how to ask the kernel what waits on it."""

    __slots__ = ("_poll", "turn")

    def __init__(self) -> None:
        self.turn = 0
        self._poll: select.poll | None = None

    def something_waits(self, connection: Connection) -> bool:
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


class Exchange:
    """How far one attempt got, as seen from below it."""

    __slots__ = ("_line", "_turn", "asked", "begun", "protocol")

    def __init__(self) -> None:
        self.begun = False
        """Whether a connection was asked for, or aiohttp's session to send the request."""
        self.asked = False
        """Whether the connector was asked at all; a stand-in for the session never does."""
        self.protocol: ResponseHandler | None = None
        """The connection that was handed out; from then on bytes may have left."""
        self._line: Line | None = None
        self._turn = 0

    def take(self, protocol: ResponseHandler, line: Line) -> None:
        """Note that a connection was handed out to this attempt."""
        line.turn += 1
        self.protocol, self._line, self._turn = protocol, line, line.turn

    def spoil(self) -> None:
        """Let nobody use the connection after this attempt; what is still to come can be read."""
        if self.protocol is not None:
            self.protocol.force_close()

    def close(self) -> None:
        """Close the connection, even if it has gone back to the pool with its last byte.

        Where the next one took it from there already, it is closed after his answer: he did no wrong,
        and would wait in vain.
        """
        if self.protocol is None or self._line is None:
            return
        if self._line.turn == self._turn:
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
        self._lines: weakref.WeakKeyDictionary[ResponseHandler, Line] = weakref.WeakKeyDictionary()

    async def connect(self, req: ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        return await self.obtain(req, timeout, exchange_now.get(), traces)

    async def obtain(
        self,
        request: ClientRequest,
        timeout: aiohttp.ClientTimeout,
        exchange: Exchange | None,
        traces: Sequence[Any] = (),
    ) -> Connection:
        """Return a connection, and note in `exchange` how far that got."""
        if exchange is not None:
            exchange.asked = True
        while True:
            connection = await super().connect(request, traces, timeout)  # type: ignore[arg-type]  # only iterated
            protocol = connection.protocol
            if protocol is None:
                return connection
            line = self._lines.get(protocol)
            if line is None:
                # A fresh connection is not polled: TLS session tickets wait on it, rightly.
                line = self._lines[protocol] = Line()
                break
            if not (protocol.should_close or line.something_waits(connection)):
                break
            connection.close()
        if exchange is not None:
            exchange.take(protocol, line)
        return connection
