"""One flat row per call record, for data frames, SQL and CSV: fixed columns, each with one type. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from videoapi.models.times import parse_time

Cell: TypeAlias = str | float | bool | datetime | None

# A surrogate without its other half cannot be written as UTF-8, so no data frame accepts it.
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,3})?")
_INT64: Final = 2**63
# The years that 64 bits of nanoseconds can hold. Older versions of pandas fall back to objects for any other.
_YEARS: Final = range(1678, 2262)


class CallColumn(NamedTuple):
    """A column: its name and type, the part and the field that it shows, and how that is read."""

    name: str
    kind: type[Any]
    part: tuple[str, ...]
    field: str
    read: Callable[[Any], Cell]

    @property
    def path(self) -> str:
        """The dotted path of the field."""
        return ".".join((*self.part, self.field))


def with_parts(paths: Iterable[str]) -> frozenset[str]:
    """Return paths of fields, and those of the parts of a record that contain them."""
    return frozenset(
        ".".join(parts[:end]) for parts in (path.split(".") for path in paths) for end in range(1, len(parts) + 1)
    )


def flat_row(record: object) -> dict[str, Cell]:
    """Return a record as one value per column, in the order of `COLUMNS`.

    Args:
        record: A CallRecord, decoded or built in code; it is read by attribute and checked value by value.

    Returns:
        The values. One that is missing, or that does not have the type of its column, is None.
    """
    # What the decoder has built is as good, and makes no models of the parts.
    record = getattr(record, "_decoded", record)
    row = _EMPTY.copy()
    for path, columns in _BY_PART:
        part: Any = record
        for name in path:
            part = _get(part, name)
        if part is not None:
            for name, field, read in columns:
                if (value := _get(part, field)) is not None:
                    row[name] = read(value)
    if row["room_name"] is None:
        # The older records have no room details, and the name of the room next to the user's.
        row["room_name"] = read_text(_get(_get(record, "user"), "confName"))
    return row


def flat_reader(names: Sequence[str]) -> Callable[[object], list[Cell]]:
    """Return a function that reads some columns of a record: the values of `flat_row` in a fraction of its time.

    Args:
        names: The columns, in the order of the values.

    Returns:
        The function. It takes a CallRecord, or what the decoder has built.
    """
    columns = {column.name: column for column in CALL_COLUMNS}
    wanted = [columns[name] for name in names]
    empty: list[Cell] = [None] * len(wanted)
    by_part = tuple(
        (part, tuple((place, one.field, one.read) for place, one in enumerate(wanted) if one.part == part))
        for part in dict.fromkeys(one.part for one in wanted)
    )
    name_at = wanted.index(columns["room_name"]) if "room_name" in names else None

    def read_columns(record: object) -> list[Cell]:
        record = getattr(record, "_decoded", record)
        row = empty.copy()
        for path, fields in by_part:
            part: Any = record
            for name in path:
                part = _get(part, name)
            if part is not None:
                for place, field, read in fields:
                    if (value := _get(part, field)) is not None:
                        row[place] = read(value)
        if name_at is not None and row[name_at] is None:
            row[name_at] = read_text(_get(_get(record, "user"), "confName"))
        return row

    return read_columns


def _get(part: Any, name: str) -> Any:
    # A part is a model or, where the service leaves its shape open, a mapping.
    return part.get(name) if type(part) is dict else getattr(part, name, None)


def read_text(value: Any) -> str | None:
    """Return a text, or None; half a surrogate pair is replaced."""
    if type(value) is not str:
        return None
    return value if value.isascii() else _LONE_SURROGATE.sub("\ufffd", value)


def read_reference(value: Any) -> str | None:
    """Return a reference as text, or None."""
    # A sample of the service sends `owner_ref` as a number, and the service returns it as it was sent.
    return str(value) if type(value) is int and -_INT64 < value < _INT64 else read_text(value)


def read_number(value: Any) -> float | None:
    """Return a finite number as a float, or None."""
    if type(value) is int:
        return float(value) if -_INT64 < value < _INT64 else None
    # `stats_quality` is kept as received, and may have numbers as text; its models read them in the same way.
    if type(value) is str and _NUMBER.fullmatch(stripped := value.strip()):
        value = float(stripped)
    return value if type(value) is float and math.isfinite(value) else None


def _minutes(seconds: Any) -> float | None:
    number = read_number(seconds)
    return None if number is None else number / 60


def read_truth(value: Any) -> bool | None:
    """Return a truth value, or None."""
    return value if isinstance(value, bool) else None


def read_time(value: Any) -> datetime | None:
    """Return the time of a text, or None, also for a year that a data frame cannot hold."""
    when = parse_time(value) if isinstance(value, str) else None
    return when if when is not None and when.year in _YEARS else None


_BY_KIND: Final[Mapping[type[Any], Callable[[Any], Cell]]] = {
    str: read_text,
    float: read_number,
    bool: read_truth,
    datetime: read_time,
}


def _column(name: str, kind: type[Any], path: str, read: Callable[[Any], Cell] | None = None) -> CallColumn:
    *part, field = path.split(".")
    return CallColumn(name, kind, tuple(part), field, read or _BY_KIND[kind])


def _quality_columns() -> Iterator[CallColumn]:
    for direction in ("send", "receive"):
        for media in ("video", "audio", "sharing"):
            prefix, path = f"{direction}_{media}", f"stats_quality.{direction}.{media}"
            for figure in ("avg_bitrate", "min_bitrate", "max_bitrate", "bitrate_good_percent"):
                yield _column(f"{prefix}_{figure}", float, f"{path}.{figure}")
            yield _column(f"{prefix}_avg_bitrate_quality", str, f"{path}.avg_bitrate_quality")


CALL_COLUMNS: Final = (
    _column("cdr_id", str, "cdr_id"),
    _column("call_log_id", str, "call_log_id"),
    _column("call_num", str, "call_num"),
    _column("conf_num", str, "conf_num"),
    _column("room_id", str, "room.room_id"),
    _column("app_id", str, "app_id"),
    _column("parent_partner_id", str, "parent_partner_id"),
    _column("trans_at", datetime, "trans_date"),
    _column("room_connected_at", datetime, "room.connect_dt"),
    _column("room_disconnected_at", datetime, "room.disconnect_dt"),
    _column("user_connected_at", datetime, "sigserver.connect_dt"),
    _column("user_disconnected_at", datetime, "sigserver.disconnect_dt"),
    _column("owner_ref", str, "room.room_details.owner_ref", read_reference),
    _column("room_name", str, "room.room_details.name"),
    _column("room_sip", bool, "room.sip"),
    _column("user_name", str, "user.name"),
    _column("user_ref", str, "user.ref"),
    _column("user_role", str, "user.role"),
    _column("user_ip", str, "user.ip"),
    _column("user_agent", str, "user.agent"),
    _column("server_ip", str, "sigserver.ip"),
    _column("sip", bool, "sip"),
    _column("user_seconds", float, "sigserver.duration"),
    _column("hold_seconds", float, "sigserver.hold_duration"),
    _column("room_seconds", float, "room.duration"),
    _column("user_minutes", float, "sigserver.duration", _minutes),
    _column("room_minutes", float, "room.duration", _minutes),
    _column("connect_minutes", float, "usage.connect_minutes"),
    _column("connect_minutes_cal", float, "usage.connect_minutes_cal"),
    _column("room_connect_minutes", float, "usage.room_connect_minutes"),
    _column("subscribed_minutes", float, "usage.subscribed_minutes"),
    _column("published_minutes", float, "usage.published_minutes"),
    _column("screen_minutes", float, "usage.screen_minutes"),
    _column("published_audio", bool, "published_track.audio"),
    _column("published_video", bool, "published_track.video"),
    _column("published_screen", bool, "published_track.screen"),
    _column("published_data", bool, "published_track.data"),
    _column("published_url", bool, "published_track.url"),
    *_quality_columns(),
    _column("price_connect_duration", float, "price.connect_duration"),
)
# A join token is a secret, so `user.token` has no column.

_EMPTY: Final[dict[str, Cell]] = {column.name: None for column in CALL_COLUMNS}

# Each part of a record is looked up once for all of its columns.
_BY_PART: Final = tuple(
    (part, tuple((column.name, column.field, column.read) for column in CALL_COLUMNS if column.part == part))
    for part in dict.fromkeys(column.part for column in CALL_COLUMNS)
)

COLUMNS: Final[Mapping[str, type[Any]]] = MappingProxyType({column.name: column.kind for column in CALL_COLUMNS})
"""The columns in order, each with its type: `str`, `float`, `bool` or `datetime` (aware, UTC)."""

SOURCES: Final[Mapping[str, str]] = MappingProxyType({c.name: c.path for c in CALL_COLUMNS})
"""The dotted path of the field that each column shows."""

PATHS: Final[Mapping[str, str]] = MappingProxyType({c.path: c.name for c in CALL_COLUMNS})
"""The column of each field that has one, by the field's dotted path."""
