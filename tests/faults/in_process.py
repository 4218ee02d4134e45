"""Scenes that the tests run in a separate process: `python in_process.py SCENE ARGUMENTS`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

from support.clients import ONCE, call, client_for
from support.server import Link, answer, repeating, room, serve

from videoapi import CallTimeout, ConfigurationError, RoomSpec, VideoClient
from videoapi.creation.journal import Entry, Journal


async def forked() -> None:
    """Use a client in a forked child of the process that created it."""
    async with serve(repeating(answer(200, room()))) as server, client_for(server.base_url) as client:
        await call(client, "get")
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(call(client, "get"))
            except ConfigurationError as error:
                print(error, flush=True)
                os._exit(0)
            os._exit(2)
        status = _wait_status(child)
        # The parent's connection still works.
        await call(client, "get")
        assert {seen.connection for seen in server.requests} == {1}
        assert len(server.requests) == 2
    assert os.waitstatus_to_exitcode(status) == 0


def _wait_status(child: int) -> int:
    return os.waitpid(child, 0)[1]


def loop_ended(operation: str) -> None:
    """End the loop while unawaited calls are in flight."""

    async def forever(client: VideoClient) -> None:
        async with client:
            await call(client, operation)

    async def main(port: int) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(forever(client_for(f"http://127.0.0.1:{port}/v2"))) for _ in range(3)]
        await asyncio.sleep(0.1)
        return tasks

    # The kernel accepts the connections; no process responds.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tasks = asyncio.run(main(listening.getsockname()[1]))
    print("ended", sum(task.cancelled() for task in tasks))


async def job(base_url: str, app_id: str, app_key: str, journal: str, count: str, settle: str) -> None:
    """Run a job of creates to completion."""
    specs = [RoomSpec(name="A", key=f"row-{n}") for n in range(int(count))]
    async with VideoClient(app_id, app_key, base_url, settle=float(settle)) as client:
        report = await client.rooms.create_many(specs, job_id="job", journal=journal or None, concurrency=8)
    print(dict(report.counts), len(report.duplicates), len(report.missing), report.stopped)


async def torn(base_url: str, app_id: str, app_key: str, journal: str) -> None:
    """Exit after the fifth create was written to the journal, before it is sent."""
    intend = Journal.intend
    written: list[str] = []

    async def exit_at_fifth(self: Journal, reference: str, identity: bytes, spec: bytes) -> Entry | None:
        entry = await intend(self, reference, identity, spec)
        written.append(reference)
        if len(written) == 5:
            os._exit(9)
        return entry

    Journal.intend = exit_at_fifth  # type: ignore[method-assign]
    specs = [RoomSpec(name="A", key=f"row-{n}") for n in range(10)]
    async with VideoClient(app_id, app_key, base_url) as client:
        await client.rooms.create_many(specs, job_id="job", journal=journal, concurrency=1)


async def clock(dial: str, jump: str) -> None:
    """Change the wall clock during calls; check that timeouts follow the monotonic clock."""

    def set_clock(to: str = jump) -> None:
        Path(dial).write_text(to)

    async def slow(link: Link) -> None:
        await link.request()
        await asyncio.sleep(0.15)
        set_clock()
        await asyncio.sleep(0.15)
        link.answer(200, room())
        await link.drain()

    async def silent(link: Link) -> None:
        await link.request()
        await asyncio.sleep(0.1)
        set_clock()
        await link.gone()

    wall = time.time()
    async with serve(slow) as server, client_for(server.base_url, retry=ONCE, attempt_timeout=2) as client:
        await call(client, "get")
    set_clock("+0")
    began = time.monotonic()
    async with serve(silent) as server, client_for(server.base_url, retry=ONCE, attempt_timeout=0.3) as client:
        try:
            await call(client, "get")
        except CallTimeout:
            lasted = time.monotonic() - began
    assert 0.25 < lasted < 2, lasted
    assert abs(time.time() - wall) > 1800, "the clock did not change"
    print("on time")


def main(scene: str, *arguments: str) -> None:
    scenes = {"forked": forked, "ended": loop_ended, "job": job, "torn": torn, "clock": clock}
    coroutine = scenes[scene](*arguments)  # type: ignore[operator]
    if coroutine is not None:
        asyncio.run(coroutine)


if __name__ == "__main__":
    main(*sys.argv[1:])
