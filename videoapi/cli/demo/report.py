"""The demo's report: steps, counts compared with the ledger, faults, and the month's usage."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from videoapi.cli.demo.results import DemoCheck, DemoResults

BAR: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def draw(found: DemoResults, *, seconds: float, console: Console | None = None) -> None:
    """Print the report.

    Args:
        found: The results.
        seconds: The duration of the demo.
        console: Where to print; stdout if None.
    """
    console = console or Console(highlight=False)
    console.print(
        _steps(found), _checks(found), _survived(found), _usage(found, not console.encoding.startswith("utf"))
    )
    differing = [check for check in found.checks if not check.agrees]
    console.print(
        f"{len(found.checks)} counts agree with the ledger"
        if not differing
        else f"{len(differing)} of {len(found.checks)} counts differ from the ledger",
        f"after {seconds:.1f} s.",
        style="bold green" if not differing else "bold red",
    )


def bar(share: float, width: int = BAR, *, ascii_only: bool = False) -> str:
    """Return a bar of text.

    Args:
        share: The filled part of the width, from 0 to 1.
        width: The full width in characters.
        ascii_only: Whether to avoid block characters.
    """
    if ascii_only:
        return "#" * round(max(0.0, min(share, 1.0)) * width)
    whole, eighths = divmod(round(max(0.0, min(share, 1.0)) * width * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")


def _steps(found: DemoResults) -> Table:
    table = Table(title="What was done", title_justify="left")
    table.add_column("step")
    for name in ("count", "seconds", "rate"):
        table.add_column(name, justify="right")
    for step in found.steps:
        table.add_row(step.what, f"{step.count:,}", f"{step.seconds:.1f}", f"{step.rate:,.0f} {step.unit}/s")
    return table


def _checks(found: DemoResults) -> Table:
    table = Table(title="Client and ledger", title_justify="left")
    table.add_column("count of")
    for name in ("client", "ledger"):
        table.add_column(name, justify="right")
    table.add_column("agrees")
    for check in found.checks:
        table.add_row(check.what, f"{check.client:,}", f"{check.ledger:,}", _verdict(check), style=_style(check))
    return table


def _verdict(check: DemoCheck) -> str:
    return "yes" if check.agrees else "NO <--"


def _style(check: DemoCheck) -> str:
    return "" if check.agrees else "bold red"


def _survived(found: DemoResults) -> Table:
    table = Table(title="Faults handled", title_justify="left")
    table.add_column("kind")
    table.add_column("requests", justify="right")
    for kind, count in found.survived.most_common():
        table.add_row(kind, f"{count:,}")
    return table


def _usage(found: DemoResults, ascii_only: bool) -> Table:
    table = Table(title="Connected minutes per day (UTC)", title_justify="left", show_header=False, box=None)
    most = max(found.minutes.values(), default=0) or 1
    for day, minutes in sorted(found.minutes.items()):
        table.add_row(
            f"{day:%a %d %b}",
            bar(minutes / most, ascii_only=ascii_only),
            f"{minutes:,.0f}",
            f"{found.calls[day]:,} calls",
        )
    return table
