"""The `videoapi` command and its groups. Commands import the client only when they run."""

from __future__ import annotations

import click

from videoapi.cli.archives import archives
from videoapi.cli.cdr import cdr
from videoapi.cli.demo import demo
from videoapi.cli.dialin import dialin
from videoapi.cli.doctor import doctor
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.invocation import RootGroup
from videoapi.cli.login import login
from videoapi.cli.rooms import rooms
from videoapi.cli.sandbox import sandbox
from videoapi.cli.tokens import tokens


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=MEANINGS)
@click.version_option(package_name="videoapi", message="videoapi %(version)s")
def videoapi() -> None:
    """Manage rooms, join tokens, call records and recordings of the Video API.

    Set VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY (or pass --app-key-file) and, for a host other than the
    default, VIDEOAPI_BASE_URL. `videoapi sandbox` prints all three. Or store them with `videoapi login`.
    If something does not work, run `videoapi doctor`.
    """


for command in (sandbox, rooms, tokens, cdr, archives, dialin, demo, doctor, login):
    videoapi.add_command(command)
