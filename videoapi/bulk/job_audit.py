"""The audit of a whole job, however it was run: compares the list of rooms with the job's specs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import attrs
import msgspec

from videoapi.bulk.compact import CompactMap
from videoapi.bulk.inputs import Inputs
from videoapi.creation.changes import Change, change_of
from videoapi.creation.create_request import create_request
from videoapi.creation.creator import Creator
from videoapi.creation.patience import Patience
from videoapi.creation.references import JobReferences, with_location
from videoapi.creation.scan import ListedRoom, ListedRooms
from videoapi.creation.self_check import SelfCheckRoom
from videoapi.creation.unreadable import UnreadableRooms
from videoapi.errors import ValidationError
from videoapi.models.rooms import RoomSpec
from videoapi.pipeline.pipeline import Pipeline
from videoapi.protocol.envelope import parse

_READINGS: Final = 2
_MOST_KNOWN: Final = 1000
_YIELD_EVERY: Final = 1000
_KEY: Final = 12


@attrs.frozen(kw_only=True)
class AuditedSpec:
    """A spec of an audited job.

    Args:
        index: The spec's position, from 0.
        key: Its key.
        reference: The reference that its room carries, or would carry if it existed.
        room_id: ID of its room, or None if it has none.
        other_room: Whether its room has another name or `owner_ref`, so that it is the room of another spec, such as if
            keys are row numbers and a row was inserted. `create_many` fails for such a spec.
    """

    index: int
    key: Any
    reference: str
    room_id: str | None = None
    other_room: bool = False


@attrs.frozen(kw_only=True)
class JobAudit:
    """The result of `rooms.audit`.

    Args:
        total: Number of specs.
        found: Number of specs that have a room.
        missing: The specs without a room, in input order.
        changed: The specs whose room differs: another name or `owner_ref`, or other settings or data.
        duplicates: IDs of the rooms that carry the same reference, by reference.
        unexpected: IDs of rooms of the job that belong to none of the specs.
        namesakes: IDs of other rooms with the name and start of a spec, by the reference of the spec, if this library
            has created them: in another job, without one, or under another key of this job; the latter are also in
            `unexpected`. Specs that share both have none. Such a room may be intended, or the specs were created a
            second time, in another job or with other keys.
        audited: The moment for which the list proves this result. None without proof, because the list lacks a known
            room or lags, or has a room that cannot be read; then the rooms of `missing` may exist, and `duplicates`
            contains only what was seen.
        unreadable: Rooms in the list that cannot be read and may be of the job, as text: the position in the list, and
            the room ID if it is known.
    """

    total: int
    found: int
    missing: list[AuditedSpec] = attrs.field(repr=False)
    changed: list[AuditedSpec] = attrs.field(repr=False)
    duplicates: dict[str, tuple[str, ...]] = attrs.field(repr=False)
    unexpected: list[str] = attrs.field(repr=False)
    namesakes: dict[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)
    audited: datetime | None = None
    unreadable: list[str] = attrs.field(factory=list, repr=False)

    @property
    def complete(self) -> bool:
        """Whether it is proven that each spec has exactly one room under its key, with its name; see `namesakes`."""
        is_exact = not (self.missing or self.duplicates or any(spec.other_room for spec in self.changed))
        return self.audited is not None and is_exact


class _Titled(msgspec.Struct, gc=False):
    """The fields of a room by which people recognize it."""

    name: Any = None
    settings: Any = None

    def digest(self) -> bytes:
        start = self.settings.get("scheduled_time") if isinstance(self.settings, dict) else None
        return hashlib.blake2s(repr((self.name, start)).encode(), digest_size=_KEY).digest()


_titled: Final = msgspec.json.Decoder(_Titled).decode


class _SpecRooms(ListedRooms):
    """The specs of a job, and which rooms of a list are theirs."""

    def __init__(self, references: JobReferences, pipeline: Pipeline) -> None:
        prefix = references.prefix
        super().__init__(lambda reference: reference.startswith(prefix), [prefix], whole=True)
        self._references = references
        self._options = pipeline.options
        self._index_of = CompactMap()
        self._title_of = CompactMap()
        self._shared_titles: set[bytes] = set()
        self._keys: list[Any] = []
        self._bodies: list[bytes] = []
        self._in_data = bytearray()
        self.forms: set[bool] = set()
        self.restart()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, spec: RoomSpec) -> None:
        """Add the next spec.

        Raises:
            ValidationError: If it is not a spec, or its key is missing, invalid or not the only one.
        """
        index, key = len(self._keys), getattr(spec, "key", None)
        if key is None:
            raise ValidationError(f"The spec at index {index} has no key.", field="key")
        reference = self._references.of_key(key)
        request = create_request(spec, reference, self._options, validate=False)
        if not self._index_of.add(_digest(reference), index):
            raise ValidationError(f"The key {key!r} appears twice (the second time at index {index}).", field="key")
        if (title := _title(request.body)) is not None and not self._title_of.add(title, index):
            self._shared_titles.add(title)
        self._keys.append(key)
        self._bodies.append(request.body or b"{}")
        self._in_data.append(request.reference_in_data)
        self.forms.add(request.reference_in_data)

    # What the list shows

    def restart(self) -> None:
        """Forget what was seen."""
        super().restart()
        self._room_ids: dict[int, str] = {}
        self._changed: dict[int, Change] = {}
        self.duplicates: dict[str, tuple[str, ...]] = {}
        self.unexpected: list[str] = []
        self._namesakes: dict[int, tuple[str, ...]] = {}
        self.checks: list[ListedRoom] = []
        self.sample: list[ListedRoom] = []

    def visit(self, room: ListedRoom) -> None:
        """Note whose room this is."""
        if not self._accepts(room.reference):
            self._note_namesake(room)
            return
        if room.reference.startswith(self._references.self_check_prefix):
            self.checks.append(room)
            return
        if len(self.sample) < _MOST_KNOWN:
            self.sample.append(room)
        index = self._index_of.get(_digest(room.reference))
        if index is None:
            self.unexpected.append(room.room_id)
            self._note_namesake(room)
        elif index in self._room_ids:
            reference = with_location(room.reference, in_data=False)
            known = self.duplicates.get(reference, (self._room_ids[index],))
            self.duplicates[reference] = (*known, room.room_id)
        else:
            self._room_ids[index] = room.room_id
            change = _change(self._bodies[index], room.raw or b"{}")
            if change is not Change.NONE:
                self._changed[index] = change

    def _note_namesake(self, room: ListedRoom) -> None:
        title = _title(room.raw)
        index = None if title is None or title in self._shared_titles else self._title_of.get(title)
        if index is not None:
            self._namesakes[index] = (*self._namesakes.get(index, ()), room.room_id)

    def result(self, audited: datetime | None, unreadable: UnreadableRooms) -> JobAudit:
        """Return what the latest reading has shown."""
        return JobAudit(
            total=len(self),
            found=len(self._room_ids),
            missing=[self._spec(index) for index in range(len(self)) if index not in self._room_ids],
            changed=[self._spec(index) for index in sorted(self._changed)],
            duplicates=self.duplicates,
            unexpected=self.unexpected,
            namesakes={
                with_location(self._references.of_key(self._keys[index]), in_data=False): rooms
                for index, rooms in sorted(self._namesakes.items())
            },
            audited=audited,
            unreadable=unreadable.texts(),
        )

    def _spec(self, index: int) -> AuditedSpec:
        key = self._keys[index]
        reference = with_location(self._references.of_key(key), in_data=bool(self._in_data[index]))
        return AuditedSpec(
            index=index,
            key=key,
            reference=reference,
            room_id=self._room_ids.get(index),
            other_room=self._changed.get(index) is Change.IDENTITY,
        )


async def audit_job(
    creator: Creator,
    pipeline: Pipeline,
    job_id: str,
    specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec],
    give_up_after: float,
) -> JobAudit:
    """Compare the list of rooms with the specs of a job, in at most two readings.

    The first one finds rooms that a complete list must show, unless the client knows some. The second one begins one
    settle time after this call, because until then another process may have sent a create of the job.

    Raises:
        ValidationError: If a spec is invalid.
        VideoAPIError: If the list cannot be read.
    """
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    references = JobReferences(job_id)
    rooms = _SpecRooms(references, pipeline)
    await _read(specs, rooms)
    forms = rooms.forms or {False}
    patience = Patience(give_up_after=give_up_after)
    check = SelfCheckRoom(creator, pipeline, references.self_check_prefix)
    look = partial(creator.scanner.look, pipeline, visitor=rooms, patience=patience)
    readings = 0
    try:
        if any(creator.memory.oldest_for(form) is None for form in forms):
            readings += 1
            if (error := (await look()).error) is not None:
                raise error
            for room in rooms.sample:
                creator.know_listed(room)
            await check.ensure(forms, patience)
        audited: datetime | None = None
        unreadable = UnreadableRooms()
        while audited is None and readings < _READINGS:
            readings += 1
            await creator.wait_for_proof(pipeline, asked_at, forms, patience, "audit of a job")
            scan = await look()
            if scan.error is not None:
                raise scan.error
            unreadable = scan.unreadable
            settled = scan.began >= asked_at + creator.scanner.settle
            if settled and all(scan.proves_absence(form) for form in forms):
                audited = datetime.now(UTC) - timedelta(seconds=clock() - scan.began)
        return rooms.result(audited, unreadable)
    finally:
        for room in rooms.checks:
            check.adopt(room)
        await check.delete(Patience())


async def _read(specs: Iterable[RoomSpec] | AsyncIterable[RoomSpec], rooms: _SpecRooms) -> None:
    inputs = Inputs(specs)
    try:
        while (given := inputs.next_at_once() if inputs.at_once else await inputs.next()) is not None:
            rooms.add(given[1])
            if len(rooms) % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
    finally:
        await inputs.aclose()
    if inputs.error is not None:
        raise inputs.error


def _digest(reference: str) -> bytes:
    # The location is that of the spec as it was sent, which may have had, or lacked, an owner_ref.
    text = with_location(reference, in_data=False)
    return hashlib.blake2s(text.encode(), digest_size=_KEY).digest()


def _title(room: bytes | None) -> bytes | None:
    """Return a digest of the name and start of a room; None if it cannot be read."""
    try:
        return _titled(room or b"{}").digest()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _change(body: bytes, room: bytes) -> Change:
    try:
        return change_of(parse(body), parse(room))
    except (ValueError, RecursionError):
        # Such as a number of thousands of digits.
        return Change.NONE
