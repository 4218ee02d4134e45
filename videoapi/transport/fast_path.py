"""Sends a request directly on a pooled connection, without `ClientSession.request`.

`ClientSession.request` supports cookies, redirects, forms, uploads and traces, which these calls do not
need: their headers rarely change, their body is short and in memory, and the response is read completely.
The fast path uses aiohttp's pool, TLS and parser without the layers in between, which cost more than the
rest of a call (see docs/explanation/cost.md). Other requests, and a mocked or traced session, do not use it.

It relies on aiohttp internals, so it is used only with the releases it was tested with.
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
"""Whether this module was tested with the installed aiohttp release."""


def _genuine(function: object) -> object:
    code = getattr(function, "__code__", None)
    return function if code is not None and code.co_filename == client.__file__ else None


# None if they were patched before this module was imported.
_REQUEST: Final = _genuine(ClientSession._request)
_METHOD: Final = _genuine(ClientSession.request)


class MalformedResponse(Exception):
    """The response is not valid HTTP."""


class FastResponse:
    """A response whose body is still unread; call `release` or `close` when done."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: CIMultiDictProxy[str], content: aiohttp.StreamReader
    ):
        self.status = status
        self.headers = headers
        self.content = content
        self._connection = connection

    def release(self) -> None:
        """Return the connection to the pool, or close it if it cannot take another request."""
        transport = self._connection.transport
        # A response can arrive before the complete request has been sent.
        if transport is None or not self.content.at_eof() or transport.get_write_buffer_size():
            self._connection.close()
        else:
            self._connection.release()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def is_usable(session: ClientSession) -> bool:
    """Return whether the session is neither mocked nor traced (aioresponses, recorders, tracers)."""
    return ClientSession._request is _REQUEST and ClientSession.request is _METHOD and not session.trace_configs


async def send(
    connector: Connector,
    origin: aiohttp.ClientRequest,
    timeout: aiohttp.ClientTimeout,
    message: bytes,
    attempt: AttemptState,
) -> FastResponse:
    """Send a serialized request and return its response with the body unread.

    Args:
        connector: The connection pool.
        origin: Any request to the same origin; the pool finds connections by it.
        timeout: Limits for opening a new connection.
        message: The complete serialized request.
        attempt: Records the progress.

    Raises:
        MalformedResponse: If the response is not valid HTTP.
        aiohttp.ClientError, OSError, TimeoutError: If no response arrives.
    """
    try:
        connection = await connector.acquire(origin, timeout, attempt)
    except TimeoutError:
        raise aiohttp.ConnectionTimeoutError("no connection came in time") from None
    try:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            # Nothing was sent, although a connection was acquired.
            attempt.protocol = None
            raise aiohttp.ClientConnectionResetError("the connection is closing")
        protocol.set_response_params(read_until_eof=True)
        transport.write(message)
        response, content = await protocol.read()
        while 100 <= response.code < 200 and response.code != 101:
            # Skip interim responses. Source: RFC 9110, 15.2.
            response, content = await protocol.read()
        return FastResponse(connection, response.code, response.headers, content)
    except HttpProcessingError:
        connection.close()
    except BaseException:
        connection.close()
        raise
    raise MalformedResponse
