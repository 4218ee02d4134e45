"""`videoapi request`: a route that only a white-label has."""

from __future__ import annotations

from typing import Any

import click

from videoapi.cli.client_options import ClientOptions, client_options, timeout_option
from videoapi.cli.exit_codes import MEANINGS


@click.command(epilog=MEANINGS)
@click.argument("method")
@click.argument("path")
@click.option(
    "--operation",
    type=click.Choice(["read", "update", "create", "delete"]),
    required=True,
    help="What the request does, which decides about retries: a create that may have been executed is never repeated.",
)
@click.option(
    "--body",
    "json",
    multiple=True,
    metavar="KEY=VALUE",
    help="Body: KEY=VALUE, a JSON object, or @FILE with one. Repeatable.",
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Query parameter. Repeatable.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Request header. Repeatable.")
@timeout_option
@client_options
def request(access: ClientOptions, timeout: float | None, **options: Any) -> None:
    """Send a request to a route that only a white-label has, and print the response.

    PATH is relative to the base URL. Retries, limits and errors are those of the other commands. The response is
    printed in full, including any secrets.
    """
    from videoapi.cli.running import run

    run(_send(access, timeout, **options))


async def _send(
    access: ClientOptions,
    timeout: float | None,
    *,
    method: str,
    path: str,
    operation: Any,
    json: tuple[str, ...],
    params: tuple[str, ...],
    headers: tuple[str, ...],
) -> int:
    from videoapi.cli.terminal import print_json, print_result, visible
    from videoapi.cli.values import objects_of
    from videoapi.errors import ProtocolError

    body = objects_of("--body", json) if json else None
    query = objects_of("--param", params) or None
    names = objects_of("--header", headers) or None
    async with access.client(timeout=timeout) as client:
        answer = await client.request(method, path, json=body, params=query, headers=names, operation=operation)
    try:
        print_json(answer.json())
    except ProtocolError:
        print_result("\n".join(map(visible, answer.body.decode(errors="replace").splitlines())))
    return 0
