"""`videoapi cdr`: export call detail records to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.client_options import ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS

if TYPE_CHECKING:
    from videoapi.resources.reports import Reports


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that exports a period; it receives the arguments of `export_period`."""
    for decorate in (
        click.argument("first_day", metavar="FROM"),
        click.argument("last_day", metavar="TO"),
        click.argument("out", type=click.Path(path_type=Path, dir_okay=False)),
        click.option("--room", help="Only this room's."),
        click.option("--cursor", help="Resume where an earlier export stopped."),
        click.option("--strict", is_flag=True, help="End at the first record that cannot be read."),
        click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds to wait in all."),
        click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout."),
        click.option("--quiet", is_flag=True, help="No progress and no summary."),
        client_options,
    )[::-1]:
        command = decorate(command)
    return command


@click.group()
def cdr() -> None:
    """Export call detail records."""


@cdr.command("export", epilog=MEANINGS)
@export_options
def export(access: ClientOptions, out: Path, **options: Any) -> None:
    """Write the call records of the days FROM to TO (inclusive, UTC) to OUT.

    OUT ends in .jsonl (every field as returned by the service) or .csv (one row per record; fields
    without a column of their own go to the last column, extra). Until it is complete, the file is named
    OUT.part. Use --cursor to resume an export that was stopped.
    """
    from videoapi.cli.csv_rows import CALL_COLUMNS
    from videoapi.cli.export import check_name
    from videoapi.cli.running import run

    check_name(out)
    run(export_period("cdr", access, out, CALL_COLUMNS, **options))


async def export_period(
    kind: str,
    access: ClientOptions,
    out: Path,
    columns: tuple[str, ...],
    *,
    first_day: str,
    last_day: str,
    room: str | None,
    cursor: str | None,
    strict: bool,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Export one kind of report, `cdr` or `archives`, and return the exit code."""
    from videoapi.cli.export import ExportOptions, export

    async with access.client() as client:
        reports: Reports[Any] = client.cdr if kind == "cdr" else client.archives
        limits: dict[str, Any] = {"cursor": cursor, "extra": True, "strict": strict, "timeout": timeout}
        if room is None:
            stream = reports.by_period(first_day, last_day, **limits)
        else:
            stream = reports.by_room_period(room, first_day, last_day, **limits)
        job = ExportOptions(out=out, columns=columns, cursor=cursor, strict=strict, as_json=as_json, quiet=quiet)
        return await export(job, stream)
