"""The tables of a report: captions, columns and cells. Pure; the page escapes their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from videoapi.report.charts import printable, quality_name
from videoapi.report.odd import ODD
from videoapi.report.summary import WEEKDAYS, WITH_SESSIONS, Figures, Group, UsageSummary

TableCell = str | int | float | None

_GROUP_TITLES: Final = {"room": "Room", "owner_ref": "owner_ref", "user": "user_ref", "role": "Role"}
_FIGURES: Final = ("Connections", "Sessions", "Participant minutes", "Room minutes", "Service-counted minutes")
_WITHOUT_SESSIONS: Final = ("Connections", "Participant minutes", "Service-counted minutes")


@attrs.frozen
class TableView:
    """A table of the page.

    Args:
        name: The name of its CSV file, and of its element.
        caption: What it shows.
        columns: The headings.
        rows: The cells; the first of each row is its heading. Numbers are exact, and rounded when they are shown.
        foot: Rows that are not sorted with the others.
        long: Whether it is folded at first.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    foot: tuple[tuple[TableCell, ...], ...] = ()
    long: bool = False


def days_table(summary: UsageSummary, *, long: bool) -> TableView:
    """Return the figures of each day."""
    rows = [
        (f"{day} (part)" if day in summary.partly_known else f"{day}", *figure_cells(figures))
        for day, figures in summary.per_day()
    ]
    foot = [("Without a date", *figure_cells(summary.undated))] if summary.undated.records else []
    foot.append(("Total", *figure_cells(_of_total(summary))))
    return TableView("days", "Figures per day", ("Day", *_FIGURES), tuple(rows), tuple(foot), long)


def months_table(summary: UsageSummary) -> TableView:
    """Return the figures of each month."""
    rows = [(month, *figure_cells(figures)) for month, figures in summary.months()]
    return TableView("months", "Figures per month", ("Month", *_FIGURES), tuple(rows), (_total(summary),))


def hours_table(summary: UsageSummary) -> TableView:
    """Return the connections begun in each hour of the week, with a row for each hour."""
    hours = summary.per_hour()
    rows: list[tuple[TableCell, ...]] = [
        (f"{hour:02d}:00", *(row[hour] for row in hours), _known_sum([row[hour] for row in hours]))
        for hour in range(24)
    ]
    totals = [*map(_known_sum, hours), _known_sum([count for row in hours for count in row])]
    days = [*summary.weekdays(), sum(summary.weekdays())]
    averages = [
        None if total is None or not count else total / count for total, count in zip(totals, days, strict=True)
    ]
    foot: tuple[tuple[TableCell, ...], ...] = (
        ("Total", *totals),
        ("Known days", *days),
        ("Average per known day", *averages),
    )
    columns = ("Hour", *(name[:3] for name in WEEKDAYS), "All days")
    return TableView(
        "hours",
        f"Connections begun, by hour and weekday ({summary.timezone}), added up over the period",
        columns,
        tuple(rows),
        foot,
    )


def group_table(summary: UsageSummary, name: str, group: Group) -> TableView:
    """Return the largest entries of a group, all others as one, and the total."""
    sessions = name in WITH_SESSIONS
    named = name == "room"
    total = summary.total.participant_minutes

    def row(head: str, label: str, figures: Figures) -> tuple[TableCell, ...]:
        share = 100 * figures.participant_minutes / total if total else None
        cells = figure_cells(figures) if sessions else _without_sessions(figures)
        return (head, *((label,) if named else ()), *cells, share)

    foot = []
    if group.others:
        foot.append(row(f"All others ({group.others:,})", "", group.rest))
    foot.append(row("Total", "", summary.total))
    head = _GROUP_TITLES[name]
    columns = (*((head, "Name") if named else (head,)), *(_FIGURES if sessions else _WITHOUT_SESSIONS), "Share, %")
    rows = (row(printable(entry.key) or "(none)", printable(entry.name), entry.figures) for entry in group.entries)
    return TableView(name, f"Figures by {head}", columns, tuple(rows), tuple(foot))


def quality_table(summary: UsageSummary) -> TableView:
    """Return the number of records by grade, for each kind of media."""
    rows: tuple[tuple[TableCell, ...], ...] = tuple(
        (quality_name(one.direction, one.media), *one.counts) for one in summary.quality
    )
    columns = ("Media", "Good", "Bad", "Another word", "Not measured")
    return TableView("quality", "Records by the service's word for the average bit rate", columns, rows)


def files_table(summary: UsageSummary) -> TableView:
    """Return the recorded files by kind."""
    recordings = summary.recordings
    names = (
        ("recording", "Recordings of single streams"),
        ("transcoded", "Composed recordings"),
        ("chatdata", "Chats"),
        ("metadata", "Metadata"),
    )
    rows = tuple((label, 0 if recordings is None else recordings.files[kind]) for kind, label in names)
    return TableView("files", "Recorded files by kind", ("Kind", "Files"), rows)


def recordings_table(days: Sequence[tuple[str, int | None]], undated: int, *, long: bool) -> TableView:
    """Return the archives of each day."""
    foot: list[tuple[TableCell, ...]] = [("Without a date", undated)] if undated else []
    known = _known_sum([count for _, count in days])
    foot.append(("Total", None if known is None and days and not undated else (known or 0) + undated))
    return TableView("recordings", "Archives per day", ("Day", "Archives"), tuple(days), tuple(foot), long)


def odd_table(summary: UsageSummary) -> TableView:
    """Return what is odd, with the largest numbers first."""
    rows = [(what, summary.odd[name], treatment) for name, (what, treatment) in ODD.items()]
    rows.sort(key=lambda row: -(row[1] or 0))
    return TableView(
        "odd", "Unfinished and odd records", ("What", "Number", "How this report treats them"), tuple(rows)
    )


def figure_cells(figures: Figures | None) -> tuple[TableCell, ...]:
    """Return figures in the order of the columns; empty cells for figures that are not known."""
    if figures is None:
        return (None,) * len(_FIGURES)
    return (
        figures.records,
        figures.sessions,
        figures.participant_minutes,
        figures.room_minutes,
        figures.counted_minutes,
    )


def _without_sessions(figures: Figures) -> tuple[TableCell, ...]:
    return figures.records, figures.participant_minutes, figures.counted_minutes


def _total(summary: UsageSummary) -> tuple[TableCell, ...]:
    dated = [figures for _, figures in summary.months() if figures is not None]
    return ("Total", *figure_cells(_of_total(summary))) if not summary.undated.records else ("Total", *_sum(dated))


def _of_total(summary: UsageSummary) -> Figures | None:
    return None if summary.is_unknown else summary.total


def _known_sum(counts: Sequence[int | None]) -> int | None:
    """Return the sum of the counts that are known; None if no count is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _sum(figures: Sequence[Figures]) -> tuple[TableCell, ...]:
    cells = [figure_cells(one) for one in figures]
    return tuple(sum(value or 0 for value in column) for column in zip(*cells, strict=True))
