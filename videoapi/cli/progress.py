"""Progress of a command: a bar on a terminal, a plain line every five seconds elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from videoapi.cli.terminal import clean, print_status

if TYPE_CHECKING:
    from rich.progress import Progress

Show = Callable[..., None]
"""`show(done, note="")`: the number done so far, and a short note."""

PLAIN_EVERY: Final = 5.0
BAR_EVERY: Final = 0.1


@contextlib.contextmanager
def display(what: str, *, total: int | None = None, quiet: bool = False) -> Generator[Show, None, None]:
    """Show progress on stderr while the block runs.

    Args:
        what: What is counted, such as `rooms`.
        total: The expected count, or None if unknown.
        quiet: Whether to show nothing.
    """
    if quiet:
        yield lambda done, note="": None
        return
    with contextlib.ExitStack() as stack:
        bar = _bar() if sys.stderr.isatty() else None
        if bar is None:
            yield plain(what, total)
            return
        stack.enter_context(bar)
        yield _on_bar(bar, what, total)


def plain(what: str, total: int | None, clock: Callable[[], float] = time.monotonic) -> Show:
    """Return a function that prints a line at most every five seconds."""
    began = last = clock()
    of = "" if total is None else f" of {total:,}"

    def show(done: int, note: str = "") -> None:
        nonlocal last
        now = clock()
        if now - last < PLAIN_EVERY:
            return
        last = now
        print_status(f"{what}: {done:,}{of}, {done / (now - began):,.0f}/s{', ' if note else ''}{note}")

    return show


def _bar() -> Progress | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError:
        return None
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def _on_bar(bar: Progress, what: str, total: int | None) -> Show:
    task = bar.add_task(what, total=total, count="", note="")
    began = time.monotonic()
    last = 0.0

    def show(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < BAR_EVERY and done != total:
            return
        last = now
        of = "" if total is None else f"/{total:,}"
        rate = done / max(now - began, 0.001)
        fields: dict[str, Any] = {"count": f"{done:,}{of}  {rate:,.0f}/s", "note": clean(note)}
        bar.update(task, completed=done, **fields)

    return show
