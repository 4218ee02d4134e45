"""One exchange for a file: redirects, credentials and aiohttp's exceptions end here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
import attrs
from yarl import URL

from videoapi.config import Credentials
from videoapi.downloads.host_policy import HostPolicy, read_url, shown
from videoapi.errors import CallTimeout, ConnectionFailed, DownloadFailed, ProtocolError, VideoAPIError
from videoapi.transport.connector import Exchange, exchange_now
from videoapi.transport.pool import ConnectionPool, Dropped
from videoapi.transport.resolver import NotPublic
from videoapi.transport.response_body import Body

MAX_HOPS: Final = 5
SILENCE: Final = 30.0
"""Longest silence within a file's body, in seconds."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BROKEN: Final = (aiohttp.ClientError, Dropped, OSError, TimeoutError)


@attrs.frozen(kw_only=True)
class Reply:
    """The head of an answer, its body still open.

    Args:
        body: Status, headers and the bytes to come; who takes the reply closes it.
        url: Where it came from, after the redirects.
        trusted: Whether the recording credentials were sent there.
    """

    body: Body
    url: URL
    trusted: bool


@attrs.frozen(kw_only=True)
class FileSource:
    """Fetches files from the hosts that the policy allows.

    Args:
        pool: The connections.
        policy: Where files may come from.
        credentials: User and password of the recordings, or None.
    """

    pool: ConnectionPool
    policy: HostPolicy
    credentials: Credentials | None

    async def open(self, url: URL, headers: Mapping[str, str], *, head_timeout: float) -> Reply:
        """Send one GET, and return its answer with the body still open.

        Redirects are followed, at most five, each judged like the first address. The credentials go
        out at once, as a header, and never again after a redirect to another origin.

        Args:
            url: Where the file lies.
            headers: What is asked beyond the address.
            head_timeout: Seconds until the answer's head must be there, redirects included.

        Raises:
            DownloadFailed: An address is not allowed; `reason` is `host`.
            ConnectionFailed, CallTimeout: No answer came; `retryable` says whether one may come later.
            ProtocolError: The redirects lead nowhere.
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        self.pool.files(public_only=False)
        permits = self.pool.file_permits
        await permits.acquire()
        limit = asyncio.timeout(head_timeout)
        try:
            async with limit:
                return await self._follow(url, headers)
        except BaseException as error:
            permits.release()
            if not (isinstance(error, TimeoutError) and limit.expired()):
                raise
        raise _failed(CallTimeout, url, f"no answer came in {head_timeout:g} s", retryable=True)

    async def _follow(self, url: URL, headers: Mapping[str, str]) -> Reply:
        trusted = self.credentials is not None
        for _ in range(MAX_HOPS + 1):
            public_only = self.policy.check(url)
            response, exchange = await self._send(url, headers, trusted=trusted, public_only=public_only)
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            if location is None:
                body = Body(response, exchange, self.pool.watchdog, self.pool.file_permits, silence=SILENCE)
                return Reply(body=body, url=url, trusted=trusted)
            response.close()
            following = read_url(location, url)
            if url.scheme == "https" and following.scheme == "http":
                raise _failed(ProtocolError, url, "a redirect leads from https to http")
            trusted = trusted and following.origin() == url.origin()
            url = following
        raise _failed(ProtocolError, url, f"more than {MAX_HOPS} redirects")

    async def _send(
        self, url: URL, headers: Mapping[str, str], *, trusted: bool, public_only: bool
    ) -> tuple[aiohttp.ClientResponse, Exchange]:
        sent = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if trusted and self.credentials is not None:
            sent["Authorization"] = self.credentials.authorization
        session = self.pool.files(public_only=public_only)
        proxy = self.pool.proxy_for(url)
        exchange = Exchange()
        token = exchange_now.set(exchange)
        try:
            response = await session.request("GET", url, headers=sent, allow_redirects=False, proxy=proxy)
        except _BROKEN as error:
            failure = _unanswered(url, error)
        else:
            return response, exchange
        finally:
            exchange_now.reset(token)
        # Raised out here so that it carries no trace of aiohttp's exception, which holds the headers.
        raise failure


def _unanswered(url: URL, error: BaseException) -> VideoAPIError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, NotPublic):
        return _failed(
            DownloadFailed,
            url,
            "its host has no public address; if you trust it all the same, name it in recording_hosts=",
            reason="host",
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _failed(ConnectionFailed, url, "the server's certificate is not trusted; see ca_file=")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _failed(ConnectionFailed, url, "the host's name does not resolve", retryable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return _failed(DownloadFailed, url, "its address is none that can be connected to", reason="host")
    if isinstance(error, aiohttp.ClientResponseError):
        return _failed(ProtocolError, url, "the answer is no HTTP")
    if isinstance(error, TimeoutError):
        return _failed(CallTimeout, url, "no connection could be made in time", retryable=True)
    return _failed(ConnectionFailed, url, f"no answer came ({type(error).__name__})", retryable=True)


def _failed(kind: type[VideoAPIError], url: URL, why: str, **facts: object) -> VideoAPIError:
    # `facts` differ by class; the classes check them.
    return kind(f"The file at {shown(url)} was not fetched: {why}.", method="GET", **facts)  # type: ignore[arg-type]
