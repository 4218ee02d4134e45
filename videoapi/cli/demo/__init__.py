"""`videoapi demo`: the main job, from a thousand rooms to their recordings, on this machine alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option("--rooms", type=click.IntRange(1, 100_000), default=1_000, show_default=True)
@click.option("--records", type=click.IntRange(1, 10_000_000), default=50_000, show_default=True)
@click.option("--seed", type=int, default=2026, show_default=True, help="The same history and the same luck.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Leave the recordings there.")
@click.option("--quiet", is_flag=True, help="No progress, only the report.")
def demo(rooms: int, records: int, seed: int, keep: Path | None, quiet: bool) -> None:
    """Do the whole job against a sandbox that makes trouble, and compare the counts with its ledger.

    Makes rooms and tokens, holds conferences, streams a month of call records and downloads
    recordings, while requests meet throttling, refused and broken connections, cut bodies and error
    pages. Ends with 0 only if every count agrees with what the sandbox really did.
    """
    from importlib.util import find_spec

    if find_spec("rich") is None:
        click.echo("The demo needs the extra `cli`: pip install 'videoapi[cli]'", err=True)
        sys.exit(5)
    from videoapi.cli.demo.main import Sizes, run_demo
    from videoapi.cli.running import run

    run(run_demo(Sizes(rooms=rooms, records=records, seed=seed), keep=keep, quiet=quiet))
