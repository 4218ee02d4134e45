"""Usage: what rows add up to, in any order and in any number of parts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import attrs

from videoapi.creation.references import is_reference
from videoapi.report.calendar import Calendar
from videoapi.report.rows import TIMES, UsageRow

MOST_MS: Final = 31 * 86_400_000
"""The longest connection or session that is added up, in milliseconds: one that is longer was not ended properly."""
_MOST_SECONDS: Final = MOST_MS / 1000
_MOST_MINUTES: Final = MOST_MS / 60_000
GROUPS: Final = ("room", "owner_ref", "user", "role")
GRADES: Final = ("good", "bad", "other", "not measured")
"""What becomes of a quality in words. The service's words other than Good and Bad are unknown."""

# The service repeats the same few words in nearly all records.
_MOST_GRADED: Final = 1_000
_graded: Final[dict[tuple[str | None, ...], tuple[int, ...]]] = {}
_GRADE: Final[dict[str | None, int]] = {"good": 0, "bad": 1, None: 3, "": 3}


@attrs.define
class Sums:
    """What some records add up to.

    Args:
        records: The number of records.
        user_ms: How long users were connected, in milliseconds.
        counted_ms: The minutes that the service counts, in milliseconds.
        counted: The number of records with such minutes.
        sessions: The number of sessions.
        room_ms: How long the sessions lasted, in milliseconds.
        name: A name for them, such as that of a room: the latest, if there are several.
        named: When it was the name, in milliseconds since 1970.
    """

    records: int = 0
    user_ms: int = 0
    counted_ms: int = 0
    counted: int = 0
    sessions: int = 0
    room_ms: int = 0
    name: str = ""
    named: int = -1

    def add(self, other: Sums) -> None:
        """Add the others."""
        self.records += other.records
        self.user_ms += other.user_ms
        self.counted_ms += other.counted_ms
        self.counted += other.counted
        self.sessions += other.sessions
        self.room_ms += other.room_ms
        self.call(other.name, other.named)

    def call(self, name: str, at: int) -> None:
        """Set the name that they had at a time, unless a later one is known."""
        if (at, name) > (self.named, self.name):
            self.name, self.named = name, at


class SessionSpan(NamedTuple):
    """A session, as far as its records show it. Times are milliseconds since 1970.

    Args:
        start: Its earliest start, or None.
        end: Its latest end, or None.
        at: When its latest record was created, or None.
        room_id: Its room; empty if unknown.
        owner_ref: Your reference of the room; empty if unknown.
        room_name: The room's name; empty if unknown.
    """

    start: int | None
    end: int | None
    at: int | None
    room_id: str
    owner_ref: str
    room_name: str

    def joined(self, other: SessionSpan) -> SessionSpan:
        """Return the session of which both are parts."""
        return SessionSpan(
            _least(self.start, other.start),
            _most(self.end, other.end),
            _most(self.at, other.at),
            max(self.room_id, other.room_id),
            max(self.owner_ref, other.owner_ref),
            max(self.room_name, other.room_name),
        )


@attrs.define
class UsageSums:
    """What rows add up to.

    Two usages of different rows, merged, are the usage of all rows. What grows with the rows is in `sessions` and
    `groups`, from which others may take entries away and keep them elsewhere.

    Args:
        calendar: Says on which day and in which hour a time is.
        total: The sums of all rows.
        days: The sums by day; None for rows without a readable time.
        hours: How many connections began in each hour of the week, from Monday.
        quality: How many rows have which grades, each as an index of `GRADES`, in the order of `QUALITY`.
        good_percent: The sum of the percentages, in thousandths.
        good_rows: The number of rows with a percentage.
        odd: How many rows, or sessions, are unusual, by what is; of `TIMES`, how many lack one that they must have.
        sessions: The sessions that are not closed, by their number.
        groups: The sums by room, owner reference, user and role; an empty key is for rows without one.
    """

    calendar: Calendar = attrs.field(factory=Calendar)
    total: Sums = attrs.field(factory=Sums)
    days: dict[int | None, Sums] = attrs.field(factory=dict)
    hours: list[int] = attrs.field(factory=lambda: [0] * 168)
    quality: Counter[tuple[int, ...]] = attrs.field(factory=Counter)
    good_percent: int = 0
    good_rows: int = 0
    odd: Counter[str] = attrs.field(factory=Counter)
    sessions: dict[str, SessionSpan] = attrs.field(factory=dict)
    groups: dict[str, dict[str, Sums]] = attrs.field(factory=lambda: {name: {} for name in GROUPS})

    def add(self, rows: Iterable[UsageRow], times: Container[str] = TIMES) -> None:
        """Add rows.

        Args:
            rows: The rows.
            times: Which of `TIMES` their source has.
        """
        has_from, has_to = TIMES[3] in times, TIMES[4] in times
        place, odd, hours, sessions = self.calendar.place, self.odd, self.hours, self.sessions
        groups = cast("tuple[dict[Any, Sums], ...]", (self.days, *(self.groups[name] for name in GROUPS)))
        rooms, total = self.groups["room"], self.total
        for row in rows:
            (_, conf_num, room_id, room_name, owner_ref, user_ref, role, at, start, end, user_from, user_to, seconds,
             room_seconds, minutes, percent, quality) = row  # fmt: skip
            if owner_ref is None or is_reference(owner_ref):
                # A room that was created without an owner_ref has a reference of the client, which is not a customer's.
                owner_ref = ""
            counted_ms = counted = 0
            user_ms = connected_ms(seconds)
            if user_ms is None:
                if seconds is not None:
                    odd["minutes_impossible"] += 1
                else:
                    # A user who is still connected has no duration yet: nothing is lost.
                    odd["still_connected" if user_to is None and end is None else "without_minutes"] += 1
                user_ms = 0
            if None in (at, start, end, user_from, user_to):
                odd[TIMES[0]] += at is None
                if seconds is not None or user_to is not None or end is not None:
                    odd[TIMES[1]] += start is None
                    # The session may still run after a user has left.
                    odd[TIMES[2]] += end is None and room_seconds is not None
                    odd[TIMES[3]] += has_from and user_from is None
                    odd[TIMES[4]] += has_to and user_to is None
            if minutes is not None:
                if 0 <= minutes <= _MOST_MINUTES:
                    counted_ms, counted = round(minutes * 60_000), 1
                else:
                    odd["counted_impossible"] += 1
            if at is None:
                odd["without_day"] += 1
                day = None
            else:
                day = place(at).day
            for group, key in zip(groups, (day, room_id or "", owner_ref, user_ref or "", role or ""), strict=True):
                sums = group.get(key)
                if sums is None:
                    group[key] = sums = Sums()
                sums.records += 1
                sums.user_ms += user_ms
                sums.counted_ms += counted_ms
                sums.counted += counted
            total.records += 1
            total.user_ms += user_ms
            total.counted_ms += counted_ms
            total.counted += counted
            if room_name and room_id:
                rooms[room_id].call(room_name, at or 0)
            if user_from is None:
                odd["without_start"] += 1
            else:
                hours[place(user_from).hour] += 1
            if user_to is None:
                odd["unfinished"] += 1
            elif user_from is not None and user_to < user_from:
                odd["ends_before_start"] += 1
            if not room_id:
                odd["without_room"] += 1
            if not owner_ref:
                odd["without_owner_ref"] += 1
            if not user_ref:
                odd["without_user_ref"] += 1
            self._grade(quality, percent)
            if not conf_num:
                odd["without_session"] += 1
                continue
            session = SessionSpan(start, end, at, room_id or "", owner_ref, room_name or "")
            known = sessions.get(conf_num)
            sessions[conf_num] = session if known is None else known.joined(session)

    def close(self, sessions: Iterable[SessionSpan]) -> None:
        """Add sessions of which all rows were added."""
        rooms, owners = self.groups["room"], self.groups["owner_ref"]
        for session in sessions:
            length = 0
            if session.start is None or session.end is None:
                self.odd["session_without_times"] += 1
            elif not 0 <= (length := session.end - session.start) <= MOST_MS:
                self.odd["session_impossible"] += 1
                length = 0
            day = None if session.at is None else self.calendar.place(session.at).day
            for sums in (
                self.total,
                self.days.setdefault(day, Sums()),
                rooms.setdefault(session.room_id, Sums()),
                owners.setdefault(session.owner_ref, Sums()),
            ):
                sums.sessions += 1
                sums.room_ms += length

    def merge(self, other: UsageSums) -> None:
        """Add the usage of other rows."""
        self.total.add(other.total)
        _add_all(self.days, other.days)
        self.hours[:] = map(sum, zip(self.hours, other.hours, strict=True))
        self.quality.update(other.quality)
        self.good_percent += other.good_percent
        self.good_rows += other.good_rows
        self.odd.update(other.odd)
        for number, session in other.sessions.items():
            known = self.sessions.get(number)
            self.sessions[number] = session if known is None else known.joined(session)
        for name, group in other.groups.items():
            _add_all(self.groups[name], group)

    def copy(self) -> UsageSums:
        """Return a usage with the same rows."""
        copied = UsageSums(self.calendar)
        copied.merge(self)
        return copied

    def _grade(self, quality: tuple[str | None, ...], percent: float | None) -> None:
        graded = _graded.get(quality)
        if graded is None:
            graded = tuple(map(_grade_of, quality))
            if len(_graded) >= _MOST_GRADED:
                _graded.clear()
            _graded[quality] = graded
        self.quality[graded] += 1
        if percent is not None:
            if 0 <= percent <= 100:
                self.good_percent += round(percent * 1000)
                self.good_rows += 1
            else:
                self.odd["percent_impossible"] += 1


def connected_ms(seconds: float | None) -> int | None:
    """Return how long a connection is counted, in milliseconds; None if its duration is unknown or impossible."""
    return round(seconds * 1000) if seconds is not None and 0 <= seconds <= _MOST_SECONDS else None


def grades(quality: Counter[tuple[int, ...]]) -> Iterator[Counter[int]]:
    """Yield how many rows have which grade, for each of the columns of `QUALITY`."""
    for column in zip(*quality, strict=True):
        counts: Counter[int] = Counter()
        for grade, count in zip(column, quality.values(), strict=True):
            counts[grade] += count
        yield counts


def _grade_of(word: str | None) -> int:
    return _GRADE.get(word if word is None else word.strip().lower(), 2)


def _add_all(sums: dict[Any, Sums], others: Mapping[Any, Sums]) -> None:
    for key, other in others.items():
        known = sums.get(key)
        if known is None:
            sums[key] = known = Sums()
        known.add(other)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
