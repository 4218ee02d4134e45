"""The figures of a report are those that DuckDB, and the sandbox's ledger, have for the same records."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report.conftest import CALLS, Cli, assert_equal, figures, figures_of_duckdb, write_history

from videoapi import new_reference
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
    assert found["source"] == f"the export {path.name}"
    assert without_source(found) == without_source(expected)


def without_source(found: dict[str, Any]) -> dict[str, Any]:
    """Return figures without the source, what it says about itself, and what CSV and Parquet files do not show."""
    return {
        **found,
        "source": "",
        "as_of": None,
        "complete": None,
        "unstated_days": [],
        "odd": {**found["odd"], "odd_fields": None},
    }


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
    assert without_source(found) == without_source(expected)


def test_data_set_is_read_as_its_manifest_says(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    pytest.importorskip("pyarrow")
    for kind in ("cdr", "archives"):
        done = cli(kind, "export", "2026-01-01", "2026-01-09", kind, "--partition", "day", "--quiet")
        assert done.exit_code == 0, done.output
    live = figures(cli("report", "2026-01-01", "2026-01-09", "--json"))
    found = figures(cli("report", "cdr", "--archives", "archives", "2026-01-01", "2026-01-09", "--json"))
    assert without_source(found) == without_source(live)
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


def test_days_that_a_data_set_does_not_have_are_named(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    pytest.importorskip("pyarrow")
    room = sandbox.history.room_ids(1)[0]
    for kind, first, last in (
        ("cdr", "2026-01-05", "2026-01-09"),
        ("cdr", "2026-01-12", "2026-01-20"),
        ("archives", "2026-01-01", "2026-01-30"),
    ):
        limit = ("--room", room) if kind == "cdr" else ()
        done = cli(kind, "export", first, last, kind, "--partition", "day", "--quiet", *limit)
        assert done.exit_code == 0, done.output
    missing = [
        {"records": "cdr", "first": "2026-01-01", "last": "2026-01-04"},
        {"records": "cdr", "first": "2026-01-10", "last": "2026-01-11"},
        {"records": "cdr", "first": "2026-01-21", "last": "2026-01-31"},
        {"records": "archives", "first": "2026-01-31", "last": "2026-01-31"},
    ]
    command = ("report", "cdr", "--archives", "archives", "2026-01")
    found = figures(cli(*command, "--json"), complete=False)
    assert (found["missing_days"], found["scope"]) == (missing, f"room {room}")
    told = cli(*command)
    assert "no call records of 2026-01-10 to 2026-01-11 (UTC)" in told.stderr
    page = (folder / "usage-2026-01.html").read_text()
    assert "no archives of 31 January 2026 (UTC): they are not in any figure" in page
    assert figures(cli("report", "cdr", "2026-01-05", "2026-01-09", "--json"))["missing_days"] == []
    shifted = cli("report", "cdr", "2026-01-05", "2026-01-08", "--timezone", "Asia/Kolkata", "--json")
    assert figures(shifted, complete=False)["missing_days"] == [
        {"records": "cdr", "first": "2026-01-04", "last": "2026-01-04"}
    ]
    # Before there is a manifest, such as after a kill.
    (folder / "cdr" / "_manifest.json").unlink()
    assert figures(cli(*command, "--json"), complete=False)["missing_days"] == missing


def test_records_of_the_older_shape_have_no_counted_minutes_and_no_quality(cli: Cli, folder: Path) -> None:
    write_history(folder / "old.jsonl", 50, schema="old")
    found = figures(cli("report", "old.jsonl", "--json"))
    assert found["totals"]["counted_minutes"] is None
    assert found["totals"]["participant_minutes"] > 100
    assert all(one["not_measured"] == 50 for one in found["quality"])
    assert found["odd"]["without_owner_ref"] == 50
    assert "By owner_ref" in cli("report", "old.jsonl", "-o", "-", "--quiet").stdout


def test_reference_of_the_client_is_no_customer(january: Path, cli: Cli, folder: Path) -> None:
    records = [json.loads(line) for line in january.read_text().splitlines()]
    for form in ("none", "reference"):
        for record in records[::3]:
            details = record["room"]["room_details"]
            details["owner_ref"] = new_reference() if form == "reference" else None
        for record in records[1::3]:
            # Of a room with an owner_ref, the reference is in its data.
            record["room"]["room_details"]["data"] = {"videoapi_ref": new_reference()}
        (folder / f"{form}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    expected = figures(cli("report", "none.jsonl", "--json"))
    found = figures(cli("report", "reference.jsonl", "page.html", "--json"))
    assert found == expected | {"source": found["source"]}
    assert found["odd"]["without_owner_ref"] == len(records[::3])
    assert not re.search("vx[a-z2-7]{26}", (folder / "page.html").read_text())


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


def test_odd_archives_do_not_cost_the_others(cli: Cli, folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder / "calls.jsonl").write_text(json.dumps({"conf_num": "c", "trans_date": "2026-01-05T10:00:00Z"}) + "\n")
    deep = "[" * 100_000
    (folder / "deep.csv").write_text(
        f"_id,trans_date,recording,transcoded\na,2026-01-05T10:00:00Z,{deep},\nb,2026-01-05T10:00:00Z,,\n"
    )
    (folder / "deep.csv.rejected.jsonl").write_text('{"more": 1e999}\n{"window": ' + deep + "\n")
    (folder / "deep.csv.state").write_text('{"question": ' + deep)
    texts: dict[str, Any] = {name: [deep, None] for name in ("recording", "transcoded", "chatdata", "metadata")}
    columns = {"archive_id": ["a", "b"], **texts}
    for name, times in (("far", [1 << 60, None]), ("day", [1_767_607_200_000, None])):
        table = pyarrow.table({**columns, "trans_at": pyarrow.array(times, pyarrow.timestamp("ms", "UTC"))})
        parquet.write_table(table, folder / f"{name}.parquet")
    command = ("report", "calls.jsonl", "--json", "--archives")
    for name, days in (("deep.csv", 2), ("far.parquet", 0), ("day.parquet", 1)):
        told = cli(*command, name)
        found = figures(told, complete=None if days == 2 else False)
        assert found["recordings"]["archives"] == 2, told.output
        assert sum(day["archives"] or 0 for day in found["recordings"]["days"]) == days
        assert found["odd"]["unreadable_values"] == 2 - days
    parquet.write_table(pyarrow.table({**columns, "trans_at": ["x", "y"]}), folder / "text.parquet")
    parquet.write_table(pyarrow.table({"archive_id": ["a"]}), folder / "few.parquet")
    assert "text.parquet: the column 'trans_at' is of the type string" in cli(*command, "text.parquet").stderr
    assert "few.parquet is not an export of archives" in cli(*command, "few.parquet").stderr


@pytest.mark.parametrize("spoil", [("size", -1), ("exported", "0001-01-01T00:00:00Z")])
def test_odd_state_does_not_cost_the_report(spoil: tuple[str, Any], sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", "2026-01-05", "2026-01-05", "all.jsonl", "--quiet").exit_code == 0
    state = folder / "all.jsonl.state"
    name, value = spoil
    state.write_text(json.dumps({**json.loads(state.read_text()), name: value}))
    assert figures(cli("report", "all.jsonl", "--json"))["totals"]["records"] > 0


@pytest.mark.parametrize(("year", "zone"), [("9999", "Pacific/Honolulu"), ("0001", "Pacific/Kiritimati")])
def test_first_and_last_year_have_a_report(year: str, zone: str, cli: Cli, folder: Path) -> None:
    (folder / "calls.jsonl").write_text(json.dumps({"conf_num": "c", "trans_date": "2026-01-05T10:00:00Z"}) + "\n")
    told = cli("report", year, "calls.jsonl", "--json", "--timezone", zone)
    assert figures(told, complete=None if year == "0001" else False)["period"] == {
        "first": f"{year}-01-01",
        "last": f"{year}-12-31",
    }
    assert f"has no call records of {year}." in told.stderr


def test_export_in_the_current_folder_has_the_name_of_the_folder(
    sandbox: Sandbox, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    words = ("2026-01-05", "2026-01-06", "january", "--partition", "day", "--quiet")
    assert cli("cdr", "export", *words).exit_code == 0
    monkeypatch.chdir("january")
    told = cli("report", ".", "--json", "page.html")
    assert figures(told)["source"] == "the export january"
    assert cli("report", ".").stdout == "usage-january.html\n"


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


def test_odd_records_have_the_same_figures_in_every_format(sandbox: Sandbox, cli: Cli, folder: Path) -> None:
    record = {
        "cdr_id": "1", "conf_num": "c", "trans_date": "2026-01-31T23:59:59.9996Z",
        "room": {"room_id": "r", "connect_dt": "2026-01-31T23:00:00Z", "disconnect_dt": "2026-01-31T23:30:00.9996Z"},
        "user": {"ref": "u", "agent": "x" * 200_000},
        "sigserver": {"duration": 60, "connect_dt": [1], "disconnect_dt": {}},
        "stats_quality": {"receive": {"video": {"bitrate_good_percent": 10**30}}},
    }  # fmt: skip
    sandbox.fault("cdr.by_period", 200, times=None, body=json.dumps({"result": "0", "cdr": [record]}))
    found = [figures(cli("report", "2026-01", "--json"), complete=False)]
    for name in ("all.jsonl", "all.csv", "all.parquet"):
        assert cli("cdr", "export", "2026-01-01", "2026-01-31", name, "--quiet").exit_code == 0
        found.append(figures(cli("report", "2026-01", name, "--json"), complete=False))
    assert [one["odd"]["unreadable_values"] for one in found] == [3, 3, 3, 3]
    assert [one["odd"]["odd_fields"] for one in found] == [3, 3, None, None]
    assert found[0]["days"][-1]["records"] == 1
    for one in found:
        assert without_source(one) | {"recordings": None} == without_source(found[0]) | {"recordings": None}


def test_archives_on_days_without_a_call_record_are_in_the_table(cli: Cli, folder: Path) -> None:
    (folder / "calls.jsonl").write_text(json.dumps({"conf_num": "c", "trans_date": "2026-01-05T10:00:00Z"}))
    (folder / "archives.jsonl").write_text(json.dumps({"_id": "a", "trans_date": "2026-01-07T10:00:00Z"}))
    found = figures(cli("report", "calls.jsonl", "--archives", "archives.jsonl", "--json"))
    assert found["period"] == {"first": "2026-01-05", "last": "2026-01-07"}
    # The files do not say which days they have.
    assert found["recordings"]["days"] == [
        {"day": "2026-01-05", "archives": None},
        {"day": "2026-01-06", "archives": None},
        {"day": "2026-01-07", "archives": 1},
    ]
