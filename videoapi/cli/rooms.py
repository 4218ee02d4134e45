"""`videoapi rooms`: the group of the commands for rooms."""

from __future__ import annotations

from typing import Final

import click

from videoapi.cli.invocation import LazyGroup

COMMANDS: Final = {
    "audit": ("videoapi.cli.room_audit:audit", "Check that a job is complete."),
    "create": ("videoapi.cli.room_changes:create", "Create a room at most once."),
    "create-many": (
        "videoapi.cli.room_runs:create_many",
        "Create a room for each line of a file.",
    ),
    "delete": ("videoapi.cli.room_changes:delete", "Delete a room that has no running session."),
    "delete-many": ("videoapi.cli.room_runs:delete_many", "Delete the rooms listed in a file."),
    "export": ("videoapi.cli.room_export:export_rooms", "Write all rooms of the project to a Parquet file."),
    "get": ("videoapi.cli.room_reads:get", "Show one room."),
    "list": ("videoapi.cli.room_reads:list_rooms", "List all rooms of the project as they arrive."),
    "resolve": ("videoapi.cli.room_reads:resolve", "Find the room of a create with unknown outcome."),
    "update": ("videoapi.cli.room_changes:update", "Change a room, for later sessions."),
    "users": ("videoapi.cli.room_reads:users", "Show the users in the session of a room."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def rooms() -> None:
    """Create, list, show, change and delete rooms."""
