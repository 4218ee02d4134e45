"""Only a connection that answered plainly is used again."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import NotFound, RetryPolicy, SessionManager, VideoAPIError, VideoClient
from videoapi.pipeline.clock import Clock

ONCE = RetryPolicy(attempts=1)


async def test_connections_that_answered_well_are_used_again() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            for _ in range(5):
                await client.rooms.get(ROOM_ID)
        assert server.accepted == 1


async def test_a_stream_that_was_read_to_its_end_leaves_its_connection_to_the_next() -> None:
    async with serve(repeating(answer(200, {"result": 0, "rooms": [{"room_id": ROOM_ID}]}))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            for _ in range(3):
                assert len(await client.rooms.list().to_list()) == 1
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"result": 40001, "error": "[Reason] Room not found", "desc": ""}),
        (200, {"result": 40001, "error": "[Reason] Room not found", "desc": ""}),
        (200, b"<html>maintenance</html>"),
        (200, {"result": 0}),
        (200, b""),
        (204, b""),
        (302, b""),
        (400, room()),
        (429, b""),
        (503, b""),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_connection_that_answered_otherwise_is_not(status: int, body: object, pieces: int) -> None:
    whole = answer(status, body)

    async def script(link: Link) -> None:
        await link.request()
        # In two pieces the connection goes back to the pool with its last byte, before anyone has judged it.
        cut = whole.index(b"\r\n\r\n") + 4 if pieces == 2 else len(whole)
        link.send(whole[:cut])
        await asyncio.sleep(0.01)
        link.send(whole[cut:])
        await link.request()

    async def sleep(seconds: float) -> None:
        """Do not sit out the pause after a 429."""

    async with serve(script) as server, SessionManager(clock=Clock(sleep=sleep)) as manager:
        client = VideoClient("id", "key", server.base_url, retry=ONCE, session=manager)
        for _ in range(2):
            with pytest.raises(VideoAPIError):
                await client.rooms.get(ROOM_ID)
        assert [seen.connection for seen in server.requests] == [1, 2]


@pytest.mark.parametrize("body", [{"result": 10002}, {"result": 0}, {"result": 0, "rooms": 5}, b"<html>"])
async def test_nor_is_one_whose_stream_ended_otherwise(body: object) -> None:
    async with serve(repeating(answer(200, body))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            for _ in range(2):
                with pytest.raises(VideoAPIError):
                    await client.rooms.list().to_list()
        assert [seen.connection for seen in server.requests] == [1, 2]


@pytest.mark.parametrize("status", [404, 200])
async def test_closing_it_does_not_hit_a_neighbour_who_took_it_from_the_pool(status: int) -> None:
    """The neighbour wakes in the same turn of the loop in which a refusal's last byte comes, and a moment earlier."""
    refusal = answer(status, {"result": 40001, "error": "[Reason] Room not found", "desc": ""})

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.send(refusal[:-1] if seen.target.endswith("gone1234") else answer(200, room()))

    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    ours, theirs = socket.socketpair()
    loop.add_reader(theirs, lambda: woken.done() or woken.set_result(None))
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:

            async def neighbour() -> None:
                await woken
                await client.rooms.get(ROOM_ID)

            busy = asyncio.create_task(neighbour())
            refused = asyncio.create_task(client.rooms.get("gone1234"))
            while not server.requests:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            ours.send(b"!")
            server.links[0].send(refusal[-1:])
            with pytest.raises(NotFound):
                await refused
            await busy
            # However it went, the connection is used no more.
            await client.rooms.get(ROOM_ID)
        assert server.requests[-1].connection == 2
    loop.remove_reader(theirs)
    ours.close()
    theirs.close()
