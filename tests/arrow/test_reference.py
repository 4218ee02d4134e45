"""The page of the Arrow schemas lists their columns and types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from videoapi.arrow import ARCHIVE_SCHEMA, ROOM_SCHEMA, SCHEMA

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "arrow-schemas.md"
KINDS = {"string": "text", "double": "float64", "bool": "bool", "timestamp[ms, tz=UTC]": "timestamp[ms, UTC]"}


@pytest.mark.parametrize(
    ("title", "schema"), [("Call records", SCHEMA), ("Archives", ARCHIVE_SCHEMA), ("Rooms", ROOM_SCHEMA)]
)
def test_page_has_the_columns_of_the_schema(title: str, schema: Any) -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.M) == [
        (field.name, KINDS[str(field.type)]) for field in schema
    ]
