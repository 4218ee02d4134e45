"""Whether a table has rooms that its job, or another one next to it, has created: a help against mistakes."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

import attrs
import click

from videoapi.cli.earlier_advice import Relation, Situation, advice_for, are_most, renamed_lines, situation_of
from videoapi.cli.inputs import Title, titles_of
from videoapi.cli.job import FRESH, OPEN, UNUSED, beneath, ignored_by, is_same_file, journal_of, left_by, read_note
from videoapi.cli.job_rooms import numbered, outcomes_in
from videoapi.cli.outcomes import MOST_SHOWN
from videoapi.cli.table_rooms import Sent, TableRooms
from videoapi.creation.journal_file import recorded
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


@attrs.frozen(kw_only=True)
class EarlierJob:
    """A job, and which lines of a table are its rooms.

    Args:
        out: Its outcome file.
        note: What its `.job` says; empty if it is damaged.
        shared: The keys of the table for which it has, or may have, a room; not those of its own table.
        lacking: The keys of the table for which it has no room.
        retyped: Those of the latter that are text in the table, and numbers in the job, or the other way round.
        renamed: The keys of the lines whose room it has under another key, by their name and start.
        rooms: Number of rooms that it has, or may have.
        is_sure: Whether the rooms of `shared` were certainly created.
        is_known: Whether it is known which lines it may have sent.
    """

    out: Path
    note: Mapping[str, str]
    shared: AbstractSet[str | int] = frozenset()
    lacking: AbstractSet[str | int] = frozenset()
    retyped: AbstractSet[str | int] = frozenset()
    renamed: AbstractSet[str | int] = frozenset()
    rooms: int = 0
    is_sure: bool = True
    is_known: bool = True

    @property
    def file(self) -> Path:
        """Its input file."""
        return beneath(self.out.parent, self.note["file"])

    @property
    def column(self) -> str:
        """Its key column."""
        return self.note.get("keys", "key")

    def __str__(self) -> str:
        return f"The job {self.out} of {self.note['began']}" if self.note else f"The job {self.out}"

    def has_most(self, lines: int) -> bool:
        """Return whether half or more of the lines of the table, or of its own rooms, are under other keys."""
        return are_most(len(self.renamed), lines, self.rooms)


def refuse_same_rooms(
    out: Path,
    known: Mapping[str, str],
    about: Mapping[str, str],
    read_titles: Callable[[], Mapping[str | int, int]],
    again: Sequence[str],
) -> dict[str, AbstractSet[str | int]]:
    """Raise an error if this job has rooms of its table under other keys, or another job has rooms of the table.

    Args:
        out: The outcome file of the job.
        known: What its `.job` says; empty if it begins.
        about: What the job is bound to; without an account, jobs of each account count.
        read_titles: Returns the marks of the titles of the table by key; called only if there are jobs.
        again: The words of the running command.

    Returns:
        By outcome file, the keys of lines whose room a job seems to have under another key, if they are few.

    Raises:
        click.UsageError: If there is such a job; the message says what to do.
    """
    others = [job for job in _jobs(out, about) if not (is_same_file(job.out, out) or _is_replaced(job, known))]
    titles = read_titles() if known or others else {}
    own: list[EarlierJob] = []
    pending: AbstractSet[str | int] | None = None
    if known:
        own = list(_compared([EarlierJob(out=out, note=known)], titles, is_own=True))
        _refuse_other_keys(own[0], about, titles)
        pending = own[0].lacking
    found = [] if pending is not None and not pending else list(_compared(others, titles, pending))
    refused = [job for job in found if job.shared or job.has_most(len(titles)) or not job.is_known]
    if refused:
        job = max(refused, key=lambda job: (len(job.shared), len(job.renamed), job.note.get("began", "")))
        raise click.UsageError(
            _of_another_job(job, out, about, titles, again) if pending is None else _of_both(job, about, titles)
        )
    return {str(job.out): job.renamed for job in (*own, *found) if job.renamed}


def _is_replaced(job: EarlierJob, known: Mapping[str, str]) -> bool:
    """Return whether the job of a note was begun with --fresh after another one."""
    return known.get(FRESH) == "yes" and job.note.get("began", "") <= known["began"]


def _of_another_job(
    job: EarlierJob,
    out: Path,
    about: Mapping[str, str],
    titles: Mapping[str | int, int],
    again: Sequence[str],
) -> str:
    """Return why a new job is refused, and how to continue the earlier one."""
    file = beneath(out.parent, about["file"])
    ours, quoted = file.name, shlex.quote(str(job.out))
    anew = f"To create all rooms of {ours} in a new job, such as rooms that were deleted, give --fresh."
    is_known = job.shared or job.has_most(len(titles))
    if not job.note:
        has = _rooms(job, ours, titles) if is_known else f"may have created rooms of {ours}"
        return (
            f"{job} {has}, and a new job would create them again. Nothing was sent.\n"
            f"{job.out}.job, which says how to continue that job, is empty or damaged. Restore it from a backup, and "
            "repeat the command of that job. If you know the ID of the job, move the .job away, and give --out "
            f"{quoted} --job-id with that ID.\n{anew}"
        )
    theirs = job.file.name
    if not is_known:
        return (
            f"{job} may have created rooms of {ours}. Its lines are not known: it was interrupted, or has no outcome "
            f"file, and its input {job.file} cannot be read. Nothing was sent.\n"
            f"Restore {theirs}, or if it was renamed, give it that name again, and repeat the command.\n{anew}"
        )
    known = titles_of(job.file, job.column) or {}
    situation = situation_of(
        Relation(
            is_same_file=is_same_file(job.file, file),
            has_same_name=ours == theirs,
            shares_keys=bool(job.shared),
            as_typed=not job.retyped,
            has_column=not job.shared and bool((titles_of(file, job.column) or {}).keys() & known.keys()),
            has_ids="room_id" in ignored_by(about),
            lines=len(titles),
            lines_then=len(known),
        )
    )
    advice = advice_for(situation, ours=ours, theirs=theirs, out=str(job.out), quoted=quoted, column=job.column)
    if situation not in _CANNOT_CONTINUE and job.column == about["keys"] and job.is_known:
        words = _with_options(again, "--out", str(job.out), "--job-id", job.note["job_id"])
        advice += (
            f" Or continue that job with {ours}: {words}\n"
            "That creates the rooms that the job has not created, but no room that was deleted since."
        )
    return (
        f"{job} {_rooms(job, ours, titles)}, and a new job would create them again. Nothing was sent.\n{advice}\n{anew}"
    )


def _of_both(job: EarlierJob, about: Mapping[str, str], titles: Mapping[str | int, int]) -> str:
    """Return why a job that has begun is refused because of lines that another job has, too."""
    ours = Path(about["file"]).name
    keys = [str(key) for key in titles if key in (job.shared or job.renamed)]
    more = f" and {len(keys) - MOST_SHOWN:,} more" if len(keys) > MOST_SHOWN else ""
    return (
        f"{job} {_rooms(job, ours, titles)}, and this job would create them again. Nothing was sent.\n"
        f"Remove these lines from {ours}, because they are rooms of that job: "
        f"{', '.join(keys[:MOST_SHOWN])}{more}. If they are other rooms, put them into a file of their own, and create "
        "them in a new job with --fresh."
    )


def _rooms(job: EarlierJob, ours: str, titles: Mapping[str | int, int]) -> str:
    has = "has created" if job.shared and job.is_sure else "has, or may have, created"
    if job.shared:
        return f"{has} rooms for {len(job.shared):,} of the {len(titles):,} keys in {ours}"
    return (
        f"{has} rooms with the same name and start as {len(job.renamed):,} of the {len(titles):,} lines of {ours}, "
        "under other keys"
    )


def _refuse_other_keys(job: EarlierJob, about: Mapping[str, str], titles: Mapping[str | int, int]) -> None:
    """Raise an error if a job has rooms of its table under other keys, or under keys of another type.

    Raises:
        click.UsageError: If it has.
    """
    ours, theirs = Path(about["file"]).name, job.file.name
    if job.retyped:
        has = _rooms(attrs.evolve(job, shared=job.retyped), ours, titles)
        advice = advice_for(
            Situation.OTHER_TYPES, ours=ours, theirs=theirs, out=str(job.out), quoted="", column=job.column
        )
    elif job.has_most(len(titles)):
        has = _rooms(attrs.evolve(job, shared=frozenset()), ours, titles)
        advice = f"Restore their keys in the column {job.column}."
    else:
        return
    raise click.UsageError(
        f"This job {has}, and would create them again. Nothing was sent.\n{advice} If these are other rooms, put them "
        "into a file of their own, and create them in a new job with --fresh."
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
        if job.note.get("job_id") == job_id and not is_same_file(job.out, out):
            command = _with_options(again, "--out", str(job.out))
            raise click.UsageError(
                f"The job {job_id} has the outcome file {job.out}. With another one, the rooms of the job could be "
                f"created twice. Nothing was sent.\nTo continue that job: {command}\n"
                "To create all rooms again in another job, give another --job-id, with --fresh."
            )


def _with_options(words: Sequence[str], *options: str) -> str:
    """Return a command with options, instead of those of the same names."""
    # After `--`, click takes options for arguments.
    end = words.index("--") if "--" in words else len(words)
    names = options[::2]
    kept = [
        word
        for before, word in pairwise(("", *words[:end]))
        if not (word in names or before in names or word.partition("=")[0] in names)
    ]
    return shlex.join((*kept, *options, *words[end:]))


def rooms_of(out: Path, read_titles: Callable[[], Mapping[str | int, int]]) -> int:
    """Return for how many keys the job of an outcome file has, or may have, a room.

    Args:
        out: The outcome file.
        read_titles: Returns the marks of the titles by key; called only if there is such a job.
    """
    note = _note(out.with_name(f"{out.name}.job"))
    if not note and left_by(out) is None:
        return 0
    return sum(len(job.shared) for job in _compared([EarlierJob(out=out, note=note)], read_titles()))


def _note(path: Path) -> Mapping[str, str]:
    """Return what a `.job` says; empty if it is damaged, or of another program."""
    with suppress(ConfigurationError, OSError):
        # Reading a pipe of this name would never end.
        if path.is_file() and path.stat().st_size <= _LARGEST_NOTE:
            return read_note(path)
    return {}


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
            job = EarlierJob(out=path.with_name(path.name.removesuffix(".job")), note=_note(path))
            is_named = path.name.startswith(f"{file.name}.")
            if note := job.note:
                # Of a job that is unused, nothing was sent.
                if UNUSED in note or any(note.get(name) != about.get(name, note.get(name)) for name in _ACCOUNT):
                    continue
                is_named = note["job_id"] == job_id or Path(note["file"]).name == file.name
            elif left_by(job.out) is None or not os.access(path, os.R_OK):
                # Of another program, or another user.
                continue
            if place in beside or is_named:
                yield job


def _compared(
    jobs: Collection[EarlierJob],
    titles: Mapping[str | int, int],
    pending: AbstractSet[str | int] | None = None,
    *,
    is_own: bool = False,
) -> Iterator[EarlierJob]:
    """Yield the jobs with the lines of a table that are their rooms.

    Args:
        jobs: The jobs.
        titles: The marks of the titles of the table by key.
        pending: The keys that a job which continues lacks: only rooms of these count, and if the keys are those of
            another job, only if the titles are, too. None for a job that begins.
        is_own: Whether the table is that of the job, so that it does not say what an earlier run has sent.
    """
    # Each folder is listed once: it may have thousands of jobs.
    kept = {folder: numbered(folder) for folder in {job.out.parent for job in jobs}}
    for job in jobs:
        part = job.out.with_name(f"{job.out.name}.part")
        rooms = TableRooms(titles)
        for row in chain.from_iterable(map(outcomes_in, (job.out, part, *kept[job.out.parent].get(job.out.name, ())))):
            if row.status in ("created", "unknown") and isinstance(row.key, str | int):
                title = Title(*(text if isinstance(text, str) else "" for text in (row.name, row.scheduled_time)))
                rooms.add(row.key, title.mark(), is_sure=row.status == "created")
        # Of what was in flight, a run that was killed has no outcomes.
        has_all = job.note.get(OPEN) != "1" and job.out.exists() and not part.exists()
        known = {} if is_own or (has_all and rooms.are_named) else _titles_then(job)
        sent = _sent(job) if rooms.lacking or known != {} else None
        was_sent = sent or (known or {}).__contains__
        for key, mark in (known or {}).items():
            if was_sent(key):
                rooms.add(key, mark, is_sure=False)
        for key in [key for key in rooms.lacking if was_sent(key)]:
            rooms.add(key, 0, is_sure=False)
        lines = rooms.lacking if pending is None else rooms.lacking & pending
        retyped = {key for key in lines if rooms.has_other_type(key, was_sent, strict=pending is not None)}
        shared: AbstractSet[str | int] = frozenset()
        if not is_own:
            shared = (titles.keys() if pending is None else pending - rooms.titled) - rooms.lacking | retyped
        yield attrs.evolve(
            job,
            shared=shared,
            lacking=lines,
            retyped=retyped,
            renamed=renamed_lines(titles, lines, rooms.elsewhere.values(), rooms.marks),
            rooms=len(rooms),
            is_sure=not rooms.unsure,
            is_known=pending is not None or known is not None or (sent is not None and len(rooms) > 0),
        )


def _titles_then(job: EarlierJob) -> Mapping[str | int, int] | None:
    """Return the marks of the titles of the table of a job by key; None if it cannot be read."""
    return titles_of(job.file, job.column) if job.note else None


def _sent(job: EarlierJob) -> Sent | None:
    """Return whether the job may have sent the create of a key, by its journal; None without one.

    Worker processes have no journal.
    """
    if not job.note:
        return None
    references = JobReferences(job.note["job_id"])
    with suppress(sqlite3.Error):
        sent = recorded(journal_of(job.out, job.note), job.note["job_id"])
        return lambda key: sent(with_location(references.of_key(key), in_data=False))
    return None
