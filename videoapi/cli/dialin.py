"""`videoapi dialin`: show the account's dial-in numbers."""

from __future__ import annotations

import json

import click

from videoapi.cli.client_options import ClientOptions, client_options


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the complete response as JSON.")
@click.option("--show-secrets", is_flag=True, help="With --json: show passwords and keys instead of ***.")
@client_options
def dialin(as_json: bool, show_secrets: bool, access: ClientOptions) -> None:
    """Show the account's dial-in numbers."""
    from videoapi.cli.running import run

    run(_show(access, as_json, show_secrets))


async def _show(access: ClientOptions, as_json: bool, show_secrets: bool) -> int:
    from videoapi.cli.redaction import redact
    from videoapi.cli.terminal import table

    async with access.client() as client:
        found = await client.dialin.get()
    if as_json:
        fields = found.to_dict()
        click.echo(json.dumps(fields if show_secrets else redact(fields)))
        return 0
    rows = [(number.country, number.country_code, number.phone, _cost(number.toll_free)) for number in found.numbers]
    table(("country", "code", "phone", "cost"), rows)
    if found.sip is not None and found.sip.server_url:
        table(("SIP server",), [(found.sip.server_url,)])
    return 0


def _cost(free: bool | None) -> str:
    return {True: "toll free", False: "toll"}.get(free, "") if free is not None else ""
