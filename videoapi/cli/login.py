"""`videoapi login`: stores the credentials of a project in a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from videoapi.cli.client_options import without_password
from videoapi.cli.exit_codes import MEANINGS


@click.command(epilog=MEANINGS)
@click.option("--profile", metavar="NAME", help="The profile to write. [default: VIDEOAPI_PROFILE, or `default`]")
@click.option("--app-id", metavar="ID", help="The project's APP_ID; prompts if it is missing.")
@click.option("--base-url", metavar="URL", help="URL of the API; prompts if it is missing.")
@click.option("--key-stdin", is_flag=True, help="Read the APP_KEY from stdin, for scripts.")
@click.option(
    "--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Store the PEM file of the authorities to trust."
)
@click.option("--proxy", callback=without_password, metavar="URL", help="Store an HTTP proxy.")
@click.option("--no-check", is_flag=True, help="Store the credentials without trying them.")
@click.option("--overwrite", is_flag=True, help="Replace the credentials of an existing profile without asking.")
def login(**options: Any) -> None:
    """Store the credentials of a project in a profile, for all commands.

    Asks for the APP_ID, the APP_KEY (not shown as you type) and the base URL, tries them with one request that only
    reads, and writes ~/.config/videoapi/config.toml, which only you can read. Other values of the profile stay as they
    are.
    """
    from videoapi.cli.running import run
    from videoapi.cli.sign_in import LoginOptions, ask, store

    run(store(ask(LoginOptions(**options))))
