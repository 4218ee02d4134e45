"""What arrived at a sandbox, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from videoapi.sandbox import RouteTraffic, Traffic

_HEADER: Final = ("route", "requests", "429", "worst second", "worst 0.1 s", "at once")
# Above this, in seconds, a stall makes a rate look higher than it was.
_STALL: Final = 0.05


def traffic_lines(traffic: Traffic) -> list[str]:
    """Return a table of the traffic, one line per route and the total last; nothing if there was none."""
    if not traffic.routes:
        return []
    rows = [_HEADER, *(_row(name, counts) for name, counts in traffic.routes.items())]
    rows.append(_row("total, without files" if "files.get" in traffic.routes else "total", traffic.total))
    first, *numbers = (max(map(len, cells)) for cells in zip(*rows, strict=True))
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, numbers, strict=True))])
        for name, *cells in rows
    ]
    if traffic.rate_limit is not None:
        lines.append(f"The rate limit is {traffic.rate_limit}.")
    if traffic.stalled > _STALL:
        lines.append(
            f"The sandbox itself was once too busy to read for {traffic.stalled:.2f} s; requests that waited for it"
            " count as one burst."
        )
    return lines


def _row(name: str, counts: RouteTraffic) -> tuple[str, ...]:
    numbers = (counts.requests, counts.throttled, counts.worst_second, counts.worst_tenth, counts.concurrency)
    return (name, *(f"{number:,}" for number in numbers))
