"""Terminal output, sanitized because the service is not trusted."""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import click

# Control and format characters (escape sequences, bidi overrides), lone surrogates, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_CALL: Final = re.compile(r" Before [^.]*, call rooms\.resolve\([^)]*\)\.")
_OPTIONS: Final = (
    ("app_id= or VIDEOAPI_APP_ID", "VIDEOAPI_APP_ID"),
    ("app_key= or VIDEOAPI_APP_KEY", "--app-key-file or VIDEOAPI_APP_KEY"),
    ("base_url", "VIDEOAPI_BASE_URL"),
    ("allow_http=True (VIDEOAPI_ALLOW_HTTP=1)", "VIDEOAPI_ALLOW_HTTP=1"),
    ("recording_auth=(user, password), or ", ""),
    ("recording_auth=:", "VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD:"),
    ("ca_file=", "--ca-file"),
    ("control=", "--control"),
    ("control must", "--control must"),
    (", or update that room", ""),
    ("; give name= another name", "; move it away"),
    ("; give overwrite=True", "; give --overwrite"),
    ("start is not a day", "FROM is not a day"),
    ("end is not a day", "TO is not a day"),
    ("room_id is not an ID", "Not a room ID"),
    ("cursor: ", "--cursor: "),
    ("`page.cursor` or `stream.cursor`", "the file OUT.state or the report of --json"),
    ("the cursor, or omit the cursor", "the cursor, or leave out --cursor"),
)
_LONGEST: Final = 2_000


def clean(value: object) -> str:
    """Return a value as one line of at most 2,000 characters, without control characters; empty for None."""
    text = "" if value is None else str(value)
    kept = (
        " " if character in "\n\t" else character
        for character in text[:_LONGEST]
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN
    )
    return "".join(kept)


def print_status(text: str, *, quiet: bool = False) -> None:
    """Print a message on stderr; stdout is for results only."""
    if not quiet:
        # Not err=True, which bypasses the progress bar that replaces sys.stderr, and writes into its line.
        click.echo(clean(text), file=sys.stderr)


def for_people(error: object) -> str:
    """Return an error, or a text with one, with options instead of arguments, and without advice to a program."""
    text = _CALL.sub("", str(error))
    for argument, option in _OPTIONS:
        text = text.replace(argument, option)
    return text


def print_command(words: Sequence[str]) -> None:
    """Print a command on stderr, quoted for a shell."""
    # Not shortened, so that it works when pasted.
    click.echo(f"  {shlex.join(words)}", err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header on stdout, aligned in columns."""
    cells = [tuple(header), *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
