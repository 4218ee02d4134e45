"""What outlives the process: documents in order, in one SQLite file."""

import contextlib
import json
import os
import sqlite3
from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
_PUT = "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
_DROP = "DELETE FROM documents WHERE kind = ? AND key = ?"
_LOAD = "SELECT key, value FROM documents WHERE kind = ? ORDER BY rowid"
_START = "start"


class State:
    """Keeps documents by kind and key. Changes are in the file once `commit` has returned.

    A kill loses nothing that was committed; a power failure may, because nothing here waits for the disk.

    Args:
        path: the file, made by `open` when it does not exist; None keeps nothing.

    Raises:
        ValueError: the file is there, and is no state of a sandbox.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        self._pending: list[tuple[str, tuple[str, ...]]] = []
        self._db: sqlite3.Connection | None = None
        self.starts = len(self.load(_START))
        self.put(_START, str(self.starts), None)

    def load(self, kind: str) -> dict[str, object]:
        """The committed documents of a kind, in the order in which they were first put."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            with contextlib.closing(sqlite3.connect(self._path)) as db:
                # A sandbox that was killed at its very start leaves an empty file.
                if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    return {}
                return {key: json.loads(value) for key, value in db.execute(_LOAD, (kind,))}
        except (sqlite3.DatabaseError, ValueError):
            raise ValueError(f"{self._path} is no state of a sandbox") from None

    def open(self) -> None:
        """Begin to write, first what has changed before.

        Raises:
            OSError: the file cannot be made.
        """
        if self._path is None:
            return
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        # One thread at a time uses it, but not always the one that has opened it.
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_SCHEMA)
        self.commit()

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def put(self, kind: str, key: str, document: object) -> None:
        """Keep a document, in the place of the one that had the key before."""
        if self._path is not None:
            # Escaped, because SQLite takes no lone surrogates.
            self._pending.append((_PUT, (kind, key, json.dumps(document, separators=(",", ":")))))

    def drop(self, kind: str, key: str) -> None:
        """Forget a document."""
        if self._path is not None:
            self._pending.append((_DROP, (kind, key)))

    def commit(self) -> None:
        """Write what has changed since the last time, all of it or nothing."""
        if self._db is None or not self._pending:
            return
        with self._db:
            for statement, values in self._pending:
                self._db.execute(statement, values)
        self._pending.clear()
