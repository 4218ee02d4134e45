"""The `videoapi` command and its groups. A command is imported when it runs, and imports the client then."""

from __future__ import annotations

from typing import Final

import click

from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.invocation import RootGroup

COMMANDS: Final = {
    "archives": ("videoapi.cli.archives:archives", "List and export the archive, and download recordings."),
    "cdr": ("videoapi.cli.cdr:cdr", "List and export call detail records."),
    "demo": ("videoapi.cli.demo:demo", "Run the main workflow against a sandbox that injects faults."),
    "dialin": ("videoapi.cli.dialin:dialin", "Show the account's dial-in numbers."),
    "doctor": ("videoapi.cli.doctor:doctor", "Check the setup: variables, network, TLS, clock and credentials."),
    "report": ("videoapi.cli.usage_report:report", "Write a usage report as one HTML page."),
    "login": ("videoapi.cli.login:login", "Store the credentials of a project in a profile."),
    "request": ("videoapi.cli.request:request", "Send a request to a route that only a white-label has."),
    "rooms": ("videoapi.cli.rooms:rooms", "Create, list, show, change and delete rooms."),
    "sandbox": ("videoapi.cli.sandbox:sandbox", "Serve the Video API on this machine until Ctrl-C."),
    "tokens": ("videoapi.cli.tokens:tokens", "Issue join tokens."),
}


@click.group(cls=RootGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}, epilog=MEANINGS)
@click.version_option(package_name="videoapi", message="videoapi %(version)s")
def videoapi() -> None:
    """Manage rooms, join tokens, call records and recordings of the Video API.

    Store the credentials of your project with `videoapi login`, or set VIDEOAPI_APP_ID and VIDEOAPI_APP_KEY, and
    VIDEOAPI_BASE_URL for a host other than the default. To try without an account, run `videoapi sandbox`, which
    prints all three. If something does not work, run `videoapi doctor`.
    """
