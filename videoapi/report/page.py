"""The page of a report: one HTML file that loads nothing, with a table under each chart. Pure but for its own parts."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import cache
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Final

import attrs

from videoapi.errors import ConfigurationError
from videoapi.report.calendar import Period
from videoapi.report.charts import (
    Chart,
    days_chart,
    group_chart,
    hours_chart,
    printable,
    quality_chart,
    recordings_chart,
)
from videoapi.report.summary import WEEKDAYS, Summary
from videoapi.report.tables import (
    Cell,
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
_TALL: Final = 12
"""The number of rows over which a table scrolls."""
_WHOLE: Final = 30
"""The number of rows below which a table is not divided between two sheets of paper."""
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
_GROUP_NAMES: Final = {"room": "room", "owner_ref": "owner_ref", "user": "user", "role": "role"}


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


def render(summary: Summary, *, made: datetime, lead: str | None = None) -> str:
    """Return the page as HTML.

    Args:
        summary: The figures.
        made: When the report is made, aware.
        lead: The group, or `day`, whose section is first; None for the usual order.

    Raises:
        ConfigurationError: If plotly is not installed, which is the extra `report`.
    """
    plotly, script = _plotly(), _asset("report.js")
    sections = _ordered(list(_sections(summary)), lead)
    charts = {one.name: one.chart for one in sections if one.chart is not None}
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(plotly)} {_digest(script)}",
            # plotly writes its rules into the page.
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    title = f"Usage report: {_spoken(summary.period)}"
    links = "".join(f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections)
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n',
            f"<title>{escape(title)}</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n",
            f'<body data-name="{escape(_file_name(summary))}">\n<div class="page">\n<header>\n<h1>{escape(title)}</h1>\n',
            f"<p>{_origin(summary, made)}</p>\n",
            f'<nav aria-label="Sections"><ul>{links}<li><a href="#minutes">Which minutes are which</a></li></ul></nav>\n',
            "</header>\n<main>\n",
            '<noscript><p class="warning">The charts need JavaScript. The tables have the same figures.</p></noscript>\n',
            *(_section_html(one, summary) for one in sections),
            _minutes_html(),
            "</main>\n<footer><p>Made by videoapi. This file loads nothing from anywhere and sends nothing.</p></footer>\n",
            f'</div>\n<script type="application/json" id="figures">{_in_script(charts)}</script>\n',
            f"<script>{plotly}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        )
    )


def _sections(summary: Summary) -> Iterator[PageSection]:
    yield PageSection("totals", "Totals", tuple(_highlights(summary)))
    many = len(summary.days) > _FOLDED
    tables = (months_table(summary), days_table(summary, long=many)) if many else (days_table(summary, long=False),)
    yield PageSection(
        "day",
        "Per day",
        (
            f"{_PARTICIPANT} {_ROOM} {_COUNTED}",
            f"A connection and its session are on the day ({escape(summary.timezone)}) on which the service wrote the "
            "record, which is when they ended; the service selects records by that day in UTC.",
        ),
        days_chart(summary) if summary.days else None,
        "Sessions, participant minutes and room minutes per day.",
        tables,
    )
    yield PageSection(
        "hours",
        "Busiest hours",
        (f"How many connections began in each hour of the week ({escape(summary.timezone)}), over the whole period.",),
        hours_chart(summary),
        "A heat map of the connections begun, by hour and weekday.",
        (hours_table(summary),),
    )
    for name, group in summary.groups.items():
        sessions = name in ("room", "owner_ref")
        yield PageSection(
            name,
            f"By {_GROUP_NAMES[name]}",
            tuple(_group_notes(summary, name)),
            group_chart(group, sessions=sessions) if group.entries else None,
            f"The minutes of each {_GROUP_NAMES[name]}.",
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
    found = sum(count for name, count in summary.odd.items() if count)
    verdict = (
        "Each row is one check of every record."
        if found
        else "Every record was checked, and nothing unusual was found."
    )
    yield PageSection("odd", "Unfinished and odd records", (verdict,), tables=(odd_table(summary),))


def _highlights(summary: Summary) -> Iterator[str]:
    if not summary.total.records:
        yield "There are no call records in this period."
        return
    parts = []
    if summary.days:
        day, most = max(summary.days, key=lambda one: one[1].participant_minutes)
        parts.append(
            f"The busiest day is <strong>{_day(day)}</strong> with {most.participant_minutes:,.0f} participant minutes"
        )
    weekday, hour = max(((w, h) for w in range(7) for h in range(24)), key=lambda at: summary.hours[at[0]][at[1]])
    if summary.hours[weekday][hour]:
        parts.append(
            f"most connections begin on <strong>{WEEKDAYS[weekday]}s from {hour}:00 to {hour + 1}:00</strong> "
            f"({escape(summary.timezone)})"
        )
    yield "; ".join(parts) + "."
    serious = sum(summary.odd[name] for name in ("repeated", "unreadable"))
    if serious:
        yield (
            f'<span class="warning">{serious:,} records are repeated or cannot be read: '
            '<a href="#odd">see how they are treated</a>.</span>'
        )


def _group_notes(summary: Summary, name: str) -> Iterator[str]:
    group = summary.groups[name]
    if name in ("room", "owner_ref"):
        yield f"{_PARTICIPANT} {_ROOM}"
    else:
        yield f"{_PARTICIPANT} Sessions and room minutes are not listed, as users share them."
    if group.others and summary.total.participant_minutes:
        share = 100 * group.rest.participant_minutes / summary.total.participant_minutes
        yield (
            f"Shown: the {len(group.entries)} with the most participant minutes. The {group.others:,} others together "
            f"have {group.rest.participant_minutes:,.0f} ({share:.1f} %); they are a row of the table, not a bar."
        )


def _quality_notes(summary: Summary) -> Iterator[str]:
    yield (
        "What the service says about the average bit rate of each connection (<code>stats_quality</code>), as shares of "
        "the connections for which it says something. Only newer records have it."
    )
    if summary.good_percent is not None:
        yield (
            f"On average, the video that users received had a good bit rate for <strong>{summary.good_percent:.1f} %"
            "</strong> of the time (<code>bitrate_good_percent</code>)."
        )


def _recordings_section(summary: Summary) -> PageSection:
    recordings = summary.recordings
    if recordings is None:
        note = "Not part of this report: an export of call records has no archives. Give them with --archives FILE."
        return PageSection("recordings", "Recordings", (note,))
    days = [(f"{day}", recordings.days[day.toordinal()]) for day, _ in summary.days]
    note = (
        f"<strong>{recordings.archives:,}</strong> sessions have an archive, <strong>{recordings.empty:,}</strong> of "
        "them without a file. The service keeps files for 72 hours; their lengths and sizes are not in its records."
    )
    return PageSection(
        "recordings",
        "Recordings",
        (note,),
        recordings_chart(days) if recordings.archives else None,
        "Archives per day.",
        (files_table(summary), recordings_table(days, recordings.days[None], long=len(days) > _FOLDED)),
    )


def _ordered(sections: list[PageSection], lead: str | None) -> list[PageSection]:
    """Return the sections with the one that leads right after the totals."""
    first, *others = sections
    return [first, *sorted(others, key=lambda one: one.name != lead)]


def _section_html(section: PageSection, summary: Summary) -> str:
    parts = [f'<section id="{section.name}" aria-labelledby="{section.name}-title">']
    parts.append(f'<h2 id="{section.name}-title">{escape(section.title)}</h2>')
    if section.name == "totals":
        parts.append(_cards(summary))
    parts += [f"<p>{note}</p>" for note in section.notes]
    if section.chart is not None:
        label = escape(f"Chart. {section.described} The same figures are in the table below.")
        # A place of its height, so that the page does not jump.
        height = section.chart["layout"]["height"]
        parts.append(
            f'<figure><div class="chart" data-chart="{section.name}" role="img" aria-label="{label}" '
            f'style="min-height:{height}px"></div></figure>'
        )
    parts += [_table_html(table) for table in section.tables]
    parts.append("</section>\n")
    return "\n".join(parts)


def _cards(summary: Summary) -> str:
    total, counted = summary.total, summary.total.counted_minutes
    records = f"{total.records:,}"
    cards = (
        ("users", "Participant minutes", total.participant_minutes, _hours(total.participant_minutes)),
        ("rooms", "Room minutes", total.room_minutes, _hours(total.room_minutes)),
        (
            "",
            "Service-counted minutes",
            counted,
            f"<code>usage.connect_minutes</code>, in {summary.counted_records:,} of {records} records",
        ),
        ("sessions", "Sessions", total.sessions, _average(total.records, total.sessions)),
        ("", "Connections", total.records, "one call record each"),
        ("", "Users", summary.users, "different <code>user_ref</code>"),
        ("", "Rooms", summary.rooms, "with at least one session"),
        ("", "Owners", summary.owners, "different <code>owner_ref</code>"),
    )
    items = (
        f'<div class="{kind}"><dt>{name}</dt><dd class="value" data-value="{_exact(value)}">{_rounded(value)}</dd>'
        f'<dd class="hint">{hint}</dd></div>'
        for kind, name, value, hint in cards
    )
    return f'<dl class="cards">{"".join(items)}</dl>'


def _table_html(table: TableView) -> str:
    tall = (" tall" if len(table.rows) > _TALL else "") + (" whole" if len(table.rows) < _WHOLE else "")
    columns = [all(not isinstance(row[place], str) for row in table.rows) for place in range(len(table.columns))]
    heads = "".join(
        f'<th scope="col"{"" if numeric else " class=text"}>{escape(name)}</th>'
        for name, numeric in zip(table.columns, columns, strict=True)
    )
    body = "\n".join(_row_html(row) for row in table.rows)
    foot = "\n".join(_row_html(row) for row in table.foot)
    shown = (
        f'<div class="scroll{tall}" role="region" aria-label="{escape(table.caption)}" tabindex="0">'
        f'<table id="{table.name}-table"><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>"
        f"{f'<tfoot>{foot}</tfoot>' if foot else ''}</table></div>"
    )
    return f"<details><summary>{escape(table.caption)}: {len(table.rows)} rows</summary>{shown}</details>" if table.long else shown


def _row_html(row: Sequence[Cell]) -> str:
    return f'<tr><th scope="row">{escape(str(row[0]))}</th>{"".join(map(_cell_html, row[1:]))}</tr>'


def _cell_html(cell: Cell) -> str:
    if isinstance(cell, str):
        return f'<td class="text">{escape(cell)}</td>'
    return f'<td{" class=none" if cell is None else ""} data-value="{_exact(cell)}">{_amount(cell)}</td>'


def _minutes_html() -> str:
    return (
        '<section id="minutes" aria-labelledby="minutes-title"><h2 id="minutes-title">Which minutes are which</h2>'
        '<dl class="terms"><dt>Participant minutes</dt><dd>How long users were connected: '
        "<code>sigserver.duration</code> of each call record, divided by 60 and added up over all records. Three users "
        "in a session of 10 minutes have 30.</dd><dt>Room minutes</dt><dd>How long rooms were in use: for each session, "
        "the latest <code>room.disconnect_dt</code> minus the earliest <code>room.connect_dt</code> of its records, once. "
        "The same session has 10.</dd><dt>Service-counted minutes</dt><dd>The service’s own count for each user: "
        "<code>usage.connect_minutes</code>. Only newer records have it. How it is rounded is not documented.</dd>"
        "<dt>What you are billed</dt><dd>No field is known to be it. Compare a month with your invoice first.</dd></dl>"
        "<p>The guide “Which field for what” (docs/explanation/which-field.md of videoapi) says more.</p></section>\n"
    )


def _origin(summary: Summary, made: datetime) -> str:
    scope = f" Only {escape(printable(summary.scope))}." if summary.scope else ""
    zone = escape(summary.timezone)
    return (
        f"From {escape(printable(summary.source))}.{scope} Days and hours in {zone}. "
        f"Made on {_day(made.date())} at {made:%H:%M} {escape(made.tzname() or '')}."
    )


def _spoken(period: Period | None) -> str:
    if period is None:
        return "no records"
    first, last = period.first, period.last
    text = f"{period}"
    if len(text) == len("2026-01"):
        return f"{first:%B %Y}"
    if " to " in text:
        return f"{_day(first)} to {_day(last)}"
    return text if len(text) == len("2026") else _day(first)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _file_name(summary: Summary) -> str:
    return f"usage-{summary.period}".replace(" ", "-")


def _amount(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _exact(value: float | None) -> str:
    if value is None:
        return ""
    return f"{round(value, 3)}" if isinstance(value, float) else f"{value}"


def _hours(minutes: float | None) -> str:
    return "" if minutes is None else f"{minutes / 60:,.0f} hours"


def _average(records: int, sessions: int | None) -> str:
    return f"{records / sessions:.1f} connections each, on average" if sessions else ""


def _in_script(value: Any) -> str:
    """Return a value as JSON that ends no script and begins no comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return files("videoapi.report").joinpath("static", name).read_text(encoding="utf-8")


def require_plotly() -> None:
    """Check that plotly is installed.

    Raises:
        ConfigurationError: If it is not; install the extra `report`.
    """
    if find_spec("plotly") is None:
        raise ConfigurationError(
            "A report needs plotly, which is not installed: pip install 'videoapi[report]'. Without it: --json"
        )


@cache
def _plotly() -> str:
    """Return the script of plotly."""
    require_plotly()
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
