"""Options that choose the form of the output, the same in every command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


def json_option(text: str) -> Callable[[C], C]:
    """Decorate a command with `--json`; it receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def secrets_option(command: C) -> C:
    """Decorate a command with `--show-secrets`."""
    return click.option(
        "--show-secrets", is_flag=True, help="Show PINs, passwords, keys and join tokens instead of ***."
    )(command)
