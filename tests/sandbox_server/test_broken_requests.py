"""Requests whose body is cut off or cannot be decoded, and bytes that are not HTTP: refused, and nothing is logged."""

import asyncio
import json
import logging

import pytest

from videoapi.sandbox import Sandbox

POST = b"POST /video/v2/rooms HTTP/1.1\r\nHost: x\r\n"
BROKEN = {
    "gzip": POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "deflate": POST + b"Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\nabcd",
    "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n0\r\n\r\n",
    "no http": b"hello\r\n\r\n",
    "header": POST + b"Content-Length: four\r\n\r\n",
}


async def sent(sandbox: Sandbox, data: bytes, *, leave: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(data)
    try:
        async with asyncio.timeout(20):
            if leave:
                while sandbox.traffic().total.requests == 0:
                    await asyncio.sleep(0.01)
                return b""
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_request_is_refused_without_a_traceback(kind, console, caplog):
    caplog.set_level(logging.INFO)
    async with Sandbox(console=console) as sandbox:
        answer = await sent(sandbox, BROKEN[kind])
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
        assert b"Traceback" not in answer
        assert sandbox.traffic().total.concurrency <= 1
        assert not sandbox.ledger.rooms
    assert [record.getMessage() for record in caplog.records] == []


async def test_undecodable_body_has_the_envelope_of_the_service():
    async with Sandbox() as sandbox:
        head, _, body = (await sent(sandbox, BROKEN["gzip"])).partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert json.loads(body)["result"] == 10009


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize(
    "path", [b"POST /video/v2/rooms", b"GET /video/v2/rooms", b"PATCH /video/v2/rooms/x", b"POST /x"]
)
async def test_client_that_leaves_while_it_sends_leaves_no_traceback(path, console, caplog):
    caplog.set_level(logging.INFO)
    async with Sandbox(console=console) as sandbox:
        await sent(sandbox, path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabcd", leave=True)
        async with asyncio.timeout(20):
            while sandbox._traffic._total.open:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not sandbox.ledger.rooms
    assert [record.getMessage() for record in caplog.records] == []


async def test_body_that_is_cut_off_is_no_fault_and_executes_nothing():
    async with Sandbox() as sandbox:
        fault = sandbox.fault("rooms.create", 503)
        await sent(sandbox, BROKEN["gzip"])
        assert (fault.hits, sandbox.ledger.requests("rooms.create")) == (0, 1)
