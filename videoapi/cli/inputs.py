"""Input files, read lazily: each line becomes an input, or an error that affects only that line."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import attrs

from videoapi.cli.room_lines import (
    SPEC_FIELDS,
    check_columns,
    columns_of,
    is_field,
    missing_column,
    nothing_to_ignore,
    similar,
    spec_of_cells,
    spec_of_object,
    start_of,
)
from videoapi.cli.spreadsheet import BadInput, Row, UnreadableRest, csv_rows, numbered_lines
from videoapi.cli.token_lines import check_token_columns, token_of
from videoapi.errors import ValidationError
from videoapi.models.formulas import unescaped
from videoapi.models.rooms import RoomSpec
from videoapi.models.tokens import TokenSpec

T = TypeVar("T")
CSV: Final = (".csv", ".tsv")
JSONL: Final = (".jsonl", ".ndjson")
TEXT: Final = (".txt",)
WORKBOOKS: Final = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")


_MARK: Final = (1 << 60) - 1


class Title(NamedTuple):
    """What identifies a room whatever its key is: its name, and its start if it is scheduled."""

    name: str
    start: str = ""

    def mark(self) -> int:
        """Return a number to compare it by, which takes little memory; 0 without a name.

        It is valid in this process only.
        """
        return hash(self) & _MARK | 1 if self.name else 0


@attrs.frozen
class InputLine(Generic[T]):
    """One input: its index from 0, its line number in the file, its key, its value or an error, and a room's title.

    `columns` has the columns that have other names than the fields of the room that they give, by field.
    """

    index: int
    number: int
    key: str | int | None = None
    given: T | None = None
    error: ValidationError | None = None
    title: Title | None = None
    columns: Mapping[str, str] = {}


InputLines: TypeAlias = Generator[InputLine[T], None, None]
"""The inputs of a file, read lazily; closing the generator closes the file."""


@attrs.frozen
class InputFile(Generic[T]):
    """An input file that was read once from end to end.

    Args:
        lines: Its inputs, to be read as they are needed.
        total: Number of inputs, up to the line from which the file cannot be read.
        keys: The column that has the key of each line.
        repeated: If the names were to serve as keys, and two lines share one, what is wrong; otherwise empty.
        read_titles: Reads the file again, and returns the mark of the title of the room of each key.
        sent: The columns of a table that are sent.
        not_sent: The other columns.
    """

    lines: InputLines[T]
    total: int
    keys: str
    repeated: str = ""
    read_titles: Callable[[], Mapping[str | int, int]] = dict
    sent: Sequence[str] = ()
    not_sent: Sequence[str] = ()


class InputRecord(NamedTuple):
    """A line of a file: its number, its fields as far as they can be read, and what is wrong with it.

    If it is a row of several lines, `begins` has the line in which each field begins.
    """

    number: int
    fields: Mapping[str, Any]
    error: ValidationError | None = None
    begins: Mapping[str, int] = {}


RecordSource: TypeAlias = Callable[[], Iterator[InputRecord]]


def room_specs(path: Path, key_column: str | None = None, ignored: Collection[str] = ()) -> InputFile[RoomSpec]:
    """Read the specs of the rooms to create.

    Args:
        path: `.csv`, `.tsv` or `.txt` with the columns name, owner_ref, key, sip, settings.… and data.…, or
            `.jsonl` with one object per line that has the fields of `RoomSpec`.
        key_column: The column or field that has the keys; by default `key` if the header or any line has one, else
            `name`.
        ignored: Columns or fields that are left out.

    Raises:
        BadInput: If the file cannot be read, has another extension, or has an unknown column.
    """
    suffix = _suffix(path)
    convert: Callable[[Mapping[str, Any]], RoomSpec]
    header: Sequence[str] = ()
    columns: Sequence[str] = ()
    is_sent: Callable[[str], bool] = SPEC_FIELDS.__contains__
    if key_column is not None and key_column in ignored:
        raise BadInput(f"{path.name}: the column {key_column} has the keys, so it cannot be ignored")
    if suffix in JSONL:
        records, convert = partial(_objects, path, ignored), spec_of_object
    elif suffix in (*CSV, *TEXT):
        is_sent = is_field
        check = partial(check_columns, key_column=key_column)
        records, convert = partial(_table, path, check, ignored), spec_of_cells
        with closing(csv_rows(path)) as rows:
            columns = _header(path, rows, check, ignored)
            header = _named(columns, ignored)
    else:
        raise _other_file(path, ".csv, .tsv or .jsonl")
    total, has_keys, repeated = _overview(records)
    # A header binds the keys whatever the cells say: a line that cannot be read yet may have the first key.
    keys = key_column or ("key" if has_keys or "key" in header else "name")
    by_name = not key_column and keys == "name"
    sent = [column for column in header if is_field(column) and column != "key"]
    return InputFile(
        _specs(records, convert, keys, is_sent, by_name=by_name),
        total,
        keys,
        repeated if by_name else "",
        partial(_titles, records, keys),
        sent=sent,
        not_sent=[column for column in columns if column not in sent],
    )


def room_ids(path: Path) -> InputFile[str]:
    """Read room IDs.

    Args:
        path: `.txt` with one ID per line, `.csv` with a column room_id, or `.jsonl` with a field
            room_id, such as the outcome file of create-many; lines without an ID are skipped.

    Raises:
        BadInput: If the file cannot be read, has another extension, or has no such column.
    """
    suffix = _suffix(path)
    if suffix in TEXT:
        records: RecordSource = partial(_texts, path)
    elif suffix in CSV:
        records = partial(_table, path, _check_id_column)
    elif suffix in JSONL:
        records = partial(_objects, path)
    else:
        raise _other_file(path, ".txt, .csv or .jsonl")
    total = 0
    with suppress(UnreadableRest), closing(_ids(records)) as lines:
        for _ in lines:
            total += 1
    return InputFile(_ids(records), total, "room_id")


def token_specs(path: Path, ignored: Collection[str] = ()) -> InputFile[TokenSpec]:
    """Read the specs of the join tokens to issue.

    Args:
        path: `.csv` with the columns room_id, name, user_ref and, optionally, role, key and data.…, or `.jsonl` with
            one object per line that has these fields.
        ignored: Columns or fields that are left out.

    Raises:
        BadInput: If the file cannot be read, has another extension, or has an unknown column.
    """
    suffix = _suffix(path)
    if suffix in JSONL:
        records: RecordSource = partial(_objects, path, ignored)
    elif suffix in (*CSV, *TEXT):
        records = partial(_table, path, check_token_columns, ignored)
        with closing(csv_rows(path)) as rows:
            _header(path, rows, check_token_columns, ignored)
    else:
        raise _other_file(path, ".csv, .tsv or .jsonl")
    total = 0
    with suppress(UnreadableRest), closing(_tokens(records)) as lines:
        for _ in lines:
            total += 1
    return InputFile(_tokens(records), total, "key")


def _tokens(records: RecordSource) -> Generator[InputLine[TokenSpec], None, None]:
    for index, (number, fields, error, _) in enumerate(records()):
        key = _key(fields, "key")
        try:
            if error is not None:
                raise error
            # Not the key of the file, which may occur twice: a second token is harmless.
            yield InputLine(index, number, key, attrs.evolve(token_of(fields), key=number))
        except ValidationError as wrong:
            yield InputLine(index, number, key, error=wrong)


def _overview(records: RecordSource) -> tuple[int, bool, str]:
    """Return the number of records, whether any has a key, and otherwise which two share a name."""
    total, has_keys, repeated = 0, False, ""
    names: dict[Any, int] = {}
    with suppress(UnreadableRest):
        for number, fields, *_ in records():
            total += 1
            has_keys = has_keys or fields.get("key") not in (None, "")
            name = fields.get("name")
            if has_keys or repeated or not isinstance(name, str):
                continue
            if names.setdefault(name, number) != number:
                repeated = _same_name(names[name], number)
    return total, has_keys, repeated


def _suffix(path: Path) -> str:
    """Return the extension; that before the number, for an outcome file that a later run has renamed."""
    name, _, number = path.name.rpartition(".")
    return Path(name if number.isascii() and number.isdecimal() else path.name).suffix.lower()


def titles_of(path: Path, column: str) -> Mapping[str | int, int] | None:
    """Return the marks of the titles by key of a file of specs with any columns; None if it cannot be read."""
    records = partial(_objects, path) if path.suffix.lower() in JSONL else partial(_table, path, lambda header: None)
    with suppress(OSError, BadInput):
        return _titles(records, column)
    return None


def _titles(records: RecordSource, column: str) -> Mapping[str | int, int]:
    found: dict[str | int, int] = {}
    with suppress(UnreadableRest):
        for record in records():
            if (key := _key(record.fields, column)) is not None:
                found[key] = _title(record.fields).mark()
    return found


def _specs(
    records: RecordSource,
    convert: Callable[[Mapping[str, Any]], RoomSpec],
    keys: str,
    is_sent: Callable[[str], bool],
    *,
    by_name: bool,
) -> Generator[InputLine[RoomSpec], None, None]:
    seen: dict[str | int, int] = {}
    for index, (number, fields, error, begins) in enumerate(records()):
        key = _key(fields, keys)
        first = number if key is None else seen.setdefault(key, number)
        spec: RoomSpec | None = None
        try:
            if error is not None:
                raise error
            for column in ("name", keys):
                if isinstance(text := fields.get(column), str) and ("\n" in text or "\r" in text):
                    raise ValidationError(
                        f"{column} has a line break; it begins in line {begins.get(column, number)}. "
                        "Is a quote missing?",
                        field=column,
                    )
            spec = convert({name: value for name, value in fields.items() if name != keys or is_sent(name)})
            if key is None:
                is_missing = _field(fields, keys) in (None, "")
                problem = "is missing" if is_missing else "must be text or a whole number"
                raise ValidationError(f"{keys} {problem}.", field=keys)
            if first != number:
                clash = _same_name(first, number) if by_name else f"The key {key!r} is already used in line {first}."
                raise ValidationError(clash, field=keys)
            spec = attrs.evolve(spec, key=key)
        except ValidationError as wrong:
            spec, error = None, wrong
        yield InputLine(index, number, key, spec, error, _title(fields), columns_of(fields))


def _same_name(first: int, second: int) -> str:
    return (
        f"Lines {first} and {second} have the same name, so names cannot be used as keys. Add a column `key` with a "
        "different text in each line, or name a column that has one with --key-column."
    )


def _ids(records: RecordSource) -> Generator[InputLine[str], None, None]:
    index = 0
    for number, fields, error, _ in records():
        found = fields.get("room_id")
        if error is not None or not (found is None or isinstance(found, str)):
            yield InputLine(index, number, error=error or ValidationError("room_id must be text.", field="room_id"))
        elif found:
            yield InputLine(index, number, found, found)
        else:
            continue
        index += 1


def _key(fields: Mapping[str, Any], column: str) -> str | int | None:
    key = _field(fields, column)
    return key if isinstance(key, str | int) and not isinstance(key, bool) and key != "" else None


def _field(fields: Mapping[str, Any], column: str) -> Any:
    """Return a field by the name of its column: in an object, `data.id` is the field `id` of `data`."""
    if column in fields:
        return fields[column]
    outer, _, inner = column.partition(".")
    nested = fields.get(outer) if inner else None
    return _field(nested, inner) if isinstance(nested, Mapping) else None


def _title(fields: Mapping[str, Any]) -> Title:
    texts = _field(fields, "name"), start_of(fields) or _field(fields, "settings.scheduled_time")
    return Title(*(text if isinstance(text, str) else "" for text in texts))


def _texts(path: Path) -> Iterator[InputRecord]:
    for number, text in numbered_lines(path):
        if text.strip():
            yield InputRecord(number, {"room_id": text.strip()}, _text_error(text))


def _objects(path: Path, ignored: Collection[str] = ()) -> Iterator[InputRecord]:
    for number, text in numbered_lines(path):
        if not text.strip():
            continue
        value, problem = None, _text_error(text)
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            problem = problem or ValidationError("This line is not JSON.")
        except ValueError:
            # Of Python's limit, which keeps the conversion from taking minutes.
            problem = problem or ValidationError("This line has a number with too many digits.")
        except RecursionError:
            problem = problem or ValidationError("This line is nested too deeply.")
        if isinstance(value, dict):
            yield InputRecord(number, {name: value[name] for name in value if name not in ignored}, problem)
        else:
            yield InputRecord(number, {}, problem or ValidationError("This line is not a JSON object."))


def _table(path: Path, check: Callable[[Sequence[str]], None], ignored: Collection[str] = ()) -> Iterator[InputRecord]:
    rows = csv_rows(path)
    header = _header(path, rows, check, ignored)
    for number, cells, fault, begins in rows:
        problem = _text_error("".join(cells))
        if fault:
            problem = ValidationError(f"This line is not CSV: {fault}.")
        elif len(cells) > len(header):
            problem = ValidationError(f"This line has {len(cells)} cells, the header {len(header)}.")
        fields = {column: unescaped(cell) for column, cell in zip(header, cells, strict=False) if column not in ignored}
        yield InputRecord(number, fields, problem, dict(zip(header, begins, strict=False)) if begins else {})


def _named(header: Sequence[str], ignored: Collection[str]) -> list[str]:
    return [column for column in header if column not in ignored]


def _header(
    path: Path, rows: Iterator[Row], check: Callable[[Sequence[str]], None], ignored: Collection[str] = ()
) -> list[str]:
    """Read and check the header of a table.

    Raises:
        BadInput: If it cannot be read, or a column is missing or unknown.
    """
    try:
        header, fault = next(((row.cells, row.problem) for row in rows), ([], ""))
        if fault:
            raise BadInput(f"its header is not CSV: {fault}")
        for column in ignored:
            if column not in header:
                raise nothing_to_ignore(column, header)
        named = _named(header, ignored)
        if len(set(named)) < len(named):
            raise BadInput("a column occurs twice")
        check(named)
    except BadInput as bad:
        raise BadInput(f"{path.name}: {bad}") from None
    return header


def _other_file(path: Path, endings: str) -> BadInput:
    hint = ""
    if path.suffix.lower() in WORKBOOKS:
        hint = ". In Excel or LibreOffice: Save as, CSV UTF-8"
    return BadInput(f"{path.name}: give a file that ends in {endings}{hint}")


def _check_id_column(header: Sequence[str]) -> None:
    if "room_id" not in header:
        raise missing_column("room_id", header, similar("room_id", header))


def _text_error(text: str) -> ValidationError | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return ValidationError("This line is not UTF-8. In a spreadsheet, save the file as CSV UTF-8.")
    return None
