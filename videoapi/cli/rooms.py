"""`videoapi rooms`: create, list, show and delete rooms."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from videoapi.cli.client_options import ClientOptions, client_options
from videoapi.cli.exit_codes import MEANINGS

if TYPE_CHECKING:
    from videoapi.cli.inputs import InputFile
    from videoapi.cli.summary import BulkOptions
    from videoapi.models.rooms import Room, RoomSpec

T = TypeVar("T")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_SECONDS = click.FloatRange(min=0, min_open=True)


def _bulk_options(command: Any) -> Any:
    for option in (
        click.option("--quiet", is_flag=True, help="No progress and no summary."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout."),
        click.option(
            "--give-up-after",
            type=_SECONDS,
            default=120.0,
            show_default=True,
            help="Seconds of refusals alone after which the run ends.",
        ),
        click.option("--timeout", type=_SECONDS, help="Seconds for the whole run; none by default."),
        click.option("--concurrency", type=click.IntRange(1, 64), help="In flight at once; 32 by default."),
        click.option("--out", type=click.Path(path_type=Path), help="Outcome file; else <input>.outcomes.jsonl."),
    ):
        command = option(command)
    return client_options(command)


@click.group()
def rooms() -> None:
    """Create, list, show and delete rooms."""


@rooms.command("create-many", epilog=MEANINGS)
@click.argument("file", type=_FILE)
@click.option("--key-column", help="Column or field whose values name the lines; `key` if there is one, else `name`.")
@click.option("--dry-run", is_flag=True, help="Check every line of FILE, and send nothing.")
@click.option("--fresh", is_flag=True, help="Start over; the files of the earlier job are kept under a number.")
@click.option("--no-validate", is_flag=True, help="Let a white-label's own values through unchecked.")
@click.option("--job-id", help="ID of a new job; by default it is generated, and kept next to the outcome file.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Journal of a new job, an SQLite file; by default next to the outcome file. Use one for all its runs.",
)
@click.option(
    "--on-unknown",
    type=click.Choice(["resend", "strict"]),
    default="resend",
    show_default=True,
    help="Whether a room that is proven absent is sent again.",
)
@click.option(
    "--dedupe",
    type=click.Choice(["report", "delete"]),
    default="report",
    show_default=True,
    help="What to do with surplus rooms at the end.",
)
@click.option("--settle", type=_SECONDS, help="Seconds before absence of a room proves anything; 75 by default.")
@_bulk_options
def create_many(
    file: Path,
    key_column: str | None,
    dry_run: bool,
    no_validate: bool,
    access: ClientOptions,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Create a room for each line of FILE, a .csv, .tsv or .jsonl.

    \b
    CSV columns: name and, optionally, owner_ref, key, sip, settings.* (such as
    settings.participants) and data.* (your own fields). Empty cells are ignored.
    JSONL: one object per line with the fields of RoomSpec.

    An invalid line does not affect the others. Each input produces one line in the outcome file, with
    its room_id or the reason for its absence. Creates whose response was lost are looked up at the end of
    the run, and repeated if the room provably does not exist.

    To continue after an interruption, or after fixing lines that failed, repeat the command: lines whose room
    exists are recognized by their key, and not created again.
    """
    from videoapi.cli.dry_run import check
    from videoapi.cli.inputs import room_specs
    from videoapi.cli.invocation import program, typed_command
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions
    from videoapi.cli.terminal import print_status

    specs = _readable(lambda path: room_specs(path, key_column), file)
    if dry_run:
        sys.exit(check(specs, validate=not no_validate, as_json=as_json, quiet=quiet))
    if specs.repeated:
        raise click.UsageError(f"{file.name}: {specs.repeated} Nothing was sent.")
    if specs.keys == "name" and key_column is None:
        print_status("No line has a key, so the names serve as keys.", quiet=quiet)
    settle = () if options["settle"] is None else ("--settle", str(options["settle"]))
    output = BulkOptions(
        out=_out(file, out),
        as_json=as_json,
        quiet=quiet,
        again=typed_command(without=("--fresh",)),
        resolve=[*program(), "rooms", "resolve", *access.words(), *settle],
    )
    bound_to = {"file": os.path.relpath(file, output.out.parent), "keys": specs.keys}
    run(_create(access, specs, bound_to, output, validate=not no_validate, **options))


async def _create(
    access: ClientOptions,
    specs: InputFile[RoomSpec],
    bound_to: dict[str, str],
    output: BulkOptions,
    *,
    settle: float | None,
    fresh: bool,
    job_id: str | None,
    journal: Path | None,
    **limits: Any,
) -> int:
    import attrs

    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk
    from videoapi.cli.job import open_job

    attempts = AttemptLog()
    async with access.client(settle=settle, listeners=attempts) as client:
        bound_to |= {"origin": urlsplit(client.base_url)._replace(path="").geturl(), "app_id": access.app_id}
        with open_job(output.out, bound_to, job_id=job_id, journal=journal, fresh=fresh, quiet=output.quiet) as job:
            # Rooms of an earlier run would be read one by one.
            limits |= {"job_id": job.job_id, "journal": job.journal, "keep_rooms": False}
            if job.job_id is None:
                output = attrs.evolve(output, again=())
            return await run_bulk(output, specs, attempts, lambda given: client.rooms.create_each(given, **limits))


@rooms.command("delete-many", epilog=MEANINGS)
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@_bulk_options
def delete_many(
    file: Path, yes: bool, access: ClientOptions, out: Path | None, as_json: bool, quiet: bool, **limits: Any
) -> None:
    """Delete the rooms listed in FILE.

    FILE is a .txt with one room ID per line, a .csv with a column room_id, or a .jsonl with a field
    room_id, such as the outcome file of create-many.
    """
    from videoapi.cli.inputs import room_ids
    from videoapi.cli.invocation import typed_command
    from videoapi.cli.running import run
    from videoapi.cli.summary import BulkOptions

    ids = _readable(room_ids, file)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Delete the {ids.total:,} rooms listed in {file}?", abort=True, err=True)
    output = BulkOptions(out=_out(file, out), as_json=as_json, quiet=quiet, again=typed_command())
    run(_delete(access, ids, output, limits))


async def _delete(access: ClientOptions, ids: InputFile[str], output: BulkOptions, limits: dict[str, Any]) -> int:
    from videoapi.cli.attempts import AttemptLog
    from videoapi.cli.bulk import run_bulk

    attempts = AttemptLog()
    async with access.client(listeners=attempts) as client:
        return await run_bulk(output, ids, attempts, lambda given: client.rooms.delete_each(given, **limits))


@rooms.command("resolve")
@click.argument("reference")
@click.option("--control", help="ID of an existing room that this program created.")
@click.option("--settle", type=_SECONDS, help="Seconds before absence of a room proves anything; 75 by default.")
@client_options
def resolve(reference: str, control: str | None, settle: float | None, access: ClientOptions) -> None:
    """Find the room of a create with unknown outcome by its REFERENCE. Never creates a room.

    Prints the room ID. Exit code 1: the room provably does not exist. Exit code 3: still unknown. A room that
    is not listed proves nothing without --control.
    """
    from videoapi.cli.running import run

    run(_resolve(access, reference, control, settle))


async def _resolve(access: ClientOptions, reference: str, control: str | None, settle: float | None) -> int:
    from videoapi.cli import exit_codes
    from videoapi.cli.terminal import for_people, print_status
    from videoapi.creation.creator import DEFAULT_SETTLE
    from videoapi.errors import NotFound, VideoAPIError

    async with access.client(settle=settle) as client:
        if control is not None:
            print_status(
                "Looking for the room. If the list of rooms lacks it, this waits at most "
                f"{settle or DEFAULT_SETTLE:,.0f} s for proof (settle time), and reads the list again."
            )
        try:
            room = await client.rooms.resolve(reference, control=control)
        except VideoAPIError as error:
            lost = f"--control {control}: no such room. Name another. " if isinstance(error, NotFound) else ""
            print_status(f"{lost}{for_people(error)}")
            code = exit_codes.of_error(error)
            # Only a proven absence is a failure.
            return exit_codes.UNKNOWN if code == exit_codes.FAILED else code
    if room is None:
        print_status("No such room, and there will be none.")
        return exit_codes.FAILED
    click.echo(room.room_id)
    return exit_codes.DONE


@rooms.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with every field.")
@click.option("--show-secrets", is_flag=True, help="With --json: show telephone pins and passwords.")
@client_options
def list_rooms(as_json: bool, show_secrets: bool, access: ClientOptions) -> None:
    """List all rooms of the project, printing each as it arrives."""
    from videoapi.cli.running import run

    run(_list(access, as_json, show_secrets))


async def _list(access: ClientOptions, as_json: bool, show_secrets: bool) -> int:
    from videoapi.cli import exit_codes
    from videoapi.cli.redaction import room_fields
    from videoapi.cli.terminal import clean, print_status

    async with access.client() as client, client.rooms.list(extra=as_json) as found:
        async for room in found:
            if as_json:
                click.echo(json.dumps(room_fields(room.to_dict(), show_secrets=show_secrets)))
            else:
                click.echo("  ".join(clean(cell) for cell in _row(room)))
        if found.rejected_count:
            print_status(f"{found.rejected_count:,} rooms could not be read")
            return exit_codes.REJECTED
    return exit_codes.DONE


@rooms.command("get")
@click.argument("room_id")
@click.option("--json", "as_json", is_flag=True, help="Print the room as JSON, with every field.")
@click.option("--show-secrets", is_flag=True, help="With --json: show telephone pins and passwords.")
@client_options
def get(room_id: str, as_json: bool, show_secrets: bool, access: ClientOptions) -> None:
    """Show one room."""
    from videoapi.cli.running import run

    run(_get(access, room_id, as_json, show_secrets))


async def _get(access: ClientOptions, room_id: str, as_json: bool, show_secrets: bool) -> int:
    from videoapi.cli.redaction import room_fields
    from videoapi.cli.terminal import table

    async with access.client() as client:
        room = await client.rooms.get(room_id)
    if as_json:
        click.echo(json.dumps(room_fields(room.to_dict(), show_secrets=show_secrets)))
    else:
        settings = ((f"settings.{name}", value) for name, value in room.settings.to_dict().items())
        rows = (
            ("room_id", room.room_id),
            ("name", room.name),
            ("owner_ref", room.owner_ref),
            ("kind", _kind(room)),
            ("created", room.created),
            *settings,
        )
        table(("field", "value"), rows)
    return 0


def _row(room: Room) -> tuple[object, ...]:
    return room.room_id, f"{_kind(room):<11}", room.name, room.owner_ref


def _kind(room: Room) -> str:
    if room.settings.is_scheduled:
        return "scheduled"
    return "one session" if room.settings.is_one_session else "permanent"


def _out(file: Path, out: Path | None) -> Path:
    path = out or file.with_name(f"{file.name}.outcomes.jsonl")
    if path.exists() and path.samefile(file):
        raise click.UsageError(f"--out {path} is the input itself")
    return path


def _readable(read: Callable[[Path], T], file: Path) -> T:
    from videoapi.cli.spreadsheet import BadInput

    try:
        return read(file)
    except BadInput as bad:
        raise click.UsageError(str(bad)) from None
