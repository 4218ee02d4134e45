"""Jobs next to a new one that have created rooms under the same keys, such as for a file with another name."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
import click
import msgspec

from videoapi.cli.job import beneath, read_note
from videoapi.errors import ConfigurationError

_LARGEST_NOTE: Final = 1 << 16
"""Bytes; a longer file of this name is not a note of a job."""


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
    """

    out: Path
    note: Mapping[str, str]
    shared: frozenset[str | int]


def refuse_same_keys(
    out: Path, about: Mapping[str, str], read_keys: Callable[[], set[str | int]], again: Sequence[str]
) -> None:
    """Raise an error if a job next to the outcome file or the input has rooms under keys of the new job.

    Args:
        out: The outcome file of the new job.
        about: What the new job is bound to.
        read_keys: Returns its keys; called only if there are other jobs.
        again: The words of the running command.

    Raises:
        click.UsageError: If there is such a job; the message says how to continue it.
    """
    others = list(_jobs(out, about))
    keys = read_keys() if others else set()
    found = [job for job in (_with_shared(job, keys) for job in others) if job.shared]
    if not found:
        return
    job = max(found, key=lambda job: (len(job.shared), job.note.get("began", "")))
    ours, theirs = Path(about["file"]).name, Path(job.note["file"]).name
    advice = (
        f"If {ours} is a corrected {theirs}, save it as {theirs} and repeat the command with that name."
        if ours != theirs
        else f"To continue that job, give --out {shlex.quote(str(job.out))}."
    )
    if ours != theirs and job.note.get("keys") == about["keys"]:
        # After `--`, click takes options for arguments.
        end = again.index("--") if "--" in again else len(again)
        words = (*again[:end], "--out", str(job.out), "--job-id", job.note["job_id"], *again[end:])
        advice += f" Or continue that job with {ours}: {shlex.join(words)}"
    raise click.UsageError(
        f"The job {job.out} of {job.note.get('began')} has rooms for {len(job.shared):,} of the {len(keys):,} keys in "
        f"{ours}, and a new job would create them again. Nothing was sent.\n{advice}\n"
        "To create all rooms in a new job, give --fresh."
    )


def _jobs(out: Path, about: Mapping[str, str]) -> Iterator[EarlierJob]:
    """Yield the jobs of the same account in the folders of the outcome file and of the input, without their keys."""
    folders = {os.path.realpath(folder): folder for folder in (beneath(out.parent, about["file"]).parent, out.parent)}
    for folder in folders.values():
        for path in sorted(folder.glob("*.job")):
            with suppress(ConfigurationError, OSError):
                # To open a pipe would wait for ever.
                note = read_note(path) if path.is_file() and path.stat().st_size <= _LARGEST_NOTE else {}
                if {"job_id", "file"} <= note.keys() and all(note.get(n) == about[n] for n in ("origin", "app_id")):
                    yield EarlierJob(path.with_name(path.name.removesuffix(".job")), note, frozenset())


def _with_shared(job: EarlierJob, keys: Collection[str | int]) -> EarlierJob:
    """Return the job with the keys for which it has, or may have, a room."""
    shared: set[str | int] = set()
    for path in _outcome_files(job.out):
        with suppress(OSError), path.open("rb") as file:
            for line in file:
                # The last line of a run that was killed can be incomplete.
                with suppress(ValueError, RecursionError):
                    row = _decoded(line)
                    if row.status in ("created", "unknown") and isinstance(row.key, str | int) and row.key in keys:
                        shared.add(row.key)
    return attrs.evolve(job, shared=frozenset(shared))


def _decoded(line: bytes) -> _KeyOutcome:
    try:
        return _KEY_OUTCOME.decode(line)
    except msgspec.DecodeError:
        # Half a surrogate pair, which a key may have, is not decoded.
        return msgspec.convert(json.loads(line), _KeyOutcome)


def _outcome_files(out: Path) -> Iterator[Path]:
    """Yield the outcome files of all runs of a job; a numbered file with a note is of another job."""
    yield out
    yield out.with_name(f"{out.name}.part")
    numbered = re.compile(rf"{re.escape(out.name)}\.[0-9]+")
    for path in out.parent.iterdir():
        if numbered.fullmatch(path.name) and not path.with_name(f"{path.name}.job").exists():
            yield path
