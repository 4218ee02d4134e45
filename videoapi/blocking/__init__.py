"""The blocking client, for Flask, Django, Celery, scripts and notebooks: the async client without `async` and `await`.

It implements no calls, retries or decoding of its own: every class is derived from the async one of the same name.
"""

# pyright: reportUnsupportedDunderAll=false
from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Archives": "resources.archives",
    "BulkRun": "bulk",
    "DialIns": "resources.dialin",
    "RecordStream": "streaming",
    "RedisLease": "redis.leases",
    "RedisLeases": "redis.leases",
    "Reports": "resources.reports",
    "Rooms": "resources.rooms",
    "SessionManager": "session",
    "Tokens": "resources.tokens",
    "VideoClient": "client",
}

__all__ = [
    "Archives",
    "BulkRun",
    "DialIns",
    "RecordStream",
    "RedisLease",
    "RedisLeases",
    "Reports",
    "Rooms",
    "SessionManager",
    "Tokens",
    "VideoClient",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'videoapi.blocking' has no attribute {name!r}")
    from videoapi.blocking.derivation import blocking

    form = globals()[name] = blocking(getattr(import_module(f"videoapi.{home}"), name))
    return form


def __dir__() -> list[str]:
    return [*globals(), *__all__]
