"""`videoapi archives`: export the archive, and download recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from videoapi.cli.cdr import export_options, export_period
from videoapi.cli.client_options import ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS

_KINDS = ("recording", "transcoded", "chatdata", "metadata")


@click.group()
def archives() -> None:
    """Export the archive and download recordings."""


@archives.command("export", epilog=MEANINGS)
@export_options
def export(access: ClientOptions, out: Path, **options: Any) -> None:
    """Write the archives of the days FROM to TO (inclusive, UTC) to OUT (.jsonl or .csv).

    Includes the URLs of the files. Otherwise works like `videoapi cdr export`.
    """
    from videoapi.cli.csv_rows import archive_table
    from videoapi.cli.running import run

    run(export_period("archives", access, out, archive_table(), **options))


@archives.command("download", epilog=MEANINGS)
@click.argument("first_day", metavar="FROM")
@click.argument("last_day", metavar="TO")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--room", help="Only this room's.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only these; repeatable.")
@click.option("--concurrency", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at once.")
@click.option("--overwrite", is_flag=True, help="Download files again that are there already.")
@click.option("--recording-host", "hosts", multiple=True, help="Host to fetch from besides the API's own.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
@client_options
def download(access: ClientOptions, hosts: tuple[str, ...], **options: Any) -> None:
    """Download the files of the days FROM to TO (inclusive, UTC) to DIR/<session>/.

    Needs VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD. Existing files are skipped; a file that
    cannot be written for any other reason counts as failed. Repeat the command to resume interrupted downloads. The
    service keeps files for 72 hours.
    """
    from videoapi.cli.running import run

    run(_download(access, hosts, **options))


async def _download(
    access: ClientOptions, hosts: tuple[str, ...], *, first_day: str, last_day: str, room: str | None, **options: Any
) -> int:
    from videoapi.cli.fetch import fetch

    async with access.client(recording_hosts=hosts) as client:
        if room is None:
            stream = client.archives.by_period(first_day, last_day)
        else:
            stream = client.archives.by_room_period(room, first_day, last_day)
        return await fetch(client.archives, stream, **options)
