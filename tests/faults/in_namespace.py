"""Scenes that need their own network: `in_namespace.py SCENE`, run inside a network namespace."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.clients import EAGER, ONCE, client_for
from support.names import name_server
from support.namespaces import ip
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import (
    AttemptEvent,
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    SessionManager,
)

NAME = "api.videoapi.test"
GOOD = repeating(answer(200, room()))


async def f01() -> None:
    """The system resolver gets NXDOMAIN, then SERVFAIL, then the address."""
    replies = ["NXDOMAIN", "SERVFAIL", ["127.0.0.1"]]
    async with name_server(lambda n: replies[min(n, 3) - 1], host="127.0.0.1", port=53), serve(GOOD) as server:
        base = f"http://{NAME}:{server.port}/video/v2"
        async with client_for(base, allow_http=True, retry=EAGER) as client:
            await client.rooms.get(ROOM_ID)
        assert server.accepted == 1


async def f02() -> None:
    """The system resolver hangs in its thread; the call still ends."""
    async with name_server(lambda n: None, host="127.0.0.1", port=53):
        began = asyncio.get_running_loop().time()
        async with client_for(f"http://{NAME}:9/v2", allow_http=True, retry=ONCE, attempt_timeout=0.2) as client:
            with pytest.raises(CallTimeout) as failed:
                await client.rooms.create(name="Stand-up")
        assert not failed.value.may_have_executed
        assert asyncio.get_running_loop().time() - began < 4  # the resolver itself gives up after 5 s or more


async def f03() -> None:
    """The first address is on a dead network, the second responds."""
    _dead_network()
    # Link-local, because the system resolver sorts such addresses first.
    ip("address", "add", "169.254.9.1/16", "dev", "dead0")
    ip("neighbour", "add", "169.254.9.7", "lladdr", "02:00:00:00:00:07", "dev", "dead0")
    addresses = ["169.254.9.7", "192.0.2.1"]
    events: list[AttemptEvent] = []
    async with name_server(lambda n: addresses, host="127.0.0.1", port=53), serve(GOOD, host="192.0.2.1") as server:
        base = f"http://{NAME}:{server.port}/video/v2"
        async with client_for(base, allow_http=True, retry=ONCE, listeners=[_keep(events)]) as client:
            await client.rooms.get(ROOM_ID)
    (event,) = events
    print(f"{event.seconds:.3f}")


async def f05() -> None:
    """The device drops every SYN."""
    _dead_network()
    async with SessionManager(connect_timeout=0.2) as manager:
        client = client_for("http://192.0.2.7:80/v2", allow_http=True, retry=ONCE, session=manager)
        with pytest.raises(ConnectionFailed) as failed:
            await client.rooms.get(ROOM_ID)
        assert not failed.value.may_have_executed
        print(failed.value)


async def f12() -> None:
    """Two local ports for three connections: one call fails; once a port is free, calls succeed again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:  # noqa: ASYNC230
        ports.write("40000 40001")
    release = asyncio.Event()

    async def held(link: Link) -> None:
        while True:
            await link.request()
            await release.wait()
            link.answer(200, room())

    async with serve(held, port=50000) as server, client_for(server.base_url, retry=ONCE) as client:
        calls = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(3)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        (failed,) = done
        error = failed.exception()
        assert isinstance(error, ConnectionFailed)
        assert not error.may_have_executed
        release.set()
        await asyncio.gather(*(task for task in calls if task is not failed))
        await client.rooms.get(ROOM_ID)
        assert server.accepted == 2


async def f19(far: str) -> None:
    """The network disappears under an idle connection, without a FIN or RST."""
    async with client_for("http://198.51.100.2:8080/v2", allow_http=True, retry=ONCE, attempt_timeout=0.4) as client:
        await client.rooms.get(ROOM_ID)
        ip("-n", far, "link", "set", "far", "down")
        with pytest.raises(CreateOutcomeUnknown) as failed:
            await client.rooms.create(name="Stand-up", on_unknown="strict")
        print(failed.value)


async def serve_for_ever() -> None:
    async with serve(GOOD, host="198.51.100.2", port=8080):
        print("ready", flush=True)
        await asyncio.Event().wait()


def _dead_network() -> None:
    """Create a network on which 192.0.2.7 has a link-layer address but no host."""
    ip("link", "add", "dead0", "type", "veth", "peer", "name", "dead1")
    ip("address", "add", "192.0.2.1/24", "dev", "dead0")
    ip("link", "set", "dead0", "up")
    ip("link", "set", "dead1", "up")
    ip("neighbour", "add", "192.0.2.7", "lladdr", "02:00:00:00:00:07", "dev", "dead0")


def _keep(events: list[AttemptEvent]) -> Callable[[object], None]:
    return lambda event: events.append(event) if isinstance(event, AttemptEvent) else None


if __name__ == "__main__":
    scene: Callable[..., Coroutine[Any, Any, None]] = globals()[sys.argv[1]]
    asyncio.run(scene(*sys.argv[2:]))
