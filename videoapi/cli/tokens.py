"""`videoapi tokens`: issue join tokens."""

from __future__ import annotations

from typing import Any

import click

from videoapi.cli.client_options import ClientOptions, client_options, timeout_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option

ROLES = ("moderator", "participant", "viewer", "audience")


@click.group()
def tokens() -> None:
    """Issue join tokens."""


def _roles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    # Suggested only: a white-label has roles of its own.
    return [role for role in ROLES if role.startswith(incomplete)]


@tokens.command("create", epilog=MEANINGS)
@click.argument("room_id")
@click.option("--name", required=True, help="The user's name, shown in the session.")
@click.option("--role", default="participant", show_default=True, shell_complete=_roles, help=f"{', '.join(ROLES)}.")
@click.option("--user-ref", required=True, help="Your own reference of the user; call records carry it.")
@click.option(
    "--data",
    multiple=True,
    metavar="KEY=VALUE",
    help="Your own data, visible in the session: KEY=VALUE, a JSON object, or @FILE with one. Repeatable.",
)
@click.option("--no-validate", is_flag=True, help="Let a white-label's own roles and keys through.")
@json_option("Print an object instead of the bare token.")
@timeout_option
@client_options
def create(access: ClientOptions, as_json: bool, timeout: float | None, **options: Any) -> None:
    """Print a token that admits one user to ROOM_ID once, within 15 minutes.

    Nothing else goes to stdout. The token lets its holder join: keep it out of logs.
    """
    from videoapi.cli.running import run

    run(_create(access, as_json, timeout, **options))


async def _create(
    access: ClientOptions,
    as_json: bool,
    timeout: float | None,
    *,
    room_id: str,
    data: tuple[str, ...],
    no_validate: bool,
    **user: str,
) -> int:
    from videoapi.cli.room_settings import objects_of
    from videoapi.cli.terminal import print_json, print_result, visible

    own = objects_of("--data", data) or None
    async with access.client(timeout=timeout) as client:
        token = await client.tokens.create(
            room_id,
            name=user["name"],
            role=user["role"],
            user_ref=user["user_ref"],
            data=own,
            validate=not no_validate,
        )
    if as_json:
        print_json(token.to_dict())
    else:
        print_result(visible(token.value))
    return 0
