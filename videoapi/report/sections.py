"""The sections of the page: what each says, which chart it has, and which tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

import attrs

from videoapi.report.charts import (
    Chart,
    days_chart,
    group_chart,
    hours_chart,
    printable,
    quality_chart,
    recordings_chart,
)
from videoapi.report.markup import long_day
from videoapi.report.notices import notices_of
from videoapi.report.odd import INCOMPLETE
from videoapi.report.summary import WEEKDAYS, WITH_SESSIONS, UsageSummary
from videoapi.report.tables import (
    TableView,
    days_table,
    files_table,
    group_table,
    hours_table,
    months_table,
    odd_table,
    quality_table,
    recordings_table,
)

_FOLDED: Final = 62
"""The number of rows over which a table is folded."""
_PARTICIPANT: Final = (
    '<a href="#minutes">Participant minutes</a> are how long users were connected (<code>sigserver.duration</code>), '
    "added up over all connections."
)
_ROOM: Final = (
    '<a href="#minutes">Room minutes</a> are how long sessions lasted, from the earliest start to the latest end, each '
    "session once."
)
_COUNTED: Final = (
    '<a href="#minutes">Service-counted minutes</a> are the service’s own figure (<code>usage.connect_minutes</code>).'
)


@attrs.frozen
class PageSection:
    """A section of the page.

    Args:
        name: The name of its element.
        title: Its heading.
        notes: What it says, as HTML.
        chart: Its chart, or None.
        described: What the chart shows, for those who cannot see it.
        tables: The tables under the chart.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    chart: Chart | None = None
    described: str = ""
    tables: tuple[TableView, ...] = ()


def ordered(sections: list[PageSection], lead: str | None) -> list[PageSection]:
    """Return the sections with the one that leads right after the totals."""
    first, *others = sections
    return [first, *sorted(others, key=lambda one: one.name != lead)]


def sections_of(summary: UsageSummary) -> Iterator[PageSection]:
    """Yield the sections in their usual order."""
    yield PageSection("totals", "Totals", tuple(_highlights(summary)))
    many = len(summary.days) > _FOLDED
    unknown = _unknown_days(summary, "cdr")
    tables = (months_table(summary), days_table(summary, long=many)) if many else (days_table(summary, long=False),)
    yield PageSection(
        "day",
        "Per day",
        (
            f"{_PARTICIPANT} {_ROOM} {_COUNTED}",
            f"A connection is on the day ({escape(summary.timezone)}) of its record (<code>trans_date</code>), a "
            "session on that of its latest record.",
            *unknown,
            *_partly_known_days(summary),
        ),
        days_chart(summary) if summary.days else None,
        "Sessions, participant minutes and room minutes per day.",
        tables,
    )
    yield PageSection(
        "hours",
        "Busiest hours",
        (
            f"How many connections began in each hour of the week ({escape(summary.timezone)}), added up over the "
            "whole period. Most months have five of some weekdays, and four of the others: the last rows of the table "
            "have the number of days, and the average per day.",
            *(
                f"{note} Such days are not in the averages. If no day of a weekday is known, its hours are empty, but "
                "for connections whose records are of another day."
                for note in unknown
            ),
            *(f"{note} They count as whole days in the averages." for note in _partly_known_days(summary)),
        ),
        hours_chart(summary),
        "A heat map of the connections begun, by hour and weekday, added up over the whole period.",
        (hours_table(summary),),
    )
    for name, group in summary.groups.items():
        sessions = name in WITH_SESSIONS
        yield PageSection(
            name,
            f"By {name}",
            tuple(_group_notes(summary, name)),
            group_chart(group, sessions=sessions) if group.entries else None,
            f"The minutes of each {name}.",
            (group_table(summary, name, group),),
        )
    yield PageSection(
        "quality",
        "Call quality",
        tuple(_quality_notes(summary)),
        quality_chart(summary) if any(one.measured for one in summary.quality) else None,
        "The shares of good and bad connections for each kind of media.",
        (quality_table(summary),),
    )
    yield _recordings_section(summary)
    found = any(summary.odd.values())
    verdict = (
        "Each row is one check of every record."
        if found
        else "Every record was checked, and nothing unusual was found."
        if summary.total.records
        else "No call records to check."
    )
    yield PageSection("odd", "Unfinished and odd records", (verdict,), tables=(odd_table(summary),))


def _highlights(summary: UsageSummary) -> Iterator[str]:
    for notice in notices_of(summary, long_day):
        yield f'<span class="warning">{escape(notice)}</span>'
    if summary.odd["same_id"] or any(summary.odd[name] for name in INCOMPLETE):
        yield '<a href="#odd">See how the report treats odd records</a>.'
    if summary.is_unknown:
        yield "Nothing is known of this period: the source has none of its days."
        return
    if not summary.total.records:
        yield f"This period has no call records in {escape(printable(summary.source))}."
        return
    parts = []
    known = [(day, figures) for day, figures in summary.per_day() if figures is not None]
    if known:
        day, most = max(known, key=lambda one: one[1].participant_minutes)
        minutes = f"{most.participant_minutes:,.0f} participant minutes"
        as_many = sum(one.participant_minutes == most.participant_minutes for _, one in known) - 1
        parts.append(f"The busiest day is <strong>{long_day(day)}</strong> with {minutes}{_ties(as_many, 'day')}")
    averages = summary.hour_averages()
    most_begun = max(averages.values(), default=0)
    if most_begun:
        weekday, hour = next(at for at, average in averages.items() if average == most_begun)
        as_many = sum(average == most_begun for average in averages.values()) - 1
        parts.append(
            f"{'the' if parts else 'The'} busiest hour of the week is <strong>{WEEKDAYS[weekday]} from {hour}:00 to "
            f"{hour + 1}:00</strong> ({escape(summary.timezone)}) with {_begun(summary, weekday, hour)}"
            f"{_ties(as_many, 'hour')}"
        )
    if parts:
        yield "; ".join(parts) + "."


def _begun(summary: UsageSummary, weekday: int, hour: int) -> str:
    """Return how many connections began in an hour of the week, on average and on all known days of the period."""
    begun, days = summary.hours[weekday][hour], summary.weekdays()[weekday]
    if days > 1:
        return f"{begun / days:,.2f} connections begun on average, {begun:,} on {days} {WEEKDAYS[weekday]}s"
    return f"{begun:,} connection{'' if begun == 1 else 's'} begun"


def _ties(others: int, what: str) -> str:
    if not others:
        return ""
    return f" (1 other {what} has as many)" if others == 1 else f" ({others:,} other {what}s have as many)"


def _group_notes(summary: UsageSummary, name: str) -> Iterator[str]:
    group = summary.groups[name]
    if name in WITH_SESSIONS:
        yield f"{_PARTICIPANT} {_ROOM}"
    else:
        yield f"{_PARTICIPANT} Sessions and room minutes are not listed, as users share them."
    if group.others and summary.total.participant_minutes:
        others = "The other one has" if group.others == 1 else f"The {group.others:,} others together have"
        share = 100 * group.rest.participant_minutes / summary.total.participant_minutes
        yield (
            f"Shown: the {len(group.entries)} with the most participant minutes. {others} "
            f"{group.rest.participant_minutes:,.0f} ({share:.1f} %); "
            f"{'it is' if group.others == 1 else 'they are'} a row of the table, not a bar."
        )


def _unknown_days(summary: UsageSummary, kind: str) -> tuple[str, ...]:
    """Return how many days of the period are not known, and why; nothing if all are known."""
    count, days = len(summary.unknown if kind == "cdr" else summary.unknown_archives), len(summary.days)
    if not count:
        return ()
    they, them, have = ("it", "it", "has") if count == 1 else ("they", "them", "have")
    reasons = []
    if any(one.records == kind for one in summary.missing):
        reasons.append(f"the export does not have {them}")
    if summary.unfinished is not None:
        reasons.append(f"{they} had not ended")
    if not reasons or kind in summary.unstated:
        reasons.append(f"the export does not say that it has {them}")
    number = f"{count:,} of the {days:,} days {'is' if count == 1 else 'are'}" if days > 1 else "The day is"
    return (f"<strong>{number} not known</strong>, and {have} a dash (–) instead of figures: {' or '.join(reasons)}.",)


def _partly_known_days(summary: UsageSummary) -> tuple[str, ...]:
    """Return how many days are known only in part; nothing if none is."""
    if not (count := len(summary.partly_known)):
        return ()
    number = "1 day is" if count == 1 else f"{count:,} days are"
    return (f"<strong>{number} known only in part</strong>, marked with (part) in the table of days.",)


def _quality_notes(summary: UsageSummary) -> Iterator[str]:
    yield (
        "What the service says about the average bit rate of each connection (<code>stats_quality</code>), as shares "
        "of the connections for which it says something. Only newer records have it."
    )
    if summary.good_percent is not None:
        yield (
            f"On average, the video that users received had a good bit rate for <strong>{summary.good_percent:.1f} %"
            "</strong> of the time (<code>bitrate_good_percent</code>)."
        )


def _recordings_section(summary: UsageSummary) -> PageSection:
    recordings = summary.recordings
    if recordings is None:
        note = (
            f"The service refused the archives: {escape(printable(summary.archives_refused))}"
            if summary.archives_refused
            else "Not part of this report: an export of call records has no archives. Give them with --archives FILE."
        )
        return PageSection("recordings", "Recordings", (note,))
    days = [(f"{day}", count) for day, count in summary.archives_per_day()]
    note = (
        f"<strong>{recordings.archives:,}</strong> archives, <strong>{recordings.empty:,}</strong> of "
        "them without a file. The service keeps files for 72 hours; their lengths and sizes are not in its records."
    )
    return PageSection(
        "recordings",
        "Recordings",
        (note, *_unknown_days(summary, "archives")),
        recordings_chart(days) if recordings.archives else None,
        "Archives per day.",
        (files_table(summary), recordings_table(days, recordings.days[None], long=len(days) > _FOLDED)),
    )
