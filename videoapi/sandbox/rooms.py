"""The table of rooms, created or generated, and the foreign items in the room list."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import attrs

from videoapi.sandbox.history import Generated
from videoapi.sandbox.persistence import State
from videoapi.sandbox.settings import Json

_ROOM, _REMOVED, _FOREIGN = "room", "removed", "foreign"
_MOMENTS = ("created", "updated", "first_start", "first_end")


@attrs.define
class StoredRoom:
    """A stored room: its validated body, without defaults, and data from its sessions."""

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
    """The rooms by id, and in list order: generated rooms first, then in the order in which they were put.

    Args:
        generated: The generated rooms.
        state: The store of all other rooms, which may hold rooms of an earlier run.
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
        """Iterate over all rooms. The table may change during the iteration."""
        generated = self._generated
        for place in range(generated.rooms):
            room_id = generated.room_id(place)
            room = None if room_id in self._rooms else self.get(room_id)
            if room is not None:
                yield room
        yield from list(self._rooms.values())

    def get(self, room_id: str) -> StoredRoom | None:
        """Return the room with an id, if any. A generated room is a new object each time, until it is put."""
        room = self._rooms.get(room_id)
        if room is not None:
            return room
        body = None if room_id in self._removed else self._generated.room(room_id)
        return None if body is None else StoredRoom(room_id, body, self._generated.born(room_id))

    def made(self, room_id: str) -> StoredRoom:
        """Return a room that was put and not removed since."""
        return self._rooms[room_id]

    def all_made(self) -> list[StoredRoom]:
        """Return every room that was put and not removed since."""
        return list(self._rooms.values())

    def latest(self, at_most: int) -> list[StoredRoom]:
        """Return rooms, newest first: those that were put, then generated ones."""
        rooms = list(islice(reversed(self._rooms.values()), at_most))
        # Of generated rooms only the last few are looked at, because all of them may have been deleted.
        for place in reversed(range(self._generated.rooms)[-at_most:]):
            room_id = self._generated.room_id(place)
            room = None if room_id in self._rooms else self.get(room_id)
            if room is not None:
                rooms.append(room)
        return rooms[:at_most]

    def put(self, room: StoredRoom) -> None:
        """Store a new or changed room."""
        self._rooms[room.room_id] = room
        self._state.put(_ROOM, room.room_id, attrs.asdict(room, recurse=False, value_serializer=_written))

    def remove(self, room_id: str) -> None:
        """Remove a room."""
        if self._rooms.pop(room_id, None) is not None:
            self._state.drop(_ROOM, room_id)
        if self._generated.room(room_id) is not None:
            self._removed.add(room_id)
            self._state.put(_REMOVED, room_id, None)

    def clear(self) -> None:
        """Forget everything that was put, removed or added; the generated rooms are as at first."""
        self._rooms.clear()
        self._removed.clear()
        self._foreign.clear()

    def foreign(self) -> Iterator[bytes]:
        """Yield the foreign items that follow the rooms in the list, as given."""
        yield from self._foreign

    def add_foreign(self, item: bytes) -> None:
        """Add an item to the list that the service itself would never write."""
        self._state.put(_FOREIGN, str(len(self._foreign)), item.decode("latin-1"))
        self._foreign.append(item)


def kept(state: State) -> dict[str, StoredRoom]:
    """Return the rooms of a state by id, without unchanged generated rooms."""
    return {room_id: _read(document) for room_id, document in state.load(_ROOM).items()}


def _written(_: object, __: object, value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(document: object) -> StoredRoom:
    if not isinstance(document, dict):
        raise ValueError("this is not a room")
    room: dict[str, Any] = dict(document)
    room |= {key: datetime.fromisoformat(room[key]) for key in _MOMENTS if room[key] is not None}
    return StoredRoom(**room)
