"""The figures of a report are those that DuckDB, and the sandbox's ledger, have for the same records."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from report.conftest import CALLS, Cli, assert_equal, figures, figures_of_duckdb, write_history

from videoapi.sandbox import Sandbox

GROUPS = ("--group-by", "user", "--group-by", "role")


def test_figures_of_an_export_equal_those_of_duckdb(january: Path, cli: Cli) -> None:
    found = figures(cli("report", january, "--json", *GROUPS))
    assert found["totals"]["records"] == CALLS
    assert_equal(found, figures_of_duckdb(january))


def test_figures_of_the_service_equal_those_of_its_records_and_its_ledger(
    sandbox: Sandbox, cli: Cli, folder: Path
) -> None:
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "all.jsonl", "--quiet").exit_code == 0
    # The windows of these responses are read again.
    sandbox.fault("cdr.by_period", "cut", times=3, at=0.6)
    found = figures(cli("report", "2026-01", "--json", *GROUPS))
    assert_equal(found, figures_of_duckdb(folder / "all.jsonl"))
    assert found["odd"]["repeated"] == 0
    history = sandbox.history
    assert {day["day"]: day["records"] for day in found["days"] if day["records"]} == {
        f"{day}": count for day, count in history.per_day().items()
    }
    first, last = min(history.per_day()), max(history.per_day())
    assert found["recordings"]["archives"] == history.archives(first, last) > 100
    assert sum(day["archives"] for day in found["recordings"]["days"]) == found["recordings"]["archives"]


@pytest.mark.parametrize("form", ["jsonl.gz", "csv", "csv.gz", "parquet"])
def test_every_format_has_the_same_figures(form: str, sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "all.jsonl", "--quiet").exit_code == 0
    expected = figures(cli("report", "all.jsonl", "--json", *GROUPS))
    path = folder / f"other.{form}"
    if form == "parquet":
        write_parquet(folder / "all.jsonl", path)
    elif form.startswith("csv"):
        assert cli("cdr", "export", "2026-01-01", "2026-01-31", "plain.csv", "--excel", "--quiet").exit_code == 0
        text = (folder / "plain.csv").read_bytes()
        path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    else:
        path.write_bytes(gzip.compress((folder / "all.jsonl").read_bytes()))
    found = figures(cli("report", "--from", path, "--json", *GROUPS))
    assert found.pop("source") == f"the export {path.name}"
    expected.pop("source")
    assert found == expected


def write_parquet(lines: Path, path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from videoapi import CallRecord
    from videoapi.arrow.schema import SCHEMA

    rows = [CallRecord.from_dict(json.loads(line)).flat() for line in lines.read_text().splitlines()]
    parquet.write_table(arrow.Table.from_pylist(rows, SCHEMA), path)


def test_folder_of_parquet_files_is_one_export(january: Path, cli: Cli, folder: Path) -> None:
    expected = figures(cli("report", january, "--json"))
    lines = january.read_text().splitlines(keepends=True)
    (folder / "days" / "deeper").mkdir(parents=True)
    for place, name in enumerate(("b.parquet", "deeper/a.parquet")):
        part = folder / "part.jsonl"
        part.write_text("".join(lines[place::2]))
        write_parquet(part, folder / "days" / name)
    found = figures(cli("report", "days", "--json"))
    assert found | {"source": ""} == expected | {"source": ""}


def test_data_set_is_read_as_its_manifest_says(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    pytest.importorskip("pyarrow")
    for kind in ("cdr", "archives"):
        done = cli(kind, "export", "2026-01-01", "2026-01-09", kind, "--partition", "day", "--quiet")
        assert done.exit_code == 0, done.output
    live = figures(cli("report", "2026-01-01", "2026-01-09", "--json"))
    found = figures(cli("report", "cdr", "--archives", "archives", "2026-01-01", "2026-01-09", "--json"))
    assert found | {"source": ""} == live | {"source": ""}
    assert found["recordings"]["archives"] > 10
    (first, *_, last) = sorted((folder / "cdr").glob("*.parquet"))
    last.rename(folder / "away.parquet")
    assert f"{last.name} is missing" in cli("report", "cdr", "--json").stderr
    (folder / "away.parquet").rename(last)
    last.with_name("copy.parquet").write_bytes(first.read_bytes())
    assert "copy.parquet is not in _manifest.json" in cli("report", "cdr", "--json").stderr
    last.with_name("copy.parquet").rename(last)
    refused = cli("report", "cdr", "--json")
    assert refused.exit_code == 2
    assert "rows, and _manifest.json says" in refused.stderr


def test_data_set_that_lacks_days_is_said_to(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    pytest.importorskip("pyarrow")
    done = cli("cdr", "export", "2026-01-01", "2026-01-09", "cdr", "--partition", "day", "--quiet")
    assert done.exit_code == 0, done.output
    asked = cli("report", "cdr", "2026-01-08", "2026-01-12", "--json", "--quiet")
    assert figures(asked)["source"] == "the export cdr, which has no file for 3 days of the period, from 2026-01-10"
    assert "cdr has no file for 3 days" in asked.stderr
    # An export that was interrupted.
    (folder / "cdr" / "_manifest.json").unlink()
    assert "no _manifest.json, so it may be incomplete" in figures(cli("report", "cdr", "--json"))["source"]
    assert "may be incomplete" in cli("report", "cdr", "--quiet").stderr
    assert "may be incomplete" in (folder / "usage-cdr.html").read_text()


def test_records_of_the_older_shape_have_no_counted_minutes_and_no_quality(cli: Cli, folder: Path) -> None:
    write_history(folder / "old.jsonl", 50, schema="old")
    found = figures(cli("report", "old.jsonl", "--json"))
    assert found["totals"]["counted_minutes"] is None
    assert found["totals"]["participant_minutes"] > 100
    assert all(one["not_measured"] == 50 for one in found["quality"])
    assert found["odd"]["without_owner_ref"] == 50
    assert cli("report", "old.jsonl", "--quiet").exit_code == 0


def test_days_of_another_time_zone_are_complete(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "all.jsonl", "--quiet").exit_code == 0
    duckdb = pytest.importorskip("duckdb")
    duckdb.execute("SET TimeZone = 'Asia/Kolkata'")
    per_day = dict(
        duckdb.execute(
            "SELECT (trans_date::TIMESTAMPTZ)::DATE::VARCHAR, count(*) FROM read_json('all.jsonl') GROUP BY 1"
        ).fetchall()
    )
    found = figures(cli("report", "2026-01-05", "2026-01-09", "--timezone", "Asia/Kolkata", "--json"))
    days = {day["day"]: day["records"] for day in found["days"]}
    assert days == {f"2026-01-0{day}": per_day[f"2026-01-0{day}"] for day in range(5, 10)}
    assert found["odd"]["outside"] == 0
    of_file = figures(cli("report", "2026-01-05", "2026-01-09", "all.jsonl", "--timezone", "Asia/Kolkata", "--json"))
    assert of_file["days"] == found["days"]
    assert of_file["odd"]["outside"] == CALLS - sum(days.values())


def test_archives_of_an_export_are_in_the_report(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    for name in ("calls.jsonl", "archives.csv", "archives.jsonl"):
        kind = "cdr" if name.startswith("calls") else "archives"
        assert cli(kind, "export", "2026-01-01", "2026-01-31", name, "--quiet").exit_code == 0
    expected = figures(cli("report", "2026-01", "--json"))["recordings"]
    for name in ("archives.csv", "archives.jsonl"):
        found = figures(cli("report", "2026-01", "calls.jsonl", "--archives", name, "--json"))
        assert found["recordings"] == expected
    assert figures(cli("report", "calls.jsonl", "--json"))["recordings"] is None


def test_one_room_and_one_session(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    room_id, conf_num = sandbox.history.room_ids()[0], sandbox.history.conf_nums()[0]
    assert cli("cdr", "export", "2026-01-01", "2026-01-31", "all.jsonl", "--quiet").exit_code == 0
    for scope in (("--room", room_id), ("--conference", conf_num)):
        live = figures(cli("report", *scope, "--json"))
        of_file = figures(cli("report", "all.jsonl", *scope, "--json"))
        assert live["totals"] == of_file["totals"]
        assert live["totals"]["rooms"] == 1
        assert 0 < live["totals"]["records"] < CALLS
    assert live["totals"]["sessions"] == 1
