"""`videoapi rooms list`, `get`, `users` and `resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.client_options import SECONDS, ClientOptions, client_options, settle_option, timeout_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option, secrets_option

if TYPE_CHECKING:
    from videoapi.models.rooms import Room


@click.command("list", epilog=MEANINGS)
@json_option("Print JSON lines: one object per room, with every field.")
@secrets_option
@click.option("--cursor", metavar="CURSOR", help="Continue a list that ended early; it has printed its cursor.")
@click.option("--strict", is_flag=True, help="Stop at the first room that cannot be read.")
@click.option(
    "--timeout", type=SECONDS, help="Time limit for waiting for the service during the whole list; none by default."
)
@client_options
def list_rooms(access: ClientOptions, as_json: bool, show_secrets: bool, **limits: Any) -> None:
    """List all rooms of the project as they arrive.

    Columns: ID, kind, name, and your own reference.
    """
    from videoapi.cli.running import run

    run(_list(access, as_json, show_secrets, **limits))


async def _list(access: ClientOptions, as_json: bool, show_secrets: bool, **limits: Any) -> int:
    from videoapi.cli.listing import end_failed, print_listing
    from videoapi.errors import VideoAPIError

    async with access.client() as client:
        rooms = client.rooms.list(extra=as_json, **limits)
        try:
            return await print_listing(
                rooms,
                ("room_id", "kind", "name", "owner_ref"),
                lambda room: (room.room_id, kind_of(room), room.name, room.owner_ref),
                as_json=as_json,
                show_secrets=show_secrets,
                what="rooms",
            )
        except VideoAPIError as error:
            return end_failed(rooms, error, strict=limits.get("strict", False), what="rooms")


@click.command("get", epilog=MEANINGS)
@click.argument("room_id")
@json_option("Print the room as JSON, with every field.")
@secrets_option
@timeout_option
@client_options
def get(room_id: str, as_json: bool, show_secrets: bool, timeout: float | None, access: ClientOptions) -> None:
    """Show one room."""
    from videoapi.cli.running import run

    run(_get(access, room_id, as_json, show_secrets, timeout))


async def _get(access: ClientOptions, room_id: str, as_json: bool, show_secrets: bool, timeout: float | None) -> int:
    async with access.client(timeout=timeout) as client:
        room = await client.rooms.get(room_id)
    print_room(room, as_json=as_json, show_secrets=show_secrets)
    return 0


@click.command("users", epilog=MEANINGS)
@click.argument("room_id")
@json_option("Print JSON lines: one object per user, with every field.")
@secrets_option
@timeout_option
@client_options
def users(room_id: str, as_json: bool, show_secrets: bool, timeout: float | None, access: ClientOptions) -> None:
    """Show the users in the session of a room. The list is empty if no session is running.

    Columns: name, role, and your own reference of the user.
    """
    from videoapi.cli.running import run

    run(_users(access, room_id, as_json, show_secrets, timeout))


async def _users(access: ClientOptions, room_id: str, as_json: bool, show_secrets: bool, timeout: float | None) -> int:
    from videoapi.cli.redaction import shown_fields
    from videoapi.cli.tables import print_table
    from videoapi.cli.terminal import print_json_line, print_status

    async with access.client(timeout=timeout) as client:
        found = await client.rooms.users(room_id)
    if as_json:
        for user in found:
            print_json_line(shown_fields(user, show_secrets=show_secrets))
        return 0
    print_table(("name", "role", "user_ref"), ((user.name, user.role, user.user_ref) for user in found))
    if not found:
        print_status("No users.")
    return 0


@click.command("resolve", epilog=MEANINGS)
@click.argument("reference")
@click.option(
    "--control", metavar="ROOM_ID", help="An existing room that videoapi created, to prove that the list is complete."
)
@settle_option
@json_option("Print the room as JSON, with every field.")
@secrets_option
@client_options
def resolve(
    reference: str,
    control: str | None,
    settle: float | None,
    as_json: bool,
    show_secrets: bool,
    access: ClientOptions,
) -> None:
    """Find the room of a create with unknown outcome by its REFERENCE. Never creates a room.

    Prints the room ID. Exit code 1: the room provably does not exist. Exit code 3: still unknown. Without --control,
    a room that is not in the list may exist.
    """
    from videoapi.cli.running import run

    run(_resolve(access, reference, control, settle, as_json, show_secrets))


async def _resolve(
    access: ClientOptions,
    reference: str,
    control: str | None,
    settle: float | None,
    as_json: bool,
    show_secrets: bool,
) -> int:
    from videoapi.cli import exit_codes
    from videoapi.cli.terminal import for_people, print_result, print_status, visible
    from videoapi.creation.creator import DEFAULT_SETTLE
    from videoapi.errors import VideoAPIError

    async with access.client(settle=settle) as client:
        if control is not None:
            print_status(
                "Looking for the room. If the list of rooms does not show it, this waits "
                f"{settle or DEFAULT_SETTLE:,.0f} s for proof (settle time), longer if the list lags."
            )
        try:
            room = await client.rooms.resolve(reference, control=control)
        except VideoAPIError as error:
            print_status(for_people(error))
            code = exit_codes.of_error(error)
            # Only a proven absence is a failure.
            return exit_codes.UNKNOWN if code == exit_codes.FAILED else code
    if room is None:
        print_status("The room does not exist, and the lost request can no longer create it.")
        return exit_codes.FAILED
    if as_json:
        print_room(room, as_json=True, show_secrets=show_secrets)
    else:
        print_result(visible(room.room_id))
    return exit_codes.DONE


def print_room(room: Room, *, as_json: bool, show_secrets: bool) -> None:
    """Print one room on stdout, as JSON or as a table of its fields."""
    from videoapi.cli.redaction import shown_fields
    from videoapi.cli.tables import print_fields
    from videoapi.cli.terminal import print_json

    fields = shown_fields(room, show_secrets=show_secrets)
    if as_json:
        print_json(fields)
        return
    # Of another type, they are not in a table.
    settings = fields["settings"] if isinstance(fields.get("settings"), dict) else {}
    print_fields(
        (
            ("room_id", room.room_id),
            ("name", room.name),
            ("owner_ref", room.owner_ref),
            ("kind", kind_of(room)),
            ("created", room.created),
            ("updated", room.updated),
            *((name, fields.get(name)) for name in ("sip", "data")),
            *((f"settings.{name}", value) for name, value in settings.items()),
        )
    )


def kind_of(room: Room) -> str:
    """Return the kind of a room as text."""
    if room.settings.is_scheduled:
        return "scheduled"
    return "one session" if room.settings.is_one_session else "permanent"
