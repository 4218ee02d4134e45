"""An answer that is there before the question is nobody's answer."""

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
    "success": lambda link: link.answer(200, room("somebodyelses1", name="Somebody else's")),
    "part": lambda link: link.send(b"HTTP/1.1 4"),
    "blank": lambda link: link.send(b"\r\n"),
    "fin": lambda link: link.shut(),
}

SWALLOWED = {("part", 5), ("blank", 5)}
"""What the parser has taken in without a trace; see the test of its second half."""


def context(authority: trustme.CA) -> ssl.SSLContext:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    return served


async def ask_twice(client: VideoClient, server: Server, stray: Callable[[Link], None], turns: int) -> None:
    """Let something arrive between two calls, with the loop turned so often in between."""
    assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
    stray(server.links[0])
    for _ in range(turns):
        await asyncio.sleep(0)
    made = await client.rooms.create(name="Stand-up", on_unknown="strict")
    assert made.room_id == ROOM_ID
    assert [seen.connection for seen in server.requests] == [1, 2]
    # Whatever was waiting shifts no later answer either.
    await client.rooms.get(ROOM_ID)
    assert [seen.connection for seen in server.requests] == [1, 2, 2]


# Without a turn the bytes lie in the kernel, and nothing in the process knows of them.
@pytest.mark.parametrize(
    ("name", "turns"),
    [
        *((name, turns) for name in STRAYS for turns in (0, 5) if (name, turns) not in SWALLOWED),
    ],
)
async def test_a_connection_on_which_something_waits_is_not_used(name: str, turns: int) -> None:
    stray = STRAYS[name]
    async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await ask_twice(client, server, stray, turns)


@pytest.mark.parametrize("turns", [0, 5])
@pytest.mark.parametrize("stray", [STRAYS["401"], STRAYS["10002"], STRAYS["fin"]], ids=["401", "10002", "fin"])
async def test_nor_is_it_over_tls(authority: trustme.CA, stray: Callable[[Link], None], turns: int) -> None:
    script = repeating(answer(200, room(name="Stand-up")))
    with authority.cert_pem.tempfile() as ca_file:
        async with serve(script, tls=context(authority)) as server:
            async with VideoClient("id", "key", server.base_url, retry=ONCE, ca_file=ca_file) as client:
                await ask_twice(client, server, stray, turns)


@pytest.mark.parametrize("turns", [1, 5])
@pytest.mark.parametrize("stray", [STRAYS["401"], STRAYS["10002"], STRAYS["fin"]], ids=["401", "10002", "fin"])
def test_nor_is_it_on_uvloop(stray: Callable[[Link], None], turns: int) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
            async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
                await ask_twice(client, server, stray, turns)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_nor_is_one_that_was_reset() -> None:
    async with serve(repeating(answer(200, room(name="Stand-up")))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            await ask_twice(client, server, Link.reset, 5)


async def test_the_second_half_of_a_stray_answer_is_nobodys_answer_either() -> None:
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


async def test_a_second_answer_in_the_same_segment_is_not_kept_for_the_next_question() -> None:
    doubled = answer(200, room(name="Stand-up")) + answer(401)
    async with serve(repeating(doubled)) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            for _ in range(3):
                assert (await client.rooms.get(ROOM_ID)).name == "Stand-up"
        assert [seen.connection for seen in server.requests] == [1, 2, 3]


async def test_tls_session_tickets_are_no_stray_bytes(authority: trustme.CA) -> None:
    script = repeating(answer(200, room()))
    with authority.cert_pem.tempfile() as ca_file:
        async with serve(script, tls=context(authority)) as server:
            async with VideoClient("id", "key", server.base_url, ca_file=ca_file) as client:
                for _ in range(20):
                    await client.rooms.get(ROOM_ID)
            assert server.accepted == 1
