"""Input files, read lazily: each line becomes what is to be sent, or an error of that line alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar, get_args

import attrs

from videoapi.errors import ValidationError
from videoapi.models.fields import field_types
from videoapi.models.rooms import RoomSpec
from videoapi.models.settings import RoomSettings

T = TypeVar("T")
CSV: Final = (".csv",)
JSONL: Final = (".jsonl", ".ndjson")
TEXT: Final = (".txt",)

_SPEC_FIELDS: Final = frozenset(field.name for field in attrs.fields(RoomSpec))
_COLUMNS: Final = ("name", "owner_ref", "key", "sip")
_GROUPS: Final = ("settings.", "data.")
_TRUTHS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@attrs.frozen
class InputLine(Generic[T]):
    """One input: its place among the inputs from 0, its line in the file, and what it says or why not."""

    index: int
    number: int
    given: T | None = None
    error: ValidationError | None = None


InputLines: TypeAlias = Generator[InputLine[T], None, None]
"""The inputs of a file, read as they are asked for; closing it closes the file."""


class BadInput(ValueError):
    """The file as a whole cannot be used; its message says why."""


def room_specs(path: Path) -> InputLines[RoomSpec]:
    """Read the rooms to be made.

    Args:
        path: `.csv` with the columns name, owner_ref, key, sip, settings.… and data.…, or `.jsonl`
            with one object a line that has the fields of `RoomSpec`.

    Raises:
        BadInput: The file cannot be read, is of another kind, or a column is unknown.
    """
    if path.suffix.lower() in CSV:
        return _csv_lines(path, _check_header, spec_of_cells)
    if path.suffix.lower() in JSONL:
        return _lines(path, lambda text: spec_of_object(_object(text)))
    raise BadInput(f"{path.name}: give a file that ends in .csv or .jsonl")


def room_ids(path: Path) -> InputLines[str]:
    """Read the ids of rooms.

    Args:
        path: `.txt` with one id a line, `.csv` with a column room_id, or `.jsonl` with a field
            room_id, such as the outcomes of a create; lines without an id are passed over.

    Raises:
        BadInput: The file cannot be read, is of another kind, or has no such column.
    """
    suffix = path.suffix.lower()
    if suffix in TEXT:
        return _lines(path, str.strip)
    if suffix in CSV:
        return _csv_lines(path, _check_id_header, lambda cells: cells.get("room_id") or None)
    if suffix in JSONL:
        return _lines(path, lambda text: _id_of(_object(text)))
    raise BadInput(f"{path.name}: give a file that ends in .txt, .csv or .jsonl")


def spec_of_object(fields: Mapping[str, Any]) -> RoomSpec:
    """Return the room that an object of a JSONL file asks for.

    Raises:
        ValidationError: It has no name, or a field that no room has.
    """
    for name in fields:
        if name not in _SPEC_FIELDS:
            raise ValidationError(f"{name} is no field of a room to be made.", field=name)
    if "name" not in fields:
        raise ValidationError("name is missing.", field="name", code=10002)
    key = fields.get("key")
    if key is not None and (isinstance(key, bool) or not isinstance(key, str | int)):
        raise ValidationError("key must be text or a whole number.", field="key")
    return RoomSpec(**fields)


def spec_of_cells(cells: Mapping[str, str]) -> RoomSpec:
    """Return the room that a row of a CSV file asks for; an empty cell says nothing.

    Raises:
        ValidationError: It has no name, or a cell that should be true or false is neither.
    """
    if not cells.get("name"):
        raise ValidationError("name is missing.", field="name", code=10002)
    settings: dict[str, Any] = {}
    for column, text in cells.items():
        if column.startswith("settings.") and text:
            _put(settings, column.split(".")[1:], _setting(column, text))
    data = {column.removeprefix("data."): text for column, text in cells.items() if column.startswith("data.") and text}
    return RoomSpec(
        name=cells["name"],
        owner_ref=cells.get("owner_ref") or None,
        settings=settings or None,
        sip=_truth("sip", cells["sip"]) if cells.get("sip") else None,
        data=data or None,
        key=cells.get("key") or None,
    )


def _setting(column: str, text: str) -> Any:
    hint = field_types(RoomSettings).get(column.removeprefix("settings."))
    kinds = get_args(hint) or (hint,)
    if bool in kinds and (len(kinds) == 2 or text.lower() in _TRUTHS):
        return _truth(column, text)
    if int in kinds and str not in kinds:
        try:
            return int(text)
        except ValueError:
            raise ValidationError(f"{column} must be a whole number.", field=column) from None
    # Inside a nested setting only the words themselves are plainly meant as truths.
    return text if hint is not None or text not in ("true", "false") else text == "true"


def _truth(column: str, text: str) -> bool:
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise ValidationError(f"{column} must be true or false.", field=column) from None


def _put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    *outer, name = path
    for step in outer:
        inner = settings.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ValidationError(f"{step} is given twice, whole and in parts.", field=f"settings.{step}")
        settings = inner
    settings[name] = value


def _check_header(header: list[str]) -> None:
    if "name" not in header:
        raise BadInput("there is no column name")
    known = field_types(RoomSettings)
    for column in header:
        if column in _COLUMNS or (column.startswith(_GROUPS[1]) and len(column) > len(_GROUPS[1])):
            continue
        if not column.startswith(_GROUPS[0]) or column.split(".")[1] not in known:
            hint = f"; is settings.{column} meant?" if column in known else ""
            raise BadInput(f"column {column!r} is none of {', '.join(_COLUMNS)}, settings.…, data.…{hint}")


def _check_id_header(header: list[str]) -> None:
    if "room_id" not in header:
        raise BadInput("there is no column room_id")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError("This line is no JSON.") from None
    if not isinstance(value, dict):
        raise ValidationError("This line is no JSON object.")
    return value


def _id_of(fields: Mapping[str, Any]) -> str | None:
    found = fields.get("room_id")
    if found is None or isinstance(found, str):
        return found or None
    raise ValidationError("room_id must be text.", field="room_id")


def _open(path: Path) -> Any:
    try:
        # Bytes that are no UTF-8 come through as surrogates, so that they spoil their own line only.
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def _lines(path: Path, read: Callable[[str], T | None]) -> InputLines[T]:
    _open(path).close()

    def each() -> InputLines[T]:
        index = 0
        with _open(path) as file:
            for number, text in enumerate(file, 1):
                line = _line(index, number, text, read) if text.strip() else None
                if line is not None:
                    yield line
                    index += 1

    return each()


def _csv_lines(
    path: Path, check: Callable[[list[str]], None], read: Callable[[Mapping[str, str]], T | None]
) -> InputLines[T]:
    with _open(path) as file:
        try:
            header = [column.strip() for column in next(csv.reader(file, strict=True), [])]
            if len(set(header)) < len(header):
                raise BadInput("a column stands twice")
            check(header)
        except (BadInput, csv.Error) as error:
            raise BadInput(f"{path.name}: {error}") from None

    def each() -> InputLines[T]:
        index = 0
        with _open(path) as file:
            rows = csv.reader(file, strict=True)
            next(rows)
            while True:
                number = rows.line_num + 1
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield InputLine(index, number, error=ValidationError(f"This line is no CSV: {error}."))
                    index += 1
                    continue
                line = _line(index, number, row, lambda cells: read(_cells(header, cells))) if row else None
                if line is not None:
                    yield line
                    index += 1

    return each()


def _cells(header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) > len(header):
        raise ValidationError(f"This line has {len(row)} cells, the header {len(header)}.")
    return dict(zip(header, (cell.strip() for cell in row), strict=False))


def _line(index: int, number: int, raw: str | list[str], read: Callable[[Any], T | None]) -> InputLine[T] | None:
    try:
        _check_text("".join(raw))
        given = read(raw)
    except ValidationError as error:
        return InputLine(index, number, error=error)
    return None if given is None else InputLine(index, number, given)


def _check_text(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationError("This line is no UTF-8.")
