"""The job of a bulk run, kept next to its outcome file, so that the same command continues it.

Next to `out.jsonl`, `out.jsonl.job` says which job writes it, and `out.jsonl.journal` is the journal of that job.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import attrs
import click

from videoapi.cli.terminal import print_status
from videoapi.errors import ConfigurationError
from videoapi.files import PART, lock, naming, release

# Renamed in this order: after a crash in between, no journal is used without its log, and no job without its note.
_RUNNING: Final = "another process is working on this job. Wait until it ends."
UNUSED: Final = "unused"
"""In the note of a job of which nothing was sent, so that the next run begins another one."""
FRESH: Final = "fresh"
"""In the note of a job that was begun with `--fresh`: it may have the rooms of earlier ones."""
OPEN: Final = "open"
"""In the note of a job without a journal: `1` while it may have rooms that no outcome file has, as after a kill."""
_INODE: Final = "inode"
"""In the note, the inode of its own file, which is only written in place: in a copy, it differs."""
_WRITTEN: Final = "written"
"""In the note, when it was written, by the clock of its file system.

A restore of the file cannot set the time of its last change. A rollback of the whole volume brings it back.
"""
_NEEDED: Final = {"job_id", "file", "began"}
"""What each note says."""
_SLACK_NS: Final = 2 * 10**9
"""How far that time may be from the time of the last change."""
_LATEST: Final = {"ignored": "[]", "settle": ""}
"""What the latest run decides, and what it is if that run does not say it."""
_TAILS: Final = (".job", ".journal", ".journal-wal", ".journal-shm", ".part", "")


@attrs.frozen
class JobFiles:
    """The job of a run: its ID and its journal; neither if they cannot be kept.

    `is_new` says that its ID was generated just now, so that it has no rooms, and `binds` that it begins with a journal
    of the user's own. Call `close` once each input has an outcome, and none is unknown.
    """

    job_id: str | None = None
    journal: Path | None = None
    is_new: bool = False
    binds: bool = False
    close: Callable[[], object] = lambda: None


@attrs.frozen(kw_only=True)
class OpenOptions:
    """How a run begins or continues its job.

    Args:
        job_id: An ID of the user's own; not another one than that of the job there.
        journal: A journal elsewhere; by default the one that the job there has.
        fresh: Whether to begin a new job; the files of the job there are renamed.
        shared: Whether worker processes share the job, which then has no journal.
        check: Called with what the `.job` of the job to continue says, empty if a job begins; can refuse it.
    """

    job_id: str | None = None
    journal: Path | None = None
    fresh: bool = False
    shared: bool = False
    check: Callable[[Mapping[str, str]], object] = lambda known: None


@contextlib.contextmanager
def open_job(
    out: Path,
    about: Mapping[str, str],
    options: OpenOptions = OpenOptions(),
    *,
    quiet: bool = False,
    used: Callable[[], bool] = lambda: True,
) -> Generator[JobFiles, None, None]:
    """Continue the job of an outcome file, or begin one; until the end, no other process can do so.

    Args:
        out: The outcome file.
        about: What the job is bound to: origin, app_id, the input file, and the column of the keys; and what the
            latest run decides: `ignored`, the columns that are left out, and `settle`.
        options: How to do so.
        quiet: Whether to print nothing.
        used: Asked at the end whether anything of a new job may have been sent. If not, the job is forgotten, and with
            it a journal that cannot be used.

    Raises:
        ConfigurationError: If the job belongs to another account, or runs in another process.
        click.UsageError: If it cannot be known what to continue, or the job has another ID, journal or input, or
            other keys.
    """
    if not keeps_job(out):
        check_job(out, about, options)
        yield JobFiles(options.job_id, options.journal)
        return
    note = _beside(out, ".job")
    found = {} if options.fresh else read_note(note)
    known = check_job(out, about, options)
    if options.fresh:
        _keep(out, note, quiet=quiet)
    # Whether no file there is of an unknown job.
    is_clear = UNUSED in found or left_by(out) is None
    with _locked(note) as file:
        if read_note(note) != found:
            raise ConfigurationError(f"{note}: {_RUNNING}")
        path = None if options.shared or "shared" in known else options.journal or journal_of(out, known)
        begins = not known
        is_new = begins and options.job_id is None
        if known:
            known = {**known, **{name: about.get(name, default) for name, default in _LATEST.items()}}
            print_status(
                f"Continuing the job of {known['began']}: rooms that it has created are not created "
                f"again. To start over, give --fresh.",
                quiet=quiet,
            )
            if reason := of_journal(out, known, path):
                print_status(reason, quiet=quiet)
            if path is not None and _is_copy(note, known):
                _keep_journal(path, quiet=quiet)
        else:
            known = {**about, "job_id": options.job_id or secrets.token_hex(10), "began": _now()}
            if options.fresh:
                known[FRESH] = "yes"
            if options.shared:
                known["shared"] = "redis"
            if options.journal is not None:
                # Relative, so that the folder can be moved.
                known["journal"] = os.path.relpath(options.journal, out.parent)
        if "shared" in known:
            known = {**known, OPEN: "1"}
        # Only once the journal of a copy is out of the way.
        known = {**known, _INODE: str(os.fstat(file.fileno()).st_ino)}
        # Also if it says nothing new: tools such as rsync restore only what has changed since the backup.
        _write(note, file, known)
        try:
            binds = begins and options.journal is not None
            yield JobFiles(known["job_id"], path, is_new, binds, partial(_close, note, file, known))
        finally:
            if begins and not used():
                _forget(out, note, file, known, is_clear=is_clear)


def check_job(out: Path, about: Mapping[str, str], options: OpenOptions = OpenOptions()) -> Mapping[str, str]:
    """Return what the `.job` of the job that `open_job` would continue says; empty if it would begin one.

    Nothing is changed. If `about` lacks the account, that of the job is assumed.

    Raises:
        ConfigurationError: As in `open_job`.
        click.UsageError: As in `open_job`.
    """
    job_id = options.job_id
    if not keeps_job(out):
        options.check({})
        return {}
    note = _beside(out, ".job")
    known: Mapping[str, str]
    try:
        known = read_note(note)
    except ConfigurationError:
        if not options.fresh:
            raise
        # The file is renamed.
        known = {}
    if options.fresh and known and job_id == known.get("job_id"):
        raise click.UsageError(
            f"--fresh begins a new job, and {out} belongs to the job {job_id}, whose rooms would be found and not "
            "created again. Give --job-id another ID, or leave it out; or leave out --fresh to continue the job."
        )
    if options.fresh or UNUSED in known:
        known = {}
    elif known:
        _check(note, known, about if job_id is None else {**about, "file": known["file"]})
        _check_names(out, known, job_id, options.journal)
        if options.shared and "shared" not in known:
            raise click.UsageError(
                f"{note} belongs to a job with a journal, which worker processes do not use. Continue it "
                "without --workers, or start over with --fresh."
            )
    elif job_id is None:
        _refuse_to_guess(out, note)
    options.check(known)
    with sole_user(out):
        return known


def refuse_same_file(file: Path, out: Path, journal: Path | None, with_ids: Path | None) -> None:
    """Refuse options that name one file for two purposes, also through links.

    Args:
        file: The input file.
        out: The outcome file.
        journal: The `--journal`; None for the default one.
        with_ids: The `--with-ids`.

    Raises:
        click.UsageError: If they do.
    """
    used = journal or _beside(out, ".journal")
    purposes = [
        ("FILE", "the input file", [file]),
        ("--out", "the outcome file", [_beside(out, tail) for tail in ("", PART)]),
        ("--out", "the .job of the outcome file", [_beside(out, ".job")]),
        ("--journal", "the journal", [_beside(used, tail) for tail in ("", "-wal", "-shm")]),
        ("--with-ids", "the copy", [] if with_ids is None else [_beside(with_ids, tail) for tail in ("", PART)]),
    ]
    taken: dict[object, str] = {}
    for option, what, paths in purposes:
        for path in paths:
            if (other := taken.setdefault(_identity(path), what)) != what:
                raise click.UsageError(f"{option} would write {path}, which is {other}. Give another name.")


def _identity(path: Path) -> object:
    """Return what two paths of one file have in common, also through links; the file may be missing."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def refuse_job(out: Path) -> None:
    """Refuse the outcome file of a job, whose outcomes would no longer be next to its `.job`.

    Raises:
        click.UsageError: If it has a `.job`.
    """
    if _beside(out, ".job").exists():
        raise click.UsageError(f"--out {out} is the outcome file of a job of rooms create-many. Give another --out.")


def sole_user(out: Path) -> AbstractContextManager[object]:
    """Return a context in which no other process can work on the job of an outcome file, if there is one.

    Raises:
        ConfigurationError: If another process is working on it.
    """
    note = _beside(out, ".job")
    return _locked(note) if note.exists() else contextlib.nullcontext()


def of_journal(out: Path, known: Mapping[str, str], journal: Path | None) -> str:
    """Return why a run that continues a job reads the list of rooms first; empty if its journal is enough.

    Args:
        out: The outcome file.
        known: What its `.job` says.
        journal: The journal of the job; None if worker processes share it, which read the list in any case.
    """
    if journal is None:
        return ""
    if _is_copy(_beside(out, ".job"), known):
        return (
            f"These files are a copy of the job of {known['began']}, or were restored: the list of rooms is read first."
        )
    # A run that has sent nothing may have left none.
    return "" if journal.exists() else f"The journal {journal} does not exist: the list of rooms is read first."


def _is_copy(note: Path, known: Mapping[str, str]) -> bool:
    """Return whether other files of this job may have sent what the journal does not know."""
    if _INODE not in known:
        return False
    found = note.stat()
    # File systems reuse inodes, so the time is compared, too, in both directions, because clocks can be set back. A
    # change of the name or the mode also sets it: then the list of rooms is read without need.
    written = known.get(_WRITTEN, "")
    is_as_written = written.isdecimal() and abs(found.st_ctime_ns - int(written)) < _SLACK_NS
    return not is_as_written or known[_INODE] != str(found.st_ino)


def keeps_job(out: Path) -> bool:
    """Return whether a job can be kept next to an outcome file: not next to a device or a pipe."""
    return out.is_file() or not out.exists()


def _write(note: Path, file: IO[bytes], known: Mapping[str, str]) -> None:
    with naming(note):
        # Not the clock of this machine: a file server has its own.
        os.utime(file.fileno())
        written = {**known, _WRITTEN: str(os.fstat(file.fileno()).st_ctime_ns)}
        rest = json.dumps(written).encode() + b"\n"
        file.seek(0)
        # On a full disk, bytes that are there can still be replaced. If the process is killed before the file is
        # truncated, `read_note` ignores what is left of a longer text.
        while rest:
            rest = rest[file.write(rest) :]
        file.truncate()
        os.fsync(file.fileno())


def _close(note: Path, file: IO[bytes], known: Mapping[str, str]) -> None:
    if OPEN in known:
        _write(note, file, {**known, OPEN: "0"})


def _forget(out: Path, note: Path, file: IO[bytes], known: Mapping[str, str], *, is_clear: bool) -> None:
    """Have the next run begin a job of its own, or refuse to guess as before if earlier files were there."""
    if is_clear and out.exists() and out.stat().st_size:
        # Without a note, the next run would refuse to guess which job these outcomes are of.
        _write(note, file, {**known, OPEN: "0", UNUSED: "yes"})
    else:
        note.unlink()


def check_account(what: str, known: Mapping[str, str], about: Mapping[str, str], advice: str = "") -> None:
    """Check that a job belongs to an account; what either lacks is not compared.

    Raises:
        ConfigurationError: If it belongs to another account.
    """
    account = ("app_id", "origin")
    if any(known.get(name, about.get(name)) != about.get(name, known.get(name)) for name in account):
        theirs, ours = (" at ".join(str(of.get(name)) for name in account) for of in (known, about))
        raise ConfigurationError(
            f"{what} belongs to the account {theirs}, and this is {ours}. Use the credentials of that account "
            f"(--profile, or VIDEOAPI_APP_ID, VIDEOAPI_APP_KEY and VIDEOAPI_BASE_URL).{advice}"
        )


def job_of(out: Path, job_id: str | None = None) -> Mapping[str, str]:
    """Return what the `.job` next to an outcome file says; empty if it is not of the job with this ID.

    Raises:
        click.UsageError: If no ID is given, and the file does not exist, or cannot be read.
    """
    note = _beside(out, ".job")
    try:
        known = read_note(note)
    except (ConfigurationError, OSError):
        known = {}
    if job_id is not None:
        return known if known.get("job_id") == job_id else {}
    if "job_id" not in known:
        raise click.UsageError(
            f"{note} does not exist, or names no job. Give the JOB_ID before FILE, or --out with the outcome file of "
            "the job."
        )
    return known


def ignored_by(note: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that the latest run of a job has left out, by the note of the job."""
    try:
        return tuple(map(str, json.loads(note.get("ignored", "[]"))))
    except (ValueError, TypeError, RecursionError):
        return ()


def settle_of(note: Mapping[str, str]) -> float | None:
    """Return the settle time of the latest run of a job, by the note of the job; None if it gave none."""
    try:
        seconds = float(note.get("settle", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def _check(note: Path, known: Mapping[str, str], about: Mapping[str, str]) -> None:
    check_account(
        str(note),
        known,
        about,
        " To create all of its rooms again in this account, give another --out, or start over with --fresh.",
    )
    folder = note.parent
    if not is_same_file(beneath(folder, known.get("file", "")), beneath(folder, about["file"])):
        ours, theirs = about["file"], known.get("file", "")
        raise click.UsageError(
            f"To continue, rename or move the input back to {theirs}: {note} belongs to that file, not to {ours}. "
            f"--fresh begins a new job, which creates all of its rooms again. To continue this job with {ours}, give "
            f"--job-id {known.get('job_id')}."
        )
    if known.get("keys") != about["keys"]:
        raise click.UsageError(
            f"The keys of this job are in the column {known.get('keys')}, not {about['keys']}. With other keys its "
            f"rooms would be created again. Give --key-column {known.get('keys')}, or rename the column back if you "
            "have renamed it, or start over with --fresh."
        )


def _check_names(out: Path, known: Mapping[str, str], job_id: str | None, journal: Path | None) -> None:
    """Raise an error if the user names another job, or another journal, than those kept there."""
    if job_id is not None and job_id != known.get("job_id"):
        raise click.UsageError(
            f"{out} belongs to the job {known.get('job_id')}, not {job_id}, which would create all of its rooms again. "
            "Leave out --job-id, give another --out, or start over with --fresh."
        )
    path = journal_of(out, known)
    if journal is not None and journal.resolve() != path.resolve():
        raise click.UsageError(
            f"The journal of this job is {path}, not {journal}, which does not know what the job has created. "
            "Leave out --journal, or start over with --fresh."
        )


def journal_of(out: Path, known: Mapping[str, str]) -> Path:
    """Return the journal of a job, by its note."""
    return beneath(out.parent, known["journal"]) if "journal" in known else _beside(out, ".journal")


def beneath(folder: Path, relative: str) -> Path:
    """Return the path that `os.path.relpath` has made relative to a folder, also if the folder is a link."""
    return Path(os.path.normpath(folder / relative))


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths name the same file, also through links; it may be missing."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def left_by(out: Path) -> Path | None:
    """Return a file of an earlier run with this outcome file, other than its `.job`; None without one."""
    paths = (_beside(out, ".journal"), out, _beside(out, ".part"))
    return next((path for path in paths if path.is_file() and path.stat().st_size), None)


def _refuse_to_guess(out: Path, note: Path) -> None:
    """Raise an error if files of an earlier run are there, but not the ID of its job."""
    there = left_by(out)
    if there is not None:
        raise click.UsageError(
            f"{there} is from an earlier run, but {note}, which names its job, is missing or empty. To create the "
            "rooms again, start over with --fresh. To continue a job whose ID you know, give --job-id."
        )


def _keep(out: Path, note: Path, *, quiet: bool) -> None:
    """Rename the files of a job, so that `--out` with the new name continues it."""
    with sole_user(out):
        kept = free_name(out)
        found = [tail for tail in _TAILS if _beside(out, tail).exists()]
        for tail in found:
            _beside(out, tail).rename(_beside(kept, tail))
    if found:
        print_status(f"The files of the earlier job are kept as {kept}*.", quiet=quiet)


def _keep_journal(journal: Path, *, quiet: bool) -> None:
    """Rename a journal that may lack what other files of the job have sent."""
    if not journal.exists():
        return
    kept = free_name(journal)
    # In this order: no journal is used without its log.
    for tail in ("", "-wal", "-shm"):
        path = _beside(journal, tail)
        if path.exists():
            path.rename(_beside(kept, tail))
    print_status(f"The journal that was copied is kept as {kept}.", quiet=quiet)


def free_name(out: Path) -> Path:
    """Return the first numbered name under which neither an outcome file nor a job is kept."""
    number = 1
    while any(_beside(out, f".{number}{tail}").exists() for tail in _TAILS):
        number += 1
    return _beside(out, f".{number}")


@contextlib.contextmanager
def _locked(note: Path) -> Generator[Any, None, None]:
    descriptor = os.open(note, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    owner = os.getpid()
    try:
        with os.fdopen(descriptor, "r+b", buffering=0, closefd=False) as file:
            if not lock(descriptor):
                raise ConfigurationError(f"{note}: {_RUNNING}")
            yield file
    finally:
        release(descriptor, owner)


def read_note(note: Path) -> dict[str, str]:
    """Return what the `.job` of an outcome file says; empty without one, and if it is empty.

    Raises:
        ConfigurationError: If it is damaged, or another file.
    """
    known: dict[str, str] | None = None
    try:
        # After a power failure, a file can consist of zero bytes.
        text = note.read_bytes().strip(b"\0").decode()
        # What follows is left of a longer text, of which a killed process has replaced the beginning.
        found, _ = json.JSONDecoder().raw_decode(text or "{}")
        known = {name: str(value) for name, value in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, RecursionError):
        pass
    if known is None or (known and not known.keys() >= _NEEDED):
        raise ConfigurationError(
            f"{note} does not describe a job: it is damaged, or of another program. Restore it from a backup. To "
            "continue a job whose ID you know, move it away, and give --job-id. To create the rooms again, start over "
            "with --fresh."
        )
    return known


def _beside(out: Path, tail: str) -> Path:
    return out.with_name(out.name + tail)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
