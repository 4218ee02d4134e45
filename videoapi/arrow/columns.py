"""Converts records to Arrow columns; never fails for a value, and agrees with `record.flat()`. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec
import pyarrow
import pyarrow.compute

from videoapi.arrow.batches import joined
from videoapi.arrow.schema import ARCHIVE_SCHEMA, FLAG, NUMBER, ROOM_SCHEMA, SCHEMA, TEXT, TIME
from videoapi.models.archives import Archive
from videoapi.models.base import plain
from videoapi.models.cdr import CallRecord, CallRoom, CallUser, Price, PublishedTrack, SignalServer, Usage
from videoapi.models.column_records import NO_DIRECTION, NO_FIGURES, NO_MEDIA
from videoapi.models.decoded import struct_of
from videoapi.models.flat import SOURCES, flat_row, read_number, read_reference, read_text, read_time, read_truth
from videoapi.models.redaction import SECRET_FIELD, without_secrets
from videoapi.models.rooms import Room

# Its functions are made when it is imported, which type checkers do not see.
compute: Final[Any] = pyarrow.compute

Values = Sequence[Any]
Convert = Callable[[Sequence[Any]], Any]
"""Returns records as a `pyarrow.RecordBatch`."""

# What is used for a part that a record lacks.
_PARTS: Final[tuple[tuple[str, Any], ...]] = (
    ("room", struct_of(CallRoom)()),
    ("user", struct_of(CallUser)()),
    ("sigserver", struct_of(SignalServer)()),
    ("published_track", struct_of(PublishedTrack)()),
    ("usage", struct_of(Usage)()),
    ("price", struct_of(Price)()),
)
# The years that `flat()` has, in milliseconds.
_FIRST, _END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000 for year in (1678, 2262))
_NOT_ENCODED: Final = (ValueError, TypeError, OverflowError, RecursionError)
_NOT_CONVERTED: Final = (pyarrow.ArrowException, ValueError, TypeError, OverflowError)
_READERS: Final[dict[Any, Callable[[Any], Any]]] = {TEXT: read_text, NUMBER: read_number, FLAG: read_truth}

_astuple: Final = msgspec.structs.astuple
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


def converter(model: type[Any]) -> tuple[Any, Convert]:
    """Return the schema of a model, and the function that converts its records."""
    kinds: dict[type[Any], tuple[Any, Convert]] = {
        CallRecord: (SCHEMA, call_columns),
        Archive: (ARCHIVE_SCHEMA, archive_columns),
        Room: (ROOM_SCHEMA, room_columns),
    }
    return kinds[model]


def call_columns(records: Sequence[Any]) -> Any:
    """Return call records, models or of a `ColumnDecoder`, as a `pyarrow.RecordBatch` with the schema `SCHEMA`."""
    if records and CallRecord not in set(map(type, records)):
        return _from_decoded(records)
    # What the typed decoder rejects, and what is built in code, is checked value by value.
    odd = [n for n, one in enumerate(records) if isinstance(one, CallRecord)]
    if len(odd) == len(records):
        return _from_rows(records)
    others = [n for n, one in enumerate(records) if not isinstance(one, CallRecord)]
    both = joined([_from_decoded([records[n] for n in others]), _from_rows([records[n] for n in odd])], SCHEMA)
    return both.take(compute.array_sort_indices(pyarrow.array([*others, *odd])))


def archive_columns(archives: Sequence[Archive]) -> Any:
    """Return archives as a `pyarrow.RecordBatch` with the schema `ARCHIVE_SCHEMA`."""
    columns: dict[str, Values] = {
        "archive_id": [one.archive_id for one in archives],
        "trans_at": [one.trans_date for one in archives],
        **{name: [getattr(one, name) for one in archives] for name in ("conf_num", "app_id", "room_id")},
        **{
            name: [json_text(without_secrets(plain(getattr(one, name)))) for one in archives]
            for name in ("recording", "transcoded", "chatdata", "metadata")
        },
    }
    return _batch(
        {name: _array(values, ARCHIVE_SCHEMA.field(name).type) for name, values in columns.items()}, ARCHIVE_SCHEMA
    )


def room_columns(rooms: Sequence[Room]) -> Any:
    """Return rooms as a `pyarrow.RecordBatch` with the schema `ROOM_SCHEMA`; PINs and passwords are left out."""
    columns: dict[str, Values] = {
        **{
            name: [getattr(one, name) for one in rooms]
            for name in (
                "room_id",
                "name",
                "owner_ref",
                "service_id",
                "configured_media_zone",
                "media_server_available",
                "controller_id",
            )
        },
        "created_at": [one.created for one in rooms],
        "updated_at": [one.updated for one in rooms],
        "sip_enabled": [one.sip if isinstance(one.sip, bool) else getattr(one.sip, "enabled", None) for one in rooms],
        "settings": [json_text(without_secrets(one.settings.to_dict()) or None) for one in rooms],
        "sip": [json_text(without_secrets(plain(one.sip))) for one in rooms],
        "data": [json_text(plain(one.data)) for one in rooms],
    }
    return _batch({name: _array(values, ROOM_SCHEMA.field(name).type) for name, values in columns.items()}, ROOM_SCHEMA)


def json_text(value: Any) -> str | None:
    """Return a JSON value as text that Arrow accepts; None for None, and for what cannot be encoded."""
    if value is None:
        return None
    try:
        return _encode(value).decode()
    except _NOT_ENCODED:
        pass
    try:
        # For integers beyond 64 bits, and for half a surrogate pair.
        return read_text(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except _NOT_ENCODED:
        return None


def _from_decoded(decoded: Sequence[Any]) -> Any:
    own = _by_field(decoded, decoded[0])
    found = dict(own)
    for part, empty in _PARTS:
        found.update((f"{part}.{name}", values) for name, values in _by_field(own[part], empty).items())
    columns: dict[str, Any] = {name: _array(found[path], kind) for name, path, kind in _PATHS}
    columns.update(zip(_TIME_PATHS, _time_arrays([found[path] for path in _TIME_PATHS.values()]), strict=True))
    columns["user_minutes"] = compute.divide(columns["user_seconds"], 60.0)
    columns["room_minutes"] = compute.divide(columns["room_seconds"], 60.0)
    details = found["room.room_details"]
    columns["owner_ref"] = _array([one.get("owner_ref") if one else None for one in details], TEXT, read_reference)
    names = [read_text(one.get("name")) if one else None for one in details]
    older = found["user.confName"]
    columns["room_name"] = _array([older[n] if name is None else name for n, name in enumerate(names)], TEXT)
    columns["room_details"] = _safe(_texts(details), is_room=True)
    quality = own["stats_quality"]
    columns["stats_quality"] = _safe(pyarrow.array([one and one.text for one in quality], TEXT))
    columns.update(_figures([one and one.figures for one in quality]))
    return _batch(columns, SCHEMA)


def _from_rows(records: Sequence[Any]) -> Any:
    rows = [flat_row(record) for record in records]
    # `flat_row` has checked the values, and its times are aware.
    columns = {name: pyarrow.array([row[name] for row in rows], SCHEMA.field(name).type) for name in CallRecord.columns}
    columns["room_details"] = _safe(_texts([_open(record.room, "room_details") for record in records]), is_room=True)
    columns["stats_quality"] = _safe(_texts([_open(record, "stats_quality") for record in records]))
    return _batch(columns, SCHEMA)


def _open(part: Any, name: str) -> Any:
    value = getattr(part, name, None)
    return value if isinstance(value, Mapping) else None


def _batch(columns: Mapping[str, Any], schema: Any) -> Any:
    return pyarrow.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _by_field(structs: Values, empty: Any) -> dict[str, Values]:
    """Return the values of each field; those of `empty` in place of None."""
    rows = map(_astuple, [one or empty for one in structs])
    return dict(zip(empty.__struct_fields__, zip(*rows, strict=True), strict=True))


def _array(values: Values, kind: Any, read: Callable[[Any], Any] | None = None) -> Any:
    """Return values as an array; one that does not fit is None."""
    if kind == TIME:
        return _times(values)
    try:
        return pyarrow.array(values, kind)
    except _NOT_CONVERTED:
        return pyarrow.array(list(map(read or _READERS[kind], values)), kind)


def _safe(texts: Any, *, is_room: bool = False) -> Any:
    """Return an array of JSON texts with `***` in place of secrets."""
    # Nearly all of them have none, and Arrow finds that in a fraction of the time of a look at each value.
    found = compute.match_substring_regex(texts, SECRET_FIELD)
    if not compute.any(found).as_py():
        return texts
    rows = zip(texts.to_pylist(), found.to_pylist(), strict=True)
    masked = (json_text(without_secrets(json.loads(text), is_room=is_room)) if has else text for text, has in rows)
    return pyarrow.array(masked, TEXT)


def _texts(values: Values) -> Any:
    """Return JSON values as an array of text."""
    try:
        # All at once: JSON text has no line breaks of its own.
        texts = _encode_lines(values).decode().split("\n")
    except _NOT_ENCODED:
        return pyarrow.array(list(map(json_text, values)), TEXT)
    return pyarrow.array([None if text == "null" else text for text in texts[: len(values)]], TEXT)


def _time_arrays(columns: Sequence[Values]) -> list[Any]:
    """Return the times of columns of the same length."""
    # At once, because the calls of Arrow cost more than the values.
    times = _fast_times(list(chain.from_iterable(columns)))
    if times is None:
        return [_times(values) for values in columns]
    rows = len(columns[0])
    return [times.slice(start, rows) for start in range(0, len(times), rows)]


def _times(values: Values) -> Any:
    times = _fast_times(values)
    if times is not None:
        return times
    return pyarrow.array([whole_milliseconds(read_time(value)) for value in values], TIME)


def _fast_times(values: Values) -> Any:
    """Return times as an array; None if one of them has to be read by `read_time`."""
    try:
        texts = pyarrow.array(values, TEXT)
        # Arrow reads this form as `parse_time` does, and rejects what is not in it. Nulls have no say.
        if compute.all(compute.ends_with(texts, "Z")).as_py() is False:
            return None
        times = texts.cast(TIME)
    except _NOT_CONVERTED:
        return None
    bounds = compute.min_max(times.view(pyarrow.int64())).as_py()
    fits = bounds["min"] is None or (bounds["min"] >= _FIRST and bounds["max"] < _END)
    return times if fits else None


def whole_milliseconds(when: datetime | None) -> datetime | None:
    """Return a time without its microseconds; Arrow would round some of them up."""
    return when and when.replace(microsecond=when.microsecond // 1_000 * 1_000)


def _figures(parts: Values) -> dict[str, Any]:
    """Return the columns of `stats_quality`, most of which are often empty."""
    nulls = {kind: pyarrow.nulls(len(parts), kind) for kind in (TEXT, NUMBER)}
    columns: dict[str, Any] = {}
    for direction, directions in _by_field(parts, NO_FIGURES).items():
        for media, found in _by_field(directions, NO_DIRECTION).items():
            is_empty = all(one is None or one == NO_MEDIA for one in found)
            values = {} if is_empty else _by_field(found, NO_MEDIA)
            for figure in NO_MEDIA.__struct_fields__:
                name = f"{direction}_{media}_{figure}"
                kind = SCHEMA.field(name).type
                columns[name] = nulls[kind] if is_empty else _array(values[figure], kind)
    return columns


# The columns that one field of a decoded record gives as it is, and the dotted path of the field.
_SIMPLE: Final = {
    name: path
    for name, path in SOURCES.items()
    if path.count(".") < 2 and not name.endswith(("user_minutes", "room_minutes"))
}
_TIME_PATHS: Final = {name: path for name, path in _SIMPLE.items() if SCHEMA.field(name).type == TIME}
_PATHS: Final = tuple(
    (name, path, SCHEMA.field(name).type) for name, path in _SIMPLE.items() if name not in _TIME_PATHS
)
