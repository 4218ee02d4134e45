"""The coordinator of a job on Taskiq: enqueues the shards, and collects their reports."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Iterable
from typing import Any, Final, Literal

from redis.exceptions import RedisError
from taskiq.abc.result_backend import AsyncResultBackend
from taskiq.exceptions import TaskiqError
from taskiq.kicker import AsyncKicker
from taskiq_redis import RedisStreamBroker

from videoapi.bulk import BulkProgress, BulkReport
from videoapi.client import VideoClient
from videoapi.creation.create_request import new_reference
from videoapi.errors import CallTimeout, ConnectionFailed
from videoapi.models.rooms import RoomSpec
from videoapi.redis.leases import TTL, RedisLeases
from videoapi.sharding.job import JobSettings, ShardedJob, processes_from_environment, show_progress, with_report
from videoapi.taskiq.broker import CREATE_SHARD, TICK, queue_settings

log: logging.Logger = logging.getLogger(__name__)

_LOOK: Final = 0.5
_TICKS: Final = 20
"""How often unacknowledged shards are looked for within the redelivery time."""
_TRIP: Final = 10.0
_PAUSE: Final = 5.0
_AWAY: Final = 120.0


async def create_rooms_on_taskiq(
    client: VideoClient,
    broker: RedisStreamBroker,
    specs: Iterable[RoomSpec],
    *,
    job_id: str | None = None,
    new: bool = False,
    rate: str | None = None,
    processes: int | None = None,
    shard_size: int | None = None,
    lease_ttl: float = TTL,
    timeout: float | None = None,
    validate: bool = True,
    on_unknown: Literal["resend", "strict"] = "resend",
    audit: bool = True,
    progress: BulkProgress | None = None,
) -> BulkReport:
    """Create many rooms on Taskiq workers, each at most once, and report one outcome per input.

    If a worker dies or is stopped, another worker takes over its shard. If the coordinator itself dies, call this again
    with the same `job_id`.

    Args:
        client: Checks the specs, and audits the result.
        broker: The result of `rooms_broker()`, with the same arguments as in the workers.
        specs: The rooms to create, each with a `key` of its own.
        job_id: Name of the job, as in `rooms.create_many`; by default a new one.
        new: Whether this `job_id` was never used before. If false, each shard looks for rooms of an earlier run before
            it creates any, and each worker process first waits one settle time.
        rate: Rate of the account for all processes together, such as `200/s`; by default VIDEOAPI_RATE. It limits the
            size of a shard.
        processes: Number of worker processes; by default VIDEOAPI_PROCESSES, or 1.
        shard_size: Rooms per shard; by default at most 250, and as many as rate and redelivery time allow.
        lease_ttl: Seconds after which another worker may take over the shard of a worker that no longer responds.
        timeout: Limit for the whole job, in seconds; none by default. The workers continue after it.
        validate: False skips client-side validation, for a white-label's own keys and values.
        on_unknown: As in `rooms.create_many`.
        audit: Whether to call `rooms.audit` at the end: it waits one settle time, and reads the list of rooms at most
            twice.
        progress: Function or coroutine function, called with the merged report after each shard.

    Returns:
        The merged report of all shards. Inputs that were not reported within `timeout` are `unknown`.

    Raises:
        ConfigurationError: If a shard would take longer than the redelivery time, a lease is too short, or a worker has
            other settings; the message says which.
        ConnectionFailed: If Redis did not respond for two minutes. The error carries the report as `.report`; call this
            again with the same `job_id`.
    """
    queue = queue_settings(broker)
    settings = JobSettings(
        job_id=job_id or new_reference(),
        new=new or job_id is None,
        rate=rate or os.environ.get("VIDEOAPI_RATE"),
        processes=processes or processes_from_environment(),
        shard_size=shard_size,
        redelivery=queue.redelivery,
        ttl=lease_ttl,
        validate=validate,
        on_unknown=on_unknown,
    )
    job = ShardedJob(client, specs, settings)
    async with RedisLeases(queue.url, settings.job_id, ttl=lease_ttl) as leases:
        await job.begin(leases)
        try:
            await _TaskiqRun(broker, leases, job, progress).to_end(timeout)
            return await job.finish(audit=audit)
        except BaseException as error:
            raise with_report(error, await job.finish(audit=False)) from None


class _TaskiqRun:
    """The queue's part of one run of a coordinator.

    Args:
        broker: The broker.
        leases: The leases of the job.
        job: The job.
        progress: Called after each shard.
    """

    def __init__(
        self, broker: RedisStreamBroker, leases: RedisLeases, job: ShardedJob, progress: BulkProgress | None
    ) -> None:
        self._broker = broker
        self._leases = leases
        self._job = job
        self._progress = progress
        # Reports of an earlier run may have failures, which this one is to repeat.
        self._run_id = secrets.token_hex(8)
        self._enqueued: set[str] = set()
        self._next_tick = 0.0

    async def to_end(self, timeout: float | None) -> None:
        """Enqueue the shards, and wait for their reports.

        Raises:
            ConnectionFailed: If Redis could not be used for two minutes.
            ConfigurationError: If a worker cannot run the job.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while self._job.is_open:
                    found = await self._look_again()
                    if found:
                        await show_progress(self._progress, self._job.report)
                    else:
                        await asyncio.sleep(_LOOK)
        except TimeoutError:
            if not limit.expired():
                raise
            error = CallTimeout(f"The job's timeout of {timeout:g} s ended. Its workers continue.", retryable=True)
            self._job.report.stopped = error

    async def _look_again(self) -> int:
        """Enqueue and collect until Redis answers; return the number of reports.

        Raises:
            ConnectionFailed: If it does not for two minutes.
        """
        now = asyncio.get_running_loop().time
        began = now()
        while True:
            try:
                async with asyncio.timeout(_TRIP):
                    return await self._look()
            except (TimeoutError, OSError, RedisError, TaskiqError, ConnectionFailed) as error:
                reason = type(error.__cause__ or error).__name__
            if now() - began > _AWAY:
                # Without its cause, whose frames have the URL of Redis.
                raise ConnectionFailed(
                    f"Redis could not be used for {_AWAY:g} s ({reason}). The workers may still finish the shards that "
                    "they have. Call this again with the same job_id.",
                    retryable=True,
                )
            log.warning("the queue cannot be used (%s); %d shards are open", reason, len(self._job.tasks))
            await asyncio.sleep(_PAUSE)

    async def _look(self) -> int:
        if await self._job.is_forgotten(self._leases):
            log.warning("Redis has lost the queue: %d shards are enqueued again", len(self._job.tasks))
            self._enqueued.clear()
        await self._enqueue()
        await self._tick()
        return await self._collect()

    async def _enqueue(self) -> None:
        missing = [task for task in self._job.tasks if task.shard not in self._enqueued]
        if missing:
            # Makes the group of consumers, if Redis does not have it.
            await self._broker.startup()
        for task in missing:
            message = AsyncKicker[Any, Any](CREATE_SHARD, self._broker, {"ack_type": "manual"})
            await message.with_task_id(self._id(task.shard)).kiq(task.to_dict())
            self._enqueued.add(task.shard)

    async def _tick(self) -> None:
        """Send something new from time to time: only after that, workers look for what is not acknowledged."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_tick:
            self._next_tick = now + max(_LOOK, queue_settings(self._broker).redelivery / _TICKS)
            await AsyncKicker[Any, Any](TICK, self._broker, {}).with_task_id(self._id("tick")).kiq()

    async def _collect(self) -> int:
        found = 0
        results: AsyncResultBackend[Any] = self._broker.result_backend
        for task in self._job.tasks:
            if await results.is_result_ready(self._id(task.shard)):
                self._job.add(task.shard, (await results.get_result(self._id(task.shard))).return_value)
                found += 1
        return found

    def _id(self, name: str) -> str:
        return f"{self._run_id}:{name}"
