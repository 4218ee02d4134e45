"""A line of an input file as the room that it describes. Pure."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, get_args

import attrs

from videoapi.cli.spreadsheet import BadInput
from videoapi.errors import ValidationError
from videoapi.models.fields import field_types, parts
from videoapi.models.rooms import RoomSpec
from videoapi.models.settings import EffectiveSettings, RoomSettings, is_impossible_time

SPEC_FIELDS: Final = frozenset(field.name for field in attrs.fields(RoomSpec))
_COLUMNS: Final = ("name", "owner_ref", "key", "sip", "starts_at", "minutes")
_NO_NAME: Final = "the column with the names of the rooms must be called name: rename it"
_GROUPS: Final = ("settings.", "data.")
_SCHEDULE: Final[Mapping[str, str]] = {"settings.scheduled_time": "starts_at", "settings.duration": "minutes"}
_AS_SENT: Final[Mapping[str, str]] = {}
_SHOWN: Final = 40
"""Characters of a cell that a message shows."""
# Spreadsheets write booleans in the language of the user.
_TRUE: Final[tuple[str, ...]] = ("true", "yes", "1", "wahr", "vrai", "verdadero", "vero", "waar")
_FALSE: Final[tuple[str, ...]] = ("false", "no", "0", "falsch", "faux", "falso", "onwaar")
_TRUTHS: Final[Mapping[str, bool]] = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}


def spec_of_object(fields: Mapping[str, Any]) -> RoomSpec:
    """Return the room described by an object of a JSONL file.

    Raises:
        ValidationError: If the name is missing or a field is unknown.
    """
    for name in fields:
        if name not in SPEC_FIELDS:
            raise ValidationError(f"{name} is not a field of a room.", field=name)
    if "name" not in fields:
        raise ValidationError("name is missing.", field="name", code=10002)
    if isinstance(settings := fields.get("settings"), Mapping):
        _must_be_scheduled(settings)
    return RoomSpec(**fields)


def spec_of_cells(cells: Mapping[str, str]) -> RoomSpec:
    """Return the room described by a row of a CSV file; empty cells and other columns are ignored.

    Raises:
        ValidationError: If the name is missing, or a cell does not match the type of its setting.
    """
    if not cells.get("name"):
        raise ValidationError("name is missing.", field="name", code=10002)
    settings = settings_of((column, text) for column, text in cells.items() if column.startswith("settings.") and text)
    if schedule := _schedule(cells):
        if twice := sorted(settings.keys() & schedule.keys()):
            raise ValidationError(
                f"settings.{twice[0]} is given by starts_at and minutes.", field=f"settings.{twice[0]}"
            )
        settings |= schedule
    _must_be_scheduled(settings)
    data = {column.removeprefix("data."): text for column, text in cells.items() if column.startswith("data.") and text}
    return RoomSpec(
        name=cells["name"],
        owner_ref=cells.get("owner_ref") or None,
        settings=settings or None,
        sip=_truth("sip", cells["sip"]) if cells.get("sip") else None,
        data=data or None,
    )


def columns_of(cells: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the columns of a row that have other names than the fields that they give, by field."""
    return _SCHEDULE if cells.get("starts_at") else _AS_SENT


def in_columns(error: ValidationError, columns: Mapping[str, str]) -> ValidationError:
    """Return an error about a field as one about its column.

    Args:
        error: The error.
        columns: The columns that have other names than their fields, by field.
    """
    field, text = error.field or "", str(error)
    if field not in columns or not text.startswith(field):
        return error
    return ValidationError(f"{columns[field]}{text[len(field) :]}", field=columns[field], code=error.code)


def start_of(cells: Mapping[str, Any]) -> str:
    """Return the start in the column `starts_at` in the form of the service; empty if it cannot be read."""
    with suppress(ValidationError):
        if text := cells.get("starts_at"):
            return RoomSettings.scheduled_at(text, minutes=1).scheduled_time or ""
    return ""


def _schedule(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a scheduled room by the columns `starts_at` and `minutes`; none if both are empty."""
    start, minutes = cells.get("starts_at"), cells.get("minutes")
    if not start and not minutes:
        return {}
    if not start or not minutes:
        field = "minutes" if start else "starts_at"
        raise ValidationError(f"{field} is missing: a scheduled room needs starts_at and minutes.", field=field)
    if not (minutes.isascii() and minutes.isdecimal() and len(minutes) < 10 and int(minutes)):
        raise ValidationError(
            f"minutes must be a whole number of at least 1, not {minutes[:_SHOWN]!r}.", field="minutes"
        )
    duration = int(minutes)
    try:
        time = RoomSettings.scheduled_at(start, minutes=duration).scheduled_time
    except ValidationError:
        problem = (
            "is a day or a time that does not exist:"
            if is_impossible_time(start)
            else "must be a time with its offset from UTC, such as 2030-01-31T10:00+01:00, not"
        )
        raise ValidationError(f"starts_at {problem} {start[:_SHOWN]!r}.", field="starts_at") from None
    return {"scheduled": True, "adhoc": False, "scheduled_time": time, "duration": duration}


def _must_be_scheduled(settings: Mapping[str, Any]) -> None:
    # The service would create a room that is always open, whatever the time says.
    if settings.get("scheduled_time") and settings.get("scheduled") is not True:
        raise ValidationError(
            "settings.scheduled must be true for a room with settings.scheduled_time.", field="settings.scheduled"
        )


def settings_of(texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return settings from their names, such as `settings.participants`, and texts; each has the type of its setting.

    Raises:
        ValidationError: If a text does not match the type of its setting, or one is given twice.
    """
    settings: dict[str, Any] = {}
    for name, text in texts:
        _put(settings, name.split(".")[1:], _setting(name, text))
    return settings


def _setting(column: str, text: str) -> Any:
    hint = _type_of(column.split(".")[1:])
    kinds = get_args(hint) or (hint,)
    if bool in kinds and (len(kinds) == 2 or text.strip().lower() in _TRUTHS):
        return _truth(column, text)
    if int in kinds and str not in kinds:
        try:
            return int(text)
        except ValueError:
            raise ValidationError(f"{column} must be a whole number, not {text[:_SHOWN]!r}.", field=column) from None
    # Of a white-label's own part of a setting, the type is unknown: convert only the exact words true and false.
    return text if hint is not None or text not in ("true", "false") else text == "true"


def _type_of(path: Sequence[str]) -> Any:
    """Return the type of a setting or of a field of its part; None if it is not known."""
    model: Any = EffectiveSettings
    hint: Any = None
    for name in path:
        hint, model = (field_types(model).get(name), parts(model).get(name)) if model is not None else (None, None)
    return hint


def _truth(column: str, text: str) -> bool:
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise ValidationError(f"{column} must be true or false, not {text[:_SHOWN]!r}.", field=column) from None


def _put(settings: dict[str, Any], path: list[str], value: Any) -> None:
    *outer, name = path
    for step in outer:
        inner = settings.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ValidationError(f"{step} is given twice: as a whole and in parts.", field=f"settings.{step}")
        settings = inner
    settings[name] = value


def is_field(column: str) -> bool:
    """Return whether a column of a CSV file is sent to the service, or is the name of its key."""
    return column in _COLUMNS or any(column.startswith(group) and len(column) > len(group) for group in _GROUPS)


def check_columns(header: Sequence[str], key_column: str | None = None) -> None:
    """Check the header of a CSV file.

    Args:
        header: The names of the columns, without those that are ignored.
        key_column: A column that has the keys, whatever its name.

    Raises:
        BadInput: If columns are missing or unknown; the message names all of them.
    """
    missing = [column for column in ("name", key_column) if column is not None and column not in header]
    lower = {column.lower() for column in missing}
    # The error for a missing column names those that differ from it in case only.
    others = [column for column in header if column.lower() not in lower]
    unnamed = "name" in missing and "name" not in map(str.lower, header)
    problems = [
        *([_NO_NAME] if unnamed else []),
        *(str(missing_column(column, header, chosen=column == key_column)) for column in missing),
        *filter(None, (_column_problem(column, key_column) for column in others)),
    ]
    if not problems:
        return
    text = "; ".join(problems)
    unknown = [column for column in others if not is_field(column) and column != key_column]
    allowed = f"The columns of a room are {', '.join(_COLUMNS)}, settings.…, data.…." if unknown else ""
    # Columns to ignore are not named before one has the names: it would be among them.
    advice = "" if unnamed else _advice(unknown, key_column, has_keys="key" in header)
    raise BadInput(" ".join(filter(None, (f"{text}{'' if text.endswith('?') else '.'}", allowed, advice))))


def _advice(own: Sequence[str], key_column: str | None, *, has_keys: bool) -> str:
    """Return which options a header needs for unknown columns; empty without such columns."""
    if not own:
        return ""
    ignore = " ".join(map(ignoring, own))
    if key_column or has_keys:
        identify = "" if key_column else ", or --key-column for one that identifies the line"
        return f"For columns of your own, give {ignore}{identify}."
    return f"Give --key-column for the one that identifies the line, and for columns of your own {ignore}."


def _column_problem(column: str, key_column: str | None) -> str:
    """Return what is wrong with a column; empty if nothing is."""
    known = field_types(EffectiveSettings)
    if column.startswith(_GROUPS[0]) and len(column) > len(_GROUPS[0]):
        name = column.split(".")[1]
        if name in known:
            return ""
        similar = difflib.get_close_matches(name, known, n=1)
        return f"column {column!r}: unknown setting {name}" + (f"; is {similar[0]} meant?" if similar else "")
    if is_field(column) or column == key_column:
        return ""
    text = f"unknown column {column!r}"
    if is_field(column.lower()):
        return f"{text}; is {column.lower()} meant?"
    return f"{text}; is settings.{column.lower()} meant?" if column.lower() in known else text


def ignoring(column: str) -> str:
    """Return the option that ignores a column."""
    return shlex.join(("--ignore-column", column))


def missing_column(column: str, header: Sequence[str], *, chosen: bool = False) -> BadInput:
    """Return the error for a column that a header lacks; `chosen` says that --key-column names it."""
    found = ", ".join(map(repr, header)) or "nothing"
    other = next((name for name in header if name.lower() == column.lower()), None)
    if other is None:
        hint = ""
    elif chosen:
        hint = f"; give {shlex.join(('--key-column', other))}"
    else:
        hint = f"; write {other!r} as {column!r}"
    return BadInput(f"missing column {column}; the header has {found}{hint}")


def nothing_to_ignore(column: str, header: Sequence[str]) -> BadInput:
    """Return the error for a column that is to be ignored, and that a header lacks."""
    found = ", ".join(map(repr, header)) or "nothing"
    several = [part.strip() for part in column.split(",")]
    meant = [name for part in several for name in header if name.lower() == part.lower()]
    hint = f"; give {' '.join(map(ignoring, meant))}" if len(meant) == len(several) else ""
    return BadInput(f"no column {column!r} to ignore; the header has {found}{hint}")
