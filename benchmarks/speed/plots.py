"""Draw a result: bars with quartiles, or lines if it has points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
# Equal results produce identical files.
matplotlib.rcParams["svg.hashsalt"] = "videoapi"
matplotlib.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import LogLocator, NullLocator  # noqa: E402

from benchmarks.speed.measure import Result, Row, quartiles  # noqa: E402

_WIDE = 5.0
"""If the largest value exceeds the smallest by this factor, the axis is logarithmic."""


def draw(result: Result, path: Path) -> None:
    """Write a plot of a result as SVG."""
    figure = _lines(result) if result.points else _bars(result)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(result: Result) -> Any:
    rows = [row for row in result.rows if not row.against and row.unit == result.rows[0].unit]
    relative = any(row.ratios for row in rows)
    if relative:
        rows = [row for row in rows if row.ratios]
    settings = list(dict.fromkeys(row.setting for row in rows))
    columns = min(2, len(settings))
    # Each row of panels is as high as its fullest panel needs.
    counts = [sum(row.setting == setting for row in rows) for setting in settings]
    heights = [1 + 0.3 * max(counts[start : start + columns]) for start in range(0, len(counts), columns)]
    figure, axes = plt.subplots(
        len(heights),
        columns,
        figsize=(6.2 * columns, 0.6 + sum(heights)),
        height_ratios=heights,
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for panel, setting in zip(axes.flat, settings, strict=False):
        _panel(panel, [row for row in rows if row.setting == setting], relative)
        panel.set_title(setting, fontsize=10)
    for panel in axes.flat[len(settings) :]:
        panel.set_visible(False)
    figure.suptitle(result.title)
    figure.supxlabel(f"ratio to {result.reference}" if relative else rows[0].unit, fontsize=9)
    return figure


def _panel(panel: Any, rows: list[Row], relative: bool) -> None:
    rows = rows[::-1]
    spreads = [quartiles(row.ratios if relative else row.values) for row in rows]
    medians = [middle for _, middle, _ in spreads]
    errors = [
        [middle - low for low, middle, _ in spreads],
        [high - middle for _, middle, high in spreads],
    ]
    colors = ["#c0392b" if row.kept is False else "#2a7f62" if row.kept else "#9aa5b1" for row in rows]
    bars = panel.barh([row.name for row in rows], medians, xerr=errors, color=colors, ecolor="#333333", capsize=2)
    panel.bar_label(bars, [f" {middle:.3g}" for middle in medians], fontsize=8)
    if relative:
        panel.axvline(1.0, color="#333333", linewidth=0.8)
    if max(medians) > _WIDE * min(medians) > 0:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(x=0.15)
    panel.tick_params(labelsize=8)


def _lines(result: Result) -> Any:
    panels = result.points.get("panels", [{"title": result.title, **result.points}])
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(8, 5 if lines == 1 else 3 * lines), layout="constrained")
    for panel, points in zip(np.ravel(axes), panels, strict=False):
        _curves(panel, points)
    for panel in np.ravel(axes)[len(panels) :]:
        panel.set_visible(False)
    if len(panels) > 1:
        figure.suptitle(result.title)
    return figure


def _curves(panel: Any, points: dict[str, Any]) -> None:
    for series in points["series"]:
        drawn = panel.plot(series["x"], series["y"], "o" if "fit" in series else "o-", label=series["name"])
        if "fit" in series:
            panel.plot(series["x"], series["fit"], "--", color=drawn[0].get_color(), linewidth=1)
    for axis in points.get("log", ""):
        (panel.set_xscale if axis == "x" else panel.set_yscale)("log")
    if "y" not in points.get("log", ""):
        panel.set_ylim(0, 1.15 * panel.get_ylim()[1])
    panel.set_xlabel(points["x"])
    panel.set_ylabel(points["y"])
    panel.set_title(points["title"], fontsize=10)
    panel.legend(fontsize=8)
