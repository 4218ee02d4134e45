"""Sending of responses and connection faults; the only module that accesses a connection."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest

from videoapi.sandbox.responses import HttpResponse

BLOCK = 64 * 1024
# Yield to other requests every so many blocks: fair to them, at negligible cost.
_FAIR = 4
# Up to this size, in bytes, a body in blocks is buffered to find where a fraction of it ends.
_EXACT = 32 * 1024 * 1024


async def send(request: BaseRequest, answer: HttpResponse, *, close: bool = False) -> web.StreamResponse:
    """Send a complete response.

    Args:
        request: The request.
        answer: The response; a body in blocks is sent chunked, block by block.
        close: Send `Connection: close` and close the connection.
    """
    answer = _whole_if_short(answer)
    headers = {"Content-Type": answer.content_type, **answer.headers}
    if isinstance(answer.body, bytes):
        response: web.StreamResponse = web.Response(body=answer.body, status=answer.status, headers=headers)
        if close:
            response.force_close()
        return response
    response = web.StreamResponse(status=answer.status, headers=headers)
    if close:
        response.force_close()
    # A client that disconnects during a long response is not an error, so log nothing.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for place, block in enumerate(answer.body):
            await response.write(block)
            if place % _FAIR == 0:
                await asyncio.sleep(0)
        await response.write_eof()
    return response


async def send_part(request: BaseRequest, answer: HttpResponse, at: float) -> web.StreamResponse:
    """Send the headers and the first part of the body, then close the connection.

    Args:
        request: The request.
        answer: The response to cut.
        at: Where to cut: below 1 a fraction of the body, otherwise a number of bytes.
    """
    answer = _whole_if_short(answer)
    headers = {"Content-Type": answer.content_type, **answer.headers}
    response = web.StreamResponse(status=answer.status, headers=headers)
    if isinstance(answer.body, bytes):
        response.content_length = len(answer.body)
    response.force_close()
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for block in _first(answer, at):
            await response.write(block)
    close(request)
    return response


async def send_with_stray(
    request: BaseRequest, answer: HttpResponse, stray: bytes, seconds: float
) -> web.StreamResponse:
    """Send a complete response, then unsolicited bytes.

    Args:
        request: The request.
        answer: The response.
        stray: The bytes to write to the connection afterwards.
        seconds: The delay after the response; 0 for none.
    """
    response = await send(request, answer)
    await response.prepare(request)
    await response.write_eof()
    transport = request.transport
    if transport is not None and seconds:
        asyncio.get_running_loop().call_later(seconds, _write, transport, stray)
    elif transport is not None:
        _write(transport, stray)
    return response


def truncated(answer: HttpResponse, at: float) -> HttpResponse:
    """Return the response with only the first part of its body, framed as if it were complete."""
    answer = _whole_if_short(answer)
    return attrs.evolve(answer, body=b"".join(_first(answer, at)))


def close(request: BaseRequest) -> web.Response:
    """Close the connection (FIN) after sending buffered data. The returned response is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def reset(request: BaseRequest) -> web.Response:
    """Reset the connection (RST). The returned response is never sent."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


def blocks(pieces: Iterable[bytes], *, before: bytes, after: bytes) -> Iterator[bytes]:
    """Yield `before`, the pieces joined with commas, and `after`, in blocks of about 64 KiB, generated lazily."""
    ready = [before]
    size = 0
    comma = b""
    for piece in pieces:
        ready += (comma, piece)
        comma = b","
        size += len(piece)
        if size >= BLOCK:
            yield b"".join(ready)
            ready, size = [], 0
    yield b"".join((*ready, after))


def _write(transport: asyncio.Transport, stray: bytes) -> None:
    if not transport.is_closing():
        transport.write(stray)


def _whole_if_short(answer: HttpResponse) -> HttpResponse:
    # Some deployed clients parse each chunk of a body as a document, so send a short body in one piece.
    if isinstance(answer.body, bytes):
        return answer
    made = iter(answer.body)
    begun = list(islice(made, 2))
    body = begun[0] if len(begun) == 1 else chain(begun, made)
    return attrs.evolve(answer, body=body)


def _first(answer: HttpResponse, at: float) -> Iterator[bytes]:
    whole = [answer.body] if isinstance(answer.body, bytes) else answer.body
    size = len(answer.body) if isinstance(answer.body, bytes) else answer.size or BLOCK
    if at < 1 and size <= _EXACT:
        # With an estimated size, a cut near the end could fall outside the body.
        whole = list(whole)
        size = sum(map(len, whole))
    left = int(size * at) if at < 1 else int(at)
    for block in whole:
        if len(block) >= left:
            yield block[:left]
            return
        yield block
        left -= len(block)
