"""`videoapi rooms export`."""

from __future__ import annotations

from pathlib import Path

import click

from videoapi.cli.client_options import SECONDS, ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option


@click.command("export", epilog=MEANINGS)
@click.argument("out")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, once the new one is complete.")
@click.option("--fresh", is_flag=True, help="Start over, and discard OUT.part.")
@click.option("--strict", is_flag=True, help="Stop at the first room that cannot be read.")
@click.option(
    "--timeout", type=SECONDS, help="Time limit for waiting for the service during the whole export; none by default."
)
@json_option("Print a report as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary.")
@client_options
def export_rooms(
    out: str,
    overwrite: bool,
    fresh: bool,
    strict: bool,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
    access: ClientOptions,
) -> None:
    """Write all rooms of the project to OUT, which ends in .parquet. PINs and passwords are left out.

    To continue an export that was stopped or killed, repeat the command; a complete one stays as it is.
    """
    from videoapi.cli.running import run

    run(
        _export(
            access, out, overwrite=overwrite, fresh=fresh, strict=strict, timeout=timeout, as_json=as_json, quiet=quiet
        )
    )


async def _export(
    access: ClientOptions,
    out: str,
    *,
    overwrite: bool,
    fresh: bool,
    strict: bool,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    from videoapi.cli.csv_rows import Table
    from videoapi.cli.export import PARQUET, ExportOptions, check_output, export
    from videoapi.cli.invocation import typed_command
    from videoapi.cli.reports import source_of
    from videoapi.models.rooms import Room

    path = Path(out)
    if path.suffix.lower() != PARQUET:
        raise click.UsageError(f"{out}: give a name that ends in .parquet; for JSON lines: videoapi rooms list --json")
    check_output(path, excel=False)
    async with access.client() as client:
        job = ExportOptions(
            out=path,
            table=Table((), lambda _: []),
            model=Room,
            question=source_of("rooms", access, client),
            cursor=None,
            overwrite=overwrite,
            fresh=fresh,
            excel=False,
            strict=strict,
            as_json=as_json,
            quiet=quiet,
            again=typed_command(without=("--fresh",)),
        )
        return await export(job, lambda after: client.rooms.list(cursor=after, strict=strict, timeout=timeout))
