"""Looking for rooms by their reference: one streamed reading of the room list for all who wait.

A scan proves that a room exists by showing it. That a room does not exist it proves only where it is
complete and shows the control rooms, unchanged. A list that is capped, filtered or cut, or that
drops or shortens references, does not show them all, and proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

import attrs
import msgspec

from videoapi.creation.controls import Control, Controls
from videoapi.creation.create_request import ROOM
from videoapi.creation.references import DATA_KEY, is_reference
from videoapi.errors import NotFound, ProtocolError, VideoAPIError
from videoapi.models.codec import RecordDecoder
from videoapi.models.ids import is_id
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.envelope import InvalidJSON, parse
from videoapi.protocol.routes import GET_ROOM, LIST_ROOMS, Request
from videoapi.streaming.splitter import Block
from videoapi.streaming.streamed_response import StreamedResponse, StreamTimeout

PREFIX: Final = b"vx"
"""Stands in every reference of ours, and so in the text of every room that carries one."""
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)
_TRIES: Final = 3
_ASKED_FOR: Final = 5
_MOST_BYTES: Final = 16 * 1024**3
"""There is no shorter list to ask for, and next to nothing of it is kept: a million rooms are more than 1 GiB."""


class ListedRoom(msgspec.Struct, frozen=True, gc=False):
    """A room in the list that carries a reference of ours."""

    reference: str
    room_id: str
    created: str
    in_data: bool
    in_owner_ref: bool
    raw: bytes | None = None

    @property
    def room(self) -> Room:
        """The room as the list shows it; only of references that were asked for by name."""
        assert self.raw is not None
        return RecordDecoder(Room, extra=True).decode(self.raw)


@attrs.frozen
class Scan:
    """What one reading of the list has shown.

    Args:
        began: When it began, on the loop's clock.
        found: Rooms by the reference they carry, the oldest first.
        error: Why it is not complete; None where it is.
        missing: Control rooms that it should have shown, and did not.
        standing: Control rooms that it showed.
        lag: How long a room of ours was known to exist that the list did not show yet, in seconds.
    """

    began: float
    found: dict[str, list[ListedRoom]]
    error: VideoAPIError | None = None
    missing: tuple[Control, ...] = ()
    standing: tuple[Control, ...] = ()
    lag: float = 0.0

    @property
    def complete(self) -> bool:
        return self.error is None

    def proves_absence(self, in_data: bool | None) -> bool:
        """Tell whether a reference that it does not show is on no room.

        Args:
            in_data: Where the reference would stand: in `data`, in `owner_ref`, or None for either.
        """
        return self.complete and not self.missing and any(one.serves(in_data) for one in self.standing)


class _Batch:
    """Those who wait for the same reading."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.counted: list[Callable[[str], bool]] = []
        self.scan: Scan | None = None


class Scanner:
    """Reads the list for everybody who waits, one reading at a time.

    Args:
        controls: The control rooms.
        settle: Seconds after which a list must show a room.
    """

    def __init__(self, controls: Controls, settle: Callable[[], float]) -> None:
        self._controls = controls
        self._settle = settle
        self._lock = asyncio.Lock()
        self._next = _Batch()

    async def look(
        self, pipeline: Pipeline, references: Iterable[str] = (), counted: Callable[[str], bool] | None = None
    ) -> Scan:
        """Read the list, in a reading that begins after this call.

        Args:
            caller: Opens the list.
            references: What to look for; their rooms are kept.
            counted: Tells of other references whether to note their rooms' ids.
        """
        batch = self._next
        batch.wanted.update(references)
        if counted is not None:
            batch.counted.append(counted)
        async with self._lock:
            if batch.scan is None:
                # Who comes from now on waits for the next reading. Where this one is cancelled, the
                # next in line reads for the same batch.
                if self._next is batch:
                    self._next = _Batch()
                batch.scan = await self._scan(pipeline, batch)
        return batch.scan

    async def _scan(self, pipeline: Pipeline, batch: _Batch) -> Scan:
        clock = asyncio.get_running_loop().time
        controls = self._controls.all()
        marks = {control.reference for control in controls}
        tries = 0
        while True:
            began = clock()
            found, error = await _read(pipeline, batch, marks)
            tries += 1
            if error is None:
                break
            if tries >= _TRIES or not error.retryable:
                return Scan(began, found, error)
        settled = began - self._settle()
        shown = {one.room_id for one in controls if _shows(found, one)}
        unseen = [one for one in controls if one.made_at <= began and one.room_id not in shown]
        due = [one for one in unseen if one.made_at <= settled]
        missing = await self._still_there(pipeline, due)
        standing = [one for one in controls if one.made_at <= settled and one.room_id in shown]
        lag = max((began - one.made_at for one in unseen if one not in due), default=0.0)
        return Scan(began, found, None, tuple(missing), tuple(standing), lag)

    async def _still_there(self, pipeline: Pipeline, controls: list[Control]) -> list[Control]:
        """Ask for the rooms that the list does not show: one that was deleted makes no list a liar."""
        missing: list[Control] = []
        for control in controls[:_ASKED_FOR]:
            try:
                await pipeline.run(get_room(pipeline, control.room_id))
            except NotFound:
                self._controls.forget(control.room_id)
            except VideoAPIError:
                missing.append(control)
            else:
                missing.append(control)
        return missing + controls[_ASKED_FOR:]


def get_room(pipeline: Pipeline, room_id: str) -> Request:
    """Return the request for one room."""
    return Request(
        route=GET_ROOM,
        path=GET_ROOM.path(room_id),
        options=pipeline.options,
        decoder=ROOM,
        accepts=lambda room: room.room_id == room_id,
    )


def _shows(found: dict[str, list[ListedRoom]], control: Control) -> bool:
    """Tell whether a list shows a control room, with its reference where it was put."""
    return any(
        one.room_id == control.room_id
        and (one.in_data or not control.in_data)
        and (one.in_owner_ref or not control.in_owner_ref)
        for one in found.get(control.reference, ())
    )


async def _read(
    pipeline: Pipeline, batch: _Batch, marks: set[str]
) -> tuple[dict[str, list[ListedRoom]], VideoAPIError | None]:
    """Read the list once; an odd room of somebody else's spoils nothing."""
    request = Request(route=LIST_ROOMS, path=LIST_ROOMS.path(), options=pipeline.options, stream=True)
    # A room that is asked for by name is wanted whole, so its text is needed.
    read = None if batch.wanted else parse_summaries
    response = StreamedResponse(
        pipeline, request, "rooms", False, StreamTimeout(None, LIST_ROOMS), read, max_bytes=_MOST_BYTES
    )
    search = _Search(batch, marks)
    try:
        async with aclosing(response.blocks(lambda: pipeline.open_stream(request))) as blocks:
            async for block in blocks:
                search.add(block)
    except VideoAPIError as error:
        return search.found, error
    for rooms in search.found.values():
        if len(rooms) > 1:
            rooms.sort(key=lambda one: (one.created, one.room_id))
    if response.done:
        return search.found, None
    assert response.outcome is not None
    return search.found, pipeline.error(response.outcome, request, 1)


class _Search:
    """Picks out of a list what somebody waits for.

    Args:
        batch: Who waits.
        marks: The references of the control rooms.
    """

    def __init__(self, batch: _Batch, marks: set[str]) -> None:
        self._wanted = batch.wanted
        self._known = marks | batch.wanted
        self._counted = tuple(batch.counted)
        self.found: dict[str, list[ListedRoom]] = {}

    def add(self, block: Block) -> None:
        """Take the next rooms of the list."""
        if block.too_long:
            raise _hidden("a room longer than 1 MiB")
        for room in block.records or ():
            if (reference := room.reference()) is not None:
                self._add(reference, room)
        # Most rooms of a large account are none of ours: only what holds the mark is decoded.
        if PREFIX in block.text:
            for item in block.items:
                self._add_item(bytes(item))

    def _add_item(self, raw: bytes) -> None:
        if PREFIX not in raw:
            return
        room = parse_summary(raw)
        if (reference := room.reference()) is not None:
            self._add(reference, room, raw)
        elif any(mark.encode() in raw for mark in self._wanted):
            raise _hidden("a room that cannot be read carries a reference of ours")

    def _add(self, reference: str, room: RoomSummary, raw: bytes | None = None) -> None:
        if reference not in self._known:
            for counts in self._counted:
                if counts(reference):
                    break
            else:
                return
        wanted = raw if reference in self._wanted else None
        in_owner_ref = room.owner_ref == reference
        # Without one in `data`, the reference can only be that in `owner_ref`.
        in_data = not in_owner_ref or room.reference_in_data() is not None
        one = ListedRoom(reference, str(room.room_id), str(room.created or ""), in_data, in_owner_ref, wanted)
        rooms = self.found.get(reference)
        if rooms is None:
            self.found[reference] = [one]
        else:
            rooms.append(one)


def _hidden(why: str) -> ProtocolError:
    return ProtocolError(f"{LIST_ROOMS.method} {LIST_ROOMS.template}: {why}.", path=LIST_ROOMS.template)


# No cycle can be made of what JSON holds, so the garbage collector need not look at any of these.
class _Data(msgspec.Struct, gc=False, rename={"marked": DATA_KEY}):
    marked: Any = None


class RoomSummary(msgspec.Struct, gc=False):
    """What is looked at in a room; the decoder passes over the rest."""

    room_id: Any = None
    owner_ref: Any = None
    data: _Data | list[Any] | str | float | bool | None = None
    created: Any = None

    def reference(self) -> str | None:
        """Return the reference that the room carries, as `reference_in` does; None also where its id is none."""
        reference: Any = self.reference_in_data() or self.owner_ref
        named = self.room_id is not None and is_id(str(self.room_id))
        return reference if named and is_reference(reference) else None

    def reference_in_data(self) -> str | None:
        """Return the reference that stands in `data`."""
        marked = self.data.marked if isinstance(self.data, _Data) else None
        return marked if marked is not None and is_reference(marked) else None


_one: Final = msgspec.json.Decoder(RoomSummary).decode
_many: Final = msgspec.json.Decoder(list[RoomSummary]).decode


def parse_summaries(text: bytes) -> list[RoomSummary] | None:
    """Look at a list of rooms at once; None where none of them is ours, or one is odd."""
    if PREFIX not in text:
        return None
    try:
        return _many(text)
    except _UNREADABLE:
        return None


def parse_summary(raw: bytes) -> RoomSummary:
    """Look at one room, however odd it is; an empty glance where nothing can be seen."""
    try:
        return _one(raw)
    except _UNREADABLE:
        pass
    try:
        room = parse(raw)
    except InvalidJSON:
        return RoomSummary()
    if not isinstance(room, Mapping):
        return RoomSummary()
    data = room.get("data")
    seen = _Data(data.get(DATA_KEY)) if isinstance(data, Mapping) else None
    return RoomSummary(room.get("room_id"), room.get("owner_ref"), seen, room.get("created"))
