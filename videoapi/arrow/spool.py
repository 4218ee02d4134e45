"""Rows on disk before they become Parquet: an Arrow IPC stream, which can be cut after any group of rows.

Parquet cannot: its footer describes all row groups, and is written last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow

from videoapi.arrow.parquet import ParquetFile

_DAY: Final = 86_400_000
_DAY_1970: Final = date(1970, 1, 1).toordinal()


def header_bytes(schema: Any) -> bytes:
    """Return the bytes before the first group."""
    return bytes(schema.serialize())


def group_bytes(rows: Any) -> bytes:
    """Return the bytes of a `pyarrow.RecordBatch`."""
    return bytes(rows.serialize())


def convert(part: Path, out: BinaryIO) -> None:
    """Write a complete part as a Parquet file.

    Raises:
        OSError: If a file operation fails.
    """
    with pyarrow.OSFile(str(part)) as file, pyarrow.ipc.open_stream(file) as rows:
        with ParquetFile(out, rows.schema) as written:
            for batch in rows:
                written.write(batch)


class Spool:
    """Rows in a file without a name, which ends with the process. Blocking.

    Args:
        file: An open, empty file.
        schema: The schema of the rows.
    """

    def __init__(self, file: BinaryIO, schema: Any) -> None:
        self.rows: int = 0
        """The number of rows."""
        self._file = file
        self.odd: Counter[tuple[date | None, str]] = Counter()
        """How many rows of which day have which odd field; None is for rows without a day."""
        self._mark = (0, 0, self.odd)
        file.write(header_bytes(schema))
        self.begin_window()

    def begin_window(self) -> None:
        """Note where the rows of a window begin."""
        self._mark = (self._file.tell(), self.rows, self.odd.copy())

    def restart_window(self) -> None:
        """Discard the rows of the window, because they come again."""
        size, self.rows, odd = self._mark
        self.odd = odd.copy()
        self._file.seek(size)
        self._file.truncate()

    def add(self, rows: Any, odd: Iterable[tuple[int, str]] = ()) -> None:
        """Append a `pyarrow.RecordBatch`, whose odd fields are given with the index of their row."""
        for index, field in odd:
            at = rows.column("trans_at")[index].value
            self.odd[None if at is None else date.fromordinal(_DAY_1970 + at // _DAY), field] += 1
        self._file.write(group_bytes(rows))
        self.rows += rows.num_rows

    def batches(self) -> Iterator[Any]:
        """Yield the rows, in groups."""
        self._file.seek(0)
        with pyarrow.ipc.open_stream(self._file) as rows:
            yield from rows
