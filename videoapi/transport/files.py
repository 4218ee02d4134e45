"""Sends one GET for a file, and turns aiohttp's exceptions into the library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from videoapi.config import Credentials, address
from videoapi.errors import CallTimeout, ConnectionFailed, DownloadFailed, ProtocolError, VideoAPIError
from videoapi.protocol.redaction import redact_url, strip_frames
from videoapi.protocol.types import ErrorKind
from videoapi.transport.attempt import AttemptState, current_attempt
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.failures import TRANSPORT_ERRORS, describe_connect, describe_lost, never_connected
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.resolver import NonPublicAddress
from videoapi.transport.response_body import ResponseBody

READ_TIMEOUT: Final = 30.0
"""Read timeout of a file's body, in seconds."""


async def open_file(
    pool: ConnectionPool,
    timer: DeadlineTimer,
    url: URL,
    headers: Mapping[str, str],
    *,
    credentials: Credentials | None,
    public_only: bool,
) -> ResponseBody:
    """Send one GET and return the response with its body unread. Redirects are not followed.

    The caller holds a permit of `pool.file_permits`; the body releases it.

    Args:
        pool: The connection pool.
        timer: Enforces the read timeout of the body.
        url: The file's URL.
        headers: Additional request headers.
        credentials: Sent with the request, or None.
        public_only: Whether the host must have a public IP address.

    Raises:
        DownloadFailed: If the host has no permitted address, or the URL is invalid; `reason` is `host`.
        ConnectionFailed, CallTimeout: If no response arrives; `retryable` says whether a retry can succeed.
        ProtocolError: If the response is not valid HTTP.
        ConfigurationError: If the client is closed or belongs to another event loop.
    """
    session = pool.files(public_only=public_only)
    attempt = AttemptState()
    token = current_attempt.set(attempt)
    try:
        response = await session.request(
            "GET",
            url,
            headers={**headers, **_login(credentials)},
            allow_redirects=False,
            proxy=pool.proxy_for(url),
        )
    except TRANSPORT_ERRORS as error:
        failure = _error_from(url, attempt, error, pool)
    except BaseException as error:
        strip_frames(error)
        raise
    else:
        return ResponseBody(response, attempt, timer, pool.file_permits, read_timeout=READ_TIMEOUT)
    finally:
        current_attempt.reset(token)
    # Raised outside the `except`, so that it does not reference aiohttp's exception, which holds the headers.
    raise failure


def _login(credentials: Credentials | None) -> dict[str, str]:
    return {} if credentials is None else {"Authorization": credentials.authorization}


def _error_from(url: URL, attempt: AttemptState, error: BaseException, pool: ConnectionPool) -> VideoAPIError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, NonPublicAddress):
        reason = f"{url.host} has no public address; to allow it, add it to recording_hosts="
        return not_fetched(DownloadFailed, url, reason, reason="host")
    if isinstance(error, aiohttp.InvalidURL):
        return not_fetched(DownloadFailed, url, "invalid URL", reason="host")
    host = address(url.host, url.port)
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        return not_fetched(ProtocolError, url, f"the response from {host} is not valid HTTP")
    if attempt.may_have_sent and not never_connected(error):
        kind = CallTimeout if isinstance(error, TimeoutError) else ConnectionFailed
        return not_fetched(kind, url, describe_lost(error, host), retryable=True)
    what, reason, advice = describe_connect(error, host, pool.connect_seconds, pool.proxy_name(url))
    facts: dict[str, object] = {}
    if isinstance(error, aiohttp.ClientHttpProxyError):
        facts["status"], reason = error.status, f"{reason} (HTTP {error.status})"
    kind = CallTimeout if isinstance(error, TimeoutError) else ConnectionFailed
    retryable = what is ErrorKind.CONNECTION
    return not_fetched(kind, url, f"{reason}. {advice}".removesuffix(". "), retryable=retryable, **facts)


def not_fetched(kind: type[VideoAPIError], url: URL, why: str, **facts: object) -> VideoAPIError:
    """Return the error for a file that could not be fetched."""
    # `facts` differ by class, and each class checks its own.
    return kind(f"The file at {redact_url(url)} was not fetched: {why.rstrip('.')}.", method="GET", **facts)  # type: ignore[arg-type]
