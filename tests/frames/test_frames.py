"""Rows of both record shapes in pandas, polars and DuckDB: equal columns, counts and sums.

The libraries come with the dependency group `data`. A run in which all of these tests are skipped fails.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from videoapi import VideoClient
from videoapi.models.cdr import CallRecord
from videoapi.sandbox import Sandbox

LAST = date(2026, 1, 31)
CALLS = 1_200
SPARSE = 150
"""More rows than polars reads before it settles on types, and than DuckDB does."""

NUMBERS = [name for name, kind in CallRecord.columns.items() if kind is float]
TIMES = [name for name, kind in CallRecord.columns.items() if kind is datetime]


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas")


@pytest.fixture
def polars() -> Any:
    return pytest.importorskip("polars")


@pytest.fixture
def duckdb() -> Iterator[Any]:
    pytest.importorskip("pyarrow")  # DuckDB reads frames of polars through it
    module = pytest.importorskip("duckdb")
    with module.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@functools.cache
def served(schema: str) -> list[CallRecord]:
    async def read() -> list[CallRecord]:
        async with Sandbox(seed=1, calls=CALLS, today=LAST, cdr_schema=schema) as sandbox:
            async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
                return await client.cdr.by_period("2026-01-01", LAST).to_list()

    return asyncio.run(read())


def without_optional_fields(record: CallRecord) -> CallRecord:
    return CallRecord.from_dict({"trans_date": record.trans_date, "cdr_id": record.cdr_id})


@pytest.fixture(params=["new", "old", "both"])
def records(request: pytest.FixtureRequest) -> list[CallRecord]:
    """Return records of a shape of the service, the first of them without their optional fields."""
    shapes = ["old", "new"] if request.param == "both" else [request.param]
    found = [record for shape in shapes for record in served(shape)]
    assert len(found) >= CALLS
    return [*map(without_optional_fields, found[:SPARSE]), *found[SPARSE:]]


def expected_sums(records: list[CallRecord]) -> dict[str, float]:
    rows = [record.flat() for record in records]
    return {name: math.fsum(row[name] or 0.0 for row in rows) for name in NUMBERS}


def expected_counts(records: list[CallRecord]) -> dict[str, int]:
    rows = [record.flat() for record in records]
    return {name: sum(row[name] is not None for row in rows) for name in CallRecord.columns}


def test_three_libraries_have_equal_columns_counts_and_sums(
    records: list[CallRecord], pandas: Any, polars: Any, duckdb: Any
) -> None:
    in_pandas = pandas.DataFrame(r.flat() for r in records)
    in_polars = polars.DataFrame((r.flat() for r in records), schema=CallRecord.columns)
    relation = duckdb.from_arrow(in_polars.to_arrow())

    columns, sums, counts = list(CallRecord.columns), expected_sums(records), expected_counts(records)
    assert sums["user_minutes"] > 1_000
    assert counts["user_name"] == len(records) - SPARSE

    assert list(in_pandas) == in_polars.columns == relation.columns == columns
    total = ", ".join(f"coalesce(sum({name}), 0)" for name in NUMBERS)
    in_duckdb = dict(zip(NUMBERS, relation.aggregate(total).fetchall()[0], strict=True))
    assert {name: in_pandas[name].sum() for name in NUMBERS} == pytest.approx(sums)
    assert {name: in_polars[name].sum() for name in NUMBERS} == pytest.approx(sums)
    assert in_duckdb == pytest.approx(sums)

    filled = ", ".join(f"count({name})" for name in columns)
    assert {name: int(in_pandas[name].count()) for name in columns} == counts
    assert {name: in_polars[name].count() for name in columns} == counts
    assert dict(zip(columns, relation.aggregate(filled).fetchall()[0], strict=True)) == counts


def test_three_libraries_have_the_same_times(records: list[CallRecord], pandas: Any, polars: Any, duckdb: Any) -> None:
    in_pandas = pandas.DataFrame(r.flat() for r in records)
    in_polars = polars.DataFrame((r.flat() for r in records), schema=CallRecord.columns)
    relation = duckdb.from_arrow(in_polars.to_arrow())
    for name in TIMES:
        latest = max(when for record in records if (when := record.flat()[name]) is not None)
        assert in_pandas[name].max().to_pydatetime() == latest
        # polars and DuckDB hold UTC without naming it.
        assert in_polars[name].max().replace(tzinfo=UTC) == latest
        assert relation.max(name).fetchall()[0][0].replace(tzinfo=UTC) == latest


def test_polars_types_do_not_depend_on_the_rows(records: list[CallRecord], polars: Any) -> None:
    kinds = {str: polars.String, float: polars.Float64, bool: polars.Boolean, datetime: polars.Datetime("us")}
    expected = {name: kinds[kind] for name, kind in CallRecord.columns.items()}
    for part in (records, records[:SPARSE], []):
        frame = polars.DataFrame((r.flat() for r in part), schema=CallRecord.columns)
        assert dict(frame.schema) == expected
        assert len(frame) == len(part)


@pytest.mark.parametrize("shape", ["old", "new"])
def test_polars_infers_the_types_of_rows_that_lack_nothing_at_first(shape: str, polars: Any) -> None:
    frame = polars.DataFrame(r.flat() for r in served(shape))
    # Not `frame[name].sum()`: a column without any value has a type that older versions do not add up.
    sums = {name: math.fsum(value or 0 for value in frame[name].to_list()) for name in NUMBERS}
    assert sums == pytest.approx(expected_sums(served(shape)))


def test_pandas_types_are_those_of_the_values(records: list[CallRecord], pandas: Any) -> None:
    frame = pandas.DataFrame(r.flat() for r in records)
    counts = expected_counts(records)
    for name, kind in CallRecord.columns.items():
        if counts[name] and kind is float:
            assert frame[name].dtype == "float64", name
        if counts[name] and kind is datetime:
            assert str(frame[name].dtype.tz) == "UTC", name


def test_pandas_has_every_column_of_no_rows(pandas: Any) -> None:
    frame = pandas.DataFrame((r.flat() for r in []), columns=list(CallRecord.columns))
    assert list(frame) == list(CallRecord.columns)
    assert frame["user_minutes"].sum() == 0


def test_duckdb_reads_a_frame_of_pandas_by_its_name(records: list[CallRecord], pandas: Any, duckdb: Any) -> None:
    frame = pandas.DataFrame(r.flat() for r in records)
    minutes, users = duckdb.sql("SELECT sum(user_minutes), count(user_name) FROM frame").fetchall()[0]
    assert minutes == pytest.approx(expected_sums(records)["user_minutes"])
    assert users == len(records) - SPARSE
    assert len(frame) == len(records)


def test_odd_values_load_everywhere(pandas: Any, polars: Any, duckdb: Any) -> None:
    """A value that a column cannot hold would fail the load, or change the type of the column."""
    good = {"trans_date": "2026-01-31T10:00:00Z", "user": {"name": "Ann"}, "sigserver": {"duration": 60}}
    odd = [
        CallRecord.from_dict(good | {"user": {"name": "\ud800 \x00 \r\n 👋"}}),
        CallRecord.from_dict(good | {"stats_quality": {"send": {"video": {"avg_bitrate": 10**400}}}}),
        CallRecord.from_dict(good | {"stats_quality": {"send": {"video": "none"}}}),
        *(CallRecord.from_dict(good | {"trans_date": day}) for day in ("0001-01-01", "9999-12-31", "0000-00-00", "?")),
    ]
    records = [*map(CallRecord.from_dict, [good] * CALLS), *odd]
    in_pandas = pandas.DataFrame(r.flat() for r in records)
    in_polars = polars.DataFrame((r.flat() for r in records), schema=CallRecord.columns)
    relation = duckdb.from_arrow(in_polars.to_arrow())
    assert in_pandas["trans_at"].dtype.kind == "M"
    assert in_pandas["trans_at"].count() == in_polars["trans_at"].count() == len(records) - 4
    names = {"Ann", "\ufffd \x00 \r\n 👋"}
    assert set(in_pandas["user_name"]) == set(in_polars["user_name"]) == names
    assert {name for (name,) in relation.select("user_name").distinct().fetchall()} == names
    minutes = pytest.approx(len(records))
    assert in_pandas["user_minutes"].sum() == minutes
    assert in_polars["user_minutes"].sum() == minutes
    assert relation.sum("user_minutes").fetchall()[0][0] == minutes
