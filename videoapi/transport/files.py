"""Sends one GET for a file, and turns aiohttp's exceptions into the library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from videoapi.errors import CallTimeout, ConnectionFailed, DownloadFailed, ProtocolError, VideoAPIError
from videoapi.protocol.redaction import redact_url
from videoapi.transport.connector import AttemptState, current_attempt
from videoapi.transport.pool import ConnectionDropped, ConnectionPool
from videoapi.transport.resolver import NonPublicAddress
from videoapi.transport.response_body import ResponseBody

READ_TIMEOUT: Final = 30.0
"""Read timeout of a file's body, in seconds."""
_BROKEN: Final = (aiohttp.ClientError, ConnectionDropped, OSError, TimeoutError)


async def open_file(pool: ConnectionPool, url: URL, headers: Mapping[str, str], *, public_only: bool) -> ResponseBody:
    """Send one GET and return the response with its body unread. Redirects are not followed.

    The caller holds a permit of `pool.file_permits`; the body releases it.

    Args:
        pool: The connection pool.
        url: The file's URL.
        headers: Additional request headers.
        public_only: Whether the host must have a public IP address.

    Raises:
        DownloadFailed: If the host has no permitted address, or the URL is invalid; `reason` is `host`.
        ConnectionFailed, CallTimeout: If no response arrives; `retryable` says whether a retry can succeed.
        ProtocolError: If the response is not valid HTTP.
        ConfigurationError: If the client is closed or belongs to another event loop.
    """
    session = pool.files(public_only=public_only)
    proxy = pool.proxy_for(url)
    attempt = AttemptState()
    token = current_attempt.set(attempt)
    try:
        response = await session.request("GET", url, headers=headers, allow_redirects=False, proxy=proxy)
    except _BROKEN as error:
        failure = _error_from(url, error)
    else:
        return ResponseBody(response, attempt, pool.deadlines, pool.file_permits, read_timeout=READ_TIMEOUT)
    finally:
        current_attempt.reset(token)
    # Raised outside the `except`, so that it does not reference aiohttp's exception, which holds the headers.
    raise failure


def _error_from(url: URL, error: BaseException) -> VideoAPIError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, NonPublicAddress):
        return not_fetched(
            DownloadFailed,
            url,
            "its host has no public address; if you trust it all the same, name it in recording_hosts=",
            reason="host",
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return not_fetched(ConnectionFailed, url, "the server's certificate is not trusted; see ca_file=")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return not_fetched(ConnectionFailed, url, "the host's name does not resolve", retryable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return not_fetched(DownloadFailed, url, "its address is none that can be connected to", reason="host")
    if isinstance(error, aiohttp.ClientResponseError):
        return not_fetched(ProtocolError, url, "the answer is no HTTP")
    if isinstance(error, TimeoutError):
        return not_fetched(CallTimeout, url, "no connection could be made in time", retryable=True)
    return not_fetched(ConnectionFailed, url, f"no answer came ({type(error).__name__})", retryable=True)


def not_fetched(kind: type[VideoAPIError], url: URL, why: str, **facts: object) -> VideoAPIError:
    """Return the error for a file that could not be fetched."""
    # `facts` differ by class, and each class checks its own.
    return kind(f"The file at {redact_url(url)} was not fetched: {why}.", method="GET", **facts)  # type: ignore[arg-type]
