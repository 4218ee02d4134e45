"""Known rooms: rooms that this library created and that exist, so that a complete list must show them."""

from __future__ import annotations

from itertools import islice
from typing import Final

import attrs

_MOST: Final = 4096
_Row = tuple[str, str, bool, bool, float]


@attrs.frozen
class Control:
    """A known room.

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


class Controls:
    """The known rooms of one client: the first and the latest that it created, at most thousands of each."""

    def __init__(self) -> None:
        # Plain tuples are cheap: every created room is added, and hardly any is looked up again.
        self._first: dict[str, _Row] = {}
        self._latest: dict[str, _Row] = {}

    def add(self, room_id: str, reference: str, in_data: bool, in_owner_ref: bool, made_at: float) -> None:
        """Add a room that was just created or just seen."""
        row = (room_id, reference, in_data, in_owner_ref, made_at)
        if len(self._first) < _MOST or room_id in self._first:
            self._first[room_id] = row
            return
        self._latest[room_id] = row
        if len(self._latest) > 2 * _MOST:
            # Dropping many at once is cheaper than dropping one per new room.
            self._latest = dict(islice(self._latest.items(), _MOST, None))

    def forget(self, room_id: str) -> None:
        """Remove a room that was deleted."""
        self._first.pop(room_id, None)
        self._latest.pop(room_id, None)

    def all(self) -> list[Control]:
        """Return all known rooms."""
        return [Control(*row) for row in (*self._first.values(), *self._latest.values())]

    def oldest_for(self, in_data: bool | None) -> float | None:
        """Return since when a known room serves that location, or None if no room does.

        Args:
            in_data: The location; None for both, which may be served by different rooms.
        """
        if in_data is None:
            oldest = [self.oldest_for(form) for form in (True, False)]
            return None if None in oldest else max(at for at in oldest if at is not None)
        return min((room.made_at for room in self.all() if room.serves(in_data)), default=None)
