"""The outcome file of a bulk run: one line per input, written as outcomes arrive."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from videoapi.bulk import BulkOutcome
from videoapi.cli.inputs import Title
from videoapi.cli.job import free_name
from videoapi.cli.terminal import for_people
from videoapi.errors import ConfigurationError, NotFound, VideoAPIError
from videoapi.files import FileTaken, PartFile
from videoapi.models.tokens import Token, TokenSpec

MOST_SHOWN: Final = 5

_WHY: Final = {
    "busy": "another process is writing these outcomes. Wait until it ends, or give another --out.",
    "directory": "this is a directory. Give another --out.",
    "link": "this is a link, or not a file of yours. Remove it, or give another --out.",
}


class NotWritten(OSError):
    """The outcomes cannot be written to a device or a pipe.

    Not a `BrokenPipeError`, with which a list ends without an error when its reader leaves: outcomes would be lost.
    """


class OutcomeFile:
    """A JSONL file of mode 0600, which is named `.part` until the run ends; earlier files get a numeric suffix.

    Args:
        path: Where to write. A device or a pipe is written to directly.

    Raises:
        ConfigurationError: If another process is writing the file, or the name is that of a link or directory.
        OSError: If the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept_as: list[Path] = []
        """Where the outcomes of earlier runs are now."""
        self.counts: Counter[str] = Counter()
        self.shown: list[str] = []
        """The first outcomes that did not succeed, as text."""
        self.error: OSError | None = None
        """Why the file lacks outcomes, or could not get its name."""
        self.unwritten: int = 0
        """Number of outcomes that are counted, and not in the file."""
        self._is_finished = False
        self._part: PartFile | None = None
        self._device: IO[bytes] | None = None
        if path.exists() and not path.is_file() and not path.is_dir():
            self._device = path.open("wb")
            return
        self._part = self._opened()
        self._make_room()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device is not None:
            with self._writing_to_device():
                self._device.close()
        part = self._part
        if part is None:
            return
        try:
            if error is not None and not self.total:
                # An empty file would look like the outcomes of a run.
                part.discard()
            else:
                self.finish()
        finally:
            part.close()
            self._part = None

    def finish(self) -> None:
        """Give the file its name, unless the disk is full: `error` says so, and the file keeps its temporary name."""
        # After an error of the disk, outcomes are missing, and the last line may be incomplete.
        if self._part is None or self._is_finished or self.error is not None:
            return
        try:
            self._part.finish()
        except OSError as error:
            self.error = error
        # It has its name, too, if only the folder could not be synced.
        self._is_finished = not self._part.is_there

    @property
    def there(self) -> Path | None:
        """Where the outcomes are; None if none could be written."""
        if self._part is None or self._is_finished:
            return self.path
        return self._part.part if self._part.size else None

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def not_shown(self) -> int:
        """Number of outcomes that did not succeed and are not among `shown`."""
        return self.counts["failed"] + self.counts["unknown"] - len(self.shown)

    def lines_of(self, room_ids: Collection[str]) -> dict[str, int]:
        """Return the line numbers of some rooms in the input file."""
        return {row["room_id"]: row["line"] for row in self.rows() if row["room_id"] in room_ids}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the file."""
        path = self.path if self._part is None or self._is_finished else self._part.part
        with path.open(encoding="utf-8") as file:
            for line in file:
                # After an error of the disk, the last line may be incomplete.
                if line.endswith("\n"):
                    yield json.loads(line)

    def enter(self, outcome: BulkOutcome, index: int, line: int, title: Title | None = None) -> None:
        """Write an outcome with the index of its input, its line number in the input file, and the title of a room.

        Raises:
            OSError: If it is the first one that cannot be written. It is counted, as are those that come later.
        """
        status = status_of(outcome)
        self.counts[status] += 1
        error = None if outcome.error is None else facts_of(outcome.error)
        row = {
            "index": index,
            "line": line,
            "key": outcome.key,
            "reference": outcome.reference,
            "status": status,
            "room_id": outcome.room_id,
            "changed": outcome.changed,
            "error": error,
        }
        if title is not None:
            # By which a later table shows the same rooms under other keys.
            row |= {"name": title.name, "scheduled_time": title.start or None}
        if isinstance(user := outcome.token or outcome.spec, Token | TokenSpec):
            row |= {"name": user.name, "user_ref": user.user_ref, "role": str(user.role)}
        if outcome.token is not None:
            row["token"] = outcome.token.value
        if status in ("failed", "unknown") and len(self.shown) < MOST_SHOWN:
            reference = f", reference {outcome.reference}" if status == "unknown" else ""
            reason = "" if outcome.error is None else f": {for_people(outcome.error)}"
            if outcome.room_id is not None:
                reason = reason.replace("{room_id}", outcome.room_id)
            self.shown.append(f"line {line} {status}{reference}{reason}")
        self._write(json.dumps(row).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self.error is not None:
            self.unwritten += 1
            return
        try:
            # Unbuffered, so that a crash loses no outcome.
            if self._part is not None:
                self._part.write(line)
            elif self._device is not None:
                with self._writing_to_device():
                    self._device.write(line)
                    self._device.flush()
        except OSError as error:
            self.unwritten += 1
            self.error = error
            raise

    @contextlib.contextmanager
    def _writing_to_device(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise NotWritten(error.errno, error.strerror, str(self.path)) from None

    def _opened(self) -> PartFile:
        while True:
            part = PartFile(self.path.parent, self.path.name, overwrite=True)
            try:
                if self.path.is_symlink():
                    raise FileTaken(self.path, "link")
                part.open()
                if not part.size:
                    return part
                # Of a run that was killed. Its references may be the only way to find rooms with an unknown outcome.
                self._keep(part.part)
            except FileTaken as taken:
                part.close()
                raise ConfigurationError(f"{taken.path}: {_WHY[taken.reason]}") from None
            except BaseException:
                part.close()
                raise
            part.close()

    def _make_room(self) -> None:
        if self.path.exists() and self.path.stat().st_size:
            self._keep(self.path)

    def _keep(self, path: Path) -> None:
        kept = free_name(self.path)
        path.rename(kept)
        self.kept_as.append(kept)


def status_of(outcome: BulkOutcome) -> str:
    """Return the status in the outcome file: `not_found` if the room to delete does not exist, not a failure."""
    error = outcome.error
    is_gone = outcome.status == "failed" and isinstance(error, NotFound) and error.method == "DELETE"
    return "not_found" if is_gone else outcome.status


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
