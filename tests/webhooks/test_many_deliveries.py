"""Thousands of deliveries to a receiver in a process of its own, which is ended or killed in the middle.

Some are repeated, some are not events, and some handlers fail or stall. Each event that was answered 200 is handled
once or reported, and none is handled twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import attrs
import pytest

from .receiver_process import AUTH

SCRIPT = Path(__file__).with_name("receiver_process.py")
AT_ONCE = 48
HEADERS = {"Authorization": aiohttp.encode_basic_auth(*AUTH), "Content-Type": "text/plain"}
NOT_EVENTS = (b"", b"{", b"[1]", b'{"type": ""}', b"\xff", b'{"conf_num": "x"}')
SIZES = [pytest.param(500, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.scale)]


@attrs.define
class Sent:
    """What was posted, and how it was answered."""

    seconds: list[float] = attrs.field(factory=list)
    statuses: Counter[int | str] = attrs.field(factory=Counter)
    accepted: Counter[str] = attrs.field(factory=Counter)

    def quantile(self, share: float) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * share)]


def deliveries(count: int, rng: random.Random) -> list[tuple[str | None, bytes]]:
    """Return bodies with the session of each: 1 % are not events, 20 % repeat an earlier one."""
    made: list[tuple[str | None, bytes]] = []
    bodies: list[tuple[str, bytes]] = []
    for number in range(count):
        luck = rng.random()
        if luck < 0.01:
            made.append((None, rng.choice(NOT_EVENTS)))
        elif luck < 0.21 and bodies:
            # Most repetitions come soon.
            made.append(rng.choice(bodies[-200:] if rng.random() < 0.8 else bodies))
        else:
            conf_num = f"c{number}"
            room = rng.choices(("works", "fails", "fails-once", "stalls"), (95, 1, 2, 2))[0]
            fields = {"type": "roomdrop", "conf_num": conf_num, "room_id": room, "trans_date": str(1769860800 + number)}
            bodies.append((conf_num, json.dumps(fields).encode()))
            made.append(bodies[-1])
    return made


class Receiver:
    """The process, which can be ended and started again."""

    def __init__(self, results: Path, *, durable: bool) -> None:
        self.results = results
        self._mode = "durable" if durable else "memory"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, str(SCRIPT), str(self.results), str(self.port), self._mode]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            assert await self._process.stdout.readline() == b"ready\n"

    async def end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        async with asyncio.timeout(60):
            return await process.wait()

    def rows(self) -> list[tuple[str, str]]:
        with contextlib.closing(sqlite3.connect(self.results)) as db:
            return db.execute("SELECT conf_num, outcome FROM handled").fetchall()

    def pending(self) -> int:
        """Return how many events the store has that are not handled."""
        with contextlib.closing(sqlite3.connect(self.results)) as db:
            (found,) = db.execute("SELECT count(*) FROM events WHERE until IS NULL").fetchone()
            return int(found)


@contextlib.asynccontextmanager
async def receiver(results: Path, *, durable: bool) -> AsyncIterator[Receiver]:
    process = Receiver(results, durable=durable)
    await process.start()
    try:
        yield process
    finally:
        if process._process is not None:
            await process.end(signal.SIGKILL)


async def post_all(
    url: str, made: list[tuple[str | None, bytes]], sent: Sent, *, until_answered: Callable[[], bool]
) -> None:
    """Post each body; one without an answer or with a 5xx is posted again while `until_answered` returns true."""
    queue = iter(made)

    async def work(session: aiohttp.ClientSession) -> None:
        for conf_num, body in queue:
            while True:
                status = await post_once(session, url, conf_num, body, sent)
                if (isinstance(status, int) and status < 500) or not until_answered():
                    break
                await asyncio.sleep(0.05)

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))


async def post_once(
    session: aiohttp.ClientSession, url: str, conf_num: str | None, body: bytes, sent: Sent
) -> int | str:
    began = time.monotonic()
    try:
        async with session.post(url, data=body, headers=HEADERS) as response:
            status: int | str = response.status
            sent.seconds.append(time.monotonic() - began)
    except (aiohttp.ClientError, OSError):
        status = "no answer"
    sent.statuses[status] += 1
    if conf_num is None:
        assert status in (400, 503, "no answer")
    else:
        assert status in (200, 503, "no answer")
        sent.accepted[conf_num] += status == 200
    return status


async def when(sent: Sent, count: int) -> None:
    while sent.statuses[200] < count:
        await asyncio.sleep(0.005)


def summary(what: str, sent: Sent, rows: list[tuple[str, str]]) -> str:
    outcomes = Counter(outcome for _, outcome in rows)
    return (
        f"\n{what}: {sum(sent.statuses.values()):,} posted, {dict(sent.statuses)}; "
        f"{sum(1 for count in sent.accepted.values() if count):,} sessions accepted; {dict(outcomes)}; answer "
        f"p50 {sent.quantile(0.5) * 1000:.1f} ms, p99 {sent.quantile(0.99) * 1000:.1f} ms, "
        f"most {max(sent.seconds) * 1000:.1f} ms"
    )


@pytest.mark.parametrize("count", SIZES)
async def test_sigterm_in_the_middle_drains(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, sent = deliveries(count, random.Random(7)), Sent()
    async with receiver(tmp_path / "results.sqlite", durable=False) as process:
        ending = asyncio.Event()
        deliver = post_all(process.url, made, sent, until_answered=lambda: not ending.is_set())
        posting = asyncio.create_task(deliver)
        await when(sent, count // 2)
        ending.set()
        assert await process.end(signal.SIGTERM) == 0
        await posting
        rows = process.rows()
    with capsys.disabled():
        print(summary("SIGTERM, in memory", sent, rows))
    outcomes = Counter(conf_num for conf_num, _ in rows)
    # Each one that was answered 200 was handled or reported, and none twice.
    assert {conf_num for conf_num, accepted in sent.accepted.items() if accepted} <= outcomes.keys()
    assert set(outcomes.values()) == {1}
    assert not [outcome for _, outcome in rows if outcome not in ("done", "reported RuntimeError")]
    assert sent.statuses[200] >= count // 2
    assert sent.quantile(0.99) < 5


@pytest.mark.parametrize("count", SIZES)
async def test_killed_receiver_with_a_store_loses_nothing_and_repeats_nothing(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, sent = deliveries(count, random.Random(8)), Sent()
    async with receiver(tmp_path / "results.sqlite", durable=True) as process:
        posting = asyncio.create_task(post_all(process.url, made, sent, until_answered=lambda: True))
        for part, how in ((4, signal.SIGKILL), (2, signal.SIGTERM), (1.5, signal.SIGKILL)):
            await when(sent, int(count / part))
            await process.end(how)
            await process.start()
        await posting
        while process.pending():
            await asyncio.sleep(0.05)
        assert await process.end(signal.SIGTERM) == 0
        rows = process.rows()
    with capsys.disabled():
        print(summary("SIGKILL twice, SIGTERM twice, SQLite", sent, rows))
    done = Counter(conf_num for conf_num, outcome in rows if outcome == "done")
    reported = {conf_num for conf_num, outcome in rows if outcome == "reported RuntimeError"}
    expected = {conf_num for conf_num, _ in made if conf_num is not None}
    assert set(done.values()) == {1}
    assert done.keys() | reported == expected
    assert not done.keys() & reported
    fails = {conf_num for conf_num, body in made if conf_num is not None and b'"fails"' in body}
    assert reported == fails
    assert sent.quantile(0.99) < 5
