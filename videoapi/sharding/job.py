"""A whole job, as its coordinator sees it: checks the specs, begins the job, merges the reports, audits the result."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from videoapi.bulk import BulkOutcome, BulkProgress, BulkReport, key_of
from videoapi.bulk.audit import NOT_CHECKED, absent_rooms
from videoapi.bulk.compact import SeenKeys
from videoapi.bulk.outcome import Status
from videoapi.client import VideoClient
from videoapi.creation.create_request import create_request, new_reference
from videoapi.creation.references import JobReferences
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.models.rooms import RoomSpec
from videoapi.pipeline.cancellation import CancellationWatch
from videoapi.pipeline.rate_limit import parse_rate
from videoapi.protocol.routes import Options
from videoapi.redis.leases import RedisLeases
from videoapi.sharding.pace import ShardPace
from videoapi.sharding.plan import Shard, shards_of
from videoapi.sharding.spec_json import check_no_secret
from videoapi.sharding.worker import REFUSED, ShardTask, check_ttl

log: logging.Logger = logging.getLogger(__name__)
_SHOWN: Final = 3


@attrs.frozen(kw_only=True)
class JobSettings:
    """The settings of a job that workers share.

    Args:
        job_id: The job; None for a new one with an ID of its own.
        new: Whether this ID was never used before.
        rate: Rate of the account for all processes together, such as `200/s`; None if it is not limited.
        processes: Number of worker processes that share the rate.
        shard_size: Rooms of a shard; by default what the rate and the redelivery time allow, at most 250.
        redelivery: After how many seconds the queue delivers a shard again.
        ttl: After how many seconds a lease ends that is not renewed.
        validate: Whether to check the specs as the service would.
        on_unknown: As in `rooms.create_many`.
    """

    job_id: str = attrs.field(factory=new_reference)
    new: bool = False
    rate: str | None = None
    processes: int = 1
    shard_size: int | None = None
    redelivery: float
    ttl: float
    validate: bool = True
    on_unknown: Literal["resend", "strict"] = "resend"

    def pace(self, settle: float) -> ShardPace:
        """Return how long shards take."""
        return ShardPace(
            rate=None if self.rate is None else 1 / parse_rate(self.rate),
            processes=self.processes,
            settle=settle,
            lease=self.ttl,
            redelivery=self.redelivery,
        )


class ShardedJob:
    """A job of creates that workers share, without the queue between them.

    Args:
        client: Checks and audits; it creates nothing.
        specs: The rooms to create, each with a key of its own.
        settings: The settings of the job.
        report: Receives the outcomes; its rows may be taken out of it.

    Raises:
        ConfigurationError: If no create could be sent within a lease, or a shard would outlive the redelivery time.
    """

    def __init__(
        self,
        client: VideoClient,
        specs: Iterable[RoomSpec],
        settings: JobSettings,
        *,
        report: BulkReport | None = None,
    ) -> None:
        check_ttl(client, settings.ttl)
        self._client = client
        self._settings = settings
        self._specs = list(specs)
        self._report = BulkReport() if report is None else report
        self._room_ids: dict[int, str] = {}
        self._pace = settings.pace(client._creator.scanner.settle)
        self._references = JobReferences(settings.job_id)
        self._valid = self._checked()
        self._size = settings.shard_size or self._pace.size(len(self._valid))
        self._pace.check(self._size)
        self._nonce, self._count = "", 0
        self._open: dict[str, Shard] = {}
        self._has_begun = self._is_finished = False

    @property
    def report(self) -> BulkReport:
        """The merged report of what is known so far."""
        return self._report

    @property
    def is_open(self) -> bool:
        """Whether the report of any shard is missing."""
        return bool(self._open)

    @property
    def tasks(self) -> list[ShardTask]:
        """The shards whose reports are missing."""
        settings, pipeline = self._settings, self._client._pipeline
        return [
            ShardTask(
                job_id=settings.job_id,
                origin=pipeline.origin,
                app_id=pipeline.app_id,
                nonce=self._nonce,
                shard=shard.name,
                specs=shard.specs,
                ttl=settings.ttl,
                on_unknown=settings.on_unknown,
            )
            for shard in self._open.values()
        ]

    async def begin(self, leases: RedisLeases) -> None:
        """Begin the job, or continue it; before the first shard is enqueued.

        Raises:
            ConnectionFailed: If Redis cannot be used; nothing was sent.
            ConfigurationError: If the shards of an earlier run of the job would be too large now.
        """
        self._nonce = await leases.begin(new=self._settings.new)
        self._count = await leases.divided(-(-len(self._valid) // self._size) or 1)
        shards = shards_of(self._settings.job_id, self._valid, self._count)
        self._pace.check(max((len(shard.indices) for shard in shards), default=1))
        self._open = {shard.name: shard for shard in shards}
        self._has_begun = True

    async def is_forgotten(self, leases: RedisLeases) -> bool:
        """Return whether Redis has lost the job since it began; if so, begin it again.

        Raises:
            ConnectionFailed: If Redis cannot be used.
        """
        nonce = await leases.begin()
        if nonce == self._nonce:
            return False
        self._nonce = nonce
        # What the workers of the lost beginning still do is protected by the same names.
        await leases.divided(self._count)
        return True

    def add(self, shard: str, fields: Mapping[str, Any]) -> None:
        """Add the report of a shard; a second one of the same shard is ignored.

        Args:
            shard: The name of the shard.
            fields: What `ShardWorker.run` has returned.

        Raises:
            ConfigurationError: If the worker can run no shard of the job.
        """
        if REFUSED in fields:
            raise ConfigurationError(f"A worker cannot run the job: {fields[REFUSED]}")
        found = self._open.pop(shard, None)
        if found is None:
            return
        report, merged = BulkReport.from_dict(fields), self._report
        unread = set(range(len(found.indices)))
        for outcome in (*report.made, *report.failures, *report.unknown, *report.not_sent):
            merged.count(self._in_job(outcome, found.indices))
            unread.discard(outcome.index)
        for position in sorted(unread):
            # Of a run that ended early.
            outcome = BulkOutcome(index=position, status="not_sent", error=report.stopped)
            merged.count(self._in_job(outcome, found.indices))
        merged.stopped = merged.stopped or report.stopped

    def _in_job(self, outcome: BulkOutcome, indices: Sequence[int]) -> BulkOutcome:
        index = indices[outcome.index]
        spec = self._specs[index]
        if outcome.status == "created" and outcome.room_id is not None:
            self._room_ids[index] = outcome.room_id
            return attrs.evolve(outcome, index=index, key=spec.key)
        return attrs.evolve(outcome, index=index, key=spec.key, spec=spec)

    async def finish(self, *, audit: bool, unsent: Collection[str] = ()) -> BulkReport:
        """Return the report of the whole job; the rooms of shards without a report are `unknown`.

        Args:
            audit: Whether to read the list of rooms, and report rooms that exist twice or are missing.
            unsent: The shards that no worker was given: their rooms are `not_sent`.
        """
        report = self._report
        if self._is_finished:
            return report
        self._is_finished = True
        report.exhausted = self._has_begun and not self._open and report.stopped is None
        for shard in self._open.values():
            status: Status = "not_sent" if shard.name in unsent else "unknown"
            for index in shard.indices:
                spec = self._specs[index]
                reference = self._references.of_key(spec.key)
                outcome = BulkOutcome(
                    index=index, key=spec.key, reference=reference, spec=spec, status=status, error=report.stopped
                )
                report.count(outcome)
        self._open = {}
        report.sort()
        if audit and self._valid:
            try:
                await self._audit()
            except VideoAPIError as error:
                # The outcomes are complete without it.
                log.warning("%s: %s", NOT_CHECKED, error)
        return report

    async def _audit(self) -> None:
        report = self._report
        found = await self._client.rooms.audit(self._settings.job_id, (spec for _, spec in self._valid))
        report.duplicates = found.duplicates
        report.audited = found.audited
        if found.unreadable:
            log.warning(
                "%s cannot be read, and may be of this job; whether a room exists twice or is missing is not proven",
                ", ".join(found.unreadable[:_SHOWN]),
            )
        if found.audited is None:
            # What such a list does not show may exist.
            return
        positions = [index for index, _ in self._valid]
        unlisted = {positions[spec.index]: spec for spec in found.missing}
        acknowledged = [(index, self._room_ids[index]) for index in unlisted if index in self._room_ids]
        gone, known = await absent_rooms(self._client._pipeline, acknowledged)
        if not known:
            report.audited = None
        for index, room_id in gone:
            self._client._creator.memory.forget_room(room_id)
            spec = unlisted[index]
            outcome = BulkOutcome(
                index=index, key=spec.key, reference=spec.reference, status="created", room_id=room_id
            )
            report.missing.append(outcome)

    def _checked(self) -> list[tuple[int, RoomSpec]]:
        """Return the specs that can be sent; the report receives the others."""
        valid, keys = [], SeenKeys()
        for index, spec in enumerate(self._specs):
            problem: VideoAPIError
            key = None
            try:
                key = key_of(spec)
                if key is None:
                    raise ValidationError("A spec of a job needs a key.", field="key")
                if not keys.add(key):
                    raise ValidationError(f"The key {key!r} appears twice in this run.", field="key")
                create_request(spec, self._references.of_key(key), Options(), validate=self._settings.validate)
                check_no_secret(spec)
            except VideoAPIError as error:
                problem = error.with_traceback(None)
            except Exception as error:
                problem = ValidationError(f"The input cannot be read: it raised {type(error).__name__}.")
            else:
                valid.append((index, spec))
                continue
            self._report.count(BulkOutcome(index=index, key=key, spec=spec, status="failed", error=problem))
        return valid


def processes_from_environment() -> int:
    """Return VIDEOAPI_PROCESSES, or 1.

    Raises:
        ConfigurationError: If it is not a whole number above 0.
    """
    text = os.environ.get("VIDEOAPI_PROCESSES") or "1"
    if not text.isdecimal() or not int(text):
        raise ConfigurationError(f"VIDEOAPI_PROCESSES={text!r}: give a whole number, 1 or more.")
    return int(text)


async def show_progress(progress: BulkProgress | None, report: BulkReport) -> None:
    """Call `progress` with the merged report; what it raises is logged."""
    if progress is None:
        return
    watch = CancellationWatch()
    try:
        shown = progress(report)
        if inspect.isawaitable(shown):
            await shown
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and watch.is_cancelled():
            raise
        # It does not change the outcome.
        log.exception("progress= raised an error")


def with_report(error: BaseException, report: BulkReport) -> BaseException:
    """Return the error with the report, if it can carry one."""
    with contextlib.suppress(AttributeError):
        error.report = report  # type: ignore[attr-defined]
    return error
