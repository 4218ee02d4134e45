"""The charts of a report, as figures of plotly: dictionaries of data and layout. Pure.

A colour is named, such as `@users`; the page puts in the one of its theme. Texts of the service are escaped, because
plotly reads tags in them.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

from videoapi.report.summary import WEEKDAYS, Figures, Group, UsageSummary
from videoapi.report.usage import GRADES

Chart = dict[str, Any]

_MANY_DAYS: Final = 45
_BAR: Final = 26
_LONGEST: Final = 22
_AXIS: Final[Chart] = {"fixedrange": True, "automargin": True, "zeroline": False}
_AMOUNT: Final[Chart] = {**_AXIS, "rangemode": "tozero", "separatethousands": True, "nticks": 5}
_LEGEND: Final[Chart] = {"orientation": "h", "x": 0, "yref": "container", "y": 1, "yanchor": "top"}
_MARGIN: Final[Chart] = {"l": 8, "r": 8, "t": 34, "b": 8}
_NO_LEGEND: Final[Chart] = {**_MARGIN, "t": 8}
_GRADE_COLORS: Final = ("@good", "@bad", "@other")


def days_chart(summary: UsageSummary) -> Chart:
    """Return sessions, and below them the minutes of participants and rooms, per day."""
    figures = summary.per_day()
    days = [f"{day}" for day, _ in figures]
    sessions, users, rooms = zip(*(_amounts(one) for _, one in figures), strict=True)
    many = len(days) > _MANY_DAYS

    def series(name: str, color: str, values: tuple[float | None, ...], axis: str) -> Chart:
        line = {"type": "scatter", "mode": "lines", "line": {"color": color, "width": 1.5}}
        bar = {"type": "bar", "marker": {"color": color}}
        hover = f"%{{x|%a %d %b %Y}}<br>%{{y:,.0f}}<extra>{name}</extra>"
        return {"name": name, "x": days, "y": values, "yaxis": axis, "hovertemplate": hover, **(line if many else bar)}

    return {
        "data": [
            series("Sessions", "@sessions", sessions, "y"),
            series("Participant minutes", "@users", users, "y2"),
            series("Room minutes", "@rooms", rooms, "y2"),
        ],
        "layout": {
            "height": 460,
            "margin": _MARGIN,
            "barmode": "group",
            "xaxis": {**_AXIS, "type": "date", "anchor": "y2", "showgrid": False},
            "yaxis": {**_AMOUNT, "domain": [0.66, 1], "title": {"text": "sessions"}},
            "yaxis2": {**_AMOUNT, "domain": [0, 0.56], "title": {"text": "minutes"}},
            "legend": _LEGEND,
        },
    }


def _amounts(figures: Figures | None) -> tuple[float | None, float | None, float | None]:
    """Return sessions, participant minutes and room minutes; a day that is not known has a gap."""
    if figures is None:
        return None, None, None
    return figures.sessions, round(figures.participant_minutes, 1), round(figures.room_minutes or 0, 1)


def hours_chart(summary: UsageSummary) -> Chart:
    """Return a heat map of the hours of the week."""
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(range(24)),
                "y": [name[:3] for name in WEEKDAYS],
                "z": summary.per_hour(),
                # An hour that is not known has no colour, and says nothing.
                "hoverongaps": False,
                "colorscale": "@heat",
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": "%{y} %{x}:00 to %{x}:59<br>%{z:,} connections begun<extra></extra>",
                "colorbar": {"orientation": "h", "y": -0.2, "yanchor": "top", "thickness": 10, "outlinewidth": 0},
            }
        ],
        "layout": {
            "height": 300,
            "margin": _NO_LEGEND,
            "xaxis": {**_AXIS, "dtick": 3, "ticksuffix": ":00", "showgrid": False},
            "yaxis": {**_AXIS, "autorange": "reversed", "showgrid": False},
        },
    }


def group_chart(group: Group, *, sessions: bool) -> Chart:
    """Return the minutes of the largest entries of a group as horizontal bars."""
    # By position, because two rooms can have one name.
    places = list(range(len(group.entries)))
    labels = [shown_name(entry.name or entry.key) for entry in group.entries]

    def bars(name: str, color: str, values: list[float]) -> Chart:
        return {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": [round(value, 1) for value in values],
            "y": places,
            "customdata": [escaped(entry.name or entry.key or "(none)") for entry in group.entries],
            "marker": {"color": color},
            "hovertemplate": f"%{{customdata}}<br>%{{x:,.0f}}<extra>{name}</extra>",
        }

    data = [bars("Participant minutes", "@users", [entry.figures.participant_minutes for entry in group.entries])]
    if sessions:
        data.append(bars("Room minutes", "@rooms", [entry.figures.room_minutes or 0 for entry in group.entries]))
    return {
        "data": data,
        "layout": {
            "height": (84 if sessions else 58) + _BAR * max(1, len(places)),
            "margin": _MARGIN if sessions else _NO_LEGEND,
            "barmode": "group",
            "bargap": 0.25,
            "xaxis": {**_AMOUNT, "side": "bottom"},
            "yaxis": {
                **_AXIS,
                "autorange": "reversed",
                "tickmode": "array",
                "tickvals": places,
                "ticktext": labels,
                "showgrid": False,
            },
            "legend": _LEGEND if sessions else {},
            "showlegend": sessions,
        },
    }


def quality_chart(summary: UsageSummary) -> Chart:
    """Return the shares of good and bad connections, for each kind of media that was measured."""
    shown = [one for one in summary.quality if one.measured]
    labels = [quality_name(one.direction, one.media) for one in shown]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": GRADES[grade].capitalize(),
            "y": labels,
            "x": [100 * one.counts[grade] / one.measured for one in shown],
            "customdata": [one.counts[grade] for one in shown],
            "marker": {"color": color},
            "hovertemplate": f"%{{y}}<br>%{{x:.1f}} % ({GRADES[grade]})<br>%{{customdata:,}} records<extra></extra>",
        }
        for grade, color in enumerate(_GRADE_COLORS)
        if any(one.counts[grade] for one in shown)
    ]
    return {
        "data": data,
        "layout": {
            "height": 90 + 44 * len(shown),
            "margin": _MARGIN,
            "barmode": "stack",
            "bargap": 0.3,
            "xaxis": {**_AMOUNT, "range": [0, 100], "ticksuffix": " %"},
            "yaxis": {**_AXIS, "autorange": "reversed", "showgrid": False},
            "legend": {**_LEGEND, "traceorder": "normal"},
        },
    }


def recordings_chart(days: Sequence[tuple[str, int | None]]) -> Chart:
    """Return the archives per day."""
    return {
        "data": [
            {
                "type": "bar",
                "name": "Archives",
                "x": [day for day, _ in days],
                "y": [count for _, count in days],
                "marker": {"color": "@recordings"},
                "hovertemplate": "%{x|%a %d %b %Y}<br>%{y:,} archives<extra></extra>",
            }
        ],
        "layout": {
            "height": 230,
            "margin": _NO_LEGEND,
            "xaxis": {**_AXIS, "type": "date", "showgrid": False},
            "yaxis": {**_AMOUNT, "title": {"text": "archives"}},
            "showlegend": False,
        },
    }


def quality_name(direction: str, media: str) -> str:
    """Return the name of one kind of media in one direction."""
    return f"{media} {'sent' if direction == 'send' else 'received'}".capitalize()


def shown_name(name: str) -> str:
    """Return a name that is short enough for the axis of a chart, escaped."""
    if not name:
        return "(none)"
    return escaped(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def escaped(text: str) -> str:
    """Return a text in which plotly reads no tags, and no formulas."""
    return html.escape(printable(text), quote=False).replace("$", "&#36;")


def printable(text: str) -> str:
    """Return a text with a replacement for each control character, and each character that changes the direction."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
