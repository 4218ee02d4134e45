"""Call records and bulk creates on a Dask cluster. Requires the extra `dask`, imported when used.

Each worker process reads its credentials from its own environment; no task contains them.
"""

from __future__ import annotations

from importlib import import_module

from videoapi.dask.records import export_cdr, read_cdr
from videoapi.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from videoapi.dask.rooms import create_rooms_on_dask

__all__ = ["create_rooms_on_dask", "export_cdr", "read_cdr"]


def __getattr__(name: str) -> Any:
    # Only the creates need Redis, too.
    if name != "create_rooms_on_dask":
        raise AttributeError(f"module 'videoapi.dask' has no attribute {name!r}")
    try:
        return import_module("videoapi.dask.rooms").create_rooms_on_dask
    except ModuleNotFoundError as missing:
        if missing.name not in ("dask", "distributed"):
            raise
        message = "create_rooms_on_dask needs Dask and Redis. Install them: pip install 'videoapi[dask,redis]'"
        raise ConfigurationError(message) from None
