"""How the command starts and ends: groups that import a command when it runs, and the command line as typed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import click

from videoapi.cli import streams

_TYPED: Final = "videoapi.typed"


class LazyGroup(click.Group):
    """A group that imports the module of a command when that command runs, completes or shows its help.

    Args:
        commands: The home of each command, `module:attribute`, and the line that describes it.
    """

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.lazy, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in self.lazy:
            module, _, attribute = self.lazy[cmd_name][0].partition(":")
            self.add_command(getattr(import_module(module), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(name)) for name in self.list_commands(ctx)])

    def _summary(self, name: str) -> str:
        return self.lazy[name][1] if name in self.lazy else self.commands[name].get_short_help_str()


class RootGroup(LazyGroup):
    """The group of all commands: it keeps the arguments as typed, and ends as a program of a shell does."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        streams.replace_unencodable()
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _ended():
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _ended():
            return super().invoke(ctx)


@contextmanager
def _ended() -> Generator[None, None, None]:
    """End the command with code 130 after Ctrl-C, and with 0 if the reader of its output has left."""
    try:
        yield
    except KeyboardInterrupt:
        # Before the event loop handles signals, such as while a large file is read.
        _interrupted()
    except click.Abort as answer:
        # At a question. To decline is not an interruption.
        if isinstance(answer.__context__, KeyboardInterrupt):
            _interrupted()
        sys.exit(1)
    except BrokenPipeError:
        streams.abandon([sys.stdout, sys.stderr])
        sys.exit(0)
    except OSError as error:
        # The text of --help or --version.
        streams.abandon([sys.stdout])
        streams.tell(f"{error.strerror or type(error).__name__}: {error.filename or 'stdout'}")
        sys.exit(1)


def _interrupted() -> None:
    streams.tell("Interrupted.")
    sys.exit(128 + signal.SIGINT)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal whether to go ahead.

    Args:
        question: What is going to be done.
        yes: Whether not to ask.

    Raises:
        click.Abort: If the user declines.
        click.UsageError: If stdin is not a terminal.
    """
    if yes:
        return
    if not streams.is_terminal(sys.stdin):
        raise click.UsageError("without a terminal to ask on, this command needs --yes. Nothing was sent.")
    from videoapi.cli.terminal import print_status, visible

    try:
        agreed = click.confirm(visible(question), err=True)
    except click.Abort as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise
        # Ctrl-D leaves the cursor in the line of the question.
        streams.tell("")
        agreed = False
    if not agreed:
        print_status("Nothing was done.")
        raise click.Abort


def typed_command(*, without: Collection[str] = ()) -> list[str]:
    """Return the words of the running command, without some flags."""
    typed: tuple[str, ...] = click.get_current_context().meta[_TYPED]
    return [*program(), *(word for word in typed if word not in without)]


def program() -> list[str]:
    """Return the words that start this program from the current folder."""
    import shutil
    from pathlib import Path

    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return [sys.executable, "-m", "videoapi"]
    found = shutil.which(script.name)
    return [script.name] if found is not None and Path(found).resolve() == script.resolve() else [str(script)]
