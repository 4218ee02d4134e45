"""Creates of one job on Dask workers; installed by the extra `videoapi[dask]` together with `videoapi[redis]`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, Protocol, cast

import attrs
from distributed import Client, get_worker

from videoapi.bulk import BulkProgress, BulkReport
from videoapi.client import VideoClient
from videoapi.creation.create_request import new_reference
from videoapi.errors import CallTimeout, ConnectionFailed, LeaseHeld, LeaseLost
from videoapi.models.rooms import RoomSpec
from videoapi.redis.leases import TTL, RedisLeases
from videoapi.sharding.job import JobSettings, ShardedJob, processes_from_environment, show_progress, with_report
from videoapi.sharding.worker import ShardTask, ShardWorker, redis_url, worker_client

log: logging.Logger = logging.getLogger(__name__)

REDELIVERY: Final = 600.0
_LOOK: Final = 0.5
_AGAIN: Final = 5.0
_LATER: Final = "later"
_WORKER: Final = "_videoapi_shard_worker"


async def create_rooms_on_dask(
    client: VideoClient,
    cluster: Client,
    specs: Iterable[RoomSpec],
    *,
    redis: str | None = None,
    worker: Callable[[], VideoClient] | None = None,
    job_id: str | None = None,
    new: bool = False,
    rate: str | None = None,
    processes: int | None = None,
    shard_size: int | None = None,
    redelivery: float = REDELIVERY,
    lease_ttl: float = TTL,
    timeout: float | None = None,
    validate: bool = True,
    on_unknown: Literal["resend", "strict"] = "resend",
    audit: bool = True,
    progress: BulkProgress | None = None,
) -> BulkReport:
    """Create many rooms on Dask workers, each at most once, and report one outcome per input.

    If a worker dies, or the scheduler considers it dead, another worker takes over its shard. If the coordinator itself
    dies, call this again with the same `job_id`. Workers read their credentials, and VIDEOAPI_REDIS, from their own
    environment; no task contains them.

    Args:
        client: Checks the specs, and audits the result.
        cluster: A Dask client of the cluster.
        specs: The rooms to create, each with a `key` of its own.
        redis: URL of the Redis server, for this process; by default VIDEOAPI_REDIS.
        worker: A function that returns the client of a worker process, called once in each. The workers must be able to
            import it. By default, the environment of the worker describes its client.
        job_id: Name of the job, as in `rooms.create_many`; by default a new one.
        new: Whether this `job_id` was never used before. If false, each shard looks for rooms of an earlier run before
            it creates any, and each worker process first waits one settle time.
        rate: Rate of the account for all processes together, such as `200/s`; by default VIDEOAPI_RATE. It limits the
            size of a shard.
        processes: Number of worker processes; by default VIDEOAPI_PROCESSES, or 1.
        shard_size: Rooms per shard; by default at most 250, and as many as rate and `redelivery` allow.
        redelivery: Longest duration of a shard, in seconds.
        lease_ttl: Seconds after which another worker may take over the shard of a worker that no longer responds.
        timeout: Limit for the whole job, in seconds; none by default.
        validate: False skips client-side validation, for a white-label's own keys and values.
        on_unknown: As in `rooms.create_many`.
        audit: Whether to call `rooms.audit` at the end: it waits one settle time, and reads the list of rooms at most
            twice.
        progress: Function or coroutine function, called with the merged report after each shard.

    Returns:
        The merged report of all shards. Inputs that were not reported within `timeout` are `unknown`.

    Raises:
        ConfigurationError: If a shard would take too long, a lease is too short, or a worker has other settings.
        ConnectionFailed: If Redis cannot be used.
    """
    url = redis_url(redis)
    # Error reporters store the variables of the frames of an error.
    del redis
    settings = JobSettings(
        job_id=job_id or new_reference(),
        new=new or job_id is None,
        rate=rate or os.environ.get("VIDEOAPI_RATE"),
        processes=processes or processes_from_environment(),
        shard_size=shard_size,
        redelivery=redelivery,
        ttl=lease_ttl,
        validate=validate,
        on_unknown=on_unknown,
    )
    job = ShardedJob(client, specs, settings)
    async with RedisLeases(url, settings.job_id, ttl=lease_ttl) as leases:
        await job.begin(leases)
        run = _DaskRun(cluster, worker or worker_client, leases, job, progress)
        try:
            await run.to_end(timeout)
            return await job.finish(audit=audit)
        except BaseException as error:
            raise with_report(error, await job.finish(audit=False)) from None
        finally:
            await run.release()


async def create_shard(task: dict[str, Any], client: Callable[[], VideoClient]) -> dict[str, Any]:
    """Create the rooms of a shard in a Dask worker, and return its report as a mapping of JSON values."""
    # Dask awaits coroutine functions in the worker's own event loop; so all of its shards share one client.
    process = get_worker()
    worker: ShardWorker | None = getattr(process, _WORKER, None)
    if worker is None:
        worker = ShardWorker(client(), redis_url())
        setattr(process, _WORKER, worker)
    try:
        return await worker.run(ShardTask(**task))
    except (LeaseHeld, LeaseLost, ConnectionFailed) as error:
        return {_LATER: str(error)}


class _Future(Protocol):
    """What is used of Dask's futures, which have no types."""

    status: str

    def done(self) -> bool: ...

    def result(self) -> Any: ...


@attrs.define
class _Submitted:
    """A shard at the cluster: its future, or when it is submitted again."""

    future: _Future | None = None
    again_at: float = 0.0


class _DaskRun:
    """The cluster's part of one run of a coordinator.

    Args:
        cluster: The cluster.
        worker: Returns the client of a worker process.
        leases: The leases of the job.
        job: The job.
        progress: Called after each shard.
    """

    def __init__(
        self,
        cluster: Client,
        worker: Callable[[], VideoClient],
        leases: RedisLeases,
        job: ShardedJob,
        progress: BulkProgress | None,
    ) -> None:
        self._cluster = cluster
        self._worker = worker
        self._leases = leases
        self._job = job
        self._progress = progress
        self._submitted: dict[str, _Submitted] = {}

    async def to_end(self, timeout: float | None) -> None:
        """Submit the shards, and wait for their reports.

        Raises:
            ConfigurationError: If a worker cannot run the job.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                while self._job.is_open:
                    self._submit()
                    if await self._collect():
                        await show_progress(self._progress, self._job.report)
                    else:
                        await asyncio.sleep(_LOOK)
        except TimeoutError:
            if not limit.expired():
                raise
            self._job.report.stopped = CallTimeout(f"The job's timeout of {timeout:g} s ended.", retryable=True)

    async def release(self) -> None:
        """Cancel what is not done."""
        futures = [submitted.future for submitted in self._submitted.values() if submitted.future is not None]
        cancelled = cast(Any, self._cluster).cancel(futures)
        if inspect.isawaitable(cancelled):
            await cancelled

    def _submit(self) -> None:
        now = asyncio.get_running_loop().time()
        for task in self._job.tasks:
            submitted = self._submitted.setdefault(task.shard, _Submitted())
            if submitted.future is None and now >= submitted.again_at:
                # A key of its own: Dask remembers the failure of a key.
                key = f"videoapi-{task.shard}-{secrets.token_hex(8)}"
                future = self._cluster.submit(create_shard, task.to_dict(), self._worker, key=key, pure=False)
                submitted.future = cast(_Future, future)

    async def _collect(self) -> int:
        found = 0
        for shard, submitted in self._submitted.items():
            future = submitted.future
            if future is None or not future.done():
                continue
            submitted.future = None
            fields = await self._result(shard, future)
            if _LATER in fields:
                log.info("shard %s is submitted again: %s", shard, fields[_LATER])
                submitted.again_at = asyncio.get_running_loop().time() + _AGAIN
                continue
            self._job.add(shard, fields)
            found += 1
        return found

    async def _result(self, shard: str, future: _Future) -> dict[str, Any]:
        if future.status != "finished":
            # Such as that too many workers died with it.
            return {_LATER: f"the cluster says {future.status}"}
        try:
            found = future.result() if self._cluster.asynchronous else asyncio.to_thread(future.result)
            result: dict[str, Any] = await found
        except Exception as error:
            # Its worker died with the result.
            return {_LATER: type(error).__name__}
        return result
