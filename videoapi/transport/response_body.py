"""Response bodies: read completely up to a size limit, or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from videoapi.config import address
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.transport.attempt import AttemptState
from videoapi.transport.deadlines import CLOSED, DeadlineTimer
from videoapi.transport.failures import TRANSPORT_ERRORS, describe_cut

READ_TIMEOUT: Final = 20.0
"""Read timeout of a streamed body, in seconds."""
_STALL_SECONDS: Final = 60.0
_STALL_BYTES: Final = 60 * 1024


class ResponseBody:
    """An open response body; iterate over it once, after which it closes itself."""

    __slots__ = ("_attempt", "_deadlines", "_ended", "_permits", "_read_timeout", "_response", "headers", "status")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        attempt: AttemptState,
        deadlines: DeadlineTimer,
        permits: asyncio.Semaphore | None = None,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._attempt = attempt
        self._deadlines = deadlines
        self._permits = permits
        self._read_timeout = read_timeout
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the data as it arrives.

        Raises:
            BodyInterrupted: If the connection breaks or closes, stalls, or averages below 1 KiB/s for 60 s.
        """
        waited, received = 0.0, 0
        while True:
            began = self._deadlines.now()
            chunk = await self._read()
            if not chunk:
                await self._end()
                return
            waited += self._deadlines.now() - began
            received += len(chunk)
            if waited >= _STALL_SECONDS:
                if received < _STALL_BYTES:
                    await self.aclose()
                    raise BodyInterrupted("the body arrived at less than 1 KiB/s", timed_out=True)
                waited, received = 0.0, 0
            yield chunk

    async def aclose(self) -> None:
        """Close the connection unless the body has ended, and release the permit. Safe to call twice."""
        if not self._ended:
            self.discard()
        self._release()

    def discard(self) -> None:
        """Keep the connection from being reused, even after the end of the body; for invalid responses."""
        self._attempt.close()
        self._response.close()

    async def _read(self) -> bytes:
        limit = self._deadlines.start(self._deadlines.now() + self._read_timeout)
        failure: BodyInterrupted | None = None
        try:
            if self._deadlines.closed:
                raise aiohttp.ClientConnectionError(CLOSED)
            return await self._response.content.readany()
        except asyncio.CancelledError:
            if not limit.expired():
                await self.aclose()
                raise
            failure = BodyInterrupted(f"no data for {self._read_timeout:g} s (read timeout)", timed_out=True)
        except TRANSPORT_ERRORS as error:
            failure = BodyInterrupted(
                describe_cut(error, self._host),
                timed_out=isinstance(error, TimeoutError),
                rest=_unread(self._response.content),
            )
        finally:
            self._deadlines.stop(limit)
        await self.aclose()
        raise BodyInterrupted(CLOSED) if self._deadlines.closed else failure

    @property
    def _host(self) -> str:
        url = self._response.url
        return address(url.host, url.port)

    async def _end(self) -> None:
        self._ended = True
        self._response.release()
        self._release()

    def _release(self) -> None:
        if self._permits is not None:
            self._permits.release()
            self._permits = None


async def read_bounded(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Return a decompressed body, or None if it is larger than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(parts)


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return the data received before the connection broke, which aiohttp no longer returns.

    aiohttp has no public API for this. If it renames the attributes, a resumed download only
    requests a few bytes again.
    """
    buffers = getattr(content, "_buffer", ())
    return b"".join(buffers)[getattr(content, "_buffer_offset", 0) :]
