"""One download from start to end: check the URL, open the target, transfer, rename."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from pathlib import Path
from typing import Final

from yarl import URL

from videoapi.config import BaseUrl, Credentials, positive_seconds
from videoapi.downloads.fetch import FileFetcher
from videoapi.downloads.filenames import filename_from_url, safe_name
from videoapi.downloads.host_policy import HostPolicy, parse_url
from videoapi.downloads.target import DownloadTarget
from videoapi.downloads.threads import run_blocking
from videoapi.downloads.transfer import DownloadProgress, RefreshUrl, Transfer
from videoapi.errors import CallTimeout, ConfigurationError, ConnectionFailed
from videoapi.models.archives import ArchiveFile
from videoapi.pipeline.clock import Clock
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.redaction import redact_url
from videoapi.transport.deadlines import CLOSED, DeadlineTimer
from videoapi.transport.pool import ConnectionPool


class Downloader:
    """A downloader that writes files to disk.

    Args:
        pool: The connection pool.
        clock: Time, sleep and randomness for retries.
        timer: Ends downloads at their timeout, and when the client is closed.
        base: The base URL of the API; its origin may serve files.
        credentials: Recording user and password, or None. Never APP_ID and APP_KEY.
        hosts: Other hosts that may serve files: names, `host:port`, or suffixes.
        allow_http: Whether plain http is allowed beyond loopback and the API's origin.

    Raises:
        ConfigurationError: If a host is not valid.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Clock,
        timer: DeadlineTimer,
        *,
        base: BaseUrl,
        credentials: Credentials | None,
        hosts: tuple[str, ...],
        allow_http: bool,
    ) -> None:
        policy = HostPolicy.of(base.origin, hosts, http=allow_http)
        self._clock: Final = clock
        self._timer: Final = timer
        self._source: Final = FileFetcher(pool=pool, timer=timer, policy=policy, credentials=credentials)

    async def download(
        self,
        file: ArchiveFile | str,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: DownloadProgress | None = None,
        timeout: float | None = None,
        name: str | None = None,
        refresh_url: RefreshUrl | None = None,
        policy: RetryPolicy,
        head_timeout: float,
    ) -> Path:
        """Download one file. `Archives.download` adds only the client's limits and lists the errors.

        Args:
            file: The file, or its URL.
            to: A directory, a path that ends in `/`, or the path of the file itself.
            overwrite: Whether an existing file may be replaced.
            progress: Called with the bytes received and the total length, None while unknown.
            timeout: Limit for the complete download, in seconds, or None.
            name: File name to use within the directory; sanitized like any other.
            refresh_url: Called at most once for a new URL if the current one is refused; or None.
            policy: How many consecutive attempts may make no progress.
            head_timeout: Seconds to wait for the response headers.
        """
        seconds = positive_seconds("timeout", timeout)
        url = parse_url(file.url if isinstance(file, ArchiveFile) else file)
        self._source.policy.check(url)
        target = DownloadTarget(
            to, name=_name(file, url, name), source=_source(url), overwrite=overwrite, named=bool(name)
        )
        transfer = Transfer(
            source=self._source,
            clock=self._clock,
            url=url,
            target=target,
            policy=policy,
            head_timeout=head_timeout,
            progress=progress,
            refresh_url=refresh_url,
        )
        limit = self._timer.start(math.inf if seconds is None else self._clock.now() + seconds)
        try:
            await run_blocking(target.open)
            await transfer.run()
            return await run_blocking(target.finish)
        except asyncio.CancelledError:
            if not limit.expired():
                raise
        finally:
            self._timer.stop(limit)
            target.close()
        kept = f"{target.received:,} bytes kept; the same call resumes."
        if self._timer.closed:
            raise ConnectionFailed(f"The file at {redact_url(url)} did not arrive: {CLOSED}. {kept}", method="GET")
        raise CallTimeout(
            f"The file at {redact_url(url)} did not arrive within {seconds:g} s (timeout). {kept}",
            method="GET",
            retryable=True,
        )


def _name(file: ArchiveFile | str, url: URL, wanted: str | None) -> str:
    if wanted is not None:
        name = safe_name(wanted)
        if name is None:
            raise ConfigurationError(f"name={wanted!r} holds nothing that could name a file.")
        return name
    if isinstance(file, ArchiveFile):
        return filename_from_url(url.raw_path, file.kind, file.archive_id)
    return filename_from_url(url.raw_path)


def _source(url: URL) -> str:
    """Return a fingerprint of the URL: an entity tag is unique only within one URL."""
    return hashlib.sha256(redact_url(url).encode()).hexdigest()
