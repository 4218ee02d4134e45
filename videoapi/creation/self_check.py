"""The self-check room of a run or of a single create: a room that a complete list must show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import attrs

from videoapi.creation.create_request import create_request, new_self_check_reference
from videoapi.creation.patience import Patience
from videoapi.creation.references import DATA_KEY
from videoapi.creation.scan import ListedRoom, ListedRooms
from videoapi.errors import CallTimeout, VideoAPIError, text_of
from videoapi.events import log
from videoapi.models.rooms import RoomSpec
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.backoff import jitter
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import DELETE_ROOM, Request
from videoapi.protocol.types import Verdict

if TYPE_CHECKING:
    from videoapi.creation.creator import Creator

NAME: Final = "videoapi self-check, deleted soon"
_BASE: Final = 0.25
_CAP: Final = 5.0
_MOST_REJECTIONS: Final = 4
_LAST: Final = 10.0
"""Limit of each request that deletes the rooms, in seconds."""


class SelfCheckRoom:
    """Creates such a room if no known room serves as one, and deletes it at the end.

    It carries its reference in both locations.

    Args:
        creator: The client's create protocol.
        pipeline: Sends the requests.
        prefix: The start of the rooms' references. It is derived from the job, so that the next run of the job finds
            what a killed one left, and no run deletes the rooms of another job.
        before: Awaited with each reference before the room is created, to record it.
    """

    def __init__(
        self,
        creator: Creator,
        pipeline: Pipeline,
        prefix: str,
        before: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self._creator = creator
        self._pipeline = pipeline
        self._prefix = prefix
        self._before = before
        self._rooms: set[str] = set()
        self._expected = self._unknown = self._useless = False
        self._rejections = 0
        self._tried_for = 0.0
        self.failure: VideoAPIError | None = None
        """Why the last `ensure` gave up, if its patience ended."""

    @property
    def adopted(self) -> bool:
        """Whether an earlier run has left a room."""
        return bool(self._rooms)

    def owns(self, reference: str) -> bool:
        """Return whether a reference is that of a self-check room of this job."""
        return reference.startswith(self._prefix)

    def adopt(self, room: ListedRoom) -> None:
        """Use, and finally delete, a room that an earlier run could not delete."""
        self._rooms.add(room.room_id)
        self._creator.know_listed(room)
        self._creator.memory.note_temporary(room.room_id)

    def expect(self) -> None:
        """Look for rooms that an earlier run, or a lost response, may have left, before `delete` ends."""
        self._expected = True

    async def ensure(self, forms: set[bool], patience: Patience) -> None:
        """Create a room unless every form has a known room; give up when the patience or the retry budget ends.

        `give_up_after` counts for all calls together, until there are known rooms again.
        """
        if not patience.paid:
            return await self._ensure(forms, patience)
        # Single creates that wait for proof at the same time need one room, not one each.
        async with self._creator.self_check_turn:
            return await self._ensure(forms, patience)

    async def _ensure(self, forms: set[bool], patience: Patience) -> None:
        memory, clock = self._creator.memory, self._pipeline.retries.clock
        pipeline = patience.applied_to(self._pipeline)
        began, tries = clock.now() - self._tried_for, 0
        self.failure = None

        def is_missing() -> bool:
            return not self._useless and any(memory.oldest_for(form) is None for form in forms)

        if patience.paid and is_missing() and pipeline.account.budget.spend(Verdict.UNKNOWN) is None:
            return
        while is_missing():
            if patience.stopping():
                return
            outcome = await self._create(pipeline)
            tries += 1
            self._rejections += outcome.verdict is Verdict.REJECTED
            if outcome.verdict is Verdict.DONE or self._rejections >= _MOST_REJECTIONS:
                # If the service alters the reference, this room proves nothing, nor would the next.
                self._useless = is_missing()
                break
            self._tried_for = clock.now() - began
            cause = outcome.reason if outcome.status is None else f"HTTP {outcome.status}"
            wait = jitter(_BASE, _CAP, tries, clock.random())
            if 0 < patience.give_up_after < self._tried_for + wait:
                seconds = patience.give_up_after
                self.failure = CallTimeout(
                    f"No self-check room was created within {seconds:g} s (give_up_after). The last attempt: {cause}.",
                    status=outcome.status,
                    retryable=True,
                )
                return
            if pipeline.account.budget.spend(Verdict.UNKNOWN) is None:
                return
            log.info("the self-check room was not created (%s); trying again in %.1f s", cause, wait)
            await patience.sleep(pipeline, wait)
        self._tried_for = 0.0

    async def _create(self, pipeline: Pipeline) -> Outcome:
        reference = new_self_check_reference(self._prefix)
        if self._before is not None:
            await self._before(reference)
        spec = RoomSpec(NAME, owner_ref=reference, data={DATA_KEY: reference})
        request = create_request(spec, reference, pipeline.options, validate=False)
        unknown, self._unknown = self._unknown, True
        try:
            outcome = await self._creator.send(pipeline, request)
        finally:
            # `stats().doubts` counts only creates of users: `delete` looks for what is left of these.
            self._creator.memory.note_proof(reference)
        if outcome.verdict is Verdict.DONE:
            self._rooms.add(outcome.value.room_id)
            self._creator.memory.note_temporary(outcome.value.room_id)
        self._unknown = unknown or (outcome.may_have_executed and outcome.verdict is not Verdict.DONE)
        return outcome

    async def delete(self, patience: Patience) -> bool:
        """Delete the rooms; return whether none is left. A service that hangs delays the run's end only briefly."""
        limits = attrs.evolve(self._pipeline.options, timeout=_LAST)
        pipeline = attrs.evolve(self._pipeline, options=limits)
        try:
            # A create that is unresolved, of this run or of a killed one, may still take effect.
            left = self._unknown or (self._expected and not self._rooms)
            if self._unknown or self._expected:
                listed = ListedRooms(self.owns, [self._prefix])
                scan = await self._creator.scanner.look(pipeline, visitor=listed, patience=patience)
                self._rooms.update(room.room_id for rooms in listed.rooms.values() for room in rooms)
                left = self._unknown or scan.obstacle is not None or not self._rooms
            rooms, self._rooms = self._rooms, set()
            for room_id in sorted(rooms):
                self._creator.memory.forget_room(room_id)
                path = DELETE_ROOM.path(room_id)
                outcome = await pipeline.send(Request(route=DELETE_ROOM, path=path, options=limits))
                left = left or (outcome.verdict is not Verdict.DONE and outcome.status != 404)
        except Exception as error:
            # The credentials callable or a middleware, for example; it must not replace the result of the run.
            log.warning("self-check rooms were not deleted: %s", text_of(error))
            return False
        return not left
