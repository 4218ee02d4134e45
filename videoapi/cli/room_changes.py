"""`videoapi rooms create`, `update` and `delete`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from videoapi.cli.client_options import ClientOptions, client_options, settle_option, timeout_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option, secrets_option
from videoapi.cli.room_settings import room_arguments, room_options


@click.command("create", epilog=MEANINGS)
@room_options(new=True)
@click.option(
    "--on-unknown",
    type=click.Choice(["look", "resend", "strict"]),
    default="look",
    show_default=True,
    help="If the response is lost: `look` for the room; `resend` once it provably does not exist; `strict`: neither.",
)
@settle_option
@json_option("Print the room as JSON, with every field.")
@secrets_option
@timeout_option
@client_options
def create(access: ClientOptions, as_json: bool, show_secrets: bool, **options: Any) -> None:
    """Create a room at most once.

    The room is permanent unless you give --starts-at or --one-session. Exit code 3: the room may exist; the printed
    command finds it.
    """
    from videoapi.cli.running import run

    run(_create(access, as_json, show_secrets, options), interrupted="")


async def _create(access: ClientOptions, as_json: bool, show_secrets: bool, options: dict[str, Any]) -> int:
    import asyncio

    from videoapi.cli import exit_codes
    from videoapi.cli.invocation import program
    from videoapi.cli.room_reads import print_room
    from videoapi.cli.terminal import clean, for_people, print_json, print_status
    from videoapi.creation.create_request import new_reference
    from videoapi.errors import VideoAPIError

    room = room_arguments(options, new=True)
    settle, timeout, on_unknown = (options[name] for name in ("settle", "timeout", "on_unknown"))
    # Its own, so that the room can be found after any ending.
    reference = new_reference()
    again = ("--settle", str(settle)) if settle is not None else ()
    resolve = [*program(), "rooms", "resolve", *access.words(), *again, reference]
    async with access.client(settle=settle, timeout=timeout) as client:
        try:
            created = await client.rooms.create(**room, on_unknown=on_unknown, reference=reference)
        except VideoAPIError as error:
            if not error.may_have_executed:
                raise
            print_status(for_people(error))
            _tell_unknown(reference, resolve)
            if as_json:
                print_json({"status": "unknown", "reference": reference, "room_id": None})
            return exit_codes.UNKNOWN
        except asyncio.CancelledError:
            print_status("Interrupted.")
            _tell_unknown(reference, resolve)
            raise
    try:
        print_room(created, as_json=as_json, show_secrets=show_secrets)
    except BrokenPipeError:
        raise
    except OSError:
        print_status(f"Created: {clean(created.room_id)}")
        raise
    return exit_codes.DONE


def _tell_unknown(reference: str, resolve: Sequence[str]) -> None:
    from videoapi.cli.terminal import print_command, print_status

    print_status(f"The room may exist. Its reference: {reference}. To find out:")
    print_command(resolve)


@click.command("update", epilog=MEANINGS)
@click.argument("room_id")
@room_options(new=False)
@json_option("Print a JSON object with the room's ID.")
@timeout_option
@client_options
def update(access: ClientOptions, room_id: str, as_json: bool, timeout: float | None, **options: Any) -> None:
    """Change a room, for later sessions. Settings that you do not give stay as they are.

    --data replaces all data of the room.
    """
    from videoapi.cli.running import run

    async def change() -> int:
        from videoapi.cli.terminal import clean, print_json, print_status

        changes = room_arguments(options, new=False)
        if all(value is None for name, value in changes.items() if name != "validate"):
            raise click.UsageError("Nothing to change: give --name, --data or another option of the room.")
        async with access.client(timeout=timeout) as client:
            await client.rooms.update(room_id, **changes)
        if as_json:
            print_json({"room_id": room_id, "updated": True})
        else:
            print_status(f"Updated: {clean(room_id)}")
        return 0

    run(change())


@click.command("delete", epilog=MEANINGS)
@click.argument("room_id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation; needed without a terminal.")
@json_option("Print a JSON object with the room's ID.")
@timeout_option
@client_options
def delete(access: ClientOptions, room_id: str, yes: bool, as_json: bool, timeout: float | None) -> None:
    """Delete a room that has no running session.

    Asks for confirmation; without a terminal, it needs --yes.
    """
    from videoapi.cli.invocation import confirm
    from videoapi.cli.running import run

    async def remove() -> int:
        from videoapi.cli.terminal import clean, print_json, print_status

        async with access.client(timeout=timeout) as client:
            await client.rooms.delete(room_id)
        if as_json:
            print_json({"room_id": room_id, "deleted": True})
        else:
            print_status(f"Deleted: {clean(room_id)}")
        return 0

    confirm(f"Delete the room {room_id}?", yes=yes)
    run(remove())
