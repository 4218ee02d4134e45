"""Every public method of the client and its namespaces has a command, which has an option for each argument."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from videoapi import VideoClient
from videoapi.cli.app import videoapi
from videoapi.cli.room_settings import FLAGS, ONLY_NEW, SCHEDULE
from videoapi.models.settings import RoomSettings
from videoapi.resources.archives import Archives
from videoapi.resources.dialin import DialIns
from videoapi.resources.reports import Reports
from videoapi.resources.rooms import Rooms
from videoapi.resources.tokens import Tokens

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
NAMESPACES = {"rooms": Rooms, "tokens": Tokens, "cdr": Reports, "archives": Archives, "dialin": DialIns}
COMMANDS = {
    "rooms.create": "rooms create",
    "rooms.create_each": "rooms create-many",
    "rooms.create_many": "rooms create-many",
    "rooms.delete": "rooms delete",
    "rooms.delete_each": "rooms delete-many",
    "rooms.delete_many": "rooms delete-many",
    "rooms.get": "rooms get",
    "rooms.list": "rooms list",
    "rooms.resolve": "rooms resolve",
    "rooms.update": "rooms update",
    "rooms.users": "rooms users",
    "tokens.create": "tokens create",
    "tokens.create_each": "tokens create-many",
    "tokens.create_many": "tokens create-many",
    "cdr.by_conference": "cdr list",
    "cdr.by_period": "cdr list",
    "cdr.by_room": "cdr list",
    "cdr.by_room_period": "cdr list",
    "archives.by_conference": "archives list",
    "archives.by_period": "archives list",
    "archives.by_room": "archives list",
    "archives.by_room_period": "archives list",
    "archives.download": "archives download",
    "cdr.export_window": "cdr export",
    "archives.export_window": "archives export",
    "dialin.get": "dialin",
    "request": "request",
}
NOT_CALLS = {"aclose", "with_options", "warm_up", "base_url", "stats", *NAMESPACES}
# Arguments that a command sets by itself, each with its reason, or the option for it.
BY_ITSELF = {
    "extra": "set by --json",
    "validate": "unset by --no-validate",
    "progress": "shown unless --quiet",
    "keep_rooms": "a room of an outcome file is its ID",
    "specs": "the lines of FILE",
    "room_ids": "the lines of FILE",
    "settings": "--setting and an option for each common one",
    "reference": "generated, and printed if it is needed",
    "file": "the files of the query",
    "to": "DIR",
    "window": "the weeks from FROM to TO, with --partition",
    "folder": "OUT, with --partition",
    "late": "as in the library",
    "today": "the current day",
    "name": "of a download: from the archive, so that no two files share one",
    "timeout": "of a download: files have no common end",
}


def methods() -> Iterator[str]:
    for name, kind in NAMESPACES.items():
        yield from (f"{name}.{method}" for method in public(kind))
    yield from (name for name in public(VideoClient) if name not in NOT_CALLS)


def public(kind: type[Any]) -> list[str]:
    return [name for name, value in inspect.getmembers(kind) if not name.startswith("_") and inspect.isfunction(value)]


def command_of(words: str) -> click.Command:
    command: click.Command = videoapi
    for word in words.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, words
        command = found
    return command


def every_command() -> Iterator[tuple[str, click.Command]]:
    def walk(prefix: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(f"{prefix} {name}".strip(), inner)
        else:
            yield prefix, command

    yield from walk("", videoapi)


def test_each_method_of_the_library_has_a_command() -> None:
    assert sorted(methods()) == sorted(COMMANDS)


@pytest.mark.parametrize("method", sorted(COMMANDS))
def test_each_argument_has_an_option_of_its_name(method: str) -> None:
    namespace, _, name = method.rpartition(".")
    function = getattr(NAMESPACES[namespace] if namespace else VideoClient, name)
    parameters = {parameter.name for parameter in command_of(COMMANDS[method]).params}
    wanted = set(inspect.signature(function).parameters) - {"self"}
    missing = wanted - parameters - set(BY_ITSELF)
    assert missing == set()


def test_each_setting_with_an_option_is_one_of_the_library() -> None:
    known = set(inspect.get_annotations(RoomSettings)) - {"composed", "_extra"}
    names = [flag.name for flag in (*FLAGS, *SCHEDULE, *ONLY_NEW)]
    assert len(set(names)) == len(names)
    assert set(names) < known


def test_summaries_of_the_groups_are_those_of_the_commands() -> None:
    groups: list[click.Command] = [videoapi, command_of("rooms")]
    for group in groups:
        lazy: dict[str, tuple[str, str]] = group.lazy  # type: ignore[attr-defined]
        for name, (_, summary) in lazy.items():
            command = group.get_command(click.Context(group), name)  # type: ignore[attr-defined]
            text = " ".join((command.help or "").split())
            assert len(summary) < 72, name
            assert text.startswith(summary.split()[0]), name


OFFLINE = {"sandbox", "demo"}


@pytest.mark.parametrize("words", [words for words, _ in every_command() if words.split()[0] not in OFFLINE])
def test_each_command_that_talks_to_the_service_takes_a_proxy_and_authorities(words: str) -> None:
    options = {name for parameter in command_of(words).params for name in parameter.opts}
    assert {"--proxy", "--ca-file", "--app-key-file"} <= options or words in ("doctor", "login")


@pytest.mark.parametrize("words", [words for words, _ in every_command() if words.split()[0] not in OFFLINE])
def test_each_command_has_a_machine_form(words: str) -> None:
    options = {name for parameter in command_of(words).params for name in parameter.opts}
    assert "--json" in options or words in ("request", "login")


@pytest.mark.parametrize("words", [words for words, _ in every_command()])
def test_each_command_is_in_the_reference(words: str) -> None:
    assert f"videoapi {words}" in PAGE.read_text(encoding="utf-8")


def test_every_option_has_a_help_text() -> None:
    bare = [
        (words, parameter.name)
        for words, command in every_command()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help and words != "demo"
    ]
    assert bare == []
