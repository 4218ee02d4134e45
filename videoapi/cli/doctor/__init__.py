"""`videoapi doctor`: checks every step from the variables to a response, and says what to do about a failure."""

from __future__ import annotations

from typing import Final

import click

from videoapi.cli.client_options import SECONDS, ClientOptions, client_options
from videoapi.cli.exit_codes import DOCTOR

_MEANINGS: Final = "\b\nExit codes: 0 if no check failed, else that of the first failure:\n" + "\n".join(
    f"  {code}  {name.replace('_', ' ')}" for name, code in DOCTOR.items()
)


@click.command(epilog=_MEANINGS)
@click.option(
    "--timeout",
    type=SECONDS,
    default=30.0,
    show_default=True,
    help="Time limit for all checks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON on stdout.")
@client_options
def doctor(timeout: float, as_json: bool, access: ClientOptions) -> None:
    """Check the setup: variables, profile, network, TLS, clock, base URL, credentials.

    Sends up to six requests that only read. Prints one line per check (ok, warn, FAIL or skipped), and says what to do
    about a failure. Never prints a key or a password.
    """
    from videoapi.cli.doctor.diagnosis import examine
    from videoapi.cli.running import run

    run(examine(access, timeout, as_json=as_json))
