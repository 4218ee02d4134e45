"""The command as it was typed, for messages that show a command to paste."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import click

from videoapi.cli.terminal import print_status

_TYPED: Final = "videoapi.typed"


class RootGroup(click.Group):
    """A group that keeps the arguments of the whole command line, and ends with code 130 after Ctrl-C."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Before the event loop handles signals, such as while a large file is read.
            print_status("Interrupted.")
            sys.exit(128 + signal.SIGINT)


def typed_command(*, without: Collection[str] = ()) -> list[str]:
    """Return the words of the running command, without some flags."""
    typed: tuple[str, ...] = click.get_current_context().meta[_TYPED]
    return [*program(), *(word for word in typed if word not in without)]


def program() -> list[str]:
    """Return the words that start this program from the current folder."""
    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return [sys.executable, "-m", "videoapi"]
    found = shutil.which(script.name)
    return [script.name] if found is not None and Path(found).resolve() == script.resolve() else [str(script)]
