"""Invalid bodies after valid headers: reads are retried, creates are unknown, memory stays bounded."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
from support.clients import ONCE, call, client_for
from support.server import Link, Script, repeating, room, serve

from videoapi import (
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    DownloadFailed,
    ProtocolError,
    Room,
    VideoAPIError,
)

FULL = json.dumps(room(name="Stand-up")).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ZIPPED = gzip.compress(FULL)
STREAMED = json.dumps(
    {"result": 0, "rooms": [{"room_id": f"room{n:04}", "name": "x" * 50} for n in range(200)]}
).encode()


def sized(body: bytes, *, encoding: str = "", length: int | None = None) -> bytes:
    coding = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return HEAD + f"{coding}Content-Length: {length if length is not None else len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


def reply(data: bytes, *, reset: bool = False, then: bytes | None = None) -> Script:
    """Respond with these bytes and end the connection; the next connection gets `then`."""

    async def script(link: Link) -> None:
        await link.request()
        if then is not None and len(link.server.requests) > 1:
            link.send(then)
            await link.gone()
        link.send(data)
        await link.drain()
        if reset:
            # Let the data arrive first: an RST would overtake it.
            await asyncio.sleep(0.02)
            link.reset()
        else:
            link.close()

    return script


async def read_and_create_fail(data: bytes, expected: type[VideoAPIError], *, reset: bool = False) -> VideoAPIError:
    """Send the same response to a read and a create; return the read's error."""
    async with serve(reply(data, reset=reset)) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(expected) as failed:
            await call(client, "get")
        with pytest.raises(CreateOutcomeUnknown) as unknown:
            await call(client, "create")
        assert unknown.value.reference
        assert unknown.value.may_have_executed
        assert len(server.requests) == 2
    return failed.value


async def read_recovers(data: bytes, *, reset: bool = False) -> int:
    """Send a read a bad response and then a good one; return the number of requests."""
    async with serve(reply(data, reset=reset, then=sized(FULL))) as server, client_for(server.base_url) as client:
        found = await call(client, "get")
        assert isinstance(found, Room)
        assert found.name == "Stand-up"
        return len(server.requests)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_f49_content_length_too_long(reset: bool) -> None:
    """F49 | Content-Length too long, then FIN or RST | read retried; create U | raw server

    aiohttp raises ClientPayloadError.
    """
    data = sized(FULL, length=len(FULL) + 5)
    error = await read_and_create_fail(data, ConnectionFailed, reset=reset)
    assert error.retryable
    assert await read_recovers(data, reset=reset) == 2


async def test_f50_content_length_too_short() -> None:
    """F50 | Content-Length too short | the surplus is never taken for the next response; create U | raw server

    aiohttp raises ClientResponseError(400) if the surplus arrives with the headers; the status is its own.
    """
    data = sized(FULL, length=len(FULL) - 5)
    error = await read_and_create_fail(data, ProtocolError)
    assert error.status in (None, 200)
    assert await read_recovers(data) == 2


async def test_f50_short_length_does_not_shift_later_responses() -> None:
    """F50 | a second response hidden by a short length | the next call uses a new connection | raw server"""
    stray = sized(json.dumps({"result": 10002, "error": "[Reason] not yours"}).encode())
    script = repeating(sized(FULL) + stray)
    async with serve(script) as server, client_for(server.base_url) as client:
        for _ in range(3):
            with contextlib.suppress(ProtocolError, ConnectionFailed):
                await call(client, "get")
        assert len({seen.connection for seen in server.requests}) == len(server.requests)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (chunked(FULL, end=b""), ConnectionFailed),
        (chunked(FULL)[:-30], ConnectionFailed),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + FULL, VideoAPIError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + FULL, VideoAPIError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n" + FULL, VideoAPIError),
    ],
    ids=["no-last-chunk", "within-a-chunk", "not-hex", "negative", "huge"],
)
async def test_f51_truncated_or_invalid_chunks(data: bytes, expected: type[VideoAPIError]) -> None:
    """F51 | truncated chunked body; bad chunk size | read retried; create U | raw server

    aiohttp raises ClientPayloadError and ClientResponseError(400).
    """
    error = await read_and_create_fail(data, expected)
    assert error.status in (None, 200)
    assert await read_recovers(data) == 2


async def test_f52_close_delimited_body() -> None:
    """F52 | truncated close-delimited body | an object is either complete or invalid JSON | cuts every 7 bytes

    A truncated object is never valid JSON. Only a cut in the trailing white space would be accepted, which loses
    nothing.
    """
    head = HEAD + b"Connection: close\r\n\r\n"
    async with serve(reply(head + FULL + b"\n\n")) as server, client_for(server.base_url, retry=ONCE) as client:
        assert await call(client, "get")
    for cut in range(0, len(FULL), 7):
        with pytest.raises(VideoAPIError) as failed:
            async with serve(reply(head + FULL[:cut])) as server, client_for(server.base_url, retry=ONCE) as client:
                await call(client, "get")
        assert failed.value.may_have_executed


async def test_f52_close_delimited_list_is_complete_with_its_last_bracket() -> None:
    """F52 | close-delimited list, cut between two rooms | not taken for the complete list | raw server"""
    head = HEAD + b"Connection: close\r\n\r\n"
    cut = STREAMED.index(b', {"room_id": "room0100"')
    for data, complete in ((head + STREAMED, True), (head + STREAMED[:cut], False)):
        async with serve(reply(data)) as server, client_for(server.base_url, retry=ONCE) as client:
            if complete:
                assert len(await client.rooms.list().to_list()) == 200
            else:
                with pytest.raises(VideoAPIError, match="too early"):
                    await client.rooms.list().to_list()


async def test_f52_close_delimited_file_is_not_complete(tmp_path: Path) -> None:
    """F52 | close-delimited file | `DownloadFailed`, no final file | raw server"""
    data = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"media" * 1000
    async with serve(reply(data)) as server, client_for(server.base_url, retry=ONCE) as client:
        with pytest.raises(DownloadFailed, match="where the file ends") as failed:
            await client.archives.download(f"{server.origin}/a/clip.mp4", tmp_path)
    assert failed.value.reason == "incomplete"
    assert not (tmp_path / "clip.mp4").exists()


def trickling(data: bytes, seconds: float = 0.02, at: int = 0) -> Script:
    async def script(link: Link) -> None:
        await link.request()
        link.send(data[:at])
        for number in range(at, len(data)):
            link.send(data[number : number + 1])
            await link.drain()
            await asyncio.sleep(seconds)

    return script


async def test_f53_trickling_body_hits_the_attempt_timeout() -> None:
    """F53 | body one byte at a time | `attempt_timeout` ends the attempt, create U | raw server, limits scaled"""
    data = sized(FULL)
    script = trickling(data, at=len(data) - 60)
    async with serve(script) as server, client_for(server.base_url, retry=ONCE, attempt_timeout=0.2) as client:
        async with asyncio.timeout(3):
            with pytest.raises(CallTimeout) as failed:
                await call(client, "get")
            assert failed.value.may_have_executed
            with pytest.raises(CreateOutcomeUnknown):
                await call(client, "create")


@pytest.mark.parametrize("what", ["stream", "download"])
async def test_f53_trickling_stream_hits_the_stall_guard(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """F53 | stream or download one byte at a time | the stall guard ends it, received data is kept | limits scaled"""
    monkeypatch.setattr("videoapi.transport.response_body._STALL_SECONDS", 0.15)
    head = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 100000\r\n\r\n'
    data = head + (STREAMED if what == "stream" else b"m" * 5_000)
    script = trickling(data, seconds=0.005, at=len(head) + 1500)
    async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client, asyncio.timeout(5):
        if what == "stream":
            seen = 0
            with pytest.raises(CallTimeout, match="less than 1 KiB/s") as stopped:
                async for _ in client.rooms.list():
                    seen += 1
            assert 0 < seen < 200
            assert stopped.value.cursor is not None
        else:
            with pytest.raises(DownloadFailed, match="less than 1 KiB/s") as failed:
                await client.archives.download(f"{server.origin}/a/clip.mp4", tmp_path)
            assert failed.value.received >= 1500
            assert (tmp_path / "clip.mp4.part").stat().st_size == failed.value.received


async def test_f53_silent_stream_hits_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """F53 | stream that falls silent | the read timeout ends it | raw server, limit scaled"""
    monkeypatch.setattr("videoapi.transport.response_body.ResponseBody.__init__.__defaults__", (None, 0.15))

    async def script(link: Link) -> None:
        await link.request()
        link.send(sized(STREAMED, length=100_000))
        await link.gone()

    async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client, asyncio.timeout(3):
        with pytest.raises(CallTimeout, match=r"no data for 0\.15 s \(read timeout\)"):
            await client.rooms.list().to_list()


BAD_CODINGS = {
    "not-gzip": sized(FULL, encoding="gzip"),
    "bad-crc": sized(ZIPPED[:-8] + bytes(8), encoding="gzip"),
    "cut-in-the-trailer": sized(ZIPPED[:-4], encoding="gzip"),
    "cut-in-the-body": sized(gzip.compress(FULL * 50)[:60], encoding="gzip"),
    "not-deflate": sized(b"\xff" + FULL, encoding="deflate"),
    "cut-deflate": sized(zlib.compress(FULL)[:-20], encoding="deflate"),
    "unknown": sized(b"\x28\xb5\x2f\xfd rubbish", encoding="klingon"),
}


@pytest.mark.parametrize("name", [name for name in BAD_CODINGS if name != "cut-in-the-trailer"])
async def test_f54_body_does_not_decompress(name: str) -> None:
    """F54 | invalid gzip, bad CRC, truncated gzip, unknown encoding | an error, create U | raw server

    aiohttp raises ClientPayloadError for the first two, no error for the third, and passes the fourth through as is.
    """
    error = await read_and_create_fail(BAD_CODINGS[name], VideoAPIError)
    assert isinstance(error, ConnectionFailed | ProtocolError)
    assert await read_recovers(BAD_CODINGS[name]) == 2


async def test_f54_gzip_with_a_truncated_trailer() -> None:
    """F54 | gzip cut within its trailer | accepted if its JSON is complete: nothing is lost | raw server

    aiohttp raises no error. An earlier cut also truncates the JSON, or removes the last bracket of the list.
    """
    async with serve(reply(BAD_CODINGS["cut-in-the-trailer"])) as server, client_for(server.base_url) as client:
        assert await call(client, "get")


async def test_f54_truncated_gzipped_list_is_not_complete() -> None:
    """F54 | a truncated gzipped list with a matching length | not taken for the complete list | raw server

    aiohttp returns the inflated part without an error.
    """
    zipped = gzip.compress(os.urandom(20_000).hex().encode().join([STREAMED[:-2], b""]) + STREAMED[-2:])
    for cut in (len(zipped) // 2, len(zipped) - 20):
        data = sized(zipped[:cut], encoding="gzip")
        async with serve(reply(data)) as server, client_for(server.base_url, retry=ONCE) as client:
            with pytest.raises(VideoAPIError):
                await client.rooms.list().to_list()


FLOOD = """
    import asyncio, gzip, resource, sys
    from support.clients import ONCE, call, client_for
    from support.server import serve
    from videoapi import ProtocolError

    zeros = gzip.compress(b" " * (1 << 20))

    async def script(link):
        await link.request()
        link.send(b"HTTP/1.1 200 OK\\r\\n")
        if sys.argv[1] == "gzip":
            link.send(b"Content-Encoding: gzip\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
            block, repeats = b"%x\\r\\n%b\\r\\n" % (len(zeros), zeros), 1024
        else:
            link.send(b"Content-Length: %d\\r\\n\\r\\n" % (1 << 30))
            block, repeats = b" " * (1 << 16), 1 << 14
        for _ in range(repeats):
            link.send(block)
            await link.writer.drain()
            link.server.sent = getattr(link.server, "sent", 0) + len(block)

    async def main():
        async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client:
            try:
                await call(client, "get")
            except ProtocolError as error:
                print(error)
            print(server.sent)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Far less than the 1 GiB that the server sends.
    resource.setrlimit(resource.RLIMIT_AS, (768 << 20, 768 << 20))
    asyncio.run(main())
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_f55_oversized_body_stops_at_16_mib(coding: str) -> None:
    """F55 | gzip bomb of 1 : 1000; 1 GiB uncompressed | stops at 16 MiB, memory grows by less than 64 MiB | subprocess

    Run in a separate process, because peak memory never falls; the address space is limited.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FLOOD), coding],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    message, sent, grown_mib = done.stdout.splitlines()
    assert "larger than 16 MiB" in message
    assert int(sent) < 64 << 20
    assert int(grown_mib) < 64


EMPTY_OR_HTML: dict[str, bytes] = {
    "empty": sized(b""),
    "blank": sized(b" \r\n "),
    "html": sized(b"<html><title>Welcome</title>It works!</html>"),
    "html-that-says-so": sized(b"<!doctype html>").replace(b"application/json", b"text/html"),
}


@pytest.mark.parametrize("data", EMPTY_OR_HTML.values(), ids=EMPTY_OR_HTML)
async def test_f56_200_without_json(data: bytes) -> None:
    """F56 | empty 200; 200 with HTML | `ProtocolError` that names the base URL; create U | raw server"""
    error = await read_and_create_fail(data, ProtocolError)
    assert error.status == 200
    assert "Check base_url." in str(error)
    assert "It works" not in str(error)


@pytest.mark.parametrize("kind", [b"text/html", b"text/plain; charset=klingon", b"", b"nonsense"])
async def test_f56_json_with_any_content_type(kind: bytes) -> None:
    """F56 | 200 with JSON labeled `text/html` | accepted: the body decides, not its type | raw server"""
    async with serve(reply(sized(FULL).replace(b"application/json", kind))) as server:
        async with client_for(server.base_url, retry=ONCE) as client:
            assert await call(client, "get")
            assert await call(client, "create")
