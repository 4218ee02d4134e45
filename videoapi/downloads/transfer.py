"""The transfer of one file: resumes after interruptions, until complete or out of attempts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import attrs
from yarl import URL

from videoapi.downloads.errors import error_from_status
from videoapi.downloads.fetch import FileFetcher, FileResponse
from videoapi.downloads.host_policy import parse_url
from videoapi.downloads.ranges import RemainingBody, Restart, UnusableResponse, Version, interpret_head, range_headers
from videoapi.downloads.target import DownloadTarget
from videoapi.downloads.threads import run_blocking
from videoapi.errors import DownloadFailed, VideoAPIError
from videoapi.pipeline.clock import Clock
from videoapi.protocol.backoff import RetryPolicy, add_jitter, jitter, parse_retry_after
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.protocol.redaction import redact_url
from videoapi.transport.response_body import ResponseBody

DownloadProgress = Callable[[int, int | None], object]
"""Called with the bytes received and the file's length, None while unknown; at most ten times a second."""

RefreshUrl = Callable[[], Awaitable[str | None]]
"""Returns a new URL for the file, because signed ones expire, or None if no other is known."""

BLOCK: Final = 256 * 1024
"""Bytes per write, which a download buffers in memory."""
STEP: Final = 16 * 1024
"""Bytes beyond the best attempt so far that count as progress."""
TICK: Final = 0.1

_EXPIRED: Final = frozenset({401, 403, 404, 410})


@attrs.define(kw_only=True)
class Transfer:
    """The attempts of one download.

    Args:
        source: The fetcher of the file.
        clock: Time, sleep and randomness for retries.
        url: The file's URL.
        target: The open target on disk.
        policy: How many consecutive attempts may make no progress, and the waits between them.
        head_timeout: Seconds to wait for the response headers.
        progress: Called with the progress, or None.
        refresh_url: Called at most once for a new URL if the current one is refused; or None.
    """

    source: FileFetcher
    clock: Clock
    url: URL
    target: DownloadTarget
    policy: RetryPolicy
    head_timeout: float
    progress: DownloadProgress | None = None
    refresh_url: RefreshUrl | None = None
    _attempts: int = attrs.field(default=0, init=False)
    _restarted: bool = attrs.field(default=False, init=False)
    _told: float = attrs.field(default=0.0, init=False)

    async def run(self) -> None:
        """Download the file.

        Raises:
            VideoAPIError: If the download fails; the bytes received stay in the `.part` file.
        """
        best, failures = self.target.received, 0
        while True:
            self._attempts += 1
            try:
                await self._attempt()
            except VideoAPIError as error:
                last_error = error
            else:
                return
            if self.target.received >= best + STEP:
                best, failures = self.target.received, 0
            if last_error.status in _EXPIRED and await self._refreshed():
                continue
            failures += 1
            wait = self._wait(last_error, failures)
            if wait is None:
                last_error.attempts = self._attempts
                if isinstance(last_error, DownloadFailed):
                    last_error.received = self.target.received
                raise last_error
            await self.clock.sleep(wait)

    def _wait(self, error: VideoAPIError, failures: int) -> float | None:
        """Return the seconds until the next attempt, or None to give up."""
        if not error.retryable or failures >= self.policy.attempts:
            return None
        minimum = error.retry_after
        if minimum is not None and minimum > self.policy.max_retry_after:
            return None
        base = self.policy.base if minimum is None else self.policy.throttle_base
        wait = jitter(base, self.policy.cap, failures, self.clock.random())
        return wait if minimum is None else max(wait, add_jitter(minimum, self.clock.random()))

    async def _refreshed(self) -> bool:
        """Switch to the file's new URL, if one is known; at most once."""
        refresh, self.refresh_url = self.refresh_url, None
        text = await refresh() if refresh is not None else None
        if text is None:
            return False
        self.url = parse_url(text)
        return True

    async def _attempt(self) -> None:
        """Send one request, and a second one if the response does not fit the bytes kept."""
        headers = range_headers(self.target.received, self.target.version)
        reply = await self.source.open(self.url, headers, head_timeout=self.head_timeout)
        try:
            stop = await self._accept(reply, asked=bool(headers))
            if stop is not _RESTART:
                await self._copy(reply.body, stop)
                return
        except BaseException:
            await reply.body.aclose()
            raise
        await reply.body.aclose()
        if self._restarted:
            raise self._failed("it changes while it is read", reason="changed")
        self._restarted = True
        self.target.received = 0
        await self._attempt()

    async def _accept(self, reply: FileResponse, *, asked: bool) -> int | None:
        """Check the headers; return the end offset, None if only the framing marks it, or `_RESTART`."""
        body, target = reply.body, self.target
        if body.status not in (200, 206, 416):
            raise error_from_status(
                body.status,
                redact_url(self.url),
                configured=self.source.credentials is not None,
                trusted=reply.trusted,
                retry_after=parse_retry_after(body.headers, lambda: datetime.now(UTC)),
                proxy=self.source.pool.proxy_name(self.url),
            )
        head = interpret_head(
            body.status,
            body.headers,
            received=target.received,
            version=target.version,
            asked=asked,
            name=self.url.path,
        )
        if isinstance(head, UnusableResponse):
            advice = " Check recording_auth=." if head.reason == "credentials" else ""
            raise self._failed(f"{head.message}.{advice}", reason=head.reason, status=body.status)
        if isinstance(head, Restart):
            return _RESTART
        if isinstance(head, RemainingBody):
            target.version = head.version
            self._tell(0, always=True)
            return head.stop
        await run_blocking(target.begin, head.version)
        self._tell(0, always=True)
        return head.version.total

    async def _copy(self, body: ResponseBody, stop: int | None) -> None:
        target, held = self.target, bytearray()
        why: str | None = None
        try:
            async for chunk in body:
                held += chunk
                if stop is not None and target.received + len(held) > stop:
                    held.clear()
                    await run_blocking(target.begin, Version())
                    raise self._failed("more came than was announced")
                if len(held) >= BLOCK:
                    await self._write(held)
                self._tell(len(held))
        except BodyInterrupted as lost:
            why = lost.reason
            held += lost.rest
        finally:
            # Also if cancelled, so that received bytes need not be fetched again.
            if held:
                await self._write(held)
        if stop is None and why is None:
            target.version = attrs.evolve(target.version, total=target.received)
        total = target.version.total
        if why is not None or target.received != total:
            raise self._failed(why or "less came than was announced", retryable=True)
        self._tell(0, always=True)

    async def _write(self, held: bytearray) -> None:
        data = bytes(held)
        held.clear()
        await run_blocking(self.target.write, data)

    def _tell(self, held: int, *, always: bool = False) -> None:
        if self.progress is None:
            return
        now = self.clock.now()
        if always or now - self._told >= TICK:
            self._told = now
            self.progress(self.target.received + held, self.target.version.total)

    def _failed(self, why: str, *, reason: str = "incomplete", **facts: bool | int) -> DownloadFailed:
        text = f"The file at {redact_url(self.url)} did not arrive: {why.rstrip('.')}."
        return DownloadFailed(text, reason=reason, method="GET", **facts)


_RESTART: Final = -1
