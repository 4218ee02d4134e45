"""A check of a whole input file; nothing is sent."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import click

from videoapi.cli import exit_codes
from videoapi.cli.inputs import InputFile
from videoapi.cli.spreadsheet import UnreadableRest
from videoapi.cli.terminal import clean, print_status
from videoapi.creation.create_request import create_request, new_reference
from videoapi.errors import ValidationError
from videoapi.models.rooms import RoomSpec
from videoapi.protocol.routes import Options


def check(given: InputFile[RoomSpec], *, validate: bool, as_json: bool, quiet: bool) -> int:
    """Print what is wrong with each line of a file, and return the exit code: 0 if all lines are valid."""
    problems: list[dict[str, Any]] = []
    total = 0

    def report(line: int | None, key: str | int | None, message: str) -> None:
        problems.append({"line": line, "key": key, "message": message})
        if not as_json:
            click.echo(clean(message if line is None else f"line {line}: {message}"))

    try:
        with closing(given.lines) as lines:
            for line in lines:
                total += 1
                error = line.error or (None if line.given is None else _problem(line.given, validate=validate))
                if error is not None:
                    report(line.number, line.key, str(error))
    except UnreadableRest as error:
        report(None, None, str(error))
    if as_json:
        click.echo(json.dumps({"total": total, "invalid": len(problems), "keys": given.keys, "problems": problems}))
    print_status(f"{total:,} lines, {len(problems):,} invalid. Nothing was sent.", quiet=quiet)
    return exit_codes.FAILED if problems else exit_codes.DONE


def _problem(spec: RoomSpec, *, validate: bool) -> ValidationError | None:
    try:
        create_request(spec, new_reference(), Options(), validate=validate)
    except ValidationError as error:
        return error
    return None
