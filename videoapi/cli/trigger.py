"""`videoapi sandbox trigger`: post one notification to a URL, as the service would."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from videoapi.sandbox.notifications import Notification
    from videoapi.sandbox.switches import Switches
    from videoapi.sandbox.webhook_sender import WebhookDelivery, WebhookTarget

KINDS: Final = ("session-ended", "recording-ready", "transcoded", "file-transfer")


def webhook_auth() -> tuple[str, str] | None:
    """Return the user and password for webhooks, from the environment.

    Raises:
        click.UsageError: If only one of the variables is set.
    """
    user, password = (os.environ.get(f"VIDEOAPI_WEBHOOK_{part}", "") for part in ("USER", "PASSWORD"))
    if bool(user) != bool(password):
        raise click.UsageError("Set both VIDEOAPI_WEBHOOK_USER and VIDEOAPI_WEBHOOK_PASSWORD, or neither.")
    return (user, password) if user else None


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--room", "room_id", required=True, metavar="ROOM_ID", help="Room of the session; it need not exist.")
@click.option("--conference", "conf_num", metavar="NUMBER", help="Conference number of the session. [default: random]")
@click.option("--file", "urls", multiple=True, metavar="URL", help="A file of the session. Repeatable.")
@click.option(
    "--url",
    envvar="VIDEOAPI_WEBHOOK_URL",
    required=True,
    metavar="URL",
    help="Where to post. [default: VIDEOAPI_WEBHOOK_URL]",
)
@click.option(
    "--app-id",
    envvar="VIDEOAPI_APP_ID",
    default="0" * 24,
    metavar="ID",
    help="APP_ID of the project. [default: VIDEOAPI_APP_ID]",
)
@click.option(
    "--switch",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A switch of the sandbox, such as webhook_time=ms. Repeatable.",
)
@click.option(
    "--repeat",
    "times",
    type=click.IntRange(1, 100),
    default=1,
    metavar="TIMES",
    help="How many times to post the same event. [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="Print each delivery as a JSON object.")
def trigger(url: str, pairs: tuple[str, ...], times: int, as_json: bool, **fields: Any) -> None:
    """Post one notification to a URL, as the service would.

    Sends VIDEOAPI_WEBHOOK_USER and VIDEOAPI_WEBHOOK_PASSWORD if they are set.

    Exit code 0: the response has status 200. Exit code 1: it has another status. Exit code 5: no response. With
    --repeat, the first delivery that fails is the last one.
    """
    from datetime import UTC, datetime

    from videoapi.cli.running import run
    from videoapi.sandbox.notifications import on_demand
    from videoapi.sandbox.switches import Switches
    from videoapi.sandbox.webhook_sender import WebhookTarget

    try:
        target = WebhookTarget.of(url, webhook_auth())
        switches = Switches.of(dict(_split(pair) for pair in pairs))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    conf_num = fields.pop("conf_num") or secrets.token_hex(12)
    notification = on_demand(conf_num=conf_num, at=datetime.now(UTC), **fields)
    run(_send(target, notification, switches, times, as_json))


async def _send(
    target: WebhookTarget, notification: Notification, switches: Switches, times: int, as_json: bool
) -> int:
    from videoapi.sandbox.webhook_sender import session

    code, body, content_type = 0, notification.body(switches), switches.webhook_content_type
    async with session() as posting:
        for _ in range(times):
            delivery = await target.deliver(posting, notification.type, body, content_type)
            if code := _show(delivery, notification, as_json):
                break
    return code


def _show(delivery: WebhookDelivery, notification: Notification, as_json: bool) -> int:
    from videoapi.cli import exit_codes
    from videoapi.cli.terminal import clean, print_json, print_result

    if as_json:
        shown = {
            "type": delivery.type,
            "room_id": notification.room_id,
            "conf_num": notification.conf_num,
            "url": delivery.url,
            "status": delivery.status,
            "error": delivery.error,
            "seconds": round(delivery.seconds, 3),
        }
        print_json(shown)
    else:
        about = f"{delivery.type} of room {notification.room_id}, session {notification.conf_num}"
        # Starlette and FastAPI redirect a POST to a mount, and the service does not follow redirects.
        slash = delivery.status in (307, 308) and not delivery.url.endswith("/")
        hint = ". A webhook is not redirected: add the final slash to the URL." if slash else ""
        print_result(clean(f"{about} to {delivery.url}: {delivery.outcome} after {delivery.seconds:.2f} s{hint}"))
    if delivery.status is None:
        return exit_codes.NO_ACCESS
    return exit_codes.DONE if delivery.accepted else exit_codes.FAILED


def _split(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise click.UsageError(f"--switch {pair}: give NAME=VALUE")
    return name, value
