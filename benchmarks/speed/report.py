"""Write a result as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.speed.measure import Result, Row, quartiles

_HEAD = "| | setting | unit | median [quartiles] | ratio [quartiles] | against | limit | kept |\n" + "|---" * 8 + "|"


def write(result: Result, folder: Path) -> None:
    """Write `<slug>.md`, `<slug>.json` with every round, and `<slug>.svg` if matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.slug}.md").write_text(text(result), encoding="utf-8")
    document = json.dumps(attrs.asdict(result), indent=1, ensure_ascii=False)
    (folder / f"{result.slug}.json").write_text(document + "\n", encoding="utf-8")
    try:
        from benchmarks.speed import plots
    except ImportError as error:
        print(f"no plot of {result.slug}: {error}", flush=True)
    else:
        plots.draw(result, folder / f"{result.slug}.svg")


def text(result: Result) -> str:
    """Return a result as a Markdown page."""
    parts = [f"# {result.title}", f"Ratios are against {result.reference}.", table(result.rows)]
    if result.notes:
        parts.append("\n".join(f"- {note}" for note in result.notes))
    parts.append(f"![{result.title}]({result.slug}.svg)")
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    return "\n".join([_HEAD, *map(_line, rows)])


def _line(row: Row) -> str:
    cells = [
        row.name,
        row.setting,
        row.unit,
        _spread(row.values),
        _spread(row.ratios, "{:.2f}"),
        row.against,
        _limit(row),
        {None: "", True: "yes", False: "**no**"}[row.kept],
    ]
    return "| " + " | ".join(cells) + " |"


def _limit(row: Row) -> str:
    if row.limit is None:
        return ""
    return f"{'≥' if row.higher_is_better else '≤'} {row.limit:.2f}"


def _spread(values: Sequence[float], form: str = "") -> str:
    if not values:
        return ""
    low, middle, high = (form.format(value) if form else _number(value) for value in quartiles(values))
    return f"{middle} [{low}–{high}]" if len(values) > 1 else middle


def _number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
