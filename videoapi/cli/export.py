"""An export: writes a stream of records to a file, which appears once complete and can be resumed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import attrs
import click

from videoapi.cli import exit_codes
from videoapi.cli.csv_rows import EXTRA, cells
from videoapi.cli.progress import display
from videoapi.cli.terminal import print_status
from videoapi.errors import ConfigurationError, VideoAPIError
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.streaming import RecordStream

PRIVATE: Final = 0o600


def check_name(out: Path) -> None:
    """Check that the output has a supported extension.

    Raises:
        click.UsageError: If it does not, or if its folder does not exist.
    """
    if out.suffix.lower() not in (".jsonl", ".csv"):
        raise click.UsageError(f"{out.name}: give an output that ends in .jsonl or .csv")
    if not out.parent.is_dir():
        raise click.UsageError(f"no such folder: {out.parent}")


R = TypeVar("R", bound=CallRecord | Archive)


@attrs.frozen(kw_only=True)
class ExportOptions:
    """The options of an export.

    Args:
        out: The file to write, `.jsonl` or `.csv`.
        columns: The columns of a CSV file.
        cursor: Where an earlier export stopped, or None.
        strict: Whether a record that cannot be parsed ends the export.
        as_json: Whether to print a JSON report on stdout.
        quiet: Whether to print no progress and no summary.
    """

    out: Path
    columns: Sequence[str]
    cursor: str | None
    strict: bool
    as_json: bool
    quiet: bool


class Part:
    """The incomplete file `<out>.part`; once stopped, `<out>.part.cursor` holds the cursor it ends at.

    Args:
        out: The final path.
        cursor: Where to resume, or None; with a cursor, an existing part is continued.
        header: The first line of a new file, or an empty text.

    Raises:
        ConfigurationError: If the existing part ends at another cursor.
        OSError: If the part cannot be written.
    """

    def __init__(self, out: Path, cursor: str | None, header: str) -> None:
        self._out = out
        self.path = out.with_name(f"{out.name}.part")
        self._note = out.with_name(f"{out.name}.part.cursor")
        self.goes_on = cursor is not None and self.path.exists()
        if self.goes_on and _read(self._note) != cursor:
            raise ConfigurationError(
                f"{self.path} does not end at this cursor. Give the cursor in {self._note.name}, or remove the part."
            )
        self._file = open_private(self.path, fresh=not self.goes_on)
        if not self.goes_on:
            self._file.write(header)

    def write(self, text: str) -> None:
        self._file.write(text)

    def keep(self, cursor: str) -> None:
        """Close the part, and store the cursor to resume it from."""
        self._sync()
        with open_private(self._note, fresh=True) as note:
            note.write(cursor)

    def finish(self) -> None:
        """Rename the complete file to its final name."""
        self._sync()
        self.path.replace(self._out)
        self._note.unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete the part and its cursor."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def open_private(path: Path, *, fresh: bool) -> IO[str]:
    """Open a file for writing with mode 0600, without following a symbolic link.

    Raises:
        OSError: If the file cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if fresh else os.O_APPEND)
    descriptor = os.open(path, flags, PRIVATE)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="", errors="backslashreplace")


async def export(job: ExportOptions, stream: RecordStream[R]) -> int:
    """Write all records of a stream, and return the exit code.

    If cancelled, or if the service fails, keeps the part and prints how to resume.
    """
    began = time.monotonic()
    header, text_of = _format(job)
    part = Part(job.out, job.cursor, header)
    try:
        written = await _write(job, stream, part, text_of)
    except (VideoAPIError, asyncio.CancelledError) as error:
        part.keep(str(stream.cursor))
        rejected = _write_rejected(job, stream, goes_on=part.goes_on)
        print_status(f"What there is stays in {part.path}. Resume with --cursor {stream.cursor}")
        if rejected and job.strict:
            print_status(str(error))
            return exit_codes.REJECTED
        raise
    except BaseException:
        # For example, a full disk: the part may lack records before the cursor.
        part.drop()
        raise
    part.finish()
    rejected = _write_rejected(job, stream, goes_on=part.goes_on)
    _tell(job, stream, written, rejected, time.monotonic() - began)
    return exit_codes.REJECTED if rejected else exit_codes.DONE


async def _write(job: ExportOptions, stream: RecordStream[R], part: Part, text_of: Callable[[R], str]) -> int:
    written = 0
    with display("records", quiet=job.quiet) as show:
        async with stream:
            async for record in stream:
                part.write(text_of(record))
                written += 1
                show(written)
    return written


def _format(job: ExportOptions) -> tuple[str, Callable[[Any], str]]:
    if job.out.suffix.lower() == ".csv":
        return _csv_text((*job.columns, EXTRA)), lambda record: _csv_text(cells(record.to_dict(), job.columns))
    return "", lambda record: f"{record.to_json()}\n"


def _csv_text(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()


def _write_rejected(job: ExportOptions, stream: RecordStream[Any], *, goes_on: bool) -> Path | None:
    """Write the records that could not be parsed to a file next to the output; return its path if it exists."""
    path = job.out.with_name(f"{job.out.name}.rejected.jsonl")
    if not goes_on:
        path.unlink(missing_ok=True)
    if stream.rejected_count:
        with open_private(path, fresh=False) as file:
            for one in stream.rejected:
                row = {
                    "window": str(one.window),
                    "index": one.index,
                    "offset": one.offset,
                    "reason": one.reason,
                }
                file.write(json.dumps(row) + "\n")
            if more := stream.rejected_count - len(stream.rejected):
                file.write(json.dumps({"more": more}) + "\n")
    return path if path.exists() else None


def _tell(job: ExportOptions, stream: RecordStream[Any], written: int, rejected: Path | None, seconds: float) -> None:
    print_status(f"{written:,} records in {seconds:.1f} s: {job.out}", quiet=job.quiet)
    if rejected is not None:
        print_status(f"{stream.rejected_count:,} records could not be read; see {rejected}")
    if stream.restarted:
        print_status("The cursor's record was gone: its week was exported from the start, so some records occur twice.")
    if job.as_json:
        summary = {
            "records": written,
            "rejected": stream.rejected_count,
            "outside": stream.outside,
            "file": str(job.out),
            "rejected_file": None if rejected is None else str(rejected),
            "cursor": str(stream.cursor),
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(summary))


def _read(note: Path) -> str | None:
    try:
        return note.read_text(encoding="utf-8").strip()
    except OSError:
        return None
