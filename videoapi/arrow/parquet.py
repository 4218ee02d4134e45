"""Parquet files whose bytes depend on their rows alone: not on the time, nor on how the rows arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow
from pyarrow import parquet

ROW_GROUP: Final = 50_000
"""Rows per row group, which are also the rows held in memory."""

_DICTIONARY: Final = 128 * 1024
"""The largest dictionary of a column in a row group, in bytes. More would be for columns without repeated values."""


def parquet_batches(file: Any) -> Iterator[Any]:
    """Yield the rows of a Parquet file, given as an open file."""
    yield from parquet.ParquetFile(file).iter_batches()


class ParquetFile:
    """A Parquet file that is being written; use it in a `with` statement. Blocking.

    The same rows, in batches of any size, give the same bytes with the same version of pyarrow.

    Args:
        file: A path, or a binary file that is open for writing; it stays open.
        schema: The schema of the batches.
    """

    def __init__(self, file: Any, schema: Any) -> None:
        self.rows: int = 0
        """The number of rows written, those that are held included."""
        self._schema = schema
        self._held: list[Any] = []
        self._count = 0
        self._writer = parquet.ParquetWriter(file, schema, compression="zstd", dictionary_pagesize_limit=_DICTIONARY)

    def write(self, batch: Any) -> None:
        """Append a `pyarrow.RecordBatch`.

        Raises:
            OSError: If the file cannot be written.
        """
        self.rows += batch.num_rows
        start = 0
        while self._count + batch.num_rows - start >= ROW_GROUP:
            part = batch.slice(start, ROW_GROUP - self._count)
            start += part.num_rows
            self._held.append(part)
            self._write_group()
        if start < batch.num_rows:
            self._held.append(batch.slice(start))
            self._count += batch.num_rows - start

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._held:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        # In one piece, because the pages of a column end where its pieces do.
        table = pyarrow.Table.from_batches(self._held, self._schema).combine_chunks()
        self._held, self._count = [], 0
        self._writer.write_table(table, row_group_size=ROW_GROUP)
