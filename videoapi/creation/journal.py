"""The optional journal of a bulk job: which creates were started, and how they ended.

One SQLite file, written by its own thread. An intent is on disk before its create is sent; all
intents waiting at the same moment share one commit. It holds references, IDs and hashes, but no
names and no secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import attrs

from videoapi.errors import ConfigurationError

T = TypeVar("T")

_APPLICATION: Final = 0x76787A6C
_VERSION: Final = 2
_TABLES: Final = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE IF NOT EXISTS account (origin TEXT NOT NULL, app_id TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS creates (
    reference TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    identity BLOB NOT NULL,
    spec BLOB NOT NULL,
    status TEXT,
    room_id TEXT
) WITHOUT ROWID;
COMMIT;
"""
EntryStatus = Literal["created", "failed", "not_sent"]


@attrs.frozen
class Entry:
    """An earlier create, as recorded in the journal.

    Args:
        identity: Hash of the name and owner_ref.
        spec: Hash of the request body.
        status: `created`; `failed` or `not_sent` if no room was created; None if it was started and its
            result is unknown.
        room_id: ID of the created room.
    """

    identity: bytes
    spec: bytes
    status: str | None
    room_id: str | None


class Journal:
    """The journal file of a job; open it before the first intent and close it after the last.

    Args:
        path: The SQLite file, created with mode 0600 if it does not exist. Several jobs of one account may share it.
        job: The job's ID.

    Raises:
        ConfigurationError: If the path cannot be that of a file.
    """

    def __init__(self, path: str | os.PathLike[str], job: str) -> None:
        if str(path) in ("", ":memory:"):
            raise ConfigurationError(f"journal={str(path)!r}: give the path of a file, which outlives the process.")
        self._path = Path(path)
        self._job = job
        self._work: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    async def open(self, origin: str, app_id: str) -> bool:
        """Open the file, and record the job and its account.

        Returns:
            Whether the job is new to the file, so that the file says nothing about its past.

        Raises:
            ConfigurationError: If the file cannot be opened, is not a journal, or belongs to another account.
        """
        # A daemon thread, so that a program that exits without closing does not hang.
        self._thread = threading.Thread(target=self._serve, name="videoapi-journal", daemon=True)
        self._thread.start()
        now = datetime.now(UTC).isoformat(timespec="seconds")

        def begin(database: sqlite3.Connection) -> tuple[str, str] | bool:
            owner: tuple[str, str] | None = database.execute("SELECT origin, app_id FROM account").fetchone()
            if owner is None:
                database.execute("INSERT INTO account VALUES (?, ?, ?)", (origin, app_id, now))
            elif owner != (origin, app_id):
                return owner
            return database.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?)", (self._job, now)).rowcount == 1

        found = await self._ask(begin)
        if isinstance(found, tuple):
            raise ConfigurationError(
                f"The journal {str(self._path)!r} belongs to APP_ID {found[1]} at {found[0]}, and this client "
                f"uses {app_id} at {origin}. Give each account a journal of its own. Nothing was sent."
            )
        return found

    async def intend(self, reference: str, identity: bytes, spec: bytes) -> Entry | None:
        """Record that a create is about to be sent; the record is on disk when this returns.

        Returns:
            The earlier entry if it says `created` or may have been sent, which is left as it is. None if the create
            is new, or provably created no room so far.

        Raises:
            ConfigurationError: If it cannot be written; the create must not be sent.
        """

        def write(database: sqlite3.Connection) -> Entry | None:
            row = database.execute(
                "SELECT identity, spec, status, room_id FROM creates WHERE reference = ?", (reference,)
            ).fetchone()
            if row is not None and row[2] in (None, "created"):
                return Entry(*row)
            database.execute(
                "INSERT OR REPLACE INTO creates (reference, job, identity, spec) VALUES (?, ?, ?, ?)",
                (reference, self._job, identity, spec),
            )
            return None

        return await self._ask(write)

    async def sends_again(self, reference: str, identity: bytes, spec: bytes) -> None:
        """Record that a create that was proven absent is about to be sent as it is now."""

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE creates SET identity = ?, spec = ?, status = NULL, room_id = NULL WHERE reference = ?",
                (identity, spec, reference),
            )

        await self._ask(write)

    async def has_rooms(self, prefix: str) -> bool:
        """Return whether a self-check room with this prefix may be left."""

        def read(database: sqlite3.Connection) -> bool:
            query = "SELECT 1 FROM creates WHERE reference GLOB ? AND status IS NULL"
            return database.execute(query, (f"{prefix}*",)).fetchone() is not None

        return await self._ask(read)

    def deleted(self, prefix: str) -> None:
        """Record that all self-check rooms with this prefix were deleted."""

        def write(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM creates WHERE reference GLOB ?", (f"{prefix}*",))

        self._work.put(_Task(write, None, None))

    def ended(self, reference: str, status: EntryStatus, room_id: str | None = None) -> None:
        """Record how a create ended; written soon, and at the latest by `aclose`.

        Losing this record in a crash is harmless: the next process looks up the room.
        """

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE creates SET status = ?, room_id = ? WHERE reference = ?", (status, room_id, reference)
            )

        self._work.put(_Task(write, None, None))

    async def aclose(self) -> None:
        """Write pending records and close the file; it is closed when this returns, even if cancelled.

        Raises:
            ConfigurationError: If a record could not be written.
        """
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._work.put(None)
            await _joined(thread)
            if self._error is not None:
                raise self._problem(self._error)

    async def _ask(self, do: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._work.put(_Task(do, loop, answer))
        try:
            result: T = await answer
        except ConfigurationError:
            raise
        except Exception as error:
            raise self._problem(error) from error
        return result

    def _problem(self, error: BaseException) -> ConfigurationError:
        what = str(error) or type(error).__name__
        if "locked" in what:
            what += " by another process; end it, or wait for it"
        return ConfigurationError(
            f"The journal {str(self._path)!r} cannot be written: {what}. Nothing is sent that is not recorded there."
        )

    def _serve(self) -> None:
        """Run the queued tasks in the thread; each commit covers all tasks waiting."""
        database: sqlite3.Connection | None = None
        try:
            database = self._connect()
        except Exception as error:
            self._error = error
        running = True
        while running:
            tasks, running = self._take()
            if database is not None:
                failed = _commit(database, tasks)
                # What no caller waits for is reported by `aclose`.
                self._error = self._error or failed
            else:
                for task in tasks:
                    task.fail(self._error or sqlite3.OperationalError("closed"))
        if database is not None:
            database.close()

    def _take(self) -> tuple[list[_Task], bool]:
        tasks: list[_Task] = []
        task = self._work.get()
        while task is not None:
            tasks.append(task)
            try:
                task = self._work.get_nowait()
            except queue.Empty:
                return tasks, True
        return tasks, False

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600, exist_ok=True)
        database = sqlite3.connect(self._path, isolation_level=None, timeout=10.0)
        try:
            self._check(database)
            # FULL: an intent must survive a power failure, not only a crash of the process.
            database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_TABLES}")
        except BaseException:
            database.close()
            raise
        return database

    def _check(self, database: sqlite3.Connection) -> None:
        """Refuse a file of another program before anything is written to it."""
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (application, version) != (_APPLICATION, _VERSION):
            whose = "another version of videoapi" if application == _APPLICATION else "another program"
            raise ConfigurationError(
                f"The journal {str(self._path)!r} was written by {whose}. Give the path of a new file. "
                "Nothing was sent."
            )


async def _joined(thread: threading.Thread) -> None:
    end = asyncio.ensure_future(asyncio.to_thread(thread.join))
    cancelled: asyncio.CancelledError | None = None
    while not end.done():
        try:
            await asyncio.wait([end])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


@attrs.frozen
class _Task:
    do: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop | None
    answer: asyncio.Future[Any] | None

    def succeed(self, result: Any) -> None:
        self._call(lambda answer: answer.set_result(result))

    def fail(self, error: BaseException) -> None:
        self._call(lambda answer: answer.set_exception(error))

    def _call(self, set_answer: Callable[[asyncio.Future[Any]], None]) -> None:
        if self.loop is None or self.answer is None:
            return
        answer = self.answer

        def deliver() -> None:
            if not answer.done():
                set_answer(answer)

        # If the loop is closed, nothing waits for the result.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(deliver)


def _commit(database: sqlite3.Connection, tasks: list[_Task]) -> Exception | None:
    """Run the tasks in one transaction; return the error if that failed."""
    results: list[tuple[_Task, Any]] = []
    try:
        database.execute("BEGIN IMMEDIATE")
        results = [(task, task.do(database)) for task in tasks]
        database.execute("COMMIT")
    except Exception as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        for task in tasks:
            task.fail(error)
        return error
    for task, result in results:
        task.succeed(result)
    return None
