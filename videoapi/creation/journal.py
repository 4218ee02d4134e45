"""The optional journal of a bulk job: which creates were started, and how they ended.

One SQLite file, written by its own thread. An intent is on disk before its create is sent; those that come in together,
or while the thread writes, share a commit. It holds references, IDs and hashes, but no names and no secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import attrs
import msgspec

from videoapi.creation.journal_file import age_of
from videoapi.errors import ConfigurationError, text_of

T = TypeVar("T")
EntryStatus = Literal["created", "failed", "not_sent"]
_End: TypeAlias = tuple[str, EntryStatus, str | None, str | None, str | None]

_APPLICATION: Final = 0x76787A6C
_VERSION: Final = 3
_TABLES: Final = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE IF NOT EXISTS account (origin TEXT NOT NULL, app_id TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS creates (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    reference TEXT NOT NULL,
    identity TEXT NOT NULL,
    spec TEXT NOT NULL,
    status TEXT,
    room_id TEXT
);
COMMIT;
"""
"""Rows are added, and changed soon afterwards, so that a commit writes few pages: an index of the references, which are
random, would write one for each. Of rows with one reference, the last counts."""
_KNOWN: Final = "CREATE TEMP TABLE known (reference TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID"
"""The index, in a temporary database of this process: rows of earlier runs and of other processes. The rows of this run
are not looked up, as its keys are unique."""
_LEARN: Final = "INSERT OR REPLACE INTO known SELECT reference, id FROM creates WHERE id > ? AND job = ? ORDER BY id"
_FIND: Final = """
SELECT creates.reference, identity, spec, status, room_id
FROM json_each(?) JOIN known ON known.reference = value JOIN creates ON creates.id = known.id
"""
_WRITE: Final = """
INSERT INTO creates (id, job, reference, identity, spec, status, room_id)
SELECT json_extract(value, '$[0]'), ?, json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
FROM json_each(?) WHERE true
ON CONFLICT (id) DO UPDATE SET
    job = CASE WHEN excluded.reference = reference AND excluded.status IS NOT NULL THEN job END,
    identity = coalesce(nullif(excluded.identity, '='), identity),
    spec = coalesce(nullif(excluded.spec, '='), spec),
    status = excluded.status,
    room_id = excluded.room_id
"""
"""One statement, which is the transaction, for all ends and intents: Python's threads hand over a lock at every step of
a statement, which costs more than the step. An end changes the row of its intent. An intent is a new row after the last
one that this process knows; if another process has added one there, the statement fails, as `job` has no value."""
_KEPT: Final = "="
"""The value of an end that leaves a column as it is."""
SENT: Final = "="
TAKEN_OVER: Final = "?"
"""The start of an entry's spec: whether a run has sent it, or the list of rooms has shown the room. The hash of the
request body follows, for a room taken over once it was compared."""
_OLDEST: Final = (3, 24)
"""The first SQLite with `ON CONFLICT DO UPDATE`."""
_SOON: Final = 0.02
"""After which time the end of a create is written, in seconds."""
_LOCKED: Final = 3.0
"""How long to wait for another process that writes the file, in seconds."""
_POLL: Final = 0.001
_SHARE: Final = 0.05
_LONGEST_PAUSE: Final = 0.005
"""After a commit that takes longer than a poll, the file is left to others for a share of that time."""


@attrs.frozen
class Entry:
    """An earlier create, as recorded in the journal.

    Args:
        identity: Hash of the name and owner_ref; empty if it is not known.
        spec: Hash of the request body, after `SENT` or `TAKEN_OVER`.
        status: `created`; `failed` or `not_sent` if no room was created; None if it was started and its
            result is unknown.
        room_id: ID of the created room.
    """

    identity: str
    spec: str
    status: str | None
    room_id: str | None


@attrs.define
class _Transaction:
    """What is written in one transaction: the ends and the intents, then other queries.

    `withdrawn` are intents of an earlier one whose create was cancelled before it was sent.
    """

    ends: list[_End] = attrs.field(factory=list)
    intents: list[_Intent] = attrs.field(factory=list)
    withdrawn: list[_Intent] = attrs.field(factory=list)
    queries: list[_Query] = attrs.field(factory=list)
    error: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self.ends or self.intents or self.withdrawn or self.queries)

    def deliver(self) -> None:
        """Give the waiting callers their results."""
        tasks: list[_Intent | _Query] = [*self.intents, *self.queries]
        for task in tasks:
            if task.answer.done():
                continue
            if self.error is not None:
                task.answer.set_exception(self.error)
            else:
                task.answer.set_result(task.result)


@attrs.define
class _Intent:
    reference: str
    identity: str
    spec: str
    again: bool
    answer: asyncio.Future[Any]
    result: Entry | None = None
    written: bool = False
    withdrawn: bool = False


@attrs.define
class _Query:
    do: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]
    result: Any = None


class Journal:
    """The journal file of a job; open it before the first intent and close it after the last.

    Args:
        path: The SQLite file, created with mode 0600 if it does not exist. Several jobs of one account may share it.
        job: The job's ID.

    Raises:
        ConfigurationError: If the path cannot be that of a file.
    """

    def __init__(self, path: str | os.PathLike[str], job: str) -> None:
        if not isinstance(path, str | os.PathLike) or Path(path).name in ("", ":memory:"):
            raise ConfigurationError(f"journal={path!r}: give the path of a file, which outlives the process.")
        self._path = Path(path)
        self._job = job
        self._work: queue.SimpleQueue[_Transaction | None] = queue.SimpleQueue()
        self._next = _Transaction()
        self._rows: dict[str, int] = {}
        self._last = 0
        self._intents_before = 0
        self._knows = False
        self._writing = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self.age: float = 0.0
        """For how many seconds nothing had been written to the file when it was opened."""

    async def open(self, origin: str, app_id: str) -> bool:
        """Open the file, and record its account.

        Returns:
            Whether the file knows the past of the job: `take_over` has recorded it.

        Raises:
            ConfigurationError: If the file cannot be opened, is not a journal, or belongs to another account.
        """
        self._loop = asyncio.get_running_loop()
        # A daemon, so that a program that exits without closing does not hang.
        self._thread = threading.Thread(target=self._serve, name="videoapi-journal", daemon=True)
        self._thread.start()
        now = datetime.now(UTC).isoformat(timespec="seconds")

        def begin(database: sqlite3.Connection) -> tuple[str, str] | bool:
            owner: tuple[str, str] | None = database.execute("SELECT origin, app_id FROM account").fetchone()
            if owner is None:
                database.execute("INSERT INTO account VALUES (?, ?, ?)", (origin, app_id, now))
            elif owner != (origin, app_id):
                return owner
            return database.execute("SELECT 1 FROM jobs WHERE job = ?", (self._job,)).fetchone() is not None

        found = await self._ask(begin)
        if isinstance(found, tuple):
            raise ConfigurationError(
                f"The journal {str(self._path)!r} belongs to APP_ID {found[1]} at {found[0]}, and this client "
                f"uses {app_id} at {origin}. Give each account a journal of its own. Nothing was sent."
            )
        return found

    async def take_over(self, rooms: Sequence[tuple[str, str, str]]) -> None:
        """Record the past of the job: from now on, what the file lacks was not sent.

        Args:
            rooms: The rooms that the list shows: reference, identity hash, and room ID.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")

        def write(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?)", (self._job, now))
            database.executemany(
                "INSERT INTO creates (job, reference, identity, spec, status, room_id) "
                "VALUES (?, ?, ?, ?, 'created', ?)",
                [(self._job, reference, identity, TAKEN_OVER, room_id) for reference, identity, room_id in rooms],
            )

        await self._ask(write)

    async def intend(self, reference: str, identity: str, spec: str, *, again: bool = False) -> Entry | None:
        """Record that a create is about to be sent; the record is on disk when this returns.

        Args:
            reference: The create's reference.
            identity: Hash of the name and owner_ref.
            spec: Hash of the request body, after `SENT`.
            again: Whether an earlier attempt is proven to have created no room, so that its entry is replaced.

        Returns:
            The earlier entry if it says `created` or may have been sent, which is left as it is. None if the create
            is new, or provably created no room so far.

        Raises:
            ConfigurationError: If it cannot be written; the create must not be sent.
        """
        self._check_open()
        loop = self._loop
        assert loop is not None
        intent = _Intent(reference, identity, spec, again, loop.create_future())
        self._next.intents.append(intent)
        if len(self._next.intents) == 1:
            loop.call_soon(self._write)
        try:
            entry: Entry | None = await self._answer(intent.answer)
        except asyncio.CancelledError:
            # It may be written already, and the next run must not settle it.
            intent.withdrawn = True
            self._next.withdrawn.append(intent)
            self._write_soon()
            raise
        return entry

    async def find(self, reference: str) -> Entry | None:
        """Return the entry of a create, or None."""
        return await self._ask(lambda database: self._entries(database, [reference]).get(reference))

    async def has_rooms(self, prefix: str) -> bool:
        """Return whether a self-check room with this prefix may be left."""
        query = "SELECT 1 FROM creates WHERE job = ? AND reference GLOB ? AND status IS NULL"
        pattern = (self._job, f"{prefix}*")
        return await self._ask(lambda database: database.execute(query, pattern).fetchone() is not None)

    async def forget_rooms(self, prefix: str) -> None:
        """Record that all self-check rooms with this prefix were deleted."""
        if self._thread is None:
            return

        def write(database: sqlite3.Connection) -> None:
            query = "UPDATE creates SET status = 'failed' WHERE job = ? AND reference GLOB ?"
            database.execute(query, (self._job, f"{prefix}*"))

        await self._ask(write)

    def ended(
        self,
        reference: str,
        status: EntryStatus,
        room_id: str | None = None,
        *,
        identity: str | None = None,
        spec: str | None = None,
    ) -> None:
        """Record how a create ended; written soon, and at the latest by `aclose`.

        Losing this record in a crash is harmless: the next process looks up the room.

        Args:
            reference: The create's reference.
            status: How it ended.
            room_id: The room that was created.
            identity: That of the room, if it may be another than that of the intent.
            spec: `TAKEN_OVER`, with a hash or without, for a room that an earlier run has created.
        """
        self._next.ends.append((reference, status, room_id, identity, spec))
        if len(self._next.ends) == 1:
            self._write_soon()

    async def aclose(self) -> None:
        """Write pending records and close the file; it is closed when this returns, even if cancelled.

        Raises:
            ConfigurationError: If a record could not be written.
        """
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._pass_on()
            self._work.put(None)
            await _joined(thread)
            if self._error is not None:
                raise self._problem(self._error)

    def _check_open(self) -> None:
        # Without its thread, a question waits for ever.
        if self._thread is None:
            raise self._problem(sqlite3.ProgrammingError("it is not open"))

    def _write(self) -> None:
        """Pass the next batch to the thread, unless it is writing one."""
        if not self._next or self._writing or self._thread is None or self._loop is None:
            return
        intents = len(self._next.intents)
        if intents > self._intents_before:
            # As long as each turn of the event loop brings another intent, they share the commit.
            self._intents_before = intents
            self._loop.call_soon(self._write)
            return
        self._intents_before = 0
        self._writing = True
        self._pass_on()

    def _write_soon(self) -> None:
        if not self._writing and self._loop is not None:
            self._loop.call_later(_SOON, self._write)

    def _pass_on(self) -> None:
        batch, self._next = self._next, _Transaction()
        self._work.put(batch)

    def _written(self, batch: _Transaction) -> None:
        self._writing = False
        if self._next.intents or self._next.queries:
            self._write()
        elif self._next:
            self._write_soon()
        batch.deliver()

    async def _ask(self, do: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        query = _Query(do, asyncio.get_running_loop().create_future())
        self._next.queries.append(query)
        self._write()
        result: T = await self._answer(query.answer)
        return result

    async def _answer(self, answer: asyncio.Future[Any]) -> Any:
        try:
            return await answer
        except ConfigurationError:
            raise
        except Exception as error:
            raise self._problem(error) from error

    def _problem(self, error: BaseException) -> ConfigurationError:
        what = text_of(error)
        if "locked" in what:
            what += " by another process; end it, or wait for it"
        return ConfigurationError(
            f"The journal {str(self._path)!r} cannot be written: {what}. Nothing is sent that is not recorded there."
        )

    def _serve(self) -> None:
        """Write the batches in the thread, each in one transaction."""
        database: sqlite3.Connection | None = None
        took = 0.0
        try:
            database = self._connect()
        except Exception as error:
            self._error = error
        while (batch := self._work.get()) is not None:
            if database is None:
                batch.error = self._error
            else:
                began = time.monotonic()
                batch.error = self._commit(database, batch)
                took = time.monotonic() - began
                # What no caller waits for is reported by `aclose`.
                self._error = self._error or batch.error
            # If the loop is closed, nothing waits for the results.
            with contextlib.suppress(RuntimeError):
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._written, batch)
            if took > _POLL:
                time.sleep(min(_SHARE * took, _LONGEST_PAUSE))
        if database is not None:
            database.close()

    def _commit(self, database: sqlite3.Connection, batch: _Transaction) -> Exception | None:
        """Write a batch in one transaction; return the error if that failed."""
        last = self._last
        try:
            if batch.queries:
                _when_unlocked(partial(database.execute, "BEGIN IMMEDIATE"))
            self._write_rows(database, batch)
            for query in batch.queries:
                query.result = query.do(database)
            if batch.queries:
                self._learn(database)
                database.execute("COMMIT")
        except Exception as error:
            if database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            self._last = last
            for intent in batch.intents:
                intent.written = False
                self._rows.pop(intent.reference, None)
            return error
        return None

    def _write_rows(self, database: sqlite3.Connection, batch: _Transaction) -> None:
        withdrawn: list[_End] = [
            (intent.reference, "not_sent", None, None, None) for intent in batch.withdrawn if intent.written
        ]
        ends = [
            (row, reference, _KEPT if identity is None else identity, _KEPT if spec is None else spec, *how)
            for reference, *how, identity, spec in (*batch.ends, *withdrawn)
            if (row := self._row(database, reference)) is not None
        ]
        while True:
            new = self._new(database, batch.intents)
            intents = [
                (row, intent.reference, intent.identity, intent.spec, None, None)
                for row, intent in enumerate(new, self._last + 1)
            ]
            try:
                if ends or intents:
                    _when_unlocked(partial(database.execute, _WRITE, (self._job, _json([*ends, *intents]))))
                break
            except sqlite3.IntegrityError:
                if not self._learn(database):
                    raise
        for row, intent in enumerate(new, self._last + 1):
            intent.written = True
            self._rows[intent.reference] = row
        self._last += len(new)

    def _learn(self, database: sqlite3.Connection) -> bool:
        """Note rows that others have added; return whether there are any."""
        # First the last one: those that come in between are noted again.
        last, self._last = self._last, _last_row(database)
        self._knows |= database.execute(_LEARN, (last, self._job)).rowcount > 0
        return self._last > last

    def _entries(self, database: sqlite3.Connection, references: list[str]) -> dict[str, Entry]:
        rows = database.execute(_FIND, (_json(references),)).fetchall()
        return {reference: Entry(*row) for reference, *row in rows}

    def _row(self, database: sqlite3.Connection, reference: str) -> int | None:
        """Return the row of a create: of this run, or an earlier one."""
        row = self._rows.pop(reference, None)
        if row is None:
            known = database.execute("SELECT id FROM known WHERE reference = ?", (reference,)).fetchone()
            query = "SELECT max(id) FROM creates WHERE job = ? AND reference = ?"
            (row,) = known or database.execute(query, (self._job, reference)).fetchone()
        return row

    def _new(self, database: sqlite3.Connection, intents: list[_Intent]) -> list[_Intent]:
        """Return the intents to write; others get the entry of an earlier create."""
        earlier = self._entries(database, [intent.reference for intent in intents]) if intents and self._knows else {}
        new = []
        for intent in intents:
            entry = earlier.get(intent.reference)
            is_open = entry is not None and not intent.again and entry.status in (None, "created")
            # Also not one that was found before, as another process may have ended it since.
            intent.result = entry if is_open else None
            if not is_open and not intent.withdrawn:
                new.append(intent)
        return new

    def _connect(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(
                f"journal= needs SQLite 3.24, and this Python has {sqlite3.sqlite_version}. Nothing was sent."
            )
        self.age = age_of(self._path)
        if not self._path.exists():
            # Not otherwise: it would look as if a create had just been recorded.
            self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, isolation_level=None, timeout=_LOCKED)
        try:
            is_new = self._check(database)
            # FULL: an intent must survive a power failure, not only a crash of the process.
            database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
            if is_new:
                database.executescript(_TABLES)
            database.execute(_KNOWN)
            # From now on, `_when_unlocked` waits.
            database.execute("PRAGMA busy_timeout=0")
        except BaseException:
            database.close()
            raise
        return database

    def _check(self, database: sqlite3.Connection) -> bool:
        """Refuse a file of another program before anything is written to it; return whether the file is new."""
        # In one transaction: another process may be creating the tables.
        database.execute("BEGIN")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("COMMIT")
        if tables and (application, version) != (_APPLICATION, _VERSION):
            whose = "another version of videoapi" if application == _APPLICATION else "another program"
            raise ConfigurationError(
                f"The journal {str(self._path)!r} was written by {whose}. Give the path of a new file. "
                "Nothing was sent."
            )
        return not tables


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _last_row(database: sqlite3.Connection) -> int:
    (last,) = database.execute("SELECT coalesce(max(id), 0) FROM creates").fetchone()
    return int(last)


def _when_unlocked(write: Callable[[], object]) -> None:
    """Write, after waiting for another process that writes.

    SQLite itself looks ten times a second, and misses the time between two commits of a run that has many to write.
    """
    until = time.monotonic() + _LOCKED
    while True:
        try:
            write()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(_POLL)


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
