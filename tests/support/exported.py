"""What an export has left in a folder."""

from __future__ import annotations

import re
from pathlib import Path

_MOMENT = re.compile(rb'"exported": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"')


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder without the moments of their export, except those that begin with a dot."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): _MOMENT.sub(b'"exported": ""', path.read_bytes()) for path in paths}
