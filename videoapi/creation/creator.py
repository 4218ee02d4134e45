"""The create protocol: sends, waits and scans around the state machine of `creation/state.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Literal

from videoapi.creation.controls import Controls
from videoapi.creation.create_request import create_request, new_reference
from videoapi.creation.doubts import Doubt, Memory, still_unknown
from videoapi.creation.references import DATA_KEY, is_in_data, is_reference, reference_in, variants, with_location
from videoapi.creation.scan import Scan, Scanner, get_room
from videoapi.creation.state import FINAL, Create, CreatePolicy, ScanResult, Step, attempted, given_up, scanned
from videoapi.errors import CreateOutcomeUnknown, ValidationError, VideoAPIError
from videoapi.events import log, log_unknown
from videoapi.models.rooms import Room, RoomSpec
from videoapi.models.validation import check_room_id
from videoapi.pipeline.clock import LoopClock
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import DELETE_ROOM, Request
from videoapi.protocol.types import Verdict

OnUnknown = Literal["look", "resend", "strict"]
DEFAULT_SETTLE: Final = 75.0
"""How long a request can still take effect after its connection broke, in seconds: common gateways allow 60 s."""
_POLLS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
_NAP: Final = 0.25
_CHECKS: Final = 5


class Creator:
    """The create protocol, shared by a client and its views: creates rooms and resolves lost responses.

    Args:
        settle: Seconds after which an attempt no longer takes effect and the list shows its result.
    """

    def __init__(self, settle: float) -> None:
        self._configured = settle
        self._lag = 0.0
        self._clock = LoopClock()
        self._born: float | None = None
        self._checks: dict[str, str | None] = {}
        self.controls = Controls()
        self.memory = Memory()
        self.scanner = Scanner(self.controls, lambda: self.settle)

    @property
    def settle(self) -> float:
        """Seconds to wait before absence is proof: as configured, plus three times the longest list lag seen."""
        return self._configured + 3 * self._lag

    def started_at(self) -> float:
        """Return when this client was first used; earlier processes sent their requests before that."""
        if self._born is None:
            self._born = self._clock()
        return self._born

    # One create

    async def create(self, pipeline: Pipeline, request: Request, on_unknown: OnUnknown = "look") -> Room:
        """Create a room at most once.

        If the outcome is unknown, `look` polls for the room in the last quarter of the `timeout`, at
        most 10 s; `resend` waits for proof, and sends again if the room is proven absent; `strict`
        does nothing.

        Raises:
            CreateOutcomeUnknown: If no proof was found.
            VideoAPIError: If the room was definitely not created.
        """
        began = self._clock()
        if self._born is None:
            self._born = began
        outcome = await self.send(pipeline, request)
        if outcome.classification.verdict is Verdict.DONE:
            created: Room = outcome.value
            return created
        settled: Room | VideoAPIError | None = None
        if outcome.may_have_executed and on_unknown != "strict":
            try:
                settled = await self._settle(pipeline, request, outcome, began, on_unknown)
            except asyncio.CancelledError as error:
                error.add_note(f"{_where(request)}: may have been executed. Reference: {request.reference}.")
                raise
            except Exception as error:
                # Whatever failed, it does not change that the room may exist.
                outcome = still_unknown(outcome, error)
        if isinstance(settled, Room):
            return settled
        failure = settled or error_from_outcome(request, outcome)
        self.memory.note(request)
        if failure.may_have_executed:
            log_unknown(request.route.name, request.reference)
        raise failure

    async def _settle(
        self, pipeline: Pipeline, request: Request, outcome: Outcome, began: float, on_unknown: OnUnknown
    ) -> Room | VideoAPIError | None:
        """Look for the room of a create with unknown outcome; return it, or the final error if there is proof."""
        timeout = request.timeout + request.reserved_time
        if on_unknown == "look":
            return await self._look_until(pipeline, request, began + timeout)
        if request.options.timeout is None:
            timeout += 2 * (timeout + self.settle)
        return await self._prove(pipeline, request, outcome, began + timeout)

    async def send(self, pipeline: Pipeline, request: Request) -> Outcome:
        """Send a create, and record the resulting known room or unresolved create."""
        try:
            outcome = await pipeline.send(request)
        except asyncio.CancelledError:
            self.memory.note(request)
            raise
        self.note(request, outcome)
        return outcome

    def note(self, request: Request, outcome: Outcome) -> None:
        """Record the known room or unresolved create that results from an outcome."""
        if outcome.classification.verdict is Verdict.DONE:
            self._control(outcome.value, request.reference)
        elif outcome.may_have_executed:
            self.memory.note(request)

    async def _look_until(self, pipeline: Pipeline, request: Request, deadline: float) -> Room | None:
        """Poll for the room until the deadline; absence proves nothing here."""
        assert request.reference is not None
        clock = self._clock
        began = clock()
        error: VideoAPIError | None = None
        try:
            async with asyncio.timeout_at(deadline):
                for poll in _POLLS:
                    await _sleep(pipeline, max(0.0, min(began + poll, deadline - _NAP) - clock()))
                    scan = await self.scanner.look(pipeline, [request.reference], paid=True)
                    if rooms := scan.found.get(request.reference):
                        return rooms[0].room
                    error = scan.error
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
        try:
            async with asyncio.timeout_at(deadline):
                while doubt.create.step not in FINAL:
                    if doubt.create.step is Step.SEND:
                        await self._send_again(pipeline, doubt)
                    else:
                        await self.reconcile(pipeline, [doubt], paid=True)
        except TimeoutError:
            doubt.create = given_up(doubt.create)
        finally:
            await self.delete_probe_rooms(pipeline)
        return doubt.room if doubt.room is not None else doubt.error()

    async def _send_again(self, pipeline: Pipeline, doubt: Doubt) -> None:
        outcome = doubt.outcome = await self.send(pipeline, doubt.request)
        verdict = Verdict.UNKNOWN if outcome.may_have_executed else outcome.verdict
        if verdict in (Verdict.NOT_SENT, Verdict.THROTTLED):
            # Proven absent before this attempt, which did not execute either: definitely not created.
            verdict = Verdict.REJECTED
        doubt.create = attempted(doubt.create, verdict, self._clock())
        doubt.room = outcome.value if verdict is Verdict.DONE else None

    # Later, or in another process

    async def resolve(self, pipeline: Pipeline, reference: str, control: str | Room | None = None) -> Room | None:
        """Look up the room of a create with unknown outcome; None if it provably does not exist.

        Raises:
            CreateOutcomeUnknown: If there is still no proof.
            ValidationError: If `reference` is not a reference, or `control` not a room of this library.
        """
        if not is_reference(reference):
            raise ValidationError(
                "Not a reference: expected the `reference` of an error or outcome.", field="reference"
            )
        started_at = self.started_at()
        forms = variants(reference)
        scan = await self._scan(pipeline, *forms)
        if room := _room_of(scan, forms):
            return room
        # A reference of the caller's own says `owner_ref`, even if the room has another `owner_ref`. Without a control,
        # known rooms must serve both.
        in_data = True if is_in_data(reference) else None
        if control is not None:
            named = await self._named(pipeline, control)
            carried = reference_in(named.owner_ref, named.data)
            self._control(named, carried)
            in_data = in_data or named.owner_ref != carried
        remembered = (sent for form in forms if (sent := self.memory.of(form)) is not None)
        sent_at, in_data = next(remembered, (started_at, in_data))
        shown_from = self.controls.oldest_for(in_data)
        if shown_from is not None:
            await self.sleep_until(pipeline, lambda: max(sent_at, shown_from) + self.settle)
            scan = await self._scan(pipeline, *forms)
            if room := _room_of(scan, forms):
                return room
            if scan.proves_absence(in_data) and scan.began >= sent_at + self.settle:
                return None
        raise CreateOutcomeUnknown(
            f"No proof whether a room with the reference {reference} exists: {_missing_proof(scan, shown_from)}",
            reference=reference,
            may_have_executed=True,
        )

    async def _named(self, pipeline: Pipeline, control: str | Room) -> Room:
        room_id = check_room_id(control.room_id if isinstance(control, Room) else control)
        room: Room = await pipeline.run(get_room(pipeline, room_id))
        if reference_in(room.owner_ref, room.data) is None:
            raise ValidationError("control must name a room that this library created.", field="control")
        return room

    async def _scan(self, pipeline: Pipeline, *references: str, paid: bool = False) -> Scan:
        scan = await self.scanner.look(pipeline, references, paid=paid)
        self._lag = max(self._lag, scan.lag)
        return scan

    # Many unresolved creates

    async def reconcile(
        self,
        pipeline: Pipeline,
        doubts: Sequence[Doubt],
        *,
        resend: bool = True,
        stopping: Callable[[], bool] = lambda: False,
        paid: bool = False,
    ) -> None:
        """Advance unresolved creates to their next step, with one scan now and another after the settle time.

        Afterwards each is `MADE`, `SEND` (proven absent, may be sent again), `NOT_MADE` or `UNKNOWN`.

        Args:
            pipeline: Sends requests and streams the room list.
            doubts: The creates to resolve; updated in place.
            resend: Whether a create that is proven absent may be sent again.
            stopping: Polled while waiting; true gives up at once.
            paid: Whether the look-ups are paid from the account's retry budget, as those of single creates are.
        """
        await self._scan_for(pipeline, doubts, resend, paid)
        for _ in range(2):
            waiting = [doubt for doubt in doubts if doubt.create.step is Step.SCAN]
            if not waiting or stopping():
                break
            forms = {doubt.request.reference_in_data for doubt in waiting}
            sent_at = max(doubt.create.doubtful_since or 0.0 for doubt in waiting)
            await self.ensure_known_room(pipeline, forms, paid)
            await self.sleep_until(pipeline, partial(self.settled_from, sent_at, forms), stopping)
            scan = await self._scan_for(pipeline, waiting, resend, paid)
            if scan.missing:
                break
        for doubt in doubts:
            if doubt.create.step is Step.SCAN:
                doubt.create = given_up(doubt.create)

    async def _scan_for(self, pipeline: Pipeline, doubts: Sequence[Doubt], resend: bool, paid: bool) -> Scan:
        scan = await self._scan(pipeline, *(doubt.reference for doubt in doubts), paid=paid)
        rules = CreatePolicy(self.settle, resend)
        for doubt in doubts:
            rooms = scan.found.get(doubt.reference, [])
            proves = scan.proves_absence(doubt.request.reference_in_data)
            sight = ScanResult(scan.began, tuple(one.room_id for one in rooms), proves)
            doubt.create = scanned(doubt.create, sight, rules)
            doubt.room = rooms[0].room if rooms else None
            doubt.later = scan.error
        return scan

    def settled_from(self, sent_at: float, forms: Iterable[bool]) -> float:
        """Return from when on a scan can prove that creates sent by `sent_at`, in those forms, are absent."""
        shown = [moment for form in forms if (moment := self.controls.oldest_for(form)) is not None]
        return max([sent_at, *shown]) + self.settle

    async def sleep_until(
        self, pipeline: Pipeline, moment: Callable[[], float], stopping: Callable[[], bool] = lambda: False
    ) -> None:
        clock = self._clock
        # In short sleeps: the moment moves when the list is seen to lag, and the run may be stopped.
        while (left := moment() - clock()) > 0 and not stopping():
            await _sleep(pipeline, min(left, _NAP))

    # Known rooms

    def _control(self, room: Room, reference: str | None) -> None:
        """Add a room to the known rooms if it carries the reference unchanged."""
        in_owner_ref = room.owner_ref == reference
        in_data = isinstance(room.data, dict) and room.data.get(DATA_KEY) == reference
        if reference is not None and (in_owner_ref or in_data):
            self.controls.add(room.room_id, reference, in_data, in_owner_ref, self._clock())

    async def ensure_known_room(self, pipeline: Pipeline, forms: set[bool], paid: bool = False) -> None:
        """Create a self-check room if a form has no known room; a complete list must show it.

        It carries its reference in both locations, and `delete_probe_rooms` deletes it.
        """
        for _ in range(_CHECKS):
            if all(self.controls.oldest_for(form) is not None for form in forms):
                return
            if paid and pipeline.account.budget.spend(Verdict.UNKNOWN) is None:
                return
            reference = with_location(new_reference(), in_data=True)
            spec = RoomSpec("videoapi self-check, deleted soon", owner_ref=reference, data={DATA_KEY: reference})
            self._checks[reference] = None
            outcome = await self.send(pipeline, create_request(spec, reference, pipeline.options, validate=False))
            if outcome.verdict is Verdict.DONE:
                # If the service alters the reference, this room proves nothing, nor would the next.
                self._checks[reference] = outcome.value.room_id
                return
            if outcome.verdict is Verdict.REJECTED:
                return

    async def delete_probe_rooms(self, pipeline: Pipeline) -> None:
        """Delete the self-check rooms; one that cannot be found or deleted remains and is harmless."""
        checks, self._checks = self._checks, {}
        lost = [reference for reference, room_id in checks.items() if room_id is None]
        ids = [room_id for room_id in checks.values() if room_id is not None]
        try:
            if lost:
                found = (await self.scanner.look(pipeline, lost)).found
                ids += [room.room_id for reference in lost for room in found.get(reference, ())]
            for room_id in ids:
                self.controls.forget(room_id)
                path = DELETE_ROOM.path(room_id)
                await pipeline.send(Request(route=DELETE_ROOM, path=path, options=pipeline.options))
        except Exception as error:
            # The credentials callable or a middleware, for example; it must not replace the result of the run.
            log.warning("self-check rooms were not deleted: %s", error)


def _missing_proof(scan: Scan, shown_from: float | None) -> str:
    if scan.error is not None:
        return f"the list of rooms could not be read ({type(scan.error).__name__})."
    if scan.missing:
        return f"the list does not show room {scan.missing[0].room_id}, which exists."
    if shown_from is None:
        return "no room is known that an honest list must show. Name one with control=."
    return "the list does not show references as they were sent."


def _room_of(scan: Scan, references: Iterable[str]) -> Room | None:
    return next((rooms[0].room for reference in references if (rooms := scan.found.get(reference))), None)


def _where(request: Request) -> str:
    return f"{request.method} {request.route.template}"


async def _sleep(pipeline: Pipeline, seconds: float) -> None:
    # Never on a test's clock: the settle time is that of the service.
    await pipeline.until_closed(partial(asyncio.sleep, seconds))
