"""`videoapi demo`: the main workflow, from a thousand rooms to their recordings, on this machine alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--rooms", type=click.IntRange(1, 100_000), metavar="N", default=1_000, show_default=True, help="Rooms to create."
)
@click.option(
    "--records",
    type=click.IntRange(1, 10_000_000),
    metavar="N",
    default=50_000,
    show_default=True,
    help="Call records.",
)
@click.option(
    "--seed", type=int, metavar="N", default=2026, show_default=True, help="Seed of the history and the faults."
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the recordings in this folder.",
)
@click.option("--quiet", is_flag=True, help="Show no progress, only the report.")
def demo(rooms: int, records: int, seed: int, keep: Path | None, quiet: bool) -> None:
    """Run the main workflow against a sandbox that injects faults.

    Creates rooms and tokens, simulates conferences, streams a month of call records and downloads recordings, despite
    throttling, refused and dropped connections, truncated bodies and error pages. Exit code 0: every count of the
    client matches the ledger of the sandbox.
    """
    from importlib.util import find_spec

    if find_spec("rich") is None:
        click.echo("The demo needs the extra `cli`: pip install 'videoapi[cli]'", err=True)
        sys.exit(5)
    from videoapi.cli.demo.main import Sizes, run_demo
    from videoapi.cli.running import run

    run(run_demo(Sizes(rooms=rooms, records=records, seed=seed), keep=keep, quiet=quiet))
