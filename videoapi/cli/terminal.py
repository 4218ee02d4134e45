"""Output of the commands, sanitized because the service is not trusted. stdout has results, stderr all else."""

from __future__ import annotations

import json
import re
import shlex
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from videoapi.cli import streams
from videoapi.cli.messages import CommandError, translate

# Control and format characters (escape sequences, bidi overrides), lone surrogates, line separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PRINTABLE: Final = re.compile(r"[ -~]*")
_LONGEST: Final = 2_000


def clean(value: object) -> str:
    """Return a value as one line of at most 2,000 characters, without control characters; empty for None."""
    return "" if value is None else visible(str(value)[:_LONGEST])


def counted(count: int, one: str, many: str) -> str:
    """Return a number with the words that fit it, such as `1 record is` or `2,000 records are`."""
    return f"{count:,} {one if count == 1 else many}"


def visible(text: str) -> str:
    """Return a text as one line without control characters, of any length."""
    if _PRINTABLE.fullmatch(text):
        return text
    kept = (
        " " if character in "\n\t" else character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN
    )
    return "".join(kept)


def print_line(text: str) -> None:
    """Print one line of a listing on stdout.

    Raises:
        BrokenPipeError: If its reader has left, as `head` does; the listing ends then.
    """
    streams.write(text, sys.stdout)


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON, in ASCII.

    Raises:
        BrokenPipeError: If the reader of stdout has left.
    """
    print_line(_json(value))


def print_result(text: str) -> None:
    """Print the result of a command on stdout. What the command has done stays so, whether it is read or not.

    Raises:
        OSError: If it cannot be written, such as to a full disk.
    """
    try:
        streams.write_or_abandon(text, sys.stdout)
    except OSError:
        print_status("Carried out, but the result cannot be written.")
        raise


def print_json(value: Any) -> None:
    """Print the result of a command as one JSON document, in ASCII."""
    print_result(_json(value))


def print_status(text: str, *, quiet: bool = False) -> None:
    """Print a message on stderr; stdout is for results only."""
    if not quiet:
        streams.tell(clean(text))


def print_command(words: Sequence[str]) -> None:
    """Print a command on stderr, quoted for a shell."""
    # Not shortened, so that it works when pasted.
    streams.tell(f"  {shlex.join(words)}")


def for_people(error: object) -> str:
    """Return an error, or a text with one, with options instead of arguments, and without advice to a program."""
    return str(error) if isinstance(error, CommandError) else translate(str(error), getattr(error, "field", None))


def _json(value: Any) -> str:
    # The one control character of ASCII that JSON does not escape.
    return json.dumps(value).replace("\x7f", "\\u007f")
