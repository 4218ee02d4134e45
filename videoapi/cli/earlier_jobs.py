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

from videoapi.cli.inputs import keys_of
from videoapi.cli.job import OPEN, beneath, ignored_by, is_same_file, journal_of, read_note
from videoapi.creation.journal import recorded
from videoapi.creation.references import JobReferences, with_location
from videoapi.errors import ConfigurationError

_LARGEST_NOTE: Final = 1 << 16
"""Bytes; a longer file of this name is not a note of a job."""


_ACCOUNT: Final = ("origin", "app_id")


class _KeyOutcome(msgspec.Struct):
    key: Any = None
    status: str = ""


_KEY_OUTCOME: Final = msgspec.json.Decoder(_KeyOutcome)


@attrs.frozen
class EarlierJob:
    """A job with rooms under some of the keys of a new job.

    Args:
        out: Its outcome file.
        note: What its `.job` says.
        shared: The keys that both have.
        created: Those of them whose room was certainly created.
        as_typed: Whether they are text in both, or numbers in both: only then they are the same keys.
    """

    out: Path
    note: Mapping[str, str]
    shared: AbstractSet[str | int] = frozenset()
    created: AbstractSet[str | int] = frozenset()
    as_typed: bool = True


def refuse_same_keys(
    out: Path, about: Mapping[str, str], read_keys: Callable[[], set[str | int]], again: Sequence[str]
) -> None:
    """Raise an error if a job next to the outcome file or the input has rooms under keys of the new job.

    Args:
        out: The outcome file of the new job.
        about: What the new job is bound to; without an account, jobs of each account count.
        read_keys: Returns its keys; called only if there are other jobs.
        again: The words of the running command.

    Raises:
        click.UsageError: If there is such a job; the message says how to continue it.
    """
    others = list(_jobs(out, about))
    keys = read_keys() if others else set()
    found = [job for job in _with_shared(others, keys) if job.shared]
    if not found:
        return
    job = max(found, key=lambda job: (len(job.shared), job.note.get("began", "")))
    ours, theirs = Path(about["file"]).name, Path(job.note["file"]).name
    is_same = is_same_file(beneath(job.out.parent, job.note["file"]), beneath(out.parent, about["file"]))
    if is_same:
        advice = f"To continue that job, give --out {shlex.quote(str(job.out))}."
    elif ours == theirs:
        advice = (
            f"If {ours} was moved or copied from there, move all files whose names begin with {job.out} as well, and "
            "repeat the command."
        )
    elif "room_id" in ignored_by(about):
        # As in a copy by --with-ids, of which the lines without an ID may be left.
        advice = f"Do not save it as {theirs}: it has a column room_id, as a copy by --with-ids."
    elif 2 * len(keys) < len(_keys_of(job) or ()):
        advice = f"Do not save it as {theirs}, which has many more lines."
    else:
        advice = f"If {ours} is a corrected {theirs}, save it as {theirs} and repeat the command with that name."
    if not job.as_typed:
        advice = f"The keys are text in one of the two, and numbers in the other: write those of {ours} as in {theirs}."
    elif not is_same and job.note.get("keys") == about["keys"]:
        words = _with_options(again, "--out", str(job.out), "--job-id", job.note["job_id"])
        advice += (
            f" Or continue that job with {ours}: {words}\n"
            "That creates the rooms that the job has not created, but no room that was deleted since."
        )
    has = "has created" if job.created == job.shared else "has, or may have, created"
    raise click.UsageError(
        f"The job {job.out} of {job.note.get('began')} {has} rooms for {len(job.shared):,} of the {len(keys):,} keys "
        f"in {ours}, and a new job would create them again. Nothing was sent.\n{advice}\n"
        f"To create all rooms of {ours} in a new job, such as rooms that were deleted, give --fresh."
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


def rooms_of(out: Path, read_keys: Callable[[], set[str | int]]) -> int:
    """Return for how many keys the job of an outcome file has, or may have, a room.

    Args:
        out: The outcome file.
        read_keys: Returns the keys; called only if there is such a job.
    """
    note = read_note(out.with_name(f"{out.name}.job"))
    if not {"job_id", "file"} <= note.keys():
        return 0
    return sum(len(job.shared) for job in _with_shared([EarlierJob(out, note)], read_keys()))


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


def _with_shared(jobs: Collection[EarlierJob], keys: AbstractSet[str | int]) -> Iterator[EarlierJob]:
    """Yield the jobs with the keys for which they have, or may have, a room."""
    # Each folder is listed once: it may have thousands of jobs.
    numbered = {folder: _numbered(folder) for folder in {job.out.parent for job in jobs}}
    texts = {str(key): key for key in keys}
    for job in jobs:
        created: set[str | int] = set()
        unknown: set[str | int] = set()
        found, as_typed = {"created": created, "unknown": unknown}, True
        for path in (
            job.out,
            job.out.with_name(f"{job.out.name}.part"),
            *numbered[job.out.parent].get(job.out.name, ()),
        ):
            for row in _rows(path):
                key = texts.get(str(row.key)) if isinstance(row.key, str | int) else None
                if row.status in found and key is not None:
                    found[row.status].add(key)
                    as_typed = as_typed and type(key) is type(row.key)
        shared = created | unknown | _sent(job, keys - created)
        yield attrs.evolve(job, shared=shared, created=created, as_typed=as_typed)


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


def _sent(job: EarlierJob, keys: AbstractSet[str | int]) -> AbstractSet[str | int]:
    """Return the keys that a run which was killed may have sent: it has no outcomes of what was in flight."""
    references = JobReferences(job.note["job_id"])
    with suppress(sqlite3.Error):
        sent = recorded(journal_of(job.out, job.note), job.note["job_id"])
        return {key for key in keys if with_location(references.of_key(key), in_data=False) in sent}
    # Worker processes have no journal.
    if job.note.get(OPEN) != "1" and not job.out.with_name(f"{job.out.name}.part").exists():
        return set()
    theirs = _keys_of(job)
    # If its input was renamed, any key can be one of them.
    return keys if theirs is None else keys & theirs


def _keys_of(job: EarlierJob) -> set[str | int] | None:
    """Return the keys in the input of a job; None if it cannot be read."""
    return keys_of(beneath(job.out.parent, job.note["file"]), job.note.get("keys", "key"))


def _numbered(folder: Path) -> dict[str, list[Path]]:
    """Return the outcome files of earlier runs by the name of the latest; one with a note is of another job."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        name, _, number = path.name.rpartition(".")
        if number.isascii() and number.isdecimal() and not path.with_name(f"{path.name}.job").exists():
            found.setdefault(name, []).append(path)
    return found
