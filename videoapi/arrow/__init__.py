"""Records as Arrow columns, and Parquet files and folders of them. Requires the extra `data`, imported when used.

Independent of HTTP and of streams: it receives records or Arrow batches, and writes files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from videoapi.arrow.schema import ARCHIVE_SCHEMA, ROOM_SCHEMA, SCHEMA

_SCHEMAS: Final = ("ARCHIVE_SCHEMA", "ROOM_SCHEMA", "SCHEMA")

__all__ = ["ARCHIVE_SCHEMA", "ROOM_SCHEMA", "SCHEMA"]


def __getattr__(name: str) -> Any:
    # `videoapi.windows` is in this package, and works without pyarrow.
    if name not in _SCHEMAS:
        raise AttributeError(f"module 'videoapi.arrow' has no attribute {name!r}")
    from videoapi.arrow.optional import require_pyarrow

    require_pyarrow()
    from videoapi.arrow import schema

    return getattr(schema, name)
