"""The optional dependency of this package."""

from __future__ import annotations

import importlib.util

from videoapi.errors import ConfigurationError


def require_pyarrow() -> None:
    """Check that pyarrow is installed.

    Raises:
        ConfigurationError: If it is not; install the extra `data`.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError("Arrow and Parquet need pyarrow. Install it: pip install 'videoapi[data]'")
