"""`videoapi report`: call records as one HTML page for people, or as figures in JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from videoapi.cli.client_options import SECONDS, ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option

_PERIOD: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")
_PAGES: Final = (".html", ".htm")


@click.command(epilog=MEANINGS)
@click.argument("words", metavar="[PERIOD | FROM TO] [EXPORT] [OUT.html]", nargs=-1)
@click.option(
    "--from", "source", metavar="FILE", type=click.Path(path_type=Path), help="Read an export, not the service."
)
@click.option(
    "--archives", metavar="FILE", type=click.Path(path_type=Path), help="With an export: the export of the archives."
)
@click.option("-o", "--out", metavar="FILE", help="The page to write, or - for stdout; usage-PERIOD.html by default.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, once the new one is complete.")
@click.option("--timezone", metavar="NAME", default="UTC", show_default=True, help="Of days and hours: Europe/Berlin.")
@click.option(
    "--group-by",
    "groups",
    multiple=True,
    type=click.Choice(["day", "room", "owner_ref", "user", "role"]),
    help="Show this first; user and role are shown only then. Repeatable.",
)
@click.option("--top", type=click.IntRange(1, 500), default=20, show_default=True, help="How many of a group to list.")
@click.option("--room", "room_id", metavar="ROOM_ID", help="Only this room's.")
@click.option("--conference", "conf_num", metavar="NUMBER", help="Only those of one session.")
@click.option("--timeout", type=SECONDS, help="Seconds to wait for the service in all.")
@json_option("Print the figures as JSON on stdout; write a page only if OUT is given.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
@client_options
def report(access: ClientOptions, words: tuple[str, ...], source: Path | None, out: str | None, **options: Any) -> None:
    """Write a report on usage that people can read: one HTML file, which needs no network.

    PERIOD is a month (2026-01), a year or a day; FROM and TO are two of them, both included. The records come from the
    service, or from an EXPORT: a file .jsonl, .csv or .parquet, also .gz, or a folder of Parquet files. Without a
    period, all records of an export are in the report.
    """
    from videoapi.cli.report_run import ReportOptions, write_report
    from videoapi.cli.running import run
    from videoapi.report.sources import is_export

    periods = [word for word in words if _PERIOD.fullmatch(word)]
    pages = [word for word in words if word.lower().endswith(_PAGES)]
    exports = [word for word in words if word not in periods and word not in pages]
    for word in exports:
        if not (is_export(Path(word)) or Path(word).exists()):
            raise click.UsageError(
                f"{word}: neither a period, nor an export that exists. A period is a month (2026-01), a year (2026) "
                "or a day (2026-01-31); OUT ends in .html"
            )
    if len(periods) > 2 or len(pages) > 1 or len(exports) > 1:
        raise click.UsageError("give one period, or FROM and TO; one EXPORT; and one OUT")
    if (exports and source is not None) or (pages and out is not None):
        raise click.UsageError("EXPORT or --from, and OUT or --out: give each once")
    source = Path(exports[0]) if exports else source
    if options["archives"] is not None and source is None:
        raise click.UsageError("--archives is for an export; from the service, the archives are read as well")
    run(
        write_report(
            access,
            ReportOptions(periods=tuple(periods), source=source, out=pages[0] if pages else out, **options),
        )
    )
