"""One streamed read of the room list serves all that wait for it: the rooms that carry a reference."""

from __future__ import annotations

import asyncio
import re
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from functools import cached_property
from itertools import chain
from typing import Any, Final

import attrs
import msgspec

from videoapi.creation.references import DATA_KEY, is_reference, with_location
from videoapi.creation.unreadable import References, UnreadableRooms, examine
from videoapi.errors import ProtocolError, VideoAPIError
from videoapi.models.codec import RecordDecoder
from videoapi.models.ids import is_id
from videoapi.models.rooms import Room
from videoapi.models.strict_json import is_utf8
from videoapi.pipeline.pipeline import Pipeline
from videoapi.pipeline.retry import Retries
from videoapi.protocol.envelope import InvalidJSON, parse
from videoapi.protocol.outcome import Outcome
from videoapi.protocol.routes import LIST_ROOMS, Options, Request
from videoapi.protocol.types import Verdict
from videoapi.streaming.splitter import Block
from videoapi.streaming.streamed_response import StreamedResponse, StreamTimeout, with_fewer_attempts

PREFIX: Final = b"vx"
"""The start of every reference, so that the text of every room that carries one contains it."""
_SPELLED: Final = re.compile(rb"\\u(?:00(?:3[2-7]|6[1-9a-fA-F]|7[0-9aA])|[fF]{3}[dD])|\xef\xbf\xbd")
"""An escape of a letter of a reference, or U+FFFD, which is left of one that a gateway could not decode."""
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)
_MOST_BYTES: Final = 16 * 1024**3
"""High, because the list has no pages and almost nothing of it is kept: a million rooms exceed 1 GiB."""


class ListedRoom(msgspec.Struct, frozen=True, gc=False):
    """A room in the list that carries a reference."""

    reference: str
    room_id: str
    created: str
    in_data: bool
    in_owner_ref: bool
    raw: bytes | None = None

    @property
    def room(self) -> Room:
        """The room as listed; only available for the references passed to `Scanner.look`."""
        assert self.raw is not None
        return RecordDecoder(Room, extra=True).decode(self.raw)


class ListedRooms:
    """A visitor of the list that collects the rooms whose references are accepted.

    `rooms` has them by reference, wherever a room carries it, oldest first.

    Args:
        accepts: Returns whether rooms with a reference are collected.
        starts: How these references begin: a room that cannot be read and may carry such a one is not collected, so the
            list then does not prove that no other room has it.
        whole: Whether their text is needed.
    """

    def __init__(self, accepts: Callable[[str], bool], starts: Iterable[str], *, whole: bool = False) -> None:
        self._accepts = accepts
        self.starts: tuple[str, ...] = tuple(starts)
        self.whole = whole
        self.rooms: dict[str, list[ListedRoom]] = {}

    def restart(self) -> None:
        """Forget the rooms: the list is read from its start, for the first time or again."""
        self.rooms = {}

    def visit(self, room: ListedRoom) -> None:
        """Keep a room if its reference is accepted."""
        if self._accepts(room.reference):
            rooms = self.rooms.setdefault(with_location(room.reference, in_data=False), [])
            insort(rooms, room, key=_age)


@attrs.frozen
class ListReading:
    """One read of the list.

    Args:
        began: When it started, in seconds of the event loop's clock.
        found: The rooms, by reference.
        error: What broke it, or None.
        unreadable: The rooms that cannot be read, and that may carry a reference that a waiting call looks for.
    """

    began: float
    found: dict[str, list[ListedRoom]]
    error: VideoAPIError | None = None
    unreadable: UnreadableRooms = attrs.field(factory=UnreadableRooms)


@attrs.define(eq=False)
class _Batch:
    """The `look` calls that wait for the same read of the list."""

    wanted: set[str] = attrs.field(factory=set)
    known: set[str] = attrs.field(factory=set)
    visitors: list[ListedRooms] = attrs.field(factory=list)
    paid: bool = True
    read: ListReading | None = None
    failed: list[tuple[Retries, Options, ListReading]] = attrs.field(factory=list)

    def result_for(self, pipeline: Pipeline) -> ListReading | None:
        """Return the read, or the failed one of a caller with the same limits; None if this caller has to read.

        A failure of other credentials, a shorter timeout or fewer attempts is not shared, nor one of a run that ended.
        """
        for retries, options, reading in self.failed:
            if self.read is None and retries is pipeline.retries and options == pipeline.options:
                return reading
        return self.read

    def keep(self, pipeline: Pipeline, reading: ListReading) -> None:
        """Keep a reading: for all that wait if it succeeded, otherwise for those with the same limits."""
        if reading.error is None:
            self.read = reading
        else:
            self.failed.append((pipeline.retries, pipeline.options, reading))


_APART: Final = 0.25
"""The least time between two reads for single creates, in seconds."""
_READING: Final = 0.25
"""How long before its caller's deadline a read starts, in seconds."""


class ListReader:
    """The reader of one account's room list: one read at a time, shared by all that wait for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next = _Batch()
        self._again_at = 0.0

    async def read(
        self,
        pipeline: Pipeline,
        wanted: Iterable[str],
        known: Iterable[str],
        visitor: ListedRooms | None,
        *,
        paid: bool,
        latest: float,
    ) -> ListReading:
        """Read the list, in a read that starts after this call, and in time to end before `latest`."""
        batch = self._next
        batch.wanted.update(wanted)
        batch.known.update(known)
        batch.paid = batch.paid and paid
        if visitor is not None:
            batch.visitors.append(visitor)
        await pipeline.until_closed(self._lock.acquire)
        try:
            reading = batch.result_for(pipeline)
            if reading is None:
                clock = asyncio.get_running_loop().time
                if batch.paid and (wait := min(self._again_at, latest - _READING) - clock()) > 0:
                    # Single creates that are lost one after the other share reads, too.
                    await pipeline.sleep(wait)
                self._again_at = clock() + _APART
                # Calls from now on wait for the next read. If this one is cancelled, the next waiting
                # call reads for the same batch.
                if self._next is batch:
                    self._next = _Batch()
                reading = await _read(pipeline, batch)
                batch.keep(pipeline, reading)
            return reading
        finally:
            self._lock.release()


async def _read(pipeline: Pipeline, batch: _Batch) -> ListReading:
    """Read the list, with the retries of any read; if it is paid for, as a single request."""
    budget, options, cost = pipeline.account.budget, pipeline.options, None
    began = asyncio.get_running_loop().time()
    if batch.paid:
        cost = budget.spend(Verdict.UNKNOWN)
        if cost is None:
            return ListReading(
                began, {}, ProtocolError("The account's retry budget is spent; the list was not read. Not sent.")
            )
        options = attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))
    request = Request(route=LIST_ROOMS, path=LIST_ROOMS.path(), options=options, stream=True)
    spent = 0
    while True:
        began = asyncio.get_running_loop().time()
        reading, outcome, attempts = await _read_once(pipeline, batch, with_fewer_attempts(request, spent))
        spent += attempts
        if reading.error is None and cost is not None:
            budget.succeeded(cost)
        # The opening of a response has retries of its own.
        if outcome is None or batch.paid or not await pipeline.retry_read(request, outcome, spent):
            return attrs.evolve(reading, began=began)


async def _read_once(pipeline: Pipeline, batch: _Batch, request: Request) -> tuple[ListReading, Outcome | None, int]:
    """Read the list once, tolerating malformed rooms.

    Returns:
        The reading, the outcome of a body that broke off, and the attempts.
    """
    # Rooms of wanted references are kept complete, so their text is needed.
    whole = bool(batch.wanted) or any(visitor.whole for visitor in batch.visitors)
    read = None if whole else parse_summaries
    response = StreamedResponse(
        pipeline, request, "rooms", False, StreamTimeout(None, LIST_ROOMS), read, max_bytes=_MOST_BYTES
    )
    search = _Search(batch)
    for visitor in batch.visitors:
        visitor.restart()
    try:
        async with aclosing(response.blocks(lambda: pipeline.open_stream(request))) as blocks:
            async for block in blocks:
                search.add(block)
    except VideoAPIError as error:
        return search.reading(error), None, 0
    for rooms in search.found.values():
        if len(rooms) > 1:
            rooms.sort(key=_age)
    if response.done:
        return search.reading(None), None, 0
    assert response.outcome is not None
    return search.reading(pipeline.error(response.outcome, request, 1)), response.outcome, response.attempts


class _Search:
    """A filter that collects the wanted rooms from a list.

    Args:
        batch: The waiting calls.
    """

    def __init__(self, batch: _Batch) -> None:
        self._wanted = batch.wanted
        self._known = batch.known | batch.wanted
        self._visitors = tuple(batch.visitors)
        self._unreadable = UnreadableRooms()
        self._began = asyncio.get_running_loop().time()
        self.found: dict[str, list[ListedRoom]] = {}

    def reading(self, error: VideoAPIError | None) -> ListReading:
        """Return what was found."""
        return ListReading(self._began, self.found, error, self._unreadable)

    def add(self, block: Block) -> None:
        """Process the next rooms of the list."""
        if block.too_long:
            raise _hidden("a room longer than 1 MiB")
        for nth, room in enumerate(block.records or ()):
            if (reference := room.reference()) is not None:
                self._add(reference, room)
            elif not room.is_clear():
                self._add_unreadable(bytes(block.raws()[nth]), block.index + nth, is_json=True)
        # Most rooms of a large account carry no reference: decode only items that may contain the prefix, and those
        # whose JSON may be invalid: they had to be cut out of the list one by one, or are not UTF-8.
        is_one, is_text = len(block.items) == 1, is_utf8(block.text)
        if is_one or not is_text or _may_contain_prefix(block.text):
            for nth, item in enumerate(block.items):
                raw = bytes(item)
                item_is_text = is_text or is_utf8(raw)
                if is_one or not item_is_text or _may_contain_prefix(raw):
                    self._add_item(raw, block.index + nth, is_text=item_is_text)

    def _add_item(self, raw: bytes, index: int, *, is_text: bool) -> None:
        room = parse_summary(raw)
        reference = None if room is None else room.reference()
        if room is not None and reference is not None:
            self._add(reference, room, raw)
        elif room is None or not is_text:
            # The decoder does not look at the names of fields that it skips: one of them may be damaged.
            self._add_unreadable(raw, index, is_json=False)
        elif not room.is_clear():
            self._add_unreadable(raw, index, is_json=True)

    def _add_unreadable(self, raw: bytes, index: int, *, is_json: bool) -> None:
        room = examine(raw, index + 1, is_json=is_json)
        if self._references.may_be_on(room):
            self._unreadable.add(room)

    @cached_property
    def _references(self) -> References:
        return References(self._wanted, chain.from_iterable(visitor.starts for visitor in self._visitors))

    def _add(self, reference: str, room: RoomSummary, raw: bytes | None = None) -> None:
        known = reference in self._known
        if not known and not self._visitors:
            return
        in_owner_ref = room.owner_ref == reference
        # A reference that is not in `owner_ref` was found in `data`.
        in_data = not in_owner_ref or room.reference_in_data() is not None
        one = ListedRoom(reference, str(room.room_id), str(room.created or ""), in_data, in_owner_ref, raw)
        for visitor in self._visitors:
            visitor.visit(one)
        if known:
            if raw is not None and reference not in self._wanted:
                one = ListedRoom(reference, one.room_id, one.created, in_data, in_owner_ref)
            self.found.setdefault(reference, []).append(one)


def _age(room: ListedRoom) -> tuple[str, str]:
    return room.created, room.room_id


def _may_contain_prefix(text: bytes) -> bool:
    """Return whether a text contains the prefix, or what may be left of it."""
    return PREFIX in text or ((b"\\u" in text or b"\xef\xbf\xbd" in text) and _SPELLED.search(text) is not None)


def _hidden(why: str) -> ProtocolError:
    return ProtocolError(f"{LIST_ROOMS.method} {LIST_ROOMS.template}: {why}.", path=LIST_ROOMS.template)


# JSON values cannot form reference cycles, so these objects need no garbage collection.
class _Data(msgspec.Struct, gc=False, rename={"marked": DATA_KEY}):
    marked: Any = None


class RoomSummary(msgspec.Struct, gc=False):
    """The fields of a room that a scan needs; the decoder skips the rest."""

    room_id: Any = None
    owner_ref: Any = None
    data: _Data | list[Any] | str | float | bool | None = None
    created: Any = None

    def reference(self) -> str | None:
        """Return the room's reference, as `reference_in` does, or None; also None if its ID is invalid."""
        reference: Any = self.reference_in_data() or self.owner_ref
        has_id = self.room_id is not None and is_id(str(self.room_id))
        return reference if has_id and is_reference(reference) else None

    def is_clear(self) -> bool:
        """Return whether a room without a reference surely carries none: its ID and the two locations can be read."""
        marked = self.data.marked if isinstance(self.data, _Data) else None
        places_known = self.data is None or isinstance(self.data, _Data)
        has_id = self.room_id is not None and is_id(str(self.room_id))
        return has_id and places_known and _is_other(self.owner_ref) and _is_other(marked)

    def reference_in_data(self) -> str | None:
        """Return the reference in `data`, or None."""
        value = self.data.marked if isinstance(self.data, _Data) else None
        return value if value is not None and is_reference(value) else None


def _is_other(value: object) -> bool:
    """Return whether a value is surely no reference, nor contains one."""
    if isinstance(value, str):
        return "vx" not in value and "\ufffd" not in value[:2]
    return value is None or isinstance(value, bool | int | float)


_one: Final = msgspec.json.Decoder(RoomSummary).decode
_many: Final = msgspec.json.Decoder(list[RoomSummary]).decode


def parse_summaries(text: bytes) -> list[RoomSummary] | None:
    """Parse a list of rooms at once; None if no room contains the prefix, or one is malformed or not UTF-8."""
    if PREFIX not in text or not is_utf8(text):
        return None
    try:
        return _many(text)
    except _UNREADABLE:
        return None


def parse_summary(raw: bytes) -> RoomSummary | None:
    """Parse one room, even if malformed.

    Returns:
        The summary, which is empty if the text is not an object; None if it is not valid JSON.
    """
    try:
        return _one(raw)
    except _UNREADABLE:
        pass
    try:
        room = parse(raw)
    except InvalidJSON:
        return None
    if not isinstance(room, Mapping):
        return RoomSummary()
    data = room.get("data")
    summary = _Data(data.get(DATA_KEY)) if isinstance(data, Mapping) else None
    return RoomSummary(room.get("room_id"), room.get("owner_ref"), summary, room.get("created"))
