"""Input files, read lazily: each line becomes an input, or an error that affects only that line."""

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
    """One input: its index from 0, its line number in the file, and its value or an error."""

    index: int
    number: int
    given: T | None = None
    error: ValidationError | None = None


InputLines: TypeAlias = Generator[InputLine[T], None, None]
"""The inputs of a file, read lazily; closing the generator closes the file."""


class BadInput(ValueError):
    """An input file that cannot be used at all; the message gives the reason."""


def room_specs(path: Path) -> InputLines[RoomSpec]:
    """Read the specs of the rooms to create.

    Args:
        path: `.csv` with the columns name, owner_ref, key, sip, settings.… and data.…, or `.jsonl`
            with one object per line that has the fields of `RoomSpec`.

    Raises:
        BadInput: If the file cannot be read, has another extension, or has an unknown column.
    """
    if path.suffix.lower() in CSV:
        return _csv_lines(path, _check_header, spec_of_cells)
    if path.suffix.lower() in JSONL:
        return _lines(path, lambda text: spec_of_object(_object(text)))
    raise BadInput(f"{path.name}: give a file that ends in .csv or .jsonl")


def room_ids(path: Path) -> InputLines[str]:
    """Read room IDs.

    Args:
        path: `.txt` with one ID per line, `.csv` with a column room_id, or `.jsonl` with a field
            room_id, such as the outcome file of create-many; lines without an ID are skipped.

    Raises:
        BadInput: If the file cannot be read, has another extension, or has no such column.
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
    """Return the room described by an object of a JSONL file.

    Raises:
        ValidationError: If the name is missing, a field is unknown, or the key is not text or an integer.
    """
    for name in fields:
        if name not in _SPEC_FIELDS:
            raise ValidationError(f"{name} is not a field of a room.", field=name)
    if "name" not in fields:
        raise ValidationError("name is missing.", field="name", code=10002)
    key = fields.get("key")
    if key is not None and (isinstance(key, bool) or not isinstance(key, str | int)):
        raise ValidationError("key must be text or a whole number.", field="key")
    return RoomSpec(**fields)


def spec_of_cells(cells: Mapping[str, str]) -> RoomSpec:
    """Return the room described by a row of a CSV file; empty cells are ignored.

    Raises:
        ValidationError: If the name is missing, or a cell does not match the type of its setting.
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
    # The types of nested settings are unknown: convert only the exact words true and false.
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
        raise BadInput("missing column name")
    known = field_types(RoomSettings)
    for column in header:
        if column in _COLUMNS or (column.startswith(_GROUPS[1]) and len(column) > len(_GROUPS[1])):
            continue
        if not column.startswith(_GROUPS[0]) or column.split(".")[1] not in known:
            hint = f"; is settings.{column} meant?" if column in known else ""
            raise BadInput(f"column {column!r} is not one of {', '.join(_COLUMNS)}, settings.…, data.…{hint}")


def _check_id_header(header: list[str]) -> None:
    if "room_id" not in header:
        raise BadInput("missing column room_id")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError("This line is not JSON.") from None
    if not isinstance(value, dict):
        raise ValidationError("This line is not a JSON object.")
    return value


def _id_of(fields: Mapping[str, Any]) -> str | None:
    found = fields.get("room_id")
    if found is None or isinstance(found, str):
        return found or None
    raise ValidationError("room_id must be text.", field="room_id")


def _open(path: Path) -> Any:
    try:
        # Decode invalid UTF-8 to surrogates, so that it affects only its own line.
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
                raise BadInput("a column occurs twice")
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
                    yield InputLine(index, number, error=ValidationError(f"This line is not CSV: {error}."))
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
        raise ValidationError("This line is not UTF-8.")
