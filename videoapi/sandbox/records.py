"""The records of all sessions: the generated history and the simulated sessions."""

import random
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import nlargest
from itertools import chain
from math import gcd
from operator import attrgetter
from typing import Generic, TypeVar

import attrs

from videoapi.sandbox.history import Generated
from videoapi.sandbox.record_templates import DAY_MS, ArchiveRow, CallRow, milliseconds
from videoapi.sandbox.responses import dump
from videoapi.sandbox.settings import Json

T = TypeVar("T", CallRow, ArchiveRow)
_AT = attrgetter("at")


@attrs.frozen
class UserConnection:
    """The time that one user spent in a simulated session."""

    name: str
    user_ref: str
    role: str
    start: datetime
    end: datetime


@attrs.frozen
class RecordQuery:
    """A query for sessions; a field that is unset matches all. `after` is the day after the last one."""

    first: date | None = None
    after: date | None = None
    room_id: str | None = None
    conf_num: str | None = None


class Records:
    """The calls and archives of a sandbox, with counts for tests to compare with. `changes` counts changes.

    Args:
        generated: The generated history.
    """

    def __init__(self, generated: Generated) -> None:
        self._generated = generated
        self.changes: int = 0
        self._rows: list[CallRow] = []
        self._items: list[ArchiveRow] = []

    def records(self, first: date, last: date) -> int:
        """Return how many call records there are from one UTC day to another, both included."""
        query = RecordQuery(first, last + timedelta(days=1))
        return self._generated.count(self._sessions(query)) + len(_matching(self._rows, query))

    def archives(self, first: date, last: date) -> int:
        """Return how many archive items there are from one UTC day to another, both included."""
        query = RecordQuery(first, last + timedelta(days=1))
        sessions = self._generated.recorded(self._sessions(query))
        return len(sessions) + len(_matching(self._items, query))

    def per_day(self) -> dict[date, int]:
        """Return the number of call records per UTC day, in order, for the days that have any."""
        generated, day = self._generated, self._generated.first_day
        days: Counter[date] = Counter()
        left = generated.calls
        while left > 0:
            found = generated.count(generated.between(day, day + timedelta(days=1)))
            left -= found
            if found:
                days[day] = found
            day += timedelta(days=1)
        for row in list(self._rows):
            days[datetime.fromtimestamp(row.at / 1000, UTC).date()] += 1
        return dict(sorted(days.items()))

    def conf_nums(self, at_most: int = 10) -> tuple[str, ...]:
        """Return the `conf_num` of up to `at_most` generated sessions, earliest first."""
        return tuple(map(self._generated.conf_num, self._generated.sessions[:at_most]))

    def room_ids(self, at_most: int = 10) -> tuple[str, ...]:
        """Return the ids of the rooms of up to `at_most` generated sessions, earliest first."""
        rooms = (next(self._generated.rows(place)).room_id for place in self._generated.sessions[:at_most])
        return tuple(dict.fromkeys(rooms))

    def add(
        self,
        room_id: str,
        conf_num: str,
        calls: Sequence[UserConnection],
        *,
        details: Json,
        ids: Sequence[str],
        recorded: bool,
        files: bool,
    ) -> None:
        """Add a session that has ended."""
        self.changes += 1
        name, shown = dump(details["name"]).decode(), dump(details).decode()
        for place, call in enumerate(calls):
            row = CallRow(
                at=milliseconds(call.end),
                conf_num=conf_num,
                room_id=room_id,
                room_name_json=name,
                details_json=shown,
                connected=milliseconds(call.start),
                left=milliseconds(call.end),
                role=call.role,
                name_json=dump(call.name).decode(),
                ref_json=dump(call.user_ref).decode(),
                call_num=ids[2 * place],
                call_log_id=ids[2 * place][::-1],
                cdr_id=ids[2 * place + 1],
                random_bits=random.Random(ids[2 * place]).getrandbits(64),  # noqa: S311 - made-up figures
            )
            insort(self._rows, row, key=_AT)
        if recorded and calls:
            at = max(milliseconds(call.end) for call in calls)
            item = ArchiveRow(at, conf_num, room_id, ids[-1], min(len(calls), 4) if files else 0)
            insort(self._items, item, key=_AT)

    def latest_calls(self, at_most: int) -> list[CallRow]:
        """Return the newest call records, newest first."""
        generated = self._generated
        made = chain.from_iterable(map(generated.rows, generated.sessions[-at_most:]))
        return nlargest(at_most, chain(self._rows[-at_most:], made), key=_AT)

    def latest_archives(self, at_most: int) -> list[ArchiveRow]:
        """Return the newest archive items, newest first."""
        generated = self._generated
        made = chain.from_iterable(map(generated.items, generated.recorded(generated.sessions)[-at_most:]))
        return nlargest(at_most, chain(self._items[-at_most:], made), key=_AT)

    def totals(self) -> tuple[int, int]:
        """Return how many call records and archive items there are."""
        generated = self._generated
        return generated.calls + len(self._rows), len(generated.recorded(generated.sessions)) + len(self._items)

    def clear(self) -> None:
        """Forget the simulated sessions; the generated history stays."""
        self.changes += 1
        self._rows.clear()
        self._items.clear()

    def item(self, conf_num: str) -> ArchiveRow | None:
        """Return the archive of a session, if it has one."""
        return next(iter(self.recordings(RecordQuery(conf_num=conf_num), "ascending")), None)

    def latest_session(self, room_id: str, *, recorded: bool = False) -> str | None:
        """Return the `conf_num` of the latest session of a room that has ended, or of the latest that was recorded."""
        query = RecordQuery(room_id=room_id)
        found: Iterator[CallRow | ArchiveRow]
        found = iter(self.recordings(query, "descending") if recorded else self.calls(query, "descending"))
        newest = next(found, None)
        return None if newest is None else newest.conf_num

    def calls(self, query: RecordQuery, order: str) -> "MatchedRecords[CallRow]":
        """Return the call records that match a query, in an order of the `cdr_order` switch."""
        generated = self._generated
        sessions = self._sessions(query)
        rows = _matching(self._rows, query)
        size = generated.count(sessions) + len(rows)
        return MatchedRecords(sessions, rows, order, generated.ended, generated.rows, size)

    def recordings(self, query: RecordQuery, order: str) -> "MatchedRecords[ArchiveRow]":
        """Return the archive items that match a query, in an order of the `cdr_order` switch."""
        generated = self._generated
        sessions = generated.recorded(self._sessions(query))
        items = _matching(self._items, query)
        size = len(sessions) + len(items)
        return MatchedRecords(sessions, items, order, generated.ended, generated.items, size)

    def _sessions(self, query: RecordQuery) -> range:
        generated = self._generated
        if query.conf_num is not None:
            return generated.session(query.conf_num)
        sessions = generated.sessions
        if query.first is not None and query.after is not None:
            sessions = generated.between(query.first, query.after)
        return sessions if query.room_id is None else generated.in_room(query.room_id, sessions)


@attrs.frozen
class MatchedRecords(Generic[T]):
    """The rows or items that match a query, computed while they are iterated.

    Args:
        sessions: The generated sessions.
        saved: The rows or items of simulated sessions, ascending.
        order: `ascending`, `descending` or `shuffled`.
        ended: Returns when a generated session ended, in milliseconds since 1970.
        made: Returns the rows or items of a generated session.
        size: The total number of rows or items.
    """

    sessions: range
    saved: Sequence[T]
    order: str
    ended: Callable[[int], int]
    made: Callable[[int], Iterator[T]]
    size: int

    def __iter__(self) -> Iterator[T]:
        """Iterate over the rows or items."""
        if self.order == "shuffled":
            yield from self._shuffled()
        elif self.order == "descending":
            for part in reversed(self._parts()):
                if isinstance(part, range):
                    for session in reversed(part):
                        yield from reversed(list(self.made(session)))
                else:
                    yield part
        else:
            for part in self._parts():
                if isinstance(part, range):
                    for session in part:
                        yield from self.made(session)
                else:
                    yield part

    def _parts(self) -> list[range | T]:
        parts: list[range | T] = []
        rest = self.sessions
        for one in self.saved:
            place = bisect_right(rest, one.at, key=self.ended)
            parts += [rest[:place], one]
            rest = rest[place:]
        parts.append(rest)
        return parts

    def _shuffled(self) -> Iterator[T]:
        # A step coprime to the number visits each index once, without storing anything.
        number = len(self.sessions) + len(self.saved)
        if not number:
            return
        step = next(step for step in range(number * 5 // 8 | 1, 2 * number + 2, 2) if gcd(step, number) == 1)
        for turn in range(number):
            place = (number // 3 + turn * step) % number
            if place < len(self.sessions):
                yield from reversed(list(self.made(self.sessions[place])))
            else:
                yield self.saved[place - len(self.sessions)]


def _matching(saved: Sequence[T], query: RecordQuery) -> list[T]:
    first = _start(query.first)
    after = _start(query.after)
    return [
        one
        for one in list(saved)
        if (first is None or one.at >= first)
        and (after is None or one.at < after)
        and query.room_id in (None, one.room_id)
        and query.conf_num in (None, one.conf_num)
    ]


def _start(day: date | None) -> int | None:
    return None if day is None else (day - date(1970, 1, 1)).days * DAY_MS
