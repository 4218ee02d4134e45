"""Progress of a command: a bar on a terminal, a plain line every five seconds elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from videoapi.cli.streams import is_terminal
from videoapi.cli.terminal import clean, print_status

Show = Callable[..., None]
"""`show(done, note="", waits="")`: the number done so far, a short note, and what is being waited for."""

PLAIN_EVERY: Final = 5.0


@contextlib.contextmanager
def display(what: str, *, total: int | None = None, quiet: bool = False) -> Generator[Show, None, None]:
    """Show progress on stderr while the block runs.

    Args:
        what: What is counted, such as `rooms`.
        total: The expected count, or None if unknown.
        quiet: Whether to show nothing.
    """
    if quiet:
        yield lambda done, note="", waits="": None
        return
    with contextlib.ExitStack() as stack:
        bar = _bar(what, total) if is_terminal(sys.stderr) else None
        yield plain(what, total) if bar is None else stack.enter_context(bar)


def plain(what: str, total: int | None, clock: Callable[[], float] = time.monotonic) -> Show:
    """Return a function that prints a line at most every five seconds."""
    began = last = clock()
    of = "" if total is None else f" of {total:,}"

    def show(done: int, note: str = "", waits: str = "") -> None:
        nonlocal last
        now = clock()
        if now - last < PLAIN_EVERY:
            return
        last = now
        rate = f"{done / (now - began):,.0f}/s"
        print_status(f"{what}: {done:,}{of}, {', '.join(filter(None, (rate, note, waits)))}")

    return show


def _bar(what: str, total: int | None) -> contextlib.AbstractContextManager[Show] | None:
    try:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.text import Text
    except ModuleNotFoundError:
        return None
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<8}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        TimeElapsedColumn(),
    )
    task = bar.add_task(what, total=total, count="", note="")
    of = "" if total is None else f"/{total:,}"
    began = time.monotonic()
    latest: tuple[int, str, str] = (0, "", "")

    def show(done: int, note: str = "", waits: str = "") -> None:
        nonlocal latest
        latest = done, note, waits

    def frame() -> Group:
        done, note, waits = latest
        rate = done / max(time.monotonic() - began, 0.001)
        fields: dict[str, Any] = {"count": f"{done:,}{of}  {rate:,.0f}/s", "note": clean(note)}
        bar.update(task, completed=done, **fields)
        return Group(bar, Text(clean(waits), style="dim")) if waits else Group(bar)

    @contextlib.contextmanager
    def shown() -> Generator[Show, None, None]:
        with Live(get_renderable=frame, console=Console(stderr=True), refresh_per_second=10):
            yield show

    return shown()
