"""`videoapi archives`: what was recorded, as a list and as files."""

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
    """Export the archive, and download recordings."""


@archives.command("export", epilog=MEANINGS)
@export_options
def export(access: ClientOptions, out: Path, **asked: Any) -> None:
    """Write the archive of the days FROM to TO, both included and UTC, to OUT (.jsonl or .csv).

    The URLs of the files are part of it. The rest is as in `videoapi cdr export`.
    """
    from videoapi.cli.csv_rows import ARCHIVE_COLUMNS
    from videoapi.cli.export import check_name
    from videoapi.cli.running import run

    check_name(out)
    run(export_period("archives", access, out, ARCHIVE_COLUMNS, **asked))


@archives.command("download", epilog=MEANINGS)
@click.argument("first_day", metavar="FROM")
@click.argument("last_day", metavar="TO")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--room", help="Only this room's.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Only these; repeatable.")
@click.option("--concurrency", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at once.")
@click.option("--recording-host", "hosts", multiple=True, help="Host to fetch from besides the API's own.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
@client_options
def download(access: ClientOptions, hosts: tuple[str, ...], **asked: Any) -> None:
    """Download the files of the days FROM to TO, both included and UTC, into DIR/<session>/.

    Needs VIDEOAPI_RECORDING_USER and VIDEOAPI_RECORDING_PASSWORD. What is there already is not fetched
    again, and a broken download goes on where it stopped: just repeat the command. The service keeps
    files for 72 hours.
    """
    from videoapi.cli.running import run

    run(_download(access, hosts, **asked))


async def _download(
    access: ClientOptions, hosts: tuple[str, ...], *, first_day: str, last_day: str, room: str | None, **asked: Any
) -> int:
    from videoapi.cli.fetch import fetch

    async with access.client(recording_hosts=hosts) as client:
        if room is None:
            stream = client.archives.by_period(first_day, last_day)
        else:
            stream = client.archives.by_room_period(room, first_day, last_day)
        return await fetch(client.archives, stream, **asked)
