"""Connections are reused only after a valid, successful response."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import NotFound, RetryPolicy, SessionManager, VideoAPIError, VideoClient
from videoapi.pipeline.clock import Clock

ONCE = RetryPolicy(attempts=1)


async def test_connection_is_reused_after_a_success() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            for _ in range(5):
                await client.rooms.get(ROOM_ID)
        assert server.accepted == 1


async def test_connection_reads_into_memory_that_is_not_mapped_for_each_response() -> None:
    async with serve(repeating(answer(200, room()))) as server:
        async with VideoClient("id", "key", server.base_url) as client:
            await client.rooms.get(ROOM_ID)
            (protocol,) = client._manager.pool.connector._states
            assert 16 * 1024 <= protocol.transport.max_size < 128 * 1024  # type: ignore[union-attr]


async def test_connection_is_reused_after_a_fully_read_stream() -> None:
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
async def test_connection_is_not_reused_after_any_other_response(status: int, body: object, pieces: int) -> None:
    response = answer(status, body)

    async def script(link: Link) -> None:
        await link.request()
        # In two pieces, the last byte returns the connection to the pool before the response is classified.
        cut = response.index(b"\r\n\r\n") + 4 if pieces == 2 else len(response)
        link.send(response[:cut])
        await asyncio.sleep(0.01)
        link.send(response[cut:])
        await link.request()

    async def sleep(seconds: float) -> None:
        """Skip the pause after a 429."""

    async with serve(script) as server, SessionManager(clock=Clock(sleep=sleep)) as manager:
        client = VideoClient("id", "key", server.base_url, retry=ONCE, session=manager)
        for _ in range(2):
            with pytest.raises(VideoAPIError):
                await client.rooms.get(ROOM_ID)
        assert [seen.connection for seen in server.requests] == [1, 2]


@pytest.mark.parametrize("body", [{"result": 10002}, {"result": 0}, {"result": 0, "rooms": 5}, b"<html>"])
async def test_connection_is_not_reused_after_a_failed_stream(body: object) -> None:
    async with serve(repeating(answer(200, body))) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:
            for _ in range(2):
                with pytest.raises(VideoAPIError):
                    await client.rooms.list().to_list()
        assert [seen.connection for seen in server.requests] == [1, 2]


@pytest.mark.parametrize("status", [404, 200])
async def test_discard_does_not_fail_a_call_that_already_reused_the_connection(status: int) -> None:
    """The other call wakes in the same loop iteration as the last byte of the error arrives, and just before it."""
    refusal = answer(status, {"result": 40001, "error": "[Reason] Room not found", "desc": ""})

    async def script(link: Link) -> None:
        while True:
            seen = await link.request()
            link.send(refusal[:-1] if seen.target.endswith("gone1234") else answer(200, room()))

    loop = asyncio.get_running_loop()
    wake = loop.create_future()
    sender, receiver = socket.socketpair()
    loop.add_reader(receiver, lambda: wake.done() or wake.set_result(None))
    async with serve(script) as server:
        async with VideoClient("id", "key", server.base_url, retry=ONCE) as client:

            async def other_call() -> None:
                await wake
                await client.rooms.get(ROOM_ID)

            other = asyncio.create_task(other_call())
            refused = asyncio.create_task(client.rooms.get("gone1234"))
            while not server.requests:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            sender.send(b"!")
            server.links[0].send(refusal[-1:])
            with pytest.raises(NotFound):
                await refused
            await other
            # Whichever call came first, the connection is not reused.
            await client.rooms.get(ROOM_ID)
        assert server.requests[-1].connection == 2
    loop.remove_reader(receiver)
    sender.close()
    receiver.close()
