"""The session manager: the connections and account states that clients share.

Each client has its own credentials, and connections belong to the pool, so one process can serve
many projects with one pool.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from weakref import WeakSet

import attrs
from aiohttp import ClientMiddlewareType

from videoapi.config import Secret, hidden
from videoapi.errors import ConfigurationError
from videoapi.pipeline.accounts import AccountRegistry
from videoapi.pipeline.clock import Clock, LoopClock
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.pool import ConnectionPool


class SessionManager:
    """A connection pool that clients of several projects can share, in one event loop.

    Args:
        max_connections: Maximum number of concurrent calls, 1 to 10,000. Open streams have a separate
            limit, a quarter of this, so that a call made inside `async for` always finds a connection.
        keepalive: Seconds to keep an idle connection open.
        connect_timeout: Limit for TCP connect plus TLS handshake, in seconds.
        ca_file: PEM file of the CAs to trust instead of the system's; by default VIDEOAPI_CA_FILE.
        proxy: URL of an HTTP proxy for all requests; by default VIDEOAPI_PROXY.
        trust_env: Whether to use proxies from HTTP_PROXY, HTTPS_PROXY and NO_PROXY. `.netrc` is never
            read: each request has its own credentials.
        http_middlewares: aiohttp client middlewares, run once per attempt, inside the library's own. They
            must neither retry nor read bodies.
        max_connection_age: Seconds after which a connection is not used for another request, so that a changed
            DNS record is noticed under constant load; None for no limit. No call is interrupted.
        ssl_context: TLS settings of your own, instead of `ca_file`.
        fast_path: Whether calls may bypass aiohttp's session, which they do only if a self-check passes.
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
        proxy: str | Secret | None = None,
        trust_env: bool = False,
        http_middlewares: Sequence[ClientMiddlewareType] | ClientMiddlewareType = (),
        max_connection_age: float | None = 300.0,
        ssl_context: ssl.SSLContext | None = None,
        fast_path: bool = True,
        clock: Clock | None = None,
    ) -> None:
        # Error reporters store the variables of the frames of an error.
        proxy = hidden(proxy)
        if ca_file is None and ssl_context is None:
            ca_file = os.environ.get("VIDEOAPI_CA_FILE") or None
        if proxy is None:
            proxy = hidden(os.environ.get("VIDEOAPI_PROXY")) or None
        self.pool: ConnectionPool = ConnectionPool(
            max_connections=max_connections,
            keepalive=keepalive,
            connect_timeout=connect_timeout,
            ca_file=ca_file,
            proxy=proxy,
            trust_env=trust_env,
            http_middlewares=http_middlewares,
            max_connection_age=max_connection_age,
            ssl_context=ssl_context,
            fast_path=fast_path,
        )
        clock = Clock() if clock is None else clock
        if not isinstance(clock, Clock):
            raise ConfigurationError(f"clock must be a Clock, not {type(clock).__name__}.")
        # A separate LoopClock per manager, because it is bound to one event loop.
        self.clock: Clock = attrs.evolve(clock, now=LoopClock()) if isinstance(clock.now, LoopClock) else clock
        self.accounts: AccountRegistry = AccountRegistry(self.clock)
        self._timers: WeakSet[DeadlineTimer] = WeakSet()

    def __repr__(self) -> str:
        if not hasattr(self, "pool"):
            # In a traceback of its own constructor.
            return "<SessionManager>"
        return f"<SessionManager {self.pool.state}, max_connections={self.pool.max_connections}>"

    @property
    def closed(self) -> bool:
        """Whether the manager was closed."""
        return self.pool.closed

    async def aclose(self) -> None:
        """Close all connections; calls in progress fail. Safe to call twice."""
        for timer in self._timers:
            timer.close()
        await self.pool.aclose()

    def new_timer(self) -> DeadlineTimer:
        """Return the deadline timer of a client; closing the manager closes it."""
        timer = DeadlineTimer(self.clock.now)
        self._timers.add(timer)
        return timer

    async def __aenter__(self) -> Self:
        self.pool.bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
