"""The `videoapi` command and its groups; none of them imports the client before it is needed."""

from __future__ import annotations

import click

from videoapi.cli.archives import archives
from videoapi.cli.cdr import cdr
from videoapi.cli.demo import demo
from videoapi.cli.dialin import dialin
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.rooms import rooms
from videoapi.cli.sandbox import sandbox
from videoapi.cli.tokens import tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=MEANINGS)
@click.version_option(package_name="videoapi", message="videoapi %(version)s")
def videoapi() -> None:
    """The Video API from a server's terminal: rooms, join tokens, call records, recordings.

    The account comes from the environment: VIDEOAPI_APP_ID, VIDEOAPI_APP_KEY (or --app-key-file) and,
    for any other host than the usual one, VIDEOAPI_BASE_URL. `videoapi sandbox` prints all three.
    """


for command in (sandbox, rooms, tokens, cdr, archives, dialin, demo):
    videoapi.add_command(command)
