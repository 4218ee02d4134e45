"""Records as CSV rows: no field is lost, and no cell becomes a formula."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoapi.cli.csv_rows import ARCHIVE_COLUMNS, CALL_COLUMNS, cell, cells
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.fields import field_types

_PARTS = ("room", "user", "sigserver", "published_track", "usage", "price")
_WORDS = st.sampled_from(["name", "ref", "duration", "trans_date", "colour", "sip", "room"])
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
def test_every_field_is_in_its_column_or_in_extra(fields: dict[str, Any]) -> None:
    row = cells(fields, CALL_COLUMNS)
    assert len(row) == len(CALL_COLUMNS) + 1
    extra = json.loads(row[-1]) if row[-1] else {}
    for name, value in fields.items():
        inner = value.items() if name in _PARTS and isinstance(value, dict) else None
        for column, held in [(name, value)] if inner is None else [(f"{name}.{key}", held) for key, held in inner]:
            if column in CALL_COLUMNS:
                assert row[CALL_COLUMNS.index(column)] == cell(held)
            else:
                assert extra[column] == held


def test_every_model_field_has_a_column() -> None:
    hints = field_types(CallRecord)
    columns = {column.partition(".")[0] for column in CALL_COLUMNS}
    assert columns == set(hints)
    for part in _PARTS:
        model = (
            hints[part]
            if isinstance(hints[part], type)
            else next(kind for kind in hints[part].__args__ if kind is not type(None))
        )
        assert {f"{part}.{name}" for name in field_types(model)} <= set(CALL_COLUMNS)
    assert set(ARCHIVE_COLUMNS) == set(field_types(Archive))
