"""A Taskiq broker on a Redis stream that delivers a shard until its report is saved, and the tasks of its workers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any, Final

import attrs
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqResult, TaskiqState
from taskiq.exceptions import NoResultError
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from videoapi.client import VideoClient
from videoapi.config import Secret, positive_seconds
from videoapi.errors import ConfigurationError, LeaseHeld, LeaseLost
from videoapi.redis.connection import RedisConnections
from videoapi.sharding.worker import ShardTask, ShardWorker, redis_url, worker_client

log: logging.Logger = logging.getLogger(__name__)

CREATE_SHARD: Final = "videoapi.create_shard"
TICK: Final = "videoapi.tick"
QUEUE: Final = "videoapi:rooms"
REDELIVERY: Final = 600.0
_KEPT: Final = 86_400
"""For how long Redis keeps a report, in seconds."""
_BLOCK: Final = 1.0


@attrs.frozen(kw_only=True)
class QueueSettings:
    """What the coordinator needs to know about a broker.

    Args:
        url: The URL of Redis.
        redelivery: After how many seconds a shard is delivered again.
    """

    url: Secret
    redelivery: float


def rooms_broker(
    url: str | None = None,
    *,
    client: Callable[[], VideoClient] | None = None,
    queue: str = QUEUE,
    redelivery: float = REDELIVERY,
) -> RedisStreamBroker:
    """Return a broker for `create_rooms_on_taskiq` and its workers, which both need the same arguments.

    Start workers with `--max-async-tasks 1`: otherwise a process takes shards that other processes could run. Workers
    read their credentials from their own environment; no task contains them.

    Args:
        url: A `redis://`, `rediss://` or `unix://` URL; by default VIDEOAPI_REDIS.
        client: A function that returns the client of a worker process, called once in each. By default, the environment
            of the worker describes its client.
        queue: Name of the stream in Redis. Workers of different accounts need different names.
        redelivery: Seconds after which a shard is delivered to another worker if its report is not saved yet.

    Raises:
        ConfigurationError: If an argument is invalid.
    """
    secret = redis_url(url)
    # Error reporters store the variables of the frames of an error.
    del url
    # Checks the URL, with an error that does not show it.
    RedisConnections(secret, timeout=1.0, purpose="rooms_broker")
    seconds = positive_seconds("redelivery", redelivery) or REDELIVERY
    broker = RedisStreamBroker(
        secret.value,
        queue_name=queue,
        consumer_group_name="videoapi",
        # From the beginning: a stream that is not empty when the group is made has work.
        consumer_id="0",
        xread_block=round(_BLOCK * 1000),
        # With more, the first worker would take all that is there, and the others would idle.
        xread_count=1,
        unacknowledged_batch_size=1,
        unacknowledged_lock_timeout=30.0,
        idle_timeout=round(seconds * 1000),
        **_connection_options(),
    )
    results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(
        secret.value,
        result_ex_time=_KEPT,
        prefix_str=queue,
        # The default would unpickle what is in Redis.
        serializer=JSONSerializer(),
        **_connection_options(),
    )
    broker.with_result_backend(results)
    broker.state.videoapi_queue = QueueSettings(url=secret, redelivery=seconds)
    _add_tasks(broker, lambda: ShardWorker((client or worker_client)(), secret))
    return broker


def queue_settings(broker: RedisStreamBroker) -> QueueSettings:
    """Return the settings of a broker.

    Raises:
        ConfigurationError: If it is not one of `rooms_broker`.
    """
    settings = getattr(broker.state, "videoapi_queue", None)
    if not isinstance(settings, QueueSettings):
        raise ConfigurationError("Give the broker that rooms_broker() returns: others may lose shards.")
    return settings


async def trim(broker: RedisStreamBroker) -> None:
    """Remove from the stream what is acknowledged; a stream keeps it otherwise, with the specs in it."""
    async with Redis(connection_pool=broker.connection_pool) as redis:
        groups = await redis.xinfo_groups(broker.queue_name)
        if len(groups) != 1:
            # The stream has other readers, too.
            return
        # In this order: what is delivered in between is later than the last one here.
        milliseconds, number = _entry_id(groups[0]["last-delivered-id"])
        pending = await redis.xpending(broker.queue_name, broker.consumer_group_name)
        oldest = (milliseconds, number + 1)
        if pending["pending"]:
            oldest = min(oldest, _entry_id(pending["min"]))
        await redis.xtrim(broker.queue_name, minid="-".join(map(str, oldest)), approximate=False)


def _entry_id(text: bytes | str) -> tuple[int, int]:
    milliseconds, number = (int(part) for part in (text.decode() if isinstance(text, bytes) else text).split("-"))
    return milliseconds, number


def _connection_options() -> dict[str, Any]:
    """Return options with which a worker outlasts a restart of Redis, and being stopped itself."""
    return {
        # The default of redis-py 8, 5 s, may end the receiver of a worker that was stopped for longer.
        "socket_timeout": None,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), -1),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }


def _add_tasks(broker: RedisStreamBroker, worker: Callable[[], ShardWorker]) -> None:
    async def start(state: TaskiqState) -> None:
        state.videoapi_worker = worker()

    async def stop(state: TaskiqState) -> None:
        await state.videoapi_worker.aclose()

    async def create_shard(task: dict[str, Any], context: Annotated[Context, TaskiqDepends()]) -> Any:
        message, results = context.message, context.broker.result_backend
        if await results.is_result_ready(message.task_id):
            # Delivered again just as it was finished.
            await context.ack()
            raise NoResultError
        try:
            report = await context.state.videoapi_worker.run(ShardTask(**task))
        except (LeaseHeld, LeaseLost) as error:
            log.info("shard %s is left to another worker, or to a later delivery: %s", task.get("shard"), error)
            raise NoResultError from None
        except Exception:
            log.exception("shard %s failed; it is delivered again", task.get("shard"))
            raise NoResultError from None
        # Only now, and in this order: Taskiq acknowledges also what it could not save.
        saved = TaskiqResult[Any](is_err=False, return_value=report, execution_time=0.0)
        await results.set_result(message.task_id, saved)
        await context.ack()
        await trim(broker)
        return report

    async def tick() -> None:
        return None

    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, stop)
    broker.register_task(create_shard, task_name=CREATE_SHARD, ack_type="manual")
    broker.register_task(tick, task_name=TICK)
