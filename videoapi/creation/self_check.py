"""The self-check room of a run or of a single create: a room that a complete list must show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

from videoapi.creation.create_request import create_request
from videoapi.creation.references import DATA_KEY
from videoapi.creation.scan import ListedRoom, Patience
from videoapi.events import log
from videoapi.models.rooms import RoomSpec
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.backoff import jitter
from videoapi.protocol.routes import DELETE_ROOM, Request
from videoapi.protocol.types import Verdict

if TYPE_CHECKING:
    from videoapi.creation.creator import Creator

NAME: Final = "videoapi self-check, deleted soon"
_BASE: Final = 0.5
_CAP: Final = 20.0


class SelfCheck:
    """Creates the room if no known room serves as one, and deletes it at the end.

    It carries its reference in both locations. All attempts carry the same one, so one look finds all rooms.

    Args:
        creator: The client's create protocol.
        pipeline: Sends the requests.
        reference: The reference, which no other run uses.
        before: Awaited before the first request, to record it.
    """

    def __init__(
        self,
        creator: Creator,
        pipeline: Pipeline,
        reference: str,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.reference = reference
        self._creator = creator
        self._pipeline = pipeline
        self._before = before
        self._rooms: set[str] = set()
        self._lost = False
        """Whether a room may exist whose ID is unknown."""

    def adopt(self, rooms: Iterable[ListedRoom]) -> None:
        """Use the rooms of an earlier run of the job that could not delete them."""
        for room in rooms:
            self._rooms.add(room.room_id)
            self._creator.know_listed(room)

    def expect(self) -> None:
        """Look for the rooms of an earlier run before `delete` ends."""
        self._lost = True

    async def ensure(self, forms: set[bool], patience: Patience) -> None:
        """Create a room unless every form has a known room; give up when the patience or the retry budget ends."""
        memory, clock = self._creator.memory, self._pipeline.retries.clock
        tries = 0
        while any(memory.oldest_for(form) is None for form in forms):
            # The first one that is part of a proof is not a retry.
            costs = patience.paid or tries > 0
            if costs and self._pipeline.account.budget.spend(Verdict.UNKNOWN) is None:
                return
            if tries:
                await patience.sleep(self._pipeline, jitter(_BASE, _CAP, tries, clock.random()))
            if patience.stopping():
                return
            if not tries and self._before is not None:
                await self._before()
            tries += 1
            if await self._create() in (Verdict.DONE, Verdict.REJECTED):
                # If the service alters the reference, this room proves nothing, nor would the next.
                return

    async def _create(self) -> Verdict:
        spec = RoomSpec(NAME, owner_ref=self.reference, data={DATA_KEY: self.reference})
        request = create_request(spec, self.reference, self._pipeline.options, validate=False)
        lost, self._lost = self._lost, True
        outcome = await self._creator.send(self._pipeline, request)
        if outcome.verdict is Verdict.DONE:
            self._rooms.add(outcome.value.room_id)
        self._lost = lost or outcome.may_have_executed
        return outcome.verdict

    async def delete(self) -> bool:
        """Delete the rooms; return whether none is left."""
        rooms, lost = self._rooms, self._lost
        self._rooms, self._lost = set(), False
        try:
            if lost:
                scan = await self._creator.look(self._pipeline, [self.reference])
                rooms.update(room.room_id for room in scan.found.get(self.reference, ()))
                lost = scan.error is not None
            for room_id in sorted(rooms):
                self._creator.memory.forget_room(room_id)
                path = DELETE_ROOM.path(room_id)
                outcome = await self._pipeline.send(
                    Request(route=DELETE_ROOM, path=path, options=self._pipeline.options)
                )
                lost = lost or (outcome.verdict is not Verdict.DONE and outcome.status != 404)
        except Exception as error:
            # The credentials callable or a middleware, for example; it must not replace the result of the run.
            log.warning("self-check rooms were not deleted: %s", error)
            return False
        return not lost
