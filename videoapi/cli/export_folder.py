"""An export to a folder: one Parquet file per day, each whole or absent; repeated, it continues."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import click

from videoapi.arrow.data_set import DataSet, Note
from videoapi.arrow.periods import LATE_DAYS, Period, utc_today, windows
from videoapi.cli import exit_codes
from videoapi.cli.export_ending import READ_AGAIN
from videoapi.cli.progress import display
from videoapi.cli.terminal import counted, for_people, print_command, print_json, print_status
from videoapi.errors import VideoAPIError
from videoapi.resources.window_export import PeriodExport
from videoapi.streaming import RecordStream
from videoapi.streaming.record_filter import Counts

_OTHER_FORMATS: Final = (".csv", ".jsonl")


@attrs.frozen(kw_only=True)
class FolderOptions:
    """The options of an export to a folder.

    Args:
        folder: The folder.
        kind: `cdr` or `archives`.
        source: What is exported, and for which account.
        period: The days.
        overwrite: Whether to read complete files again.
        strict: Whether a record that cannot be read ends the export.
        as_json: Whether to print a JSON report on stdout.
        quiet: Whether to print no progress and no summary.
        again: The words of the command that continues the export.
    """

    folder: Path
    kind: str
    source: Mapping[str, str]
    period: Period
    overwrite: bool
    strict: bool
    as_json: bool
    quiet: bool
    again: Sequence[str]


def check_folder(out: str, *, form: str | None, others: Mapping[str, object]) -> None:
    """Check the options of an export to a folder.

    Raises:
        click.UsageError: If OUT cannot be a folder, or an option is for a single file.
    """
    if out == "-" or (form or "parquet") != "parquet" or Path(out).suffix.lower() in _OTHER_FORMATS:
        raise click.UsageError("--partition writes a folder of Parquet files. Give the name of a folder as OUT")
    if Path(out).exists() and not Path(out).is_dir():
        raise click.UsageError(f"{out} is a file. Give the name of a folder as OUT")
    for option, value in others.items():
        if value:
            raise click.UsageError(f"{option} is for a single file; an export with --partition continues day by day")


async def export_folder(job: FolderOptions, ask: Callable[[Period], RecordStream[Any]]) -> int:
    """Write one Parquet file per day, and return the exit code.

    Args:
        job: The options.
        ask: Returns the stream of a period.
    """
    began = time.monotonic()
    data_set = DataSet(job.folder, job.source, overwrite=job.overwrite)
    data_set.open()
    notes: list[Note] = []
    asked: list[RecordStream[Any]] = []
    kept: list[Note] = []
    written: list[Note] = []

    def remember(period: Period) -> RecordStream[Any]:
        asked.append(ask(period))
        return asked[-1]

    with display("records", quiet=job.quiet) as show:
        exported = PeriodExport(
            kind=job.kind,
            data_set=data_set,
            source=lambda: job.source,
            ask=remember,
            late=LATE_DAYS,
            today=utc_today(),
            overwrite=job.overwrite,
            progress=lambda rows: show(sum(note["rows"] for note in notes) + rows),
            kept=kept.append,
            written=written.append,
        )
        try:
            for week in windows(job.period.first, job.period.last, by="week"):
                notes += await exported.by_day(week)
            manifest = data_set.write_manifest()
        except BaseException as error:
            _tell_stopped(job, [*notes, *kept, *written])
            if isinstance(error, VideoAPIError) and job.strict and any(one.rejected_count for one in asked):
                print_status(for_people(error))
                return exit_codes.REJECTED
            raise
    rejected = data_set.rejected()
    _tell(job, notes, len(kept), manifest, rejected, _sum(asked), time.monotonic() - began)
    return exit_codes.REJECTED if rejected else exit_codes.DONE


def _sum(streams: Sequence[RecordStream[Any]]) -> Counts:
    total = Counts()
    for stream in streams:
        counts = stream.total_counts
        total.outside += counts.outside
        total.undated += counts.undated
        total.odd += counts.odd
    return total


def _tell_stopped(job: FolderOptions, notes: Sequence[Note]) -> None:
    # A file that was written again has two notes.
    files = {note["file"] for note in notes}
    if files:
        print_status(
            f"{counted(len(files), 'file is', 'files are')} complete in {job.folder}. To continue, repeat the command:"
        )
        print_command(job.again)


def _tell(
    job: FolderOptions,
    notes: Sequence[Note],
    kept: int,
    manifest: Path,
    rejected: Counter[Path],
    counts: Counts,
    seconds: float,
) -> None:
    records = sum(note["rows"] for note in notes)
    rows, files = counted(records, "record", "records"), counted(len(notes), "file", "files")
    print_status(f"{rows} of {files} in {seconds:.1f} s: {job.folder}", quiet=job.quiet)
    if kept:
        print_status(
            f"{counted(kept, 'file was complete, and stays as it is', 'files were complete, and stay as they are')}. "
            f"{READ_AGAIN}",
            quiet=job.quiet,
        )
    for path, count in rejected.items():
        print_status(f"{counted(count, 'record', 'records')} could not be read; see {path}")
    if counts.odd:
        fields = ", ".join(f"{name} ({count:,})" for name, count in counts.odd.items())
        print_status(f"Fields of an unexpected type, which are null: {fields}", quiet=job.quiet)
    if counts.undated:
        print_status(
            f"{counted(counts.undated, 'record has', 'records have')} no readable date. Such records are in files "
            "of their own.",
            quiet=job.quiet,
        )
    if job.as_json:
        print_json(
            {
                "records": records,
                "rejected": rejected.total(),
                "outside": counts.outside,
                "undated": counts.undated,
                "odd": dict(counts.odd),
                "folder": str(job.folder),
                "manifest": str(manifest),
                "rejected_files": [str(path) for path in rejected],
                "files": list(notes),
                "seconds": round(seconds, 3),
            }
        )
