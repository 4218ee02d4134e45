"""Opens connections before the first request, and describes why a connection failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from videoapi.config import address
from videoapi.errors import ConnectionFailed
from videoapi.protocol.types import ErrorKind
from videoapi.transport.deadlines import CLOSED
from videoapi.transport.failures import TRANSPORT_ERRORS, describe_connect, through
from videoapi.transport.pool import ConnectionPool


class _Connected(Exception):
    """Raised to end a request that has its connection, before any byte is sent."""


async def open_connections(pool: ConnectionPool, base_url: str, number: int, limit: float, name: str) -> int:
    """Open connections to a host and leave them in the pool; connections already idle there count.

    Only free permits are used: calls in progress are not waited for.

    Args:
        pool: The connection pool.
        base_url: Where to connect, through the proxy if one is set.
        number: Number of connections.
        limit: Timeout for all of them, in seconds.
        name: The setting that it comes from.

    Returns:
        The number of open connections: fewer if some failed, or if calls are in progress.

    Raises:
        ConfigurationError: If the pool is closed or belongs to another event loop.
        ConnectionFailed: If no connection could be opened.
    """
    pool.check()
    url = URL(base_url)
    named, host = pool.proxy_name(url), address(url.host, url.port)
    held: list[Connection] = []
    ended: Sequence[BaseException | None] = ()
    permits = 0
    try:
        while permits < number and pool.permits.acquire_nowait():
            permits += 1
        async with asyncio.timeout(limit):
            opening = (open_connection(pool, url, held) for _ in range(permits))
            ended = await asyncio.gather(*opening, return_exceptions=True)
    except TimeoutError:
        late = (
            f"No connection was opened: cannot connect to {through(host, named)} within {limit:g} s ({name}). Not sent."
        )
        ended = [ConnectionFailed(late, retryable=True)]
    finally:
        opened = sum(connection.transport is not None for connection in held)
        # Release only after all are open; otherwise each connect would reuse the previous connection.
        for connection in held:
            connection.release()
        for _ in range(permits):
            pool.permits.release()
    if pool.closed:
        raise ConnectionFailed(f"No connection was opened: {CLOSED}. Not sent.")
    failures = [_public_error(error, host, pool.connect_seconds, named) for error in ended if error is not None]
    # Error reporters store the variables of frames, and aiohttp's errors contain the proxy's password.
    del ended
    if failures and not opened:
        raise failures[0]
    return opened


async def open_connection(pool: ConnectionPool, url: URL, held: list[Connection]) -> None:
    """Let the pool's session prepare a request as for a call, but only acquire its connection, and add it to `held`."""
    session = pool.session
    connector = session.connector
    connecting = False

    async def connect_only(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal connecting
        connecting = True
        assert connector is not None
        held.append(await connector.connect(request, [], session.timeout))
        raise _Connected

    try:
        await session.request(
            "HEAD", url, proxy=pool.proxy_for(url), allow_redirects=False, middlewares=(connect_only,)
        )
    except _Connected:
        return
    except TRANSPORT_ERRORS:
        # A mocked session has no connections, and rejects requests that its test did not register.
        if connecting:
            raise


def _public_error(error: BaseException, host: str, seconds: float, proxy: str | None) -> BaseException:
    """Return the error to raise in its place: aiohttp's own errors contain the proxy's password."""
    if not isinstance(error, TRANSPORT_ERRORS):
        return error
    kind, reason, advice = describe_connect(error, host, seconds, proxy)
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    reason = reason if status is None else f"{reason} (HTTP {status})"
    text = f"No connection was opened: {reason}. Not sent. {advice or 'Each call connects by itself.'}"
    return ConnectionFailed(text, status=status, retryable=kind is ErrorKind.CONNECTION)
