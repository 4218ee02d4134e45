"""The file of an export, and its state, so that the same command continues it.

Until the export is complete, `out.jsonl` is named `out.jsonl.part`. Next to it, `out.jsonl.state` says which question
it answers, how far it is, and a digest of what is written; it stays when the export is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import attrs
import click

from videoapi.errors import ConfigurationError
from videoapi.files import PART, FileTaken, PartFile, naming

SAVE_EVERY: Final = 3.0
"""Seconds between two writes of the state, unless they take long."""
MAX_REJECTED: Final = 1_000
"""How many rejected records are listed."""

RESTARTED: Final = "restarted"
"""The count of restarts, which stays when a window restarts."""

_STATE: Final = ".state"
_CONVERTED: Final = ".converted"
_REJECTED: Final = ".rejected.jsonl"
_REJECTED_KEYS: Final = frozenset({"window", "index", "offset", "reason"})
_VERSION: Final = 1
_MAX_STATE: Final = 1 << 26
_BLOCK: Final = 1 << 18
_ACCOUNT: Final = ("app_id", "origin")
_FRESH: Final = "Give another OUT, or start over with --fresh."


class Position(Protocol):
    """A cursor: its text, and the window that it is in."""

    @property
    def since(self) -> str:
        """The window."""
        ...

    def at_start(self) -> Position:
        """Return the cursor at the start of the window."""
        ...


@attrs.frozen(kw_only=True)
class WindowStart:
    """Where the rows of a window begin in the file, and what preceded them.

    Args:
        since: The window, as in a cursor.
        cursor: The cursor at its start.
        records: The number of rows before it.
        size: The number of bytes before it.
        rejected: The number of records rejected before it.
        counts: Other counts before it.
    """

    since: str
    cursor: str
    records: int
    size: int
    rejected: int
    counts: dict[str, int]


@attrs.define(kw_only=True)
class ExportState:
    """What is known about an export.

    Args:
        question: What is exported, and in which format.
        first: The cursor that the export began at, or None.
        given: The cursors that it was continued with.
        cursor: The cursor just past the last row.
        records: The number of rows.
        size: The number of bytes, with the header.
        sha256: The digest of these bytes.
        windows: The windows that have rows, in order.
        rejected: The number of rejected records.
        rows: The first of them.
        counts: Other counts, by name.
        complete: Whether no row is missing.
        exported: When the export began, in UTC, as RFC 3339.
        result_size: The number of bytes of the final file, if it was converted from these.
        result_sha256: The digest of the final file, if it was converted from these.
    """

    question: dict[str, str]
    first: str | None = None
    given: list[str] = attrs.field(factory=list)
    cursor: str = ""
    records: int = 0
    size: int = 0
    sha256: str = ""
    windows: list[WindowStart] = attrs.field(factory=list)
    rejected: int = 0
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    counts: dict[str, int] = attrs.field(factory=dict)
    complete: bool = False
    exported: str | None = None
    result_size: int | None = None
    result_sha256: str = ""

    @property
    def final_size(self) -> int:
        """The number of bytes of the final file."""
        return self.size if self.result_size is None else self.result_size

    @property
    def final_sha256(self) -> str:
        """The digest of the final file."""
        return self.result_sha256 or self.sha256

    def to_json(self) -> bytes:
        """Return the state as JSON."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, text: bytes | None) -> ExportState | None:
        """Return a state, or None if the text does not describe one."""
        try:
            fields = json.loads(text or b"")
            if fields.pop("version") != _VERSION:
                return None
            fields["windows"] = [WindowStart(**window) for window in fields["windows"]]
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


class ExportFile:
    """The file of an export.

    Args:
        out: The final path.
        question: What is exported, for which account, and in which format.
        header: The bytes before the first row.
        cursor: Where the user wants to begin or continue, or None.
        overwrite: Whether an existing file may be replaced.
        fresh: Whether to discard what an earlier process has left in the part.
        convert: Writes the final file from the complete part; None if the part is the final file. The result depends
            on the part alone.
        exported: The current time in UTC, as RFC 3339, or None if it is not to be kept.
        clock: The time in seconds.
    """

    def __init__(
        self,
        out: Path,
        question: Mapping[str, str],
        header: bytes,
        *,
        cursor: str | None = None,
        overwrite: bool = False,
        fresh: bool = False,
        convert: Callable[[Path, BinaryIO], None] | None = None,
        exported: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out = out
        self.state: ExportState = ExportState(
            question=dict(question), first=cursor, cursor=cursor or "", exported=exported
        )
        self.continued: int = 0
        """The number of rows that earlier processes have written."""
        self.saved: int = 0
        """The number of rows that the state on disk knows of."""
        self.exists: bool = False
        """Whether the file has its final name already, and is this export."""
        self._header = header
        self._asked = cursor
        self._overwrite = overwrite
        self._fresh = fresh
        self._convert = convert
        self._clock = clock
        self._part = PartFile(out.parent, out.name, overwrite=overwrite)
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self._digests: dict[str, Any] = {}
        self._position: Position | None = None
        self._inherited: set[str] = set()
        # What earlier processes have counted, and the records that this one could not write.
        self._earlier = attrs.evolve(self.state)
        self._unwritten: list[dict[str, Any]] = []
        self._has_state = False
        self._next_save = clock() + SAVE_EVERY

    @property
    def part(self) -> Path:
        """The path of the incomplete file."""
        return self._part.part

    @property
    def cursor(self) -> str | None:
        """The cursor at which to continue, or None to begin at the start."""
        return self.state.cursor or None

    def open(self) -> None:
        """Open the part, and check what an earlier process has left.

        If the export is complete already, sets `state.complete`, and either `exists`, or only `finish` is left to do.

        Raises:
            ConfigurationError: If another process writes the file, it belongs to another account, or the part is not
                what the state describes.
            click.UsageError: If the file exists, or is the export of another query, or a file next to it would be
                overwritten that is of no export.
            OSError: If a file operation fails.
        """
        try:
            self._part.open()
        except FileTaken as taken:
            if taken.reason != "exists":
                raise self._refusal(taken) from None
            self._check_finished(self._found())
            return
        found = self._found()
        self._must_be_ours(found)
        if self._part.size and (self._fresh or self._is_left_over(found)):
            if self._convert is not None:
                self._part.remove_beside(_CONVERTED)
            self._part.truncate(0)
        if self._part.size:
            self._continue(found)
        else:
            self._begin()

    def restart(self, since: str) -> None:
        """Discard the rows of a window, because they are about to come again.

        Args:
            since: The window, as in a cursor.
        """
        later = [window for window in self.state.windows if window.since >= since]
        if not later:
            return
        first = later[0]
        state = self.state
        state.windows = [window for window in state.windows if window.since < since]
        state.records, state.size, state.cursor = first.records, first.size, first.cursor
        self._position = None
        self._unwritten = _before(since, self._unwritten)
        if first.since in self._inherited:
            # This process counts the window from its start.
            earlier = self._earlier
            again = earlier.counts.get(RESTARTED, 0)
            earlier.rejected, earlier.counts = first.rejected, {**first.counts, RESTARTED: again}
            earlier.rows = _before(since, earlier.rows)
            self._inherited -= {window.since for window in later}
        state.rejected, state.counts, state.rows = first.rejected, dict(first.counts), _before(since, state.rows)
        self._digest = self._digests[first.since].copy()
        self._buffer.clear()
        # In this order: a state never describes more than there is.
        self._part.sync()
        self._write_state()
        self._part.truncate(first.size)

    @property
    def since(self) -> str | None:
        """The window of the last row."""
        return self.state.windows[-1].since if self.state.windows else None

    def enter(self, position: Position) -> None:
        """Begin the window of a position; `count` first what precedes it."""
        self._flush()
        state = self.state
        state.windows.append(
            WindowStart(
                since=position.since,
                cursor=str(position.at_start()),
                records=state.records,
                size=state.size,
                rejected=state.rejected,
                counts=dict(state.counts),
            )
        )
        self._digests[position.since] = self._digest.copy()

    def add(self, rows: bytes, position: Position, count: int = 1) -> None:
        """Append rows; `position` is the cursor just past them."""
        self._position = position
        self._buffer += rows
        self.state.records += count
        if len(self._buffer) >= _BLOCK:
            self._flush()

    def skip(self, row: dict[str, Any], position: Position) -> None:
        """Reject a record that cannot be written; `position` is the cursor just past it."""
        self._position = position
        self._unwritten.append(row)

    def count(self, rejected: int, rows: Sequence[dict[str, Any]], counts: Mapping[str, int]) -> None:
        """Set what this process has counted so far: the rejected records, the first of them, and other counts."""
        state, earlier, unwritten = self.state, self._earlier, self._unwritten
        state.rejected = earlier.rejected + rejected + len(unwritten)
        state.rows = [*earlier.rows, *rows, *unwritten][:MAX_REJECTED]
        names = {**earlier.counts, **counts}
        state.counts = {name: earlier.counts.get(name, 0) + counts.get(name, 0) for name in names}

    @property
    def is_kept(self) -> bool:
        """Whether the part is there, so that the same command can continue it."""
        return self._part.is_there

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._clock() >= self._next_save

    def save(self, *, complete: bool = False) -> None:
        """Write what there is to disk, and then the state that describes it."""
        began = self._clock()
        self._flush()
        self._part.sync()
        self.state.complete = complete
        self._write_state()
        now = self._clock()
        # At most a tenth of the time.
        self._next_save = now + max(SAVE_EVERY, 10 * (now - began))

    def finish(self) -> None:
        """Give the complete file its name.

        Raises:
            click.UsageError: If a file of that name was created since `open`.
            OSError: If a file operation fails.
        """
        if not self.state.complete:
            self.state.windows = []
            self.save(complete=True)
        if self.state.rejected:
            rows = [*self.state.rows]
            if more := self.state.rejected - len(rows):
                rows.append({"more": more})
            self._part.write_beside(_REJECTED, "".join(json.dumps(row) + "\n" for row in rows).encode())
        else:
            self._part.remove_beside(_REJECTED)
        try:
            if self._convert is not None:
                self._write_result(self._convert)
            self._part.finish(PART if self._convert is None else _CONVERTED)
        except BaseException as error:
            if self._convert is not None and self.is_kept:
                # It is made again from the part.
                self._part.remove_beside(_CONVERTED)
            if isinstance(error, FileTaken):
                raise click.UsageError(
                    f"{error.path} was created during the export, which is complete in {self.part}. "
                    "Move one of the two away, or repeat the command with --overwrite."
                ) from None
            raise

    def close(self) -> None:
        """Close the file; remove it if it is empty."""
        self._part.close()

    @property
    def rejected_path(self) -> Path | None:
        """The list of the records that were rejected, once complete; None if no record was rejected."""
        return self.out.with_name(self.out.name + _REJECTED) if self.state.rejected else None

    def _write_result(self, convert: Callable[[Path, BinaryIO], None]) -> None:
        with naming(self.out), self._part.new_beside(_CONVERTED) as file:
            convert(self.part, file)
            file.flush()
            os.fsync(file.fileno())
            self.state.result_size = file.tell()
            file.seek(0)
            self.state.result_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._write_state()

    def _must_be_ours(self, found: ExportState | None) -> None:
        """Raise an error if a file that this export overwrites or removes was not written by an earlier one."""
        begun = self._part.size > 0
        ours = {
            _STATE: found is not None or begun,
            _REJECTED: _is_list(self._part.read_beside(_REJECTED, _MAX_STATE)),
            _CONVERTED: self._convert is None or (begun and found is not None and found.complete),
        }
        for tail, is_ours in ours.items():
            path = self.out.with_name(self.out.name + tail)
            if not is_ours and os.path.lexists(path):
                raise click.UsageError(
                    f"{path} would be overwritten, and is of no export. Move it away, or give another OUT."
                )

    def _is_left_over(self, found: ExportState | None) -> bool:
        """Return whether the existing file was made from the part: `finish` was killed before it removed the part."""
        if found is None or not found.complete or found.result_size is None or not self.out.is_file():
            return False
        return self._has_digest(found.result_sha256)

    def _has_digest(self, sha256: str) -> bool:
        with self.out.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def _found(self) -> ExportState | None:
        return ExportState.parse(self._part.read_beside(_STATE, _MAX_STATE))

    def _refusal(self, taken: FileTaken) -> Exception:
        if taken.reason == "busy":
            return ConfigurationError(
                f"{self.out}: another process is writing this export. Wait until it ends, or give another OUT."
            )
        what = "a directory" if taken.reason == "directory" else "a link, or not a file of yours"
        return click.UsageError(f"{taken.path} is {what}. Move it away, or give another OUT.")

    def _check_finished(self, found: ExportState | None) -> None:
        """Raise an error unless the existing file is this very export."""
        if found is not None and not found.complete and self.part.exists():
            raise click.UsageError(
                f"{self.out} exists, and {self.part} was begun to replace it. To continue that, give --overwrite; "
                "or give another OUT."
            )
        if found is None or not found.complete:
            raise click.UsageError(
                f"{self.out} exists, and nothing says which export it is. "
                "To replace it, give --overwrite; or give another OUT."
            )
        if not self._has_digest(found.final_sha256):
            raise click.UsageError(
                f"{self.out} is complete, but was changed since. To replace it, give --overwrite; or give another OUT."
            )
        if differs := self._difference(found):
            raise click.UsageError(
                f"{self.out} is complete, but belongs to another query: {differs}. "
                "To replace it, give --overwrite; or give another OUT."
            )
        if self._asked is None and found.first is not None:
            raise click.UsageError(
                f"{self.out} is complete, and begins at a cursor. To replace it with all records, give --overwrite; "
                "or give another OUT."
            )
        if self._asked is not None and self._asked not in _cursors(found):
            raise self._no_tail()
        if self._convert is not None:
            self._part.remove_left_over(found.sha256, _CONVERTED)
        self.state = found
        self.exists = True

    def _no_tail(self) -> Exception:
        return click.UsageError(
            f"{self.out} is complete, and would be replaced by its rows after the cursor. "
            "Give another OUT, or leave out --cursor."
        )

    def _begin(self) -> None:
        if self._asked is not None and self.out.exists():
            raise self._no_tail()
        self._buffer += self._header

    def _continue(self, found: ExportState | None) -> None:
        path = self.out.with_name(self.out.name + _STATE)
        if found is None:
            raise ConfigurationError(f"{self.part} cannot be continued: {path} is missing or cannot be read. {_FRESH}")
        if any(found.question.get(name) != self.state.question.get(name) for name in _ACCOUNT):
            raise ConfigurationError(f"{self.part} belongs to another account: {self._difference(found)}. {_FRESH}")
        if differs := self._difference(found):
            raise click.UsageError(f"{self.part} belongs to another query: {differs}. {_FRESH}")
        if self._asked is None and found.first is not None:
            raise click.UsageError(f"{self.part} begins at a cursor. Give --cursor {found.first}, or --fresh.")
        if self._asked is not None and self._asked not in _cursors(found):
            raise ConfigurationError(
                f"{self.part} does not end at this cursor. Leave out --cursor, or start over with --fresh."
            )
        if not self._verified(found):
            raise ConfigurationError(
                f"{self.part} is not what {path} describes: its first {found.size:,} bytes have changed, or are "
                f"missing. {_FRESH}"
            )
        if self._asked is not None and self._asked not in found.given:
            found.given.append(self._asked)
        self.state = found
        self.continued = self.saved = found.records
        self._has_state = True
        self._inherited = {window.since for window in found.windows}
        self._earlier = attrs.evolve(found)
        # After a crash, rows may follow that the state does not know of. They come again.
        self._part.truncate(found.size)
        if not found.size:
            self._buffer += self._header

    def _difference(self, found: ExportState) -> str:
        ours, theirs = self.state.question, found.question
        names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        shown = [name for name in names if name != "columns"]
        texts = [f"{name} {theirs.get(name) or 'none'}, not {ours.get(name) or 'none'}" for name in shown]
        return ", ".join(texts if shown else ["other columns"] * len(names))

    def _verified(self, found: ExportState) -> bool:
        """Compare the part with the digest in its state, and keep the digests at the start of each window."""
        at = 0
        for stop, since in [*((window.size, window.since) for window in found.windows), (found.size, None)]:
            for block in self._part.read(at, stop):
                self._digest.update(block)
                at += len(block)
            if at != stop:
                return False
            if since is not None:
                self._digests[since] = self._digest.copy()
        return self._digest.hexdigest() == found.sha256

    def _cursor(self) -> str:
        # As text only on demand: a cursor changes with each row.
        if self._position is not None:
            self.state.cursor = str(self._position)
        return self.state.cursor

    def _flush(self) -> None:
        if not self._buffer:
            return
        if not self._has_state:
            # Before the first byte, so that every part has a state.
            self._write_empty_state()
        data = bytes(self._buffer)
        self._buffer.clear()
        self._digest.update(data)
        self._part.write(data)
        self.state.size += len(data)

    def _write_empty_state(self) -> None:
        ours = self.state
        state = ExportState(question=ours.question, first=ours.first, cursor=ours.first or "", exported=ours.exported)
        state.sha256 = hashlib.sha256().hexdigest()
        self._part.write_beside(_STATE, state.to_json())
        self._has_state = True

    def _write_state(self) -> None:
        self._cursor()
        self.state.sha256 = self._digest.hexdigest()
        self._part.write_beside(_STATE, self.state.to_json())
        self._has_state = True
        self.saved = self.state.records


def _is_list(text: bytes | None) -> bool:
    """Return whether a file has nothing but rejected records, as an export lists them."""
    try:
        rows = [json.loads(line) for line in (text or b"").splitlines()]
    except (ValueError, RecursionError):
        return False
    return text is not None and all(
        isinstance(row, dict) and (row.keys() >= _REJECTED_KEYS or row.keys() == {"more"}) for row in rows
    )


def _cursors(found: ExportState) -> set[str | None]:
    return {found.cursor, found.first, *found.given}


def _before(since: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the windows before one."""
    return [row for row in rows if str(row.get("window", "")) < since]
