"""`videoapi tokens`: issue join tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.bulk_options import INPUT, bulk_options, ignore_option, output_of, readable
from videoapi.cli.client_options import ClientOptions, client_options, timeout_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option

if TYPE_CHECKING:
    from videoapi.cli.inputs import InputFile
    from videoapi.cli.summary import BulkOptions
    from videoapi.models.tokens import TokenSpec

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
@click.option(
    "--role",
    default="participant",
    show_default=True,
    shell_complete=_roles,
    metavar="ROLE",
    help=f"{', '.join(ROLES)}.",
)
@click.option("--user-ref", required=True, help="Your own reference for the user; call records carry it.")
@click.option(
    "--data",
    multiple=True,
    metavar="KEY=VALUE",
    help="Your own data, visible in the session: KEY=VALUE, a JSON object, or @FILE with one. Repeatable.",
)
@click.option("--no-validate", is_flag=True, help="Skip client-side validation, for roles of a white-label.")
@json_option("Print the token as JSON, with its room, role and user.")
@timeout_option
@client_options
def create(access: ClientOptions, as_json: bool, timeout: float | None, **options: Any) -> None:
    """Print a join token for one user of ROOM_ID.

    It is valid for one join within 15 minutes. Anyone who has it can join: keep it out of logs. Nothing else goes to
    stdout.
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
    from videoapi.cli.terminal import print_json, print_result, visible
    from videoapi.cli.values import objects_of

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


@tokens.command("create-many", epilog=MEANINGS)
@click.argument("file", type=INPUT)
@click.option("--no-validate", is_flag=True, help="Skip client-side validation, for roles of a white-label.")
@ignore_option
@click.option("--dry-run", is_flag=True, help="Check every line of FILE, and send nothing.")
@bulk_options
def create_many(
    file: Path,
    no_validate: bool,
    ignored: tuple[str, ...],
    access: ClientOptions,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    **limits: Any,
) -> None:
    """Issue a token for each line of FILE, a .csv, .tsv or .jsonl.

    CSV columns: room_id, name, user_ref and, optionally, role, key and data.* (your own fields). JSONL: one object per
    line with these fields.

    Each input produces one line in the outcome file, with its token; only you can read the file. A repeated command
    issues new tokens for all lines, also after an interruption. It keeps the earlier outcome file under another name.

    A token is valid for one join within 15 minutes: use this command for tests, not for tokens that you send to users.
    Give users a link to your own backend, which issues a token at the moment of the join.
    """
    from videoapi.cli.dry_run import check
    from videoapi.cli.inputs import token_specs
    from videoapi.cli.invocation import typed_command
    from videoapi.cli.job import refuse_job
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions

    specs = readable(lambda path: token_specs(path, ignored), file)
    if dry_run:
        sys.exit(check(specs, validate=not no_validate, as_json=as_json, quiet=quiet, effect="Tokens to issue"))
    out = output_of(file, out)
    refuse_job(out)
    output = BulkOptions(
        out=out,
        as_json=as_json,
        quiet=quiet,
        again=typed_command(),
        to_continue="The outcome file has the tokens issued so far. To issue new tokens for all lines:",
    )
    run(_create_many(access, specs, output, validate=not no_validate, **limits), interrupted="")


async def _create_many(
    access: ClientOptions, specs: InputFile[TokenSpec], output: BulkOptions, *, rate: str | None, **limits: Any
) -> int:
    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk

    attempts = AttemptLog()
    async with access.client(rate=rate, listeners=attempts) as client:
        return await run_bulk(
            output, specs, attempts, lambda given: client.tokens.create_each(given, **limits), what="tokens"
        )
