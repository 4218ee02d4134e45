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
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from videoapi.errors import ConfigurationError

T = TypeVar("T")

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS creates (
    reference TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    spec BLOB NOT NULL,
    status TEXT,
    room_id TEXT
) WITHOUT ROWID;
"""


@attrs.frozen
class Entry:
    """An earlier create, as recorded in the journal.

    Args:
        spec: Hash of the request body.
        status: `created`, `failed`, or None if it was started and its result is unknown.
        room_id: ID of the created room.
    """

    spec: bytes
    status: str | None
    room_id: str | None


class Journal:
    """The journal file of a job; open it before the first intent and close it after the last.

    Args:
        path: The SQLite file, created with mode 0600 if it does not exist. Several jobs may share it.
        job: The job's ID.
    """

    def __init__(self, path: str | os.PathLike[str], job: str) -> None:
        self._path = Path(path)
        self._job = job
        self._work: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def open(self) -> bool:
        """Open the file.

        Returns:
            Whether the job is new to the file, so that no earlier create of the job can be in progress.

        Raises:
            ConfigurationError: If the file cannot be opened, or is not a journal.
        """
        # A daemon thread, so that a program that exits without closing does not hang.
        self._thread = threading.Thread(target=self._serve, name="videoapi-journal", daemon=True)
        self._thread.start()
        return await self._ask(self._begin)

    async def intend(self, reference: str, spec: bytes) -> Entry | None:
        """Record that a create is about to be sent; the record is on disk when this returns.

        Returns:
            The earlier entry, or None if the create is new.

        Raises:
            ConfigurationError: If it cannot be written; the create must not be sent.
        """

        def write(database: sqlite3.Connection) -> Entry | None:
            row = database.execute(
                "SELECT spec, status, room_id FROM creates WHERE reference = ?", (reference,)
            ).fetchone()
            if row is not None:
                return Entry(*row)
            database.execute(
                "INSERT INTO creates (reference, job, spec) VALUES (?, ?, ?)", (reference, self._job, spec)
            )
            return None

        return await self._ask(write)

    def ended(self, reference: str, status: str, room_id: str | None = None) -> None:
        """Record how a create ended; written soon, and at the latest by `aclose`.

        Losing this record in a crash is harmless: the next process looks up the room.
        """

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE creates SET status = ?, room_id = ? WHERE reference = ?", (status, room_id, reference)
            )

        self._work.put(_Task(write, None, None))

    async def aclose(self) -> None:
        """Write pending records and close the file; it is closed when this returns, even if cancelled."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._work.put(None)
            await _joined(thread)

    async def _ask(self, do: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._work.put(_Task(do, loop, answer))
        problem: str
        try:
            result: T = await answer
            return result
        except (sqlite3.Error, OSError) as error:
            problem = str(error)
        raise ConfigurationError(f"The journal {str(self._path)!r} cannot be written: {problem}. Nothing was sent.")

    def _begin(self, database: sqlite3.Connection) -> bool:
        cursor = database.execute("INSERT OR IGNORE INTO jobs (job) VALUES (?)", (self._job,))
        return cursor.rowcount == 1

    def _serve(self) -> None:
        """Run the queued tasks in the thread; each commit covers all tasks waiting."""
        database: sqlite3.Connection | None = None
        open_error: Exception | None = None
        try:
            database = self._connect()
        except (sqlite3.Error, OSError) as error:
            open_error = error
        running = True
        while running:
            tasks, running = self._take()
            if database is None:
                for task in tasks:
                    task.fail(open_error or sqlite3.OperationalError("closed"))
            else:
                _commit(database, tasks)
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
            # FULL: an intent must survive a power failure, not only a crash of the process.
            database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_TABLES}")
        except sqlite3.Error:
            database.close()
            raise
        return database


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

    def fail(self, error: Exception) -> None:
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


def _commit(database: sqlite3.Connection, tasks: list[_Task]) -> None:
    results: list[tuple[_Task, Any]] = []
    try:
        database.execute("BEGIN IMMEDIATE")
        results = [(task, task.do(database)) for task in tasks]
        database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        for task in tasks:
            task.fail(error)
        return
    for task, result in results:
        task.succeed(result)
