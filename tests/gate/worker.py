"""One of the processes that share an account: singles, bulk runs and streams for some seconds, then a report."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from typing import Any

from videoapi import AttemptEvent, Gate, RedisGate, SessionManager, TokenSpec, VideoClient
from videoapi.redis import gate as redis_gate


class Trips:
    """Counts the round trips to Redis, and how long they take."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        original = redis_gate._AccountGate._run

        async def counted(gate: Any, want: int, pause: float) -> Any:
            began = time.perf_counter()
            try:
                return await original(gate, want, pause)
            finally:
                self.seconds.append(time.perf_counter() - began)

        redis_gate._AccountGate._run = counted  # type: ignore[method-assign]


class Work:
    """What the process does, and what became of it."""

    def __init__(self, client: VideoClient, room_id: str, ends: float, seed: int) -> None:
        self.client = client
        self.room_id = room_id
        self.ends = ends
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.seconds: list[float] = []

    async def singles(self) -> None:
        while time.time() < self.ends:
            began = time.perf_counter()
            await self._try("single", self.client.rooms.get(self.room_id))
            self.seconds.append(time.perf_counter() - began)
            await asyncio.sleep(self.random.uniform(0, 0.05))

    async def steady(self, calls: float) -> None:
        """Call this often a second on average, whatever the earlier calls do."""
        async with asyncio.TaskGroup() as group:
            while time.time() < self.ends:
                group.create_task(self._try("single", self.client.rooms.get(self.room_id)))
                await asyncio.sleep(self.random.expovariate(calls))

    async def bulk(self) -> None:
        while time.time() < self.ends:
            specs = [
                TokenSpec(self.room_id, name=f"User {n}", role="participant", user_ref=f"u-{n}") for n in range(50)
            ]
            report = await self._try("bulk", self.client.tokens.create_many(specs, concurrency=16))
            if report is not None:
                self.done["item"] += report.counts["created"]
                rest = (*report.failures, *report.unknown, *report.not_sent)
                self.failed.update(f"item: {outcome.status}: {outcome.error}" for outcome in rest)

    async def streams(self) -> None:
        while time.time() < self.ends:
            await self._try("stream", self.client.rooms.list().to_list())
            await asyncio.sleep(self.random.uniform(0, 0.2))

    async def _try(self, kind: str, call: Any) -> Any:
        try:
            result = await call
        except Exception as error:
            self.failed[f"{kind}: {type(error).__name__}: {error}"] += 1
            return None
        self.done[kind] += 1
        return result


async def main(task: dict[str, Any]) -> dict[str, Any]:
    trips = Trips()
    gate: Gate | None = None
    if task["redis"]:
        gate = RedisGate(task["redis"], processes=task["processes"])
    waited: list[float] = []
    sent: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, AttemptEvent):
            waited.append(event.waited)
            sent.append(time.time() - event.seconds)

    async with (
        SessionManager(max_connections=32) as manager,
        VideoClient(
            *(task["app_id"], os.environ["WORKER_KEY"], task["base_url"]),
            session=manager,
            rate=task["rate"],
            gate=gate,
            listeners=[listen],
            timeout=30,
        ) as client,
    ):
        await client.warm_up()
        # All begin at the same time.
        print("ready", file=sys.stderr, flush=True)
        begins = float(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.sleep(max(0.0, begins - time.time()))
        work = Work(client, task["room_id"], begins + task["seconds"], task["seed"])
        async with asyncio.TaskGroup() as group:
            if task["calls"] is not None:
                group.create_task(work.steady(task["calls"]))
            else:
                for _ in range(4):
                    group.create_task(work.singles())
                for kind in (work.bulk, work.streams):
                    group.create_task(kind())
        stats = client.stats()
    return {
        "done": work.done,
        "failed": work.failed,
        "trips": trips.seconds,
        "waited": waited,
        "sent": sent,
        "seconds": work.seconds,
        "gate": stats.gate,
    }


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(relativeCreated)d %(message)s")
    logging.getLogger("videoapi.pipeline.outage").setLevel(logging.INFO)
    json.dump(asyncio.run(main(json.loads(sys.argv[1]))), sys.stdout)
