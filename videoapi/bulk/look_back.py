"""What earlier runs of a job, or earlier holders of a shard, have created: read from the list of rooms, with proof."""

from __future__ import annotations

import asyncio
import math
from typing import Final

import attrs

from videoapi.creation.creator import Creator
from videoapi.creation.patience import Patience
from videoapi.creation.proof import Scan
from videoapi.creation.scan import ListedRoom, ListedRooms
from videoapi.creation.self_check import SelfCheckRoom
from videoapi.creation.unreadable import UnreadableRooms
from videoapi.pipeline.pipeline import Pipeline

_FORMS: Final = (False, True)
"""Specs may have gained or lost their `owner_ref` since."""
_PAUSES: Final = (1.0, 4.0)
"""Seconds until a list that does not show a new self-check room is read again."""
_NEARLY: Final = 0.1
"""By which part of a settle time a wait may be longer, so that the known rooms are older than it."""
RoomsByReference = dict[str, list[ListedRoom]]


@attrs.frozen
class Survey:
    """One reading of the list of rooms.

    Args:
        rooms: The rooms of the job, by reference, without self-check rooms.
        scan: What the reading proves.
    """

    rooms: RoomsByReference
    scan: Scan

    @property
    def shows_a_run(self) -> bool:
        """Whether it shows rooms of the job, also if they cannot be read."""
        return bool(self.rooms or self.scan.unreadable)


@attrs.frozen
class Findings:
    """What a look back has found.

    Args:
        rooms: The rooms of the job, by reference, without self-check rooms.
        proven: Whether the list proves that no others exist, except those that cannot be read.
        unreadable: The rooms that cannot be read, and that may be of the job.
    """

    rooms: RoomsByReference
    proven: bool
    unreadable: UnreadableRooms

    @property
    def is_whole(self) -> bool:
        """Whether the rooms are all rooms of the job."""
        return self.proven and not self.unreadable

    def proves_absence(self, reference: str) -> bool:
        """Return whether no room carries a reference that is not in `rooms`."""
        return self.proven and not self.unreadable.may_carry(reference)


class LookBack:
    """Reads the list once no request of an earlier process can take effect any more.

    Each look returns the rooms that it shows, and of which references it proves that no room carries them.

    Args:
        creator: The client's create protocol.
        pipeline: Streams the list.
        check: Creates a self-check room if no known room proves that a list is complete; adopts those of the job.
        prefix: The start of the references of the job.
        patience: For how long to read again a list that cannot be read.
    """

    def __init__(
        self,
        creator: Creator,
        pipeline: Pipeline,
        check: SelfCheckRoom,
        prefix: str,
        patience: Patience,
    ) -> None:
        self._creator = creator
        self._pipeline = pipeline
        self._check = check
        self._prefix = prefix
        self._patience = patience

    async def survey(self) -> Survey:
        """Read the list once; self-check rooms in it show that the job has run, and are adopted.

        Raises:
            VideoAPIError: If it cannot be read.
        """
        listed = ListedRooms(lambda reference: reference.startswith(self._prefix), [self._prefix], whole=True)
        scan = await self._creator.scanner.look(self._pipeline, visitor=listed, patience=self._patience)
        if scan.error is not None:
            raise scan.error
        for reference in [reference for reference in listed.rooms if self._check.owns(reference)]:
            for room in listed.rooms.pop(reference):
                self._check.adopt(room)
        return Survey(listed.rooms, scan)

    async def at_a_run(self, sent_until: float) -> Findings:
        """Look for the rooms of an earlier run of the whole job.

        Args:
            sent_until: When another process may have sent its last create, on the event loop's clock.
        """
        await self._check.ensure(set(_FORMS), self._patience)
        await self._wait(sent_until, _FORMS, "job resumed from the list of rooms")
        survey = await self.survey()
        return Findings(survey.rooms, survey.scan.proves_absence(None, of=()), survey.scan.unreadable)

    async def at_a_shard(self, sent_until: float, wanted: set[str] | None = None) -> Findings:
        """Look for the rooms of earlier holders of a shard.

        If the list has all rooms of the shard, nothing is to be created, so nothing has to be proved. Otherwise, once a
        settle time has passed since they may have sent, what is to be found is in the list. To show that the list is
        complete, known rooms younger than the settle time then serve, too, if it shows all that are known.

        Args:
            sent_until: When an earlier holder may have sent its last create, on the event loop's clock.
            wanted: The references of all rooms of the shard, or None if they are not known.
        """
        survey = await self.survey()
        if (wanted is not None and wanted <= survey.rooms.keys()) or self._proves(survey, sent_until):
            return Findings(survey.rooms, True, survey.scan.unreadable)
        await self._check.ensure(set(_FORMS), self._patience)
        nearly = self._known_since() - sent_until <= _NEARLY * self._creator.scanner.settle
        # A list that lacks a known room of that age is not complete; of a younger one, it says nothing yet.
        forms = _FORMS if nearly else ()
        await self._wait(sent_until, forms, "shard that was leased before")
        survey = await self.survey()
        for pause in (*_PAUSES, None):
            if self._proves(survey, sent_until) or survey.scan.contradiction or self._known_since() == math.inf:
                break
            if pause is None:
                await self._wait(sent_until, _FORMS, "list of rooms that lacks a new room")
            else:
                await self._pause(pause)
            survey = await self.survey()
        return Findings(survey.rooms, self._proves(survey, sent_until), survey.scan.unreadable)

    def _known_since(self) -> float:
        """Return since when known rooms serve both forms; infinity if none do."""
        since = [self._creator.memory.oldest_for(form) for form in _FORMS]
        return max(math.inf if moment is None else moment for moment in since)

    def _proves(self, survey: Survey, sent_until: float) -> bool:
        settled = survey.scan.began >= sent_until + self._creator.scanner.settle
        return settled and survey.scan.proves_absence(None, of=(), of_any_age=True)

    async def _wait(self, sent_until: float, forms: tuple[bool, ...], what: str) -> None:
        await self._creator.wait_for_proof(self._pipeline, sent_until, forms, self._patience, what)

    async def _pause(self, seconds: float) -> None:
        self._patience.waits_until(asyncio.get_running_loop().time() + seconds)
        try:
            await self._patience.sleep(self._pipeline, seconds)
        finally:
            self._patience.waits_until(None)
