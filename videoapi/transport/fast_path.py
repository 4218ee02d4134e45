"""Sends a request directly on a pooled connection, without `ClientSession.request`.

`ClientSession.request` supports cookies, redirects, forms, uploads and traces, which these calls do not
need: their headers rarely change, their body is short and in memory, and the response is read completely.
The fast path uses aiohttp's pool, TLS and parser without the layers in between, which cost more than the
rest of a call (see docs/explanation/cost.md). Other requests, and a mocked or traced session, do not use it.

It relies on aiohttp internals. `SelfCheck` exercises them once per pool; if anything is off, the session is used.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import ClientSession, client
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from videoapi.transport.attempt import AttemptState
from videoapi.transport.connector import Connector
from videoapi.transport.failures import MalformedResponse, system_text

log: Final = logging.getLogger("videoapi")


def _genuine(function: object) -> object:
    code = getattr(function, "__code__", None)
    return function if code is not None and code.co_filename == client.__file__ else None


# None if they were patched before this module was imported.
_REQUEST: Final = _genuine(ClientSession._request)
_METHOD: Final = _genuine(ClientSession.request)


class FastResponse:
    """A response whose body is still unread; call `release` or `close` when done."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: Connection, status: int, headers: CIMultiDictProxy[str], content: aiohttp.StreamReader
    ):
        self.status: int = status
        self.headers: Any = headers
        self.content: Any = content
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
        raise aiohttp.ConnectionTimeoutError("no connection in time") from None
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


class SelfCheck:
    """Finds out once per pool, at its first call, whether the fast path works with the installed aiohttp.

    Args:
        now: Returns the current time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._works: bool | None = None
        self._running: asyncio.Future[None] | None = None
        self._slow = 0

    async def result(self, session: ClientSession) -> bool | None:
        """Return whether it works; None if no socket pair can be opened now, for want of file descriptors.

        Other calls wait while one checks.
        """
        while self._works is None:
            if self._running is not None:
                await asyncio.wait([self._running])
            elif self._slow >= _CHECKS:
                self._decide("no response")
            else:
                self._running = asyncio.get_running_loop().create_future()
                began = self._now()
                try:
                    self._decide(await find_fault(session))
                except (TimeoutError, asyncio.CancelledError) as error:
                    # The event loop may have been blocked, or the call has ended: check again.
                    self._slow += self._now() - began > _SLOW
                    if isinstance(error, asyncio.CancelledError):
                        raise
                except OSError:
                    return None
                finally:
                    self._running.set_result(None)
                    self._running = None
        return self._works

    def _decide(self, fault: str | None) -> None:
        self._works = fault is None
        if fault is not None:
            log.warning(
                "Fast path disabled: aiohttp %s behaves differently (%s). Calls use its session instead.",
                aiohttp.__version__,
                fault,
            )


async def find_fault(session: ClientSession) -> str | None:
    """Send a request over a socket pair, twice on one connection; return what is wrong, or None."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        return system_text(error)
    with ours, theirs:
        theirs.setblocking(False)
        try:
            async with asyncio.timeout(1):
                await _check(session, ours, theirs)
        except TimeoutError:
            raise
        except ExceptionGroup as errors:
            return f"{type(errors.exceptions[0]).__name__}: {errors.exceptions[0]}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


async def _check(session: ClientSession, ours: socket.socket, theirs: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    connector = _PairConnector(ours, now=loop.time, max_age=None)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_respond_twice(loop, theirs))
            for number in (b"1", b"2"):
                await _exchange(connector, session, number)
    finally:
        await connector.close()


_CHECKS: Final = 3
_SLOW: Final = 0.2
"""From how many seconds on a check that was cut off counts as one that found no response."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PROBE: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _exchange(connector: Connector, session: ClientSession, body: bytes) -> None:
    loop = asyncio.get_running_loop()
    origin = aiohttp.ClientRequest("GET", URL("http://localhost/"), loop=loop, session=session)
    attempt = AttemptState()
    response = await send(connector, origin, aiohttp.ClientTimeout(total=None), _PROBE, attempt)
    try:
        received = await response.content.read()
        seen = (response.status, response.headers.get("X-Check"), received)
        if seen != (200, "yes", body) or not attempt.may_have_sent:
            raise RuntimeError("a response was read wrongly")
        response.release()
    except BaseException:
        response.close()
        raise


async def _respond_twice(loop: asyncio.AbstractEventLoop, peer: socket.socket) -> None:
    for number in (b"1", b"2"):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await loop.sock_recv(peer, 4096)
        if request != _PROBE:
            raise RuntimeError("a request was written wrongly")
        await loop.sock_sendall(peer, b"HTTP/1.1 200 OK\r\nX-Check: yes\r\nContent-Length: 1\r\n\r\n" + number)


class _PairConnector(Connector):
    """A pool whose only connection is one end of a socket pair."""

    def __init__(self, end: socket.socket, **options: Any) -> None:
        super().__init__(**options)
        self._end: socket.socket | None = end

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        end, self._end = self._end, None
        if end is None:
            raise RuntimeError("a connection was not reused")
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(lambda: ResponseHandler(loop), sock=end)
        return protocol
