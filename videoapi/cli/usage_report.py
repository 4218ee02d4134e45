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
    "--from", "source", metavar="FILE", type=click.Path(path_type=Path), help="Read an export instead of the service."
)
@click.option(
    "--archives",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The export of the archives that goes with an export of call records.",
)
@click.option("-o", "--out", metavar="FILE", help="The page to write, or - for stdout. [default: usage-PERIOD.html]")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, once the new one is complete.")
@click.option(
    "--timezone",
    metavar="NAME",
    default="UTC",
    show_default=True,
    help="Time zone of days and hours, such as Europe/Berlin.",
)
@click.option(
    "--group-by",
    "groups",
    multiple=True,
    type=click.Choice(["day", "room", "owner_ref", "user", "role"]),
    help="Show this group first; users and roles are shown only if you give them. Repeatable.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of entries per group. [default: 20 in the page, where 500 is the most; all with --json]",
)
@click.option("--room", "room_id", metavar="ROOM_ID", help="Only records of this room.")
@click.option("--conference", "conf_num", metavar="NUMBER", help="Only records of this session.")
@click.option(
    "--timeout",
    type=SECONDS,
    help="Time limit for waiting for the service, each for call records and archives; none by default.",
)
@json_option("Print the figures as JSON on stdout; write a page only if OUT is given.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary.")
@client_options
def report(access: ClientOptions, words: tuple[str, ...], source: Path | None, out: str | None, **options: Any) -> None:
    """Write a usage report: one HTML file that works without a network.

    PERIOD is a month (2026-01), a year (2026) or a day (2026-01-31). FROM and TO are the first and the last one. The
    records come from the service or from an EXPORT: a .jsonl, .csv or .parquet file, optionally with .gz, or a folder
    of Parquet files. Without a period, the report covers all records of the export.
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
        raise click.UsageError("give one PERIOD or FROM and TO, at most one EXPORT, and at most one OUT")
    if (exports and source is not None) or (pages and out is not None):
        raise click.UsageError("give the export once, as EXPORT or --from, and the page once, as OUT or --out")
    source = Path(exports[0]) if exports else source
    if options["archives"] is not None and source is None:
        raise click.UsageError("--archives needs an export; a report from the service reads the archives itself")
    run(
        write_report(
            access,
            ReportOptions(periods=tuple(periods), source=source, out=pages[0] if pages else out, **options),
        )
    )
