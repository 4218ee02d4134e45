"""The page of a report: one HTML file that loads nothing, with a table under each chart. Pure but for its own parts."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, Final

from videoapi.errors import ConfigurationError
from videoapi.report.charts import printable
from videoapi.report.markup import cards, long_day, table_html
from videoapi.report.notices import standing_of
from videoapi.report.sections import PageSection, ordered, sections_of
from videoapi.report.summary import UsageSummary

_NO_SCRIPT: Final = '<p class="warning">The charts need JavaScript. The tables have the same figures.</p>'


def render(summary: UsageSummary, *, made: datetime, lead: str | None = None) -> str:
    """Return the page as HTML.

    Args:
        summary: The figures.
        made: When the report is made, aware.
        lead: The group, or `day`, whose section is first; None for the usual order.

    Raises:
        ConfigurationError: If plotly is not installed, which is the extra `report`.
    """
    plotly, script = _plotly(), _asset("report.js")
    sections = ordered(list(sections_of(summary)), lead)
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
    title = f"Usage report: {_spoken(summary)}"
    links = "".join(f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections)
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n',
            f"<title>{escape(title)}</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n",
            f'<body data-name="{escape(_file_name(summary))}">\n<div class="page">\n',
            f"<header>\n<h1>{escape(title)}</h1>\n<p>{_origin(summary, made)}</p>\n{_standing(summary)}",
            f'<nav aria-label="Sections"><ul>{links}',
            '<li><a href="#minutes">Which minutes are which</a></li></ul></nav>\n',
            "</header>\n<main>\n",
            f"<noscript>{_NO_SCRIPT}</noscript>\n",
            *(_section_html(one, summary) for one in sections),
            _minutes_html(),
            "</main>\n<footer><p>Made by videoapi. This file loads nothing, and sends nothing.</p></footer>\n",
            f'</div>\n<script type="application/json" id="figures">{_in_script(charts)}</script>\n',
            f"<script>{plotly}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        )
    )


def _section_html(section: PageSection, summary: UsageSummary) -> str:
    parts = [f'<section id="{section.name}" aria-labelledby="{section.name}-title">']
    parts.append(f'<h2 id="{section.name}-title">{escape(section.title)}</h2>')
    if section.name == "totals":
        parts.append(cards(summary))
    parts += [f"<p>{note}</p>" for note in section.notes]
    if section.chart is not None:
        label = escape(f"Chart. {section.described} The same figures are in the table below.")
        # A place of its height, so that the page does not jump.
        height = section.chart["layout"]["height"]
        parts.append(
            f'<figure><div class="chart" data-chart="{section.name}" role="img" aria-label="{label}" '
            f'style="min-height:{height}px"></div></figure>'
        )
    parts += [table_html(table) for table in section.tables]
    parts.append("</section>\n")
    return "\n".join(parts)


def _minutes_html() -> str:
    return (
        '<section id="minutes" aria-labelledby="minutes-title"><h2 id="minutes-title">Which minutes are which</h2>'
        '<dl class="terms"><dt>Participant minutes</dt><dd>How long users were connected: '
        "<code>sigserver.duration</code> of each call record, divided by 60 and added up over all records. Three users "
        "in a session of 10 minutes have 30.</dd><dt>Room minutes</dt><dd>How long rooms were in use: for each "
        "session, once, the latest <code>room.disconnect_dt</code> minus the earliest <code>room.connect_dt</code> of "
        "its records. The same session has 10.</dd><dt>Service-counted minutes</dt><dd>The service’s own count for "
        "each user: <code>usage.connect_minutes</code>. Only newer records have it. How it is rounded is not "
        "documented.</dd><dt>Rounding</dt><dd>This report rounds no connection and no session to whole minutes. It "
        "adds up milliseconds, and rounds only what it shows: totals to a minute, tables to a tenth. The CSV files of "
        "the tables are exact.</dd>"
        "<dt>What you are billed</dt><dd>No field is known to be it. Compare a month with your invoice first.</dd></dl>"
        "<p>The guide “Which field for what” (docs/explanation/which-field.md of videoapi) says more.</p></section>\n"
    )


def _origin(summary: UsageSummary, made: datetime) -> str:
    scope = f" Only {escape(printable(summary.scope))}." if summary.scope else ""
    zone = escape(summary.timezone)
    return (
        f"From {escape(printable(summary.source))}.{scope} Days and hours in {zone}. "
        f"Made on {long_day(made.date())} at {made:%H:%M} {escape(made.tzname() or '')}."
    )


def _standing(summary: UsageSummary) -> str:
    text = standing_of(summary, _spoken(summary), long_day)
    return f'<p id="standing">{escape(text)}</p>\n' if text else ""


def _spoken(summary: UsageSummary) -> str:
    period = summary.period
    if period is None:
        return "records without a date" if summary.total.records else "no records"
    first, last = period.first, period.last
    text = f"{period}"
    if len(text) == len("2026-01"):
        return f"{first:%B %Y}"
    if " to " in text:
        return f"{long_day(first)} to {long_day(last)}"
    return text if len(text) == len("2026") else long_day(first)


def _file_name(summary: UsageSummary) -> str:
    return f"usage-{summary.period or 'undated'}".replace(" ", "-")


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
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
