"""Parquet files: the same rows give the same bytes, in whatever batches they arrive."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from videoapi.arrow import SCHEMA
from videoapi.arrow import parquet as parquet_module
from videoapi.arrow.batches import joined
from videoapi.arrow.columns import call_columns
from videoapi.arrow.parquet import ParquetFile
from videoapi.models.cdr import CallRecord

ROWS = 97


def whole(rows: int = ROWS) -> Any:
    return call_columns(
        [CallRecord.from_dict({"cdr_id": f"c{n}", "user": {"name": "Ann" * (n % 5)}}) for n in range(rows)]
    )


def written(batches: list[Any]) -> bytes:
    file = io.BytesIO()
    with ParquetFile(file, SCHEMA) as out:
        for batch in batches:
            out.write(batch)
    return file.getvalue()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, ROWS), max_size=8), st.sampled_from([10, 97, 200]))
def test_bytes_do_not_depend_on_how_the_rows_arrive(cuts: list[int], group: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_module, "ROW_GROUP", group)
        rows = whole()
        bounds = [0, *sorted(cuts), ROWS]
        pieces = [rows.slice(start, stop - start) for start, stop in pairwise(bounds)]
        assert written(pieces) == written([rows])


def test_file_has_the_schema_and_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(written([whole(3), whole(2)]))
    table = parquet.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert table.column("cdr_id").to_pylist() == ["c0", "c1", "c2", "c0", "c1"]
    assert parquet.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_file_without_rows_has_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(written([]))
    assert parquet.read_table(path).schema.equals(SCHEMA)


def test_joined_batches_are_one(tmp_path: Path) -> None:
    assert joined([whole(2), whole(3)], SCHEMA).num_rows == 5
    assert joined([], SCHEMA).num_rows == 0
    assert isinstance(joined([whole(2), whole(1)], SCHEMA), pyarrow.RecordBatch)
