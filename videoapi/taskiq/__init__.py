"""Bulk creates on Taskiq workers. Requires the extra `videoapi[taskiq]`.

Both sides use the same broker. Start workers with `taskiq worker videoapi.taskiq:rooms_broker --max-async-tasks 1`.
The coordinator calls `await create_rooms_on_taskiq(client, rooms_broker(), specs)`.
"""

from __future__ import annotations

from videoapi.errors import ConfigurationError

try:
    from videoapi.taskiq.broker import rooms_broker
    from videoapi.taskiq.coordinator import create_rooms_on_taskiq
except ModuleNotFoundError as _missing:
    if _missing.name is None or _missing.name.partition(".")[0] not in ("redis", "taskiq", "taskiq_redis"):
        raise
    raise ConfigurationError("videoapi.taskiq needs Taskiq and Redis: pip install 'videoapi[taskiq]'.") from None

__all__ = ["create_rooms_on_taskiq", "rooms_broker"]
