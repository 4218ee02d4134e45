"""The create protocol: sends, waits and scans around the state machine of `creation/state.py`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Literal

from videoapi.creation.create_request import new_reference
from videoapi.creation.doubts import Doubt, still_unknown
from videoapi.creation.memory import Memory, can_be_known
from videoapi.creation.patience import Patience
from videoapi.creation.proof import Scan, Scanner, get_room, missing_proof, unreadable_error, unsuitable
from videoapi.creation.references import DATA_KEY, JobReferences, is_in_data, is_reference, reference_in, variants
from videoapi.creation.scan import ListedRoom
from videoapi.creation.self_check import SelfCheckRoom
from videoapi.creation.state import FINAL, Create, CreatePolicy, ScanResult, Step, attempted, given_up, scanned
from videoapi.errors import CreateOutcomeUnknown, NotFound, ValidationError, VideoAPIError
from videoapi.events import log, log_cancelled, log_unknown
from videoapi.models.rooms import Room
from videoapi.models.validation import check_room_id
from videoapi.pipeline.clock import LoopClock
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import Request
from videoapi.protocol.types import Verdict

OnUnknown = Literal["look", "resend", "strict"]
DEFAULT_SETTLE: Final = 75.0
"""How long a request can still take effect after its connection broke, in seconds: common gateways allow 60 s."""
_POLLS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
_NAP: Final = 0.5
_ROUNDS: Final = 6
"""How often a settle time is waited for: a list that is seen to lag makes it longer."""


class Creator:
    """The create protocol, shared by a client and its views: creates rooms and resolves lost responses.

    Args:
        settle: Seconds after which an attempt no longer takes effect and the list shows its result.
    """

    def __init__(self, settle: float) -> None:
        self._clock = LoopClock()
        self.memory: Memory = Memory()
        self.self_check_turn: asyncio.Lock = asyncio.Lock()
        self._sending: Counter[str] = Counter()
        self.settling: int = 0
        """How many creates, look-ups and runs wait for proof now."""
        self.scanner: Scanner = Scanner(self.memory, settle)

    # One create

    async def create(
        self, pipeline: Pipeline, request: Request, on_unknown: OnUnknown = "look", *, shared: bool = False
    ) -> Room:
        """Create a room at most once.

        If the outcome is unknown, `look` polls for the room for up to 10 s, within the `timeout`;
        `resend` waits for proof, and sends again if the room is proven absent; `strict` does nothing.
        `shared` says that others know the reference, and may send it, too.

        Raises:
            CreateOutcomeUnknown: If no proof was found.
            VideoAPIError: If the room was definitely not created.
        """
        if pipeline.operation is None and pipeline.recorder is not None and (recorded := pipeline.begin(request)):
            with recorded:
                return await self.create(pipeline.within(recorded), request, on_unknown, shared=shared)
        began = self._clock()
        try:
            outcome = await self.send(pipeline, request, shared=shared)
            if outcome.classification.verdict is Verdict.DONE:
                room: Room = outcome.value
                return room
            try:
                return await self._resolved(pipeline, request, outcome, began, on_unknown)
            finally:
                if shared:
                    self._note_sent(request, shared=True)
        except asyncio.CancelledError as error:
            log_cancelled(error, request.route.name, request.reference)
            raise

    async def create_shared(self, pipeline: Pipeline, request: Request, on_unknown: OnUnknown) -> Room:
        """Create a room whose reference others know, too."""
        assert request.reference is not None
        with self.sending(request.reference):
            return await self.create(pipeline, request, on_unknown, shared=True)

    async def _resolved(
        self, pipeline: Pipeline, request: Request, outcome: Outcome, began: float, on_unknown: OnUnknown
    ) -> Room:
        """Return the room of a create that failed at first, or raise its error."""
        references = () if request.reference is None else (request.reference,)
        settled: Room | VideoAPIError | None = None
        if outcome.may_have_executed and on_unknown != "strict":
            try:
                settled = await self._settle(pipeline, request, outcome, began, on_unknown)
            except asyncio.CancelledError as error:
                # Also if the request that looked for the room was not.
                error.may_have_executed = True  # type: ignore[attr-defined]
                error.add_note(f"{_where(request)}: may have been executed. Reference: {request.reference}.")
                raise
            except Exception as error:
                # Whatever failed, the room may exist.
                outcome = still_unknown(outcome, error)
        if isinstance(settled, Room):
            self._note_proof(references)
            return settled
        failure = settled or error_from_outcome(request, outcome)
        self._note_sent(request)
        if failure.may_have_executed:
            log_unknown(request.route.name, request.reference)
        else:
            self._note_proof(references)
        raise failure

    async def _settle(
        self, pipeline: Pipeline, request: Request, outcome: Outcome, began: float, on_unknown: OnUnknown
    ) -> Room | VideoAPIError | None:
        """Look for the room of a lost create; return it, or the final error if there is proof."""
        timeout = request.timeout + request.reserved_time
        if on_unknown == "look":
            with self._settling(pipeline):
                return await self._look_until(pipeline, request, began + timeout)
        if request.options.timeout is None:
            timeout += 2 * (timeout + self.scanner.settle)
        return await self._prove(pipeline, request, outcome, began + timeout)

    async def send(self, pipeline: Pipeline, request: Request, *, shared: bool = False) -> Outcome:
        """Send a create, and record the known room or unresolved create."""
        try:
            outcome = await pipeline.send(request)
        except asyncio.CancelledError as error:
            self._note_sent(request, shared=shared)
            if getattr(error, "may_have_executed", True):
                self._note_doubt(request)
            raise
        self.note(request, outcome, shared=shared)
        return outcome

    def note(self, request: Request, outcome: Outcome, *, shared: bool) -> None:
        """Record the known room or unresolved create of an outcome."""
        if outcome.classification.verdict is Verdict.DONE:
            self._know(outcome.value, request.reference)
        elif outcome.may_have_executed:
            self._note_sent(request, shared=shared)
            self._note_doubt(request)

    def _note_sent(self, request: Request, *, shared: bool = False) -> None:
        if request.reference is not None:
            now = None if shared else self._clock()
            self.memory.note_sent(request.reference, request.reference_in_data, now)

    def _note_doubt(self, request: Request) -> None:
        if request.reference is not None:
            self.memory.note_doubt(request.reference)

    def _note_proof(self, references: Iterable[str]) -> None:
        for reference in references:
            self.memory.note_proof(reference)

    async def _look_until(self, pipeline: Pipeline, request: Request, deadline: float) -> Room | None:
        """Poll for the room until the deadline; absence proves nothing."""
        assert request.reference is not None
        clock, patience = self._clock, Patience(True, deadline)
        began = clock()
        error: VideoAPIError | None = None
        try:
            async with asyncio.timeout_at(deadline):
                for poll in _POLLS:
                    await patience.sleep(pipeline, max(0.0, min(began + poll, deadline - _NAP) - clock()))
                    scan = await self.scanner.look(pipeline, [request.reference], patience=patience)
                    if rooms := scan.found.get(request.reference):
                        self.know_listed(rooms[0])
                        return rooms[0].room
                    error = scan.obstacle
                    if began + poll >= deadline - _NAP:
                        break
        except TimeoutError:
            pass
        if error is not None:
            raise error
        return None

    async def _prove(
        self, pipeline: Pipeline, request: Request, outcome: Outcome, deadline: float
    ) -> Room | VideoAPIError:
        create = attempted(Create(), Verdict.UNKNOWN, self._clock())
        doubt = Doubt(request, create, outcome)
        patience = Patience(True, deadline)
        check = SelfCheckRoom(self, pipeline, JobReferences(new_reference()).self_check_prefix)
        try:
            async with asyncio.timeout_at(deadline):
                while doubt.create.step not in FINAL:
                    if doubt.create.step is Step.SEND:
                        await self._send_again(pipeline, doubt)
                    else:
                        await self.reconcile(pipeline, [doubt], check, patience)
        except TimeoutError:
            doubt.create = given_up(doubt.create)
        finally:
            await check.delete(patience)
        return doubt.room if doubt.room is not None else doubt.error()

    async def _send_again(self, pipeline: Pipeline, doubt: Doubt) -> None:
        outcome = doubt.outcome = await self.send(pipeline, doubt.request)
        verdict = Verdict.UNKNOWN if outcome.may_have_executed else outcome.verdict
        if verdict in (Verdict.NOT_SENT, Verdict.THROTTLED):
            # Proven absent before this attempt, which did not execute either: definitely not created.
            verdict = Verdict.REJECTED
        doubt.create = attempted(doubt.create, verdict, self._clock())

    # Later, or in another process

    async def resolve(
        self,
        pipeline: Pipeline,
        reference: str | None,
        control: str | Room | None = None,
        timeout: float | None = None,
    ) -> Room | None:
        """Look up the room of a create with unknown outcome; None if it provably does not exist.

        A proof that cannot be found within `timeout` seconds is not waited for.

        Raises:
            CreateOutcomeUnknown: If there is still no proof.
            ValidationError: If `reference` is not a reference, or `control` not a room of this library.
        """
        if not is_reference(reference):
            raise ValidationError(
                "Not a reference: expected the `reference` of an error or outcome.", field="reference"
            )
        room_id = None if control is None else _control_id(control)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                room, missing = await self._room_or_proof(pipeline, reference, room_id, limit.when())
        except TimeoutError:
            if not limit.expired():
                raise
            room, missing = None, f"none was found within {timeout:g} s (timeout)."
        if room is None and self._may_send(reference):
            missing = "this client is still creating it."
        if room is None and missing:
            raise CreateOutcomeUnknown(
                f"No proof whether a room with the reference {reference} exists: {missing}",
                reference=reference,
                may_have_executed=True,
            )
        self._note_proof(variants(reference))
        return room

    async def _room_or_proof(
        self, pipeline: Pipeline, reference: str, control: str | None, deadline: float | None
    ) -> tuple[Room | None, str]:
        """Return the room with a reference, or None and what is missing to prove its absence: empty if nothing is."""
        # Another process may have sent it until now.
        asked_at = self._clock()
        forms = variants(reference)
        scan = await self.scanner.look(pipeline, forms)
        if room := _room_of(scan, forms):
            return room, ""
        # A reference of the caller's own says `owner_ref`, even if the room has another `owner_ref`. Without a control,
        # known rooms must serve both.
        in_data = True if is_in_data(reference) else None
        named: Room | None = None
        carried: str | None = None
        if control is not None:
            try:
                named = await self._named(pipeline, control)
            except NotFound:
                return None, (
                    f"room {control}, which control= names, does not exist, or is too new to be read. Name a permanent "
                    f"one with control=, or ask again in {self.scanner.settle:.3g} s."
                )
            carried = reference_in(named.owner_ref, named.data)
            self._know(named, carried)
            in_data = in_data or named.owner_ref != carried
        remembered = [self.memory.sent(form) for form in forms]
        known_at, in_data = next(filter(None, remembered), (None, in_data))
        sent_at = asked_at if known_at is None else known_at
        # Self-check rooms of runs and creates may be deleted before the settle time ends.
        shown_from = partial(self.memory.oldest_for, in_data, lasting=True)
        if shown_from() is None:
            return None, missing_proof(scan) or unsuitable(named, in_data)
        missing = ""
        for _ in range(_ROUNDS):
            ready_at = max(sent_at, shown_from() or 0.0) + self.scanner.settle
            if deadline is not None and ready_at > deadline:
                return None, _too_short(ready_at - asked_at, deadline - asked_at, again=known_at is not None)
            with self._settling(pipeline):
                await Patience().sleep_until(pipeline, lambda: max(sent_at, shown_from() or 0.0) + self.scanner.settle)
            scan = await self.scanner.look(pipeline, forms if carried is None else (*forms, carried))
            if room := _room_of(scan, forms):
                return room, ""
            if missing := missing_proof(scan):
                break
            if shown_from() is None:
                missing = "the rooms that the list had to show were deleted during the wait. Name one with control=."
                break
            if scan.began < sent_at + self.scanner.settle or not scan.proves_absence(in_data):
                # The list was seen to lag, or the oldest of several known rooms was deleted.
                missing = "the list of rooms lags. Ask again later."
                continue
            if not _shows_owner_ref(scan, named, carried):
                missing = "the list does not show references as they were sent."
            elif remembered != [self.memory.sent(form) for form in forms]:
                missing = "this client has sent it again during the wait."
            break
        return None, missing

    @contextmanager
    def sending(self, start: str) -> Generator[None, None, None]:
        """Record, for the time of a create or a run, that it may send references that begin like this."""
        self._sending[start] += 1
        try:
            yield
        finally:
            self._sending[start] -= 1
            # Without those that are zero now.
            self._sending = +self._sending

    def _may_send(self, reference: str) -> bool:
        """Return whether a create or run of this client may send the reference."""
        return any(map(reference.startswith, self._sending))

    async def _named(self, pipeline: Pipeline, room_id: str) -> Room:
        room: Room = await pipeline.run(get_room(pipeline, room_id))
        if reference_in(room.owner_ref, room.data) is None:
            raise ValidationError("control must name a room that this library created.", field="control")
        return room

    async def with_reference(self, pipeline: Pipeline, room_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an update that keeps the reference of a room that this client created."""
        known = self.memory.room(room_id)
        self.memory.disqualify_room(room_id)
        if known is None:
            return body
        data = body.get("data")
        if data is None:
            # The service may replace `data` as a whole.
            room: Room = await pipeline.run(get_room(pipeline, room_id))
            if reference_in(None, room.data) == known.reference:
                return body
            data = room.data if isinstance(room.data, dict) else {}
        elif "owner_ref" not in body:
            room = await pipeline.run(get_room(pipeline, room_id))
            if reference_in(room.owner_ref, None) == known.reference:
                return body
        return {**body, "data": {**data, DATA_KEY: known.reference}}

    # Many unresolved creates

    async def reconcile(
        self,
        pipeline: Pipeline,
        doubts: Sequence[Doubt],
        check: SelfCheckRoom,
        patience: Patience,
        *,
        resend: bool = True,
    ) -> None:
        """Advance unresolved creates to their next step, with a scan now and one after the settle time.

        Afterwards each is `MADE`, `SEND` (proven absent, may be sent again), `NOT_MADE` or `UNKNOWN`.

        Args:
            pipeline: Sends requests and streams the room list.
            doubts: The creates to resolve; updated in place.
            check: Creates a self-check room if no known room proves that a list is complete.
            patience: How often to read the list, and when to give up.
            resend: Whether a create that is proven absent may be sent again.
        """
        await self._scan_for(pipeline, doubts, resend, patience)
        for _ in range(_ROUNDS):
            waiting = [doubt for doubt in doubts if doubt.create.step is Step.SCAN]
            if not waiting or patience.stopping():
                break
            forms = set().union(*(doubt.forms for doubt in waiting))
            sent_at = max(doubt.create.doubtful_since or 0.0 for doubt in waiting)
            await check.ensure(forms, patience)
            doubtful = "1 create" if len(waiting) == 1 else f"{len(waiting):,} creates"
            await self.wait_for_proof(pipeline, sent_at, forms, patience, f"{doubtful} in doubt")
            scan = await self._scan_for(pipeline, waiting, resend, patience)
            if scan.contradiction or scan.error is not None or check.failure is not None:
                break
            if all(doubt.later is not None for doubt in waiting if doubt.create.step is Step.SCAN):
                # Of each that is left, a room that cannot be read may be the room, and stays so.
                break
        for doubt in doubts:
            if doubt.create.step is Step.SCAN:
                doubt.create = given_up(doubt.create)
                doubt.later = doubt.later or check.failure

    async def _scan_for(self, pipeline: Pipeline, doubts: Sequence[Doubt], resend: bool, patience: Patience) -> Scan:
        references = [reference for doubt in doubts for reference in doubt.references]
        scan = await self.scanner.look(pipeline, references, patience=patience)
        rules = CreatePolicy(self.scanner.settle, resend)
        for doubt in doubts:
            rooms = [room for reference in doubt.references for room in scan.found.get(reference, ())]
            proves = all(scan.proves_absence(form, of=doubt.references) for form in doubt.forms)
            sight = ScanResult(scan.began, tuple(one.room_id for one in rooms), proves)
            doubt.create = scanned(doubt.create, sight, rules)
            doubt.listed = rooms[0] if rooms else None
            if rooms:
                self.know_listed(rooms[0])
            hidden = scan.unreadable.that_may_carry(doubt.references)
            doubt.later = scan.error or (unreadable_error(hidden) if hidden else None)
        return scan

    async def wait_for_proof(
        self, pipeline: Pipeline, sent_at: float, forms: Iterable[bool], patience: Patience, what: str
    ) -> None:
        """Wait until a scan can prove that creates sent by `sent_at`, in those forms, are absent."""
        settled_from = partial(self._settled_from, sent_at, tuple(forms))
        left = settled_from() - self._clock()
        if left > 1.0:
            log.info("%s: waiting %.0f s for proof (settle time)", what, left)
        patience.waits_until(settled_from())
        try:
            with self._settling(pipeline):
                await patience.sleep_until(pipeline, settled_from)
        finally:
            patience.waits_until(None)

    @contextmanager
    def _settling(self, pipeline: Pipeline) -> Generator[None, None, None]:
        """Count and record a wait for proof."""
        self.settling += 1
        try:
            with pipeline.settling():
                yield
        finally:
            self.settling -= 1

    def _settled_from(self, sent_at: float, forms: Iterable[bool]) -> float:
        shown = [moment for form in forms if (moment := self.memory.oldest_for(form)) is not None]
        return max([sent_at, *shown]) + self.scanner.settle

    # Known rooms

    def _know(self, room: Room, reference: str | None) -> None:
        """Remember a room that carries the reference unchanged; it is a known room if it stays."""
        in_owner_ref = room.owner_ref == reference
        in_data = isinstance(room.data, dict) and room.data.get(DATA_KEY) == reference
        if reference is not None and (in_owner_ref or in_data):
            self.memory.add_room(room.room_id, reference, in_data, in_owner_ref, self._clock())
            if not can_be_known(room):
                self.memory.disqualify_room(room.room_id)

    def know_listed(self, room: ListedRoom) -> None:
        """Add a room that a list has just shown."""
        self.memory.add_room(room.room_id, room.reference, room.in_data, room.in_owner_ref, self._clock())
        try:
            stays = room.raw is None or can_be_known(room.room)
        except ValueError:
            stays = False
        if not stays:
            self.memory.disqualify_room(room.room_id)


def _control_id(control: str | Room) -> str:
    try:
        return check_room_id(control.room_id if isinstance(control, Room) else control)
    except ValidationError as error:
        raise ValidationError(f"control must be a room or its ID: {error.message}", field="control") from None


def _too_short(needed: float, timeout: float, *, again: bool) -> str:
    then = f"Ask again in {needed:.3g} s." if again else "Raise the timeout, or wait without one."
    return (
        f"the list does not show it, and proof of absence takes {needed:.3g} s, not {timeout:.3g} s (timeout). {then}"
    )


def _shows_owner_ref(scan: Scan, control: Room | None, carried: str | None) -> bool:
    """Return whether a list shows the `owner_ref` of a control whose reference is in `data`, and so that of others."""
    if control is None or carried is None or control.owner_ref == carried:
        return True
    listed = (room.room for room in scan.found.get(carried, ()) if room.room_id == control.room_id)
    return any(room.owner_ref == control.owner_ref for room in listed)


def _room_of(scan: Scan, references: Iterable[str]) -> Room | None:
    return next((rooms[0].room for reference in references if (rooms := scan.found.get(reference))), None)


def _where(request: Request) -> str:
    return f"{request.method} {request.route.template}"
