"""The body of an answer: read whole and bounded, or handed on while it is still open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from videoapi.transport.connector import AttemptState
from videoapi.transport.deadlines import DeadlineTimer
from videoapi.transport.fast_path import MalformedResponse
from videoapi.transport.pool import ConnectionDropped

READ_TIMEOUT: Final = 20.0
"""Longest silence within a streamed body, in seconds."""
_STALL_SECONDS: Final = 60.0
_STALL_BYTES: Final = 60 * 1024
CLOSED: Final = "the client was closed meanwhile"
TRANSPORT_ERRORS: Final = (aiohttp.ClientError, MalformedResponse, ConnectionDropped, OSError, TimeoutError)
"""What is raised when an exchange breaks."""


class BodyInterrupted(Exception):
    """A streamed body broke; `reason` says how, in words that hold no secret, `rest` is what still came."""

    def __init__(self, reason: str, *, timed_out: bool = False, rest: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.rest = rest


class ResponseBody:
    """A response body that is still open; iterate over it once, then it closes itself."""

    __slots__ = ("_attempt", "_deadlines", "_ended", "_permits", "_read_timeout", "_response", "headers", "status")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        attempt: AttemptState,
        deadlines: DeadlineTimer,
        permits: asyncio.Semaphore | None = None,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._attempt = attempt
        self._deadlines = deadlines
        self._permits = permits
        self._read_timeout = read_timeout
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come.

        Raises:
            BodyLost: The connection broke, fell silent, or came at less than 1 KiB/s for 60 s.
        """
        clock = asyncio.get_running_loop().time
        waited, received = 0.0, 0
        while True:
            began = clock()
            chunk = await self._read()
            if not chunk:
                await self._end()
                return
            waited += clock() - began
            received += len(chunk)
            if waited >= _STALL_SECONDS:
                if received < _STALL_BYTES:
                    await self.aclose()
                    raise BodyInterrupted("the body came at less than 1 KiB/s", timed_out=True)
                waited, received = 0.0, 0
            yield chunk

    async def aclose(self) -> None:
        """Close the connection and give the permit back; does no harm after the end, nor twice."""
        if not self._ended:
            self.discard()
        self._release()

    def discard(self) -> None:
        """Let nobody use the connection again, even after the end: this was not plainly the answer."""
        self._attempt.close()
        self._response.close()

    async def _read(self) -> bytes:
        limit = self._deadlines.start(asyncio.get_running_loop().time() + self._read_timeout)
        failure: BodyInterrupted | None = None
        try:
            return await self._response.content.readany()
        except asyncio.CancelledError:
            if not limit.expired():
                await self.aclose()
                raise
            failure = (
                BodyInterrupted(CLOSED)
                if self._deadlines.closed
                else BodyInterrupted(f"the body fell silent for {self._read_timeout:g} s", timed_out=True)
            )
        except TRANSPORT_ERRORS as error:
            failure = BodyInterrupted(
                f"the body broke ({error_name(error)})",
                timed_out=isinstance(error, TimeoutError),
                rest=_unread(self._response.content),
            )
        finally:
            self._deadlines.stop(limit)
        await self.aclose()
        raise failure

    async def _end(self) -> None:
        self._ended = True
        self._response.release()
        self._release()

    def _release(self) -> None:
        if self._permits is not None:
            self._permits.release()
            self._permits = None


async def read_bounded(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Read a body of at most `limit` bytes, inflated; None where it is larger."""
    parts: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(parts)


def error_name(error: BaseException) -> str:
    """Name the class of what aiohttp raised, never its text, which may hold a header or a URL."""
    return str(error) if isinstance(error, ConnectionDropped) else type(error).__name__


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Return what came before the connection broke: aiohttp has it, and hands it out no more.

    There is no public way to it. Where aiohttp changes its mind, a resumed download asks for a few
    bytes once more.
    """
    buffers = getattr(content, "_buffer", ())
    return b"".join(buffers)[getattr(content, "_buffer_offset", 0) :]
