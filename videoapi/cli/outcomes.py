"""Outcomes of a bulk run: a file with a line for each, written as they come, and a report."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from videoapi.bulk import BulkOutcome
from videoapi.errors import VideoAPIError

MOST_SHOWN: Final = 5


class OutcomeFile:
    """A JSONL file that only its owner can read; what an earlier run left there is kept under a number.

    Args:
        path: Where to write.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.kept_as = _make_room(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        # Line by line, so that whatever ends the program loses nothing that is known.
        self._file = os.fdopen(os.open(path, flags, 0o600), "w", buffering=1, encoding="utf-8")
        self.path = path
        self.counts: Counter[str] = Counter()
        self.shown: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def total(self) -> int:
        return self.counts.total()

    def enter(self, outcome: BulkOutcome, index: int, line: int) -> None:
        """Write an outcome down, under its place among the inputs and its line in the input file."""
        self.counts[outcome.status] += 1
        error = None if outcome.error is None else facts_of(outcome.error)
        row = {
            "index": index,
            "line": line,
            "key": outcome.key,
            "reference": outcome.reference,
            "status": outcome.status,
            "room_id": outcome.room_id,
            "error": error,
        }
        self._file.write(json.dumps(row) + "\n")
        if outcome.status in ("failed", "unknown") and len(self.shown) < MOST_SHOWN:
            mark = f", reference {outcome.reference}" if outcome.status == "unknown" else ""
            self.shown.append(f"line {line} {outcome.status}{mark}: {outcome.error}")


def facts_of(error: VideoAPIError) -> dict[str, Any]:
    """Return what a program may want to know of an error."""
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
    # The references of an earlier run may be all that finds its unknown rooms again: never overwritten.
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
    except FileNotFoundError:
        return None
    number = 1
    while (kept := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(kept)
    return kept
