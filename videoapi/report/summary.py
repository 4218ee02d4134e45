"""The figures of a report, as values: totals, days, hours, groups, quality, recordings, and what is odd. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import attrs

from videoapi.arrow.periods import LATE_DAYS, moment
from videoapi.models.flat import SOURCES
from videoapi.report.calendar import ReportPeriod
from videoapi.report.odd import INCOMPLETE, ODD
from videoapi.report.recordings import KINDS, Recordings
from videoapi.report.rows import QUALITY, TIMES
from videoapi.report.tally import Leaders, Tally
from videoapi.report.usage import GRADES, Sums, UsageSums, grades

SERVICE: Final = "the service"
"""The source of a report that is not made from an export."""
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WITH_SESSIONS: Final = ("room", "owner_ref")
"""The groups that have sessions of their own: users share them, so their minutes cannot be added up over users."""
_NONE: Final[Mapping[str, int]] = {}


@attrs.frozen
class Figures:
    """What some records add up to. Figures of sessions are None where they cannot be added up.

    Args:
        records: The number of call records: connections of users.
        participant_minutes: How long users were connected.
        counted_minutes: The minutes that the service counts (`usage.connect_minutes`); None if no record has them.
        sessions: The number of sessions.
        room_minutes: How long the sessions lasted, each once.
    """

    records: int
    participant_minutes: float
    counted_minutes: float | None
    sessions: int | None
    room_minutes: float | None

    @classmethod
    def of(cls, sums: Sums, *, sessions: bool = True) -> Figures:
        """Return sums as figures, in minutes."""
        return cls(
            records=sums.records,
            participant_minutes=sums.user_ms / 60_000,
            counted_minutes=sums.counted_ms / 60_000 if sums.counted else None,
            sessions=sums.sessions if sessions else None,
            room_minutes=sums.room_ms / 60_000 if sessions else None,
        )


@attrs.frozen
class GroupEntry:
    """One row of a group: a room, an owner, a user or a role.

    Args:
        key: Its ID or reference; empty for records without one.
        name: Its name; empty if it has none.
        figures: What its records add up to.
    """

    key: str
    name: str
    figures: Figures


@attrs.frozen
class Group:
    """The largest entries of a group, and all others as one.

    Args:
        entries: The entries, those with the most participant minutes first.
        others: How many other entries there are.
        rest: What these add up to.
    """

    entries: tuple[GroupEntry, ...]
    others: int
    rest: Figures


@attrs.frozen
class Quality:
    """The qualities of one kind of media in one direction: the number of records by grade.

    Args:
        direction: `send` or `receive`.
        media: `video`, `audio` or `sharing`.
        counts: The number of records by grade, in the order of `GRADES`.
    """

    direction: str
    media: str
    counts: tuple[int, ...]

    @property
    def measured(self) -> int:
        """The number of records with a grade."""
        return sum(self.counts[:-1])


@attrs.frozen
class MissingDays:
    """Days in UTC of the period that an export does not have, as its folder or its state says.

    Args:
        records: `cdr` or `archives`.
        first: The first of them.
        last: The last of them.
    """

    records: str
    first: date
    last: date


@attrs.frozen(kw_only=True)
class UsageSummary:
    """The figures of a report.

    Args:
        period: The days; None if no record has a readable time.
        timezone: The time zone of days and hours.
        source: Where the records come from.
        scope: The room or the session to which the report is limited; empty for all.
        total: The figures of all records.
        counted_records: The number of records that have service-counted minutes.
        rooms: The number of rooms with a record.
        owners: The number of owner references with a record.
        users: The number of user references with a record.
        days: The figures of each day of the period, also those without a record.
        undated: The figures of the records without a readable time.
        hours: The number of connections begun, by weekday from Monday, and by hour.
        groups: The groups, by name.
        quality: The qualities, by direction and kind of media.
        good_percent: The mean share of the time with a good bit rate of the video received; None without any.
        recordings: What the archives add up to, or None if they were not read.
        archives_refused: Why the service refused the archives; empty if it did not.
        odd: How many records, sessions, archives or fields are odd, by what is; None if the source does not show it.
        uncertain: Of which numbers of `odd` it is not known whether all that they count belongs to the report.
        repeated_minutes: The participant minutes of the records that repeat an earlier one.
        missing: The days in UTC that the exports do not have.
        unstated: Which exports do not say their days: `cdr`, `archives`.
        untimed: Which others do not say when they were made: `cdr`, `archives`.
        changed: Which of these have changed since they were made.
        partial: Which exports are folders without a manifest: `cdr`, `archives`.
        days_in_utc: The days in UTC that contain those of the period; None without a period.
        unfinished: The days of the period that had not ended when the records were read from the service; None if all
            had.
        unknown: The days without a record that the source does not have, at least not as a whole, as far as is known.
        unknown_archives: The same days for archives.
        partly_known: The days with records of which the source lacks a part.
        open_days: The days in UTC to which the service may have added records since; None if to none.
        as_of: The first and the last time, in UTC, at which the records of the period were exported, or requested from
            the service; None if an export does not say it.
    """

    period: ReportPeriod | None
    timezone: str
    source: str
    scope: str
    total: Figures
    counted_records: int
    rooms: int
    owners: int
    users: int
    days: tuple[tuple[date, Figures], ...]
    undated: Figures
    hours: tuple[tuple[int, ...], ...]
    groups: dict[str, Group]
    quality: tuple[Quality, ...]
    good_percent: float | None
    recordings: Recordings | None
    odd: dict[str, int | None]
    archives_refused: str = ""
    uncertain: frozenset[str] = frozenset()
    repeated_minutes: float = 0.0
    missing: tuple[MissingDays, ...] = ()
    unstated: tuple[str, ...] = ()
    untimed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    days_in_utc: ReportPeriod | None = None
    unfinished: ReportPeriod | None = None
    unknown: frozenset[date] = frozenset()
    unknown_archives: frozenset[date] = frozenset()
    partly_known: frozenset[date] = frozenset()
    open_days: ReportPeriod | None = None
    as_of: tuple[datetime, datetime] | None = None

    @property
    def is_live(self) -> bool:
        """Whether the records come from the service, not from an export."""
        return self.source == SERVICE

    @property
    def final_from(self) -> date | None:
        """The day in UTC from which on no more records are expected; None if that day has passed."""
        if self.open_days is None or (date.max - self.open_days.last).days <= LATE_DAYS:
            return None
        return self.open_days.last + timedelta(LATE_DAYS + 1)

    @property
    def without_minutes(self) -> int:
        """The number of records that are not in the participant minutes."""
        return self.lost_minutes + (self.odd["still_connected"] or 0)

    @property
    def lost_minutes(self) -> int:
        """The number of records that should be in the participant minutes, and are not."""
        return (self.odd["without_minutes"] or 0) + (self.odd["minutes_impossible"] or 0)

    @property
    def is_complete(self) -> bool | None:
        """Whether nothing is missing or repeated; None if an export does not say whether it has all of each day.

        Records that share an ID and differ, `same_id`, leave it as it is: they may be two records. So do those that end
        before they start, whose minutes are those of their duration.
        """
        is_short = self.missing or self.partial or self.archives_refused or self.unfinished is not None
        if is_short or any(self.odd[name] for name in INCOMPLETE):
            return False
        return None if self.unstated or self.untimed else True

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of the period."""
        return not self.total.records and bool(self.days) and len(self.unknown) == len(self.days)

    def with_gaps(
        self, records: Container[date], archives: Container[date] = (), lacking: Container[date] = ()
    ) -> UsageSummary:
        """Return the summary in which the days without a record are unknown, not empty, if the source lacks them.

        Args:
            records: The days whose call records the source does not have, at least not all of them.
            archives: The same for archives.
            lacking: The days of which the source says that it lacks call records.
        """
        counts = Counter[int | None]() if self.recordings is None else self.recordings.days
        return attrs.evolve(
            self,
            unknown=frozenset(day for day, one in self.days if day in records and not one.records),
            partly_known=frozenset(day for day, one in self.days if day in lacking and one.records),
            unknown_archives=frozenset(day for day, _ in self.days if day in archives and not counts[day.toordinal()]),
        )

    def per_day(self) -> list[tuple[date, Figures | None]]:
        """Return the figures of each day; None for one that is unknown."""
        return [(day, None if day in self.unknown else figures) for day, figures in self.days]

    def archives_per_day(self) -> list[tuple[date, int | None]]:
        """Return the number of archives of each day; None for one that is unknown."""
        counts = Counter[int | None]() if self.recordings is None else self.recordings.days
        return [(day, None if day in self.unknown_archives else counts[day.toordinal()]) for day, _ in self.days]

    def months(self) -> list[tuple[str, Figures | None]]:
        """Return the figures by month, from those of the days that are known; None for a month without any."""
        found: dict[str, list[Figures]] = {}
        for day, figures in self.per_day():
            known = found.setdefault(f"{day}"[:7], [])
            if figures is not None:
                known.append(figures)
        return [(month, _total(figures) if figures else None) for month, figures in found.items()]

    def weekdays(self) -> list[int]:
        """Return how many known days of each weekday the period has, from Monday."""
        counts = Counter(day.weekday() for day, figures in self.per_day() if figures is not None)
        return [counts[weekday] for weekday in range(7)]

    def hour_averages(self) -> dict[tuple[int, int], float]:
        """Return the average number of connections begun in each hour of the weekdays of which a day is known.

        The keys are a weekday from Monday, and an hour. Sums do not compare: a month has five of some weekdays.
        """
        return {
            (weekday, hour): count / days
            for weekday, (row, days) in enumerate(zip(self.hours, self.weekdays(), strict=True))
            if days
            for hour, count in enumerate(row)
        }

    def per_hour(self) -> list[list[int | None]]:
        """Return `hours` with None for 0 on weekdays of which no day is known.

        A connection is on the day of its record, which may be the one after it began: a weekday of which no day is
        known can have some.
        """
        return [
            [count if count or days else None for count in row]
            for row, days in zip(self.hours, self.weekdays(), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as values for JSON. Minutes are rounded to a thousandth."""
        recordings = self.recordings
        totals = {
            **_figures(self.total),
            "counted_records": self.counted_records,
            "rooms": self.rooms,
            "owner_refs": self.owners,
            "users": self.users,
        }
        return {
            "period": _span(self.period),
            "complete": self.is_complete,
            "unfinished_days": _span(self.unfinished),
            "open_days": _span(self.open_days),
            "final_from": None if self.final_from is None else f"{self.final_from}",
            "as_of": None if self.as_of is None else dict(zip(("first", "last"), map(moment, self.as_of), strict=True)),
            "timezone": self.timezone,
            "source": self.source,
            "scope": self.scope or None,
            "missing_days": [
                {"records": days.records, "first": f"{days.first}", "last": f"{days.last}"} for days in self.missing
            ],
            "unstated_days": list(self.unstated),
            "untimed_exports": list(self.untimed),
            "partial_exports": list(self.partial),
            "totals": {name: None if self.is_unknown else value for name, value in totals.items()},
            "days": [
                {"day": f"{day}", **(_UNKNOWN if figures is None else _figures(figures))}
                for day, figures in self.per_day()
            ],
            "partly_known_days": [f"{day}" for day in sorted(self.partly_known)],
            "undated": _figures(self.undated),
            "hours": dict(zip(WEEKDAYS, self.per_hour(), strict=True)),
            "weekday_days": dict(zip(WEEKDAYS, self.weekdays(), strict=True)),
            "groups": {
                name: {
                    "entries": [
                        {"key": entry.key or None, "name": entry.name or None, **_figures(entry.figures)}
                        for entry in group.entries
                    ],
                    "others": group.others,
                    "rest": _figures(group.rest),
                }
                for name, group in self.groups.items()
            },
            "quality": [
                {
                    "direction": one.direction,
                    "media": one.media,
                    **{grade.replace(" ", "_"): count for grade, count in zip(GRADES, one.counts, strict=True)},
                }
                for one in self.quality
            ],
            "good_percent": None if self.good_percent is None else round(self.good_percent, 3),
            "recordings": None
            if recordings is None
            else {
                "archives": recordings.archives,
                "files": {kind: recordings.files[kind] for kind in KINDS},
                "days": [{"day": f"{day}", "archives": count} for day, count in self.archives_per_day() if count != 0],
                "without_files": recordings.empty,
                "undated": recordings.days[None],
            },
            "archives_refused": self.archives_refused or None,
            "odd": self.odd,
            "uncertain": [name for name, count in self.odd.items() if count and name in self.uncertain],
            "repeated_minutes": round(self.repeated_minutes, 3),
        }


def summarize(
    tally: Tally,
    *,
    period: ReportPeriod | None,
    timezone: str,
    source: str,
    scope: str = "",
    groups: Sequence[str] = ("owner_ref", "room"),
    top: int | None = 20,
    recordings: Recordings | None = None,
    archives_refused: str = "",
    unreadable: int = 0,
    unreadable_values: Mapping[str, int] = _NONE,
    odd_fields: int | None = 0,
    outside: int = 0,
    unknown_scope: int = 0,
    uncertain: frozenset[str] = frozenset(),
) -> UsageSummary:
    """Return the figures of all rows of a tally, whose sessions are closed by this.

    Args:
        tally: The rows.
        period: The days of the report; None for those from the first to the last record or archive.
        timezone: The time zone of the tally's calendar.
        source: Where the records come from.
        scope: The room or the session to which they are limited.
        groups: The groups to list, of `GROUPS`.
        top: How many entries of a group to list, or None for all; the others are summed up.
        recordings: What the archives add up to, or None if they were not read.
        archives_refused: Why the service refused the archives; empty if it did not.
        unreadable: The number of records that cannot be read.
        unreadable_values: How many records have a value that cannot be read, by field or part.
        odd_fields: The number of fields of an unexpected type; None if the source does not show it.
        outside: The number of records of the source that lie outside the period.
        unknown_scope: The number of records that may be of the room or the session, and are not in the tally.
        uncertain: Whether it is not known if all that is `unreadable`, or has `unreadable_values`, is of the report.

    Raises:
        ValidationError: If there are too many days from the first to the last record.
    """
    tally.close_sessions()
    usage = tally.usage
    undated = 0 if recordings is None else recordings.days[None]
    known = [day for day in (*usage.days, *(recordings.days if recordings else ())) if day is not None]
    if period is None and known:
        period = ReportPeriod(date.fromordinal(min(known)), date.fromordinal(max(known))).checked()
    ordinals = range(0) if period is None else range(period.first.toordinal(), period.last.toordinal() + 1)
    repeats = tally.repeats()
    odd: dict[str, int | None] = {**usage.odd, "repeated": repeats.records, "same_id": repeats.same_id}
    # A time that cannot be read is also one that a row lacks: of both, the larger number.
    values = Counter(unreadable_values) | Counter({SOURCES[name]: usage.odd[name] for name in TIMES})
    odd |= {"unreadable": unreadable, "unreadable_values": values.total() + undated}
    odd |= {"odd_fields": odd_fields, "outside": outside, "unknown_scope": unknown_scope}
    if recordings is not None:
        odd |= {"archives_repeated": recordings.repeated, "archives_same_id": recordings.same_id}
        odd["archives_unknown_scope"] = recordings.unknown_scope
    return UsageSummary(
        period=period,
        timezone=timezone,
        source=source,
        scope=scope,
        total=Figures.of(usage.total),
        counted_records=usage.total.counted,
        rooms=tally.count("room"),
        owners=tally.count("owner_ref"),
        users=tally.count("user"),
        days=tuple((date.fromordinal(day), Figures.of(usage.days.get(day, Sums()))) for day in ordinals),
        undated=Figures.of(usage.days.get(None, Sums())),
        hours=tuple(tuple(usage.hours[24 * weekday : 24 * weekday + 24]) for weekday in range(7)),
        groups=groups_of(tally, groups, top),
        quality=_quality(usage),
        good_percent=usage.good_percent / usage.good_rows / 1000 if usage.good_rows else None,
        recordings=recordings,
        archives_refused=archives_refused,
        odd={name: odd.get(name, 0) for name in ODD},
        uncertain=uncertain | {"unknown_scope", "archives_unknown_scope"},
        repeated_minutes=repeats.user_ms / 60_000,
    )


def groups_of(tally: Tally, names: Sequence[str], top: int | None) -> dict[str, Group]:
    """Return groups of a tally whose sessions are closed.

    Args:
        tally: The rows.
        names: The groups, of `GROUPS`.
        top: How many entries of a group to list, or None for all; the others are summed up.
    """
    return {name: _group(tally.leaders(name, top), name) for name in names}


def _group(leaders: Leaders, name: str) -> Group:
    sessions = name in WITH_SESSIONS
    return Group(
        entries=tuple(GroupEntry(key, sums.name, Figures.of(sums, sessions=sessions)) for key, sums in leaders.top),
        others=leaders.others,
        rest=Figures.of(leaders.rest, sessions=sessions),
    )


def _quality(usage: UsageSums) -> tuple[Quality, ...]:
    found = []
    for column, counts in zip(QUALITY, grades(usage.quality), strict=False):
        direction, media, *_ = column.split("_")
        found.append(Quality(direction, media, tuple(counts[grade] for grade in range(len(GRADES)))))
    return tuple(found)


def _span(period: ReportPeriod | None) -> dict[str, str] | None:
    return None if period is None else {"first": f"{period.first}", "last": f"{period.last}"}


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        name: round(value, 3) if isinstance(value, float) else value for name, value in attrs.asdict(figures).items()
    }


_UNKNOWN: Final = dict.fromkeys(field.name for field in attrs.fields(Figures))


def _total(figures: Sequence[Figures]) -> Figures:
    counted = [one.counted_minutes for one in figures if one.counted_minutes is not None]
    return Figures(
        records=sum(one.records for one in figures),
        participant_minutes=sum(one.participant_minutes for one in figures),
        counted_minutes=sum(counted) if counted else None,
        sessions=sum(one.sessions or 0 for one in figures),
        room_minutes=sum(one.room_minutes or 0 for one in figures),
    )
