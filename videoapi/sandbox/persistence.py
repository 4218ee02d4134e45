"""Persistent state: ordered documents in one SQLite file."""

import contextlib
import json
import os
import sqlite3
import weakref
from pathlib import Path

from videoapi.files.locks import lock, release

_SCHEMA = "CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
_PUT = "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
_DROP = "DELETE FROM documents WHERE kind = ? AND key = ?"
_CLEAR = "DELETE FROM documents WHERE kind <> ?"
_LOAD = "SELECT key, value FROM documents WHERE kind = ? ORDER BY rowid"
_START = "start"


class State:
    """A store of documents by kind and key. Changes are in the file once `commit` has returned.

    Committed changes survive a killed process, but not necessarily a power failure: the file is not synced.

    Args:
        path: The file, created by `open` if missing; None stores nothing.
        exclusive: Whether the documents are to be changed: one State at a time may do that, until it is closed or its
            process ends.

    Raises:
        ValueError: If the file exists and is not a sandbox state file, or another State may change it.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, exclusive: bool = False) -> None:
        self._path = None if path is None else Path(path)
        self._release: weakref.finalize[..., State] | None = None
        if exclusive and self._path is not None and self._path.exists():
            self._claim(self._path)
        self._pending: list[tuple[str, tuple[str, ...]]] = []
        self._db: sqlite3.Connection | None = None
        try:
            self.starts: int = len(self.load(_START))
        except Exception:
            self._unclaim()
            raise
        self._seen = self.starts
        self.put(_START, str(self.starts), None)

    def load(self, kind: str) -> dict[str, object]:
        """Return the committed documents of a kind, in the order in which they were first put."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            with contextlib.closing(sqlite3.connect(self._path)) as db:
                # A sandbox killed during its start leaves an empty file.
                if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    return {}
                return {key: json.loads(value) for key, value in db.execute(_LOAD, (kind,))}
        except (sqlite3.DatabaseError, ValueError):
            raise ValueError(f"{self._path} is not a sandbox state file") from None

    def open(self) -> None:
        """Open the file for writing and commit the pending changes.

        Raises:
            OSError: If the file cannot be created.
            ValueError: If another State may change the file, or has changed it since this one has read it.
        """
        if self._path is None:
            return
        if self._release is None:
            self._claim(self._path)
        if len(self.load(_START)) != self._seen:
            self._unclaim()
            raise ValueError(
                f"another sandbox has changed {self._path} since this one has read it. Create a new Sandbox"
            )
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        # Used by one thread at a time, but not always by the one that opened it.
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_SCHEMA)
        self.commit()
        self._seen = len(self.load(_START))

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._unclaim()

    def _claim(self, path: Path) -> None:
        # Not the file itself: closing a descriptor of it would end the locks of SQLite.
        try:
            file = os.open(f"{path.resolve()}-lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
        self._release = weakref.finalize(self, release, file, os.getpid())
        _claimed.add(self)
        try:
            locked = lock(file)
        except OSError as error:
            self._unclaim()
            raise OSError(error.errno, f"cannot lock the state file: {error.strerror}", str(path)) from None
        if not locked:
            self._unclaim()
            raise ValueError(f"another sandbox uses {path}. Stop it, or give each sandbox a state file of its own")

    def _unclaim(self) -> None:
        _claimed.discard(self)
        if self._release is not None:
            self._release()
            self._release = None

    def put(self, kind: str, key: str, document: object) -> None:
        """Store a document, replacing the one with the same key."""
        if self._path is not None:
            # Escaped, because SQLite rejects lone surrogates.
            self._pending.append((_PUT, (kind, key, json.dumps(document, separators=(",", ":")))))

    def drop(self, kind: str, key: str) -> None:
        """Delete a document."""
        if self._path is not None:
            self._pending.append((_DROP, (kind, key)))

    def clear(self) -> None:
        """Delete all documents except the count of starts, which keeps ids from repeating."""
        if self._path is not None:
            self._pending.append((_CLEAR, (_START,)))

    def commit(self) -> None:
        """Write the changes since the last commit, all or none."""
        if self._db is None or not self._pending:
            return
        with self._db:
            for statement, values in self._pending:
                self._db.execute(statement, values)
        self._pending.clear()


_claimed: weakref.WeakSet[State] = weakref.WeakSet()


def _forget_claims() -> None:
    """Close the lock files in a forked process, so that it does not keep the locks of a parent that has ended."""
    for state in list(_claimed):
        state._unclaim()


# Windows has no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_claims)
