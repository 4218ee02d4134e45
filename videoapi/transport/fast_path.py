"""One exchange straight on a connection of the pool.

`ClientSession.request` serves every kind of request: cookies, redirects, forms, uploads, traces. A
call of this library is of one kind: a head that hardly changes, a short body that is at hand, an
answer that is read whole. It takes aiohttp's pool, TLS and parser, and leaves out what stands between
them, which costs more than all the rest of a call (see docs/explanation/cost.md). What is of another
kind, and whatever stands in for the session, goes through the session: `fits` tells.

This goes a step below aiohttp's documented surface, so it is done with the releases it was tested with.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from aiohttp import ClientSession, client
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy

from videoapi.transport.connector import AttemptState, Connector

AIOHTTP_SUPPORTED: Final = aiohttp.__version__.startswith("3.14.")
"""Whether aiohttp is of a release with which this was tested."""


def _genuine(function: object) -> object:
    code = getattr(function, "__code__", None)
    return function if code is not None and code.co_filename == client.__file__ else None


# None where somebody stood in for them already when this was imported.
_REQUEST: Final = _genuine(ClientSession._request)
_METHOD: Final = _genuine(ClientSession.request)


class MalformedResponse(Exception):
    """What came is no HTTP."""


class FastResponse:
    """The head of an answer, and its body that is still to be read; `release` or `close` it."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: CIMultiDictProxy[str], content: aiohttp.StreamReader
    ):
        self.status = status
        self.headers = headers
        self.content = content
        self._connection = connection

    def release(self) -> None:
        """Give the connection back to the pool, or close it where it is not ready for the next request."""
        transport = self._connection.transport
        # An answer can come before the whole question has left.
        if transport is None or not self.content.at_eof() or transport.get_write_buffer_size():
            self._connection.close()
        else:
            self._connection.release()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def is_usable(session: ClientSession) -> bool:
    """Tell whether nothing stands in for the session, or watches it: aioresponses, recorders, tracers."""
    return ClientSession._request is _REQUEST and ClientSession.request is _METHOD and not session.trace_configs


async def send(
    connector: Connector,
    origin: aiohttp.ClientRequest,
    timeout: aiohttp.ClientTimeout,
    message: bytes,
    attempt: AttemptState,
) -> FastResponse:
    """Send a message, and return the head of its answer.

    Args:
        connector: The pool.
        origin: Any request to the same origin, to find a connection by.
        timeout: How long a new connection may take.
        message: The whole request, as it goes over the wire.
        exchange: Told how far it got.

    Raises:
        NoHttp, aiohttp.ClientError, OSError, TimeoutError: There is no answer.
    """
    try:
        connection = await connector.acquire(origin, timeout, attempt)
    except TimeoutError:
        raise aiohttp.ConnectionTimeoutError("no connection came in time") from None
    try:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            # Nothing has left, although there was a connection.
            attempt.protocol = None
            raise aiohttp.ClientConnectionResetError("the connection is closing")
        protocol.set_response_params(read_until_eof=True)
        transport.write(message)
        head, content = await protocol.read()
        while 100 <= head.code < 200 and head.code != 101:
            # Only announces that an answer will come. Source: RFC 9110, 15.2.
            head, content = await protocol.read()
        return FastResponse(connection, head.code, head.headers, content)
    except HttpProcessingError:
        connection.close()
    except BaseException:
        connection.close()
        raise
    raise MalformedResponse
