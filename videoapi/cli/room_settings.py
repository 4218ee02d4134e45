"""The options that describe a room, and the arguments of the library that they amount to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import click

from videoapi.cli.values import merged, objects_of


class SettingFlag(NamedTuple):
    """A setting with an option of its own."""

    name: str
    kind: Any
    help: str
    metavar: str | None = None


_MODES: Final = click.Choice(["group", "lecture"])
_QUALITIES: Final = click.Choice(["HD", "SD", "LD"])

FLAGS: Final = (
    SettingFlag("description", str, "Free text."),
    SettingFlag("moderators", int, "Maximum number of moderators, 1 to 5.", "N"),
    SettingFlag("participants", int, "Maximum number of participants; 0 is unlimited.", "N"),
    SettingFlag("audiences", int, "Maximum number of users with the role audience.", "N"),
    SettingFlag("quality", _QUALITIES, "Highest video quality."),
    SettingFlag("auto_recording", bool, "Record each session from its start."),
    SettingFlag("single_file_recording", bool, "Record each session to a single file."),
    SettingFlag("screen_share", bool, "Let users share their screen."),
    SettingFlag("canvas", bool, "Let users share a canvas."),
    SettingFlag("knock", bool, "Let users wait until a moderator admits them."),
    SettingFlag("wait_for_moderator", bool, "Let other users wait until a moderator joins."),
    SettingFlag("max_active_talkers", int, "Maximum number of talking users shown, 1 to 16.", "N"),
    SettingFlag("watermark", bool, "Show a watermark."),
    SettingFlag("media_zone", str, "Region of the media servers: IN, SG, US, or XX (the service decides).", "ZONE"),
    SettingFlag("billing_code", str, "Your own code for billing.", "CODE"),
)
ONLY_NEW: Final = (
    SettingFlag("mode", _MODES, "In a lecture, only moderators publish. Cannot be changed later."),
    SettingFlag("adhoc", bool, "Delete the room after use, or --minutes after its first session has started."),
)
SCHEDULE: Final = (
    SettingFlag("scheduled_time", str, "Start of a scheduled room, such as 2030-01-31T10:00+01:00.", "TIME"),
    SettingFlag("duration", int, "Minutes for which a scheduled room is open.", "N"),
)
_OPTION: Final = {"adhoc": "--one-session", "scheduled_time": "--starts-at", "duration": "--minutes"}
ROOM_FIELDS: Final = ("name", "owner_ref", "sip", "data", "setting", "no_validate")


def room_options(*, new: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command that creates or changes a room; it receives the parameters that `room_arguments` takes.

    Args:
        new: Whether the room is new: it needs a name, and its kind can be chosen.
    """
    flags = (*FLAGS, *SCHEDULE, *(ONLY_NEW if new else ()))
    options: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
        click.option("--name", required=new, help="Name of the room."),
        click.option("--owner-ref", help="Your own reference for the room; call records carry it."),
        *map(_option, flags),
        click.option("--sip/--no-sip", default=None, help="Let users join by telephone."),
        click.option(
            "--data",
            multiple=True,
            metavar="KEY=VALUE",
            help="Your own data, stored with the room: KEY=VALUE, a JSON object, or @FILE with one. Repeatable.",
        ),
        click.option(
            "--setting",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other setting, such as live_recording.auto_recording=true, a JSON object of settings, or @FILE "
            "with one. Repeatable.",
        ),
        click.option("--no-validate", is_flag=True, help="Skip client-side validation, for settings of a white-label."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _option(flag: SettingFlag) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = _OPTION.get(flag.name, f"--{flag.name.replace('_', '-')}")
    if flag.kind is not bool:
        return click.option(name, flag.name, type=flag.kind, metavar=flag.metavar, help=flag.help)
    if flag.name == "adhoc":
        return click.option(name, flag.name, is_flag=True, default=None, help=flag.help)
    return click.option(f"{name}/--no-{name.removeprefix('--')}", flag.name, default=None, help=flag.help)


def room_arguments(options: dict[str, Any], *, new: bool) -> dict[str, Any]:
    """Take the options of a room out of those of a command, and return the arguments of `rooms.create` or `update`.

    Raises:
        click.UsageError: If options contradict each other.
        ValidationError: If a value does not have the type of its setting.
    """
    given = {name: options.pop(name) for name in ROOM_FIELDS}
    named = {flag.name: options.pop(flag.name) for flag in (*FLAGS, *SCHEDULE, *(ONLY_NEW if new else ()))}
    named = {name: value for name, value in named.items() if value is not None}
    if "scheduled_time" in named:
        named |= _schedule(named, new=new)
    elif new and "duration" in named and not named.get("adhoc"):
        raise click.UsageError("--minutes needs --starts-at or --one-session: other rooms have no end.")
    settings = _other_settings(given["setting"])
    if twice := settings.keys() & named.keys():
        raise click.UsageError(f"given twice, as an option and in --setting: {', '.join(sorted(twice))}")
    return {
        "name": given["name"],
        "owner_ref": given["owner_ref"],
        "settings": settings | named or None,
        "sip": given["sip"],
        "data": objects_of("--data", given["data"]) or None,
        "validate": not given["no_validate"],
    }


def _schedule(named: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
    """Return the settings of a scheduled room in the form of the service."""
    from videoapi.errors import ValidationError
    from videoapi.models.settings import RoomSettings

    if named.get("adhoc"):
        raise click.UsageError("--one-session and --starts-at contradict each other: a room has one kind.")
    if new and "duration" not in named:
        raise click.UsageError("--starts-at needs --minutes, for which the room is open.")
    try:
        made = RoomSettings.scheduled_at(named["scheduled_time"], minutes=named.get("duration", 1))
    except ValidationError as error:
        raise click.UsageError(str(error).replace("The start of a scheduled room", "--starts-at")) from None
    time = {"scheduled_time": made.scheduled_time}
    # Of a room that exists, the kind cannot be changed.
    return time | {"scheduled": True, "adhoc": False} if new else time


def _other_settings(texts: Iterable[str]) -> dict[str, Any]:
    from videoapi.cli.room_lines import settings_of

    return merged("--setting", texts, lambda name, value: settings_of([(f"settings.{name}", value)]))
