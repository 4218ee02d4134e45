"""Figures and tables as HTML. Pure; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from typing import Final

from videoapi.report.summary import UsageSummary
from videoapi.report.tables import TableCell, TableView

_TALL: Final = 12
"""The number of rows over which a table scrolls."""
_WHOLE: Final = 30
"""The number of rows below which a table is not divided between two sheets of paper."""


def cards(summary: UsageSummary) -> str:
    """Return the totals."""
    total, counted = summary.total, summary.total.counted_minutes
    records = f"{total.records:,}"
    with_minutes = total.records - summary.without_minutes
    of_records = f", of {with_minutes:,} of {records} records" if summary.without_minutes else ""
    shown: tuple[tuple[str, str, float | None, str], ...] = (
        ("users", "Participant minutes", total.participant_minutes, _hours(total.participant_minutes) + of_records),
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
    if summary.is_unknown:
        shown = tuple((kind, name, None, "not known") for kind, name, *_ in shown)
    items = (
        f'<div class="{kind}"><dt>{name}</dt><dd class="value" data-value="{_exact(value)}">{_rounded(value)}</dd>'
        f'<dd class="hint">{hint}</dd></div>'
        for kind, name, value, hint in shown
    )
    return f'<dl class="cards">{"".join(items)}</dl>'


def table_html(table: TableView) -> str:
    """Return a table that scrolls within the page, folded if it is long."""
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
    return (
        f"<details><summary>{escape(table.caption)}: {len(table.rows)} rows</summary>{shown}</details>"
        if table.long
        else shown
    )


def _row_html(row: Sequence[TableCell]) -> str:
    return f'<tr><th scope="row">{escape(str(row[0]))}</th>{"".join(map(_cell_html, row[1:]))}</tr>'


def _cell_html(cell: TableCell) -> str:
    if isinstance(cell, str):
        return f'<td class="text">{escape(cell)}</td>'
    return f'<td{" class=none" if cell is None else ""} data-value="{_exact(cell)}">{_amount(cell)}</td>'


def long_day(day: date) -> str:
    """Return a day such as 31 January 2026."""
    return f"{day.day} {day:%B %Y}"


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
