"""Jobs next to a new one that have created rooms under the same keys, such as for a file with another name."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
import click
import msgspec

from videoapi.cli.earlier_advice import RULE, Relation, Situation, advice_for, renamed_lines, situation_of
from videoapi.cli.inputs import Title, titles_of
from videoapi.cli.job import OPEN, beneath, ignored_by, is_same_file, journal_of, read_note
from videoapi.creation.journal import recorded
from videoapi.creation.references import JobReferences, with_location
from videoapi.errors import ConfigurationError

_LARGEST_NOTE: Final = 1 << 16
"""Bytes; a longer file of this name is not a note of a job."""


_ACCOUNT: Final = ("origin", "app_id")
_CANNOT_CONTINUE: Final = (
    Situation.SAME_FILE,
    Situation.OTHER_TYPES,
    Situation.OTHER_COLUMN,
    Situation.OTHER_KEYS,
)
"""The situations in which the command with the ID of the job would not do so, or says more than it needs."""


class _KeyOutcome(msgspec.Struct):
    key: Any = None
    status: str = ""
    name: Any = None
    scheduled_time: Any = None


_KEY_OUTCOME: Final = msgspec.json.Decoder(_KeyOutcome)


@attrs.frozen
class EarlierJob:
    """A job with rooms that a new job would create again.

    Args:
        out: Its outcome file.
        note: What its `.job` says.
        shared: The keys of the new job for which it has, or may have, a room.
        created: Those of them whose room was certainly created.
        as_typed: Whether they are text in both, or numbers in both: only then they are the same keys.
        renamed: Number of lines of the new job that are its rooms under other keys.
    """

    out: Path
    note: Mapping[str, str]
    shared: AbstractSet[str | int] = frozenset()
    created: AbstractSet[str | int] = frozenset()
    as_typed: bool = True
    renamed: int = 0

    @property
    def file(self) -> Path:
        """Its input file."""
        return beneath(self.out.parent, self.note["file"])

    @property
    def column(self) -> str:
        """Its key column."""
        return self.note.get("keys", "key")


def refuse_same_rooms(
    out: Path, about: Mapping[str, str], read_titles: Callable[[], Mapping[str | int, Title]], again: Sequence[str]
) -> None:
    """Raise an error if a job next to the outcome file or the input has rooms of the new job.

    These are rooms under the same keys, or those of more than half of the lines under other keys.

    Args:
        out: The outcome file of the new job.
        about: What the new job is bound to; without an account, jobs of each account count.
        read_titles: Returns its titles by key; called only if there are other jobs.
        again: The words of the running command.

    Raises:
        click.UsageError: If there is such a job; the message says how to continue it.
    """
    others = list(_jobs(out, about))
    titles = read_titles() if others else {}
    found = [job for job in _with_shared(others, titles) if job.shared or job.renamed]
    if not found:
        return
    job = max(found, key=lambda job: (len(job.shared), job.renamed, job.note.get("began", "")))
    file = beneath(out.parent, about["file"])
    ours, theirs = file.name, job.file.name
    known = titles_of(job.file, job.column) or {}
    situation = situation_of(
        Relation(
            is_same_file=is_same_file(job.file, file),
            has_same_name=ours == theirs,
            shares_keys=bool(job.shared),
            as_typed=job.as_typed,
            has_column=not job.shared and bool((titles_of(file, job.column) or {}).keys() & known.keys()),
            has_ids="room_id" in ignored_by(about),
            lines=len(titles),
            lines_then=len(known),
        )
    )
    quoted = shlex.quote(str(job.out))
    advice = advice_for(situation, ours=ours, theirs=theirs, out=str(job.out), quoted=quoted, column=job.column)
    if situation not in _CANNOT_CONTINUE and job.column == about["keys"]:
        words = _with_options(again, "--out", str(job.out), "--job-id", job.note["job_id"])
        advice += (
            f" Or continue that job with {ours}: {words}\n"
            "That creates the rooms that the job has not created, but no room that was deleted since."
        )
    has = "has created" if job.shared and job.created == job.shared else "has, or may have, created"
    rooms = f"rooms for {len(job.shared):,} of the {len(titles):,} keys in {ours}"
    if not job.shared:
        rooms = f"rooms with {RULE} of {ours} ({job.renamed:,} of {len(titles):,})"
    raise click.UsageError(
        f"The job {job.out} of {job.note.get('began')} {has} {rooms}, and a new job would create them again. Nothing "
        f"was sent.\n{advice}\n"
        f"To create all rooms of {ours} in a new job, such as rooms that were deleted, give --fresh."
    )


def refuse_other_keys(
    out: Path,
    known: Mapping[str, str],
    about: Mapping[str, str],
    read_titles: Callable[[], Mapping[str | int, Title]],
) -> None:
    """Raise an error if a job has the rooms of more than half of the lines of its table under other keys.

    Args:
        out: The outcome file of the job.
        known: What its `.job` says.
        about: What this run of it is bound to.
        read_titles: Returns the titles of the table by key.

    Raises:
        click.UsageError: If it has.
    """
    titles = read_titles()
    for job in _with_shared([EarlierJob(out, known)], titles):
        if job.renamed:
            raise click.UsageError(
                f"This job has, or may have, created rooms with {RULE} of {Path(about['file']).name} "
                f"({job.renamed:,} of {len(titles):,}), under other keys, and would create them again. Nothing was "
                "sent.\n"
                f"Restore their keys in the column {job.column}. If these are other rooms, begin a new job with "
                "--fresh."
            )


def refuse_same_id(out: Path, about: Mapping[str, str], job_id: str, again: Sequence[str]) -> None:
    """Raise an error if the ID of a new job is that of a job with another outcome file.

    The journal of that job would not know the rooms of this command, and create them again.

    Args:
        out: The outcome file of the new job.
        about: What the new job is bound to; without an account, jobs of each account count.
        job_id: The ID of the user's own.
        again: The words of the running command.

    Raises:
        click.UsageError: If there is such a job; the message says how to continue it.
    """
    for job in _jobs(out, about, job_id):
        if job.note["job_id"] == job_id and not is_same_file(job.out, out):
            command = _with_options(again, "--out", str(job.out))
            raise click.UsageError(
                f"The job {job_id} has the outcome file {job.out}. With another one, the rooms of the job could be "
                f"created twice. Nothing was sent.\nTo continue that job: {command}\n"
                "To begin another job, leave out --job-id, or give another one."
            )


def _with_options(words: Sequence[str], *options: str) -> str:
    # After `--`, click takes options for arguments.
    end = words.index("--") if "--" in words else len(words)
    return shlex.join((*words[:end], *options, *words[end:]))


def rooms_of(out: Path, read_titles: Callable[[], Mapping[str | int, Title]]) -> int:
    """Return for how many keys the job of an outcome file has, or may have, a room.

    Args:
        out: The outcome file.
        read_titles: Returns the titles by key; called only if there is such a job.
    """
    note = read_note(out.with_name(f"{out.name}.job"))
    if not {"job_id", "file"} <= note.keys():
        return 0
    return sum(len(job.shared) for job in _with_shared([EarlierJob(out, note)], read_titles()))


def _jobs(out: Path, about: Mapping[str, str], job_id: str | None = None) -> Iterator[EarlierJob]:
    """Yield the jobs of the same account in the folders of the outcome file and of the input, without their keys.

    Also those in the folder above and the current one whose input has the same name: it may have been moved or copied
    from there without its job. And those there with an ID.
    """
    file = beneath(out.parent, about["file"])
    # The input may be a link to the file of that job.
    beside = {
        os.path.realpath(folder): folder for folder in (Path(os.path.realpath(file)).parent, file.parent, out.parent)
    }
    others = {os.path.realpath(folder): folder for folder in (beneath(file.parent, ".."), Path())}
    for place, folder in (others | beside).items():
        for path in sorted(folder.glob("*.job")):
            with suppress(ConfigurationError, OSError):
                # Reading a pipe of this name would never end.
                note = read_note(path) if path.is_file() and path.stat().st_size <= _LARGEST_NOTE else {}
                if not {"job_id", "file"} <= note.keys():
                    continue
                is_ours = all(note.get(name) == about.get(name, note.get(name)) for name in _ACCOUNT)
                is_named = note["job_id"] == job_id or Path(note["file"]).name == file.name
                if is_ours and (place in beside or is_named):
                    yield EarlierJob(path.with_name(path.name.removesuffix(".job")), note)


def _with_shared(jobs: Collection[EarlierJob], titles: Mapping[str | int, Title]) -> Iterator[EarlierJob]:
    """Yield the jobs with the keys and lines for which they have, or may have, a room."""
    # Each folder is listed once: it may have thousands of jobs.
    numbered = {folder: _numbered(folder) for folder in {job.out.parent for job in jobs}}
    texts = {str(key): key for key in titles}
    lines = {str(key): title for key, title in titles.items()}
    for job in jobs:
        created: set[str | int] = set()
        unknown: set[str | int] = set()
        rooms: dict[str, Title] = {}
        found, as_typed = {"created": created, "unknown": unknown}, True
        for path in (
            job.out,
            job.out.with_name(f"{job.out.name}.part"),
            *numbered[job.out.parent].get(job.out.name, ()),
        ):
            for row in _rows(path):
                if row.status not in found or not isinstance(row.key, str | int):
                    continue
                rooms[str(row.key)] = Title(
                    *(text if isinstance(text, str) else "" for text in (row.name, row.scheduled_time))
                )
                if (key := texts.get(str(row.key))) is not None:
                    found[row.status].add(key)
                    as_typed = as_typed and type(key) is type(row.key)
        # Of what was in flight, a run that was killed has no outcomes.
        was_killed = job.note.get(OPEN) == "1" or job.out.with_name(f"{job.out.name}.part").exists()
        known = titles_of(job.file, job.column) if was_killed else {}
        was_sent = _sent(job, known)
        rooms |= {str(key): title for key, title in (known or {}).items() if was_sent(key)}
        shared = created | unknown | {key for key in titles.keys() - created if was_sent(key)}
        yield attrs.evolve(job, shared=shared, created=created, as_typed=as_typed, renamed=renamed_lines(lines, rooms))


def _rows(path: Path) -> Iterator[_KeyOutcome]:
    if not path.is_file():
        return
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            # The last line of a run that was killed can be incomplete.
            with suppress(ValueError, RecursionError):
                yield _decoded(line)


def _decoded(line: bytes) -> _KeyOutcome:
    try:
        return _KEY_OUTCOME.decode(line)
    except msgspec.DecodeError:
        # Half a surrogate pair, which a key may have, is not decoded.
        return msgspec.convert(json.loads(line), _KeyOutcome)


def _sent(job: EarlierJob, known: Mapping[str | int, Title] | None) -> Callable[[str | int], bool]:
    """Return whether the job may have sent the create of a key.

    Args:
        job: The job.
        known: Its lines, if a run of it was killed; None if they cannot be read.
    """
    references = JobReferences(job.note["job_id"])
    with suppress(sqlite3.Error):
        sent = recorded(journal_of(job.out, job.note), job.note["job_id"])
        return lambda key: with_location(references.of_key(key), in_data=False) in sent
    # Worker processes have no journal. If the input of the job was renamed, any key can be one of them.
    return lambda key: known is None or key in known


def _numbered(folder: Path) -> dict[str, list[Path]]:
    """Return the outcome files of earlier runs by the name of the latest; one with a note is of another job."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name, _, number = path.name.rpartition(".")
        if number.isascii() and number.isdecimal() and not path.with_name(f"{path.name}.job").exists():
            found.setdefault(name, []).append(path)
    return found
