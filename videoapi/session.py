"""The session manager: what clients share, that is connections and what is known of accounts.

Credentials belong to each client and connections to the pool, so one process can serve many
projects over one pool.
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
    """Owns the connections; may be shared by clients of several projects, in one event loop.

    Args:
        max_connections: Calls in flight at once, 1 to 10,000. Open streams have a quarter as many for
            themselves, so that a call made inside `async for` always finds a free one.
        keepalive: Seconds an idle connection is kept.
        connect_timeout: Seconds until a TCP and TLS connection must stand.
        ca_file: PEM file of the authorities to trust instead of the system's.
        proxy: URL of an HTTP proxy for all requests.
        trust_env: Take proxies from HTTP_PROXY, HTTPS_PROXY and NO_PROXY; off unless asked for. `.netrc`
            is never read: each request has credentials of its own.
        http_middlewares: aiohttp client middlewares, run inside ours once per attempt. They must
            neither retry nor read bodies.
        chance: Clock, sleep and dice of retries; for tests.

    Raises:
        ConfigurationError: A value is out of its range, or `ca_file` cannot be read.

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
        # A clock of this manager's own, as it belongs to one loop.
        self.clock = attrs.evolve(clock, now=LoopClock()) if isinstance(clock.now, LoopClock) else clock
        self.accounts = AccountRegistry(self.clock)

    def __repr__(self) -> str:
        return f"<SessionManager {self.pool.state}, max_connections={self.pool.max_connections}>"

    @property
    def closed(self) -> bool:
        return self.pool.closed

    async def aclose(self) -> None:
        """Close all connections; calls in flight fail. Closing twice does no harm."""
        await self.pool.aclose()

    async def __aenter__(self) -> Self:
        self.pool.bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
