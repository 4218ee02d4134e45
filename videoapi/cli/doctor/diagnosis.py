"""The order of the checks, what each depends on, and the limit of all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import click

from videoapi.cli.attempts import AttemptLog
from videoapi.cli.client_options import ClientOptions
from videoapi.cli.doctor import machine, network, service, sharing
from videoapi.cli.doctor.daemon_threads import DaemonThreads
from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check, CheckStatus, document, exit_code, skipped, summary
from videoapi.cli.exit_codes import DOCTOR
from videoapi.cli.streams import is_terminal
from videoapi.cli.terminal import for_people, print_line
from videoapi.errors import VideoAPIError

_COLORS: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "bright_black"}
_NARROWEST: Final = 60


@attrs.frozen
class CheckStep:
    """A check, and the checks without which it makes no sense."""

    name: str
    run: Callable[[Examination], Awaitable[Check]]
    needs: tuple[str, ...] = ()


STEPS: Final = (
    CheckStep("versions", machine.versions),
    CheckStep("variables", machine.variables),
    CheckStep("sharing", sharing.sharing),
    CheckStep("profile", machine.profile),
    CheckStep("account", machine.account, ("profile",)),
    CheckStep("base_url", machine.base_url, ("profile",)),
    CheckStep("settings", machine.settings, ("profile",)),
    CheckStep("fast_path", service.fast_path, ("settings",)),
    CheckStep("dns", network.dns, ("base_url", "settings")),
    CheckStep("tcp", network.tcp, ("dns",)),
    CheckStep("proxy", network.proxy, ("tcp",)),
    CheckStep("tls", network.tls, ("proxy",)),
    CheckStep("response", service.response, ("tls", "account")),
    CheckStep("clock", service.clock, ("tls", "account")),
    CheckStep("version_directory", service.version_directory, ("response",)),
    CheckStep("credentials", service.credentials, ("version_directory",)),
    CheckStep("latency", service.latency, ("credentials",)),
)


async def examine(access: ClientOptions, timeout: float, *, as_json: bool) -> int:
    """Run all checks, print them, and return the exit code.

    Args:
        access: The options of the command.
        timeout: Limit of all checks, in seconds.
        as_json: Whether to print one JSON object instead of a line per check.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(DaemonThreads())
    began = loop.time()
    examination = Examination(access, timeout, os.environ, time.time)
    checks: dict[str, Check] = {}
    try:
        with AttemptLog().logged():
            for step in STEPS:
                checks[step.name] = check = await _run(step, examination, checks, began + timeout)
                if not as_json:
                    print_check(check, examination.hide)
    finally:
        await examination.aclose()
    done = list(checks.values())
    if as_json:
        # Hidden before it is encoded: JSON writes some characters of a key in another way.
        print_line(json.dumps(hidden(document(done, loop.time() - began), examination.hide)))
    else:
        print_line(summary(done))
    return exit_code(done)


async def _run(step: CheckStep, examination: Examination, checks: Mapping[str, Check], deadline: float) -> Check:
    blocked = next(_blocked(step, checks), None)
    if blocked is not None:
        return skipped(step.name, blocked)
    loop = asyncio.get_running_loop()
    began = loop.time()
    # Checks without an exit code cannot fail.
    status: CheckStatus = "fail" if step.name in DOCTOR else "warn"
    try:
        async with asyncio.timeout_at(deadline):
            check = await step.run(examination)
    except VideoAPIError as error:
        remedy = "Correct what the message names."
        check = Check(name=step.name, status=status, text=for_people(error), remedy=remedy)
    except TimeoutError:
        text = f"no result within the {examination.timeout:g} s of --timeout"
        remedy = "If the network is slow, give a longer --timeout. If that does not help, a firewall may drop packets."
        check = Check(name=step.name, status=status, text=text, remedy=remedy)
    return attrs.evolve(check, seconds=loop.time() - began)


def _blocked(step: CheckStep, checks: Mapping[str, Check]) -> Iterator[str]:
    """Yield the failed checks on which a step depends."""
    for name in step.needs:
        if (failed := checks[name].blocks) is not None:
            yield failed


def hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """Return a JSON value with secrets removed from every text in it, also from those that are keys."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {hidden(key, hide): hidden(one, hide) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(one, hide) for one in value]
    return value


def print_check(check: Check, hide: Callable[[str], str] = str) -> None:
    """Print a check: on a terminal wrapped, and with a mark in color unless NO_COLOR is set.

    Args:
        check: The check.
        hide: Removes secrets from a text.
    """
    on_terminal = is_terminal(sys.stdout)
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if on_terminal else None
    shown = attrs.evolve(check, text=hide(check.text), remedy=hide(check.remedy))
    first, *rest = shown.lines(width)
    colored = on_terminal and not os.environ.get("NO_COLOR")
    mark = click.style(check.mark, fg=_COLORS[check.status]) if colored else check.mark
    for line in (mark + first[len(check.mark) :], *rest):
        print_line(line)
