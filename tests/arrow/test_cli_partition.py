"""`videoapi cdr export --partition day`: one file per day, a manifest, and a repetition that continues."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pyarrow import parquet
from support.exported import contents

from videoapi.arrow.data_set import DataSet
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 31)


def export(cli: Cli, out: str, *more: object, code: int = 0) -> Result:
    result = cli("cdr", "export", FIRST, LAST, out, "--partition", "day", *more)
    assert result.exit_code == code, result.output
    return result


def test_each_day_has_a_file_and_the_manifest_lists_them(cli: Cli, folder: Path) -> None:
    report = json.loads(export(cli, "data", "--json").stdout)
    manifest = json.loads((folder / "data" / "_manifest.json").read_text())
    notes = manifest["files"]
    assert [note["first"] for note in notes] == [f"{FIRST + timedelta(n)}" for n in range(31)]
    assert report["files"] == notes
    assert report["records"] == sum(note["rows"] for note in notes) == 600
    for note in notes:
        path = folder / "data" / note["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == note["sha256"]
        times = parquet.read_table(path).column("trans_at").to_pylist()
        assert {f"{when.date()}" for when in times} <= {note["first"]}
    assert parquet.read_table(folder / "data").num_rows == 600
    assert "token" not in (folder / "data" / "_manifest.json").read_text()


def test_complete_files_are_counted_with_the_option_that_reads_them_again(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    advice = "To read all again, also records that the service added later, give --overwrite."
    assert "--overwrite" not in export(cli, "data").stderr
    again = export(cli, "data")
    assert f"31 files were complete, and stay as they are. {advice}\n" in again.stderr
    next((folder / "data").glob("cdr-2026-01-07.parquet")).unlink()
    assert "30 files were complete, and stay as they are." in export(cli, "data").stderr
    assert "complete, and stay" not in export(cli, "data", "--overwrite").stderr
    requests = sandbox.ledger.requests()
    assert export(cli, "data", "--quiet").stderr == ""
    assert sandbox.ledger.requests() == requests


def test_failed_export_continues_and_ends_with_the_same_bytes(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    export(cli, "whole", "--quiet")
    sandbox.fault("cdr.by_period", "suspended", times=None, after=3)
    result = export(cli, "data", code=5)
    assert "files are complete in data. To continue" in result.stderr
    done = [path.name for path in (folder / "data").glob("*.parquet")]
    assert 0 < len(done) < 31
    assert not (folder / "data" / "_manifest.json").exists()
    sandbox.clear_faults()
    export(cli, "data", "--quiet")
    assert contents(folder / "data") == contents(folder / "whole")
    sandbox.fault("cdr.by_period", "suspended", times=None)
    assert "600 records of 31 files" in export(cli, "data").stderr


def test_full_disk_is_named_with_its_file(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert export(cli, "data").exit_code == 0
    (folder / "data" / "cdr-2026-01-05.parquet").unlink()
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device: data/cdr-2026-01-05.parquet" in export(cli, "data", code=1).stderr


def test_disk_that_is_full_at_the_manifest_leaves_files_to_continue(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data_set: DataSet) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(DataSet, "write_manifest", full)
    assert "31 files are complete in data. To continue, repeat" in export(cli, "data", code=1).stderr


def test_records_without_a_readable_date_have_files_of_their_own(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    rows = [{"cdr_id": "a", "trans_date": f"{LAST}T10:00:00.000Z"}, {"cdr_id": "b", "trans_date": "31/01/2026"}, 17]
    empty: dict[str, Any] = {"result": "0", "cdr": []}
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body=empty)
    sandbox.plan([("status", {"status": 200, "body": {"result": "0", "cdr": rows}})], "cdr.by_period")
    result = cli("cdr", "export", LAST, LAST, "data", "--partition", "day", "--json")
    assert result.exit_code == 6, result.output
    report = json.loads(result.stdout)
    assert [(note["file"], note["rows"]) for note in report["files"]] == [
        ("cdr-undated-2026-01-31.parquet", 1),
        ("cdr-2026-01-31.parquet", 1),
    ]
    assert (report["undated"], report["rejected"]) == (1, 1)
    assert "1 record could not be read" in result.stderr
    # Known without another reading, too.
    again = cli("cdr", "export", LAST, LAST, "data", "--partition", "day", "--json")
    assert (again.exit_code, json.loads(again.stdout)["rejected"]) == (6, 1)
    assert json.loads(again.stdout)["files"] == report["files"]


def test_records_without_a_date_or_form_are_there_once_though_the_period_grows(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    rows = [{"cdr_id": "b", "trans_date": "31/01/2026"}, 17]
    for last in ("2026-01-06", "2026-01-07"):
        sandbox.plan([("status", {"status": 200, "body": {"result": "0", "cdr": rows}})], "cdr.by_period")
        result = cli("cdr", "export", "2026-01-05", last, "data", "--partition", "day", "--overwrite", "--json")
        assert json.loads(result.stdout)["rejected"] == 1
    assert [path.name for path in (folder / "data").glob("*undated*")] == ["cdr-undated-2026-01-05_2026-01-07.parquet"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-",), "Give the name of a folder"),
        (("out.csv",), "Give the name of a folder"),
        (("data", "--format", "jsonl"), "Give the name of a folder"),
        (("data", "--cursor", "x"), "--cursor is for a single file"),
        (("data", "--fresh"), "--fresh is for a single file"),
        (("data", "--excel"), "--excel is for a single file"),
        (("taken",), "taken is a file"),
    ],
)
def test_options_of_a_single_file_are_refused(cli: Cli, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    (folder / "taken").write_bytes(b"mine")
    result = export(cli, *arguments, code=2)
    assert said in result.stderr
    assert [path.name for path in folder.iterdir()] == ["taken"]


def test_partition_needs_a_period(cli: Cli, folder: Path) -> None:
    result = cli("cdr", "export", "--conference", "c1", "data", "--partition", "day")
    assert result.exit_code == 2
    assert "needs the days FROM and TO" in result.stderr
    assert cli("cdr", "export", LAST, FIRST, "data", "--partition", "day").exit_code == 2
    assert not (folder / "data").exists()


def test_folder_of_another_room_is_refused(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    room_id = sandbox.history.room_ids(1)[0]
    export(cli, "data", "--quiet", "--room", room_id)
    assert "other records: room" in export(cli, "data", code=5).stderr


def test_archives_are_partitioned(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("archives", "export", FIRST, LAST, "data", "--partition", "day").exit_code == 0
    assert parquet.read_table(folder / "data").num_rows == sandbox.history.archives(FIRST, LAST)


_WITHOUT_EXTRAS = """
import importlib.util, sys

missing = ("pyarrow", "plotly", "redis", "taskiq", "dask")
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in missing else find(name, *more)
sys.modules |= dict.fromkeys(missing)

from videoapi.cli import main

main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("cdr", "export", "2026-01-01", "2026-01-02", "data", "--partition", "day"),
        ("archives", "export", "2026-01-01", "2026-01-02", "data", "--partition", "day"),
        ("archives", "export", "2026-01-01", "2026-01-02", "out.parquet"),
        ("rooms", "export", "out.parquet"),
        ("report", "calls.parquet", "--json"),
    ],
    ids=" ".join,
)
def test_missing_extra_is_named_by_each_command(
    environment: dict[str, str], folder: Path, words: Sequence[str]
) -> None:
    (folder / "calls.parquet").touch()
    command = [sys.executable, "-c", _WITHOUT_EXTRAS, *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "pip install 'videoapi[data]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "data").exists()
