"""Text files as spreadsheets write them: UTF-8 or UTF-16, with commas, semicolons or tabs. Pure but for reading."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TextIO

_DELIMITERS: Final = (",", ";", "\t")
_MOST_LINES: Final = 100
_SEP: Final = re.compile(r"sep=(.)[\r\n]*")
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BadInput(ValueError):
    """An input file that cannot be used at all; the message gives the reason."""


class UnreadableRest(BadInput):
    """An input file that cannot be read from some line on; the message gives the line and the reason."""


class Row(NamedTuple):
    """A row of a CSV file: the number of its first line, and its cells, or the reason why it has none.

    If the row has several lines, `begins` has the line in which each cell begins.
    """

    number: int
    cells: list[str]
    problem: str = ""
    begins: Sequence[int] = ()


def open_text(path: Path) -> TextIO:
    """Open a text file in the encoding that its first bytes show.

    Raises:
        BadInput: If it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            utf_16 = file.read(2) in _UTF_16
        # Decode what is invalid to surrogates, so that it affects only its own line.
        if utf_16:
            return path.open(encoding="utf-16", errors="surrogatepass", newline="")
        return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None


def numbered_lines(path: Path) -> Generator[tuple[int, str], None, None]:
    """Yield the lines of a text file with their numbers.

    Raises:
        BadInput: If the file cannot be opened.
        UnreadableRest: If it ends in the middle of a character.
    """
    number = 0
    with open_text(path) as file:
        try:
            for number, text in enumerate(file, 1):
                yield number, text
        except UnicodeDecodeError as error:
            raise UnreadableRest(f"line {number + 1}: not {error.encoding.upper()}") from None


def csv_rows(path: Path) -> Generator[Row, None, None]:
    """Yield the rows of a CSV file, the header first; without empty rows, and without empty cells at the end.

    Raises:
        BadInput: If the file cannot be opened, or its header cannot be read.
        UnreadableRest: If a quote is left open, or is closed only more than 100 lines later, which is another quote:
            the lines that follow it may be any number of rows.
    """
    delimiter = delimiter_of(path)
    record: list[str] = []

    def lines() -> Iterator[str]:
        for _, text in numbered_lines(path):
            record.append(text)
            if len(record) > _MOST_LINES:
                raise csv.Error(f"it has more than {_MOST_LINES} lines")
            yield text

    rows = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        record.clear()
        number = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            opened = _open_quote(record[:-1] or record, delimiter)
            if opened is not None:
                within = f" within {_MOST_LINES} lines" if len(record) > _MOST_LINES else ""
                raise UnreadableRest(
                    f"line {number + opened}: the quote that opens in this line is not closed{within}"
                ) from None
            yield Row(number, [], str(error))
            continue
        if number == 1 and _SEP.fullmatch(record[0]):
            continue
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            begins = _begins(number, cells) if len(record) > 1 else ()
            yield Row(number, [cell.strip() for cell in cells], begins=begins)


def delimiter_of(path: Path) -> str:
    """Return the delimiter that the first line names (`sep=;`), or that splits the header into most columns."""
    _, header = next(numbered_lines(path), (1, ""))
    named = _SEP.fullmatch(header)
    return max(_DELIMITERS, key=header.count) if named is None else named[1]


def _begins(number: int, cells: Sequence[str]) -> Sequence[int]:
    """Return the line in which each cell of a row begins."""
    breaks = (len(re.findall(r"\r\n|\r|\n", cell)) for cell in cells)
    return list(itertools.accumulate(breaks, initial=number))[:-1]


def _open_quote(lines: Sequence[str], delimiter: str) -> int | None:
    """Return which line of a record has the quote that is open at its end, or None."""
    opened: int | None = None
    closed: int | None = None
    starts = True
    for place, line in enumerate(lines):
        for character in line:
            if character != '"':
                closed = None
            elif opened is not None:
                opened, closed = None, opened
            elif closed is not None:
                opened, closed = closed, None
            elif starts:
                opened = place
            starts = opened is None and character in (delimiter, "\r", "\n")
    return opened
