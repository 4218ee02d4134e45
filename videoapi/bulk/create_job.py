"""The creates of a bulk run: earlier outcomes, unresolved creates, and the final audit."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from videoapi.bulk.plan import BulkItem, Emit
from videoapi.bulk.report import BulkOutcome, BulkReport
from videoapi.creation.creator import Creator
from videoapi.creation.doubts import Doubt
from videoapi.creation.journal import Journal
from videoapi.creation.references import job_prefix, variants, with_location
from videoapi.creation.scan import ListedRoom, Scan, get_room
from videoapi.creation.state import FINAL, Create, Step, attempted, given_up, inherited
from videoapi.errors import NotFound, ValidationError, VideoAPIError
from videoapi.events import log, log_unknown
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import DELETE_ROOM, Request
from videoapi.protocol.types import Verdict

_ASKED_FOR: Final = 20


@attrs.frozen(kw_only=True)
class JobOptions:
    """Options of a run of creates.

    Args:
        job_id: Names the job, so that another process can resume it.
        resumable: Whether the caller passed the ID, so that an earlier process may have started the job.
        journal: Path of the journal file, or None.
        resend: Whether a create that is proven absent is sent again.
        dedupe: Whether duplicate rooms are deleted at the end.
        audit: Whether the room list is read at the end.
        keep_rooms: Whether outcomes carry their room.
        keep_all: Whether the report keeps a row per input.
    """

    job_id: str
    resumable: bool
    journal: str | os.PathLike[str] | None = None
    resend: bool = True
    dedupe: bool = False
    audit: bool = True
    keep_rooms: bool = False
    keep_all: bool = True


class CreateJob:
    """The creates of one bulk run: recalls earlier outcomes, resolves lost responses, audits the result.

    Args:
        creator: The client's create protocol.
        pipeline: Sends requests and streams the room list.
        options: The options of the run.
    """

    def __init__(self, creator: Creator, pipeline: Pipeline, options: JobOptions) -> None:
        self._creator = creator
        self._pipeline = pipeline
        self._options = options
        self._mark = job_prefix(options.job_id)
        self._journal = Journal(options.journal, options.job_id) if options.journal is not None else None
        self._survey: Scan | None = None
        self._trusted = True
        self._born = 0.0
        self._doubts: dict[int, Doubt] = {}
        self._again: dict[int, Create] = {}
        self._ever_in_doubt: set[str] = set()

    # Before sending

    async def open(self) -> None:
        """Load what an earlier process may have done.

        Raises:
            ConfigurationError: If the journal cannot be opened.
            VideoAPIError: If the room list of a resumable job cannot be read.
        """
        self._born = self._creator.started_at()
        if self._journal is not None:
            await self._journal.open()
        elif self._options.resumable:
            await self._look_back()

    @property
    def remembers(self) -> bool:
        """Whether an earlier process may have left outcomes to recall."""
        return self._journal is not None or self._survey is not None

    async def _look_back(self) -> None:
        """Scan the room list once no request of an earlier process can take effect any more.

        Without a journal, a new job looks the same as a crashed one, so every job waits. Items that the
        list does not show may then be sent, if the list can be trusted.
        """
        creator = self._creator
        await creator.ensure_known_room(self._pipeline, {False, True})
        since = max(self._born, creator.memory.latest(self._mark))
        await creator.sleep_until(self._pipeline, partial(creator.settled_from, since, (False, True)))
        self._survey = await creator.scanner.look(self._pipeline, counted=self._is_mine)
        if self._survey.error is not None:
            raise self._survey.error
        self._trusted = self._survey.proves_absence(None)

    async def recall(self, item: BulkItem) -> BulkOutcome | None:
        """Return the earlier outcome of an item, or None if it must be sent or is now unresolved.

        Raises:
            ConfigurationError: If the journal cannot be written; the item must not be sent.
        """
        if item.index in self._again:
            return None
        if self._journal is not None:
            return await self._from_journal(item, self._journal)
        if self._survey is None:
            return None
        found = self._survey.found
        # Try both locations: the spec may have gained or lost its owner_ref since.
        rooms = next((rooms for reference in variants(_reference(item)) if (rooms := found.get(reference))), None)
        if rooms:
            return self._made(item, rooms[0].room_id)
        if not self._trusted:
            self._put_in_doubt(item, inherited(self._born), None)
        return None

    async def _from_journal(self, item: BulkItem, journal: Journal) -> BulkOutcome | None:
        spec = hashlib.blake2s(item.request.body or b"").digest()
        entry = await journal.intend(_entry(item), spec)
        if entry is None:
            return None
        if entry.spec != spec:
            error = ValidationError(
                f"The journal has another spec under the key {item.key!r}. Give a changed job another job_id=.",
                field="key",
            )
            return BulkOutcome(index=item.index, key=item.key, reference=_reference(item), status="failed", error=error)
        if entry.status == "created":
            return self._made(item, entry.room_id or "")
        if entry.status is None:
            since = max(self._born, self._creator.memory.latest(self._mark))
            self._put_in_doubt(item, inherited(since), None)
        return None

    # While sending

    def in_doubt(self, item: BulkItem) -> bool:
        """Return whether an item is unresolved."""
        return item.index in self._doubts

    def ended(self, item: BulkItem, outcome: Outcome) -> None:
        """Record what an attempt of an item has proved."""
        self._creator.note(item.request, outcome)
        verdict = outcome.classification.verdict
        if verdict is Verdict.DONE:
            self._again.pop(item.index, None)
            self._write(item, "created", outcome.value.room_id)
        elif outcome.may_have_executed:
            create = self._again.pop(item.index, Create())
            now = asyncio.get_running_loop().time()
            self._put_in_doubt(item, attempted(create, Verdict.UNKNOWN, now), outcome)
        elif verdict is Verdict.REJECTED:
            self._write(item, "failed")

    def torn_down(self, item: BulkItem) -> None:
        """Record that an item was abandoned in flight."""
        self._creator.memory.note(item.request)

    def _put_in_doubt(self, item: BulkItem, create: Create, outcome: Outcome | None) -> None:
        self._doubts[item.index] = Doubt(item.request, create, outcome, item=item)
        self._ever_in_doubt.add(_reference(item))

    # After sending

    async def settle(self, emit: Emit, stopping: Callable[[], bool]) -> list[BulkItem]:
        """Resolve the unresolved creates, and emit those that are final.

        Args:
            emit: Receives each outcome.
            stopping: Polled while waiting; true gives up at once.

        Returns:
            The items that are proven absent and may be sent again.
        """
        doubts = list(self._doubts.values())
        if doubts and not stopping():
            try:
                await self._creator.reconcile(self._pipeline, doubts, resend=self._options.resend, stopping=stopping)
            except Exception as error:
                # The credentials callable or a middleware, for example; the creates stay unknown.
                _give_up(doubts, error)
        for doubt in doubts:
            if doubt.create.step is not Step.SEND:
                del self._doubts[doubt.item.index]
                await emit(self._settled(doubt))
        self._again.update((index, doubt.create) for index, doubt in self._doubts.items())
        again: list[BulkItem] = [doubt.item for doubt in self._doubts.values()]
        self._doubts.clear()
        return again

    def unsettled(self) -> list[BulkOutcome]:
        """Return the outcomes of creates still unresolved when the run is torn down, for its report."""
        doubts = list(self._doubts.values())
        self._doubts.clear()
        for doubt in doubts:
            doubt.create = given_up(doubt.create)
        return [self._settled(doubt) for doubt in doubts]

    def _settled(self, doubt: Doubt) -> BulkOutcome:
        item: BulkItem = doubt.item
        if doubt.create.step is Step.MADE:
            room = doubt.room if self._options.keep_rooms else None
            self._write(item, "created", doubt.create.rooms[0])
            return self._made(item, doubt.create.rooms[0], room)
        not_made = doubt.create.step is Step.NOT_MADE
        if not_made:
            self._write(item, "failed")
        else:
            log_unknown(item.request.route.name, doubt.reference)
        return BulkOutcome(
            index=item.index,
            key=item.key,
            reference=doubt.reference,
            status="failed" if not_made else "unknown",
            error=doubt.error(),
        )

    def _made(self, item: BulkItem, room_id: str, room: Room | None = None) -> BulkOutcome:
        return BulkOutcome(
            index=item.index,
            key=item.key,
            reference=_reference(item),
            status="created",
            room_id=room_id,
            room=room,
        )

    def _write(self, item: BulkItem, status: str, room_id: str | None = None) -> None:
        if self._journal is not None:
            self._journal.ended(_entry(item), status, room_id)

    # Audit

    async def audit(self, report: BulkReport) -> None:
        """Read the room list again, and report duplicate and missing rooms.

        Covers all rooms of the run with `keep_all` or `dedupe`, otherwise only those that were ever unresolved.
        """
        try:
            await self._audit(report)
        except Exception as error:
            # The credentials callable or a middleware, for example; the outcomes are complete.
            report.audited = False
            log.warning("the rooms of the run were not audited: %s", error)

    async def _audit(self, report: BulkReport) -> None:
        if not self._options.audit:
            return
        every = self._options.keep_all or self._options.dedupe
        if not every and not self._ever_in_doubt:
            return
        scan = await self._creator.scanner.look(
            self._pipeline, counted=self._is_mine if every else self._ever_in_doubt.__contains__
        )
        report.audited = scan.complete
        if not scan.complete:
            return
        acknowledged = {outcome.reference: outcome.room_id for outcome in report.made}
        for reference, rooms in scan.found.items():
            if len(rooms) > 1:
                report.duplicates[reference] = tuple(room.room_id for room in rooms)
                if self._options.dedupe:
                    await self._delete_surplus(rooms, acknowledged.get(reference), report)
        await self._find_missing(scan, report)

    async def _delete_surplus(self, rooms: list[ListedRoom], acknowledged: str | None, report: BulkReport) -> None:
        ids = [room.room_id for room in rooms]
        keep = acknowledged if acknowledged in ids else ids[0]
        for room_id in ids:
            if room_id == keep:
                continue
            self._creator.controls.forget(room_id)
            request = Request(route=DELETE_ROOM, path=DELETE_ROOM.path(room_id), options=self._pipeline.options)
            outcome = await self._pipeline.send(request)
            if outcome.verdict is Verdict.DONE:
                report.removed.append(room_id)

    async def _find_missing(self, scan: Scan, report: BulkReport) -> None:
        """Report acknowledged rooms that are gone; request up to 20 individually, because the list may lag."""
        unseen = [outcome for outcome in report.made if outcome.reference not in scan.found]
        for outcome in unseen[:_ASKED_FOR]:
            try:
                await self._pipeline.run(get_room(self._pipeline, outcome.room_id or ""))
            except NotFound:
                report.missing.append(outcome)
            except VideoAPIError:
                report.audited = False

    async def aclose(self) -> None:
        """Delete the self-check room and close the journal."""
        try:
            await self._creator.delete_probe_rooms(self._pipeline)
        finally:
            if self._journal is not None:
                await self._journal.aclose()

    def _is_mine(self, reference: str) -> bool:
        return reference.startswith(self._mark)


def _give_up(doubts: list[Doubt], error: Exception) -> None:
    for doubt in doubts:
        if doubt.create.step not in (*FINAL, Step.SEND):
            doubt.create, doubt.later = given_up(doubt.create), error


def _entry(item: BulkItem) -> str:
    """Return the journal key of an item, independent of where the room carries the reference."""
    return with_location(_reference(item), in_data=False)


def _reference(item: BulkItem) -> str:
    assert item.request.reference is not None
    return item.request.reference
