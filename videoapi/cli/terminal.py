"""Words on the terminal: harmless whatever the service sent."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import click

# Control and format characters (escape sequences, bidi overrides), lone surrogates, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_LONGEST: Final = 2_000


def clean(value: object) -> str:
    """Return a value's text on one line, without what could steer a terminal; nothing for None."""
    text = "" if value is None else str(value)
    kept = (
        " " if character in "\n\t" else character
        for character in text[:_LONGEST]
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN
    )
    return "".join(kept)


def print_status(text: str, *, quiet: bool = False) -> None:
    """Tell the user something, on stderr: stdout is for results."""
    if not quiet:
        click.echo(clean(text), err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header, in columns, on stdout."""
    cells = [tuple(header), *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
