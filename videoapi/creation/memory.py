"""What one client remembers: rooms that it created and that exist, and creates whose outcome it does not know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

import attrs

from videoapi.models.rooms import Room

_MOST_ROOMS: Final = 4096
_MOST_DOUBTS: Final = 10_000
_Row = tuple[str, str, bool, bool, float]


@attrs.frozen
class KnownRoom:
    """A room of this library that exists, so that a complete list must show it.

    Args:
        room_id: Its ID.
        reference: The reference it carries.
        in_data: Whether `data` holds the reference unchanged.
        in_owner_ref: Whether `owner_ref` holds the reference unchanged.
        made_at: Since when it is known to exist, in seconds of the event loop's clock.
    """

    room_id: str
    reference: str
    in_data: bool
    in_owner_ref: bool
    made_at: float

    def serves(self, in_data: bool) -> bool:
        """Return whether a list that shows it also shows references in that location."""
        return self.in_data if in_data else self.in_owner_ref


class Memory:
    """The known rooms of a client (the first and the latest, thousands of each), and its latest unresolved creates."""

    def __init__(self) -> None:
        # Plain tuples are cheap: every created room is added, and hardly any is looked up again.
        self._first: dict[str, _Row] = {}
        self._latest: dict[str, _Row] = {}
        self._temporary: set[str] = set()
        self._sent: OrderedDict[str, tuple[float | None, bool]] = OrderedDict()
        self._in_doubt: dict[str, None] = {}

    @property
    def in_doubt(self) -> int:
        """The number of creates that may have been executed, and of which nothing has been proved since."""
        return len(self._in_doubt)

    def note_doubt(self, reference: str) -> None:
        """Record that a create may have been executed."""
        self._in_doubt[reference] = None
        if len(self._in_doubt) > _MOST_DOUBTS:
            del self._in_doubt[next(iter(self._in_doubt))]

    def note_proof(self, reference: str) -> None:
        """Record that it is known what became of a create."""
        self._in_doubt.pop(reference, None)

    def add_room(self, room_id: str, reference: str, in_data: bool, in_owner_ref: bool, made_at: float) -> None:
        """Add a room that was just created or just seen."""
        if self._in_doubt:
            self.note_proof(reference)
        row = (room_id, reference, in_data, in_owner_ref, made_at)
        known = self._first.get(room_id) or self._latest.get(room_id)
        if known is not None and known[:4] == row[:4]:
            # It has existed for longer than since now.
            return
        if len(self._first) < _MOST_ROOMS or room_id in self._first:
            self._first[room_id] = row
            return
        self._latest[room_id] = row
        if len(self._latest) > 2 * _MOST_ROOMS:
            # Dropping many at once is cheaper than dropping one per new room.
            self._latest = dict(islice(self._latest.items(), _MOST_ROOMS, None))

    def room(self, room_id: str) -> KnownRoom | None:
        """Return a room whose reference is known, also one that proves nothing, or None."""
        row = self._first.get(room_id) or self._latest.get(room_id)
        return None if row is None else KnownRoom(*row)

    def disqualify_room(self, room_id: str) -> None:
        """Keep only the reference of a room that is being changed: a list may show it as it was before."""
        for rows in (self._first, self._latest):
            if (row := rows.get(room_id)) is not None:
                rows[room_id] = (*row[:2], False, False, row[4])

    def note_temporary(self, room_id: str) -> None:
        """Record that a room is deleted at the end of a run or a create, like a self-check room."""
        self._temporary.add(room_id)

    def forget_room(self, room_id: str) -> None:
        """Remove a room that was deleted, or whose reference was overwritten."""
        self._temporary.discard(room_id)
        self._first.pop(room_id, None)
        self._latest.pop(room_id, None)

    def rooms(self) -> list[KnownRoom]:
        """Return all known rooms that a complete list must show."""
        return [KnownRoom(*row) for row in self._rows() if row[2] or row[3]]

    def oldest_for(self, in_data: bool | None, *, lasting: bool = False) -> float | None:
        """Return since when a known room serves that location, or None if no room does.

        Args:
            in_data: The location; None for both, which may be served by different rooms.
            lasting: Whether to omit rooms that are deleted at the end of a run or a create.
        """
        if in_data is None:
            oldest = [self.oldest_for(form, lasting=lasting) for form in (True, False)]
            return None if None in oldest else max(at for at in oldest if at is not None)
        form = 2 if in_data else 3
        omitted = self._temporary if lasting else ()
        return min((row[4] for row in self._rows() if row[form] and row[0] not in omitted), default=None)

    def note_sent(self, reference: str, in_data: bool, now: float | None) -> None:
        """Record that a create may have been executed, and was sent no later than now.

        `now` is None if the reference is known outside of this client, so that another process may send it, too.
        """
        self._sent[reference] = (now, in_data)
        self._sent.move_to_end(reference)
        if len(self._sent) > _MOST_DOUBTS:
            self._sent.popitem(last=False)

    def sent(self, reference: str) -> tuple[float | None, bool] | None:
        """Return when an unresolved create was last sent, and whether its reference is in `data`; None if unknown."""
        return self._sent.get(reference)

    def _rows(self) -> Iterator[_Row]:
        return chain(self._first.values(), self._latest.values())


def can_be_known(room: Room) -> bool:
    """Return whether a room exists until it is deleted; one for a single session vanishes by itself."""
    # A decoded room builds its settings when they are first read; most callers of `create` never do.
    settings = getattr(room, "_decoded", room).settings
    return settings is None or settings.adhoc is not True
