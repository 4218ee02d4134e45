"""Control rooms: rooms of ours that certainly exist, and so must be in every honest list."""

from __future__ import annotations

from itertools import islice
from typing import Final

import attrs

_MOST: Final = 4096
_Row = tuple[str, str, bool, bool, float]


@attrs.frozen
class Control:
    """One of them.

    Args:
        room_id: Its id.
        reference: The reference it carries.
        in_data: Whether that stands in `data`, unchanged.
        in_owner_ref: Whether it stands in `owner_ref`, unchanged.
        made_at: Since when it is known to exist, on the loop's clock.
    """

    room_id: str
    reference: str
    in_data: bool
    in_owner_ref: bool
    made_at: float

    def serves(self, in_data: bool | None) -> bool:
        """Tell whether its showing proves that references in that place are shown; None for both places."""
        if in_data is None:
            return self.in_data and self.in_owner_ref
        return self.in_data if in_data else self.in_owner_ref


class Controls:
    """The control rooms of one client: the first and the latest of those it made, thousands of each at most."""

    def __init__(self) -> None:
        # As plain tuples: each room that is made comes in here, and hardly any is ever asked about.
        self._first: dict[str, _Row] = {}
        self._latest: dict[str, _Row] = {}

    def add(self, room_id: str, reference: str, in_data: bool, in_owner_ref: bool, made_at: float) -> None:
        """Add one that was just made, or just seen."""
        row = (room_id, reference, in_data, in_owner_ref, made_at)
        if len(self._first) < _MOST or room_id in self._first:
            self._first[room_id] = row
            return
        self._latest[room_id] = row
        if len(self._latest) > 2 * _MOST:
            # Many at once costs less than one for each that comes.
            self._latest = dict(islice(self._latest.items(), _MOST, None))

    def forget(self, room_id: str) -> None:
        """Drop one that was deleted."""
        self._first.pop(room_id, None)
        self._latest.pop(room_id, None)

    def all(self) -> list[Control]:
        """Return all of them."""
        return [Control(*row) for row in (*self._first.values(), *self._latest.values())]

    def oldest_for(self, in_data: bool | None) -> float | None:
        """Return since when there is one that serves that place; None without one."""
        return min((one.made_at for one in self.all() if one.serves(in_data)), default=None)
