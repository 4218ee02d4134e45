"""The values of a call record that are there, and that no column can show. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from videoapi.models.base import Model
from videoapi.models.flat import CALL_COLUMNS, CallColumn, read_reference, with_parts

_OPEN: Final = ("stats_quality", "room.room_details")
"""The parts that the decoder keeps as they are: what is within them is not checked by it."""
_FIELDS: Final = with_parts(column.path for column in CALL_COLUMNS)
"""The paths of the columns, and of the parts that they are in. What else a record has is in no column."""
_TIMES: Final = tuple(column for column in CALL_COLUMNS if column.kind is datetime)
# Nearly all times are of this form, and need not be parsed.
_USUAL: Final = re.compile(
    r"(?:20[0-9]{2}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)T"
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{3})?Z)*"
)
_NOT_GIVEN: Final = (None, "")
_PARTS: Final = _FIELDS.difference(column.path for column in CALL_COLUMNS)


def is_given(path: str, value: object) -> bool:
    """Return whether there is a value at a path: an empty text is one only in place of a part."""
    return value is not None and (value != "" or path in _PARTS)


def unreadable_fields(record: Any, odd: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the fields of a decoded call record whose values no column can show, or the parts that hide them.

    Args:
        record: The record. Times in an unknown form, and what is in the parts of open shape, is found in it.
        odd: The odd fields that the decoder has found: all others. One whose text was only changed is left out.
    """
    record = getattr(record, "_decoded", record)
    room, user = record.room, record.sigserver
    times = [
        record.trans_date,
        *((None, None) if room is None else (room.connect_dt, room.disconnect_dt)),
        *((None, None) if user is None else (user.connect_dt, user.disconnect_dt)),
    ]
    found = [name for name in odd if name in _FIELDS and _is_lost(record, name)]
    if _USUAL.fullmatch("".join([time for time in times if time])) is None:
        found += (
            column.path
            for column, time in zip(_TIMES, times, strict=True)
            if time not in _NOT_GIVEN and column.read(time) is None
        )
    stats = record.stats_quality
    for name, part in zip(_OPEN, (stats, None if room is None else room.room_details), strict=True):
        if part is None or _is_sound(name, part):
            continue
        value = part if isinstance(part, dict) else json.loads(part.text)
        found += dict.fromkeys(_within(name, value))
    return tuple(found)


def _is_lost(record: Any, path: str) -> bool:
    value = record
    for name in path.split("."):
        value = getattr(value, name, None)
    # A part that cannot be read is an empty one.
    return value is None or isinstance(value, Model)


def _is_sound(name: str, part: Any) -> bool:
    try:
        if isinstance(part, dict):
            msgspec.convert(part, _SHAPES[name])
        else:
            msgspec.json.decode(part.text, type=_SHAPES[name])
    except (msgspec.MsgspecError, RecursionError, TypeError):
        return False
    return True


def _within(root: str, part: Any) -> Iterator[str]:
    for column in CALL_COLUMNS:
        if not column.path.startswith(f"{root}."):
            continue
        path, value = root, part
        for name in column.path.removeprefix(f"{root}.").split("."):
            if not isinstance(value, Mapping):
                break
            path, value = f"{path}.{name}", value.get(name)
        if is_given(path, value) and (path != column.path or column.read(value) is None):
            yield path


def _shape(root: str) -> Any:
    """Return a type that all usual values of a part fit."""
    inner: dict[str, Any] = {}
    for column in CALL_COLUMNS:
        if column.path.startswith(f"{root}."):
            name, _, rest = column.path.removeprefix(f"{root}.").partition(".")
            inner[name] = _shape(f"{root}.{name}") if rest else _kind(column)
    return msgspec.defstruct("_Part", [(name, kind | None, None) for name, kind in inner.items()], gc=False)


def _kind(column: CallColumn) -> Any:
    return str | int if column.read is read_reference else _NUMBER if column.kind is float else str


# Beyond it, a whole number has no column.
_NUMBER: Final = Annotated[float, msgspec.Meta(gt=-(2.0**63), lt=2.0**63)]
_SHAPES: Final = {name: _shape(name) for name in _OPEN}
