"""The creates of a bulk run: earlier outcomes, unresolved creates, and the final audit."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs

from videoapi.bulk.another_room import another_room, unread_room
from videoapi.bulk.audit import NOT_CHECKED, AcknowledgedRooms, Audit
from videoapi.bulk.job_options import JobOptions
from videoapi.bulk.journal_rows import entry_of, identity_hash, reference_of, row_of, rows_of, spec_hash
from videoapi.bulk.lease import Fence, Lease, Leases, idle_of, is_fresh
from videoapi.bulk.look_back import Findings, LookBack
from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.report import BulkReport
from videoapi.bulk.sending import BulkItem, Job, failed
from videoapi.creation.changes import Change, change_in_json
from videoapi.creation.create_request import check_start_of
from videoapi.creation.creator import Creator
from videoapi.creation.doubts import Doubt
from videoapi.creation.journal import SENT, TAKEN_OVER, Entry, EntryStatus, Journal
from videoapi.creation.patience import Patience
from videoapi.creation.proof import get_room
from videoapi.creation.references import JobReferences, variants, with_location
from videoapi.creation.scan import ListedRoom
from videoapi.creation.self_check import SelfCheckRoom
from videoapi.creation.state import FINAL, Create, Step, attempted, given_up, inherited
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError, text_of
from videoapi.events import log, log_unknown
from videoapi.models.rooms import Room
from videoapi.pipeline.clock import LoopClock
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.types import Verdict

MOST_DOUBTS: Final = 1000
"""How many creates may be in doubt before the run settles them, and only then reads on."""
_AUDITS: Final = 2
_LEASES: Final = Leases()
Emit = Callable[[BulkOutcome], Awaitable[None]]


class CreateJob(Job):
    """The creates of one bulk run: recalls earlier outcomes, resolves lost responses, audits the result.

    Args:
        creator: The client's create protocol.
        pipeline: Sends requests and streams the room list.
        options: The options of the run.
        validate: Whether to check that the starts of scheduled rooms have not passed.

    Raises:
        ConfigurationError: If the journal's path cannot be that of a file.
    """

    def __init__(self, creator: Creator, pipeline: Pipeline, options: JobOptions, *, validate: bool) -> None:
        self._creator = creator
        self._validate = validate
        self.fence: Fence | None = None
        """What a create must pass before it is written, if the run has a lease."""
        if options.lease is not None:
            self.fence = Fence(options.lease, pipeline.options.attempt_timeout)
            fenced = attrs.evolve(pipeline.options, fence=self.fence.lets_pass)
            pipeline = attrs.evolve(pipeline, options=fenced)
        self._pipeline = pipeline
        self._options = options
        self.audits: bool = bool(options.audit)
        self._references = references = JobReferences(options.job_id)
        self._prefix = references.prefix
        self._journal = Journal(options.journal, options.job_id) if options.journal is not None else None
        self._check_prefix = references.self_check_prefix
        self._check = SelfCheckRoom(creator, pipeline, references.self_check_prefix, self._note_check)
        self._rooms = AcknowledgedRooms(references.prefix)
        self._clock = LoopClock()
        self._ending = contextlib.ExitStack()
        self._report = BulkReport()
        self._patience = Patience()
        self._app_id: str | None = None
        self._earlier: Findings | None = None
        self._others_until = self._earlier_until = 0.0
        self._last_sent = 0.0
        self._forms: set[bool] = set()
        self._inherited: set[str] = set()
        self._doubts: dict[int, Doubt] = {}
        self._again: dict[int, Create] = {}

    # Before sending

    async def open(
        self,
        report: BulkReport,
        patience: Patience,
        first_key: object = None,
        all_keys: Callable[[], Sequence[Any] | None] = lambda: None,
    ) -> None:
        """Load what an earlier process may have done.

        Args:
            report: Shows how many creates are in doubt, and receives the audit.
            patience: For how long to read again a list that cannot be read.
            first_key: The key of the first item, which identifies a shard.
            all_keys: Returns the keys of all items, or None if they are not known yet.

        Raises:
            ConfigurationError: If the journal cannot be opened, or belongs to another account.
            VideoAPIError: If the room list of a resumable job cannot be read.
        """
        self._report, self._patience = report, patience
        self._ending.enter_context(self._creator.sending(self._prefix))
        self._pipeline = patience.applied_to(self._pipeline)
        # Another process may have sent its last create just now.
        self._others_until = self._earlier_until = self._last_sent = self._clock()
        if not self._options.resumable:
            return
        if self._options.lease is not None:
            await self._open_shard(self._options.lease, first_key, all_keys)
            return
        look_back = LookBack(self._creator, self._pipeline, self._check, self._prefix, patience)
        if self._journal is None:
            # A new job looks the same as a crashed one.
            await look_back.survey()
            self._earlier = await look_back.at_a_run(self._others_until)
            return
        if self._pipeline.app_id is None:
            # Credentials that a callable returns are known from the first request on.
            await look_back.survey()
        self._app_id = self._pipeline.app_id
        if await self._journal.open(self._pipeline.origin, self._app_id or ""):
            # An earlier run may have sent creates until now, but the rooms that it has recorded are older.
            self._earlier_until = self._clock() - self._journal.age
            if await self._journal.has_rooms(self._check_prefix):
                self._check.expect()
        else:
            # Whether the job is new, or its journal was lost or added later, only the list can show.
            if (await look_back.survey()).shows_a_run or self._check.adopted:
                self._earlier = await look_back.at_a_run(self._others_until)
            if self._earlier is None or self._earlier.is_whole:
                # All of them: another run may have other inputs.
                found = self._earlier.rooms if self._earlier is not None else {}
                await self._journal.take_over(await rows_of([rooms[0] for rooms in found.values()]))

    async def _open_shard(self, lease: Lease, first_key: object, all_keys: Callable[[], Sequence[Any] | None]) -> None:
        # Other shards have self-check rooms, too, which this run must neither use nor delete.
        prefix = self._references.check_prefix_of_shard(first_key)
        self._check = SelfCheckRoom(self._creator, self._pipeline, prefix)
        if _LEASES.is_first_run(lease):
            if is_fresh(lease):
                return
            self._others_until -= idle_of(lease)
        look_back = LookBack(self._creator, self._pipeline, self._check, self._prefix, self._patience)
        self._earlier = await look_back.at_a_shard(self._others_until, self._wanted(all_keys()))

    def _wanted(self, keys: Sequence[Any] | None) -> set[str] | None:
        """Return the references of all items, or None if they are not known."""
        try:
            return None if keys is None else {with_location(self._references.of_key(k), in_data=False) for k in keys}
        except Exception:
            # The failure of its item.
            return None

    async def _note_check(self, reference: str) -> None:
        if self._journal is not None:
            await self._journal.intend(reference, "", "")

    async def recall(self, item: BulkItem) -> BulkOutcome | None:
        """Return the earlier outcome of an item, or None if it must be sent or is now unresolved.

        Raises:
            ConfigurationError: If the journal cannot be written; the item must not be sent.
        """
        if self._journal is None and self._earlier is None:
            return self._too_late(item)
        entry: Entry | None = None
        if self._journal is not None:
            self._check_account()
            entry = await self._journal.intend(entry_of(item), identity_hash(item), SENT + spec_hash(item))
            if entry is not None and entry.status == "created":
                self._rooms.note_earlier(item.index)
                return await self._from_journal(item, entry)
        listed = self._listed(reference_of(item))
        if listed is not None:
            self._rooms.note_earlier(item.index)
            return self._existing(item, listed)
        if entry is not None or self._may_be_hidden(reference_of(item)):
            self._inherited.add(reference_of(item))
            self._put_in_doubt(item, inherited(self._others_until), None)
            return None
        return self._too_late(item)

    def _too_late(self, item: BulkItem) -> BulkOutcome | None:
        """Return the outcome of a new item whose start has passed, or None.

        Only here, as a later run must find the room of an item whose start was in the future when it was created.
        """
        if not self._validate:
            return None
        try:
            check_start_of(item.given)
        except ValidationError as error:
            self._write(item, "failed")
            return failed(item, "failed", error.with_traceback(None))
        return None

    async def recall_invalid(self, outcome: BulkOutcome) -> BulkOutcome:
        """Return the outcome of an input that is invalid now; an earlier run may have created its room."""
        if outcome.error is None or not self._options.resumable:
            return outcome
        if isinstance(outcome.error, ValidationError) and outcome.error.field == "key":
            # It has no key, or its key is that of another input.
            return outcome
        try:
            reference = self._references.of_key(outcome.key)
        except Exception:
            return outcome
        entry = None
        if self._journal is not None:
            entry = await self._journal.find(with_location(reference, in_data=False))
        listed = self._listed(reference)
        room_id = listed.room_id if listed is not None else entry.room_id if entry is not None else None
        in_doubt = (entry is not None and entry.status is None) or self._may_be_hidden(reference)
        if room_id is None and not in_doubt:
            return outcome
        error = outcome.error
        error.may_have_executed, error.reference = True, reference
        if room_id is not None:
            error.message += f" Room {room_id} was created under this key earlier."
        else:
            error.message += " An earlier run may have created a room under this key."
        return attrs.evolve(outcome, reference=reference, room_id=room_id)

    def _check_account(self) -> None:
        if self._pipeline.app_id != self._app_id:
            raise ConfigurationError(
                f"The credentials are now those of APP_ID {self._pipeline.app_id}, and the journal is that of "
                f"{self._app_id}. Not sent."
            )

    def _listed(self, reference: str) -> ListedRoom | None:
        # In any location: the spec may have gained or lost its owner_ref since.
        rooms = self._earlier.rooms.get(with_location(reference, in_data=False)) if self._earlier is not None else None
        return rooms[0] if rooms else None

    def _may_be_hidden(self, reference: str) -> bool:
        """Return whether a room may carry a reference that the list of rooms did not show."""
        return self._earlier is not None and not self._earlier.proves_absence(reference)

    async def _from_journal(self, item: BulkItem, entry: Entry) -> BulkOutcome:
        room_id, spec = entry.room_id or "", spec_hash(item)
        is_named_so = entry.identity in ("", identity_hash(item))
        taken_over, compared = entry.spec[:1] == TAKEN_OVER, entry.spec[1:]
        is_same = is_named_so and compared == spec
        asked_at = self._clock()
        read = await self._fetched(room_id) if self._options.keep_rooms or not is_same else None
        room = read if isinstance(read, Room) else None
        if not is_named_so and (room is None or room.name is None or room.owner_ref is None):
            left = self._creator.scanner.unproven_for(self._earlier_until, asked_at)
            return unread_room(item, room_id, read, left)
        if taken_over:
            # An earlier run may have reported another room of this create.
            self._inherited.add(reference_of(item))
        change = Change.CONTENT if compared and not is_same else Change.NONE
        if room is not None and not is_same:
            # Another body may ask for the same, such as one with "10" for 10.
            change = change_in_json(item.request.body, room.to_json().encode())
            if change is Change.IDENTITY:
                return another_room(item, room_id)
            if change is Change.NONE:
                self._write(item, "created", room_id, identity=identity_hash(item), spec=TAKEN_OVER + spec)
        return self._made(item, room_id, room if self._options.keep_rooms else None, change is Change.CONTENT)

    def _existing(self, item: BulkItem, listed: ListedRoom) -> BulkOutcome:
        """Return the outcome of an item whose room the list shows, and that an earlier run has created."""
        change = change_in_json(item.request.body, listed.raw)
        identity = row_of(listed)[1]
        compared = spec_hash(item) if change is Change.NONE else ""
        self._write(item, "created", listed.room_id, identity=identity, spec=TAKEN_OVER + compared)
        # An earlier run may have reported another room of this create.
        self._inherited.add(reference_of(item))
        if change is Change.IDENTITY:
            return another_room(item, listed.room_id)
        return self._shown(item, listed, change is Change.CONTENT)

    def _shown(self, item: BulkItem, listed: ListedRoom, changed: bool) -> BulkOutcome:
        self._creator.know_listed(listed)
        room: Room | None = None
        if self._options.keep_rooms:
            # It exists even if it cannot be decoded.
            with contextlib.suppress(ValueError):
                room = listed.room
        return self._made(item, listed.room_id, room, changed)

    async def _fetched(self, room_id: str) -> Room | Exception | None:
        """Return a room that the journal knows, or why it cannot be read now; None if the run ends first."""
        try:
            reading = self._pipeline.run(get_room(self._pipeline, room_id))
            room: Room | None = await self._patience.unless_stopped(reading)
        except Exception as error:
            return error
        return room

    # While sending

    @property
    def full(self) -> bool:
        """Whether so many creates are in doubt that some must be settled first."""
        return len(self._doubts) >= MOST_DOUBTS

    @property
    def unsettled(self) -> bool:
        """Whether any create is in doubt."""
        return bool(self._doubts)

    @property
    def failure(self) -> VideoAPIError | None:
        """Why nothing can be proven: the service has created no room for as long as the run tries."""
        return self._check.failure

    def waits_until(self, moment: float | None) -> None:
        """Show until when the run waits for proof, and for how many creates."""
        self._report.settles_at = moment
        self._report.in_doubt = sum(doubt.create.step is Step.SCAN for doubt in self._doubts.values())

    def in_doubt(self, item: BulkItem) -> bool:
        """Return whether an item is unresolved."""
        return item.index in self._doubts

    def ended(self, item: BulkItem, outcome: Outcome) -> None:
        """Record what an attempt of an item has proved."""
        self._creator.note(item.request, outcome, shared=self._options.resumable)
        self._forms.add(item.request.reference_in_data)
        verdict = outcome.classification.verdict
        if verdict is Verdict.DONE:
            self._last_sent = self._clock()
            self._again.pop(item.index, None)
            self._rooms.add(outcome.value.room_id, item.index)
            self._write(item, "created", outcome.value.room_id)
        elif outcome.may_have_executed:
            self._last_sent = self._clock()
            create = self._again.pop(item.index, Create())
            self._put_in_doubt(item, attempted(create, Verdict.UNKNOWN, self._last_sent), outcome)
        elif verdict is Verdict.REJECTED:
            self._write(item, "failed")

    def not_sent(self, item: BulkItem) -> None:
        """Record that an item will not be sent in this run."""
        self._write(item, "not_sent")

    def torn_down(self, item: BulkItem) -> None:
        """Record that an item was abandoned in flight."""
        now = None if self._options.resumable else self._clock()
        self._creator.memory.note_sent(reference_of(item), item.request.reference_in_data, now)
        self._creator.memory.note_doubt(reference_of(item))
        log_unknown(item.request.route.name, reference_of(item))

    def _put_in_doubt(self, item: BulkItem, create: Create, outcome: Outcome | None) -> None:
        self._doubts[item.index] = Doubt(item.request, create, outcome, item=item)
        self._report.in_doubt = len(self._doubts)
        self._creator.memory.note_doubt(reference_of(item))

    # After sending

    async def settle(self, emit: Emit, absent: deque[BulkItem]) -> None:
        """Resolve the unresolved creates: emit those that are final, and add the others, proven absent, to `absent`."""
        doubts = list(self._doubts.values())
        if doubts and not self._patience.stopping():
            try:
                await self._creator.reconcile(
                    self._pipeline, doubts, self._check, self._patience, resend=self._options.resend
                )
            except Exception as error:
                # The credentials callable or a middleware, for example; the creates stay unknown.
                _give_up(doubts, error)
        final = [doubt for doubt in doubts if doubt.create.step is not Step.SEND]
        for doubt in doubts:
            if doubt.create.step is Step.SEND:
                self._again[doubt.item.index] = doubt.create
                self._creator.memory.note_proof(doubt.reference)
                absent.append(self._doubts.pop(doubt.item.index).item)
        self._report.in_doubt = len(self._doubts)
        for doubt in final:
            # Before it is emitted, which may be cancelled: it has only one outcome.
            del self._doubts[doubt.item.index]
            self._report.in_doubt = len(self._doubts)
            await emit(self._resolved(doubt))

    async def sends_again(self, item: BulkItem) -> None:
        """Record that an item that is proven absent is about to be sent again.

        Raises:
            ConfigurationError: If the journal cannot be written; the item must not be sent.
        """
        if self._journal is not None:
            self._check_account()
            await self._journal.intend(entry_of(item), identity_hash(item), SENT + spec_hash(item), again=True)

    def give_up(self) -> list[BulkOutcome]:
        """Return the outcomes of creates still unresolved when the run is torn down, for its report."""
        doubts = list(self._doubts.values())
        self._doubts.clear()
        self._report.in_doubt = 0
        return [self._resolved(doubt) for doubt in doubts]

    def _resolved(self, doubt: Doubt) -> BulkOutcome:
        item: BulkItem = doubt.item
        doubt.create = given_up(doubt.create)
        listed = doubt.listed
        if doubt.create.step in (Step.MADE, Step.NOT_MADE):
            self._creator.memory.note_proof(doubt.reference)
        if doubt.create.step is Step.MADE and listed is not None:
            if doubt.outcome is None:
                return self._existing(item, listed)
            self._write(item, "created", listed.room_id)
            return self._shown(item, listed, changed=False)
        if doubt.create.step is Step.NOT_MADE:
            self._write(item, "failed")
            return failed(item, "failed", doubt.error())
        log_unknown(item.request.route.name, doubt.reference)
        return failed(item, "unknown", doubt.error())

    def _made(self, item: BulkItem, room_id: str, room: Room | None, changed: bool) -> BulkOutcome:
        self._rooms.add(room_id, item.index)
        return BulkOutcome(
            index=item.index,
            key=item.key,
            reference=reference_of(item),
            status="created",
            room_id=room_id,
            room=room,
            changed=changed,
        )

    def _write(
        self,
        item: BulkItem,
        status: EntryStatus,
        room_id: str | None = None,
        *,
        identity: str | None = None,
        spec: str | None = None,
    ) -> None:
        # Credentials that changed the account mid-way leave an intent, which is looked up.
        if self._journal is not None and self._pipeline.app_id == self._app_id:
            self._journal.ended(entry_of(item), status, room_id, identity=identity, spec=spec)

    # The end

    async def audit(self) -> None:
        """Read the room list again, and report duplicate and missing rooms."""
        if not self._options.audit or not (self._rooms or self._forms):
            return
        owns = self._check.owns
        audit = Audit(
            self._creator,
            self._pipeline,
            self._report,
            self._rooms,
            self._earlier_until,
            owns,
            self._may_delete_surplus,
        )
        try:
            if self._options.audit == "settled":
                await self._audit_settled(audit)
            else:
                await audit.run(self._last_sent, self._patience)
        except Exception as error:
            # The credentials callable or a middleware, for example; the outcomes are complete.
            log.warning("%s: %s", NOT_CHECKED, text_of(error))
            return
        for reference, rooms in self._rooms.rooms.items():
            if owns(reference):
                for room in rooms:
                    self._check.adopt(room)

    def _may_delete_surplus(self, reference: str) -> bool:
        """Return whether surplus rooms are deleted: not those of a create that an earlier run may have reported."""
        return self._options.dedupe and not any(form in self._inherited for form in variants(reference))

    async def _audit_settled(self, audit: Audit) -> None:
        forms = self._forms or {False}
        for _ in range(_AUDITS):
            # All rooms of the run may be gone; some known room must show that the list is complete.
            await self._check.ensure(forms, self._patience)
            await self._creator.wait_for_proof(self._pipeline, self._last_sent, forms, self._patience, "audit")
            scan = await audit.run(self._last_sent, self._patience)
            if scan.standing or scan.error is not None or self._patience.stopping():
                return

    async def aclose(self) -> None:
        """Delete the self-check rooms and close the journal.

        Raises:
            ConfigurationError: If the journal could not be written.
        """
        self._ending.close()
        try:
            if await self._check.delete(Patience()) and self._journal is not None:
                await self._journal.forget_rooms(self._check_prefix)
        finally:
            if self._journal is not None:
                await self._journal.aclose()


def _give_up(doubts: list[Doubt], error: Exception) -> None:
    for doubt in doubts:
        if doubt.create.step not in (*FINAL, Step.SEND):
            doubt.create, doubt.later = given_up(doubt.create), error
