"""The Arrow schemas of call records, archives and rooms.

Times are `timestamp[ms, UTC]`, and nested parts are JSON text. Arrow dictionaries are not used: pandas and Dask reject
them where the values of two files differ, and they do not make a Parquet file smaller.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import pyarrow

from videoapi.models.cdr import CallRecord

TIME: Final = pyarrow.timestamp("ms", tz="UTC")
TEXT: Final = pyarrow.string()
NUMBER: Final = pyarrow.float64()
FLAG: Final = pyarrow.bool_()

_TYPES: Final[dict[type[Any], Any]] = {str: TEXT, float: NUMBER, bool: FLAG, datetime: TIME}

SCHEMA: Final = pyarrow.schema(
    [
        *((name, _TYPES[kind]) for name, kind in CallRecord.columns.items()),
        ("room_details", TEXT),
        ("stats_quality", TEXT),
    ]
)
"""The schema of call records: the columns of `record.flat()`, and two parts of open shape as JSON text."""

ARCHIVE_SCHEMA: Final = pyarrow.schema(
    [
        ("archive_id", TEXT),
        ("trans_at", TIME),
        ("conf_num", TEXT),
        ("app_id", TEXT),
        ("room_id", TEXT),
        ("recording", TEXT),
        ("transcoded", TEXT),
        ("chatdata", TEXT),
        ("metadata", TEXT),
    ]
)
"""The schema of archives; the links to each kind of file are JSON text."""

ROOM_SCHEMA: Final = pyarrow.schema(
    [
        ("room_id", TEXT),
        ("name", TEXT),
        ("owner_ref", TEXT),
        ("service_id", TEXT),
        ("created_at", TIME),
        ("updated_at", TIME),
        ("configured_media_zone", TEXT),
        ("media_server_available", FLAG),
        ("controller_id", TEXT),
        ("sip_enabled", FLAG),
        ("settings", TEXT),
        ("sip", TEXT),
        ("data", TEXT),
    ]
)
"""The schema of rooms; settings, telephone access and your own data are JSON text."""
