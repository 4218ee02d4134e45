"""Records as lines of a CSV file: fixed columns, and no cell that a spreadsheet evaluates as a formula. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import attrs

from videoapi.models.flat import COLUMNS, PATHS
from videoapi.models.formulas import escaped
from videoapi.models.redaction import field_without_secrets, without_secrets

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
_LINKS: Final = frozenset({"recording", "transcoded", "chatdata", "metadata"})
EXTRA: Final = "extra"
"""The last column: all fields without a column of their own, as one JSON object."""
LEFT_OUT: Final = "user.token"
"""A join token, which has no place in a spreadsheet."""

_SPECIAL: Final = re.compile(r'[",\r\n]')
_SPECIAL_OF: Final = {",": _SPECIAL, ";": re.compile(r'[";\r\n]')}


class FlatRecord(Protocol):
    """A record with a flat form."""

    def flat(self) -> Mapping[str, Any]:
        """Return the values by column."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as received."""
        ...


@attrs.frozen
class Table:
    """The columns of a kind of record, without `extra`, and a function that returns a record's cells, `extra` last."""

    columns: tuple[str, ...]
    cells: Callable[[Any], list[str]]


def call_table() -> Table:
    """Return the columns of call records."""
    return flat_table(COLUMNS, PATHS)


def archive_table() -> Table:
    """Return the columns of archives."""
    return Table(ARCHIVE_COLUMNS, lambda record: cells(_distinct(without_secrets(record.to_dict())), ARCHIVE_COLUMNS))


def _distinct(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an archive; a link whose text would be read as a list, such as `[]`, as JSON text."""
    return {name: _json(value) if name in _LINKS and _is_json(value) else value for name, value in fields.items()}


def _is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(value, str)


def flat_table(columns: Iterable[str], paths: Mapping[str, str]) -> Table:
    """Return the columns of records that have a flat form.

    Args:
        columns: The names of the columns.
        paths: The column that shows the field at a dotted path, such as `room.duration`. A field without one, and a
            value that its column cannot show, go to `extra`.
    """
    parts = {path[: place.start()] for path in paths for place in re.finditer(r"\.", path)}

    def row_of(record: FlatRecord) -> list[str]:
        row = record.flat()
        extra = {
            path: _shown(path, value)
            for path, value in _leaves(record.to_dict(), parts)
            if row.get(paths.get(path, "")) is None and path != LEFT_OUT
        }
        return [*map(cell, row.values()), _json(extra) if extra else ""]

    return Table(tuple(columns), row_of)


def _shown(path: str, value: Any) -> Any:
    part, _, name = path.rpartition(".")
    return field_without_secrets(name, value, of_room=part.endswith("room_details"))


def csv_line(row: Sequence[str], delimiter: str = ",") -> str:
    """Return cells as one line of a CSV file, separated by `,` or `;`.

    The csv module of Python 3.11 and 3.12 does not quote a carriage return, which then ends the row.
    """
    special = _SPECIAL_OF[delimiter]
    return delimiter.join(_quoted(text, special) for text in row) + "\n"


def cells(fields: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return the cells of fields in the order of the columns, `extra` last."""
    found = dict(fields)
    row = [cell(found.pop(column, None)) for column in columns]
    return [*row, _json(found) if found else ""]


def cell(value: Any) -> str:
    """Return a value as a cell; text that looks like a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        # All in one format, which readers infer from the first rows.
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    return escaped(value if isinstance(value, str) else _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _quoted(text: str, special: re.Pattern[str]) -> str:
    return '"' + text.replace('"', '""') + '"' if special.search(text) else text


def _leaves(fields: Mapping[str, Any], parts: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields with their dotted paths; an object is one field unless it is among the parts."""
    for name, value in fields.items():
        path = prefix + name
        if path in parts and isinstance(value, Mapping):
            yield from _leaves(value, parts, f"{path}.")
        else:
            yield path, value
