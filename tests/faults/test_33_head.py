"""Response headers that are malformed, late or unsolicited prove nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme
from support.clients import APP_ID, APP_KEY, EAGER, ONCE, call, client_for
from support.fault_proxy import FaultProxy
from support.server import OTHER_ID, ROOM_ID, Link, Script, Server, answer, repeating, room, serve

from videoapi import (
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    ProtocolError,
    RoomSpec,
    VideoAPIError,
    VideoClient,
)
from videoapi.sandbox import Sandbox

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNK = b'3a\r\n{"result":0,"room":{"room_id":"6571f3c2a1b2c3d4e5f60718"}}\r\n0\r\n\r\n'
BODY = b'{"result":0,"room":{"room_id":"6571f3c2a1b2c3d4e5f60718"}}'


def responding(data: bytes, end: Callable[[Link], None] | None = None) -> Script:
    """Return a script that responds to the first request of each connection with these bytes."""

    async def script(link: Link) -> None:
        await link.request()
        link.send(data)
        await link.drain()
        if end is not None:
            end(link)
        await link.gone()

    return script


Expected = type[VideoAPIError] | tuple[type[VideoAPIError], ...]


async def check_unknown(server: Server, client: VideoClient, expected: Expected) -> VideoAPIError:
    """Check that a create is unknown after one request and that a read raises `expected`; return the read's error."""
    with pytest.raises(CreateOutcomeUnknown) as created:
        await call(client, "create")
    assert created.value.attempts == len(server.requests) == 1
    assert created.value.reference == server.requests[0].json["owner_ref"]
    with pytest.raises(expected) as failed:
        await call(client, "get")
    assert failed.value.may_have_executed
    # No connection is reused.
    assert [seen.connection for seen in server.requests] == list(range(1, len(server.requests) + 1))
    return failed.value


@pytest.mark.parametrize(
    ("data", "end"),
    [(b"HTTP/1.1 2", Link.reset), (OK + b"Content-Le", Link.close), (OK[:8], Link.close), (OK[:20], Link.reset)],
    ids=["rst-in-status-line", "fin-in-headers", "fin-in-status-line", "rst-in-headers"],
)
async def test_f26_f27_connection_ends_within_the_headers(data: bytes, end: Callable[[Link], None]) -> None:
    """F26 | RST inside the status line | U: read retried, create sent once | raw server
    F27 | FIN inside the headers | U: read retried, create sent once | raw server

    aiohttp raises ClientOSError and ServerDisconnectedError.
    """
    async with serve(responding(data, end)) as server, client_for(server.base_url) as client:
        failed = await check_unknown(server, client, (ConnectionFailed, ProtocolError))
        assert failed.status is None
        assert len(server.requests) == 1 + 3


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_f26_f27_connection_ends_after_any_number_of_bytes(reset: bool) -> None:
    """F26 | RST after n bytes of the headers | executed once, found by `resolve()` | fault proxy, `limit_data`
    F27 | FIN after n bytes of the headers | as F26 | fault proxy, `limit_data`
    """
    async with Sandbox(seed=3, app_id=APP_ID, app_key=APP_KEY) as sandbox, FaultProxy(sandbox.base_url) as proxy:
        async with client_for(proxy.base_url, settle=0.2) as client:
            for turn, size in enumerate((1, 9, 17, 40), start=1):
                proxy.add("limit_data", method="POST", times=1, size=size, reset=reset)
                with pytest.raises(CreateOutcomeUnknown) as failed:
                    await call(client, "create")
                assert failed.value.reference is not None
                found = await client.rooms.resolve(failed.value.reference)
                assert found is not None
                assert len(sandbox.ledger.created) == turn


GARBAGE = {
    "garbage": bytes(range(128, 256)) + b"\r\n\r\n",
    "http-0.9": b"<html>hello</html>\n",
    "smtp": b"220 mail.example.com ESMTP ready\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http-2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n",
    "bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
}
HEADERS = {
    "long-header": OK + b"X: " + b"y" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    "10000-headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"Content-Length: 0\r\n\r\n",
    "endless-header": OK + b"X: " + b"y" * 200_000,
}
LENGTHS = {
    "two-lengths": OK + b"Content-Length: 58\r\nContent-Length: 59\r\n\r\n" + BODY,
    "length-and-chunked": OK
    + b"Content-Length: 58\r\nTransfer-Encoding: chunked\r\n\r\n3a\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
    "negative-length": OK + b"Content-Length: -1\r\n\r\n" + BODY,
    "worded-length": OK + b"Content-Length: many\r\n\r\n" + BODY,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_f28_response_is_not_http(data: bytes) -> None:
    """F28 | garbage, HTTP/0.9, an SMTP banner | U: `ProtocolError` without a status, never a rejection | raw server

    aiohttp raises ClientResponseError with a made-up status of 400.
    """
    async with serve(responding(data, Link.close)) as server, client_for(server.base_url) as client:
        failed = await check_unknown(server, client, (ProtocolError, ConnectionFailed))
        assert failed.status is None


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS)
async def test_f29_oversized_headers(data: bytes) -> None:
    """F29 | a header > 8 KiB; 10,000 headers | U: `ProtocolError` without a status | raw server

    aiohttp raises ClientResponseError with a made-up status of 400.
    """
    async with serve(responding(data)) as server, client_for(server.base_url, attempt_timeout=2) as client:
        failed = await check_unknown(server, client, ProtocolError)
        assert failed.status is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (b"000 Zero", 0),
        (b"1000 Thousand", None),
        (b"599 Odd", 599),
        (b"200", 200),
        (b"999 Most", 999),
        (b"99 Few", None),
    ],
)
async def test_f30_invalid_statuses(status: bytes, expected: int | None) -> None:
    """F30 | status 000, 99, 999, 1000, 599; 200 without a reason | U; the 200 is a success | raw server

    aiohttp raises ClientResponseError for 1000 and accepts 599.
    """
    data = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    async with serve(responding(data)) as server, client_for(server.base_url, retry=ONCE) as client:
        if expected == 200:
            assert await call(client, "create")
            return
        failed = await check_unknown(server, client, VideoAPIError)
        assert failed.status in (expected, None)


async def drip(link: Link, data: bytes) -> None:
    await link.request()
    while not link.reader.at_eof():
        for byte in data:
            link.send(bytes([byte]))
            await asyncio.sleep(0.005)


async def endless_1xx(link: Link) -> None:
    await link.request()
    while not link.reader.at_eof():
        link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await asyncio.sleep(0.01)


async def slow_headers(link: Link) -> None:
    await drip(link, OK + b"X-Slow: " + b"y" * 1000)


@pytest.mark.parametrize("script", [endless_1xx, slow_headers], ids=["1xx", "drip"])
async def test_f31_f32_headers_never_end(script: Script) -> None:
    """F31 | endless 1xx | `attempt_timeout` ends it: U | raw server repeats 103
    F32 | headers one byte at a time | `attempt_timeout` ends it: U | raw server drips

    sock_read never fires, because data keeps arriving.
    """
    async with serve(script) as server, client_for(server.base_url, retry=ONCE, attempt_timeout=0.15) as client:
        async with asyncio.timeout(5):
            await check_unknown(server, client, CallTimeout)


async def test_f31_101_is_final() -> None:
    """F31 | unsolicited 101 | final, U: `ProtocolError` | raw server"""
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    async with serve(responding(data)) as server, client_for(server.base_url, attempt_timeout=2) as client:
        failed = await check_unknown(server, client, ProtocolError)
        assert failed.status == 101


async def test_f32_slow_headers_that_end_in_time() -> None:
    """F32 | a response in slices of 7 bytes | accepted | fault proxy, `slicer`"""
    async with Sandbox(seed=3, app_id=APP_ID, app_key=APP_KEY) as sandbox, FaultProxy(sandbox.base_url) as proxy:
        proxy.add("slicer", size=7, seconds=0.001)
        async with client_for(proxy.base_url) as client:
            made = await client.rooms.create(name="Stand-up")
            assert [entry.room_id for entry in sandbox.ledger.created] == [made.room_id]


@pytest.mark.parametrize("data", LENGTHS.values(), ids=LENGTHS)
async def test_f33_conflicting_lengths(data: bytes) -> None:
    """F33 | two Content-Lengths; length and chunked | U: not HTTP; the connection is closed | raw server

    aiohttp raises ClientResponseError with a made-up status of 400.
    """
    async with serve(responding(data)) as server, client_for(server.base_url, attempt_timeout=1) as client:
        failed = await check_unknown(server, client, ProtocolError)
        assert failed.status is None


STRAYS: dict[str, bytes] = {
    "401": answer(401, {"result": 10000, "error": "[Reason] Application not found"}),
    "400": answer(400, {"result": 10002, "error": "[Reason] Required Data Missing"}),
    "10002": answer(200, {"result": 10002, "error": "[Reason] Required Data Missing"}),
    "408": answer(408, b"", {"Connection": "close"}),
    "success": answer(200, room(OTHER_ID, name="Foreign room")),
}


async def create_among_strays(stray: bytes, turns: int, tls: ssl.SSLContext | None, ca_file: str | None) -> None:
    """Create rooms one by one, with a stray response on the idle connection before each."""
    made = 0

    async def service(link: Link) -> None:
        nonlocal made
        while True:
            seen = await link.request()
            if seen.method == "POST":
                made += 1
                link.answer(200, room(f"{made:024}", **seen.json))
            else:
                link.answer(200, room(seen.target.rpartition("/")[2]))
            await link.drain()

    async with serve(service, tls=tls) as server:

        async def specs():  # type: ignore[no-untyped-def]
            for number in range(12):
                if number:
                    server.links[-1].send(stray)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                yield RoomSpec(f"Room {number}")

        async with client_for(server.base_url, ca_file=ca_file, retry=EAGER) as client:
            report = await client.rooms.create_many(specs(), concurrency=1, audit=False)
            assert report.counts == {"created": 12}
            assert report.stopped is None
            assert made == 12
            # Each stray response costs its connection, nothing else.
            assert [seen.connection for seen in server.requests] == list(range(1, 13))
            server.links[-1].send(stray)
            for _ in range(turns):
                await asyncio.sleep(0)
            assert (await client.rooms.get(ROOM_ID)).room_id == ROOM_ID


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("wire", ["plain", "tls"])
@pytest.mark.parametrize("turns", [0, 5], ids=["in-the-kernel", "read-by-the-loop"])
@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_f34_response_on_an_idle_connection(
    server_context: ssl.SSLContext, ca_file: str, stray: bytes, turns: int, wire: str, loop: str
) -> None:
    """F34 | unsolicited response on an idle connection | dropped before use; no bulk run stops | plain, TLS, both loops

    aiohttp delivers it to the next request.
    """
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    tls = server_context if wire == "tls" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(create_among_strays(stray, turns, tls, ca_file if tls else None))


async def test_f34_stray_response_after_the_check() -> None:
    """F34 | stray success while a create waits | U, by the echoed reference or the room ID | raw server"""

    async def script(link: Link) -> None:
        await link.request()
        link.answer(200, room(OTHER_ID, owner_ref="vx" + "a" * 26, name="Foreign room"))
        await link.request()

    async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client:
        await check_unknown(server, client, ProtocolError)


async def test_f35_second_response_in_the_same_segment() -> None:
    """F35 | a second response in the same segment | the connection is not reused | raw server

    aiohttp closes it.
    """
    two_responses = answer(200, room()) + answer(401, {"result": 10000})
    async with serve(repeating(two_responses)) as server, client_for(server.base_url) as client:
        for _ in range(3):
            await call(client, "get")
        assert await call(client, "create")
        assert [seen.connection for seen in server.requests] == [1, 2, 3, 4]
