"""Finding rooms by their reference: one streamed read of the room list serves all waiting calls.

A listed reference proves that the room exists. A missing one proves that it does not only if the
scan is complete and shows the known rooms unchanged. A list that is capped, filtered or truncated,
or that drops or shortens references, does not show them all and proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Protocol

import attrs
import msgspec

from videoapi.creation.create_request import ROOM
from videoapi.creation.memory import KnownRoom, Memory
from videoapi.creation.references import DATA_KEY, is_reference, reference_in
from videoapi.errors import ConfigurationError, NotFound, ProtocolError, VideoAPIError
from videoapi.events import log
from videoapi.models.codec import RecordDecoder
from videoapi.models.ids import is_id
from videoapi.models.rooms import Room
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.backoff import jitter
from videoapi.protocol.envelope import InvalidJSON, parse
from videoapi.protocol.routes import GET_ROOM, LIST_ROOMS, Options, Request
from videoapi.protocol.types import Verdict
from videoapi.streaming.splitter import Block
from videoapi.streaming.streamed_response import StreamedResponse, StreamTimeout

PREFIX: Final = b"vx"
"""The start of every reference, so that the text of every room that carries one contains it."""
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)
_TRIES: Final = 3
_NAP: Final = 0.25
_BACKOFF: Final = (0.5, 10.0)
_MOST_UNREADABLE: Final = 8
"""How many readings in a row may arrive and be unreadable; each is retried like any read."""
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


class Visitor(Protocol):
    """Sees every listed room that carries a reference, while the list is read."""

    whole: bool
    """Whether it needs the rooms' text."""

    def restart(self) -> None:
        """Forget what it saw: the list is read from its start, for the first time or again."""
        ...

    def visit(self, room: ListedRoom) -> None:
        """See a room."""
        ...


@attrs.frozen
class Scan:
    """The result of one read of the room list.

    Args:
        began: When it started, in seconds of the event loop's clock.
        found: Rooms by the reference they carry, oldest first.
        error: Why it is incomplete; None if it is complete.
        contradiction: Which known room it should have shown but did not; empty if none.
        standing: Known rooms, older than the settle time, that it showed.
        lag: The longest time for which a known room has existed that it did not show yet, in seconds.
    """

    began: float
    found: dict[str, list[ListedRoom]]
    error: VideoAPIError | None = None
    contradiction: str = ""
    standing: tuple[KnownRoom, ...] = ()
    lag: float = 0.0

    def proves_absence(self, in_data: bool | None) -> bool:
        """Return whether a reference that it does not show is on no room.

        Args:
            in_data: Location of the reference: in `data`, in `owner_ref`, or None if that is not known.
        """
        forms = (True, False) if in_data is None else (in_data,)
        shown = all(any(room.serves(form) for room in self.standing) for form in forms)
        return self.error is None and not self.contradiction and shown


def _never() -> bool:
    return False


@attrs.define
class Patience:
    """How long look-ups are repeated, and what their cost is charged to.

    Args:
        paid: Whether each read is a single request, paid from the account's retry budget and refunded if it succeeds.
        give_up_after: Seconds for which a list that cannot be read is read again; 0 for single creates.
        stopping: Polled while waiting; true ends the wait.
        waits_until: Called with the end of each settle wait, in seconds of the event loop's clock, and with None
            after it.
    """

    paid: bool = False
    give_up_after: float = 0.0
    stopping: Callable[[], bool] = _never
    waits_until: Callable[[float | None], object] = lambda moment: None
    _failing_since: float | None = None
    _failures: int = 0

    def applied_to(self, pipeline: Pipeline) -> Pipeline:
        """Return the pipeline with waits for the account's pause and rate that end with the run."""
        if self.stopping is _never:
            return pipeline
        return attrs.evolve(pipeline, options=attrs.evolve(pipeline.options, must_stop=self.stopping))

    async def reads_again(self, pipeline: Pipeline, error: VideoAPIError | None) -> bool:
        """Decide whether to read the list again after an error, and wait for the backoff.

        Between two readings that succeed, `give_up_after` counts once.
        """
        now = asyncio.get_running_loop().time()
        if error is None:
            self._failing_since, self._failures = None, 0
            return False
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        wait = max(_BACKOFF[0] / 2, jitter(*_BACKOFF, self._failures, pipeline.retries.clock.random()))
        # A list that arrives, and again cannot be read, is not an outage that ends.
        hopeless = _is_final(error) or (error.status == 200 and self._failures >= _MOST_UNREADABLE)
        if hopeless or self.stopping() or now + wait - self._failing_since > self.give_up_after:
            return False
        log.info("the list of rooms could not be read (%s); reading it again in %.1f s", error, wait)
        await self.sleep(pipeline, wait)
        return True

    async def sleep(self, pipeline: Pipeline, seconds: float) -> None:
        """Sleep for some seconds, or until the run or the client ends."""
        end = asyncio.get_running_loop().time() + seconds
        await self.sleep_until(pipeline, lambda: end)

    async def sleep_until(self, pipeline: Pipeline, moment: Callable[[], float]) -> None:
        """Sleep until a moment of the event loop's clock, or until the run or the client ends."""
        clock = asyncio.get_running_loop().time
        # In short sleeps: the moment moves when the list is seen to lag, and the run may be stopped.
        # Never on a test's clock: the settle time is that of the service.
        while (left := moment() - clock()) > 0 and not self.stopping():
            await pipeline.until_closed(partial(asyncio.sleep, min(left, _NAP)))


@attrs.define(eq=False)
class _Batch:
    """The `look` calls that wait for the same read of the list."""

    wanted: set[str] = attrs.field(factory=set)
    known: set[str] = attrs.field(factory=set)
    visitors: list[Visitor] = attrs.field(factory=list)
    tries: int = 0
    read: tuple[float, dict[str, list[ListedRoom]], VideoAPIError | None] | None = None
    reader: object = None


class ListReader:
    """The reader of one account's room list: one read at a time, shared by all that wait for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._next = _Batch()

    async def read(
        self, pipeline: Pipeline, wanted: Iterable[str], known: Iterable[str], visitor: Visitor | None, tries: int
    ) -> tuple[float, dict[str, list[ListedRoom]], VideoAPIError | None]:
        """Read the list, in a read that starts after this call; return its start, the rooms, and what broke it."""
        batch = self._next
        batch.wanted.update(wanted)
        batch.known.update(known)
        batch.tries = max(batch.tries, tries)
        if visitor is not None:
            batch.visitors.append(visitor)
        await pipeline.until_closed(self._lock.acquire)
        try:
            # Another client's failure, of its credentials for example, is not shared.
            if batch.read is None or (batch.read[2] is not None and batch.reader is not pipeline.retries):
                # Calls from now on wait for the next read. If this one is cancelled, the next waiting
                # call reads for the same batch.
                if self._next is batch:
                    self._next = _Batch()
                batch.reader = pipeline.retries
                batch.read = await _read_with_retries(pipeline, batch)
            return batch.read
        finally:
            self._lock.release()


class Scanner:
    """Looks for references in the room list, on behalf of one client.

    Args:
        memory: The known rooms.
        settle: Returns the settle time, after which the list must show a room, in seconds.
    """

    def __init__(self, memory: Memory, settle: Callable[[], float]) -> None:
        self._memory = memory
        self._settle = settle

    async def look(
        self,
        pipeline: Pipeline,
        references: Iterable[str] = (),
        visitor: Visitor | None = None,
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
        scan = await look()
        while await patience.reads_again(pipeline, scan.error):
            scan = await look()
        return scan

    async def _look(
        self, pipeline: Pipeline, references: list[str], visitor: Visitor | None, patience: Patience
    ) -> Scan:
        """Read the list once; a read that outlasts the run is ended."""
        if patience.stopping is _never:
            return await self._read(pipeline, references, visitor, patience.paid)
        reading = asyncio.ensure_future(self._read(pipeline, references, visitor, patience.paid))
        try:
            while not reading.done() and not patience.stopping():
                await asyncio.wait([reading], timeout=_NAP)
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
        if reading.cancelled():
            ended = ProtocolError("The run ended before the list of rooms was read.")
            return Scan(asyncio.get_running_loop().time(), {}, ended)
        return reading.result()

    async def _read(self, pipeline: Pipeline, references: list[str], visitor: Visitor | None, paid: bool) -> Scan:
        rooms = self._memory.rooms()
        reader = pipeline.account.shared.setdefault(ListReader, ListReader())
        known = {room.reference for room in rooms}
        began, found, error = await reader.read(pipeline, references, known, visitor, 1 if paid else _TRIES)
        if error is not None:
            return Scan(began, found, error)
        settled = began - self._settle()
        unseen: list[KnownRoom] = []
        standing: list[KnownRoom] = []
        for room in rooms:
            if not _shows(found, room):
                if room.made_at <= began:
                    unseen.append(room)
            elif room.made_at <= settled:
                standing.append(room)
        contradiction = await self._contradiction(pipeline, [room for room in unseen if room.made_at <= settled])
        lag = max((began - room.made_at for room in unseen if room.made_at > settled), default=0.0)
        return Scan(began, found, None, contradiction, tuple(standing), lag)

    async def _contradiction(self, pipeline: Pipeline, unseen: Iterable[KnownRoom]) -> str:
        """Return which of the rooms that the list lacks exists; forget those that were deleted."""
        for room in unseen:
            try:
                found: Room = await pipeline.run(get_room(pipeline, room.room_id))
            except NotFound:
                self._memory.forget_room(room.room_id)
                continue
            except VideoAPIError as error:
                return f"the list does not show room {room.room_id}, which could not be read ({type(error).__name__})"
            if reference_in(found.owner_ref, found.data) == room.reference:
                return f"the list does not show room {room.room_id}, which exists"
            # Another client has overwritten the reference.
            self._memory.forget_room(room.room_id)
        return ""


def _is_final(error: VideoAPIError) -> bool:
    """Return whether reading the list again cannot help: credentials, base URL, a closed client."""
    if isinstance(error, ConfigurationError):
        return True
    return error.status is not None and 300 <= error.status < 500 and error.status not in (408, 425, 429)


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


async def _read_with_retries(
    pipeline: Pipeline, batch: _Batch
) -> tuple[float, dict[str, list[ListedRoom]], VideoAPIError | None]:
    budget, options = pipeline.account.budget, pipeline.options
    tries = 0
    while True:
        began = asyncio.get_running_loop().time()
        cost = None
        if batch.tries == 1:
            cost = budget.spend(Verdict.UNKNOWN)
            if cost is None:
                return began, {}, ProtocolError("The account's retry budget is spent; the list was not read. Not sent.")
            options = attrs.evolve(options, retry=attrs.evolve(options.retry, attempts=1))
        found, error = await _read(pipeline, batch, options)
        tries += 1
        if error is None and cost is not None:
            budget.succeeded(cost)
        if error is None or tries >= batch.tries or not error.retryable:
            return began, found, error


async def _read(
    pipeline: Pipeline, batch: _Batch, options: Options
) -> tuple[dict[str, list[ListedRoom]], VideoAPIError | None]:
    """Read the list once, tolerating malformed rooms that do not belong to this library."""
    request = Request(route=LIST_ROOMS, path=LIST_ROOMS.path(), options=options, stream=True)
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
        return search.found, error
    for rooms in search.found.values():
        if len(rooms) > 1:
            rooms.sort(key=lambda one: (one.created, one.room_id))
    if response.done:
        return search.found, None
    assert response.outcome is not None
    return search.found, pipeline.error(response.outcome, request, 1)


class _Search:
    """A filter that collects the wanted rooms from a list.

    Args:
        batch: The waiting calls.
    """

    def __init__(self, batch: _Batch) -> None:
        self._wanted = batch.wanted
        self._known = batch.known | batch.wanted
        self._visitors = tuple(batch.visitors)
        self.found: dict[str, list[ListedRoom]] = {}

    def add(self, block: Block) -> None:
        """Process the next rooms of the list."""
        if block.too_long:
            raise _hidden("a room longer than 1 MiB")
        for room in block.records or ():
            if (reference := room.reference()) is not None:
                self._add(reference, room)
        # Most rooms of a large account carry no reference: decode only items that contain the prefix.
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

    def reference_in_data(self) -> str | None:
        """Return the reference in `data`, or None."""
        value = self.data.marked if isinstance(self.data, _Data) else None
        return value if value is not None and is_reference(value) else None


_one: Final = msgspec.json.Decoder(RoomSummary).decode
_many: Final = msgspec.json.Decoder(list[RoomSummary]).decode


def parse_summaries(text: bytes) -> list[RoomSummary] | None:
    """Parse a list of rooms at once; None if no room contains the prefix, or one is malformed."""
    if PREFIX not in text:
        return None
    try:
        return _many(text)
    except _UNREADABLE:
        return None


def parse_summary(raw: bytes) -> RoomSummary:
    """Parse one room, even if malformed; return an empty summary if nothing can be read."""
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
    summary = _Data(data.get(DATA_KEY)) if isinstance(data, Mapping) else None
    return RoomSummary(room.get("room_id"), room.get("owner_ref"), summary, room.get("created"))
