"""`videoapi cdr`: export call detail records to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from videoapi.cli.client_options import ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS

if TYPE_CHECKING:
    from videoapi.cli.csv_rows import Table
    from videoapi.resources.reports import Reports


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that exports a period; it receives the arguments of `export_period`."""
    for decorate in (
        click.argument("first_day", metavar="FROM"),
        click.argument("last_day", metavar="TO"),
        click.argument("out", type=click.Path(path_type=Path, dir_okay=False)),
        click.option("--room", help="Only this room's."),
        click.option("--cursor", help="Begin, or continue, at this cursor of an earlier export."),
        click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, once the new one is complete."),
        click.option("--fresh", is_flag=True, help="Start over, and discard OUT.part."),
        click.option("--excel", is_flag=True, help="Begin a .csv with a byte order mark, which Excel needs."),
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
    OUT.part. To continue an export that was stopped or killed, repeat the command; a complete one stays as it is.
    """
    from videoapi.cli.csv_rows import call_table
    from videoapi.cli.running import run

    run(export_period("cdr", access, out, call_table(), **options))


async def export_period(
    kind: str,
    access: ClientOptions,
    out: Path,
    table: Table,
    *,
    first_day: str,
    last_day: str,
    room: str | None,
    cursor: str | None,
    strict: bool,
    timeout: float | None,
    excel: bool,
    **options: Any,
) -> int:
    """Export one kind of report, `cdr` or `archives`, and return the exit code."""
    from videoapi.cli.export import ExportOptions, check_output, export
    from videoapi.cli.invocation import typed_command
    from videoapi.streaming import RecordStream

    check_output(out, excel=excel)
    async with access.client() as client:
        reports: Reports[Any] = client.cdr if kind == "cdr" else client.archives

        def ask(after: str | None) -> RecordStream[Any]:
            limits: dict[str, Any] = {"cursor": after, "extra": True, "strict": strict, "timeout": timeout}
            if room is None:
                return reports.by_period(first_day, last_day, **limits)
            return reports.by_room_period(room, first_day, last_day, **limits)

        question = {
            "app_id": access.app_id,
            "origin": urlsplit(client.base_url)._replace(path="").geturl(),
            "records": kind,
            "from": first_day.strip(),
            "to": last_day.strip(),
            "room": room or "",
        }
        again = typed_command(without=("--fresh",))
        job = ExportOptions(
            out=out,
            table=table,
            question=question,
            cursor=cursor,
            excel=excel,
            strict=strict,
            again=again,
            **options,
        )
        return await export(job, ask)
