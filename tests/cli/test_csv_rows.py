"""Records as CSV rows: no field is lost, and no cell becomes a formula."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoapi.cli.csv_rows import ARCHIVE_COLUMNS, LEFT_OUT, call_table, cell, cells
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.fields import field_types
from videoapi.models.flat import PATHS

DATA = Path(__file__).parents[1] / "data"

_WORDS = st.sampled_from(["_id", "trans_date", "recording", "colour", "sip", "room"])
_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx", "\r=1", "=HYPERLINK(1)"])
def test_formula_is_escaped(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-5, "-5"),
        (-0.5, "-0.5"),
        ("-5.25", "-5.25"),
        ("+6591234567", "+6591234567"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("a=b", "a=b"),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_numbers_and_plain_text_are_unchanged(value: object, text: str) -> None:
    assert cell(value) == text


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_WORDS, _VALUES | st.dictionaries(_WORDS, _VALUES, max_size=3), max_size=6))
def test_every_field_of_an_archive_is_in_its_column_or_in_extra(fields: dict[str, Any]) -> None:
    row = cells(fields, ARCHIVE_COLUMNS)
    assert len(row) == len(ARCHIVE_COLUMNS) + 1
    extra = json.loads(row[-1]) if row[-1] else {}
    for name, value in fields.items():
        if name in ARCHIVE_COLUMNS:
            assert row[ARCHIVE_COLUMNS.index(name)] == cell(value)
        else:
            assert extra[name] == value


def test_every_field_of_a_call_record_is_in_its_column_or_in_extra() -> None:
    table = call_table()
    for shape in ("new", "old", "room_details"):
        for fields in json.loads((DATA / f"cdr/{shape}.200.json").read_bytes())["cdr"]:
            row = dict(zip([*table.columns, "extra"], table.cells(CallRecord.from_dict(fields)), strict=True))
            extra = json.loads(row["extra"]) if row["extra"] else {}
            for path, value in leaves(fields):
                shown = PATHS.get(path)
                assert path in extra or (shown and row[shown]) or path == LEFT_OUT or inside(path, extra), path
                assert path not in extra or extra[path] == value


def test_pin_and_passwords_of_a_room_are_not_in_its_rows() -> None:
    sip = {"enabled": True, "pin": "canary", "secret": "canary", "meeting_id": 5}
    row = call_table().cells(
        CallRecord.from_dict({"room": {"room_details": {"sip": sip}}, "user": {"token": "canary"}})
    )
    assert "canary" not in ",".join(row)
    assert json.loads(row[-1]) == {"room.room_details.sip": {**sip, "pin": "***", "secret": "***"}}


def leaves(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        elif value not in (None, ""):
            yield prefix + name, value


def inside(path: str, extra: dict[str, Any]) -> bool:
    """Return whether `extra` has an object that the path leads into."""
    return any(path.startswith(f"{name}.") for name in extra)


def test_every_field_of_an_archive_has_a_column() -> None:
    assert set(ARCHIVE_COLUMNS) == set(field_types(Archive))
