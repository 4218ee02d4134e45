"""The outcome file of a bulk run: one line per input, written as outcomes arrive."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from videoapi.bulk import BulkOutcome
from videoapi.cli.job import free_name
from videoapi.cli.terminal import for_people
from videoapi.errors import VideoAPIError

MOST_SHOWN: Final = 5


class OutcomeFile:
    """A JSONL file of mode 0600; an existing file is renamed with a numeric suffix.

    Args:
        path: Where to write.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.kept_as = _make_room(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        # Line-buffered, so that a crash loses no outcome.
        self._file = os.fdopen(os.open(path, flags, 0o600), "w", buffering=1, encoding="utf-8")
        self.path = path
        self.counts: Counter[str] = Counter()
        self.shown: list[str] = []
        """The first outcomes that did not succeed, as text."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def not_shown(self) -> int:
        """Number of outcomes that did not succeed and are not among `shown`."""
        return self.counts["failed"] + self.counts["unknown"] - len(self.shown)

    def lines_of(self, room_ids: Collection[str]) -> dict[str, int]:
        """Return the line numbers of some rooms in the input file."""
        with self.path.open(encoding="utf-8") as file:
            rows = (json.loads(text) for text in file if any(room_id in text for room_id in room_ids))
            return {row["room_id"]: row["line"] for row in rows}

    def enter(self, outcome: BulkOutcome, index: int, line: int) -> None:
        """Write an outcome with the index of its input and its line number in the input file."""
        self.counts[outcome.status] += 1
        error = None if outcome.error is None else facts_of(outcome.error)
        row = {
            "index": index,
            "line": line,
            "key": outcome.key,
            "reference": outcome.reference,
            "status": outcome.status,
            "room_id": outcome.room_id,
            "changed": outcome.changed,
            "error": error,
        }
        self._file.write(json.dumps(row) + "\n")
        if outcome.status in ("failed", "unknown") and len(self.shown) < MOST_SHOWN:
            reference = f", reference {outcome.reference}" if outcome.status == "unknown" else ""
            reason = "" if outcome.error is None else f": {for_people(outcome.error)}"
            self.shown.append(f"line {line} {outcome.status}{reference}{reason}")


def facts_of(error: VideoAPIError) -> dict[str, Any]:
    """Return the attributes of an error as JSON values."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "field": getattr(error, "field", None),
        "status": error.status,
        "code": error.code,
        "request_id": error.request_id,
        "retryable": error.retryable,
        "may_have_executed": error.may_have_executed,
    }


def _make_room(path: Path) -> Path | None:
    # Never overwrite: an earlier run's references may be the only way to find rooms with an unknown outcome.
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return None
    kept = free_name(path)
    path.rename(kept)
    return kept
