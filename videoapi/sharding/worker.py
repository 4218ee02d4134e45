"""One shard in a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from videoapi.bulk import BulkOutcome, BulkRun
from videoapi.bulk.lease import MARGIN
from videoapi.client import VideoClient
from videoapi.config import Secret
from videoapi.errors import ConfigurationError, LeaseLost, VideoAPIError
from videoapi.models.rooms import RoomSpec
from videoapi.redis.gate import RedisGate
from videoapi.redis.leases import RedisLeases
from videoapi.sharding.spec_json import specs_from_json

REFUSED: Final = "refused"


@attrs.frozen(kw_only=True)
class ShardTask:
    """What a queue carries: a shard, and nothing that is secret.

    Args:
        job_id: The job.
        origin: Scheme, host and port of the API.
        app_id: The account's APP_ID; None if the coordinator does not know it yet.
        nonce: What the coordinator got when it began the job.
        shard: The name of the shard.
        specs: Its specs as JSON text.
        ttl: After how many seconds a lease ends that is not renewed.
        on_unknown: As in `rooms.create_many`.
    """

    job_id: str
    origin: str
    app_id: str | None
    nonce: str
    shard: str
    specs: str = attrs.field(repr=False)
    ttl: float
    on_unknown: Literal["resend", "strict"] = "resend"

    def to_dict(self) -> dict[str, Any]:
        """Return it as a mapping of JSON values."""
        return attrs.asdict(self)


async def run_shard(
    client: VideoClient,
    leases: RedisLeases,
    task: ShardTask,
    *,
    started: Callable[[BulkRun[RoomSpec]], object] | None = None,
    **limits: Any,
) -> dict[str, Any]:
    """Create the rooms of a shard, and return its report as a mapping of JSON values.

    Args:
        client: The client of this process.
        leases: The leases of the job.
        task: The shard.
        started: Called with the run, which `aclose()` stops early.
        **limits: `concurrency` and `give_up_after`, as in `rooms.create_many`.

    Raises:
        LeaseHeld: If another worker has the shard; nothing was sent.
        LeaseLost: If the lease ended first; the shard is to be run again.
        ConnectionFailed: If Redis cannot be used; nothing was sent.
        ConfigurationError: If the client is of another account, or no create could be sent in the time that a lease
            lasts.
    """
    check_ttl(client, task.ttl)
    _check_account(client, task)
    async with leases.hold(task.shard) as lease:
        run = client.rooms.create_each(
            specs_from_json(task.specs),
            job_id=task.job_id,
            lease=lease,
            on_unknown=task.on_unknown,
            # The coordinator has checked the specs, with settings that mappings no longer show.
            validate=False,
            keep_rooms=False,
            audit=False,
            **limits,
        )
        if started is not None:
            started(run)
        outcomes: list[BulkOutcome] = []
        try:
            async with run:
                async for outcome in run:
                    # One by one: the error of a run that ends early comes after its outcomes.
                    outcomes.append(outcome)  # noqa: PERF401
        except VideoAPIError as error:
            if error is not run.report.stopped:
                raise
        if isinstance(run.report.stopped, LeaseLost):
            raise run.report.stopped
        for outcome in outcomes:
            run.report.keep(outcome)
        run.report.sort()
        return run.report.to_dict()


def check_ttl(client: VideoClient, ttl: float) -> None:
    """Check that a lease outlasts an attempt.

    Raises:
        ConfigurationError: If it does not: every shard would end before its first create.
    """
    attempt = client._pipeline.options.attempt_timeout
    if ttl <= attempt + MARGIN:
        raise ConfigurationError(
            f"lease_ttl={ttl:g} must exceed attempt_timeout={attempt:g} by more than {MARGIN:g} s, as a create is sent "
            "only while the lease outlasts it. Not sent."
        )


def _check_account(client: VideoClient, task: ShardTask) -> None:
    origin, app_id = client._pipeline.origin, client._pipeline.app_id
    # Credentials that a callable returns are known from the first request on.
    if origin != task.origin or (app_id and task.app_id and app_id != task.app_id):
        theirs = f"{task.app_id} at {task.origin}"
        raise ConfigurationError(f"its client is of account {app_id} at {origin}, and the job of {theirs}. Not sent.")


class ShardWorker:
    """What a worker process has: one client, and the URL under which Redis keeps the leases.

    Args:
        client: The client of the process.
        url: The URL of Redis.
    """

    def __init__(self, client: VideoClient, url: Secret) -> None:
        self._client = client
        self._url = url

    async def run(
        self, task: ShardTask, *, started: Callable[[BulkRun[RoomSpec]], object] | None = None, **limits: Any
    ) -> dict[str, Any]:
        """Run a shard; see `run_shard`.

        Returns:
            The report, or `{"refused": reason}` if this worker can run no shard of the job.
        """
        try:
            async with RedisLeases(self._url, task.job_id, ttl=task.ttl, nonce=task.nonce) as leases:
                return await run_shard(self._client, leases, task, started=started, **limits)
        except ConfigurationError as error:
            return {REFUSED: str(error)}

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def redis_url(url: str | None = None) -> Secret:
    """Return the URL of Redis, by default VIDEOAPI_REDIS.

    Raises:
        ConfigurationError: If neither is given.
    """
    found = url or os.environ.get("VIDEOAPI_REDIS")
    if not found:
        raise ConfigurationError("Set VIDEOAPI_REDIS to the URL of Redis, such as redis://redis.example.com:6379/0.")
    return Secret(found)


def worker_client() -> VideoClient:
    """Return the client of a worker, as its environment describes it: with the shared rate, if VIDEOAPI_RATE is set."""
    rate = os.environ.get("VIDEOAPI_RATE")
    if not rate:
        return VideoClient()
    return VideoClient(rate=rate, gate=RedisGate.from_env())
