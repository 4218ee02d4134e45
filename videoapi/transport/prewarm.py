"""Connections that stand before the first request needs one, and why one could not be made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from videoapi.errors import ConnectionFailed
from videoapi.protocol.verdicts import ErrorKind
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.response_body import TRANSPORT_ERRORS, error_name

_ADVICE: Final = {
    ErrorKind.CERTIFICATE: "Check the host's certificate, or name its authority with `ca_file=`.",
    ErrorKind.CONNECTION: "Check the base URL and the network; or go on, as each call connects by itself.",
}


class _Connected(Exception):
    """Ends a request that has its connection, before a byte of it is sent."""


async def open_connections(pool: ConnectionPool, base_url: str, number: int, limit: float) -> int:
    """Open connections to a host and leave them to the pool; those that are idle there already count.

    Only permits that are free are taken: calls under way are not waited for.

    Args:
        pool: The connections.
        base_url: Whither; through the proxy, where there is one.
        number: How many.
        limit: Seconds until all must stand.

    Returns:
        How many stand: fewer where others failed, or where calls are under way.

    Raises:
        ConfigurationError: The pool is closed or of another loop.
        ConnectionFailed: None could be opened.
    """
    session, url = pool.api(), URL(base_url)
    proxy = pool.proxy_for(url)
    held: list[Connection] = []
    ended: Sequence[BaseException | None] = ()
    permits = 0
    try:
        while permits < number and pool.permits.acquire_nowait():
            permits += 1
        async with asyncio.timeout(limit):
            opening = (_open(session, url, proxy, held) for _ in range(permits))
            ended = await asyncio.gather(*opening, return_exceptions=True)
    except TimeoutError as error:
        ended = [error]
    finally:
        standing = sum(connection.transport is not None for connection in held)
        # Not before the last one stands: each would have taken the one before it from the pool.
        for connection in held:
            connection.release()
        for _ in range(permits):
            pool.permits.release()
    if pool.closed:
        raise ConnectionFailed("No connection was opened: the client was closed meanwhile. Nothing was sent.")
    errors = [error for error in ended if error is not None]
    if errors and not standing:
        raise _public_error(errors[0])
    return standing


def describe_connect_error(error: BaseException) -> tuple[ErrorKind, str]:
    """Tell why there is no connection, in words that hold no secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ErrorKind.CERTIFICATE, "the server's certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ErrorKind.CONNECTION, "the host's name does not resolve"
    return ErrorKind.CONNECTION, f"no connection could be made ({error_name(error)})"


async def _open(session: aiohttp.ClientSession, url: URL, proxy: str | None, held: list[Connection]) -> None:
    """Let the session prepare a request as for a call, and take no more of it than its connection."""
    connector = session.connector
    asked = False

    async def connect_only(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal asked
        asked = True
        assert connector is not None
        held.append(await connector.connect(request, [], session.timeout))
        raise _Connected

    try:
        await session.request("HEAD", url, proxy=proxy, allow_redirects=False, middlewares=(connect_only,))
    except _Connected:
        return
    except TRANSPORT_ERRORS:
        # A stand-in for the session has no connections, and refuses what its test did not announce.
        if asked:
            raise


def _public_error(error: BaseException) -> BaseException:
    """Return what is raised: aiohttp's own errors carry the proxy's password."""
    if not isinstance(error, TRANSPORT_ERRORS):
        return error
    kind, reason = describe_connect_error(error)
    return ConnectionFailed(
        f"No connection was opened: {reason}. Nothing was sent. {_ADVICE[kind]}", retryable=kind is ErrorKind.CONNECTION
    )
