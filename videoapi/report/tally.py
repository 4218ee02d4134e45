"""A usage of any number of rows in bounded memory: what grows with them is kept in a temporary database."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Container, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Final, Self

import attrs

from videoapi.report.calendar import Calendar
from videoapi.report.rows import TIMES, UsageRow, is_identified
from videoapi.report.usage import GROUPS, SessionSpan, Sums, UsageSums, connected_ms

KEPT: Final = 20_000
"""How many sessions, and how many rooms, owners, users or roles, are in memory at most."""
_AT_ONCE: Final = 5_000

_TABLES: Final = """
CREATE TABLE sessions (
  number TEXT PRIMARY KEY, start INTEGER, end INTEGER, at INTEGER, room TEXT, owner TEXT, name TEXT
) WITHOUT ROWID;
CREATE TABLE sums (
  kind TEXT, key TEXT, records INTEGER, user_ms INTEGER, counted_ms INTEGER, counted INTEGER, sessions INTEGER,
  room_ms INTEGER, name TEXT, named INTEGER, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE seen (id INTEGER, digest INTEGER, user_ms INTEGER);
"""
# min() and max() of two values are NULL if one of them is.
_JOIN: Final = """
INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  start = min(coalesce(start, excluded.start), coalesce(excluded.start, start)),
  end = max(coalesce(end, excluded.end), coalesce(excluded.end, end)),
  at = max(coalesce(at, excluded.at), coalesce(excluded.at, at)),
  room = max(room, excluded.room), owner = max(owner, excluded.owner), name = max(name, excluded.name)
"""
_ADD: Final = """
INSERT INTO sums VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  records = records + excluded.records, user_ms = user_ms + excluded.user_ms,
  counted_ms = counted_ms + excluded.counted_ms, counted = counted + excluded.counted,
  sessions = sessions + excluded.sessions, room_ms = room_ms + excluded.room_ms,
  name = CASE WHEN (excluded.named, excluded.name) > (named, name) THEN excluded.name ELSE name END,
  named = max(named, excluded.named)
"""
# In the outer query, the ID of records that have none is NULL, which is not counted.
_REPEATS: Final = """
SELECT sum(records - 1), sum((records - 1) * user_ms), count(id) - count(DISTINCT id)
FROM (SELECT id, count(*) AS records, min(user_ms) AS user_ms FROM seen GROUP BY id, digest)
"""
_SUMS: Final = "records, user_ms, counted_ms, counted, sessions, room_ms, name, named"


@attrs.frozen
class Leaders:
    """The largest sums of a group.

    Args:
        top: Their keys and sums, the largest first.
        others: How many other keys there are.
        rest: What these add up to.
    """

    top: tuple[tuple[str, Sums], ...]
    others: int
    rest: Sums


@attrs.frozen
class Repeats:
    """Records that are there more than once.

    Args:
        records: How many records have the same values as an earlier one.
        user_ms: How long users were connected by these records, in milliseconds.
        same_id: How many records have the ID of an earlier one, and other values.
    """

    records: int
    user_ms: int
    same_id: int


class Tally:
    """A usage that is added to in bounded memory. Use it as a context manager.

    Its block raises an `OSError` if the temporary database cannot be written.

    Args:
        calendar: Says on which day and in which hour a time is.
        kept: How many sessions, and how many keys of a group, are in memory at most.
    """

    def __init__(self, calendar: Calendar, *, kept: int = KEPT) -> None:
        self.usage: UsageSums = UsageSums(calendar)
        self._kept = kept
        self._marked: UsageSums | None = None
        # A database without a name is a file that is deleted already; up to its cache, it stays in memory.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise OSError(
                errno.ENOSPC, f"Cannot write a temporary file ({error}). Set TMPDIR to a folder with more space"
            ) from None

    def add(self, rows: Iterable[UsageRow], times: Container[str] = TIMES) -> None:
        """Add rows; `times` are those of `TIMES` that their source has."""
        rows = iter(rows)
        while part := list(islice(rows, _AT_ONCE)):
            self.usage.add(part, times)
            # Within one process, the hash of a row or a text is a digest of 64 bits.
            self._database.executemany(
                "INSERT INTO seen VALUES (?, ?, ?)",
                [
                    (None if row[0] is None else hash(row[0]), hash(row), connected_ms(row.user_seconds) or 0)
                    for row in part
                    if is_identified(row)
                ],
            )
            self._spill(self._kept)

    def mark(self) -> None:
        """Remember what was added so far, so that `rewind` can return to it."""
        if self._marked is not None:
            self._database.execute("RELEASE marked")
        self._spill(0)
        self._database.execute("SAVEPOINT marked")
        self._marked = self.usage.copy()

    def rewind(self) -> None:
        """Forget what was added since the last `mark`; without one, everything."""
        if self._marked is None:
            self.usage = UsageSums(self.usage.calendar)
            for table in ("sessions", "sums", "seen"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
            return
        self._database.execute("ROLLBACK TO marked")
        self.usage = self._marked.copy()

    def close_sessions(self) -> None:
        """Add what all sessions add up to; no row may be added later."""
        self._spill(0)
        sessions = self._database.execute("SELECT start, end, at, room, owner, name FROM sessions")
        while part := sessions.fetchmany(_AT_ONCE):
            self.usage.close(SessionSpan(*row) for row in part)
            self._spill(self._kept)
        self._spill(0)

    def count(self, group: str) -> int:
        """Return how many keys a group has, without the empty one."""
        found: int = self._one("SELECT count(*) FROM sums WHERE kind = ? AND key <> ''", group)
        return found

    def leaders(self, group: str, most: int | None) -> Leaders:
        """Return the keys of a group with the most minutes, and what all others add up to. Call `close_sessions` first.

        Args:
            group: One of `GROUPS`.
            most: How many keys, or None for all.
        """
        found = self._database.execute(
            f"SELECT key, {_SUMS} FROM sums WHERE kind = ? ORDER BY user_ms DESC, records DESC, key LIMIT ?",  # noqa: S608
            (group, -1 if most is None else most),
        )
        top = tuple((key, Sums(*sums)) for key, *sums in found)
        rest = Sums()
        rest.add(self.usage.total)
        for _, sums in top:
            rest.records -= sums.records
            rest.user_ms -= sums.user_ms
            rest.counted_ms -= sums.counted_ms
            rest.counted -= sums.counted
            rest.sessions -= sums.sessions
            rest.room_ms -= sums.room_ms
        every: int = self._one("SELECT count(*) FROM sums WHERE kind = ?", group)
        return Leaders(top, every - len(top), rest)

    def repeats(self) -> Repeats:
        """Return how many records are there more than once."""
        return Repeats(*(count or 0 for count in self._database.execute(_REPEATS).fetchone()))

    def _one(self, query: str, *values: object) -> int:
        return int(self._database.execute(query, values).fetchone()[0])

    def _spill(self, kept: int) -> None:
        """Move sessions and groups with more than a number of entries to the database."""
        usage = self.usage
        if len(usage.sessions) > kept:
            self._database.executemany(_JOIN, ((number, *session) for number, session in usage.sessions.items()))
            usage.sessions.clear()
        for name in GROUPS:
            group = usage.groups[name]
            if len(group) > kept:
                self._database.executemany(_ADD, _rows(name, group))
                group.clear()


def _rows(kind: str, group: dict[str, Sums]) -> Iterator[tuple[object, ...]]:
    for key, sums in group.items():
        yield (
            *(kind, key, sums.records, sums.user_ms, sums.counted_ms, sums.counted),
            *(sums.sessions, sums.room_ms, sums.name, sums.named),
        )
