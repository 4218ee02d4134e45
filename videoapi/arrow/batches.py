"""Record batches as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow


def joined(batches: Iterable[Any], schema: Any) -> Any:
    """Return batches as one `pyarrow.RecordBatch`."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return pyarrow.RecordBatch.from_pylist([], schema)
    table = pyarrow.Table.from_batches(parts, schema).combine_chunks()
    return table.to_batches()[0]
