"""The order of the checks, what each depends on, and the limit of all."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import attrs
import click

from videoapi.cli.attempts import AttemptLog
from videoapi.cli.client_options import ClientOptions
from videoapi.cli.doctor import machine, network, service
from videoapi.cli.doctor.daemon_threads import DaemonThreads
from videoapi.cli.doctor.examination import Examination
from videoapi.cli.doctor.report import Check, Status, document, exit_code, skipped, summary
from videoapi.cli.exit_codes import DOCTOR
from videoapi.cli.terminal import clean, for_people
from videoapi.errors import VideoAPIError

_COLORS: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "bright_black"}


@attrs.frozen
class Step:
    """A check, and the checks without which it makes no sense."""

    name: str
    run: Callable[[Examination], Awaitable[Check]]
    needs: tuple[str, ...] = ()


STEPS: Final = (
    Step("versions", machine.versions),
    Step("variables", machine.variables),
    Step("profile", machine.profile),
    Step("account", machine.account, ("profile",)),
    Step("base_url", machine.base_url, ("profile",)),
    Step("settings", machine.settings, ("profile",)),
    Step("fast_path", service.fast_path, ("settings",)),
    Step("dns", network.dns, ("base_url", "settings")),
    Step("tcp", network.tcp, ("dns",)),
    Step("proxy", network.proxy, ("tcp",)),
    Step("tls", network.tls, ("proxy",)),
    Step("response", service.response, ("tls", "account")),
    Step("clock", service.clock, ("tls", "account")),
    Step("version_directory", service.version_directory, ("response",)),
    Step("credentials", service.credentials, ("version_directory",)),
    Step("latency", service.latency, ("credentials",)),
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
                    print_check(check)
    finally:
        await examination.aclose()
    done = list(checks.values())
    if as_json:
        click.echo(json.dumps(document(done, loop.time() - began)))
    else:
        click.echo(summary(done))
    return exit_code(done)


async def _run(step: Step, examination: Examination, checks: Mapping[str, Check], deadline: float) -> Check:
    blocked = next(_blocked(step, checks), None)
    if blocked is not None:
        return skipped(step.name, blocked)
    loop = asyncio.get_running_loop()
    began = loop.time()
    # What has no exit code is no failure.
    status: Status = "fail" if step.name in DOCTOR else "warn"
    try:
        async with asyncio.timeout_at(deadline):
            check = await step.run(examination)
    except VideoAPIError as error:
        remedy = "Correct what the message names."
        check = Check(name=step.name, status=status, text=for_people(error), remedy=remedy)
    except TimeoutError:
        text = f"no result within the {examination.timeout:g} s of --timeout"
        check = Check(name=step.name, status=status, text=text, remedy="Give a longer --timeout.")
    return attrs.evolve(check, seconds=loop.time() - began)


def _blocked(step: Step, checks: Mapping[str, Check]) -> Iterator[str]:
    """Yield the failed checks on which a step depends."""
    for name in step.needs:
        if (failed := checks[name].blocks) is not None:
            yield failed


def print_check(check: Check) -> None:
    """Print a check, its mark in color on a terminal unless NO_COLOR is set."""
    first, *rest = check.lines()
    mark, text = first[: len(check.mark)], first[len(check.mark) :]
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style(mark, fg=_COLORS[check.status]) + clean(text), color=color)
    for line in rest:
        click.echo(clean(line))
