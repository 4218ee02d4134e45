"""The matrix is whole: every row has a test, and the page tells what the tests say."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from aiohttp import http_parser

from .matrix import IDS, PAGE, Row, collected, functions, ids_in, page, rows_of, texts_of


def test_every_row_has_a_test() -> None:
    assert sorted({row.id for row in collected()}) == IDS


def test_a_tests_name_carries_the_rows_of_its_docstring() -> None:
    for file, name, docstring in functions():
        assert ids_in(name) == {row.id for row in rows_of(docstring, file, name)} != set(), f"{file}: {name}"


def test_the_page_tells_what_the_tests_say_and_that_they_pass() -> None:
    """`make fault-matrix` writes it anew."""
    written = PAGE.read_text(encoding="utf-8")
    assert texts_of(written) == texts_of(page(collected(), {}))
    assert " failed" not in "".join(line.rpartition(" | ")[2] for line in written.splitlines())


def test_a_row_is_read_from_a_line_of_a_docstring() -> None:
    text = "F16 | FIN | U | the ledger decides\nMore words.\nF69a | a cut list | proves nothing | cut at 99 %"
    assert [row.id for row in rows_of(text, "a.py", "b")] == ["F16", "F69a"]
    assert ids_in("test_f16_f69a_something_f17") == {"F16", "F69a"}
    row = Row("F16", "FIN", "U", "the ledger decides", "test_32_silence.py", "b")
    assert "| F16 | FIN | U | the ledger decides | 2 passed, 1 skipped |" in page(
        [row], {"b": Counter(passed=2, skipped=1)}
    )


@pytest.mark.skipif(not os.environ.get("AIOHTTP_NO_EXTENSIONS"), reason="the second run, without C extensions")
def test_the_second_run_uses_the_parser_written_in_python() -> None:
    assert http_parser.HttpResponseParser is http_parser.HttpResponseParserPy
