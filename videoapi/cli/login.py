"""`videoapi login`: stores the credentials of a project in a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from videoapi.cli.client_options import without_password
from videoapi.cli.exit_codes import MEANINGS


@click.command(epilog=MEANINGS)
@click.option("--profile", metavar="NAME", help="The profile to write; VIDEOAPI_PROFILE, else default.")
@click.option("--app-id", help="The project's APP_ID; if missing, you are prompted.")
@click.option("--base-url", metavar="URL", help="The API's address; if missing, you are prompted.")
@click.option("--key-stdin", is_flag=True, help="Read the APP_KEY from stdin, for scripts.")
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Store this PEM file of authorities.")
@click.option("--proxy", callback=without_password, metavar="URL", help="Store this HTTP proxy.")
@click.option("--no-check", is_flag=True, help="Do not try the credentials.")
@click.option("--overwrite", is_flag=True, help="Replace the credentials of an existing profile without a question.")
def login(**options: Any) -> None:
    """Store the credentials of a project in a profile, for all commands.

    Asks for APP_ID, APP_KEY (not shown as you type) and address, sends one request that only reads, and writes
    ~/.config/videoapi/config.toml, which only you can read. Other values of the profile stay as they are.
    """
    from videoapi.cli.running import run
    from videoapi.cli.sign_in import LoginOptions, ask, store

    run(store(ask(LoginOptions(**options))))
