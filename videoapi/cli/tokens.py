"""`videoapi tokens`: issue join tokens."""

from __future__ import annotations

import json

import click

from videoapi.cli.client_options import ClientOptions, client_options


@click.group()
def tokens() -> None:
    """Issue join tokens."""


@tokens.command("create")
@click.argument("room_id")
@click.option("--name", required=True, help="The user's name, shown in the session.")
@click.option("--role", default="participant", show_default=True, help="moderator, participant, viewer, audience.")
@click.option("--user-ref", required=True, help="Your own reference of the user; call records carry it.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead of the bare token.")
@client_options
def create(room_id: str, name: str, role: str, user_ref: str, as_json: bool, access: ClientOptions) -> None:
    """Print a token that admits one user to ROOM_ID once, within 15 minutes."""
    from videoapi.cli.running import run

    run(_create(access, room_id, as_json, name=name, role=role, user_ref=user_ref))


async def _create(access: ClientOptions, room_id: str, as_json: bool, **user: str) -> int:
    async with access.client() as client:
        token = await client.tokens.create(room_id, name=user["name"], role=user["role"], user_ref=user["user_ref"])
    click.echo(json.dumps(token.to_dict()) if as_json else token.value)
    return 0
