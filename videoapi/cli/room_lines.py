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
_SETTINGS: Final = "settings"
_DATA: Final = "data"
_GROUPS: Final = (f"{_SETTINGS}.", f"{_DATA}.")
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
    unknown = [column for column in header if not is_field(column) and column != key_column]
    # The error for a missing column names the one that is probably meant to be it.
    found = {column: similar(column, header if column == key_column else unknown) for column in missing}
    unnamed = "name" in missing and found["name"] is None
    unknown = [column for column in unknown if column not in found.values()]
    meant = {column: name for column in unknown if (name := _meant(column)) and name not in header}
    problems = [
        *([_NO_NAME] if unnamed else []),
        *(str(missing_column(column, header, other, chosen=column == key_column)) for column, other in found.items()),
        *filter(None, map(_setting_problem, header)),
        *(f"unknown column {column!r}{_is_meant(meant.get(column))}" for column in unknown),
    ]
    if not problems:
        return
    text = "; ".join(problems)
    allowed = f"The columns of a room are {', '.join(_COLUMNS)}, settings.…, data.…." if unknown else ""
    # Columns to ignore are not named before one has the names: it would be among them.
    own = [column for column in unknown if column not in meant]
    advice = "" if unnamed else _advice(own, list(meant), key_column, has_keys="key" in header)
    raise BadInput(" ".join(filter(None, (f"{text}{'' if text.endswith('?') else '.'}", allowed, advice))))


def _advice(own: Sequence[str], misspelled: Sequence[str], key_column: str | None, *, has_keys: bool) -> str:
    """Return what to do about unknown columns; empty without such columns.

    It proposes to ignore columns that are probably misspelled only if all are: their cells would be lost.
    """
    if not own:
        return rename_or_ignore(misspelled)
    ignore = " ".join(map(ignoring, own))
    rename = "Rename the misspelled ones. " if misspelled else ""
    if key_column or has_keys:
        identify = "" if key_column else ", or --key-column for one that identifies the line"
        return f"{rename}For columns of your own, give {ignore}{identify}."
    return f"{rename}Give --key-column for the one that identifies the line, and for columns of your own {ignore}."


def rename_or_ignore(misspelled: Sequence[str]) -> str:
    """Return what to do about columns that are probably misspelled; empty without such columns."""
    if not misspelled:
        return ""
    them, ones = ("it", "it is a column") if len(misspelled) == 1 else ("them", "they are columns")
    return f"Rename {them}; only if {ones} of your own, give {' '.join(map(ignoring, misspelled))}."


def similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled one probably means, or None."""
    names = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), names, n=1)
    return names[found[0]] if found else None


def _setting_problem(column: str) -> str:
    """Return what is wrong with a column of a setting; empty if nothing is, or if it is another column."""
    known = field_types(EffectiveSettings)
    if not column.startswith(_GROUPS[0]) or (name := column.split(".")[1]) in known or not name:
        return ""
    return f"column {column!r}: unknown setting {name}{_is_meant(similar(name, known))}"


def _meant(column: str) -> str | None:
    """Return the column of a room that an unknown one probably means, or None."""
    column = column.lower()
    known = field_types(EffectiveSettings)
    group, dot, name = column.partition(".")
    if is_field(column):
        return column
    if column in known:
        return f"{_GROUPS[0]}{column}"
    # Any name is one of custom data.
    if dot and name and similar(group, (_SETTINGS, _DATA)) == _DATA:
        return f"{_DATA}.{name}"
    return similar(column, (*_COLUMNS, *(f"{_GROUPS[0]}{setting}" for setting in known)))


def _is_meant(name: str | None) -> str:
    return f"; is {name} meant?" if name else ""


def ignoring(column: str) -> str:
    """Return the option that ignores a column."""
    return shlex.join(("--ignore-column", column))


def missing_column(column: str, header: Sequence[str], other: str | None, *, chosen: bool = False) -> BadInput:
    """Return the error for a column that a header lacks.

    Args:
        column: The missing column.
        header: The names of the columns.
        other: The one that is probably meant to be it, or None.
        chosen: Whether --key-column names it.
    """
    found = ", ".join(map(repr, header)) or "nothing"
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
