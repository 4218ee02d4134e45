"""The layout, the imports and the path of a create are as the pages for contributors describe them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import FrameType

import pytest
from support.layout import arrows, circles, parts
from support.server import answer, repeating, serve

import videoapi
from videoapi import RequestRejected, VideoClient

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(videoapi.__file__).parent
LOOSE = ["__init__", "__main__", "client", "config", "errors", "events", "pytest_plugin", "session", "stats", "testing"]


def test_only_public_modules_are_loose() -> None:
    assert [part.name for part in parts(ROOT) if not (PACKAGE / part.name).is_dir()] == LOOSE


def test_no_package_imports_itself_through_others() -> None:
    assert circles(parts(ROOT)) == []


def test_design_explains_each_import_between_packages() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(\w+)` \| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE)
    assert len(explained) == len(set(explained))
    actual = arrows(parts(ROOT))
    assert set(explained) == {(one, other) for one, other in actual if one != "__init__" and other != "errors"}


def test_each_package_states_its_purpose_and_its_limits() -> None:
    for part in parts(ROOT):
        if (PACKAGE / part.name).is_dir():
            source = (PACKAGE / part.name / "__init__.py").read_text(encoding="utf-8")
            purpose, _, limits = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
            assert purpose, part.name
            assert limits, part.name


async def test_a_create_passes_the_documented_functions_in_order() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    stops = re.findall(r"^\d+\. `([\w/]+\.py)`, `([\w.]+)`:", page, re.MULTILINE)
    assert len(stops) == 10
    called: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            called.append((code.co_filename, code.co_qualname.partition(".<locals>")[0]))

    refused = answer(400, {"result": 10002, "error": "Invalid Name"})
    async with serve(repeating(refused)) as server, VideoClient("id", "key", server.base_url) as client:
        sys.setprofile(note)
        try:
            with pytest.raises(RequestRejected):
                await client.rooms.create(name="Stand-up")
        finally:
            sys.setprofile(None)
    places = [called.index((str(PACKAGE / file), function)) for file, function in stops]
    assert places == sorted(places)
