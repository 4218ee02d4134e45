"""`videoapi cdr`: list and export call detail records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.client_options import ClientOptions
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.queries import ReportQuery
from videoapi.cli.reports import export_options, list_options

if TYPE_CHECKING:
    from videoapi.models.cdr import CallRecord

_COLUMNS = ("time", "room_id", "conf_num", "user", "role", "minutes")


@click.group()
def cdr() -> None:
    """List and export call detail records."""


@cdr.command("list", epilog=MEANINGS)
@list_options
def list_records(access: ClientOptions, query: ReportQuery, **options: Any) -> None:
    """List call records, one for each connection of a user.

    Give the days FROM and TO (inclusive, UTC), --room, both, or --conference. Columns: time, room ID,
    conference number, user, role, minutes of the user.
    """
    from videoapi.cli.reports import print_reports
    from videoapi.cli.running import run

    run(print_reports("cdr", access, query, _COLUMNS, _row, **options))


def _row(record: CallRecord) -> tuple[object, ...]:
    row = record.flat()
    minutes = row["user_minutes"]
    return (
        record.trans_date,
        row["room_id"],
        row["conf_num"],
        row["user_name"],
        row["user_role"],
        "" if minutes is None else f"{minutes:.1f}",
    )


@cdr.command("export", epilog=MEANINGS)
@export_options
def export(access: ClientOptions, query: ReportQuery, out: str, **options: Any) -> None:
    """Write call records to OUT.

    Give the days FROM and TO (inclusive, UTC), --room, both, or --conference. OUT ends in .jsonl (every field as
    returned by the service), .csv (one row per record; fields without a column go to the last column, extra) or
    .parquet (typed columns). Parquet and --partition need the extra `data`: pip install 'videoapi[data]'.

    Until the export is complete, the file is named OUT.part. To continue an export that was stopped or killed, repeat
    the command. A complete file stays as it is.

    If OUT is -, the records go to stdout, and a repeated command starts over.
    """
    from videoapi.cli.csv_rows import call_table
    from videoapi.cli.reports import export_reports
    from videoapi.cli.running import run

    run(export_reports("cdr", access, query, out, call_table(), **options))
