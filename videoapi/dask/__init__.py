"""Call records on a Dask cluster. Needs the extra `dask`, which it imports when used.

Each worker process has one client, with the credentials of its own environment: no task has any.
"""

from __future__ import annotations

from videoapi.dask.records import export_cdr, read_cdr

__all__ = ["export_cdr", "read_cdr"]
