"""What pyproject.toml promises is what CI tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from videoapi import __version__

ROOT = Path(__file__).resolve().parents[2]


def test_lowest_versions_are_the_lower_bounds_of_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    bounds = dict(match.groups() for text in required if (match := re.match(r"([\w-]+)>=([\d.]+)", text)))
    pins = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8")
    assert dict(re.findall(r"^([\w-]+)==([\d.]+)$", pins, re.MULTILINE)) == bounds


def test_ci_runs_the_fast_part_on_the_lowest_versions() -> None:
    assert "make test-lowest" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_interpreter_of_the_makefile_installs_the_data_frames() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    names = {re.split(r"[><=]", text)[0] for text in groups["data"]}
    assert names == {"duckdb", "pandas", "polars", "pyarrow"}
    default = re.search(r"^DEPENDENCY_GROUPS \?= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    others = re.search(r'DEPENDENCY_GROUPS="([^"]*)"', (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    for installed in (default, others):
        assert installed is not None
        assert "data" in installed[1].split()


def test_changelog_has_a_dated_section_for_the_version() -> None:
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [name for name in sections if name != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", released[0])
