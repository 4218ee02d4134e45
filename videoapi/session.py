"""The session manager: the connections and account states that clients share.

Each client has its own credentials, and connections belong to the pool, so one process can serve
many projects with one pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import attrs

from videoapi.pipeline.accounts import AccountRegistry
from videoapi.pipeline.clock import Clock, LoopClock
from videoapi.transport.pool import ConnectionPool

if TYPE_CHECKING:
    from aiohttp import ClientMiddlewareType


class SessionManager:
    """A connection pool that clients of several projects can share, in one event loop.

    Args:
        max_connections: Maximum number of concurrent calls, 1 to 10,000. Open streams have a separate
            limit, a quarter of this, so that a call made inside `async for` always finds a connection.
        keepalive: Seconds to keep an idle connection open.
        connect_timeout: Limit for TCP connect plus TLS handshake, in seconds.
        ca_file: PEM file of the CAs to trust instead of the system's.
        proxy: URL of an HTTP proxy for all requests.
        trust_env: Whether to use proxies from HTTP_PROXY, HTTPS_PROXY and NO_PROXY. `.netrc` is never
            read: each request has its own credentials.
        http_middlewares: aiohttp client middlewares, run once per attempt, inside the library's own. They
            must neither retry nor read bodies.
        clock: Clock, sleep and random source for retries; for tests.

    Raises:
        ConfigurationError: If a value is out of range, or `ca_file` cannot be read.

    Example:
        >>> manager = SessionManager(max_connections=32)
    """

    def __init__(
        self,
        *,
        max_connections: int = 64,
        keepalive: float = 15.0,
        connect_timeout: float = 5.0,
        ca_file: str | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        http_middlewares: Sequence[ClientMiddlewareType] = (),
        clock: Clock | None = None,
    ) -> None:
        self.pool = ConnectionPool(
            max_connections=max_connections,
            keepalive=keepalive,
            connect_timeout=connect_timeout,
            ca_file=ca_file,
            proxy=proxy,
            trust_env=trust_env,
            http_middlewares=http_middlewares,
        )
        clock = clock or Clock()
        # A separate LoopClock per manager, because it is bound to one event loop.
        self.clock = attrs.evolve(clock, now=LoopClock()) if isinstance(clock.now, LoopClock) else clock
        self.accounts = AccountRegistry(self.clock)

    def __repr__(self) -> str:
        return f"<SessionManager {self.pool.state}, max_connections={self.pool.max_connections}>"

    @property
    def closed(self) -> bool:
        return self.pool.closed

    async def aclose(self) -> None:
        """Close all connections; calls in flight fail. Safe to call twice."""
        await self.pool.aclose()

    async def __aenter__(self) -> Self:
        self.pool.bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
