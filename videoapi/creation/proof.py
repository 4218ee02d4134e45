"""What a reading of the room list proves.

A listed reference proves that the room exists. A missing one proves that it does not only if the
reading is complete and shows the known rooms unchanged. A list that is capped, filtered or truncated,
or that drops or shortens references, does not show them all and proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

import attrs

from videoapi.creation.create_request import ROOM
from videoapi.creation.memory import KnownRoom, Memory, can_be_known
from videoapi.creation.patience import Patience
from videoapi.creation.references import DATA_KEY
from videoapi.creation.scan import ListedRoom, ListedRooms, ListReader
from videoapi.creation.unreadable import References, UnreadableRooms
from videoapi.errors import NotFound, ProtocolError, VideoAPIError
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import GET_ROOM, LIST_ROOMS, Request

_AT_ONCE: Final = 16
_TOO_NEW: Final = "may be too new to be read"


@attrs.frozen
class Scan:
    """The result of one read of the room list.

    Args:
        began: When it started, in seconds of the event loop's clock.
        found: Rooms by the reference they carry, oldest first.
        error: Why it is incomplete; None if it is complete.
        contradiction: Which known room it should have shown but did not; empty if none.
        standing: Known rooms, older than the settle time, that it showed.
        shown: Known rooms of any age that it showed.
        lags: Whether it lacked a known room younger than the settle time, which exists.
        unreadable: The rooms that it showed, that cannot be read, and that may carry a reference looked for.
    """

    began: float
    found: dict[str, list[ListedRoom]]
    error: VideoAPIError | None = None
    contradiction: str = ""
    standing: tuple[KnownRoom, ...] = ()
    shown: tuple[KnownRoom, ...] = ()
    lags: bool = False
    unreadable: UnreadableRooms = attrs.field(factory=UnreadableRooms)

    @property
    def obstacle(self) -> VideoAPIError | None:
        """What broke it, or which rooms of it cannot be read; None if nothing."""
        return self.error or (unreadable_error(self.unreadable) if self.unreadable else None)

    def proves_absence(
        self, in_data: bool | None, *, of: Iterable[str] | None = None, of_any_age: bool = False
    ) -> bool:
        """Return whether a reference that it does not show is on no room.

        Args:
            in_data: Location of the reference: in `data`, in `owner_ref`, or None if that is not known.
            of: The references in question; by default any that was looked for. A room that cannot be read takes away
                the proof only of those that it may carry.
            of_any_age: Whether known rooms younger than the settle time serve, too. The list must then show all of
                them: a list that shows only some may lag, or be cut.
        """
        rooms = self.shown if of_any_age else self.standing
        forms = (True, False) if in_data is None else (in_data,)
        shown = all(any(room.serves(form) for room in rooms) for form in forms)
        if self.error is not None or self.contradiction or not shown or (of_any_age and self.lags):
            return False
        return not (self.unreadable if of is None else any(map(self.unreadable.may_carry, of)))


class Scanner:
    """Looks for references in the room list, on behalf of one client.

    Args:
        memory: The known rooms.
        settle: The settle time as configured, in seconds.
    """

    def __init__(self, memory: Memory, settle: float) -> None:
        self._memory = memory
        self._configured = settle
        self._lag = 0.0

    @property
    def settle(self) -> float:
        """Seconds to wait before absence is proof: as configured, plus three times the longest list lag seen.

        A longer lag than the configured time counts as that: four times the configured time is the most.
        """
        return self._configured + 3 * min(self._lag, self._configured)

    def unproven_for(self, created_by: float, asked_at: float) -> float:
        """Return for how many seconds a 404 does not prove yet that a room is gone: reads of a new room may lag, too.

        Args:
            created_by: When the room existed, or its create had been sent.
            asked_at: When the request that had this response was sent.
        """
        return max(0.0, created_by + self.settle - asked_at)

    async def look(
        self,
        pipeline: Pipeline,
        references: Iterable[str] = (),
        visitor: ListedRooms | None = None,
        patience: Patience | None = None,
    ) -> Scan:
        """Scan the room list, with a read that starts after this call.

        A list that cannot be read is read again after a backoff, for as long as the patience lasts.

        Args:
            pipeline: Streams the list.
            references: References to look for; their complete rooms are kept.
            visitor: Sees the rooms with any other reference, too.
            patience: How often to read; by default once, with the usual retries.
        """
        patience = patience or Patience()
        look = partial(self._look, patience.applied_to(pipeline), list(references), visitor, patience)
        while True:
            began = asyncio.get_running_loop().time()
            scan = await look()
            if not await patience.reads_again(pipeline, scan.error, began):
                return scan

    async def _look(
        self, pipeline: Pipeline, references: list[str], visitor: ListedRooms | None, patience: Patience
    ) -> Scan:
        """Read the list once; a read that outlasts the run is ended."""
        began = asyncio.get_running_loop().time()
        scan = await patience.unless_stopped(self._read(pipeline, references, visitor, patience))
        return scan or Scan(began, {}, ProtocolError("The run ended before the list of rooms was read."))

    async def _read(
        self, pipeline: Pipeline, references: list[str], visitor: ListedRooms | None, patience: Patience
    ) -> Scan:
        rooms = self._memory.rooms()
        reader = pipeline.account.shared.setdefault(ListReader, ListReader())
        known = {room.reference for room in rooms}
        reading = await reader.read(pipeline, references, known, visitor, paid=patience.paid, latest=patience.latest)
        began, found = reading.began, reading.found
        if reading.error is not None:
            return Scan(began, found, reading.error)
        unreadable = reading.unreadable
        if visitor is None:
            unreadable = unreadable.that_may_carry(references)
        else:
            unreadable = unreadable.among(References(references, visitor.starts))
        settled = began - self.settle
        unseen: list[KnownRoom] = []
        shown: list[KnownRoom] = []
        for room in rooms:
            if _shows(found, room):
                shown.append(room)
            elif room.made_at <= began:
                unseen.append(room)
        standing = tuple(room for room in shown if room.made_at <= settled)
        if references and all(reference in found for reference in references):
            # Nothing is absent that was looked for, so nothing is to be proved.
            return Scan(began, found, None, "", standing, tuple(shown), bool(unseen), unreadable)
        contradiction = await self._contradiction(pipeline, [room for room in unseen if room.made_at <= settled])
        young = sorted((room for room in unseen if room.made_at > settled), key=lambda room: room.made_at)
        lags = await self._learn_lag(pipeline, young, began)
        return Scan(began, found, None, contradiction, standing, tuple(shown), lags, unreadable)

    async def _contradiction(self, pipeline: Pipeline, unseen: list[KnownRoom]) -> str:
        """Return which of the rooms that the list lacks exists; forget those that were deleted or overwritten."""
        for start in range(0, len(unseen), _AT_ONCE):
            some = unseen[start : start + _AT_ONCE]
            reasons = await asyncio.gather(*(self._state(pipeline, room) for room in some))
            for room, reason in zip(some, reasons, strict=True):
                if reason:
                    return f"the list does not show room {room.room_id}, which {reason}"
        return ""

    async def _learn_lag(self, pipeline: Pipeline, unseen: list[KnownRoom], began: float) -> bool:
        """Note the age of the oldest room that exists and that the list does not show yet.

        Returns:
            Whether there may be one, as far as was looked.
        """
        lags = len(unseen) > _AT_ONCE
        for room in unseen[:_AT_ONCE]:
            state = await self._state(pipeline, room)
            if state == _TOO_NEW:
                lags = True
            elif state:
                self._lag = max(self._lag, began - room.made_at)
                return True
        return lags

    async def _state(self, pipeline: Pipeline, room: KnownRoom) -> str:
        """Return what is known of a room that the list should show; empty if it is gone, or was overwritten."""
        asked_at = asyncio.get_running_loop().time()
        try:
            found: Room = await pipeline.run(get_room(pipeline, room.room_id))
        except NotFound:
            if self.unproven_for(room.made_at, asked_at):
                return _TOO_NEW
            self._memory.forget_room(room.room_id)
            return ""
        except VideoAPIError as error:
            return f"could not be read ({type(error).__name__})"
        marked = isinstance(found.data, dict) and found.data.get(DATA_KEY) == room.reference
        if (room.in_owner_ref and found.owner_ref != room.reference) or (room.in_data and not marked):
            # Another client has overwritten the reference.
            self._memory.forget_room(room.room_id)
            return ""
        return "exists"


def missing_proof(scan: Scan) -> str:
    """Return why a reading of the list proves nothing; empty if it may."""
    if scan.error is not None:
        return f"the list of rooms could not be read ({type(scan.error).__name__})."
    if scan.contradiction:
        return f"{scan.contradiction}."
    return f"{scan.unreadable} cannot be read, and may be that room." if scan.unreadable else ""


def unreadable_error(rooms: UnreadableRooms) -> ProtocolError:
    """Return the error that says which rooms of the list cannot be read."""
    return ProtocolError(
        f"{LIST_ROOMS.method} {LIST_ROOMS.template}: {rooms} cannot be read, and may be the room that is looked for. "
        "Change or delete what cannot be read, and try again.",
        path=LIST_ROOMS.template,
    )


def get_room(pipeline: Pipeline, room_id: str) -> Request:
    """Return the request for one room."""
    return Request(
        route=GET_ROOM,
        path=GET_ROOM.path(room_id),
        options=pipeline.options,
        decoder=ROOM,
        accepts=lambda room: room.room_id == room_id,
    )


def _shows(found: dict[str, list[ListedRoom]], known: KnownRoom) -> bool:
    """Return whether a list shows a known room with its reference in the original locations."""
    return any(
        one.room_id == known.room_id
        and (one.in_data or not known.in_data)
        and (one.in_owner_ref or not known.in_owner_ref)
        for one in found.get(known.reference, ())
    )


def unsuitable(control: Room | None, in_data: bool | None) -> str:
    """Return why no known room proves anything, for a reference in that location."""
    if control is None:
        return "no room is known that a complete list must show. Name one with control=."
    room = f"room {control.room_id}, which control= names,"
    if not can_be_known(control):
        return f"{room} is for one session, and disappears by itself. Name a permanent one with control=."
    if in_data:
        return (
            f"{room} has its reference in owner_ref, and the list must show one in data. "
            "Name a room that was created with an owner_ref of its own."
        )
    return (
        f"{room} has its reference in data, and the list must show one in owner_ref. "
        "Name a room that was created without an owner_ref of its own."
    )
