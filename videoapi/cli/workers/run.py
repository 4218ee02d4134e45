"""A run of `rooms create-many` on worker processes, with the interface of a bulk run in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from videoapi.bulk import BulkOutcome, BulkReport
from videoapi.cli.attempts import AttemptLog
from videoapi.cli.terminal import for_people, print_status
from videoapi.cli.workers.pool import WorkerPool
from videoapi.client import VideoClient
from videoapi.creation.creator import DEFAULT_SETTLE
from videoapi.errors import CallTimeout, ConnectionFailed, VideoAPIError
from videoapi.models.rooms import RoomSpec
from videoapi.redis.leases import RedisLeases
from videoapi.sharding.job import JobSettings, ShardedJob

_AT_ONCE: Final = 500
"""How many lines of a file are read before other tasks have their turn."""


class WorkerLog(AttemptLog):
    """What the worker processes say while they run: what they wait for, and warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: WorkerPool | None = None
        self.audited_at: float | None = None
        """While the list of rooms is checked: when the settle time ends, by the event loop's clock."""
        self._warned: set[str] = set()

    def warn(self, text: str) -> None:
        """Print a warning, each text once."""
        text = for_people(text)
        if text not in self._warned:
            self._warned.add(text)
            print_status(f"Warning: {text}")

    def used(self) -> bool:
        """Return whether a process may have sent anything."""
        return self.pool is not None and self.pool.is_used

    def unreported(self) -> int:
        """Return how many rooms the processes have finished and not reported yet."""
        return self.pool.done if self.pool is not None else 0

    def waits(self) -> str:
        """Return what the run waits for."""
        if self.audited_at is not None:
            left = max(0.0, self.audited_at - asyncio.get_running_loop().time())
            return f"checking the list of rooms: waiting {left:.0f} s for proof (settle time)"
        return self.pool.waits if self.pool is not None else ""


class WorkersRun:
    """A job on worker processes, which yields the outcomes of each shard once it is done.

    Args:
        client: Checks the specs, and audits the job.
        leases: The leases of the job.
        inputs: The specs.
        settings: The settings of the job.
        account: What a worker process needs to make its client.
        messages: Receives what the processes say.
        audit: Whether to read the list of rooms at the end.
        timeout: Limit of the run, in seconds, or None.
    """

    def __init__(
        self,
        client: VideoClient,
        leases: RedisLeases,
        inputs: AsyncIterator[RoomSpec],
        settings: JobSettings,
        account: Mapping[str, Any],
        messages: WorkerLog,
        *,
        audit: bool,
        timeout: float | None,
    ) -> None:
        self.report: BulkReport = BulkReport()
        """The report, updated while the run proceeds."""
        self._client = client
        self._leases = leases
        self._inputs = inputs
        self._settings = settings
        self._audit = audit
        self._timeout = timeout
        self._messages = messages
        self._settle: float = account["client"]["settle"] or DEFAULT_SETTLE
        self._pool = messages.pool = WorkerPool(
            account, settings.processes, messages.warn, self._add, messages.add_sent, messages.add_counts
        )
        self._job: ShardedJob | None = None
        self._work: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[BulkOutcome]:
        """Yield the outcomes, shard by shard.

        Raises:
            VideoAPIError: What stopped the run early (`report.stopped`), or that Redis cannot be used.
        """
        return self._outcomes()

    async def aclose(self) -> None:
        """Stop sending, wait for the requests in flight, keep their outcomes in `report`, and end the processes."""
        try:
            if self._work is not None and not self._work.done():
                self._pool.stop()
                await asyncio.shield(self._work)
            await self._pool.aclose()
        except ConnectionFailed as error:
            self.report.stopped = self.report.stopped or error
        finally:
            # Also if the wait for the requests in flight is cancelled.
            if self._job is not None:
                await self._job.finish(audit=False, unsent=self._pool.unsent)
            await self._pool.kill()

    async def _outcomes(self) -> AsyncGenerator[BulkOutcome, None]:
        # The keys of all of them are checked before the first one is sent.
        specs: list[RoomSpec] = []
        async for spec in self._inputs:
            specs.append(spec)
            if len(specs) % _AT_ONCE == 0:
                # A long file must not keep Ctrl-C from being noticed.
                await asyncio.sleep(0)
        job = self._job = ShardedJob(self._client, specs, self._settings, report=self.report)
        await job.begin(self._leases)
        work = self._work = asyncio.create_task(self._pool.run(job.tasks))
        work.add_done_callback(lambda _: self._changed.set())
        loop = asyncio.get_running_loop()
        timer = None if self._timeout is None else loop.call_later(self._timeout, self._time_out)
        try:
            while not work.done():
                await self._changed.wait()
                self._changed.clear()
                for outcome in self._taken():
                    yield outcome
            await work
        except ConnectionFailed as error:
            self.report.stopped = self.report.stopped or error
        finally:
            if timer is not None:
                timer.cancel()
        audit = self._audit and self.report.stopped is None
        self._messages.audited_at = loop.time() + self._settle if audit else None
        await job.finish(audit=audit, unsent=self._pool.unsent)
        self._messages.audited_at = None
        for outcome in self._taken():
            yield outcome
        if self.report.stopped is not None and not self.report.exhausted:
            raise self.report.stopped

    def _taken(self) -> list[BulkOutcome]:
        """Return the rows of the report, which no longer keeps them."""
        report = self.report
        taken: list[BulkOutcome] = []
        for rows in (report.made, report.failures, report.unknown, report.not_sent):
            taken += rows
            rows.clear()
        return sorted(taken, key=lambda outcome: outcome.index)

    def _add(self, shard: str, fields: Mapping[str, Any]) -> None:
        assert self._job is not None
        try:
            self._job.add(shard, fields)
        except VideoAPIError as error:
            self.report.stopped = self.report.stopped or error
        if self.report.stopped is not None:
            # An error of the account: other shards would only meet it, too.
            self._pool.stop()
        self._changed.set()

    def _time_out(self) -> None:
        error = CallTimeout(f"The run's timeout of {self._timeout:g} s ended.", retryable=True)
        self.report.stopped = self.report.stopped or error
        self._pool.stop()
