"""The help of each command fits a terminal, says what each option takes, and lists the exit codes."""

import click
import pytest
from click.testing import CliRunner

from tests.docs.test_style import each_command
from videoapi.cli.app import videoapi as root
from videoapi.cli.exit_codes import MEANINGS


@each_command
def test_help_fits_into_80_columns(context: click.Context) -> None:
    assert [line for line in context.get_help().splitlines() if len(line) > 80] == []


@each_command
def test_each_option_and_its_value_are_described(context: click.Context) -> None:
    for option in context.command.get_params(context):
        if isinstance(option, click.Option):
            assert option.help, option.name
            # SECONDS or N say more than the names that click has for its types.
            value = option.metavar or option.type.name
            assert value not in ("integer", "float", "integer range", "float range", "path", "directory"), option.name


@pytest.mark.parametrize("words", [(), ("rooms", "create-many"), ("cdr", "export"), ("report",)])
def test_help_lists_the_exit_codes(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(root, [*words, "--help"], terminal_width=80).output
    for line in MEANINGS.removeprefix("\b\n").splitlines():
        assert line in shown


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", ""])
def test_seconds_are_a_number_above_zero(seconds: str) -> None:
    ended = CliRunner().invoke(root, ["dialin", "--timeout", seconds])
    assert ended.exit_code == 2
    assert f"{seconds!r} is not a number above 0." in ended.output
