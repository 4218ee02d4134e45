"""The audit at the end of a run of creates: compares the room list with the rooms acknowledged."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from videoapi.bulk.compact import CompactMap
from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.report import BulkReport
from videoapi.creation.creator import Creator
from videoapi.creation.patience import Patience
from videoapi.creation.proof import Scan, get_room
from videoapi.creation.references import reference_in, with_location
from videoapi.creation.scan import ListedRoom, ListedRooms
from videoapi.errors import NotFound, VideoAPIError
from videoapi.events import log
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.routes import DELETE_ROOM, Request
from videoapi.protocol.types import Verdict

NOT_CHECKED: Final = "the rooms of the run were not checked again"
_AT_ONCE: Final = 16
_SHAPE: Final = 24
_YIELD_EVERY: Final = 5000
_MOST_REQUESTED: Final = 1000
"""How many rooms are requested one by one if the list proves nothing: one that lags may lack all of them."""


class AcknowledgedRooms(ListedRooms):
    """The rooms that a run has reported as created, by ID: about 18 bytes each; and which of them a list shows.

    `rooms` are the listed rooms of the job that the run did not report as created.

    Args:
        prefix: The start of the references of the job.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(lambda reference: reference.startswith(prefix), [prefix])
        self._index_of = CompactMap()
        # IDs of another shape than the service's.
        self._others: dict[str, int] = {}
        self._seen = bytearray()
        self._earlier = bytearray()
        self._last = 0

    def add(self, room_id: str, index: int) -> None:
        """Add a room, under the index of its item."""
        key = _packed(room_id)
        self._last = max(self._last, index)
        if key is None:
            self._others[room_id] = index
        else:
            self._index_of.add(key, index)

    def note_earlier(self, index: int) -> None:
        """Record that an earlier run has created the room of an item."""
        self._earlier.extend(bytes(max(0, 1 + index // 8 - len(self._earlier))))
        _mark(self._earlier, index)

    def __contains__(self, room_id: str) -> bool:
        return self._index(room_id) is not None

    def __bool__(self) -> bool:
        return bool(len(self._index_of) or self._others)

    def restart(self) -> None:
        """Forget which rooms were seen."""
        super().restart()
        self._seen = bytearray(1 + self._last // 8)

    def visit(self, room: ListedRoom) -> None:
        """Mark a room as seen, or keep one that was not reported."""
        if not self._accepts(room.reference):
            return
        index = self._index(room.room_id)
        if index is None:
            super().visit(room)
        else:
            _mark(self._seen, index)

    async def unseen(self, *, earlier: bool = False) -> list[tuple[int, str]]:
        """Return index and ID of the rooms that were not seen, by index; with `earlier`, only those of other runs."""
        found: list[tuple[int, str]] = []
        if earlier and not self._earlier:
            return found
        for number, (room_id, index) in enumerate(self._all(), 1):
            if not _is_marked(self._seen, index) and (not earlier or _is_marked(self._earlier, index)):
                found.append((index, room_id))
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return sorted(found)

    def _index(self, room_id: str) -> int | None:
        key = _packed(room_id)
        return self._others.get(room_id) if key is None else self._index_of.get(key)

    def _all(self) -> Iterator[tuple[str, int]]:
        for key, index in self._index_of:
            yield key.hex(), index
        yield from self._others.items()


class Audit:
    """Reports rooms that exist twice, and acknowledged rooms that are gone.

    Args:
        creator: Reads the room list.
        pipeline: Sends the requests.
        report: Receives what was found.
        rooms: The rooms acknowledged.
        earlier_until: When earlier runs had sent their last create, on the event loop's clock.
        is_check: Returns whether a reference is that of a self-check room.
        may_delete: Returns whether the surplus rooms with a reference are deleted.
    """

    def __init__(
        self,
        creator: Creator,
        pipeline: Pipeline,
        report: BulkReport,
        rooms: AcknowledgedRooms,
        earlier_until: float,
        is_check: Callable[[str], bool],
        may_delete: Callable[[str], bool],
    ) -> None:
        self._creator = creator
        self._pipeline = pipeline
        self._report = report
        self._rooms = rooms
        self._earlier_until = earlier_until
        self._is_check = is_check
        self._may_delete = may_delete

    async def run(self, last_sent: float, patience: Patience) -> Scan:
        """Read the list once; a second time if it shows rooms that the run did not report as created.

        Args:
            last_sent: When the run's last create was sent, in seconds of the event loop's clock.
            patience: For how long to read again a list that cannot be read.

        Returns:
            The first reading.
        """
        scan = await self._creator.scanner.look(self._pipeline, visitor=self._rooms, patience=patience)
        if scan.error is not None:
            log.warning("%s, because the list of rooms could not be read: %s", NOT_CHECKED, scan.error)
            return scan
        strays = {reference for reference in self._rooms.rooms if not self._is_check(reference)}
        duplicates_known = await self._find_duplicates(strays, patience) if strays else True
        if scan.unreadable:
            log.warning(
                "%s cannot be read, and may be of this job; whether a room exists twice or is missing is not proven",
                scan.unreadable,
            )
            duplicates_known = False
        settled = scan.began >= last_sent + self._creator.scanner.settle
        if settled and duplicates_known and scan.standing and not scan.contradiction:
            if await self._find_missing(await self._rooms.unseen()):
                age = asyncio.get_running_loop().time() - scan.began
                self._report.audited = datetime.now(UTC) - timedelta(seconds=age)
            return scan
        # That such a list lacks a room that this run has just created means nothing.
        await self._find_missing_of_earlier(await self._rooms.unseen(earlier=True))
        return scan

    async def _find_missing_of_earlier(self, unseen: list[tuple[int, str]]) -> None:
        if len(unseen) > _MOST_REQUESTED:
            log.warning(
                "%s rooms of earlier runs are not in the list of rooms, which proves nothing", f"{len(unseen):,}"
            )
            return
        asked_at = asyncio.get_running_loop().time()
        absent, _ = await absent_rooms(self._pipeline, unseen)
        left = self._creator.scanner.unproven_for(self._earlier_until, asked_at)
        if not left:
            self._report_missing(absent)
        elif absent:
            log.warning(
                "Rooms of earlier runs that were deleted, or are too new to be read: %s. To know which, repeat the run "
                'in %d s, or with audit="settled".',
                f"{len(absent):,}",
                math.ceil(left),
            )

    async def _find_duplicates(self, references: set[str], patience: Patience) -> bool:
        partners = ListedRooms(lambda reference: with_location(reference, in_data=False) in references, references)
        scan = await self._creator.scanner.look(self._pipeline, visitor=partners, patience=patience)
        for rooms in partners.rooms.values():
            if len(rooms) > 1:
                reference = rooms[0].reference
                self._report.duplicates[reference] = tuple(room.room_id for room in rooms)
                if self._may_delete(reference):
                    await self._delete_surplus(rooms)
        return scan.obstacle is None

    async def _delete_surplus(self, rooms: list[ListedRoom]) -> None:
        surplus = [room.room_id for room in rooms if room.room_id not in self._rooms]
        if len(surplus) == len(rooms):
            # None of them was acknowledged in this run: which one is surplus is not known.
            return
        for room_id in surplus:
            self._creator.memory.forget_room(room_id)
            request = Request(route=DELETE_ROOM, path=DELETE_ROOM.path(room_id), options=self._pipeline.options)
            outcome = await self._pipeline.send(request)
            if outcome.verdict is Verdict.DONE:
                self._report.removed.append(room_id)

    async def _find_missing(self, unlisted: list[tuple[int, str]]) -> bool:
        """Request each acknowledged room that the list lacks; return whether each of them is known to be gone."""
        gone, known = await absent_rooms(self._pipeline, unlisted)
        self._report_missing(gone)
        return known

    def _report_missing(self, gone: list[tuple[int, str]]) -> None:
        outcomes = {outcome.index: outcome for outcome in self._report.made} if gone else {}
        for index, room_id in gone:
            self._creator.memory.forget_room(room_id)
            outcome = outcomes.get(index) or BulkOutcome(index=index, status="created", room_id=room_id)
            self._report.missing.append(outcome)


async def absent_rooms(pipeline: Pipeline, unlisted: Iterable[tuple[int, str]]) -> tuple[list[tuple[int, str]], bool]:
    """Request each acknowledged room that a list lacks: only the service can say that it is gone.

    Args:
        pipeline: Sends the requests.
        unlisted: Index and ID of each room.

    Returns:
        Those that the service does not find, so that they are gone unless they are younger than the settle time; and
        whether all others are known to exist without their reference. If not, the list is not complete, or a room
        cannot be read.
    """
    absent: list[tuple[int, str]] = []
    known = True
    unseen = iter(unlisted)
    while some := list(islice(unseen, _AT_ONCE)):
        requests = (_is_absent(pipeline, room_id) for _, room_id in some)
        # User code that runs in a request can raise anything, also by cancelling it.
        answers = await asyncio.gather(*requests, return_exceptions=True)
        known = known and all(isinstance(answer, bool) for answer in answers)
        absent.extend(room for room, answer in zip(some, answers, strict=True) if answer is True)
    return absent, known


async def _is_absent(pipeline: Pipeline, room_id: str) -> bool | None:
    """Return whether the service lacks a room; None if a complete list should have shown it, or it cannot be read."""
    try:
        room: Room = await pipeline.run(get_room(pipeline, room_id))
    except NotFound:
        return True
    except VideoAPIError:
        return None
    # A room whose reference was changed since is not in the list as one of ours.
    return None if reference_in(room.owner_ref, room.data) is not None else False


def _mark(bits: bytearray, index: int) -> None:
    bits[index // 8] |= 1 << index % 8


def _is_marked(bits: bytearray, index: int) -> bool:
    return index // 8 < len(bits) and bool(bits[index // 8] >> index % 8 & 1)


def _packed(room_id: str) -> bytes | None:
    try:
        packed = bytes.fromhex(room_id) if len(room_id) == _SHAPE else None
    except ValueError:
        return None
    # Upper case would not come back as it was.
    return packed if packed is not None and packed.hex() == room_id else None
