"""A glance at the rooms of a list: whether they are ours, and which, for a fraction of what reading them costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from videoapi.creation.references import DATA_KEY, is_reference
from videoapi.models.ids import is_id
from videoapi.protocol.envelope import Unreadable, parse

MARK: Final = b"vx"
"""Stands in every reference of ours, and so in the text of every room that carries one."""
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)


# No cycle can be made of what JSON holds, so the garbage collector need not look at any of these.
class _Data(msgspec.Struct, gc=False, rename={"marked": DATA_KEY}):
    marked: Any = None


class Glance(msgspec.Struct, gc=False):
    """What is looked at in a room; the decoder passes over the rest."""

    room_id: Any = None
    owner_ref: Any = None
    data: _Data | list[Any] | str | float | bool | None = None
    created: Any = None

    def reference(self) -> str | None:
        """Return the reference that the room carries, as `reference_in` does; None also where its id is none."""
        reference: Any = self.marked() or self.owner_ref
        named = self.room_id is not None and is_id(str(self.room_id))
        return reference if named and is_reference(reference) else None

    def marked(self) -> str | None:
        """Return the reference that stands in `data`."""
        marked = self.data.marked if isinstance(self.data, _Data) else None
        return marked if marked is not None and is_reference(marked) else None


_one: Final = msgspec.json.Decoder(Glance).decode
_many: Final = msgspec.json.Decoder(list[Glance]).decode


def glances(text: bytes) -> list[Glance] | None:
    """Look at a list of rooms at once; None where none of them is ours, or one is odd."""
    if MARK not in text:
        return None
    try:
        return _many(text)
    except _UNREADABLE:
        return None


def glance(raw: bytes) -> Glance:
    """Look at one room, however odd it is; an empty glance where nothing can be seen."""
    try:
        return _one(raw)
    except _UNREADABLE:
        pass
    try:
        room = parse(raw)
    except Unreadable:
        return Glance()
    if not isinstance(room, Mapping):
        return Glance()
    data = room.get("data")
    seen = _Data(data.get(DATA_KEY)) if isinstance(data, Mapping) else None
    return Glance(room.get("room_id"), room.get("owner_ref"), seen, room.get("created"))
