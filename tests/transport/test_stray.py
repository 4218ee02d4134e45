"""An unsolicited response is never used as the response to the next request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme
from support.server import ROOM_ID, Link, Server, answer, repeating, room, serve

from videoapi import CreateOutcomeUnknown, RetryPolicy, VideoClient

ONCE = RetryPolicy(attempts=1)
STRAYS: dict[str, Callable[[Link], None]] = {
    "401": lambda link: link.answer(401, {"result": 10000, "error": "[Reason] Application not found"}),
    "400": lambda link: link.answer(400),
    "408": lambda link: link.answer(408, b"", {"Connection": "close"}),
    "10002": lambda link: link.answer(200, {"result": 10002, "error": "[Reason] Required Data Missing"}),
    "success": lambda link: link.answer(200, room("otherroom12345", name="Another room")),
    "part": lambda link: link.send(b"HTTP/1.1 4"),
    "blank": lambda link: link.send(b"\r\n"),
    "fin": lambda link: link.shut(),
}

CONSUMED = {("part", 5), ("blank", 5)}
"""Cases in which the parser consumes the data unnoticed; see the test of the second half."""


def context(authority: trustme.CA) -> ssl.SSLContext:
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    return server_tls


async def call_before_and_after(client: VideoClient, server: Server, stray: Callable[[Link], None], turns: int) -> None:
    """Let `stray` data arrive between two calls, followed by `turns` iterations of the event loop."""
    assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
    stray(server.links[0])
    for _ in range(turns):
        await asyncio.sleep(0)
    created = await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert created.room_id == ROOM_ID
    assert [seen.connection for seen in server.requests] == [1, 2]
    # The stray data does not shift later responses either.
    await client.rooms.get(ROOM_ID)
    assert [seen.connection for seen in server.requests] == [1, 2, 2]


# With turns=0, the data is still in the kernel and the event loop has not seen it.
@pytest.mark.parametrize(
    ("name", "turns"),
    [(name, turns) for name in STRAYS for turns in (0, 5) if (name, turns) not in CONSUMED],
)
async def test_stale_connection_is_not_reused(name: str, turns: int) -> None:
    stray = STRAYS[name]
    async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await call_before_and_after(client, server, stray, turns)


@pytest.mark.parametrize("turns", [0, 5])
@pytest.mark.parametrize("stray", [STRAYS["401"], STRAYS["10002"], STRAYS["fin"]], ids=["401", "10002", "fin"])
async def test_stale_connection_is_not_reused_over_tls(
    authority: trustme.CA, stray: Callable[[Link], None], turns: int
) -> None:
    script = repeating(answer(200, room(name="Stand-up")))
    with authority.cert_pem.tempfile() as ca_file:
        async with serve(script, tls=context(authority)) as server:
            async with VideoClient("id", "key", server.base_url, retry=ONCE, ca_file=ca_file) as client:
                await call_before_and_after(client, server, stray, turns)


@pytest.mark.parametrize("turns", [1, 5])
@pytest.mark.parametrize("stray", [STRAYS["401"], STRAYS["10002"], STRAYS["fin"]], ids=["401", "10002", "fin"])
def test_stale_connection_is_not_reused_on_uvloop(stray: Callable[[Link], None], turns: int) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
            async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
                await call_before_and_after(client, server, stray, turns)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_connection_reset_by_the_peer_is_not_reused() -> None:
    async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await call_before_and_after(client, server, Link.reset, 5)


async def test_second_half_of_an_unsolicited_response_is_not_used() -> None:
    stray = answer(401, {"result": 10000, "error": "[Reason] Application not found"})

    async def script(link: Link) -> None:
        await link.request()
        link.answer(200, room())
        if link.number == 1:
            link.send(stray[:10])
            await link.request()
            link.send(stray[10:])
        await link.gone()

    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await client.rooms.get(ROOM_ID)
            for _ in range(5):
                await asyncio.sleep(0)
            if server.accepted == 1:
                with pytest.raises(CreateOutcomeUnknown):
                    await client.rooms.create(name="Stand-up", on_unknown="strict")


async def test_second_response_in_the_same_segment_is_discarded() -> None:
    doubled = answer(200, room(name="Stand-up")) + answer(401)
    async with serve(repeating(doubled)) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            for _ in range(3):
                assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
        assert [seen.connection for seen in server.requests] == [1, 2, 3]


async def test_tls_session_tickets_do_not_make_a_connection_stale(authority: trustme.CA) -> None:
    script = repeating(answer(200, room()))
    with authority.cert_pem.tempfile() as ca_file:
        async with serve(script, tls=context(authority)) as server:
            async with VideoClient("id", "key", server.base_url, ca_file=ca_file) as client:
                for _ in range(20):
                    await client.rooms.get(ROOM_ID)
            assert server.accepted == 1
