"""A copy of an input table with the IDs of its rooms, as `rooms create-many --with-ids` writes it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import click

from videoapi.cli.inputs import CSV
from videoapi.cli.job import keeps_job
from videoapi.cli.spreadsheet import BadInput, UnreadableRest, csv_rows, delimiter_of
from videoapi.errors import ConfigurationError
from videoapi.files import FileTaken, PartFile
from videoapi.models.formulas import unescaped

COLUMN: Final = "room_id"
_BOM: Final = "\ufeff"
"""Without it, Excel misreads names that are not ASCII."""


@attrs.frozen
class IdColumn:
    """The copy of a table, with a first column `room_id`. A column of this name in the table itself is replaced.

    Args:
        source: The table.
        keys: Its column that has the key of each line.
        path: The copy.
    """

    source: Path
    keys: str
    path: Path

    def check(self, out: Path) -> None:
        """Check that the copy can be written, and replaces nothing but an earlier copy of such a table.

        Args:
            out: The outcome file.

        Raises:
            click.UsageError: If it cannot, or would replace another file.
        """
        if self.source.suffix.lower() not in CSV:
            raise click.UsageError("--with-ids copies a .csv or .tsv file. In other files, find rooms by their key.")
        if not keeps_job(out):
            raise click.UsageError(f"--with-ids reads the outcome file at the end, which {out} does not keep.")
        if not self.path.parent.is_dir():
            raise click.UsageError(f"--with-ids {self.path}: the folder {self.path.parent} does not exist")
        if self.keys == COLUMN:
            raise click.UsageError(f"--with-ids would replace the column {COLUMN}, which has the keys. Rename it.")
        if not self._is_free():
            raise click.UsageError(f"--with-ids {self.path}: the file is not an earlier copy. Give another name.")

    def _is_free(self) -> bool:
        """Return whether nothing but an earlier copy has the name."""
        if not os.path.lexists(self.path):
            return True
        if not self.path.is_file():
            # A pipe may never end.
            return False
        header: list[str] = []
        with suppress(BadInput), closing(csv_rows(self.path)) as rows:
            header = next((row.cells for row in rows), [])
        is_linked = self.path.is_symlink() or self.path.samefile(self.source)
        return not is_linked and header == next(self._rows({}), None)

    def write(self, outcomes: Iterable[Mapping[str, Any]], gone: Collection[str] = ()) -> tuple[int, int]:
        """Write the copy, and return how many of its lines have an ID, and how many there are.

        Args:
            outcomes: The lines of the outcome file.
            gone: IDs of rooms that no longer exist, which are left out.

        Raises:
            ConfigurationError: If the name belongs to another file by now, such as the journal of the job, another
                process writes the copy, or the table can no longer be read.
            OSError: If it cannot be written.
        """
        # By line and key: of two lines with one key, only one has the room, and the table may have changed since.
        found = {
            (row["line"], row["key"]): row["room_id"]
            for row in outcomes
            if row["room_id"] and row["room_id"] not in gone
        }
        part = PartFile(self.path.parent, self.path.name, overwrite=True, is_temporary=True)
        with_id = total = -1
        try:
            delimiter = delimiter_of(self.source)
            part.open()
            if not self._is_free():
                raise ConfigurationError("there is another file of this name. Give --with-ids another one.")
            # Readers such as DuckDB refuse a table whose rows differ in width. A line that has more cells than the
            # header widens it: no cell is lost.
            width = max(map(len, self._rows({})), default=0)
            for row in self._rows(found, width):
                part.write(_encoded((_BOM if total < 0 else "") + _line(row, delimiter)))
                with_id += bool(row[0])
                total += 1
            part.finish()
        except FileTaken as taken:
            raise ConfigurationError(f"{taken.path} is in use. Give --with-ids another name.") from None
        except BadInput as bad:
            raise ConfigurationError(f"the table cannot be read: {bad}") from None
        finally:
            part.discard()
            part.close()
        return with_id, total

    def _rows(self, found: Mapping[tuple[int, str], str], width: int = 0) -> Iterator[list[str]]:
        """Yield the rows of the copy, the header first; without lines that are not CSV.

        Args:
            found: The IDs by line and key.
            width: How many cells each row has at least.
        """
        with suppress(UnreadableRest), closing(csv_rows(self.source)) as rows:
            header = next((row.cells for row in rows), [])
            if self.keys not in header:
                raise BadInput(f"it has no column {self.keys} any more")
            key = header.index(self.keys)
            old = header.index(COLUMN) if COLUMN in header else None
            yield _padded([COLUMN, *_without(header, old)], width)
            for row in rows:
                if not row.problem:
                    room_id = found.get((row.number, unescaped(row.cells[key]))) if key < len(row.cells) else None
                    yield _padded([room_id or "", *_without(row.cells, old)], width)


def _line(row: list[str], delimiter: str) -> str:
    text = io.StringIO(newline="")
    # With this end of line, a cell with either character is quoted.
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(row)
    return text.getvalue()


def _padded(row: list[str], width: int) -> list[str]:
    return row + [""] * (width - len(row))


def _without(cells: list[str], place: int | None) -> list[str]:
    return cells if place is None else cells[:place] + cells[place + 1 :]


def _encoded(text: str) -> bytes:
    try:
        # Bytes that are not UTF-8 stay as they are.
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="replace")
