"""The rooms that there are, made or generated, and what else stands in their list."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from videoapi.sandbox.history import Generated
from videoapi.sandbox.persistence import State
from videoapi.sandbox.settings import Json

_ROOM, _REMOVED, _FOREIGN = "room", "removed", "foreign"
_MOMENTS = ("created", "updated", "first_start", "first_end")


@attrs.define
class StoredRoom:
    """One stored room: its body as validated, not filled in, and what its sessions left on it."""

    room_id: str
    body: Json
    created: datetime
    updated: datetime | None = None
    controller: str | None = None
    first_start: datetime | None = None
    first_end: datetime | None = None

    @property
    def settings(self) -> Json:
        """The stored settings."""
        settings = self.body["settings"]
        return settings if isinstance(settings, dict) else {}


class RoomTable:
    """The rooms by id, and in the order of the list: generated ones first, then as they were put.

    Args:
        generated: rooms that were never made but exist.
        state: where the others are kept, and were kept before.
    """

    def __init__(self, generated: Generated, state: State) -> None:
        self._generated = generated
        self._state = state
        self._rooms = kept(state)
        self._removed = set(state.load(_REMOVED))
        self._foreign = [str(item).encode("latin-1") for item in state.load(_FOREIGN).values()]

    def __len__(self) -> int:
        return len(self._rooms) + len(self._foreign) + self._generated.rooms

    def __iter__(self) -> Iterator[StoredRoom]:
        """Every room, read while it may change."""
        generated = self._generated
        for place in range(generated.rooms):
            room_id = generated.room_id(place)
            room = None if room_id in self._rooms else self.get(room_id)
            if room is not None:
                yield room
        yield from list(self._rooms.values())

    def get(self, room_id: str) -> StoredRoom | None:
        """The room of an id; a generated one is made anew each time, until it is put."""
        room = self._rooms.get(room_id)
        if room is not None:
            return room
        body = None if room_id in self._removed else self._generated.room(room_id)
        return None if body is None else StoredRoom(room_id, body, self._generated.born(room_id))

    def made(self, room_id: str) -> StoredRoom:
        """A room that was put and not removed since."""
        return self._rooms[room_id]

    def all_made(self) -> list[StoredRoom]:
        """Every room that was put."""
        return list(self._rooms.values())

    def put(self, room: StoredRoom) -> None:
        """Keep a room, or what was changed in it."""
        self._rooms[room.room_id] = room
        self._state.put(_ROOM, room.room_id, attrs.asdict(room, recurse=False, value_serializer=_written))

    def remove(self, room_id: str) -> None:
        """Let a room be gone."""
        if self._rooms.pop(room_id, None) is not None:
            self._state.drop(_ROOM, room_id)
        if self._generated.room(room_id) is not None:
            self._removed.add(room_id)
            self._state.put(_REMOVED, room_id, None)

    def foreign(self) -> Iterator[bytes]:
        """What stands in the list behind the rooms, as it was given."""
        yield from self._foreign

    def add_foreign(self, item: bytes) -> None:
        """Put something into the list that the service itself would never write."""
        self._state.put(_FOREIGN, str(len(self._foreign)), item.decode("latin-1"))
        self._foreign.append(item)


def kept(state: State) -> dict[str, StoredRoom]:
    """The rooms of a state by id, without generated ones that nobody has changed."""
    return {room_id: _read(document) for room_id, document in state.load(_ROOM).items()}


def _written(_: object, __: object, value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(document: object) -> StoredRoom:
    if not isinstance(document, dict):
        raise ValueError("this is no room")
    room: dict[str, Any] = dict(document)
    room |= {key: datetime.fromisoformat(room[key]) for key in _MOMENTS if room[key] is not None}
    return StoredRoom(**room)
