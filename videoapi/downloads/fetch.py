"""One GET for a file: redirects, host policy and credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import attrs
from yarl import URL

from videoapi.config import Credentials
from videoapi.downloads.host_policy import HostPolicy, parse_url
from videoapi.errors import CallTimeout, ProtocolError, VideoAPIError
from videoapi.protocol.redaction import redact
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.files import not_fetched, open_file
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.response_body import ResponseBody

MAX_HOPS: Final = 5

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@attrs.frozen(kw_only=True)
class FileResponse:
    """A response whose body is still open.

    Args:
        body: Status, headers and unread body; the receiver must close it.
        url: The final URL, after redirects.
        trusted: Whether the recording credentials were sent there.
    """

    body: ResponseBody
    url: URL
    trusted: bool


@attrs.frozen(kw_only=True)
class FileFetcher:
    """A fetcher of files from the hosts that the policy allows.

    Args:
        pool: The connection pool.
        timer: Ends reads at their timeout, and when the client is closed.
        policy: Which URLs may be fetched.
        credentials: Recording user and password, or None.
    """

    pool: ConnectionPool
    timer: DeadlineTimer
    policy: HostPolicy
    credentials: Credentials | None

    async def open(self, url: URL, headers: Mapping[str, str], *, head_timeout: float) -> FileResponse:
        """Send one GET, and return the response with its body still open.

        Follows at most five redirects and checks each URL like the first. Credentials are sent in the
        first request, without waiting for a 401, and no longer after a redirect to another origin.

        Args:
            url: The file's URL.
            headers: Additional request headers.
            head_timeout: Seconds to wait for the response headers, redirects included.

        Raises:
            DownloadFailed: If a URL is not allowed; `reason` is `host`.
            ConnectionFailed, CallTimeout: If no response arrives; `retryable` says whether to retry.
            ProtocolError: If redirects are too many or leave https, or the response is not HTTP.
            ConfigurationError: If the client is closed, or belongs to another event loop.
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
            if isinstance(error, VideoAPIError) and self.credentials is not None:
                # It names the URL, and a redirect may lead to one that repeats them.
                error.message = redact(error.message, self.credentials)
                error.args = (error.message,)
            if not (isinstance(error, TimeoutError) and limit.expired()):
                raise
        raise not_fetched(CallTimeout, url, f"no response within {head_timeout:g} s (attempt_timeout)", retryable=True)

    async def _follow(self, url: URL, headers: Mapping[str, str]) -> FileResponse:
        trusted = self.credentials is not None
        for _ in range(MAX_HOPS + 1):
            public_only = self.policy.check(url)
            body = await open_file(
                self.pool,
                self.timer,
                url,
                {"Accept": "*/*", "Accept-Encoding": "identity", **headers},
                credentials=self.credentials if trusted else None,
                public_only=public_only,
            )
            location = body.headers.get("Location") if body.status in _REDIRECTS else None
            if location is None:
                return FileResponse(body=body, url=url, trusted=trusted)
            body.discard()
            following = parse_url(location, url)
            if url.scheme == "https" and following.scheme == "http":
                raise not_fetched(ProtocolError, url, "a redirect leads from https to http")
            trusted = trusted and following.origin() == url.origin()
            url = following
        raise not_fetched(ProtocolError, url, f"more than {MAX_HOPS} redirects")
