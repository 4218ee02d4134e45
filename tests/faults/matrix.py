"""The fault matrix as a table: the rows in the tests' docstrings, and the results of the last run.

A test's docstring has one line per row that it covers: `F16 | fault | expected | how it is tested`.
Run as a program, this module runs the tests and writes `docs/reference/fault-matrix.md`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import pytest

HERE: Final = Path(__file__).resolve().parent
PAGE: Final = HERE.parents[1] / "docs" / "reference" / "fault-matrix.md"
IDS: Final = sorted([*(f"F{number:02}" for number in range(1, 87) if number != 44), "F69a"])
"""F86 concerns webhooks; F44 and F87 to F89 are unused."""
SECTIONS: Final = {
    "test_31_connect.py": "Connecting",
    "test_32_silence.py": "Sending, and lost responses",
    "test_33_head.py": "Response headers",
    "test_34_statuses.py": "Statuses and rate limits",
    "test_35_bodies.py": "Bodies",
    "test_36_json.py": "JSON and schema",
    "test_37_collections.py": "Collections and streaming",
    "test_38_events.py": "Client-side events",
    "test_39_downloads.py": "Downloads",
    "test_40_webhooks.py": "Webhooks",
}
HEAD: Final = """# The fault matrix

How the client behaves under each fault it is tested against, over real sockets. Each row is a test with the row's ID
in its name. `U` means that the outcome is unknown: the client retries a read or an update if the rules allow it, but
never repeats a create blindly ([resilience](../explanation/resilience.md)). "Not sent" means that no request left the
client. `make fault-matrix` runs the tests and writes this page.

F34 has no row for an unsolicited rejection that arrives while a create waits for its response: the client cannot
recognize it, and believes it ([what follows](../explanation/never-twice.md#what-is-impossible)).
"""
_ROW: Final = re.compile(r"(F\d\da?) \| (.+?) \| (.+?) \| (.+)")
_IN_NAME: Final = re.compile(r"(?<=_)f(\d\d)(a?)(?=_)")


@attrs.frozen
class Row:
    """One row of the matrix."""

    id: str
    fault: str
    expected: str
    how: str
    file: str
    test: str


def rows_of(docstring: str, file: str, test: str) -> Iterator[Row]:
    for line in docstring.splitlines():
        if match := _ROW.fullmatch(line.strip()):
            yield Row(*(part.strip() for part in match.groups()), file, test)


def ids_in(name: str) -> set[str]:
    """Return the row IDs in a test's name: `test_f16_f17_…` has two."""
    return {f"F{number}{letter}" for number, letter in _IN_NAME.findall(name)}


def functions() -> Iterator[tuple[str, str, str]]:
    """Yield file, name and docstring of every test, without importing the files."""
    for path in sorted(HERE.glob("test_[34]*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path.name, node.name, ast.get_docstring(node) or ""


def collected() -> list[Row]:
    return [row for file, name, docstring in functions() for row in rows_of(docstring, file, name)]


def page(rows: Iterable[Row], results: Mapping[str, Counter[str]]) -> str:
    """Return the page; `results` counts the outcomes of each test's cases, by test name."""
    by_file: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_file[row.file].append(row)
    parts = [HEAD]
    for file, title in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| row | fault | expected | how it is tested | result |\n|---|---|---|---|---|\n")
        for row in sorted(by_file[file], key=lambda row: row.id):
            cells = (row.id, row.fault, row.expected, row.how, _result_text(results.get(row.test, Counter())))
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _result_text(result: Counter[str]) -> str:
    return (
        ", ".join(f"{result[word]} {word}" for word in ("passed", "failed", "skipped") if result[word])
        or "in `make test-scale`"
    )


def texts_of(written: str) -> set[tuple[str, ...]]:
    """Return the rows of a page, without their results."""
    lines = (line.strip("| ").split(" | ") for line in written.splitlines() if line.startswith("| F"))
    return {tuple(cells[:4]) for cells in lines}


class _Results:
    def __init__(self) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.partition("[")[0].rpartition("::")[2]
            self.counts[name][report.outcome] += 1


def main(arguments: list[str]) -> int:
    results = _Results()
    # Exclude test_matrix.py, which compares the page that is written below.
    files = [str(HERE / file) for file in SECTIONS if (HERE / file).exists()]
    code = pytest.main([*files, "-q", "-m", "not scale", *arguments], plugins=[results])
    PAGE.write_text(page(collected(), results.counts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(HERE.parents[1])}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
