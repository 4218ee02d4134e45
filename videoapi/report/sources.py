"""Call records and archives of an export on disk: JSON lines, CSV, or Parquet, as rows for a report."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, cast

import attrs

from videoapi.errors import ConfigurationError, ValidationError
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError, RecordDecoder
from videoapi.models.flat import SOURCES, read_time
from videoapi.models.formulas import unescaped
from videoapi.models.unreadable import is_given, unreadable_fields
from videoapi.report.coverage import EVER, MANIFEST, digest_of, notes_of
from videoapi.report.recordings import KINDS
from videoapi.report.rows import (
    COLUMNS,
    NEEDED,
    NUMBERS,
    READ,
    TIMES,
    UsageRow,
    milliseconds,
    row_of,
    row_of_cells,
)

FORMATS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
_LINES: Final = 500
_ROWS: Final = 10_000
_REJECTED: Final = ".rejected.jsonl"
_PART: Final = ".part"
_LONGEST_CELL: Final = 1 << 24
_EXTRA: Final = "extra"
_SCOPES: Final = ("room_id", "conf_num")
_DAY_LENGTH: Final = len("2026-01-31")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?[0-9][0-9.]*,[0-9]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The years that `read_time` accepts.
_LEAST_MS, _MOST_MS = -9_214_560_000_000, 9_214_646_400_000


@attrs.define
class Unread:
    """What of an export could not be read.

    Args:
        records: The number of records that cannot be read, or that could not be when they were exported.
        fields: The number of fields of an unexpected type; None if the export does not show it.
        values: How many records have a value that cannot be read, by the field of a figure, or the part that hides it.
        times: Which of `TIMES` the export has.
        has: Returns whether a row belongs to the report; None if it is not known.
        uncertain: Which of `unreadable` and `unreadable_values` may have counted others than those of the report.
    """

    records: int = 0
    fields: int | None = None
    values: Counter[str] = attrs.field(factory=Counter)
    times: frozenset[str] = frozenset(TIMES)
    has: Callable[[UsageRow], bool | None] = lambda row: True
    uncertain: set[str] = attrs.field(factory=set)

    def counts(self, row: UsageRow) -> bool:
        """Return whether to count the unreadable fields of a row: it belongs to the report, or may do so."""
        known = self.has(row)
        if known is None:
            self.uncertain.add("unreadable_values")
        return known is not False

    def note(self, row: UsageRow, names: Sequence[str]) -> None:
        """Count the unreadable fields of a row."""
        if not self.counts(row):
            return
        if self.fields is not None:
            self.fields += len(names)
        self.values.update(READ.intersection(names))

    def note_all(self, odd: Mapping[str, int]) -> None:
        """Count the odd fields of all records, by name."""
        self.values.update({name: count for name, count in odd.items() if name in READ})


def is_export(path: Path) -> bool:
    """Return whether the name of a path is that of an export, or the path is a folder."""
    return path.is_dir() or _format(path) in FORMATS


def is_parquet(path: Path) -> bool:
    """Return whether an export has Parquet files."""
    return path.is_dir() or _format(path) == ".parquet"


def call_rows(path: Path, unread: Unread) -> Generator[list[UsageRow], None, None]:
    """Yield the call records of an export in blocks.

    Args:
        path: A file `.jsonl`, `.csv` or `.parquet`, also `.gz`, or a folder of Parquet files.
        unread: Counts the records that cannot be read.

    Raises:
        ValidationError: If the file cannot be opened, is not an export of call records, lacks a column, or breaks off.
        ConfigurationError: If the extra `data` is not installed, and the file is a Parquet file.
    """
    form = ".parquet" if path.is_dir() else _format(path)
    with _readable(path):
        if form == ".csv":
            yield from _call_rows_of_csv(path, unread)
        elif form == ".parquet":
            for file in _parquet_files(path):
                yield from _call_rows_of_parquet(file, unread)
        elif form in FORMATS:
            unread.fields = 0
            for records in _json_records(path, CallRecord, unread):
                yield [row_of(record) for record in records]
        else:
            raise ValidationError(_unknown(path), field="source")


def archives(path: Path, unread: Unread) -> Generator[Archive, None, None]:
    """Yield the archives of an export; see `call_rows` for the formats and the errors."""
    form = ".parquet" if path.is_dir() else _format(path)
    with _readable(path):
        if form == ".csv":
            yield from _archives_of_csv(path, unread)
        elif form == ".parquet":
            for file in _parquet_files(path):
                for batch in _batches(file, partial(_archive_columns, file)):
                    yield from _archives_of(_archive_rows(batch), unread)
        elif form in FORMATS:
            for records in _json_records(path, Archive, unread):
                yield from records
        else:
            raise ValidationError(_unknown(path), field="archives")


@contextlib.contextmanager
def _readable(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValidationError(f"{path} is damaged, or breaks off: {error}", field="source") from None
    except UnicodeDecodeError as error:
        raise ValidationError(f"{path} is not {error.encoding.upper()}: {error.reason}", field="source") from None
    except OSError as error:
        part = path.with_name(f"{path.name}{_PART}")
        if isinstance(error, FileNotFoundError) and part.is_file():
            raise ValidationError(_unknown(part), field="source") from None
        reason = error.strerror or str(error)
        raise ValidationError(f"cannot read {path}: {reason}", field="source") from None


def _format(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _unknown(path: Path) -> str:
    if path.suffix == _PART:
        return f"{path} is an export that is not complete. To continue it, repeat the command that began it."
    return f"{path}: give an export that ends in .jsonl, .csv or .parquet, also .gz, or a folder of Parquet files"


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def rejected_of(path: Path, last: date) -> Counter[tuple[date, date]]:
    """Return how many records the lists next to an export have, which it could not read, by the days requested.

    Args:
        path: The export.
        last: Its last day.
    """
    found: Counter[tuple[date, date]] = Counter()
    with _readable(path):
        for listed in _rejected_lists(path):
            end = last
            if path.is_dir():
                # Each list of a folder is of one request for the days of its name.
                with contextlib.suppress(ValueError):
                    end = date.fromisoformat(listed.name.removesuffix(_REJECTED)[-_DAY_LENGTH:])
            found.update(_listed(listed, end))
    return found


def _rejected_lists(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob(f"_notes/[!.]*{_REJECTED}"))
    # An export that was compressed since has left its list under the old name.
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    listed = path.with_name(name + _REJECTED)
    return [listed] if listed.is_file() else []


def _listed(path: Path, end: date) -> Counter[tuple[date, date]]:
    """Return how many records a list has by the days requested, the last of all of which is `end`."""
    found: Counter[tuple[date, date]] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, AttributeError, TypeError, OverflowError, RecursionError):
                row = json.loads(line)
                count, days = max(1, int(row.get("more", 1))), EVER
                with contextlib.suppress(ValueError):
                    first, last = f"{row.get('window')}".split("..")
                    days = date.fromisoformat(first), date.fromisoformat(last)
                    if days[1] < end:
                        # A window also requests the first day of the next one, and lists what it cannot read of it.
                        days = days[0], days[1] + timedelta(1)
                found[days] += count
    return found


def _json_records(path: Path, model: type[Any], unread: Unread) -> Iterator[list[Any]]:
    decoder = RecordDecoder(model, extra=False)
    with _open(path) as file:
        lines = (line for line in file if not line.isspace())
        first = True
        while block := list(islice(lines, _LINES)):
            if first:
                block[0], first = block[0].removeprefix(b"\xef\xbb\xbf"), False
                _check_kind(path, block[0], model)
            records = decoder.decode_list(b"[" + b",".join(block) + b"]")
            odd: dict[int, tuple[str, ...]] = {}
            if records is None or len(records) != len(block):
                records = decoder.decode_block(block, odd.__setitem__)
            read = []
            for index, record in enumerate(records):
                if isinstance(record, DecodeError):
                    unread.records += 1
                    continue
                if model is CallRecord and (names := unreadable_fields(record, odd.get(index, ()))):
                    unread.note(row_of(record), names)
                read.append(record)
            yield read


def _check_kind(path: Path, line: bytes, model: type[Any]) -> None:
    """Check that the first line of a file is not of another export."""
    try:
        names = json.loads(line).keys()
    except (ValueError, RecursionError, AttributeError):
        return
    parts = {"room", "user", "sigserver"} & names
    if model is CallRecord and not parts and names & {"_id", "room_id", "owner_ref"}:
        raise ValidationError(f"{path} is not an export of call records", field="source")
    if model is Archive and parts:
        raise ValidationError(f"{path} is not an export of archives", field="archives")


def _csv_rows(path: Path) -> Iterator[tuple[list[str], int]]:
    """Yield the rows of a CSV file with the line of their end, the header first; one that cannot be read is empty.

    Rows whose cells are all empty are left out, and so are headers within the file, as in one that was joined from
    several.
    """
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        delimiter = max(",;\t", key=header.count)
        # The default, 128 KiB, is less than a record may have.
        csv.field_size_limit(_LONGEST_CELL)
        rows = csv.reader(_with_first(header, text), delimiter=delimiter)
        first: list[str] | None = None
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error:
                cells = []
            else:
                if not any(map(str.strip, cells)):
                    continue
            if cells and [cells[0].removeprefix("\ufeff"), *cells[1:]] == first:
                continue
            first = cells if first is None else first
            yield [unescaped(cell) for cell in cells], rows.line_num


def _with_first(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _call_rows_of_csv(path: Path, unread: Unread) -> Iterator[list[UsageRow]]:
    rows = _csv_rows(path)
    header = next(rows, ([], 0))[0]
    places = _places(path, header)
    extra_at = header.index(_EXTRA) if _EXTRA in header else None
    unread.times = unread.times.intersection(header)
    block: list[UsageRow] = []
    for cells, line in rows:
        if len(cells) != len(header):
            unread.records += 1
            continue
        values, lost = [], []
        for place, read in places:
            cell = cells[place] if place >= 0 else ""
            value = read(cell)
            if value is None and cell and not cell.isspace():
                _refuse_decimal_comma(path, line, header[place], cell)
                lost.append(SOURCES[header[place]])
            values.append(value)
        if extra_at is not None:
            lost += _unreadable_in(cells[extra_at])
        row = row_of_cells(values, milliseconds)
        if lost:
            unread.note(row, lost)
        block.append(row)
        if len(block) >= _LINES:
            yield block
            block = []
    if block:
        yield block


def _unreadable_in(extra: str) -> Iterator[str]:
    """Yield the fields whose values the export has put into the last column, because it could not read them."""
    if extra:
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            yield from (name for name, value in json.loads(extra).items() if name in READ and is_given(name, value))


def _refuse_decimal_comma(path: Path, line: int, column: str, cell: str) -> None:
    """Refuse a file whose numbers are in the notation of another language: all of them would be left out."""
    if column in (*NUMBERS, "user_minutes") and _DECIMAL_COMMA.fullmatch(cell.strip()):
        raise ValidationError(
            f"{path}, line {line}: {cell[:50]!r} in the column {column!r} has a decimal comma. Save the file with "
            "decimal points, or export the records again.",
            field="source",
        )


def _places(path: Path, header: Sequence[str]) -> list[tuple[int, Callable[[str], Any]]]:
    """Return where each of the columns is, and how its cells are read; -1 for one that is missing."""
    _must_suffice(path, header)
    readers: dict[str, Callable[[str], Any]] = dict.fromkeys(COLUMNS, _text)
    readers |= dict.fromkeys(TIMES, read_time) | dict.fromkeys(NUMBERS, _number)
    found = [(header.index(name) if name in header else -1, readers[name]) for name in COLUMNS]
    if "user_seconds" not in header:
        found[COLUMNS.index("user_seconds")] = header.index("user_minutes"), _seconds_of_minutes
    return found


def _must_suffice(path: Path, columns: Sequence[str]) -> None:
    missing = sorted(NEEDED - set(columns))
    if "user_minutes" in columns and "user_seconds" in missing:
        missing.remove("user_seconds")
    if missing:
        raise ValidationError(
            f"{path}: these columns are missing: {', '.join(map(repr, missing))}. Export the records with videoapi cdr "
            "export.",
            field="source",
        )


def _text(cell: str) -> str | None:
    return cell or None


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_of_minutes(cell: str) -> float | None:
    minutes = _number(cell)
    return None if minutes is None else minutes * 60


def _archives_of_csv(path: Path, unread: Unread) -> Iterator[Archive]:
    rows = _csv_rows(path)
    header = next(rows, ([], 0))[0]
    if not {"_id", "trans_date", "recording", "transcoded"} <= set(header):
        raise ValidationError(f"{path} is not an export of archives", field="archives")
    for cells, _ in rows:
        if len(cells) != len(header):
            unread.records += 1
            continue
        fields = dict(zip(header, cells, strict=True))
        # The export writes an ID of an unexpected type as JSON.
        yield from _archives_of([fields | {name: "" for name in _SCOPES if _is_list(fields.get(name, ""))}], unread)


def _is_list(cell: str) -> bool:
    """Return whether a cell is a list or an object in JSON."""
    if cell.startswith(("[", "{")):
        with contextlib.suppress(ValueError, RecursionError):
            return isinstance(json.loads(cell), list | dict)
    return False


def _archives_of(rows: Iterable[dict[str, Any]], unread: Unread) -> Iterator[Archive]:
    """Yield the archives of rows whose links are JSON text."""
    for row in rows:
        fields = {name: value for name, value in row.items() if value and name != "extra"}
        if "archive_id" in fields:
            fields["_id"] = fields.pop("archive_id")
        for kind in KINDS:
            with contextlib.suppress(ValueError, KeyError, RecursionError):
                # What is null has no text. An export of an earlier commit has text as it is.
                if (links := json.loads(fields[kind])) is not None:
                    fields[kind] = links
        try:
            yield Archive.from_dict(fields)
        except (ValueError, TypeError, RecursionError):
            unread.records += 1


def _parquet_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith((".", "_")))
    if not files:
        raise ValidationError(f"{path} has no Parquet files", field="source")
    if (path / MANIFEST).is_file():
        _check_manifest(path, files)
        return files
    digests: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        digests = {str(note["file"]): str(note["sha256"]) for note in notes_of(path)}
    # The note of a file is written after it: without one, the export counts the file as missing.
    noted = {file: digests[name] for file in files if (name := _name_in(path, file)) in digests}
    for file, digest in noted.items():
        _check_digest(path, file, digest)
    return list(noted) if digests else files


def _name_in(folder: Path, file: Path) -> str:
    """Return the name by which a manifest knows a file: one of the same name in a folder below is another file."""
    return file.relative_to(folder).as_posix()


def _check_manifest(folder: Path, files: Sequence[Path]) -> None:
    """Check that a folder has the files of its manifest, with as many rows, and no others."""
    pyarrow, parquet = _pyarrow()
    try:
        notes = {str(note["file"]): (note["rows"], str(note["sha256"])) for note in notes_of(folder)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValidationError(f"{folder / MANIFEST} cannot be read", field="source") from None
    found = {_name_in(folder, file): file for file in files}
    if differing := sorted(notes.keys() ^ found.keys()):
        name = differing[0]
        what = (
            f"{folder / name} is missing"
            if name in notes
            else f"{found[name]} is not in {MANIFEST}; if it does not belong to the export, move it away"
        )
        raise ValidationError(f"{what}. Repeat the export of {folder}.", field="source")
    for name, file in found.items():
        try:
            rows = parquet.read_metadata(file).num_rows
        except pyarrow.ArrowException as error:
            raise ValidationError(f"{file} cannot be read: {str(error)[:200]}", field="source") from None
        noted, digest = notes[name]
        if rows != noted:
            raise ValidationError(
                f"{file} has {rows:,} rows, and {MANIFEST} says {noted:,}. Repeat the export of {folder}.",
                field="source",
            )
        _check_digest(folder, file, digest)


def _check_digest(folder: Path, path: Path, digest: str) -> None:
    """Check that a file of a folder is the one that was exported."""
    with path.open("rb") as file:
        found = digest_of(file)
    if found != digest:
        raise ValidationError(
            f"{path} has changed since it was exported. Move it away. Repeat the export of {folder}.", field="source"
        )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigurationError(
            "Parquet files are read with pyarrow, which is not installed: pip install 'videoapi[data]'"
        ) from None
    return pyarrow, parquet


def _batches(path: Path, columns: Callable[[Any], Sequence[str]]) -> Iterator[Any]:
    """Yield a Parquet file in batches of the columns that a function selects from its schema."""
    pyarrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(_ROWS, columns=list(columns(file.schema_arrow)))
    except pyarrow.ArrowException as error:
        raise ValidationError(f"{path} cannot be read: {str(error)[:200]}", field="source") from None


def _call_rows_of_parquet(path: Path, unread: Unread) -> Iterator[list[UsageRow]]:
    def columns(schema: Any) -> list[str]:
        names = schema.names
        _must_suffice(path, names)
        minutes = [] if "user_seconds" in names else ["user_minutes"]
        unread.times = unread.times.intersection(names)
        wanted = [*(name for name in COLUMNS if name in names), *minutes]
        _must_fit(path, schema, wanted)
        return wanted

    for batch in _batches(path, columns):
        yield _rows_of_batch(batch, "user_seconds" not in batch.schema.names)


def _must_fit(path: Path, schema: Any, names: Sequence[str]) -> None:
    """Check the types of columns."""
    from pyarrow import types

    for name in names:
        kind = schema.field(name).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        wanted, fits = (
            ("a timestamp", types.is_timestamp(kind))
            if name in TIMES
            else ("a number", types.is_floating(kind) or types.is_integer(kind))
            if name in NUMBERS or name == "user_minutes"
            else ("text", types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
        )
        if not (fits or types.is_null(kind)):
            raise ValidationError(f"{path}: the column {name!r} is of the type {kind}, not {wanted}", field="source")


def _archive_columns(path: Path, schema: Any) -> list[str]:
    if not {"archive_id", "trans_at", *KINDS} <= set(schema.names):
        raise ValidationError(f"{path} is not an export of archives", field="archives")
    wanted = ("archive_id", "trans_at", "conf_num", "room_id", *KINDS)
    found = [name for name in wanted if name in schema.names]
    _must_fit(path, schema, found)
    return found


def _archive_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch with their times as text; a time that Python does not have is None."""
    for row, at in zip(batch.drop_columns(["trans_at"]).to_pylist(), _as_ms(batch["trans_at"]), strict=True):
        within = _within_years(at)
        yield {**row, "trans_date": None if within is None else f"{_EPOCH + timedelta(milliseconds=within)}"}


def _as_ms(times: Any) -> list[int | None]:
    """Return the times of a column in milliseconds since 1970."""
    import pyarrow

    kind = pyarrow.timestamp("ms", getattr(times.type, "tz", None))
    found: list[int | None] = times.cast(kind, safe=False).cast(pyarrow.int64()).to_pylist()
    return found


def _rows_of_batch(batch: Any, minutes: bool) -> list[UsageRow]:
    columns: list[Any] = []
    for name in COLUMNS:
        if name == "user_seconds" and minutes:
            columns.append([None if value is None else value * 60 for value in batch["user_minutes"].to_pylist()])
        elif name not in batch.schema.names:
            columns.append([None] * batch.num_rows)
        elif name in TIMES:
            columns.append(_as_ms(batch[name]))
        else:
            columns.append(batch[name].to_pylist())
    return [row_of_cells(list(cells), _within_years) for cells in zip(*columns, strict=True)]


def _within_years(at: int | None) -> int | None:
    return at if at is not None and _LEAST_MS <= at <= _MOST_MS else None
