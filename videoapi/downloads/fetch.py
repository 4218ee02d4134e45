"""Fetching a file: redirects, host policy and credentials end here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import attrs
from yarl import URL

from videoapi.config import Credentials
from videoapi.downloads.host_policy import HostPolicy, parse_url
from videoapi.errors import CallTimeout, ProtocolError
from videoapi.transport.files import not_fetched, open_file
from videoapi.transport.pool import ConnectionPool
from videoapi.transport.response_body import ResponseBody

MAX_HOPS: Final = 5

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@attrs.frozen(kw_only=True)
class FileResponse:
    """The head of an answer, its body still open.

    Args:
        body: Status, headers and the bytes to come; who takes the reply closes it.
        url: Where it came from, after the redirects.
        trusted: Whether the recording credentials were sent there.
    """

    body: ResponseBody
    url: URL
    trusted: bool


@attrs.frozen(kw_only=True)
class FileFetcher:
    """Fetches files from the hosts that the policy allows.

    Args:
        pool: The connections.
        policy: Where files may come from.
        credentials: User and password of the recordings, or None.
    """

    pool: ConnectionPool
    policy: HostPolicy
    credentials: Credentials | None

    async def open(self, url: URL, headers: Mapping[str, str], *, head_timeout: float) -> FileResponse:
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
        raise not_fetched(CallTimeout, url, f"no answer came in {head_timeout:g} s", retryable=True)

    async def _follow(self, url: URL, headers: Mapping[str, str]) -> FileResponse:
        trusted = self.credentials is not None
        for _ in range(MAX_HOPS + 1):
            public_only = self.policy.check(url)
            sent = {"Accept": "*/*", "Accept-Encoding": "identity", **headers}
            if trusted and self.credentials is not None:
                sent["Authorization"] = self.credentials.authorization
            body = await open_file(self.pool, url, sent, public_only=public_only)
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
