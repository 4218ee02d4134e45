"""An export: writes a stream of records to a file, which appears once complete; repeated, it continues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import attrs
import click

from videoapi.arrow import periods
from videoapi.arrow.optional import require_pyarrow
from videoapi.arrow.periods import day_of, moment, utc_today
from videoapi.cli import exit_codes
from videoapi.cli.csv_rows import EXTRA, Table, csv_line
from videoapi.cli.export_ending import READ_AGAIN, Ending
from videoapi.cli.export_file import RESTARTED, ExportFile
from videoapi.cli.progress import Show, display
from videoapi.cli.terminal import counted, for_people, print_command, print_json, print_status
from videoapi.errors import ProtocolError, VideoAPIError
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.redaction import text_without_secrets, without_secrets
from videoapi.models.rooms import Room
from videoapi.streaming import RecordStream
from videoapi.streaming.record_filter import Counts
from videoapi.streaming.windows import Cursor, since_of

R = TypeVar("R", bound=CallRecord | Archive | Room)

BOM: Final = "\ufeff"
PARQUET: Final = ".parquet"
_SLOW_CONVERSION: Final = 100_000
"""From how many records on the end of an export takes long enough to be announced."""
_SHOWN: Final = 2_000
"""How many characters of a record that cannot be written are listed."""


@attrs.frozen(kw_only=True)
class ExportOptions:
    """The options of an export.

    Args:
        out: The file to write, `.jsonl`, `.csv` or `.parquet`.
        table: The columns of a CSV file.
        model: The class of the records.
        question: What is exported, and for which account.
        last: The last day of the period in UTC, or None without a period.
        cursor: Where to begin or continue, or None.
        overwrite: Whether an existing file may be replaced.
        fresh: Whether to start over.
        excel: Whether a CSV file begins with a byte order mark.
        delimiter: What separates the cells of a CSV file, `,` or `;`; None for `,`.
        strict: Whether a record that cannot be read or written ends the export.
        as_json: Whether to print a JSON report on stdout.
        quiet: Whether to print no progress and no summary.
        again: The words of the command that continues the export.
    """

    out: Path
    table: Table
    model: type[Any] = CallRecord
    question: Mapping[str, str]
    last: date | None = None
    cursor: str | None
    overwrite: bool
    fresh: bool
    excel: bool
    delimiter: str | None = None
    strict: bool
    as_json: bool
    quiet: bool
    again: Sequence[str]


@attrs.frozen
class LineFormat:
    """How records become lines: names for the state, the bytes before the first line, and a function."""

    names: Mapping[str, str]
    header: bytes
    line_of: Callable[[Any], bytes]


@attrs.frozen
class ColumnFormat:
    """How groups of columns become a part: names for the state, the bytes before the first group, and functions.

    Parquet cannot be cut in the middle, so the part is another format, and the final file is converted from it.
    """

    names: Mapping[str, str]
    header: bytes
    group_of: Callable[[Any], bytes]
    convert: Callable[[Path, BinaryIO], None]


def check_output(out: Path, *, excel: bool, delimiter: str | None = None) -> None:
    """Check that the output has a supported extension.

    Raises:
        click.UsageError: If it does not, if its folder does not exist, or if a file is meant for Excel and no CSV.
        ConfigurationError: If it is a Parquet file, and pyarrow is not installed.
    """
    if out.suffix.lower() not in (".jsonl", ".csv", PARQUET):
        raise click.UsageError(f"{out.name}: give a name that ends in .jsonl, .csv or .parquet")
    if out.suffix.lower() == PARQUET:
        require_pyarrow()
    if not out.parent.is_dir():
        raise click.UsageError(f"no such folder: {out.parent}")
    if excel and out.suffix.lower() != ".csv":
        raise click.UsageError("--excel is for .csv files")
    if delimiter is not None and out.suffix.lower() != ".csv":
        raise click.UsageError("--delimiter is for .csv files")


def line_format(out: Path, table: Table, *, excel: bool, delimiter: str | None = None) -> LineFormat:
    """Return the format of a file, by its extension."""
    if out.suffix.lower() != ".csv":
        return LineFormat({"format": "jsonl"}, b"", lambda record: record.to_json().encode() + b"\n")
    columns = (*table.columns, EXTRA)
    separator = delimiter or ","
    header = ((BOM if excel else "") + csv_line(columns, separator)).encode()
    form = ("csv with semicolons" if separator == ";" else "csv") + (" with a byte order mark" if excel else "")
    # A lone surrogate, which no encoding has, does not cost the row.
    return LineFormat(
        {"format": form, "columns": ",".join(columns)},
        header,
        lambda record: csv_line(table.cells(record), separator).encode(errors="backslashreplace"),
    )


def column_format(model: type[Any]) -> ColumnFormat:
    """Return the format of a Parquet file of the records of a model."""
    from videoapi.arrow.columns import converter
    from videoapi.arrow.spool import convert, group_bytes, header_bytes

    schema, _ = converter(model)
    return ColumnFormat(
        {"format": "parquet", "columns": ",".join(schema.names)},
        header_bytes(schema),
        group_bytes,
        convert,
    )


async def export(job: ExportOptions, ask: Callable[[str | None], RecordStream[R]]) -> int:
    """Write all records of a stream, and return the exit code.

    If cancelled, or if the service or the disk fails, keeps what there is and prints how to continue.

    Args:
        job: The options.
        ask: Returns the stream after a cursor, or the whole one.
    """
    began = time.monotonic()
    # A cursor that does not belong to the question is an error before a file is made.
    ask(job.cursor)
    form: LineFormat | ColumnFormat
    if job.out.suffix.lower() == PARQUET:
        form = column_format(job.model)
    else:
        form = line_format(job.out, job.table, excel=job.excel, delimiter=job.delimiter)
    file = ExportFile(
        job.out,
        {**job.question, **form.names},
        form.header,
        convert=form.convert if isinstance(form, ColumnFormat) else None,
        cursor=job.cursor,
        overwrite=job.overwrite,
        fresh=job.fresh,
        exported=moment(periods.utc_now()),
    )
    with closing(file):
        file.open()
        ending = Ending.of(job.last, file.state.exported)
        try:
            if not file.state.complete:
                _tell_continued(job, file)
                stream = ask(file.cursor)
                writer = ExportWriter(job, form, stream, file)
                try:
                    await writer.write()
                except BaseException as error:
                    if _is_of_disk(error):
                        raise
                    writer.stop()
                    if isinstance(error, VideoAPIError) and job.strict and (stream.rejected_count or writer.refused):
                        print_status(for_people(error))
                        return exit_codes.REJECTED
                    raise
            if not file.exists:
                if isinstance(form, ColumnFormat) and file.state.records >= _SLOW_CONVERSION:
                    print_status(f"Writing {file.state.records:,} records to {job.out}", quiet=job.quiet)
                file.finish()
        except OSError as error:
            if not _is_of_disk(error) or isinstance(error, BrokenPipeError) or not file.is_kept:
                raise
            _tell_disk(job, file, error)
            return exit_codes.FAILED
    is_stale = _is_stale(job, file, ending)
    _tell(job, file, ending, time.monotonic() - began, is_stale=is_stale)
    if is_stale:
        return exit_codes.USAGE
    return exit_codes.REJECTED if file.state.rejected else exit_codes.DONE


def _is_stale(job: ExportOptions, file: ExportFile, ending: Ending | None) -> bool:
    """Return whether an earlier command has begun the file, and the service may have added records since."""
    is_of_today = day_of(file.state.exported) == utc_today()
    if ending is not None:
        return ending.is_open and (file.exists or (bool(file.continued) and not is_of_today))
    # Without a period, there may be more records every day.
    return job.last is None and file.exists and not is_of_today


class ExportWriter:
    """A writer of a stream to a file: each row once, also if the service sends a window again.

    Args:
        job: The options.
        form: The format.
        stream: The records.
        file: The open file.
    """

    def __init__(
        self, job: ExportOptions, form: LineFormat | ColumnFormat, stream: RecordStream[Any], file: ExportFile
    ) -> None:
        self._job = job
        self._form = form
        self._stream = stream
        self._file = file
        self._restarts = 0
        # Whether the last record of the stream is not in the file.
        self._in_hand = False
        self.refused: bool = False
        """Whether a record could not be written, and the export is strict."""

    async def write(self) -> None:
        """Write all rows.

        Raises:
            VideoAPIError: If the stream ends with an error, or, if strict, a record cannot be written.
            OSError: If the file cannot be written.
        """
        with display("records", quiet=self._job.quiet) as show:
            async with self._stream as stream:
                if isinstance(self._form, LineFormat):
                    async for record in stream:
                        self._write(record, self._form.line_of, show)
                else:
                    async for group in stream._column_groups():
                        self._write_group(group, self._form.group_of, show)
        self._restart()
        self._collect(self._stream.total_counts)

    def _write_group(self, group: Any, group_of: Callable[[Any], bytes], show: Show) -> None:
        self._restart()
        self._stream._move(group)
        if group.rows is not None:
            position = self._enter()
            self._file.add(group_of(group.rows), position, group.rows.num_rows)
            self._save_if_due(show)

    def _enter(self) -> Cursor:
        position = self._stream.cursor
        if position.since != self._file.since:
            self._collect(self._stream.window_counts)
            self._file.enter(position)
        return position

    def _save_if_due(self, show: Show) -> None:
        show(self._file.state.records)
        if self._file.is_due:
            self._collect(self._stream.counts())
            self._file.save()

    def _write(self, record: Any, line_of: Callable[[Any], bytes], show: Show) -> None:
        file = self._file
        self._restart()
        self._in_hand = True
        position = self._enter()
        try:
            line = line_of(record)
        except Exception as error:
            # Whatever is wrong with one record must not cost the others.
            row = _unwritable(record, position.since, error)
            if self._job.strict:
                self.refused = True
                raise ProtocolError(f"A record cannot be written: {row['reason']}. ID: {row['id']}") from None
            file.skip(row, position)
        else:
            file.add(line, position)
        self._in_hand = False
        self._save_if_due(show)

    def stop(self) -> None:
        """Save what there is, and print how to continue."""
        file = self._file
        try:
            self._restart()
            self._collect(self._stream.counts(without_last=self._in_hand))
            if not (file.state.records or file.state.rejected):
                return
            file.save()
        except OSError as error:
            _tell_disk(self._job, file, error)
            return
        print_status(
            f"{counted(file.state.records, 'record is', 'records are')} in {file.part}. To continue, repeat the "
            "command:"
        )
        print_command(self._job.again)
        print_status(f"To write only the records after these, give another OUT and --cursor {file.state.cursor}")

    def _restart(self) -> None:
        """Discard the rows of windows that the stream yields again."""
        windows = self._stream.restarted_windows
        for window in windows[self._restarts :]:
            self._restarts += 1
            self._file.restart(since_of(window))

    def _collect(self, counts: Counts) -> None:
        """Take over what the stream counts besides its records."""
        odd = {f"odd {name}": count for name, count in counts.odd.items()}
        others = {"outside": counts.outside, "undated": counts.undated, **odd, RESTARTED: self._restarts}
        rejected = self._stream.rejected[: counts.rejected]
        self._file.count(counts.rejected, [_unreadable(one) for one in rejected], others)


def _unreadable(rejected: Any) -> dict[str, Any]:
    row = {
        "window": str(rejected.window),
        "index": rejected.index,
        "offset": rejected.offset,
        "reason": rejected.reason,
    }
    text = text_without_secrets(getattr(rejected, "text", ""))
    return {**row, "text": text} if text else row


def _unwritable(record: Any, since: str, error: Exception) -> dict[str, Any]:
    try:
        shown = json.dumps(without_secrets(record.to_dict()))[:_SHOWN]
    except Exception:
        shown = None
    reason = f"cannot be written: {type(error).__name__}: {error}"
    # As ASCII, because the text of the error may have what could not be encoded.
    reason = reason.encode("ascii", "backslashreplace").decode()[:_SHOWN]
    return {"window": since, "index": None, "offset": None, "reason": reason, "id": record.identity, "record": shown}


def _tell_continued(job: ExportOptions, file: ExportFile) -> None:
    if file.continued:
        print_status(
            f"Continuing after {counted(file.continued, 'record', 'records')}. To start over, give --fresh.",
            quiet=job.quiet,
        )


def _is_of_disk(error: BaseException) -> bool:
    # A CallTimeout is an OSError, too.
    return isinstance(error, OSError) and not isinstance(error, VideoAPIError)


def _tell_disk(job: ExportOptions, file: ExportFile, error: OSError) -> None:
    """Print what is left after an error of the disk."""
    print_status(f"Cannot write {error.filename or file.part}: {error.strerror or type(error).__name__}")
    print_status(
        f"{counted(file.saved, 'record is', 'records are')} saved in {file.part}. Free some space, "
        "and repeat the command to continue:"
    )
    print_command(job.again)


def _tell(job: ExportOptions, file: ExportFile, ending: Ending | None, seconds: float, *, is_stale: bool) -> None:
    state, rejected = file.state, file.rejected_path
    odd = {name.removeprefix("odd "): count for name, count in state.counts.items() if name.startswith("odd ")}
    undated = state.counts.get("undated", 0)
    restarted = state.counts.get("restarted", 0)
    records = counted(state.records, "record", "records")
    is_open = ending is not None and ending.is_open
    if file.exists:
        what = "has" if is_open else "is complete:"
        if job.last is None and state.exported:
            # Without a period, there may be more records every day.
            what = f"was exported on {day_of(state.exported)}, and has"
        done = f"{job.out} {what} {records}. It stays as it is. {READ_AGAIN}"
    else:
        done = f"{records} in {seconds:.1f} s: {job.out}"
    print_status(done, quiet=job.quiet and not is_stale)
    if ending is not None and ending.is_open:
        earlier = file.exists or file.continued
        notice = ending.verdict(job.out) if earlier else ending.notice(job.out)
        print_status(notice, quiet=job.quiet and not ending.in_future and not is_stale)
    if rejected is not None:
        print_status(f"{counted(state.rejected, 'record', 'records')} could not be read or written; see {rejected}")
    if odd:
        fields = ", ".join(f"{name} ({count:,})" for name, count in odd.items())
        where = "which are null" if job.out.suffix.lower() == PARQUET else "whose values are in extra"
        print_status(f"Fields of an unexpected type, {where}: {fields}", quiet=job.quiet)
    if undated:
        print_status(f"{counted(undated, 'record has', 'records have')} no readable date.", quiet=job.quiet)
    if restarted:
        print_status(
            f"The service sent rows in another order {counted(restarted, 'time', 'times')}. Each of these "
            "weeks was written again from its start.",
            quiet=job.quiet,
        )
    if job.as_json:
        summary = {
            "records": state.records,
            "rejected": state.rejected,
            "outside": state.counts.get("outside", 0),
            "undated": undated,
            "odd": odd,
            "restarted": restarted,
            "continued": file.continued,
            "file": str(job.out),
            "rejected_file": None if rejected is None else str(rejected),
            "sha256": state.final_sha256,
            "cursor": state.cursor,
            "exported": state.exported,
            "open": is_open,
            "seconds": round(seconds, 3),
        }
        print_json(summary)
