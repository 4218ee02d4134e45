"""A folder of Parquet files, each whole or absent, each with a note of its rows and digest. Blocking.

A file is written under a temporary name, synced, and renamed; then its note is. Several processes may write the same
file at once: each has a temporary file of its own, and file and note change together, under a lock. Under a second
lock, one process at a time moves rows from file to file. What begins with `_` or `.` is not data, which readers of
Parquet folders respect.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import date, datetime
from io import BufferedRandom
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import attrs

from videoapi.arrow.parquet import ParquetFile, parquet_batches
from videoapi.arrow.periods import Period, moment
from videoapi.errors import ConfigurationError
from videoapi.files import lock, naming, release
from videoapi.files.temporary import is_same, remove_abandoned, temporary_name, temporary_names

MANIFEST: Final = "_manifest.json"
_NOTES: Final = "_notes"
_SOURCE: Final = "_source.json"
_REJECTED: Final = ".rejected.jsonl"
_LOCK: Final = ".lock"
_LOCK_WAIT: Final = 60.0
_TURN: Final = ".turn.lock"
_TURN_WAIT: Final = 600.0
_OURS: Final = temporary_names(r"[0-9A-Za-z_-]{1,80}\.(?:parquet|json|rejected\.jsonl)")
_PERIOD: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:_([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
_FIELDS: Final = {"file": str, "first": str, "last": str, "rows": int, "sha256": str}

Note = dict[str, Any]
"""`{file, first, last, rows, sha256, exported}`: a file, its days, its rows, its digest, and when it was read."""


@attrs.frozen
class DataFile:
    """A file of a data set.

    Args:
        name: Its name without the extension, which ends with the period.
        period: Its days.
        dated: Whether no other file may have rows of these days; not if its rows have no day.
    """

    name: str
    period: Period
    dated: bool = True

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.name}.parquet"

    def contains(self, other: DataFile) -> bool:
        """Return whether it has all days of another file."""
        return self.period.first <= other.period.first and other.period.last <= self.period.last

    def has(self, day: date) -> bool:
        """Return whether a day is one of its own."""
        return self.period.first <= day <= self.period.last

    def others(self, folder: Path, ending: str = ".parquet") -> list[DataFile]:
        """Return the other files of a folder with the same kind of rows, and with some of its days."""
        kind = self.name.removesuffix(f"{self.period}")
        names = (path.name.removesuffix(ending) for path in sorted(folder.glob(f"{kind}*{ending}")))
        periods = (_period_in(name.removeprefix(kind)) for name in names)
        return [
            DataFile(f"{kind}{period}", period, self.dated)
            for period in periods
            if period is not None
            and period != self.period
            and period.first <= self.period.last
            and self.period.first <= period.last
        ]


class DataSet:
    """A folder of Parquet files.

    Args:
        folder: The folder, which is created if it does not exist.
        source: What the records are, and of which account.
        overwrite: Whether files may be replaced that are not known to be of this data set, or have changed.
    """

    def __init__(self, folder: Path, source: Mapping[str, str], *, overwrite: bool = False) -> None:
        self.folder = folder
        self._source = dict(source)
        self._overwrite = overwrite
        self._notes = folder / _NOTES

    def open(self) -> None:
        """Create the folder if necessary, and remove the temporary files of processes that have ended.

        Raises:
            ConfigurationError: If the folder has records of another kind or account.
            OSError: If a file operation fails.
        """
        self._notes.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._check_source(self._source)
        for folder in (self.folder, self._notes):
            remove_abandoned(folder, _OURS)

    def done(self, target: DataFile) -> Note | None:
        """Return the note of a file that is complete, unchanged, and not open for late rows; None otherwise."""
        with self._locked():
            note = self._valid_note(target)
        return None if note is None or self._open_mark(target).exists() else note

    def is_known(self, target: DataFile) -> bool:
        """Return whether a file exists, and is as it was written."""
        with self._locked():
            return self._valid_note(target) is not None

    def check_replaceable(self, target: DataFile) -> None:
        """Check, before its rows are read, that a file may be written.

        Raises:
            ConfigurationError: If a file of that name exists that is not known, or has changed since, or another file
                has some of its days and is not replaced by it.
        """
        with self._locked():
            self._check_replaceable(target)
            self._replaced(target)

    def overlapping(self, target: DataFile) -> dict[DataFile, Note | None]:
        """Return the files of the same kind that share a day with a file of undated rows, itself included.

        Returns:
            The files with their notes; None for one that is not known or has changed, and may be replaced.

        Raises:
            ConfigurationError: If a file is not known or has changed, and may not be replaced.
        """
        found: dict[DataFile, Note | None] = {}
        with self._locked():
            for file in (target, *target.others(self.folder)):
                if not os.path.lexists(self.folder / file.file):
                    continue
                found[file] = self._valid_note(file)
                if found[file] is None and not (self._overwrite and target.contains(file)):
                    self._refuse(file)
        return found

    def batches(self, target: DataFile) -> Iterator[Any]:
        """Yield the rows of a file; none if it does not exist."""
        with contextlib.suppress(FileNotFoundError), (self.folder / target.file).open("rb") as file:
            yield from parquet_batches(file)

    def reopen(self, target: DataFile) -> None:
        """Have the next export read the days of a file again, unless the file is written before."""
        with self._locked():
            if os.path.lexists(self.folder / target.file):
                self._open_mark(target).touch()
                _sync_folder(self._notes)

    def remove(self, target: DataFile) -> None:
        """Remove a file and its note, if they exist."""
        with self._locked():
            self._remove(target)
            _sync_folder(self.folder)
            _sync_folder(self._notes)

    @contextlib.contextmanager
    def turn(self, waited: float) -> Generator[bool, None, None]:
        """Have no other process move rows between files, for as long as it takes to write them all.

        Args:
            waited: For how many seconds this process has waited for its turn.

        Returns:
            Whether it is its turn; if not, try again later.

        Raises:
            ConfigurationError: If it has waited for too long.
        """
        with self._open_lock(_TURN) as file:
            is_ours = lock(file)
            if not is_ours and waited > _TURN_WAIT:
                self._refuse_to_wait(_TURN, _TURN_WAIT)
            yield is_ours

    @contextlib.contextmanager
    def spool_file(self) -> Generator[BinaryIO, None, None]:
        """Yield an empty file without a name, on the same disk."""
        with naming(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            yield file

    def write(
        self,
        target: DataFile,
        schema: Any,
        batches: Iterable[Any],
        *,
        source: Mapping[str, str],
        exported: datetime,
        odd: Mapping[str, int],
        stays_open: bool,
    ) -> Note:
        """Write a file and its note.

        Args:
            target: The file.
            schema: The schema of the rows.
            batches: The rows.
            source: What the records are, and of which account, as known now.
            exported: When the request for the rows was sent, in UTC.
            odd: How many records had a value of an unexpected type, which is null, by field; noted if there are any.
            stays_open: Whether late rows are expected, so that the file is to be read again.

        Raises:
            ConfigurationError: If the folder is of another account, a file of that name exists that is not known, or
                another file has some of its days and is not replaced by it.
            OSError: If a file operation fails.
        """
        with self._locked():
            self._check_source(source)
        with _temporary(self.folder / target.file) as (file, path):
            with ParquetFile(file, schema) as parquet:
                for batch in batches:
                    parquet.write(batch)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            note: Note = {
                "file": target.file,
                "first": f"{target.period.first}",
                "last": f"{target.period.last}",
                "rows": parquet.rows,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                "exported": moment(exported),
                **({"odd": dict(odd)} if odd else {}),
            }
            with self._locked():
                self._publish(path, target, note, stays_open=stays_open)
        return note

    def note_rejected(self, target: DataFile, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep the records of a period that cannot be parsed, as JSON lines; remove those of earlier readings."""
        for other in target.others(self._notes, _REJECTED):
            if target.contains(other):
                (self._notes / f"{other.name}{_REJECTED}").unlink(missing_ok=True)
        path = self._notes / f"{target.name}{_REJECTED}"
        if lines := [json.dumps(row) + "\n" for row in rows]:
            _write_whole(path, "".join(lines).encode())
        else:
            path.unlink(missing_ok=True)

    def rejected_in(self, target: DataFile) -> int:
        """Return how many records are kept that `note_rejected` would replace."""
        lists = (
            self._notes / f"{other.name}{_REJECTED}"
            for other in (target, *target.others(self._notes, _REJECTED))
            if target.contains(other)
        )
        counts = self.rejected()
        return sum(counts[path] for path in lists)

    def rejected(self) -> Counter[Path]:
        """Return how many records of each period could not be parsed, by the file that lists them."""
        found: Counter[Path] = Counter()
        for path in sorted(self._notes.glob(f"[!.]*{_REJECTED}")):
            with path.open(encoding="utf-8") as lines:
                found[path] = sum(int(json.loads(line).get("more", 1)) for line in lines)
        return found

    def write_manifest(self) -> Path:
        """Write the notes of all files as one list, in the order of time, and the number of records that have no row.

        Returns:
            The path of the manifest.
        """
        notes = [
            note
            for path in self._notes.glob("*.json")
            if (note := _read_note(path)) and note["file"] == f"{path.stem}.parquet"
        ]
        notes.sort(key=lambda note: (note["first"], note["last"], note["file"]))
        path = self.folder / MANIFEST
        source = self._known_source() or self._source
        _write_whole(path, _as_json({"source": source, "files": notes, "rejected": self.rejected().total()}))
        return path

    def _publish(self, path: Path, target: DataFile, note: Note, *, stays_open: bool) -> None:
        self._check_replaceable(target)
        replaced = self._replaced(target)
        intent, mark = self._intent(target), self._open_mark(target)
        _write_whole(intent, _as_json(note))
        if stays_open:
            mark.touch()
        # First: a row that is missing for a moment, or until the export is repeated, is better than one that is there
        # twice.
        for other in replaced:
            self._remove(other)
        # If this process is killed from here on, the intent shows that the file is this one.
        os.replace(path, self.folder / target.file)
        _sync_folder(self.folder)
        os.replace(intent, self._note(target))
        if not stays_open:
            mark.unlink(missing_ok=True)
        _sync_folder(self._notes)

    def _check_replaceable(self, target: DataFile) -> None:
        path = self.folder / target.file
        if self._overwrite or not os.path.lexists(path) or self._valid_note(target) is not None:
            return
        self._refuse(target)

    def _refuse(self, target: DataFile) -> NoReturn:
        state = "has changed since it was written" if self._note(target).exists() else "exists, and has no note"
        path = self.folder / target.file
        raise ConfigurationError(f"{path} {state}. It stays as it is. Move it away, or replace it with overwrite=True.")

    def _replaced(self, target: DataFile) -> list[DataFile]:
        """Return the files that a new one replaces: it has all of their days, and they are to be read again."""
        replaced: list[DataFile] = []
        if not target.dated:
            return replaced
        for other in target.others(self.folder):
            contained = target.contains(other)
            is_open = self._valid_note(other) is not None and self._open_mark(other).exists()
            if contained and (is_open or self._overwrite):
                replaced.append(other)
            else:
                advice = ", or replace that file with overwrite=True" if contained else ""
                raise ConfigurationError(
                    f"{self.folder / other.file} has days of {target.period}, whose rows would be in the folder twice. "
                    f"It stays as it is. Export the windows of before, or give another folder{advice}."
                )
        return replaced

    def _remove(self, other: DataFile) -> None:
        # At any moment, the note and the file are both there, or the manifest has neither.
        if self._note(other).exists():
            os.replace(self._note(other), self._intent(other))
        (self.folder / other.file).unlink(missing_ok=True)
        self._intent(other).unlink(missing_ok=True)
        self._open_mark(other).unlink(missing_ok=True)

    def _valid_note(self, target: DataFile) -> Note | None:
        """Return the note of a file if it describes the file."""
        path = self.folder / target.file
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        for kept in (self._note(target), self._intent(target)):
            note = _read_note(kept)
            if note is not None and note["sha256"] == digest and note["file"] == target.file:
                if kept != self._note(target):
                    os.replace(kept, self._note(target))
                return note
        return None

    def _check_source(self, source: Mapping[str, str]) -> None:
        """Compare what the records are with what the folder has; an unknown account is not compared."""
        found = self._known_source()
        if found is None:
            if any(self._notes.glob("[!.]*.json")):
                raise ConfigurationError(
                    f"{self.folder} has files, but no {_SOURCE}, which says of which account they are. "
                    "Give another folder."
                )
            if source.get("app_id"):
                _write_whole(self.folder / _SOURCE, _as_json(dict(source)))
            return
        names = [name for name in {**found, **source} if name != "app_id" or source.get(name)]
        if differing := [name for name in names if found.get(name) != source.get(name)]:
            what = ", ".join(
                f"{name} {found.get(name) or 'none'}, not {source.get(name) or 'none'}" for name in differing
            )
            raise ConfigurationError(f"{self.folder} has other records: {what}. Give another folder.")

    def _known_source(self) -> dict[str, str] | None:
        try:
            found = json.loads((self.folder / _SOURCE).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConfigurationError(f"{self.folder / _SOURCE} cannot be read. Give another folder.")
        return found

    @contextlib.contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Hold the lock of the folder, for as long as it takes to look at a file or to rename one."""
        with self._open_lock(_LOCK) as file:
            give_up = time.monotonic() + _LOCK_WAIT
            while not lock(file):
                if time.monotonic() > give_up:
                    self._refuse_to_wait(_LOCK, _LOCK_WAIT)
                time.sleep(0.01)
            yield

    @contextlib.contextmanager
    def _open_lock(self, name: str) -> Generator[int, None, None]:
        file = os.open(self._notes / name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        owner = os.getpid()
        try:
            yield file
        finally:
            release(file, owner)

    def _refuse_to_wait(self, name: str, seconds: float) -> NoReturn:
        raise ConfigurationError(
            f"{self._notes / name}: another process holds the lock of this folder for more than "
            f"{seconds:.0f} s. Is it stopped?"
        )

    def _note(self, target: DataFile) -> Path:
        return self._notes / f"{target.name}.json"

    def _intent(self, target: DataFile) -> Path:
        return self._notes / f".{target.name}.json"

    def _open_mark(self, target: DataFile) -> Path:
        return self._notes / f"{target.name}.open"


def _period_in(text: str) -> Period | None:
    days = _PERIOD.fullmatch(text)
    try:
        return Period(date.fromisoformat(days[1]), date.fromisoformat(days[2] or days[1])) if days else None
    except ValueError:
        return None


def _read_note(path: Path) -> Note | None:
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    fits = isinstance(note, dict) and all(type(note.get(name)) is kind for name, kind in _FIELDS.items())
    return note if fits else None


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _write_whole(path: Path, data: bytes) -> None:
    with _temporary(path) as (file, temporary):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, path)
    _sync_folder(path.parent)


@contextlib.contextmanager
def _temporary(path: Path) -> Generator[tuple[BufferedRandom, Path], None, None]:
    """Yield a locked file with a name of its own, next to a path; remove it at the end unless it was renamed."""
    while True:
        temporary = path.with_name(temporary_name(path.name))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        with naming(path), open(os.open(temporary, flags, 0o600), "w+b") as file:
            # Another process may take it for abandoned before it is locked.
            if not lock(file.fileno()) or not is_same(temporary, file.fileno()):
                continue
            try:
                yield file, temporary
            finally:
                if is_same(temporary, file.fileno()):
                    temporary.unlink(missing_ok=True)
        return


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(file)
    finally:
        os.close(file)
