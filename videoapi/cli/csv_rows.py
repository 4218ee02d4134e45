"""Records as CSV rows: fixed columns, and no cell that a spreadsheet evaluates as a formula. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

CALL_COLUMNS: Final = (
    "trans_date",
    "conf_num",
    "sip",
    "call_num",
    "call_log_id",
    "cdr_id",
    "app_id",
    "parent_partner_id",
    "room.room_id",
    "room.connect_dt",
    "room.disconnect_dt",
    "room.duration",
    "room.sip",
    "room.room_details",
    "user.name",
    "user.ref",
    "user.role",
    "user.ip",
    "user.agent",
    "user.token",
    "user.confName",
    "sigserver.connect_dt",
    "sigserver.disconnect_dt",
    "sigserver.ip",
    "sigserver.duration",
    "sigserver.hold_duration",
    "published_track.audio",
    "published_track.data",
    "published_track.video",
    "published_track.screen",
    "published_track.url",
    "usage.subscribed_minutes",
    "usage.published_minutes",
    "usage.screen_minutes",
    "usage.connect_minutes",
    "usage.connect_minutes_cal",
    "usage.room_connect_minutes",
    "stats_quality",
    "price.connect_duration",
)
ARCHIVE_COLUMNS: Final = (
    "_id",
    "trans_date",
    "conf_num",
    "app_id",
    "room_id",
    "recording",
    "transcoded",
    "chatdata",
    "metadata",
)
EXTRA: Final = "extra"
"""The last column: all fields without a column of their own, as one JSON object."""

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Spreadsheets evaluate cells with these prefixes, or strip leading whitespace and then evaluate them.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def cells(fields: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return a record's cells in the order of the columns, `extra` last.

    Args:
        fields: The record by its API field names.
        columns: Dotted names; a nested object whose fields have columns has no column itself.
    """
    parts = {column.partition(".")[0] for column in columns if "." in column}
    found = dict(_flat(fields, parts))
    row = [cell(found.pop(column, None)) for column in columns]
    return [*row, json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else ""]


def cell(value: Any) -> str:
    """Return a value as a cell; text that looks like a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _flat(fields: Mapping[str, Any], parts: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if name in parts and isinstance(value, Mapping):
            for inner, held in value.items():
                yield f"{name}.{inner}", held
        else:
            yield name, value
