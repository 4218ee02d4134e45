"""A job on several worker processes that are stopped and killed, with a queue that delivers again; and the judge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
from support.redis_server import RedisServer

from videoapi import BulkReport, RedisLeases, RoomSpec, VideoClient
from videoapi.sandbox import Sandbox

WORKER = Path(__file__).with_name("worker.py")
SETTLE = 0.8
ATTEMPT = 0.6
TTL = 3.0
STOPPED = 5.0
"""Longer than a lease lasts, so that another worker takes up the shard while the first one is stopped."""


class Worker:
    """One worker process, started again when it was killed."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = json.dumps(options)
        self.process: asyncio.subprocess.Process | None = None
        self.shard: int | None = None

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(WORKER), self._options), stdin=pipe, stdout=pipe, limit=2**24
        )

    async def run(self, shard: int) -> dict[str, Any] | None:
        """Return what became of a shard; None if the worker was killed."""
        if self.process is None or self.process.returncode is not None:
            await self.start()
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        self.shard = shard
        try:
            process.stdin.write(b"%d\n" % shard)
            await process.stdin.drain()
            line = await process.stdout.readline()
        except ConnectionError:
            line = b""
        finally:
            self.shard = None
        if not line:
            await process.wait()
            return None
        answer: dict[str, Any] = json.loads(line)
        assert answer["shard"] == shard
        return answer

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, number)

    async def aclose(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@attrs.define
class Result:
    """What became of a job."""

    twice: int
    lost: int
    checks_left: int
    report: BulkReport
    told_of: int
    """How many rooms the merged report names that exist."""
    stops: int
    kills: int
    lease_losses: int


class Job:
    """A job of equal shards.

    Args:
        sandbox: The service.
        redis: Keeps the leases.
        shards: The number of shards.
        size: Rooms of each.
        workers: The number of processes.
        fenced: Whether the runs have the fence.
        concurrency: Creates in flight in one run.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        redis: RedisServer,
        *,
        shards: int,
        size: int,
        workers: int,
        fenced: bool = True,
        concurrency: int = 2,
    ) -> None:
        self.sandbox, self.redis = sandbox, redis
        self.shards, self.size = shards, size
        self.workers: list[Worker] = []
        self.reports: dict[int, BulkReport] = {}
        self.stops = self.kills = self.lease_losses = 0
        self._count = workers
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._done = asyncio.Event()
        self._options = {
            "app_id": sandbox.app_id,
            "app_key": sandbox.app_key,
            "base_url": sandbox.base_url,
            "redis": redis.url,
            "settle": SETTLE,
            "attempt_timeout": ATTEMPT,
            "ttl": TTL,
            "size": size,
            "fenced": fenced,
            "concurrency": concurrency,
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the job during the body, and after it until all shards have ended."""
        async with RedisLeases(self.redis.url, "j", ttl=TTL) as leases:
            self._options["nonce"] = await leases.begin(new=True)
        self.workers = [Worker(self._options) for _ in range(self._count)]
        for shard in range(self.shards):
            self._queue.put_nowait(shard)
        serving = [asyncio.create_task(self._serve(worker)) for worker in self.workers]
        try:
            yield
            await self._done.wait()
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            for worker in self.workers:
                worker.signal(signal.SIGCONT)
                await worker.aclose()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    async def _serve(self, worker: Worker) -> None:
        while True:
            shard = await self._queue.get()
            if shard in self.reports:
                continue
            answer = asyncio.ensure_future(worker.run(shard))
            while not (await asyncio.wait([answer], timeout=TTL))[0]:
                # As a queue does whose redelivery time has passed; the first worker may still run.
                self._queue.put_nowait(shard)
            self._received(shard, answer.result())

    def _received(self, shard: int, answer: dict[str, Any] | None) -> None:
        document = None if answer is None else answer.get("report")
        report = None if document is None else BulkReport.from_dict(document)
        if report is not None and report.stopped is not None:
            self.lease_losses += type(report.stopped).__name__ == "LeaseLost"
        if report is not None and report.counts == {"created": self.size}:
            self.reports.setdefault(shard, report)
        elif shard not in self.reports:
            asyncio.get_running_loop().call_later(0.2, self._queue.put_nowait, shard)
        if len(self.reports) == self.shards:
            self._done.set()

    async def stop(self, worker: Worker, seconds: float = STOPPED) -> None:
        """Stop a worker for some time."""
        self.stops += 1
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.signal(signal.SIGCONT)

    def kill(self, worker: Worker) -> None:
        """Kill a worker."""
        self.kills += 1
        worker.signal(signal.SIGKILL)

    async def disturb(self, seed: int, every: float) -> None:
        """Stop and kill busy workers in turn, until the job has ended."""
        chance = random.Random(seed)
        stopped: set[asyncio.Task[None]] = set()
        while not self.ended:
            await asyncio.sleep(every * chance.uniform(0.7, 1.3))
            busy = [worker for worker in self.workers if worker.shard is not None]
            if busy and not self.ended:
                if chance.random() < 0.6:
                    stopped.add(asyncio.create_task(self.stop(chance.choice(busy))))
                else:
                    self.kill(chance.choice(busy))
        await asyncio.gather(*stopped)

    async def result(self) -> Result:
        """Wait until a worker that wakes late could have sent its creates, and count."""
        ledger = self.sandbox.ledger
        async with VideoClient(
            self.sandbox.app_id, self.sandbox.app_key, self.sandbox.base_url, settle=SETTLE
        ) as client:
            specs = [RoomSpec(f"Room {number}", key=number) for number in range(self.shards * self.size)]
            audit = await client.rooms.audit("j", specs)
        merged = BulkReport.merge(self.reports.values())
        names = [room["name"] for room in ledger.rooms.values() if "self-check" not in str(room["name"])]
        assert audit.audited is not None
        assert len(audit.duplicates) == len(names) - len(set(names))
        return Result(
            twice=len(names) - len(set(names)),
            lost=len({f"Room {number}" for number in range(self.shards * self.size)} - set(names)),
            checks_left=len(ledger.rooms) - len(names),
            report=merged,
            told_of=len({row.room_id for row in merged.made} & set(ledger.rooms)),
            stops=self.stops,
            kills=self.kills,
            lease_losses=self.lease_losses,
        )
