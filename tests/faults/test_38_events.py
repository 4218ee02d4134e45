"""Client-side events: cancellation, closing, signals, crashes, clocks, a blocked loop, a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.clients import ONCE, call, client_for
from support.server import Link, Script, answer, repeating, room, serve
from support.small_disk import small_disk

from videoapi import (
    ConfigurationError,
    CreateOutcomeUnknown,
    RetryPolicy,
    RoomSpec,
    VideoAPIError,
    VideoClient,
)
from videoapi.sandbox import Sandbox

SCENES = Path(__file__).with_name("in_process.py")
SETTLE = 0.2


def process(scene: str, *arguments: object, prefix: tuple[str, ...] = ()) -> list[str]:
    return [*prefix, sys.executable, "-W", "error", str(SCENES), scene, *map(str, arguments)]


def child_env(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


# Cancellation


async def cancel_at_each_step(
    connect: Callable[[], VideoClient], do: Callable[[VideoClient], Awaitable[object]], steps: range
) -> Counter[str]:
    """Cancel after each number of loop iterations in `steps`; return how the calls ended."""
    ends: Counter[str] = Counter()
    for turns in steps:
        before = asyncio.all_tasks()
        async with connect() as client:
            task = asyncio.ensure_future(do(client))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                ends["cancelled"] += 1
            except VideoAPIError as error:
                ends[type(error).__name__] += 1
            else:
                ends["done"] += 1
            for _ in range(3):
                await asyncio.sleep(0)
            # Ignore new tasks of the test server.
            servers = ("serve.<locals>", "_accept_connection")
            leaked = {t for t in asyncio.all_tasks() - before if not any(s in repr(t.get_coro()) for s in servers)}
            assert leaked == set(), leaked
            session = client._manager.pool._api
            if session is not None:
                assert not session.connector._acquired  # type: ignore[union-attr]
                assert client._manager.pool.permits.free == client._manager.pool.max_connections
                assert client._manager.pool.stream_permits.free == client._manager.pool.max_streams
                assert not client._pipeline.timer.limits
    return ends


@pytest.mark.parametrize("operation", ["get", "list", "create", "update"])
async def test_f71_cancelled_while_connecting_sending_reading(operation: str) -> None:
    """F71 | cancelled at each step of connecting, sending, reading | `CancelledError`; nothing leaks | plain"""
    body = {"list": {"result": 0, "rooms": [room()["room"]]}, "update": {"result": 0}}.get(operation, room())
    async with serve(repeating(answer(200, body))) as server:
        ends = await cancel_at_each_step(lambda: client_for(server.base_url), lambda c: call(c, operation), range(40))
    assert set(ends) == {"cancelled", "done"}


@pytest.mark.parametrize("operation", ["get", "create"])
async def test_f71_cancelled_during_a_tls_handshake(operation: str) -> None:
    """F71 | cancelled at each step of a TLS handshake | `CancelledError`; nothing leaks | trustme"""
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    with authority.cert_pem.tempfile() as ca_file:
        async with serve(repeating(answer(200, room())), tls=served) as server:
            ends = await cancel_at_each_step(
                lambda: client_for(server.base_url, ca_file=ca_file), lambda c: call(c, operation), range(0, 60, 2)
            )
    assert ends["cancelled"] > 3
    assert set(ends) <= {"cancelled", "done"}


WAITS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "backoff": (answer(503), {"retry": RetryPolicy(base=60, cap=60)}, "get"),
    "pause": (answer(429, b"", {"Retry-After": "30"}), {}, "get"),
    "rate-limit": (answer(200, room()), {"rate": "1/min"}, "twice"),
    "look": (b"", {}, "create"),
    "settle": (b"", {"settle": 60}, "resend"),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_f71_cancelled_while_waiting(wait: str) -> None:
    """F71 | cancelled in backoff, shared pause, rate limit, lookup, settle | at once; nothing leaks | raw server"""
    data, options, operation = WAITS[wait]

    async def script(link: Link) -> None:
        seen = await link.request()
        while data or seen.method == "GET":
            link.send(data or answer(200, {"result": 0, "rooms": []}))
            await link.drain()
            seen = await link.request()

    async def do(client: VideoClient) -> object:
        if operation == "twice":
            await call(client, "get")
        if operation == "resend":
            return await client.rooms.create(name="Stand-up", on_unknown="resend")
        if operation == "create":
            return await client.rooms.create(name="Stand-up")
        return await call(client, "get")

    async with serve(script) as server, asyncio.timeout(10):
        ends = await cancel_at_each_step(lambda: client_for(server.base_url, **options), do, range(0, 80, 4))
    assert set(ends) == {"cancelled"}


@pytest.mark.parametrize("turns", [0, 3, 8, 12, 16, 20, 30, 60])
async def test_f71_job_cancelled_at_any_step_resumes_from_its_journal(turns: int, tmp_path: Path) -> None:
    """F71 | a job cancelled at any step | its journal has all that was sent; resumed: each room once | sandbox"""
    specs = [RoomSpec(name="A", key=f"row-{n}") for n in range(4)]
    journal = tmp_path / "job.db"
    async with Sandbox(seed=5) as sandbox:
        where = (sandbox.app_id, sandbox.app_key, sandbox.base_url)
        async with VideoClient(*where, settle=SETTLE) as client:
            run = client.rooms.create_many(specs, job_id="job", journal=journal, concurrency=2)
            task = asyncio.create_task(run)
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await check_idle(client, sandbox)
        if journal.exists() and sandbox.ledger.rooms:
            with contextlib.closing(sqlite3.connect(journal)) as database:
                intended = {row[0] for row in database.execute("SELECT reference FROM creates")}
            assert {made["owner_ref"] for made in sandbox.ledger.rooms.values()} <= intended
        async with VideoClient(*where, settle=SETTLE) as client:
            report = await client.rooms.create_many(specs, job_id="job", journal=journal)
        assert report.counts == {"created": 4}
        assert len(sandbox.ledger.rooms) == 4


async def check_idle(client: VideoClient, sandbox: Sandbox) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    session = client._manager.pool._api
    if session is not None:
        assert not session.connector._acquired  # type: ignore[union-attr]
        assert client._manager.pool.permits.free == client._manager.pool.max_connections
    assert not [thread for thread in threading.enumerate() if thread.name == "videoapi-journal"]


# Closing, other loops, other processes


@pytest.mark.parametrize("operation", ["get", "list", "update", "token", "create"])
async def test_f72_closed_with_calls_in_flight(operation: str) -> None:
    """F72 | closed with calls in flight | each ends with an error of this library, none hangs | raw server"""

    async def script(link: Link) -> None:
        await link.request()
        await link.gone()

    async with serve(script) as server, asyncio.timeout(5):
        client = client_for(server.base_url)
        calls = [asyncio.create_task(call(client, operation)) for _ in range(5)]
        while len(server.requests) < 5:
            await asyncio.sleep(0.01)
        await client.aclose()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, VideoAPIError) for end in ends), ends
    if operation == "create":
        assert all(isinstance(end, CreateOutcomeUnknown) for end in ends), ends


async def test_f72_used_after_close() -> None:
    """F72 | used after `aclose()` | `ConfigurationError` that says so; not sent | raw server"""
    async with serve(repeating(answer(200, room()))) as server:
        client = client_for(server.base_url)
        await call(client, "get")
        await client.aclose()
        for operation in ("get", "list", "create", "token"):
            with pytest.raises(ConfigurationError, match="closed"):
                await call(client, operation)
        with pytest.raises(ConfigurationError, match="closed"):
            await client.rooms.create_many([RoomSpec(name="A")])
        assert len(server.requests) == 1
        await client.aclose()


def test_f72_used_from_a_second_loop() -> None:
    """F72 | used from a second event loop | `ConfigurationError`: one client per loop; no hang | raw server"""
    kept: list[VideoClient] = []

    async def first() -> None:
        async with serve(repeating(answer(200, room()))) as server:
            kept.append(client_for(server.base_url))
            await call(kept[0], "get")

    async def second() -> None:
        for operation in ("get", "list", "create"):
            with pytest.raises(ConfigurationError, match="loop"):
                await call(kept[0], operation)
        await kept[0].aclose()

    with asyncio.Runner() as runner:
        runner.run(first())
        with asyncio.Runner() as other:
            with pytest.raises(ConfigurationError, match="loop"):
                other.run(call(kept[0], "get"))
        runner.run(kept[0].aclose())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")
def test_f72_used_after_a_fork() -> None:
    """F72 | used after `fork` | `ConfigurationError` in the child; the parent's connections still work | subprocess"""
    done = subprocess.run(process("forked"), capture_output=True, text=True, timeout=30, check=False, env=child_env())
    assert done.returncode == 0, done.stderr
    assert "one client for each" in done.stdout


@pytest.mark.parametrize("operation", ["get", "list", "create"])
def test_f72_loop_ends_with_calls_in_flight(operation: str) -> None:
    """F72 | the loop ends with calls in flight | no hang, no "never awaited" or "unclosed" warning | `-W error`"""
    done = subprocess.run(
        process("ended", operation), capture_output=True, text=True, timeout=30, check=False, env=child_env()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended 3\n"
    # Of a create that was sent, it is logged that the room may exist.
    logged = r"(rooms\.create ended with an unknown outcome, reference vx[a-z2-7]{26}\n){0,3}"
    assert re.fullmatch(logged if operation == "create" else "", done.stderr)


# Signals and crashes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_f73_command_receives_a_stop_signal(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """F73 | SIGINT, SIGTERM in a bulk run | drains, says how to resume, 130 or 143; resumed: each room once | CLI"""
    pytest.importorskip("click")
    (tmp_path / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(120)))
    with Sandbox(seed=5).in_thread() as sandbox:
        sandbox.fault("rooms.create", "delay", times=None, seconds=0.02)
        environment = child_env(
            VIDEOAPI_BASE_URL=sandbox.base_url, VIDEOAPI_APP_ID=sandbox.app_id, VIDEOAPI_APP_KEY=sandbox.app_key
        )
        command = [sys.executable, "-m", "videoapi.cli", "rooms", "create-many", "rooms.csv", "--job-id", "job"]
        command += ["--journal", "job.db", "--concurrency", "4", "--settle", "0.3"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            try:
                wait_until(lambda: len(sandbox.ledger.rooms) > 10)
                began = time.monotonic()
                running.send_signal(number)
                _, output = running.communicate(timeout=20)
            finally:
                running.kill()
        assert running.returncode == code, output
        assert time.monotonic() - began < 10
        assert "create-many rooms.csv --job-id job" in output
        assert "Traceback" not in output
        assert len(sandbox.ledger.rooms) < 120
        sandbox.clear_faults()
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(sandbox.ledger.rooms) == 120


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def job(sandbox: Sandbox, journal: Path | str, count: int) -> list[str]:
    return process("job", sandbox.base_url, sandbox.app_id, sandbox.app_key, journal, count, SETTLE)


@pytest.mark.parametrize("journalled", [True, False], ids=["journal", "no-local-state"])
@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=[pytest.mark.scale, pytest.mark.slow])])
def test_f74_killed_and_resumed(journalled: bool, kills: int, tmp_path: Path) -> None:
    """F74 | `kill -9` in a bulk run, then resumed; 8 times at scale | each room once, none missing | process"""
    rng = random.Random(kills)
    count = 40 * kills
    journal = tmp_path / "job.db" if journalled else ""
    with Sandbox(seed=5).in_thread() as sandbox:
        sandbox.fault("rooms.create", "delay", times=None, seconds=0.02)
        sandbox.fault("rooms.create", "drop_after", times=None, rate=0.1)
        for kill in range(kills):
            made = len(sandbox.ledger.rooms) + rng.randrange(3, 25)
            with subprocess.Popen(job(sandbox, journal, count), env=child_env()) as running:
                while len(sandbox.ledger.rooms) < min(made, count - 5) and running.poll() is None:
                    time.sleep(0.005)
                running.kill()
            assert running.returncode == -signal.SIGKILL, kill
        sandbox.clear_faults()
        done = subprocess.run(
            job(sandbox, journal, count), env=child_env(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.startswith(f"{{'created': {count}}} 0 0 None"), done.stdout + done.stderr
        references = Counter(made["owner_ref"] for made in sandbox.ledger.rooms.values() if made["name"] == "A")
        assert len(references) == count
        assert set(references.values()) == {1}


# Clocks


@pytest.mark.parametrize("jump", ["+3600", "-3600", "+86400"])
def test_f75_wall_clock_changes(jump: str, tmp_path: Path) -> None:
    """F75 | wall clock changed by an hour or a day in mid-call | no timeout is early or late | faketime

    Suspending the machine also stops the monotonic clock; calls in flight then end when their connection does.
    """
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (apt-get install faketime)")
    dial = tmp_path / "dial"
    dial.write_text("+0")
    environment = child_env(FAKETIME_TIMESTAMP_FILE=str(dial), FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1")
    prefix = ("faketime", "--exclude-monotonic", "-f", "+0", "env", "-u", "FAKETIME")
    done = subprocess.run(
        process("clock", dial, jump, prefix=prefix),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )
    assert done.stdout == "on time\n", done.stderr


async def test_f75_time_zone_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """F75 | the time zone changes in mid-call | no effect: local time is never used | `tzset`"""

    async def script(link: Link) -> None:
        await link.request()
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        await asyncio.sleep(0.05)
        link.answer(200, room(created="2026-03-29T01:30:00.000Z"))
        await link.drain()

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        async with serve(script) as server, client_for(server.base_url, retry=ONCE, attempt_timeout=1) as client:
            found = await client.rooms.get("6571f3c2a1b2c3d4e5f60718")
        assert found.created_at is not None
        assert found.created_at.isoformat() == "2026-03-29T01:30:00+00:00"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


# A blocked event loop


def block_loop(seconds: float) -> None:
    time.sleep(seconds)


@contextlib.contextmanager
def serving_in_a_thread(script: Script) -> Iterator[str]:
    """Run the server in a separate thread and loop; yield the base URL."""
    ready: list[str] = []
    end = threading.Event()

    def run() -> None:
        async def main() -> None:
            async with serve(script) as server:
                ready.append(server.base_url)
                while not end.is_set():
                    await asyncio.sleep(0.01)

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: bool(ready))
        yield ready[0]
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("turns", [1, 3, 5, 7, 9, 12])
@pytest.mark.parametrize("operation", ["get", "create", "list"])
async def test_f76_user_code_blocks_the_loop(operation: str, turns: int, caplog: pytest.LogCaptureFixture) -> None:
    """F76 | user code blocks the loop past `attempt_timeout` | the received response counts; logged | server thread

    Limits scaled: 0.2 s, blocked for 0.3 s.
    """
    body = {"result": 0, "rooms": [room()["room"]]} if operation == "list" else room()
    with serving_in_a_thread(repeating(answer(200, body))) as base_url:
        async with client_for(base_url, retry=ONCE, attempt_timeout=0.2) as client:
            task = asyncio.create_task(call(client, operation))
            for _ in range(turns):
                await asyncio.sleep(0)
            block_loop(0.3)
            assert await task
    if turns < 5:
        assert "Event loop blocked for" in caplog.text


async def test_f76_timeouts_still_fire_on_a_loop_blocked_repeatedly() -> None:
    """F76 | a loop that is blocked repeatedly | a call to a silent server still ends | server thread"""

    async def silent(link: Link) -> None:
        await link.request()
        await link.gone()

    async def blocking() -> None:
        while True:
            block_loop(0.15)
            await asyncio.sleep(0)

    with serving_in_a_thread(silent) as base_url:
        async with client_for(base_url, retry=ONCE, attempt_timeout=0.2) as client:
            blocker = asyncio.create_task(blocking())
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await call(client, "get")
            assert time.monotonic() - began < 2
            blocker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await blocker


# The journal's disk


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=5) as sandbox:
        yield sandbox


def specs(count: int) -> list[RoomSpec]:
    return [RoomSpec(name="A", key=f"row-{n}") for n in range(count)]


def freeze(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def test_f77_journal_disk_is_full(sandbox: Sandbox, tmp_path: Path) -> None:
    """F77 | the journal's disk is full | nothing is sent that is not recorded; resumes on another disk | tmpfs"""
    where = (sandbox.app_id, sandbox.app_key, sandbox.base_url)
    disk = tmp_path / "disk"
    with small_disk(disk, "160k"):
        async with VideoClient(*where, settle=SETTLE) as client:
            report = await client.rooms.create_many(specs(800), job_id="job", journal=disk / "job.db", concurrency=8)
        assert isinstance(report.stopped, ConfigurationError)
        assert "cannot be written" in str(report.stopped)
        assert 0 < report.counts["created"] < 800
        assert sum(report.counts.values()) <= 800
        assert len(sandbox.ledger.rooms) == report.counts["created"]
        for name in os.listdir(disk):
            shutil.copy(disk / name, tmp_path / name)
    with contextlib.closing(sqlite3.connect(tmp_path / "job.db")) as database:
        intended = {row[0] for row in database.execute("SELECT reference FROM creates")}
    assert {made["owner_ref"] for made in sandbox.ledger.rooms.values()} <= intended
    async with VideoClient(*where, settle=SETTLE) as client:
        report = await client.rooms.create_many(specs(800), job_id="job", journal=tmp_path / "job.db")
    assert report.counts == {"created": 800}
    assert len(sandbox.ledger.rooms) == 800


async def test_f77_journal_disk_becomes_read_only(sandbox: Sandbox, tmp_path: Path) -> None:
    """F77 | the journal's disk becomes read-only | not sent; the error names the file | tmpfs, remounted"""
    where = (sandbox.app_id, sandbox.app_key, sandbox.base_url)
    disk = tmp_path / "disk"
    with small_disk(disk, "160k"):
        async with VideoClient(*where, settle=SETTLE) as client:
            await client.rooms.create_many(specs(1), job_id="job", journal=disk / "job.db")
            freeze(disk)
            with pytest.raises(ConfigurationError, match=r"job\.db"):
                report = await client.rooms.create_many(specs(3), job_id="job", journal=disk / "job.db")
                raise report.stopped or AssertionError(report)
        assert len(sandbox.ledger.rooms) == 1


@pytest.mark.parametrize("torn", [0, 1, 100, 4000])
def test_f77_torn_last_line_in_the_journal(torn: int, tmp_path: Path) -> None:
    """F77 | crash that tears the last journal line | the line is ignored; resumed: each room once | bytes cut off"""
    journal = tmp_path / "job.db"
    with Sandbox(seed=5).in_thread() as sandbox:
        where = (sandbox.base_url, sandbox.app_id, sandbox.app_key)
        done = subprocess.run(process("torn", *where, journal), env=child_env(), timeout=30, check=False)
        assert done.returncode == 9
        assert len(sandbox.ledger.rooms) == 4
        log = tmp_path / "job.db-wal"
        if torn:
            os.truncate(log, log.stat().st_size - torn)
        done = subprocess.run(
            job(sandbox, journal, 10), env=child_env(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.startswith("{'created': 10} 0 0 None"), done.stdout + done.stderr
        assert len([made for made in sandbox.ledger.rooms.values() if made["name"] == "A"]) == 10
