"""Tables: drawn by rich on a terminal, aligned text elsewhere. Rows are printed in blocks as they arrive."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence, Set
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final, Self

from videoapi.cli.streams import is_terminal
from videoapi.cli.terminal import clean, print_line

_FIRST: Final = 50
"""Rows that decide on the widths of the columns."""
_BLOCK: Final = 1_000
_GAP: Final = 2
_NARROWEST: Final = 6
"""Characters that a folded column has at least, or as many as its name."""
_IDS: Final = frozenset({"room_id", "conf_num", "cdr_id", "archive_id"})
_REFERENCES: Final = frozenset({"owner_ref", "user_ref"})
"""Columns to be copied: IDs are never folded, references only if they do not fit."""


class TableWriter:
    """Rows under a header; without a terminal only the rows, one on each line.

    No ID is folded: on a terminal that is too narrow, each row is a block of lines, one per field.

    Args:
        header: The names of the columns.
    """

    def __init__(self, *header: str) -> None:
        self._header = header
        self._on_terminal = is_terminal(sys.stdout) and find_spec("rich") is not None
        self._widths = [len(name) if self._on_terminal else 0 for name in header]
        self._waiting: list[Sequence[str]] = []
        self._printed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What has arrived before an error is printed, too.
        if not isinstance(error, BrokenPipeError):
            self._print()

    def add(self, *row: object) -> None:
        """Add a row.

        Raises:
            BrokenPipeError: If the reader of the table has left.
        """
        self._waiting.append([clean(cell) for cell in row])
        if self._is_due:
            self._print()

    @property
    def _is_due(self) -> bool:
        if not self._printed:
            return len(self._waiting) >= _FIRST
        return not self._on_terminal or len(self._waiting) >= _BLOCK

    def _print(self) -> None:
        if not self._waiting:
            return
        if not self._printed or self._on_terminal:
            columns = zip(*self._waiting, strict=True)
            self._widths = [max(old, *map(len, cells)) for old, cells in zip(self._widths, columns, strict=True)]
        if self._on_terminal:
            self._draw()
        else:
            for row in self._waiting:
                padded = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
                print_line("  ".join(padded).rstrip())
        self._printed += len(self._waiting)
        self._waiting.clear()

    def _draw(self) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        console = Console(file=sys.stdout, highlight=False)
        table = Drawn(
            box=box.SIMPLE_HEAD,
            show_header=not self._printed,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        whole = whole_columns(self._header, self._widths, console.width)
        if whole is None:
            self._list()
            return
        for name, width in zip(self._header, self._widths, strict=True):
            table.add_column(name, min_width=width if name in whole else None, no_wrap=name in whole, overflow="fold")
        for row in self._waiting:
            # As Text, so that brackets of a name are not taken for markup.
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        sys.stdout.flush()

    def _list(self) -> None:
        longest = max(map(len, self._header))
        for number, row in enumerate(self._waiting):
            if number or self._printed:
                print_line("")
            for name, cell in zip(self._header, row, strict=True):
                print_line(f"{name.ljust(longest)}  {cell}".rstrip())


def whole_columns(header: Sequence[str], widths: Sequence[int], limit: int) -> Set[str] | None:
    """Return the columns that are not folded; None if the IDs do not fit next to all others, however narrow.

    Args:
        header: The names of the columns.
        widths: Their widths, in characters.
        limit: The width of the terminal.
    """

    def fits(whole: Set[str]) -> bool:
        needed = (
            width if name in whole else min(width, max(len(name), _NARROWEST))
            for name, width in zip(header, widths, strict=True)
        )
        return sum(needed) + _GAP * len(widths) <= limit

    # The columns of one block are those of the next, if the terminal is wide enough for all.
    candidates: tuple[Set[str], ...] = (frozenset(header), _IDS | _REFERENCES, _IDS)
    return next((whole for whole in candidates if fits(whole)), None)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a whole table on stdout."""
    with TableWriter(*header) as table:
        for row in rows:
            table.add(*row)


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print the fields of one object on stdout, those without a value left out."""
    print_table(("field", "value"), ((name, shown(value)) for name, value in fields if value is not None))


def shown(value: object) -> str:
    """Return a value of the service as a cell: what is not text as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
