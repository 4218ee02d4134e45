"""What a journal says before it is opened, or without being opened for writing."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path


def age_of(path: Path) -> float:
    """Return for how many seconds nothing was written to a database; 0 if it does not exist."""
    files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    written = max((file.stat().st_mtime for file in files), default=math.inf)
    return max(0.0, time.time() - written)


def recorded(path: Path, job: str) -> Callable[[str], bool]:
    """Return whether the room of a reference of a job was created, or may have been, by a journal; nothing is written.

    Raises:
        sqlite3.Error: If the file is missing, or cannot be read.
    """
    # Even a connection that only reads would create the log of a journal that has none.
    has_log = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
        rows = database.execute("SELECT reference, status FROM creates WHERE job = ? ORDER BY id", (job,))
        # A job may have a million references, and their hashes take a third of the memory.
        sent: set[int] = set()
        for reference, status in rows:
            # Of rows with one reference, the last counts.
            change = sent.add if status in (None, "created") else sent.discard
            change(hash(reference))
    return lambda reference: hash(reference) in sent
