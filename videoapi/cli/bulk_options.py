"""What the commands have in common that work through a file: their options, and their input and output files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from videoapi.cli.client_options import SECONDS, client_options
from videoapi.cli.output_options import json_option

T = TypeVar("T")
INPUT: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


def _rate(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if not value:
        return None
    from videoapi.errors import ConfigurationError
    from videoapi.pipeline.rate_limit import parse_rate

    try:
        parse_rate(value)
    except ConfigurationError:
        raise click.UsageError(
            f"--rate or VIDEOAPI_RATE {value!r}: give a text such as 600/min or 10/s", context
        ) from None
    return value


def bulk_options(command: Any) -> Any:
    """Decorate a command that works through a file, and writes an outcome for each line."""
    for option in (
        click.option("--quiet", is_flag=True, help="Show no progress and no summary."),
        json_option("Print the report as JSON on stdout."),
        click.option(
            "--give-up-after",
            type=SECONDS,
            default=120.0,
            show_default=True,
            help="Stop if all requests are refused for this long.",
        ),
        click.option("--timeout", type=SECONDS, help="Time limit for the whole run; none by default."),
        click.option(
            "--rate",
            envvar="VIDEOAPI_RATE",
            callback=_rate,
            metavar="RATE",
            help="Most requests of the command, such as 600/min or 10/s. [default: VIDEOAPI_RATE, or no limit]",
        ),
        click.option(
            "--concurrency", type=click.IntRange(1, 64), metavar="N", help="Requests in flight; 32 by default."
        ),
        click.option(
            "--out",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Outcome file. [default: FILE.outcomes.jsonl]",
        ),
    ):
        command = option(command)
    return client_options(command)


def ignore_option(command: Any) -> Any:
    """Decorate a command that reads specs from a file; it receives `ignored`."""
    words = "Column or field of your own, which is not sent. Repeatable."
    return click.option("--ignore-column", "ignored", multiple=True, metavar="NAME", help=words)(command)


def output_of(file: Path, out: Path | None) -> Path:
    """Return the outcome file of an input file.

    Raises:
        click.UsageError: If it is the input file.
    """
    path = out or file.with_name(f"{file.name}.outcomes.jsonl")
    if path.exists() and path.samefile(file):
        raise click.UsageError(f"--out {path} is the input file")
    return path


def readable(read: Callable[[Path], T], file: Path) -> T:
    """Return what a function reads from a file.

    Raises:
        click.UsageError: If the file cannot be read.
    """
    from videoapi.cli.spreadsheet import BadInput

    try:
        return read(file)
    except BadInput as bad:
        raise click.UsageError(str(bad)) from None
