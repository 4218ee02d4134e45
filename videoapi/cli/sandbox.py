"""`videoapi sandbox`: serve the Video API on this machine."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from videoapi.cli.trigger import trigger, webhook_auth

if TYPE_CHECKING:
    from videoapi.sandbox import Sandbox
    from videoapi.sandbox.faults import FaultOptions


def _rate(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from videoapi.sandbox.rate_limit import RateLimit

    try:
        return None if value is None else str(RateLimit.parse(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(invoke_without_command=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Loopback address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=8080,
    show_default=True,
    help="Port to listen on; 0 chooses a free one.",
)
@click.option("--app-id", metavar="ID", help="APP_ID of the project. [default: random]")
@click.option("--app-key", metavar="KEY", help="APP_KEY of the project. Never give a real one. [default: random]")
@click.option("--seed", help="Make IDs and history the same in each run.")
@click.option("--calls", type=click.IntRange(0), metavar="N", default=0, help="Number of generated call records.")
@click.option("--rooms", type=click.IntRange(0), metavar="N", default=0, help="Number of generated rooms.")
@click.option(
    "--days",
    type=click.IntRange(1),
    metavar="N",
    default=31,
    show_default=True,
    help="Days over which the call records are spread.",
)
@click.option(
    "--today",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Current day of the sandbox, UTC, and last day of its history. [default: today]",
)
@click.option("--tls", is_flag=True, help="Serve HTTPS with a generated certificate; needs the extra `testing`.")
@click.option(
    "--state", type=click.Path(dir_okay=False), help="Keep rooms and ledger in this file, and continue from it."
)
@click.option(
    "--console/--no-console", default=True, show_default=True, help="Serve a page at / that shows what happens."
)
@click.option(
    "--rate-limit",
    metavar="RATE",
    callback=_rate,
    help="Respond with HTTP 429 to requests beyond this rate, such as 20/s.",
)
@click.option(
    "--webhook-url",
    metavar="URL",
    help="Where to post webhooks, with VIDEOAPI_WEBHOOK_USER and VIDEOAPI_WEBHOOK_PASSWORD if they are set.",
)
@click.option(
    "--switch",
    "switches",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change how the service behaves, such as cdr_schema=old. Repeatable. See docs/reference/sandbox.md.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="ROUTE:KIND[:SHARE]",
    help="Inject a fault: rooms.create:drop_after:3% into 3 % of the requests, with :2 into the first two, and by "
    "default into the first one. KIND is a name or an HTTP status; delay=0.2 waits 0.2 s. Repeatable. See "
    "docs/reference/sandbox.md.",
)
@click.pass_context
def sandbox(
    ctx: click.Context, /, switches: tuple[str, ...], faults: tuple[str, ...], today: datetime | None, **options: Any
) -> None:
    """Serve the Video API on this machine until Ctrl-C.

    Prints the environment variables that a client needs: copy them to another terminal. Also prints the address of the
    console, a page that shows requests, rooms and faults. At the end it prints the highest request rate that it has
    seen.

    All data is lost at exit, unless you give --state. Start it again with the same file, port and credentials, and it
    continues, even after it was killed.
    """
    if ctx.invoked_subcommand is not None:
        return
    from videoapi.cli.running import run
    from videoapi.cli.terminal import for_people
    from videoapi.sandbox import Sandbox

    try:
        auth = webhook_auth() if options["webhook_url"] else None
        made = Sandbox(**options, webhook_auth=auth, clock=_clock(today), **_pairs(switches))
        for fault in faults:
            inject(made, fault)
    except ValueError as error:
        raise click.UsageError(for_people(error)) from None
    run(_serve(made))


sandbox.add_command(trigger)


def _clock(today: datetime | None) -> Callable[[], datetime]:
    """Return the time of the service: the machine's, moved to a day."""
    days = timedelta() if today is None else today.date() - datetime.now(UTC).date()
    return lambda: datetime.now(UTC) + days


async def _serve(sandbox: Sandbox) -> int:
    import asyncio

    from videoapi.cli import exit_codes
    from videoapi.cli.terminal import print_result, print_status
    from videoapi.cli.traffic import traffic_lines

    try:
        await sandbox.start()
    except (RuntimeError, ValueError) as error:
        print_status(str(error))
        return exit_codes.NO_ACCESS
    except OSError as error:
        doing = f"write {error.filename}" if error.filename else f"listen on port {sandbox.port}"
        print_status(f"Cannot {doing}: {error.strerror or error}")
        return exit_codes.NO_ACCESS
    try:
        for name, value in _environment(sandbox).items():
            print_result(f"export {name}={shlex.quote(value)}")
        if sandbox.console_url is not None:
            print_status(f"Console: {sandbox.console_url}")
        print_status("The sandbox is running; Ctrl-C ends it.")
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        # Cancellation is the normal way to stop.
        pass
    finally:
        await sandbox.aclose()
        for line in traffic_lines(sandbox.traffic()):
            print_status(line)
    return exit_codes.DONE


def _environment(sandbox: Sandbox) -> dict[str, str]:
    user, password = sandbox.recording_auth
    lines = {
        "VIDEOAPI_BASE_URL": sandbox.base_url,
        "VIDEOAPI_APP_ID": sandbox.app_id,
        "VIDEOAPI_APP_KEY": sandbox.app_key,
        "VIDEOAPI_RECORDING_USER": user,
        "VIDEOAPI_RECORDING_PASSWORD": password,
    }
    return lines | ({"VIDEOAPI_CA_FILE": sandbox.ca_file} if sandbox.ca_file else {})


def inject(sandbox: Sandbox, fault: str) -> None:
    """Script a fault from `ROUTE:KIND`, `ROUTE:KIND:TIMES` or `ROUTE:KIND:PERCENT%`; KIND can be `delay=SECONDS`.

    Raises:
        ValueError: If it has another form, or the route or the kind is unknown.
    """
    from videoapi.sandbox.faults import WITH_SECONDS

    route, _, rest = fault.partition(":")
    name, _, share = rest.partition(":")
    name, given, duration = name.partition("=")
    times: int | None = 1
    rate: float | None = None
    options: FaultOptions = {}
    try:
        if given:
            options["seconds"] = seconds = float(duration)
            if name not in WITH_SECONDS or not 0 < seconds < math.inf:
                name = ""
        if share.endswith("%"):
            times, rate = None, float(share.removesuffix("%")) / 100
        elif share:
            times = int(share)
    except ValueError:
        name = ""
    if not (route and name):
        raise ValueError(
            f"--fault {fault}: give ROUTE:KIND, ROUTE:KIND:TIMES or ROUTE:KIND:PERCENT%, and KIND=SECONDS for a delay"
        )
    if (times is not None and times < 1) or not 0 <= (rate or 0) <= 1:
        raise ValueError(f"--fault {fault}: give a number of requests from 1, or a share from 0% to 100%")
    if rate is not None:
        options["rate"] = rate
    try:
        sandbox.fault(route, int(name) if name.isdecimal() else name, times, **options)
    except ValueError as error:
        raise ValueError(f"--fault {fault}: {error}") from None


def _pairs(switches: tuple[str, ...]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for switch in switches:
        name, equals, value = switch.partition("=")
        if not equals:
            raise click.UsageError(f"--switch {switch}: give NAME=VALUE")
        pairs[name] = value
    return pairs
