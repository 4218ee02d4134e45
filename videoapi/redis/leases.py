"""Leases of the shards of one job, kept in Redis: at most one worker holds each at any time."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from videoapi.config import Secret, hidden, positive_seconds
from videoapi.errors import ConfigurationError, ConnectionFailed, LeaseHeld, LeaseLost
from videoapi.redis.connection import UNEXPECTED, RedisConnections, RedisFailed
from videoapi.redis.contacts import Contacts
from videoapi.redis.scripts import BEGIN, RELEASE, RENEW, SHARDS, TAKE

log: logging.Logger = logging.getLogger(__name__)
T = TypeVar("T")

TTL: Final = 90.0
_KEPT: Final = 7 * 86_400.0
"""For how long Redis remembers a job after its last lease was taken or renewed, in seconds."""
_RENEWALS: Final = 6
"""How often a lease is renewed within its ttl."""
_LONGEST_TRIP: Final = 5.0
_TRIES: Final = 4
_PAUSE: Final = 0.25
_LONGEST_NAME: Final = 512
# It counts while the machine is suspended; where it is missing, on macOS, the monotonic one does.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_CONTACTS: Final = Contacts()
"""Of the whole process: a worker may have a `RedisLeases` for each shard."""


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class RedisLease:
    """The lease of one shard, from `RedisLeases.hold()`, held from the start of `async with` to its end.

    Args:
        shard: The name of the shard.
        token: Distinguishes this holder from all others.
        hold: Takes the lease and renews it until it is closed.
    """

    shard: str
    """The name of the shard."""
    fresh: bool
    """Whether this shard was certainly never leased before."""
    idle: float
    """For how many seconds, when it was taken, certainly no earlier holder of this shard had sent anything.

    It counts by the clock of this process, from when the process first heard from Redis about the job; 0 if nothing
    is certain.
    """

    def __init__(self, shard: str, token: str, hold: Callable[[RedisLease], AbstractAsyncContextManager[None]]) -> None:
        self.shard = shard
        self.fresh = False
        self.idle = 0.0
        self._token = token
        self._ends = 0.0
        self._hold = hold(self)

    def __repr__(self) -> str:
        return f"<RedisLease {self.shard!r}, {self.left():.1f} s left{', fresh' if self.fresh else ''}>"

    async def __aenter__(self) -> Self:
        await self._hold.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release the lease."""
        await self._hold.__aexit__(None, None, None)

    def left(self) -> float:
        """Return the seconds for which the lease is still held; 0 if it has ended or was released."""
        return max(0.0, self._ends - _now())


class RedisLeases:
    """Leases of the shards of one job, for the workers that share a Redis server.

    The coordinator calls `begin()` once, before any worker starts. A worker holds a lease while it runs the shard:
    `async with leases.hold(shard) as lease: await client.rooms.create_many(specs, job_id=…, lease=lease)`.

    Args:
        url: A `redis://`, `rediss://` or `unix://` URL, as for redis-py's `from_url`.
        job_id: Name of the job, as in `create_many`. Jobs of different accounts need different names.
        ttl: Seconds after which a lease that is not renewed ends. It must exceed the client's `attempt_timeout` by
            several seconds, because a create is sent only while the lease outlasts an attempt. All workers of a job
            must use the same value.
        nonce: The nonce that `begin()` returned to the coordinator. It keeps a worker that was started for an earlier
            `begin()` from trusting the data of a later one.

    Raises:
        ConfigurationError: If redis-py is not installed, or an argument is invalid.
    """

    def __init__(self, url: str | Secret, job_id: str, *, ttl: float = TTL, nonce: str | None = None) -> None:
        secret = hidden(url)
        del url
        self._ttl = positive_seconds("ttl", ttl) or TTL
        self._key = f"videoapi:leases:{_checked('job_id', job_id)}"
        self._nonce = nonce or ""
        self._begun = ""
        limit = min(_LONGEST_TRIP, self._ttl / _RENEWALS)
        self._connections = RedisConnections(secret or "", timeout=limit, purpose="RedisLeases")

    def __repr__(self) -> str:
        if not hasattr(self, "_connections"):
            # In a traceback of its own constructor.
            return "<RedisLeases>"
        return f"<RedisLeases of {self._key.rpartition(':')[2]!r} at {self._connections.where}, ttl {self._ttl:g} s>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to Redis. Leases that are still held expire."""
        await self._connections.aclose()

    @property
    def ttl(self) -> float:
        """The seconds after which a lease that is not renewed ends."""
        return self._ttl

    async def begin(self, *, new: bool = False) -> str:
        """Begin or resume the job, as its coordinator, before any worker starts.

        The leases of a resumed job are not `fresh`: since it was begun, its rooms may have been created in another way
        or divided into other shards. A second call on the same object does not resume the job again.

        Args:
            new: Whether this `job_id` was never used before, so that no room of the job can exist. Only then are leases
                `fresh`. Ignored if Redis knows the job already. If you are not certain, omit it: each shard then reads
                the list of rooms before it creates any.

        Returns:
            The nonce of the job; pass it to its workers.

        Raises:
            ConnectionFailed: If Redis cannot be used.
        """
        args = [secrets.token_hex(8), int(new is True), _milliseconds(_KEPT), self._begun]
        self._begun, can_be_certain = await self._persist(BEGIN, args, _read_begin)
        if not can_be_certain:
            log.warning(
                "Redis at %s does not permit INFO, by which a restart is noticed: no lease is fresh, and every shard "
                "waits %.0f s before it begins. Permit it with the ACL rule +info.",
                self._connections.where,
                self._ttl,
            )
        return self._begun

    async def divided(self, shards: int) -> int:
        """Return the number of shards of the job: that of its first coordinator, otherwise `shards`.

        Call it after `begin()`. If the number is always the same, and the shard of a spec depends only on its key, a
        lease protects the same specs in every run of the job.

        Args:
            shards: The number of shards of a job that is not divided yet.

        Raises:
            ConnectionFailed: If Redis cannot be used.
        """
        return await self._persist(SHARDS, [shards], _read_shards)

    def hold(self, shard: str | int) -> RedisLease:
        """Hold the lease of a shard: take it, renew it in the background, and release it at the end.

        If Redis may have forgotten a lease, because it was restarted or emptied, this first waits for as long as a
        lease lasts. After that, no earlier holder sends anything.

        Args:
            shard: The name or number of the shard within the job.

        Raises, as the lease is taken:
            LeaseHeld: If another worker holds it; `retry_after` is the longest time until it ends if that worker has
                died.
            ConnectionFailed: If Redis cannot be used.
            LeaseLost: If the lease was lost during the wait; call this again.
        """
        if isinstance(shard, int) and not isinstance(shard, bool):
            shard = str(shard)
        return RedisLease(_checked("shard", shard), secrets.token_hex(16), self._held)

    @asynccontextmanager
    async def _held(self, lease: RedisLease) -> AsyncGenerator[None, None]:
        try:
            wait, quiet_from = await self._take(lease)
            renewal = asyncio.get_running_loop().create_task(self._renew(lease))
            try:
                if wait > 0:
                    await self._outlast(lease, wait, renewal)
                lease.idle = max(0.0, _now() - quiet_from)
                yield
            finally:
                await _ended(renewal)
        finally:
            await self._release(lease)

    async def _take(self, lease: RedisLease) -> tuple[float, float]:
        """Take a lease.

        Returns:
            For how many seconds a holder that Redis has forgotten may still send; and from when on, by the clock of
            this process, no earlier holder can have sent anything.
        """
        arguments = [lease.shard, lease._token, _milliseconds(self._ttl), _milliseconds(_KEPT), self._nonce]
        taken = await self._persist(TAKE, arguments, _read_take, lease)
        name, now = taken.counter, _now()
        _CONTACTS.note(name, taken.change, now)
        if not taken.held:
            left = taken.wait / 1000
            raise LeaseHeld(
                f"Another worker holds shard {lease.shard!r} of this job, for {left:.1f} s more unless it renews its "
                "lease. Nothing was done.",
                shard=lease.shard,
                retry_after=left,
                retryable=True,
            )
        lease.fresh = taken.fresh
        changed_by = _CONTACTS.happened_by(name, taken.before)
        # A holder that did not give its lease back may have sent until it ended.
        return taken.wait / 1000, (now if changed_by is None else changed_by) + taken.tail / 1000

    async def _outlast(self, lease: RedisLease, seconds: float, renewal: asyncio.Task[None]) -> None:
        log.warning(
            "Redis at %s does not know whether an earlier run held shard %r: waiting %.1f s, until its lease has ended",
            self._connections.where,
            lease.shard,
            seconds,
            # A program with a progress shows it there.
            extra={"lease_wait": seconds},
        )
        await asyncio.wait([renewal], timeout=seconds)
        if not lease.left():
            raise LeaseLost(f"The lease of shard {lease.shard!r} was lost. Nothing was sent.", retryable=True)

    async def _renew(self, lease: RedisLease) -> None:
        pause, failing = self._ttl / _RENEWALS, False
        while True:
            await asyncio.sleep(min(_PAUSE, pause) if failing else pause)
            if not lease.left():
                log.warning("The lease of shard %r ended before it was renewed", lease.shard)
                return
            asked = _now()
            try:
                arguments = [lease.shard, lease._token, _milliseconds(self._ttl), _milliseconds(_KEPT)]
                renewed = await self._run(RENEW, arguments, _read_flag)
            except RedisFailed as error:
                if not failing:
                    where, left = self._connections.where, lease.left()
                    log.warning(
                        "The lease of shard %r cannot be renewed (Redis at %s: %s); it ends in %.1f s",
                        lease.shard,
                        where,
                        error,
                        left,
                    )
                failing = True
                continue
            if not renewed:
                lease._ends = 0.0
                log.warning("The lease of shard %r is gone from Redis, or another worker's", lease.shard)
                return
            failing = False
            # What has ended stays ended.
            if lease.left():
                lease._ends = asked + self._ttl

    async def _release(self, lease: RedisLease) -> None:
        # Before the request: from then on, another worker may hold it.
        lease._ends = 0.0
        try:
            await self._run(RELEASE, [lease.shard, lease._token], _read_flag)
        except RedisFailed as error:
            log.info("the lease of shard %r was not given back, and ends by itself: %s", lease.shard, error)

    async def _persist(
        self, script: str, arguments: list[Any], read: Callable[[Any], T], lease: RedisLease | None = None
    ) -> T:
        """Run a script that may be repeated, until Redis answers."""
        tries = 0
        while True:
            asked = _now()
            try:
                # Never the same name twice for what counts the changes: Redis may have lost the first one.
                answer = await self._run(script, [*arguments, secrets.token_hex(8)], read)
            except RedisFailed as error:
                tries += 1
                reason = str(error)
            else:
                if lease is not None:
                    lease._ends = asked + self._ttl
                return answer
            if tries >= _TRIES:
                raise ConnectionFailed(
                    f"Redis at {self._connections.where}: {reason} ({tries} attempts). Nothing was created.",
                    attempts=tries,
                    retryable=True,
                )
            await asyncio.sleep(_PAUSE * tries)

    async def _run(self, script: str, arguments: list[Any], read: Callable[[Any], T]) -> T:
        answer = await self._connections.run(
            lambda redis: redis.register_script(script)(keys=[self._key], args=arguments)
        )
        try:
            return read(answer)
        except (TypeError, ValueError):
            pass
        raise RedisFailed(UNEXPECTED)


class _Taken(NamedTuple):
    """The answer of the script TAKE. Times are in milliseconds."""

    held: bool
    wait: int
    fresh: bool
    counter: str
    change: int
    before: int
    tail: int


# Each raises TypeError or ValueError for what its script cannot answer.


def _read_begin(answer: Any) -> tuple[str, bool]:
    nonce, can_be_certain = answer
    return _text(nonce), _read_flag(can_be_certain)


def _read_shards(answer: Any) -> int:
    return _number(answer)


def _read_take(answer: Any) -> _Taken:
    taken, wait, fresh, counter, change, before, tail = answer
    return _Taken(
        _read_flag(taken),
        _number(wait),
        _read_flag(fresh),
        _text(counter),
        _number(change),
        _number(before),
        _number(tail),
    )


def _read_flag(answer: Any) -> bool:
    if _number(answer) > 1:
        raise ValueError
    return bool(answer)


def _number(answer: Any) -> int:
    if type(answer) is not int or answer < 0:
        raise TypeError
    return answer


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: redis-py can lose a cancellation that comes while it reads an answer."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_PAUSE)


def _checked(what: str, name: object) -> str:
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
        raise ConfigurationError(f"{what} must be a text of 1 to {_LONGEST_NAME} characters.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{what} contains a lone surrogate, which Redis cannot store.") from None
    return name


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _text(answer: Any) -> str:
    text = answer.decode() if isinstance(answer, bytes) else answer
    if not isinstance(text, str) or not text:
        raise TypeError
    return text
