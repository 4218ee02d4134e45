"""Requests that may have been sent: the outcome is unknown until the client looks it up."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.clients import APP_ID, APP_KEY, EAGER, OPERATIONS, Skipped, call, client_for
from support.durable import Process, durable
from support.fault_proxy import FaultProxy
from support.namespaces import inside, ip, namespace, why_not
from support.server import ROOM_ID, Link, room, serve

from videoapi import (
    AttemptEvent,
    BulkReport,
    CallTimeout,
    ConnectionFailed,
    CreateOutcomeUnknown,
    RequestRejected,
    RoomSpec,
    VideoAPIError,
    VideoClient,
)
from videoapi.sandbox import Sandbox

SETTLE = 0.3
BIG = {"filler": "x" * 400_000}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=5, app_id=APP_ID, app_key=APP_KEY) as sandbox:
        yield sandbox


def specs(count: int) -> Iterator[RoomSpec]:
    return (RoomSpec(f"Room {number}", key=f"row-{number}") for number in range(count))


def outcomes_match(report: BulkReport, executed: list[str]) -> bool:
    """Return whether every input has one outcome that matches what the service executed."""
    made = [outcome.reference for outcome in report.made]
    not_executed = {outcome.reference for outcome in (*report.failures, *report.not_sent)}
    return (
        report.total == len(made) + len(not_executed) + len(report.unknown)
        and set(made) <= set(executed)
        and not not_executed & set(executed)
    )


@pytest.mark.parametrize("operation", ["update", "create"])
async def test_f13_rst_in_mid_request(operation: str) -> None:
    """F13 | RST after half the body | U: an update is resent in full, a create is not | raw server reads half"""

    async def script(link: Link) -> None:
        if link.number == 1:
            head = await link.reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: 4" in head
            await link.reader.readexactly(200_000)
            link.reset()
            return
        seen = await link.request()
        link.answer(200, room() if seen.method == "POST" else {"result": 0})
        await link.gone()

    async with serve(script) as server, client_for(server.base_url) as client:
        if operation == "create":
            with pytest.raises(CreateOutcomeUnknown):
                await client.rooms.create(name="Big", data=BIG, on_unknown="strict")
            assert server.accepted == 1
        else:
            await client.rooms.update(ROOM_ID, data=BIG)
            (seen,) = server.requests
            assert seen.json["data"] == BIG
            assert server.accepted == 2


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_f14_server_stops_reading() -> None:
    """F14 | zero window while the body is sent | `attempt_timeout` ends it: U | server that never reads"""
    ended = asyncio.Event()

    async def script(link: Link) -> None:
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await ended.wait()

    async with serve(script) as server, client_for(server.base_url, attempt_timeout=0.3) as client:
        async with asyncio.timeout(5):
            with pytest.raises(CreateOutcomeUnknown, match=r"within 0\.3 s \(attempt_timeout\)"):
                await client.rooms.create(name="Big", data={"filler": "x" * 20_000_000}, on_unknown="strict")
        ended.set()
        assert server.accepted == 1


async def test_f15_early_413_and_rst_while_sending() -> None:
    """F15 | early 413, then RST | REJECTED if the 413 was read, else U; nothing else | 413, SO_LINGER 0

    Observed: the status was read in 20 of 20 runs.
    """

    async def script(link: Link) -> None:
        await link.reader.readuntil(b"\r\n\r\n")
        link.answer(413, b"too much", {"Connection": "close"})
        await asyncio.sleep(0.005)
        link.reset()

    ended: list[VideoAPIError] = []
    async with serve(script) as server, client_for(server.base_url) as client:
        for _ in range(20):
            with pytest.raises((RequestRejected, CreateOutcomeUnknown)) as failed:
                await client.rooms.create(name="Big", data=BIG, on_unknown="strict")
            ended.append(failed.value)
        assert server.accepted == 20
    refused = [error for error in ended if isinstance(error, RequestRejected)]
    assert refused
    assert all(error.status == 413 and not error.may_have_executed for error in refused)
    assert all(error.may_have_executed for error in ended if error not in refused)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "reset_before", "reset_after"])
async def test_f16_f17_connection_ends_without_a_response(sandbox: Sandbox, kind: str) -> None:
    """F16 | FIN after the request, executed or not | U; `resolve()` finds out which, the ledger agrees | sandbox
    F17 | RST after the request, executed or not | as F16 | sandbox

    aiohttp raises ServerDisconnectedError or ClientOSError, whether executed or not.
    """
    executed = kind.endswith("after")
    async with client_for(sandbox.base_url, settle=SETTLE) as client:
        await client.rooms.create(name="Control")
        sandbox.fault("rooms.create", kind, times=1)
        with pytest.raises(CreateOutcomeUnknown) as failed:
            await call(client, "create")
        assert failed.value.attempts == 1
        assert failed.value.reference is not None
        assert (len(sandbox.ledger.created) == 2) is executed
        found = await client.rooms.resolve(failed.value.reference)
        assert (found is not None) is executed
        assert sandbox.ledger.requests("rooms.create") == 2


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_f16_f17_read_is_retried_and_create_is_found(sandbox: Sandbox, reset: bool) -> None:
    """F16 | FIN after execution, all kinds of calls | read, update, delete, token retried; create found | proxy
    F17 | RST after execution, all kinds of calls | as F16 | proxy drops the response
    """
    async with FaultProxy(sandbox.base_url) as proxy, client_for(proxy.base_url, settle=SETTLE, timeout=4) as client:
        proxy.add("drop_response", times=1, reset=reset)
        made = await client.rooms.create(name="Stand-up")
        assert [entry.room_id for entry in sandbox.ledger.created] == [made.room_id]
        for operation in ("get", "list", "update", "token", "delete"):
            before = proxy.requests
            proxy.heal()
            proxy.add("drop_response", times=1, reset=reset)
            await call(client, operation, made.room_id)
            assert proxy.requests == before + 2
        # The second attempt found no room, because the first had deleted it.
        assert sandbox.ledger.count("rooms.delete") == 1


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_f18_no_response(operation: str) -> None:
    """F18 | no response | `attempt_timeout` ends the attempt: U | server that reads and waits

    No aiohttp timer is set for this; the client's own deadline fires.
    """

    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(silent) as server, client_for(server.base_url, attempt_timeout=0.1) as client:
        expected = CreateOutcomeUnknown if operation == "create" else CallTimeout
        async with asyncio.timeout(5):
            with pytest.raises(expected) as failed:
                await call(client, operation)
        assert failed.value.may_have_executed
        assert len(server.requests) == failed.value.attempts == {"create": 1, "token": 2}.get(operation, 3)


async def test_f19_server_is_suspended_and_resumes(tmp_path: Path) -> None:
    """F19 | half-open: the peer stops without a FIN | `attempt_timeout` ends it: U; later found | SIGSTOP"""
    async with durable(tmp_path / "rooms") as service:
        async with client_for(service.base_url, attempt_timeout=0.3, settle=SETTLE) as client:
            await client.rooms.create(name="Control")
            service.send_signal(signal.SIGSTOP)
            with pytest.raises(CreateOutcomeUnknown, match=r"within 0\.3 s \(attempt_timeout\)") as failed:
                await call(client, "create")
            service.send_signal(signal.SIGCONT)
            # The resumed server reads the request from its socket buffer.
            assert failed.value.reference is not None
            found = await client.with_options(attempt_timeout=5).rooms.resolve(failed.value.reference)
            assert found is not None
            assert len(service.executed) == 2


def test_f19_peer_network_disappears() -> None:
    """F19 | half-open: the peer's network is gone | `attempt_timeout` ends it: U | link down between two namespaces"""
    if reason := why_not():
        pytest.skip(reason)
    scenes = Path(__file__).with_name("in_namespace.py")
    with namespace("near") as near, namespace("far") as far:
        ip("-n", near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
        for name, device, address in ((near, "near", "198.51.100.1/24"), (far, "far", "198.51.100.2/24")):
            ip("-n", name, "address", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
        server = subprocess.Popen(
            ["ip", "netns", "exec", far, sys.executable, str(scenes), "serve_for_ever"],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        try:
            assert server.stdout is not None
            server.stdout.readline()
            assert "within 0.4 s (attempt_timeout)" in inside(near, scenes, "f19", far)
        finally:
            server.kill()
            server.communicate()


@pytest.mark.parametrize("seconds", [0.1, 0.2])
async def test_f20_late_execution_within_the_settle_time(sandbox: Sandbox, seconds: float) -> None:
    """F20 | late execution within the settle time | found, sent once, no duplicate | proxy delays the request"""
    async with FaultProxy(sandbox.base_url) as proxy, client_for(proxy.base_url, settle=SETTLE) as client:
        proxy.add("delay_request", method="POST", times=3, seconds=seconds)
        report = await client.rooms.create_many(specs(10), concurrency=4)
        assert report.counts == {"created": 10}
        assert not report.duplicates
        assert sandbox.ledger.duplicates() == {}
        assert outcomes_match(report, [str(entry.reference) for entry in sandbox.ledger.created])


async def test_f20_late_execution_after_the_settle_time(sandbox: Sandbox) -> None:
    """F20 | late execution after the settle time (assumption broken) | the audit reports the duplicate | proxy"""
    async with FaultProxy(sandbox.base_url) as proxy, client_for(proxy.base_url, settle=0.2) as client:
        # The first create of a job is the self-check room.
        proxy.add("delay_request", method="POST", after=1, times=1, seconds=0.6)
        report = await client.rooms.create_many([RoomSpec("Late", key="late")], job_id="late", audit=False)
        assert report.counts == {"created": 1}
        await proxy.settle()
        report = await client.rooms.create_many([RoomSpec("Late", key="late")], job_id="late")
        assert report.duplicates == sandbox.ledger.duplicates()
        assert [len(ids) for ids in report.duplicates.values()] == [2]


async def test_f21_idle_connection_closes_while_reused() -> None:
    """F21 | idle close at T ± 1 ms | FIN seen: new connection; else the create is U and not executed | sweep"""
    idle = 0.015
    executed: list[str] = []

    async def script(link: Link) -> None:
        while True:
            async with asyncio.timeout(idle):
                seen = await link.request()
            if seen.method == "POST":
                executed.append(seen.json["owner_ref"])
                link.answer(200, room(owner_ref=seen.json["owner_ref"]))
            else:
                link.answer(200, room())

    async def bounded(link: Link) -> None:
        try:
            await script(link)
        except TimeoutError:
            link.close()

    async with serve(bounded) as server, client_for(server.base_url) as client:
        for step, operation in itertools.product(range(-10, 11, 1), ("get", "create")):
            await client.rooms.get(ROOM_ID)
            await asyncio.sleep(idle + step / 10_000)
            before = len(server.requests)
            (ended,) = await asyncio.gather(call(client, operation), return_exceptions=True)
            if isinstance(ended, BaseException):
                assert isinstance(ended, CreateOutcomeUnknown)
                assert ended.reference not in executed
            assert len(server.requests) - before <= 2
        assert len(executed) == len(set(executed))


async def bulk_create_with_a_kill(service: Process, client: VideoClient, *, lost: int = 0, down: float) -> BulkReport:
    """Run a bulk create while the service is killed, loses its last `lost` rooms, and restarts after `down` seconds."""
    run = asyncio.create_task(client.rooms.create_many(specs(150), concurrency=8, audit="settled"))
    while service.file.stat().st_size < 20_000:
        await asyncio.sleep(0.002)
    await service.kill()
    if lost:
        lines = service.file.read_text().splitlines(keepends=True)
        service.file.write_text("".join(lines[:-lost]))
    await asyncio.sleep(down)
    await service.start()
    return await run


@pytest.mark.parametrize("down", [0.4, pytest.param(3.0, marks=pytest.mark.scale)])
async def test_f22_service_is_killed_in_mid_bulk(tmp_path: Path, down: float) -> None:
    """F22 | SIGKILL of the server mid-bulk, state kept | complete; no duplicates, none lost | durable test service"""
    async with durable(tmp_path / "rooms") as service, client_for(service.base_url, settle=SETTLE) as client:
        report = await bulk_create_with_a_kill(service, client, down=down)
        executed = service.executed
        assert report.counts == {"created": 150}
        assert report.audited
        assert not report.duplicates
        assert not report.missing
        assert len(executed) == len(set(executed)) == 150
        assert outcomes_match(report, executed)


async def test_f23_service_loses_acknowledged_rooms(tmp_path: Path) -> None:
    """F23 | as F22, but the last rooms are lost | the audit lists them in `missing` | state file truncated"""
    async with durable(tmp_path / "rooms") as service, client_for(service.base_url, settle=SETTLE) as client:
        report = await bulk_create_with_a_kill(service, client, lost=12, down=0.3)
        executed = set(service.executed)
        gone = {outcome.reference for outcome in report.made} - executed
        assert gone
        if report.audited:
            assert {outcome.reference for outcome in report.missing} == gone
        assert report.audited
        assert len(service.executed) == len(executed)


async def test_f24_gateway_replays_a_post(sandbox: Sandbox) -> None:
    """F24 | a proxy replays POST | two rooms exist: the audit reports them, `dedupe="delete"` fixes it | proxy"""
    async with FaultProxy(sandbox.base_url) as proxy, client_for(proxy.base_url, settle=SETTLE) as client:
        # The first create of a job is the self-check room.
        proxy.add("replay_request", method="POST", after=1, times=2)
        report = await client.rooms.create_many(specs(10), concurrency=2, job_id="replayed")
        assert report.counts == {"created": 10}
        assert report.duplicates == sandbox.ledger.duplicates()
        assert len(report.duplicates) == 2

        proxy.add("replay_request", method="POST", after=1, times=2)
        report = await client.rooms.create_many(specs(10), concurrency=2, dedupe="delete")
        assert len(report.removed) == 2
        made = {outcome.room_id for outcome in report.made}
        assert made <= sandbox.ledger.rooms.keys()
        assert not made.intersection(report.removed)
        assert len(sandbox.ledger.rooms) == 10 + 2 + 10


OUTAGES = {
    "accepted-then-reset": Link.reset,
    "closed": Link.close,
    "reset-after-the-request": Link.reset,
    "502": lambda link: link.answer(502, b"<html>Bad Gateway</html>"),
    "500": lambda link: link.answer(500, {"result": 50002, "error": "failed"}),
    "429": lambda link: link.answer(429, b""),
    "not-http": lambda link: link.send(b"220 smtp\r\n\r\n"),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_f25_total_outage_is_not_amplified(outage: str) -> None:
    """F25 | all reset, closed, 5xx, not HTTP | N calls send at most N + 50 requests (429: N + 100) | raw server"""
    received = 0

    async def script(link: Link) -> None:
        nonlocal received
        if outage in ("accepted-then-reset", "closed"):
            received += 1
        else:
            await link.request()
            received += 1
        OUTAGES[outage](link)
        await link.drain()
        link.close()

    calls = 300
    async with serve(script) as server, Skipped().manager() as manager:
        client = client_for(server.base_url, session=manager, retry=EAGER)
        ended = await asyncio.gather(
            *(call(client, OPERATIONS[turn % len(OPERATIONS)]) for turn in range(calls)), return_exceptions=True
        )
    assert all(isinstance(error, VideoAPIError) for error in ended)
    limit = calls + 100 if outage == "429" else calls + 50
    assert received <= limit


async def test_f25_all_connections_reset_repeatedly(sandbox: Sandbox) -> None:
    """F25 | 100 connections, all reset repeatedly | reads succeed or fail, within N + 50 | proxy resets all"""
    attempts: list[AttemptEvent] = []

    def keep(event: object) -> None:
        if isinstance(event, AttemptEvent):
            attempts.append(event)

    async with FaultProxy(sandbox.base_url) as proxy:
        async with client_for(proxy.base_url, listeners=[keep], retry=EAGER) as client:

            async def list_five_times() -> list[object]:
                return [await asyncio.gather(client.rooms.list().to_list(), return_exceptions=True) for _ in range(5)]

            tasks = [asyncio.create_task(list_five_times()) for _ in range(60)]
            # Now and then long enough for a call on a busy machine.
            pauses = itertools.cycle([0.02] * 9 + [0.5])
            while not all(task.done() for task in tasks):
                await asyncio.sleep(next(pauses))
                proxy.reset_all()
            done = await asyncio.gather(*tasks)
    results = [result for many in done for (result,) in many]  # type: ignore[attr-defined]
    assert all(isinstance(result, list | ConnectionFailed) for result in results)
    failed = sum(isinstance(result, ConnectionFailed) for result in results)
    assert failed < len(results)
    # The budget refunds retries that succeeded and bounds the others.
    retries = sum(event.attempt > 1 for event in attempts)
    helped = sum(event.attempt > 1 and event.verdict == "done" for event in attempts)
    assert retries <= 2 * helped + 50 + len(results) / 10
