"""Rooms of a list that cannot be read: which references each of them may carry.

Such a room exists. So a list that shows it does not prove that a reference is on no room, if the room may carry it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice
from typing import Final

import attrs

from videoapi.creation.references import DATA_KEY, LENGTH, is_reference, with_location

_SHOWN: Final = 3
_SHORTEST: Final = LENGTH - 4
_ESCAPE: Final = re.compile(r"\\(?:u00|x)(3[2-7]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
"""The escape of a letter of a reference, or of the name of its field."""
_REFERENCE: Final = re.compile(rf"(?=(vx[a-z2-7]{{{LENGTH - 2}}}))")
_ROOM_ID: Final = re.compile(r'"room_id"\s*:\s*"?([0-9A-Za-z_-]+)')
_PLACE: Final = re.compile(
    rf'"(?:owner_ref|{DATA_KEY})"\s*:\s*(?:"((?:[^"\\]|\\.)*)("?)|([^,}}\s]*))|"(vx(?:[^"\\]|\\.)*)("?)', re.DOTALL
)
"""Where a reference is expected, and any text that begins like one: the name of its field may be damaged, too."""
_OTHER_VALUE: Final = re.compile(r"null|true|false|-?[0-9][0-9.eE+-]*|[\[{].*", re.DOTALL)
_DAMAGE: Final = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff\ufffd]|\\(?:u[0-9a-fA-F]{4}|.)?", re.DOTALL)
_DAMAGED: Final = "\ufffd"
_HEAD: Final = re.compile(r"[a-z2-7]*")
_START: Final = re.compile(rf"(?=.?[x{_DAMAGED}]|[v{_DAMAGED}])(?:v|[^a-z2-7])(?:x|[^a-z2-7])", re.DOTALL)
_OTHER_LETTER: Final = re.compile(rf"[^a-z2-7{_DAMAGED}]")
_MOST_OTHERS: Final = 3


@attrs.frozen
class UnreadableRoom:
    """A room of a list that cannot be read.

    Args:
        position: Its position in the list, from 1.
        room_id: The ID that its text gives, or None.
        references: All references in its text, wherever they are.
        starts: The starts of references that are damaged: it may carry any that begins like this.
    """

    position: int
    room_id: str | None
    references: frozenset[str] = frozenset()
    starts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"item {self.position:,} of the list" + (f" (room {self.room_id})" if self.room_id else "")


def examine(raw: bytes, position: int, *, is_json: bool) -> UnreadableRoom:
    """Return what the text of a room says of its reference.

    Args:
        raw: Its text.
        position: Its position in the list, from 1.
        is_json: Whether it is valid JSON, so that none of its fields is hidden.
    """
    # An escape that is not valid JSON may still be what is left of a letter.
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), raw.decode("utf-8", "surrogateescape"))
    named = _ROOM_ID.search(text)
    starts = set(_damaged_starts(text))
    if not is_json and '"room_id"' not in text:
        # So little is left that it may be any room.
        starts.add("")
    return UnreadableRoom(
        position,
        None if named is None else named[1],
        frozenset(with_location(found, in_data=False) for found in _REFERENCE.findall(text)),
        tuple(start[:LENGTH] for start in starts),
    )


def _damaged_starts(text: str) -> Iterable[str]:
    """Yield the starts of references that the damage has reached."""
    for value, quote, other, elsewhere, its_quote in _PLACE.findall(text):
        if other or not (value or quote or elsewhere):
            if not _OTHER_VALUE.fullmatch(other):
                yield ""
        elif (start := _start_of(value or elsewhere, is_cut=not (quote or its_quote))) is not None:
            yield start


def _start_of(value: str, *, is_cut: bool) -> str | None:
    """Return the undamaged start of a damaged reference; None if a value is something else.

    Args:
        value: The value, as it is in the JSON text.
        is_cut: Whether its end is missing.
    """
    shown = _DAMAGE.sub(_DAMAGED, value)
    head = _HEAD.match(shown)
    assert head is not None
    is_whole = head.end() == len(shown)
    if is_cut and is_whole and "vx".startswith(shown[:2]):
        return shown
    # Of a value that is complete, but so short, nothing says that it was a reference.
    if is_whole or len(shown) < (0 if is_cut else _SHORTEST) or len(_OTHER_LETTER.findall(shown)) > _MOST_OTHERS:
        return None
    return head[0] if _START.match(shown) else None


class References:
    """References in either location, by which rooms that cannot be read are selected.

    Args:
        whole: The references.
        starts: What further ones begin with.
    """

    def __init__(self, whole: Iterable[str], starts: Iterable[str] = ()) -> None:
        self._starts = tuple(with_location(one, in_data=False) if is_reference(one) else one for one in starts)
        self._whole = {with_location(one, in_data=False) for one in whole}
        self._sorted = sorted(self._whole)

    def may_be_on(self, room: UnreadableRoom) -> bool:
        """Return whether a room may carry one of them."""
        if not self._whole.isdisjoint(room.references) or any(map(self._may_begin_with, room.starts)):
            return True
        return any(known.startswith(self._starts) for known in room.references)

    def _may_begin_with(self, start: str) -> bool:
        place = bisect_left(self._sorted, start)
        if place < len(self._sorted) and self._sorted[place].startswith(start):
            return True
        return any(one.startswith(start) or start.startswith(one) for one in self._starts)


class UnreadableRooms:
    """The rooms of one reading of the list that cannot be read, as far as they may be of interest.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Iterable[UnreadableRoom] = ()) -> None:
        self._rooms: list[UnreadableRoom] = []
        self._whole: set[str] = set()
        self._starts: set[str] = set()
        # There can be thousands of rooms and of references, most of which have none in their text.
        self._selected: dict[frozenset[str], UnreadableRooms] = {}
        for room in rooms:
            self.add(room)

    def __bool__(self) -> bool:
        return bool(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)

    def __str__(self) -> str:
        """Say which rooms of the list cannot be read."""
        shown = ", ".join(map(str, islice(self._rooms, _SHOWN)))
        return shown + (f" and {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else "")

    def add(self, room: UnreadableRoom) -> None:
        """Add a room."""
        self._rooms.append(room)
        self._whole |= room.references
        self._starts.update(room.starts)
        self._selected = {}

    def may_carry(self, reference: str) -> bool:
        """Return whether one of them may carry a reference, in either location."""
        return bool(self._marks(reference))

    def that_may_carry(self, references: Iterable[str]) -> UnreadableRooms:
        """Return those that may carry one of some references, in either location."""
        if not self._rooms:
            return self
        marks = frozenset[str]().union(*map(self._marks, references))
        if marks not in self._selected:
            self._selected[marks] = UnreadableRooms(
                room
                for room in self._rooms
                if not marks.isdisjoint(room.references) or not marks.isdisjoint(room.starts)
            )
        return self._selected[marks]

    def among(self, references: References) -> UnreadableRooms:
        """Return those that may carry one of some references, or of those that begin in some way."""
        return UnreadableRooms(filter(references.may_be_on, self._rooms)) if self._rooms else self

    def texts(self) -> list[str]:
        """Return what can be said of each."""
        return list(map(str, self._rooms))

    def _marks(self, reference: str) -> frozenset[str]:
        """Return what rooms show of a reference: its damaged starts, and the whole."""
        known = with_location(reference, in_data=False)
        starts = (known[:length] for length in range(LENGTH + 1))
        return frozenset(filter(self._starts.__contains__, starts)) | ({known} & self._whole)
