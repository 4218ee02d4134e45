"""The connection pool: aiohttp sessions, TLS, proxies, and the permits that limit concurrency."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
from yarl import URL

from videoapi.config import Secret, address, one_or_more, positive_seconds, proxy_url
from videoapi.errors import ConfigurationError
from videoapi.transport.connector import Connector
from videoapi.transport.failures import ConnectionDropped, describe_drop
from videoapi.transport.fast_path import SelfCheck
from videoapi.transport.permits import Permits
from videoapi.transport.request_headers import USER_AGENT

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientMiddlewareType

    from videoapi.transport.resolver import PublicResolver

_CLOSED: Final = "The session manager is closed. Open a new one, or call before aclose()."
_NEVER_RESENT: Final = frozenset({"POST", "PATCH"})
"""Methods that aiohttp never resends by itself. Source: RFC 9110, 9.2.2."""


async def _never_resend(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Hide a broken connection from aiohttp, which would silently resend a GET, PUT or DELETE."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionDropped(describe_drop(error)) from None


class Prefetches(Protocol):
    """A holder of responses that were opened in advance."""

    def give_up(self) -> bool:
        """Close the newest response; return whether there was one."""
        ...


@attrs.frozen(kw_only=True)
class PoolUsage:
    """How much of a pool is in use.

    Args:
        connections: Connections to the API, idle ones included.
        idle: Connections that no request uses.
        permits: Permits held by calls.
        streams: Permits held by streams.
    """

    connections: int = 0
    idle: int = 0
    permits: int = 0
    streams: int = 0


class ConnectionPool:
    """The connections of one session manager, bound to the first event loop that uses them.

    The arguments are those of `SessionManager`.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        keepalive: float,
        connect_timeout: float,
        ca_file: str | None,
        proxy: str | Secret | None,
        trust_env: bool,
        http_middlewares: Sequence[ClientMiddlewareType] | ClientMiddlewareType,
        max_connection_age: float | None,
        ssl_context: ssl.SSLContext | None,
        fast_path: bool,
    ) -> None:
        limit: object = max_connections
        if type(limit) is not int or not 1 <= limit <= 10_000:
            raise ConfigurationError(f"max_connections={max_connections!r}: give a whole number from 1 to 10,000.")
        positive_seconds("keepalive", keepalive)
        positive_seconds("connect_timeout", connect_timeout)
        positive_seconds("max_connection_age", max_connection_age)
        self.max_connections = max_connections
        self.max_streams: int = max(1, max_connections // 4)
        self.proxy: Secret | None = proxy_url(proxy)
        self.trust_env = trust_env
        self._keepalive = keepalive
        self._max_age = max_connection_age
        self.connect_timeout: Any = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._tls = _tls_context(ca_file, ssl_context)
        self.connect_seconds = connect_timeout
        self._middlewares = one_or_more("http_middlewares", http_middlewares)
        self.fast_path: bool | None = None
        """Whether calls use the fast path; None until it was checked."""
        if not fast_path or self._middlewares or self.proxy or self.trust_env:
            self.fast_path = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._api: aiohttp.ClientSession | None = None
        self._files: dict[bool, aiohttp.ClientSession] = {}
        self.permits: Permits
        self.stream_permits: Permits
        self.short_stream_permits: Permits
        self.inner_stream_permits: Permits
        self.file_permits: Permits
        self.prefetchers: list[Prefetches] = []
        """What holds responses opened in advance; they are given up, newest first, if a stream needs a permit now."""
        self.now: Callable[[], float]
        self.connector: Connector
        self._self_check: SelfCheck

    @property
    def state(self) -> str:
        """`idle` before first use, then `open`, then `closed`."""
        return "closed" if self._closed else "idle" if self._loop is None else "open"

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def usage(self) -> PoolUsage:
        """How much of the pool is in use now."""
        if self._loop is None:
            return PoolUsage()
        streams = (self.stream_permits, self.short_stream_permits, self.inner_stream_permits)
        idle, busy = (0, 0) if self._api is None else (self.connector.idle, self.connector.busy)
        return PoolUsage(
            connections=idle + busy,
            idle=idle,
            permits=self.max_connections - self.permits.free,
            streams=sum(self.max_streams - permits.free for permits in streams),
        )

    def check(self) -> None:
        """Raise ConfigurationError if the pool is closed or belongs to another event loop."""
        self.api()

    def may_prefetch(self) -> bool:
        """Return whether a stream may be opened in advance; the last permit is reserved for one needed now."""
        self.api()
        return self.stream_permits.free > 1

    def api(self) -> aiohttp.ClientSession:
        """Return the session for the API, created on first use in the running loop.

        Raises:
            ConfigurationError: If the manager is closed or belongs to another event loop.
        """
        if self._api is None or self._closed or self._loop is not asyncio.get_running_loop():
            self.bind()
            return self.session
        return self._api

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session for the API, for code that has checked the event loop.

        Raises:
            ConfigurationError: If the manager is closed.
        """
        if self._closed:
            raise ConfigurationError(_CLOSED)
        if self._api is None:
            self.connector = Connector(**self._pool(self.max_connections + 3 * self.max_streams))
            self._api = self._open(self.connector, auto_decompress=True)
        return self._api

    def files(self, *, public_only: bool) -> aiohttp.ClientSession:
        """Return a session for downloads, which never receives the API's credentials.

        Bodies are not decompressed. The two download sessions share no connections, so that the
        restricted one cannot reuse a connection to a host that is not public.

        Args:
            public_only: Whether hosts must resolve to public IP addresses.

        Raises:
            ConfigurationError: If the manager is closed or belongs to another event loop.
        """
        self.bind()
        session = self._files.get(public_only)
        if session is None:
            connector = Connector(**self._pool(self.max_streams), resolver=self._public() if public_only else None)
            session = self._files[public_only] = self._open(connector, auto_decompress=False)
        return session

    def proxy_for(self, url: URL) -> str | None:
        """Return the URL of the proxy for a request, or None. It may contain a password: keep it in no variable.

        Raises:
            ConfigurationError: If the environment names an invalid proxy.
        """
        proxy = self.proxy
        if proxy is None and self.trust_env and not proxy_bypass(url.authority):
            proxy = proxy_url(getproxies().get(url.scheme))
        return None if proxy is None else proxy.value

    def proxy_name(self, url: URL) -> str | None:
        """Return host and port of the proxy for a request, or None."""
        proxy = self.proxy_for(url)
        named = URL(proxy) if proxy is not None else None
        return address(named.host, named.port) if named is not None else None

    @property
    def busy(self) -> bool:
        """Whether more than one call is in progress."""
        return self.permits.free < self.max_connections - 1

    def middlewares_for(self, method: str) -> tuple[ClientMiddlewareType, ...]:
        """Return the aiohttp middlewares for a method; if aiohttp might resend it, with one that prevents that."""
        return self._middlewares if method in _NEVER_RESENT else (_never_resend, *self._middlewares)

    async def check_fast_path(self) -> bool:
        """Return whether the fast path is known to work with the installed aiohttp; checked once."""
        self.fast_path = await self._self_check.result(self.api())
        return bool(self.fast_path)

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice; if cancelled, it closes all of them first."""
        self._closed = True
        sessions = [*([self._api] if self._api is not None else []), *self._files.values()]
        self._api = None
        self._files = {}
        closing = [asyncio.ensure_future(session.close()) for session in sessions]
        cancelled: asyncio.CancelledError | None = None
        while any(not task.done() for task in closing):
            try:
                await asyncio.wait(closing)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def bind(self) -> None:
        """Bind the pool to the running event loop.

        Raises:
            ConfigurationError: If the pool is closed or belongs to another event loop.
        """
        if self._closed:
            raise ConfigurationError(_CLOSED)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self.now = loop.time
            self._self_check = SelfCheck(loop.time)
            self.permits = Permits(self.max_connections)
            self.stream_permits = Permits(self.max_streams, self._give_up_prefetched)
            self.short_stream_permits = Permits(self.max_streams)
            self.inner_stream_permits = Permits(self.max_streams)
            # Separate, so that a download started inside `async for` over an archive finds a free one.
            self.file_permits = Permits(self.max_streams)
        elif self._loop is not loop:
            raise ConfigurationError(
                f"The client belongs to event loop {id(self._loop):#x}, but is used from {id(loop):#x}. "
                "Connections belong to one loop: create one client for each."
            )

    def make_room_for_waiting_streams(self) -> None:
        """Give up another prefetched response if a stream still waits for a permit."""
        if self.stream_permits.awaited:
            self._give_up_prefetched()

    def _give_up_prefetched(self) -> None:
        for prefetcher in reversed(self.prefetchers):
            if prefetcher.give_up():
                return

    def _public(self) -> PublicResolver:
        from videoapi.transport.resolver import PublicResolver, proxy_hosts

        return PublicResolver(proxy_hosts(None if self.proxy is None else self.proxy.value, self.trust_env))

    def _pool(self, limit: int) -> dict[str, Any]:
        options: dict[str, Any] = {
            "now": self.now,
            "max_age": self._max_age,
            "limit": limit,
            "limit_per_host": 0,
            "keepalive_timeout": self._keepalive,
        }
        if sys.version_info < (3, 12, 7):
            # Older Python versions leak TLS connections whose peer never sends close_notify.
            options["enable_cleanup_closed"] = True
        if self._tls is not None:
            options["ssl"] = self._tls
        return options

    def _open(self, connector: Connector, *, auto_decompress: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self.connect_timeout,
            middlewares=self.middlewares_for("GET"),
            auto_decompress=auto_decompress,
            headers={"User-Agent": USER_AGENT},
        )


def _tls_context(ca_file: str | None, context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return the context given or one for a CA file, or None to use aiohttp's own, which verifies too."""
    if context is not None:
        if not isinstance(context, ssl.SSLContext):
            raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}.")
        if ca_file is not None:
            raise ConfigurationError("Set ca_file or ssl_context, not both.")
        return context
    if ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError, TypeError, ValueError) as error:
        raise ConfigurationError(f"Cannot load certificates from ca_file={ca_file!r}: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
