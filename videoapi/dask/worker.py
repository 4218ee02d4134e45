"""The client of a worker process: one for all of its tasks and threads."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from videoapi.errors import ConfigurationError

if TYPE_CHECKING:
    from videoapi.blocking import VideoClient

_lock = threading.Lock()
_clients: dict[int, VideoClient] = {}


def client() -> VideoClient:
    """Return the client of this process, configured by the environment: `VIDEOAPI_APP_ID`, `VIDEOAPI_APP_KEY`, ….

    It has one event loop, in a thread of its own, and is closed when the process ends. With `VIDEOAPI_RATE`,
    `VIDEOAPI_REDIS` and `VIDEOAPI_PROCESSES`, all workers share the rate of the account.

    Raises:
        ConfigurationError: If the environment of this process has no credentials, or describes half a shared rate.
    """
    from videoapi.blocking import VideoClient
    from videoapi.redis.gate import RedisGate

    with _lock:
        # By process: a fork has the parent's client, but not the thread of its event loop.
        found = _clients.get(os.getpid())
        if found is None:
            _clients.clear()
            gate = RedisGate.from_env() if os.environ.get("VIDEOAPI_RATE") else None
            found = _clients[os.getpid()] = VideoClient(gate=gate)
            atexit.register(close)
        return found


def close() -> None:
    """Close the client of this process, if it has one. The next task opens another."""
    with _lock:
        found = _clients.pop(os.getpid(), None)
    if found is not None:
        found.close()


def require_dask() -> None:
    """Check that Dask is installed.

    Raises:
        ConfigurationError: If it is not; install the extra `dask`.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("dask", "pandas", "pyarrow")):
        raise ConfigurationError("videoapi.dask needs Dask. Install it: pip install 'videoapi[dask]'")
