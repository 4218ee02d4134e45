"""Every row of the fault matrix has a test, and its page matches the tests."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from aiohttp import http_parser

from .matrix import IDS, PAGE, Row, collected, functions, ids_in, page, rows_of, texts_of


def test_every_row_has_a_test() -> None:
    assert sorted({row.id for row in collected()}) == IDS


def test_row_ids_in_name_and_docstring_match() -> None:
    for file, name, docstring in functions():
        assert ids_in(name) == {row.id for row in rows_of(docstring, file, name)} != set(), f"{file}: {name}"


def test_page_matches_the_docstrings_and_shows_no_failure() -> None:
    """`make fault-matrix` regenerates the page."""
    written = PAGE.read_text(encoding="utf-8")
    assert texts_of(written) == texts_of(page(collected(), {}))
    assert " failed" not in "".join(line.rpartition(" | ")[2] for line in written.splitlines())


def test_rows_are_parsed_from_docstring_lines() -> None:
    text = "F16 | FIN | U | the ledger decides\nMore text.\nF69a | truncated list | proves nothing | cut at 99 %"
    assert [row.id for row in rows_of(text, "a.py", "b")] == ["F16", "F69a"]
    assert ids_in("test_f16_f69a_something_f17") == {"F16", "F69a"}
    row = Row("F16", "FIN", "U", "the ledger decides", "test_32_silence.py", "b")
    assert "| F16 | FIN | U | the ledger decides | 2 passed, 1 skipped |" in page(
        [row], {"b": Counter(passed=2, skipped=1)}
    )


@pytest.mark.skipif(not os.environ.get("AIOHTTP_NO_EXTENSIONS"), reason="only in `make test-faults-pure`")
def test_pure_python_parser_is_used_without_c_extensions() -> None:
    assert http_parser.HttpResponseParser is http_parser.HttpResponseParserPy
