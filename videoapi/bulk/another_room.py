"""The failure of an input whose key has the room of another input: one with another name or `owner_ref`."""

from __future__ import annotations

import math
from typing import Final

import attrs

from videoapi.bulk.journal_rows import reference_of
from videoapi.bulk.outcome import BulkOutcome
from videoapi.bulk.sending import BulkItem, failed
from videoapi.errors import NotFound, ValidationError

_EXISTS: Final = "To give that room another name, update its name alone; otherwise use another key."


def another_room(item: BulkItem, room_id: str, advice: str = _EXISTS) -> BulkOutcome:
    """Return the outcome of an item whose key has that room."""
    error = ValidationError(
        f"Under the key {item.key!r}, room {room_id} was created with another name or owner_ref. {advice}",
        field="key",
        room_id=room_id,
        may_have_executed=True,
        reference=reference_of(item),
    )
    return attrs.evolve(failed(item, "failed", error), room_id=room_id)


def unread_room(item: BulkItem, room_id: str, read: object, unproven_for: float) -> BulkOutcome:
    """Return the outcome of an item whose key had that room, which may have been renamed since.

    Args:
        item: The item.
        room_id: The room.
        read: What reading it gave.
        unproven_for: For how many seconds `NotFound` does not prove yet that it is gone.
    """
    if not isinstance(read, NotFound):
        advice = "It cannot be read now. If it was renamed, repeat the run."
    elif unproven_for:
        advice = f"It was deleted since, or is too new to be read. Repeat the run in {math.ceil(unproven_for)} s."
    else:
        advice = "It was deleted since. Use another key."
    return another_room(item, room_id, advice)
