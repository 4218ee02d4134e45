"""`videoapi rooms audit`: whether a job is complete."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from videoapi.cli.bulk_options import INPUT, ignore_option, output_of, readable
from videoapi.cli.client_options import SECONDS, ClientOptions, client_options, settle_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option

if TYPE_CHECKING:
    from videoapi.bulk.job_audit import JobAudit
    from videoapi.cli.inputs import InputFile
    from videoapi.models.rooms import RoomSpec

_SHOWN: Final = 5


@click.command("audit", epilog=MEANINGS)
@click.argument("job_id", nargs=-1, metavar="[JOB_ID]")
@click.argument("file", type=INPUT)
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Outcome file. [default: FILE.outcomes.jsonl]"
)
@click.option(
    "--key-column",
    metavar="COLUMN",
    help="Column or field with the key of each line. [default: that of the job, or `key` if there is one, or `name`]",
)
@ignore_option
@settle_option
@click.option(
    "--give-up-after",
    type=SECONDS,
    default=120.0,
    show_default=True,
    help="How long to retry if the list cannot be read.",
)
@json_option("Print the result as JSON, with every line whose room is missing or differs.")
@client_options
def audit(
    job_id: tuple[str, ...],
    file: Path,
    out: Path | None,
    key_column: str | None,
    ignored: tuple[str, ...],
    settle: float | None,
    give_up_after: float,
    as_json: bool,
    access: ClientOptions,
) -> None:
    """Check that each line of FILE has exactly one room that the job JOB_ID created.

    The .job file next to the outcome file has the JOB_ID, the key column and the columns that are left out. If you have
    no such file, give them. Run this while no process works on the job. It waits one settle time, and reads the list of
    rooms at most twice.

    Exit code 0: proven. Exit code 1: rooms are missing, or exist twice. Exit code 3: the list proves nothing.
    """
    from videoapi.cli.inputs import room_specs
    from videoapi.cli.job import ignored_by, job_of, sole_user
    from videoapi.cli.running import run

    if len(job_id) > 1:
        raise click.UsageError(f"Give one JOB_ID and one FILE, not {len(job_id) + 1} arguments.")
    out = output_of(file, out)
    note = job_of(out, *job_id)
    key_column = key_column or note.get("keys")
    ignored = ignored or ignored_by(note)

    def read() -> InputFile[RoomSpec]:
        return readable(lambda path: room_specs(path, key_column, ignored), file)

    specs = read()
    if specs.repeated:
        raise click.UsageError(f"{file.name}: {specs.repeated}")
    # All lines, before the wait for proof.
    deque(_readable(read(), file), maxlen=0)
    (chosen,) = job_id or (note["job_id"],)
    alone = sole_user(out) if note else nullcontext()
    run(_audit(access, chosen, note, alone, specs, file, settle, give_up_after, as_json=as_json))


async def _audit(
    access: ClientOptions,
    job_id: str,
    note: Mapping[str, str],
    alone: AbstractContextManager[object],
    specs: InputFile[RoomSpec],
    file: Path,
    settle: float | None,
    give_up_after: float,
    *,
    as_json: bool,
) -> int:
    from videoapi.cli.job import check_account
    from videoapi.cli.terminal import print_json, print_status
    from videoapi.creation.creator import DEFAULT_SETTLE

    with alone:
        async with access.client(settle=settle) as client:
            check_account("The job", note, access.account_of(client))
            print_status(
                f"Waiting {settle or DEFAULT_SETTLE:,.0f} s for proof (settle time), then reading the list of rooms."
            )
            result = await client.rooms.audit(job_id, _readable(specs, file), give_up_after=give_up_after)
    if as_json:
        print_json(_document(result))
    else:
        _show(result, job_id)
    return _code(result)


def _readable(specs: InputFile[RoomSpec], file: Path) -> Iterator[RoomSpec]:
    from videoapi.cli.invocation import program

    for line in specs.lines:
        if line.given is None:
            command = shlex.join((*program(), "rooms", "create-many", str(file), "--dry-run"))
            raise click.UsageError(
                f"line {line.number}: {line.error}\nTo list all invalid lines: {command}, "
                "with the --key-column and --ignore-column of the job."
            )
        yield line.given


def _code(result: JobAudit) -> int:
    from videoapi.cli import exit_codes

    if result.duplicates:
        return exit_codes.FAILED
    if result.audited is None:
        return exit_codes.UNKNOWN
    return exit_codes.FAILED if result.missing else exit_codes.DONE


def _document(result: JobAudit) -> dict[str, Any]:
    def rows(found: Iterable[Any]) -> list[dict[str, Any]]:
        return [
            {"index": one.index, "key": one.key, "reference": one.reference, "room_id": one.room_id} for one in found
        ]

    return {
        "complete": result.complete,
        "audited": None if result.audited is None else result.audited.isoformat(),
        "total": result.total,
        "found": result.found,
        "missing": rows(result.missing),
        "changed": rows(result.changed),
        "duplicates": {reference: list(rooms) for reference, rooms in result.duplicates.items()},
        "unexpected": result.unexpected,
    }


def _show(result: JobAudit, job_id: str) -> None:
    from videoapi.cli.terminal import print_result, visible

    proven = result.audited is not None
    if not (result.found or result.unexpected or result.duplicates):
        none = "No room has" if proven else "The list shows no room with"
        print_result(f"{none} the job ID {visible(job_id)}. It is in the .job file next to the outcome file.")
    print_result(f"{result.found:,} of {result.total:,} lines have a room{'' if proven else ' in the list'}.")
    _some("missing" if proven else "not in the list", [f"{one.key} ({one.reference})" for one in result.missing])
    _some("changed", [f"{one.key} (room {one.room_id})" for one in result.changed])
    _some("twice", [f"{reference}: {', '.join(rooms)}" for reference, rooms in result.duplicates.items()])
    _some("without a line", result.unexpected)
    if not proven:
        print_result("Not proven: the list of rooms lags, or lacks rooms that exist.")
    elif result.complete:
        print_result("Complete: each line has exactly one room of this job.")


def _some(what: str, texts: Sequence[str]) -> None:
    from videoapi.cli.terminal import print_result, visible

    for text in texts[:_SHOWN]:
        print_result(f"{what}: {visible(text)}")
    if len(texts) > _SHOWN:
        print_result(f"{what}: {len(texts) - _SHOWN:,} more; --json has all")
