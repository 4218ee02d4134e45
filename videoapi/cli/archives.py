"""`videoapi archives`: list and export the archive, and download recordings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.client_options import ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option
from videoapi.cli.queries import ReportQuery, query_options, target_last
from videoapi.cli.reports import export_options, list_options

if TYPE_CHECKING:
    from videoapi.models.archives import Archive

_KINDS = ("recording", "transcoded", "chatdata", "metadata")
_COLUMNS = ("time", "archive_id", "room_id", "conf_num", "files")


@click.group()
def archives() -> None:
    """List and export the archive, and download recordings."""


@archives.command("list", epilog=MEANINGS)
@list_options
def list_archives(access: ClientOptions, query: ReportQuery, **options: Any) -> None:
    """List archives, one for each session with files.

    Give the days FROM and TO (inclusive, UTC), --room, both, or --conference. Columns: time, archive ID, room ID,
    conference number, files. --json adds the URLs of the files.
    """
    from videoapi.cli.reports import print_reports
    from videoapi.cli.running import run

    run(print_reports("archives", access, query, _COLUMNS, _row, **options))


def _row(archive: Archive) -> tuple[object, ...]:
    counts = Counter(file.kind for file in archive.files)
    files = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return archive.trans_date, archive.archive_id, archive.room_id, archive.conf_num, files


@archives.command("export", epilog=MEANINGS)
@export_options
def export(access: ClientOptions, query: ReportQuery, out: str, **options: Any) -> None:
    """Write archives, with the URLs of their files, to OUT.

    Give the days FROM and TO (inclusive, UTC), --room, both, or --conference. OUT ends in .jsonl, .csv or .parquet
    (needs the extra `data`), and is written as by `videoapi cdr export`.
    """
    from videoapi.cli.csv_rows import archive_table
    from videoapi.cli.reports import export_reports
    from videoapi.cli.running import run

    run(export_reports("archives", access, query, out, archive_table(), **options))


@archives.command("download", epilog=MEANINGS)
@query_options
@click.argument("folder", metavar="DIR", required=False)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only files of this kind. Repeatable.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 16),
    metavar="N",
    default=4,
    show_default=True,
    help="Files at once.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--recording-host",
    "recording_hosts",
    multiple=True,
    metavar="HOST",
    help="Another host to fetch files from. Repeatable.",
)
@json_option("Print a report as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary.")
@client_options
def download(
    access: ClientOptions,
    start: str | None,
    end: str | None,
    room_id: str | None,
    conf_num: str | None,
    folder: str | None,
    recording_hosts: tuple[str, ...],
    **options: Any,
) -> None:
    """Download recordings and other files to DIR.

    Each session gets a folder of its own. Give the days FROM and TO (inclusive, UTC), --room, both, or --conference.

    Set VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD. Files that exist are skipped. To resume interrupted
    downloads, repeat the command. The service keeps files for 72 hours.
    """
    from videoapi.cli.running import run

    query, folder = target_last(ReportQuery(start, end, room_id, conf_num), folder, "DIR")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise click.UsageError(f"DIR {folder} is a file")
    run(_download(access, query, recording_hosts, folder=Path(folder), **options), interrupted="")


async def _download(access: ClientOptions, query: ReportQuery, hosts: tuple[str, ...], **options: Any) -> int:
    from videoapi.cli.fetch import fetch

    async with access.client(recording_hosts=hosts) as client:
        return await fetch(client.archives, query.stream(client.archives), **options)
