"""Answers and faults on their way out: the only place that touches a connection."""

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
# Often enough that a long answer lets others in between, seldom enough to cost nothing.
_FAIR = 4
# Up to this size a body in blocks is made whole to find where a share of it ends.
_EXACT = 32 * 1024 * 1024


async def send(request: BaseRequest, answer: HttpResponse, *, close: bool = False) -> web.StreamResponse:
    """Send a whole answer.

    Args:
        request: what it answers.
        answer: what to send; a body in blocks is sent as they come, chunked.
        close: say `Connection: close` and end the connection.
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
    # Whoever leaves in the middle of a long answer has read enough: no trouble, nothing for the log.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for place, block in enumerate(answer.body):
            await response.write(block)
            if place % _FAIR == 0:
                await asyncio.sleep(0)
        await response.write_eof()
    return response


async def send_part(request: BaseRequest, answer: HttpResponse, at: float) -> web.StreamResponse:
    """Send the head and the first part of the body, then close the connection in the middle of it.

    Args:
        request: what it answers.
        answer: what is cut.
        at: where: below 1 the share of the body, from 1 on a number of bytes.
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
    """Send a whole answer, and bytes behind it that nobody asked for.

    Args:
        request: what it answers.
        answer: what to send.
        stray: what is written to the connection afterwards, as it is.
        seconds: how long after the answer; 0 for right behind it.
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
    """The answer with only the first part of its body, framed as if that were all."""
    answer = _whole_if_short(answer)
    return attrs.evolve(answer, body=b"".join(_first(answer, at)))


def close(request: BaseRequest) -> web.Response:
    """End the connection in order (FIN) after what was written; what is returned is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def reset(request: BaseRequest) -> web.Response:
    """Tear the connection down (RST); what is returned is never sent."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


def blocks(pieces: Iterable[bytes], *, before: bytes, after: bytes) -> Iterator[bytes]:
    """Join items with commas between two ends into blocks of about 64 KiB, made as they are asked for."""
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
    # Programs are deployed that take each piece of a body for a document, so a short one is sent in one.
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
        # An estimate would let a cut near the end miss the body.
        whole = list(whole)
        size = sum(map(len, whole))
    left = int(size * at) if at < 1 else int(at)
    for block in whole:
        if len(block) >= left:
            yield block[:left]
            return
        yield block
        left -= len(block)
