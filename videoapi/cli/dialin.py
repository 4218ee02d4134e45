"""`videoapi dialin`: show the account's dial-in numbers."""

from __future__ import annotations

import click

from videoapi.cli.client_options import ClientOptions, client_options, timeout_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option, secrets_option


@click.command(epilog=MEANINGS)
@json_option("Print the complete response as JSON.")
@secrets_option
@timeout_option
@client_options
def dialin(as_json: bool, show_secrets: bool, timeout: float | None, access: ClientOptions) -> None:
    """Show the account's dial-in numbers.

    Columns: country, code, number, and whether the caller pays.
    """
    from videoapi.cli.running import run

    run(_show(access, as_json, show_secrets, timeout))


async def _show(access: ClientOptions, as_json: bool, show_secrets: bool, timeout: float | None) -> int:
    from videoapi.cli.redaction import shown_fields
    from videoapi.cli.tables import print_table
    from videoapi.cli.terminal import print_json, print_status

    async with access.client(timeout=timeout) as client:
        found = await client.dialin.get()
    if as_json:
        print_json(shown_fields(found, show_secrets=show_secrets))
        return 0
    rows = [(number.country, number.country_code, number.phone, _cost(number.toll_free)) for number in found.numbers]
    if found.sip is not None and found.sip.server_url:
        rows.append(("SIP server", None, found.sip.server_url, ""))
    print_table(("country", "code", "phone", "cost"), rows)
    if not rows:
        print_status("No dial-in numbers.")
    return 0


def _cost(free: bool | None) -> str:
    return {True: "toll free", False: "toll"}.get(free, "") if free is not None else ""
