"""`videoapi rooms audit`: whether a job is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from videoapi.cli.bulk_options import INPUT, ignore_option, output_of, readable
from videoapi.cli.client_options import SECONDS, ClientOptions, client_options, settle_option
from videoapi.cli.exit_codes import MEANINGS
from videoapi.cli.output_options import json_option

if TYPE_CHECKING:
    from videoapi.bulk.job_audit import AuditedSpec, JobAudit
    from videoapi.cli.inputs import InputFile
    from videoapi.cli.job_rooms import JobRoom
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
    """Check that each line of FILE has exactly one room that the job JOB_ID created under its key.

    The .job file next to the outcome file has the JOB_ID, the key column, the columns that are left out and the settle
    time. If you have no such file, give them. Run this while no process works on the job. It waits one settle time, and
    reads the list of rooms at most twice. Invalid lines are named, and all others checked.

    Exit code 0: proven. Exit code 1: rooms are missing, exist twice or have another name, or lines are invalid. Exit
    code 3: the list proves nothing.
    """
    from videoapi.cli.inputs import room_specs
    from videoapi.cli.job import ignored_by, job_of, settle_of, sole_user
    from videoapi.cli.running import run

    if len(job_id) > 1:
        raise click.UsageError(f"Give one JOB_ID and one FILE, not {len(job_id) + 1} arguments.")
    out = output_of(file, out)
    note = job_of(out, *job_id)
    specs = readable(lambda path: room_specs(path, key_column or note.get("keys"), ignored or ignored_by(note)), file)
    if specs.repeated:
        raise click.UsageError(f"{file.name}: {specs.repeated}")
    (chosen,) = job_id or (note["job_id"],)
    alone = sole_user(out) if note else nullcontext()
    lines = _Lines(specs)
    run(_audit(access, chosen, note, out, alone, lines, settle or settle_of(note), give_up_after, as_json=as_json))


class _Lines:
    """The lines of an audited file: the specs of the valid ones, and what is wrong with the others.

    Args:
        given: The file.
    """

    def __init__(self, given: InputFile[RoomSpec]) -> None:
        self.problems: list[dict[str, Any]] = []
        self.unreadable: str | None = None
        """Why the rest of the file cannot be read, or None."""
        self._given = given
        self._places: list[tuple[int, int, Any]] = []

    def __iter__(self) -> Iterator[RoomSpec]:
        from videoapi.cli.dry_run import problem_of
        from videoapi.cli.spreadsheet import UnreadableRest

        try:
            for line in self._given.lines:
                error = (
                    line.error
                    if line.given is None
                    else problem_of(line.given, line.columns, validate=False, begins=False)
                )
                if line.given is None or error is not None:
                    self.problems.append({"line": line.number, "key": line.key, "message": str(error)})
                    continue
                self._places.append((line.index, line.number, line.key))
                yield line.given
        except UnreadableRest as error:
            self.unreadable = str(error)

    @property
    def are_valid(self) -> bool:
        """Whether each line is valid."""
        return not self.problems and self.unreadable is None

    def place(self, index: int) -> tuple[int, int]:
        """Return the index of a spec in the file, and its line number."""
        return self._places[index][:2]

    def numbers_of(self, job_id: str, references: Collection[str]) -> dict[str, int]:
        """Return the line numbers of some references of the job."""
        from videoapi.creation.references import JobReferences, with_location

        of_key = JobReferences(job_id).of_key
        numbers = ((with_location(of_key(key), in_data=False), number) for _, number, key in self._places)
        return {reference: number for reference, number in numbers if reference in references} if references else {}


async def _audit(
    access: ClientOptions,
    job_id: str,
    note: Mapping[str, str],
    out: Path,
    alone: AbstractContextManager[object],
    lines: _Lines,
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
                f"Waiting {settle or DEFAULT_SETTLE:,.3g} s for proof (settle time), then reading the list of rooms."
            )
            result = await client.rooms.audit(job_id, lines, give_up_after=give_up_after)
    surplus = await asyncio.to_thread(_without_line, result, out)
    if as_json:
        print_json(_document(result, lines, surplus))
    else:
        _show(result, lines, surplus, job_id)
    return _code(result, lines)


def _without_line(result: JobAudit, out: Path) -> list[JobRoom]:
    """Return the rooms of the job that belong to no line, with their keys and names if an outcome file has them."""
    from videoapi.cli.job_rooms import JobRoom, rooms_by_id

    known = rooms_by_id(out, set(result.unexpected)) if result.unexpected else {}
    return [known.get(room_id) or JobRoom(room_id) for room_id in result.unexpected]


def _code(result: JobAudit, lines: _Lines) -> int:
    from videoapi.cli import exit_codes

    if result.duplicates:
        return exit_codes.FAILED
    if result.audited is None:
        return exit_codes.UNKNOWN
    return exit_codes.DONE if result.complete and lines.are_valid else exit_codes.FAILED


def _document(result: JobAudit, lines: _Lines, surplus: Sequence[JobRoom]) -> dict[str, Any]:
    def rows(found: Iterable[AuditedSpec]) -> list[dict[str, Any]]:
        return [
            {
                **dict(zip(("index", "line"), lines.place(one.index), strict=True)),
                "key": one.key,
                "reference": one.reference,
                "room_id": one.room_id,
                "other_room": one.other_room,
            }
            for one in found
        ]

    return {
        "complete": result.complete and lines.are_valid,
        "audited": None if result.audited is None else result.audited.isoformat(),
        "total": result.total,
        "found": result.found,
        "missing": rows(result.missing),
        "changed": rows(result.changed),
        "duplicates": {reference: list(rooms) for reference, rooms in result.duplicates.items()},
        "unexpected": result.unexpected,
        "without_line": [room.to_dict() for room in surplus],
        "namesakes": {reference: list(rooms) for reference, rooms in result.namesakes.items()},
        "problems": lines.problems,
        "unreadable": lines.unreadable,
        "unreadable_rooms": result.unreadable,
    }


def _show(result: JobAudit, lines: _Lines, surplus: Sequence[JobRoom], job_id: str) -> None:
    from videoapi.cli.terminal import counted, print_result, visible

    proven = result.audited is not None
    numbers = lines.numbers_of(job_id, result.duplicates.keys() | result.namesakes.keys())

    def placed(found: Iterable[AuditedSpec], detail: Callable[[AuditedSpec], str]) -> list[str]:
        return [f"line {lines.place(one.index)[1]}: {one.key} ({detail(one)})" for one in found]

    def several(found: Mapping[str, Sequence[str]]) -> list[str]:
        return [f"line {numbers[reference]}: {reference}: {', '.join(rooms)}" for reference, rooms in found.items()]

    valid = "" if lines.are_valid else " valid"
    if not (result.found or result.unexpected or result.duplicates):
        none = "No room has" if proven else "The list shows no room with"
        print_result(f"{none} the job ID {visible(job_id)}. It is in the .job file next to the outcome file.")
    print_result(f"{result.found:,} of {result.total:,}{valid} lines have a room{'' if proven else ' in the list'}.")
    _some("invalid", [f"line {problem['line']}: {problem['message']}" for problem in lines.problems])
    _some("unreadable", [] if lines.unreadable is None else [lines.unreadable])
    _some("missing" if proven else "not in the list", placed(result.missing, lambda one: one.reference))
    for what, is_other in (("another name or owner_ref", True), ("changed", False)):
        found = (one for one in result.changed if one.other_room is is_other)
        _some(what, placed(found, lambda one: f"room {one.room_id}"))
    _some("twice", several(result.duplicates))
    _some(f"without a{valid} line", [str(room) for room in surplus])
    _some("cannot be read, and may be a room of this job", result.unreadable)
    unexpected = set(result.unexpected)
    namesakes = {
        "under another key of this job": _only(result.namesakes, unexpected.__contains__),
        "not of this job": _only(result.namesakes, lambda room_id: room_id not in unexpected),
    }
    for what, rooms in namesakes.items():
        _some(f"same name and start, {what}", several(rooms))
    if result.unreadable:
        print_result(
            "Not proven: rooms in the list cannot be read. Lines that are not in the list may have one of them: "
            "do not create them again."
        )
    elif not proven:
        print_result("Not proven: the list of rooms lags, or lacks rooms that exist.")
    elif result.complete:
        exact = f"ach{valid} line has exactly one room of this job"
        differences = _differences(len(result.changed), len(surplus), valid)
        if result.namesakes:
            where = " or ".join(what for what, rooms in namesakes.items() if rooms)
            print_result(
                f"E{exact} under its key, but {counted(len(result.namesakes), 'of them has', 'of them have')} the name "
                f"and start of rooms that are {where}. If the table was created twice, delete the surplus "
                f"rooms.{differences}"
            )
        else:
            is_all = lines.are_valid and not differences
            print_result(f"Complete: e{exact}." if is_all else f"E{exact}.{differences}")


def _differences(changed: int, surplus: int, valid: str) -> str:
    """Return how many rooms differ from their line, and how many have none; empty if neither applies."""
    from videoapi.cli.terminal import counted

    differ = f" {counted(changed, 'room differs from its line', 'rooms differ from their lines')}." if changed else ""
    have_none = f" {counted(surplus, 'room has', 'rooms have')} no{valid} line." if surplus else ""
    return differ + have_none


def _only(found: Mapping[str, Sequence[str]], is_meant: Callable[[str], bool]) -> dict[str, list[str]]:
    """Return the references with those of their rooms that are meant, and without those that have none."""
    meant = {reference: list(filter(is_meant, rooms)) for reference, rooms in found.items()}
    return {reference: rooms for reference, rooms in meant.items() if rooms}


def _some(what: str, texts: Sequence[str]) -> None:
    from videoapi.cli.terminal import print_result, visible

    for text in texts[:_SHOWN]:
        print_result(f"{what}: {visible(text)}")
    if len(texts) > _SHOWN:
        print_result(f"{what}: {len(texts) - _SHOWN:,} more; --json has all")
