"""`client.stats()`: before the first call, while calls run and wait, and after the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import attrs
import pytest
from support.clients import APP_KEY, ONCE, client_for
from support.server import ROOM_ID, Link, answer, repeating, room, serve

from videoapi import ClientStats, CreateOutcomeUnknown, RateLimited, RoomSpec, SessionManager, VideoClient
from videoapi.creation.creator import OnUnknown
from videoapi.sandbox import Sandbox


class Gatekeeper:
    """A server that answers once it is released."""

    def __init__(self) -> None:
        self.waiting = 0
        self.release = asyncio.Event()

    async def __call__(self, link: Link) -> None:
        while True:
            await link.request()
            self.waiting += 1
            await self.release.wait()
            link.answer(200, room())


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


def test_stats_work_outside_of_any_event_loop_and_before_the_first_call() -> None:
    stats = VideoClient("id", "key", session=SessionManager(max_connections=7)).stats()
    assert stats == ClientStats(state="idle", permits_total=7, retry_budget_left=500.0)


async def test_stats_are_zero_after_the_end() -> None:
    async with serve(repeating(answer(200, room()))) as server, client_for(server.base_url) as client:
        await client.rooms.get(ROOM_ID)
        await client.aclose()
        assert client.stats() == ClientStats(state="closed")


async def test_closed_client_of_a_shared_manager_is_closed() -> None:
    async with serve(repeating(answer(200, room()))) as server, SessionManager() as manager:
        one, two = (client_for(server.base_url, session=manager) for _ in range(2))
        await one.rooms.get(ROOM_ID)
        await one.aclose()
        assert (one.stats().state, two.stats().state) == ("closed", "open")
        assert two.stats().connections_open == 1


async def test_connections_permits_and_calls_are_counted() -> None:
    gate = Gatekeeper()
    async with (
        serve(gate) as server,
        SessionManager(max_connections=2) as manager,
        client_for(server.base_url, session=manager) as client,
    ):
        calls = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(5)]
        await until(lambda: gate.waiting == 2)
        busy = client.stats()
        assert busy == client.with_options(timeout=1).stats()
        gate.release.set()
        await asyncio.gather(*calls)
        idle = client.stats()
    assert busy == ClientStats(
        state="open",
        connections_open=2,
        permits_total=2,
        permits_in_use=2,
        calls_in_flight=5,
        waiting=3,
        waiting_for_permit=3,
        retry_budget_left=500.0,
    )
    assert idle == attrs.evolve(
        busy, connections_idle=2, permits_in_use=0, calls_in_flight=0, waiting=0, waiting_for_permit=0
    )


async def test_cancelled_and_failed_calls_are_not_in_flight() -> None:
    gate = Gatekeeper()
    async with serve(gate) as server, client_for(server.base_url) as client:
        calls = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(3)]
        await until(lambda: gate.waiting == 3)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        stats = client.stats()
        assert (stats.calls_in_flight, stats.permits_in_use) == (0, 0)


async def test_pause_and_budget_of_the_account_are_shown() -> None:
    throttled = answer(429, {"result": 1}, {"Retry-After": "30"})
    async with serve(repeating(throttled)) as server, client_for(server.base_url, retry=ONCE, timeout=60) as client:
        with pytest.raises(RateLimited):
            await client.rooms.get(ROOM_ID)
        waiting = asyncio.create_task(client.rooms.get(ROOM_ID))
        await until(lambda: client.stats().waiting)
        stats = client.stats()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    assert 20 < stats.pause_left <= 40
    assert (stats.calls_in_flight, stats.waiting, stats.permits_in_use) == (1, 1, 0)
    assert (stats.waiting_for_permit, stats.waiting_for_pause, stats.waiting_for_rate) == (0, 1, 0)


async def test_calls_in_line_behind_the_rate_wait_for_the_rate() -> None:
    async with serve(repeating(answer(200, room()))) as server, client_for(server.base_url, rate="1/min") as client:
        calls = [asyncio.create_task(client.rooms.get(ROOM_ID)) for _ in range(4)]
        await until(lambda: client.stats().waiting_for_rate == 3)
        stats = client.stats()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert (stats.waiting, stats.waiting_for_permit, stats.waiting_for_pause) == (3, 0, 0)


async def test_call_between_two_attempts_is_backing_off() -> None:
    from videoapi import RetryPolicy

    policy = RetryPolicy(attempts=2)
    unavailable = answer(503, b"", {"Retry-After": "30"})
    async with serve(repeating(unavailable)) as server, client_for(server.base_url, retry=policy, timeout=80) as client:
        call = asyncio.create_task(client.rooms.get(ROOM_ID))
        await until(lambda: client.stats().backing_off)
        assert client.stats().retry_budget_left == 490.0
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_open_stream_holds_a_stream_permit() -> None:
    async with Sandbox(seed=7, rooms=50) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
            async with client.rooms.list() as rooms:
                async for _ in rooms:
                    assert client.stats().streams_open == 1
                    break
            assert client.stats().streams_open == 0


async def test_creates_are_in_doubt_until_something_is_proved() -> None:
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.2, timeout=20) as client:
            sandbox.fault("rooms.create", "drop_after", times=2)
            for _ in range(2):
                with pytest.raises(CreateOutcomeUnknown) as lost:
                    await client.rooms.create(name="Stand-up", on_unknown="strict")
            assert client.stats().doubts == 2
            await client.rooms.resolve(lost.value.reference)
            assert client.stats().doubts == 1
            # A create that finds its own room leaves none.
            sandbox.fault("rooms.create", "drop_after", times=1)
            await client.rooms.create(name="Stand-up")
            assert client.stats().doubts == 1
        assert client.stats().doubts == 1


@pytest.mark.parametrize("cancelled", [False, True], ids=["timeout", "cancelled"])
async def test_self_check_room_that_is_cut_off_is_not_in_doubt(cancelled: bool) -> None:
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.2, timeout=1.5) as client:
            sandbox.fault("rooms.create", "drop_before", times=1)
            sandbox.fault("rooms.create", "hang", times=1)
            create = asyncio.create_task(client.rooms.create(name="Stand-up", on_unknown="resend"))
            await until(lambda: sandbox.ledger.requests("rooms.create") == 2)
            if cancelled:
                create.cancel()
            [lost] = await asyncio.gather(create, return_exceptions=True)
            assert isinstance(lost, asyncio.CancelledError if cancelled else CreateOutcomeUnknown)
            # That of the caller.
            assert client.stats().doubts == 1


@pytest.mark.parametrize("on_unknown", ["look", "resend"])
async def test_create_that_looks_for_its_lost_room_is_settling(on_unknown: OnUnknown) -> None:
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=1, timeout=6) as client:
            sandbox.fault("rooms.create", "drop_before")
            create = asyncio.create_task(client.rooms.create(name="Stand-up", on_unknown=on_unknown))
            await until(lambda: client.stats().settling)
            assert client.with_options(timeout=1).stats().settling == 1
            create.cancel()
            await asyncio.gather(create, return_exceptions=True)
            assert client.stats().settling == 0


async def test_resolve_that_waits_for_proof_is_settling() -> None:
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=1, timeout=6) as client:
            await client.rooms.create(name="Known")
            sandbox.fault("rooms.create", "drop_before")
            with pytest.raises(CreateOutcomeUnknown) as lost:
                await client.rooms.create(name="Stand-up", on_unknown="strict")
            resolve = asyncio.create_task(client.rooms.resolve(lost.value.reference))
            await until(lambda: client.stats().settling)
            assert client.stats().calls_in_flight == 0
            assert await resolve is None
            assert client.stats().settling == 0


async def test_run_that_waits_for_proof_is_settling_once() -> None:
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=1) as client:
            sandbox.fault("rooms.create", "drop_before", times=3)
            run = asyncio.create_task(client.rooms.create_many([RoomSpec(f"Class {number}") for number in range(8)]))
            await until(lambda: client.stats().settling)
            assert client.stats().settling == 1
            assert (await run).counts == {"created": 8}
            assert client.stats().settling == 0


async def test_settled_creates_of_a_run_are_not_in_doubt() -> None:
    seen: set[int] = set()
    async with Sandbox(seed=7) as sandbox:
        async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url, settle=0.2) as client:
            sandbox.fault("rooms.create", "drop_after", times=2)
            sandbox.fault("rooms.create", "drop_before", times=2)
            report = await client.rooms.create_many(
                [RoomSpec(f"Class {number}") for number in range(8)],
                progress=lambda report: seen.add(client.stats().doubts),
            )
            assert report.counts == {"created": 8}
            assert max(seen) > 0
            assert client.stats().doubts == 0


async def test_stats_can_be_taken_from_another_thread_while_calls_run() -> None:
    failures: list[BaseException] = []
    ended = threading.Event()

    def watch(client: VideoClient) -> None:
        while not ended.is_set():
            try:
                client.stats()
            except BaseException as error:
                failures.append(error)
                return

    async with serve(repeating(answer(200, room()))) as server, client_for(server.base_url) as client:
        thread = threading.Thread(target=watch, args=(client,))
        thread.start()
        try:
            for _ in range(10):
                await asyncio.gather(*(client.rooms.get(ROOM_ID) for _ in range(20)))
        finally:
            ended.set()
            await asyncio.to_thread(thread.join)
    assert not failures


def test_stats_are_frozen_and_readable_without_secrets() -> None:
    stats = client_for("http://127.0.0.1:1/v2").stats()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.waiting = 1  # type: ignore[misc]
    assert repr(stats).startswith("ClientStats(state='idle', connections_open=0, connections_idle=0, permits_total=64")
    assert APP_KEY not in repr(stats)
