"""What the readers of other programs find in an exported CSV file; some of them are in the group `data`."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from videoapi.cli.csv_rows import call_table, cell, csv_line, flat_table
from videoapi.cli.export import line_format
from videoapi.cli.inputs import room_specs
from videoapi.models.cdr import CallRecord
from videoapi.report.sources import Unread, call_rows

Read = Callable[[Path], list[dict[str, Any]]]
CONTROLS = [chr(code) for code in (*range(32), 127, *range(128, 160), 0x2028, 0x2029, 0xFEFF)]
NAMES = [
    *(form.format(control) for control in CONTROLS for form in ("a{}b", "{}b", "a{}", "{}", '"{}",')),
    "a\r\nb",
    'say "hi"',
    "Ann, Bo",
    "plain",
]


def with_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def with_pandas(path: Path) -> list[dict[str, Any]]:
    pandas = pytest.importorskip("pandas")
    # As text, and without its guesses at which words mean nothing.
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    return [dict(row) for row in frame.to_dict("records")]


def with_duckdb(path: Path) -> list[dict[str, Any]]:
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.connect().execute("from read_csv(?, all_varchar=true)", [str(path)])
    names = [column[0] for column in found.description]
    return [dict(zip(names, (text or "" for text in row), strict=True)) for row in found.fetchall()]


def with_polars(path: Path) -> list[dict[str, Any]]:
    polars = pytest.importorskip("polars")
    frame = polars.read_csv(path, infer_schema=False)
    return [{name: text or "" for name, text in row.items()} for row in frame.to_dicts()]


READERS = pytest.mark.parametrize("read", [with_csv, with_pandas, with_duckdb, with_polars])


def record(identity: str, name: str) -> CallRecord:
    return CallRecord.from_dict({"cdr_id": identity, "trans_date": "2026-01-01T00:00:00Z", "user": {"name": name}})


def written(path: Path, names: list[str], *, excel: bool = False) -> None:
    lines = line_format(path, call_table(), excel=excel)
    rows = [lines.line_of(record(str(number), name)) for number, name in enumerate(names)]
    path.write_bytes(lines.header + b"".join(rows))


def shown(name: str) -> str:
    """Return a name as it is in the file: what a spreadsheet could evaluate has an apostrophe."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name


@READERS
@pytest.mark.parametrize("excel", [False, True])
def test_every_control_character_in_a_name_keeps_its_row(tmp_path: Path, read: Read, excel: bool) -> None:
    path = tmp_path / "out.csv"
    written(path, NAMES, excel=excel)
    rows = read(path)
    assert [row["cdr_id"] for row in rows] == [str(number) for number in range(len(NAMES))]
    assert [row["user_name"] for row in rows] == [shown(name) for name in NAMES]
    assert set(rows[0]) == {*call_table().columns, "extra"}


@given(st.lists(st.text(), min_size=1, max_size=4).filter(lambda row: row != [""]))
def test_any_row_reads_back(row: list[str]) -> None:
    assert list(csv.reader(io.StringIO(csv_line(row), newline=""))) == [row]


TEXTS = st.lists(
    (st.text(min_size=1) | st.text("'=+-@\t\r\n 1.e,;\"a", min_size=1, max_size=6)), min_size=1, max_size=8, unique=True
)
ANY_TEXT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY_TEXT
@given(TEXTS)
@example(["=A", "'=A", "''=A", "'A", "'", "''", "-5", "'-5", "''-5"])
def test_any_text_of_an_export_is_the_same_in_a_report(tmp_path: Path, texts: list[str]) -> None:
    assert len(set(map(cell, texts))) == len(texts)
    path = tmp_path / "out.csv"
    lines = line_format(path, call_table(), excel=False)
    records = [CallRecord.from_dict({"conf_num": "1", "room": {"room_details": {"owner_ref": t}}}) for t in texts]
    path.write_bytes(lines.header + b"".join(map(lines.line_of, records)))
    assert [row.owner_ref for block in call_rows(path, Unread()) for row in block] == texts


@ANY_TEXT
@given(TEXTS)
@example(["=A", "'=A", "''=A", "'A", "'", "''", "-5", "'-5", "''-5"])
def test_any_text_of_an_export_is_the_same_in_a_created_room(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "rooms.csv"
    # Whitespace at the ends of cells is ignored, and so are empty cells.
    texts = [text for text in texts if text == text.strip()]
    rows = [csv_line([f"{place}", cell(text), cell(text)]) for place, text in enumerate(texts)]
    path.write_text("key,owner_ref,name\n" + "".join(rows), encoding="utf-8", newline="")
    found = [line.given for line in room_specs(path).lines]
    assert [spec.owner_ref for spec in found if spec] == [t for t in texts if not {"\r", "\n"} & set(t)]


def test_file_that_was_never_escaped_loses_only_an_apostrophe_before_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name\n=A\n'+B\n'tis\n-5\n")
    assert [line.given.name for line in room_specs(path).lines if line.given] == ["=A", "+B", "'tis", "-5"]


class Flat(CallRecord):
    """A record with a flat form."""

    def flat(self) -> dict[str, Any]:
        zone = timezone(timedelta(hours=2))
        return {
            "id": self.cdr_id,
            "at": datetime(2026, 1, 1, 2, tzinfo=zone) if self.trans_date == "good" else None,
            "seconds": 1e-7,
            "count": 3,
            "audio": True,
            "video": False,
            "price": None,
            "name": self.user.name,
        }


FLAT = flat_table(
    Flat().flat(), {"cdr_id": "id", "trans_date": "at", "user.name": "name", "room.room_details.name": "room"}
)


def test_cells_of_a_flat_record() -> None:
    row = FLAT.cells(Flat.from_dict({"cdr_id": "a", "trans_date": "good", "user": {"name": "=1+1"}}))
    assert row == ["a", "2026-01-01T00:00:00.000+00:00", "1e-07", "3", "true", "false", "", "'=1+1", ""]
    assert datetime.fromisoformat(row[1]) == datetime(2026, 1, 1, tzinfo=UTC)


TIMES = [
    "2026-01-01T00:04:25Z",
    "2026-01-01T00:04:25.846Z",
    "2026-01-01T00:04:25.846999Z",
    "",
    "1969-12-31T23:59:59.9Z",
]


def times_of_a_file(path: Path) -> None:
    rows = [{"cdr_id": f"{number}", "trans_date": text} for number, text in enumerate(TIMES)]
    lines = line_format(path, call_table(), excel=False)
    path.write_bytes(lines.header + b"".join(lines.line_of(CallRecord.from_dict(row)) for row in rows))


def test_times_have_one_format_with_milliseconds(tmp_path: Path) -> None:
    times_of_a_file(tmp_path / "out.csv")
    assert [row["trans_at"] for row in with_csv(tmp_path / "out.csv")] == [
        "2026-01-01T00:04:25.000+00:00",
        "2026-01-01T00:04:25.846+00:00",
        "2026-01-01T00:04:25.846+00:00",
        "",
        "1969-12-31T23:59:59.900+00:00",
    ]


def test_pandas_parses_a_column_of_times(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    times_of_a_file(tmp_path / "out.csv")
    column = pandas.read_csv(tmp_path / "out.csv", parse_dates=["trans_at"]).trans_at
    assert str(column.dtype).endswith("UTC]")
    assert list(column.isna()) == [False, False, False, True, False]
    assert column[1] - column[0] == timedelta(milliseconds=846)


def test_extra_has_what_the_columns_do_not_show() -> None:
    fields = {
        "cdr_id": "a",
        "trans_date": "some day",
        "identity": "red",
        "user": {"name": "Ann", "hat": 1, "token": "canary"},
        "room": {"room_details": {"data": {"team": "blue"}}},
    }
    assert json.loads(FLAT.cells(Flat.from_dict(fields))[-1]) == {
        "trans_date": "some day",
        "identity": "red",
        "user.hat": 1,
        "room.room_details.data": {"team": "blue"},
    }


def test_flat_record_is_written_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    record = Flat.from_dict({"cdr_id": "a"})
    lines = line_format(path, FLAT, excel=False)
    path.write_bytes(lines.header + lines.line_of(record))
    assert with_csv(path) == [dict(zip([*record.flat(), "extra"], FLAT.cells(record), strict=True))]
