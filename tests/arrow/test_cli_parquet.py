"""`videoapi cdr export out.parquet`: all options of an export, and sums equal to those of the other formats."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import Result
from pyarrow import parquet

from videoapi.arrow import spool
from videoapi.cli import export_file
from videoapi.cli.export_file import ExportFile
from videoapi.files import lock
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 31)
SUMMED = ("user_minutes", "room_seconds", "connect_minutes", "send_video_avg_bitrate")


def export(cli: Cli, out: str, *more: object, code: int = 0) -> Result:
    result = cli("cdr", "export", FIRST, LAST, out, *more)
    assert result.exit_code == code, result.output
    return result


def test_three_formats_have_equal_counts_and_sums(cli: Cli, folder: Path) -> None:
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        export(cli, name, "--quiet")
    table = parquet.read_table(folder / "out.parquet")
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert table.num_rows == len(rows) == len(records) == 600
    for name in SUMMED:
        values = table.column(name).to_pylist()
        assert sum(value or 0 for value in values) == sum(float(row[name] or 0) for row in rows)
    seconds = sum(record["sigserver"].get("duration") or 0 for record in records)
    assert sum(table.column("user_seconds").to_pylist()) == pytest.approx(seconds)
    assert table.column("cdr_id").to_pylist() == [record["cdr_id"] for record in records]


def test_report_has_the_digest_of_the_file_and_a_repetition_keeps_it(cli: Cli, folder: Path) -> None:
    import hashlib

    report = json.loads(export(cli, "out.parquet", "--json").stdout)
    assert report["records"] == 600
    data = (folder / "out.parquet").read_bytes()
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == ["out.parquet", "out.parquet.state"]
    assert "is complete" in export(cli, "out.parquet").stderr
    (folder / "out.parquet").write_bytes(data[:-1] + b"x")
    assert "was changed since" in export(cli, "out.parquet", code=2).stderr


def test_failed_export_resumes_and_has_the_same_bytes(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(cli, "whole.parquet", "--quiet")
    monkeypatch.setattr(export_file, "SAVE_EVERY", 0.0)
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    result = export(cli, "out.parquet", code=5)
    assert "To continue, repeat the command" in result.stderr
    assert not (folder / "out.parquet").exists()
    assert (folder / "out.parquet.part").stat().st_size > 0
    sandbox.clear_faults()
    assert "Continuing after" in export(cli, "out.parquet").stderr
    assert (folder / "out.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert not (folder / "out.parquet.part").exists()


def test_rest_after_a_cursor_can_be_written_to_another_file(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    cursor = re.search(r"--cursor (\S+)", export(cli, "out.parquet", code=5).stderr)
    assert cursor is not None
    state = json.loads((folder / "out.parquet.state").read_text())
    sandbox.clear_faults()
    export(cli, "rest.parquet", "--cursor", cursor[1])
    assert parquet.read_table(folder / "rest.parquet").num_rows == 600 - state["records"]


def test_cut_bodies_do_not_change_the_bytes(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    export(cli, "whole.parquet", "--quiet")
    sandbox.fault("cdr.by_period", "cut", times=3, at=0.6)
    export(cli, "out.parquet", "--quiet")
    assert (folder / "out.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


@pytest.mark.parametrize("where", ["before", "after"])
def test_kill_while_the_part_is_converted_costs_nothing(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    export(cli, "whole.parquet", "--quiet")
    real = ExportFile._write_result

    def killed(self: ExportFile, convert: Any) -> None:
        if where == "after":
            real(self, convert)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExportFile, "_write_result", killed)
        assert cli("cdr", "export", FIRST, LAST, "out.parquet").exit_code != 0
    assert not (folder / "out.parquet").exists()
    sandbox.fault("cdr.by_period", "suspended", times=None)
    export(cli, "out.parquet", "--quiet")
    assert (folder / "out.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert sorted(path.name for path in folder.glob("out*")) == ["out.parquet", "out.parquet.state"]


def killed_export(folder: Path, *more: str, at: str) -> None:
    """Run an export that is killed once it has called a function of `os` with the final name."""
    program = f"""
import os, signal
real = os.{at}
def killed(*words, **options):
    real(*words, **options)
    if "out.parquet" in words:
        os.kill(os.getpid(), signal.SIGKILL)
os.{at} = killed
from videoapi.cli import main
main()
"""
    command = [sys.executable, "-c", program, "cdr", "export", f"{FIRST}", f"{LAST}", "out.parquet", *more]
    killed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.parametrize(("more", "at"), [((), "link"), (("--overwrite",), "replace")])
def test_export_killed_after_it_got_its_name_is_tidied_up_when_repeated(
    cli: Cli, sandbox: Sandbox, folder: Path, more: tuple[str, ...], at: str
) -> None:
    killed_export(folder, *more, at=at)
    whole = (folder / "out.parquet").read_bytes()
    assert (folder / "out.parquet.part").exists()
    assert "It stays as it is" in export(cli, "out.parquet").stderr
    assert sorted(path.name for path in folder.iterdir()) == ["out.parquet", "out.parquet.state"]
    assert (folder / "out.parquet").read_bytes() == whole


@pytest.mark.parametrize("what", ["other part", "part that is being written", "link"])
def test_files_that_a_killed_export_has_not_left_stay(cli: Cli, sandbox: Sandbox, folder: Path, what: str) -> None:
    killed_export(folder, at="link")
    part, converted = folder / "out.parquet.part", folder / "out.parquet.converted"
    converted.unlink()
    kept = part
    with part.open("ab") as file:
        if what == "link":
            kept = converted
            kept.symlink_to("out.parquet")
        elif what == "other part":
            file.write(b"and more")
            file.flush()
        else:
            assert lock(file.fileno())
        export(cli, "out.parquet")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["out.parquet", "out.parquet.state", kept.name])


def test_converted_file_that_is_of_no_export_stays(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    beside = folder / "out.parquet.converted"
    beside.write_bytes(b"mine")
    assert "out.parquet.converted would be overwritten" in export(cli, "out.parquet", "--overwrite", code=2).stderr
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(beside.name, b"mine")]
    assert sandbox.ledger.requests() == 0


def test_fresh_export_removes_what_a_killed_conversion_has_left(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: ExportFile, convert: Any) -> None:
        self.out.with_name("out.parquet.converted").write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExportFile, "_write_result", killed)
        assert cli("cdr", "export", FIRST, LAST, "out.parquet").exit_code != 0
    sandbox.fault("cdr.by_period", "suspended", times=None)
    assert cli("cdr", "export", FIRST, LAST, "out.parquet", "--fresh").exit_code != 0
    sandbox.clear_faults()
    export(cli, "out.parquet", "--quiet")
    assert sorted(path.name for path in folder.iterdir()) == ["out.parquet", "out.parquet.state"]


def test_part_that_was_converted_already_does_not_stand_for_a_new_export(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videoapi.files.part_file.PartFile._is_ours", lambda self, file: True)
    with monkeypatch.context() as patch:
        # As if killed after the rename.
        patch.setattr("videoapi.files.part_file.PartFile._unlink", lambda self, name: None)
        export(cli, "out.parquet", "--quiet")
    assert (folder / "out.parquet.part").exists()
    empty = {"result": "0", "cdr": []}
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body=empty)
    export(cli, "out.parquet", "--quiet", "--overwrite")
    assert parquet.read_table(folder / "out.parquet").num_rows == 0


def test_existing_file_is_not_replaced_unasked(cli: Cli, folder: Path) -> None:
    (folder / "out.parquet").write_bytes(b"mine")
    export(cli, "out.parquet", code=2)
    assert (folder / "out.parquet").read_bytes() == b"mine"
    export(cli, "out.parquet", "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-", "--format", "parquet"), "Parquet cannot be written to stdout"),
        (("out.parquet", "--excel"), "--excel is for .csv files"),
        (("out.parquet", "--format", "csv"), "contradicts the name"),
        (("out.csv", "--format", "parquet"), "contradicts the name"),
        (("out.feather",), ".jsonl, .csv or .parquet"),
    ],
)
def test_wrong_options_are_refused(cli: Cli, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    result = cli("cdr", "export", FIRST, LAST, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(folder.iterdir()) == []


def test_missing_pyarrow_is_said_before_anything_is_written(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = cli("cdr", "export", FIRST, LAST, "out.parquet")
    assert result.exit_code == 5
    assert "pip install 'videoapi[data]'" in result.stderr
    assert list(folder.iterdir()) == []


def test_repetition_says_that_the_period_had_not_ended(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videoapi.arrow.periods.utc_now", lambda: datetime(2026, 1, 28, 12, tzinfo=UTC))
    assert "The period has not ended (its last day is 2026-01-31)" in export(cli, "out.parquet").stderr
    again = cli("cdr", "export", FIRST, LAST, "out.parquet")
    assert again.exit_code == 2
    assert "was exported on 2026-01-28, before its period had ended" in again.stderr


def test_odd_fields_and_unreadable_records_are_counted(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    good = {"cdr_id": "a", "trans_date": f"{LAST}T10:00:00.000Z", "sip": [1], "user": {"token": "secret-token"}}
    body = {"result": "0", "cdr": [good, 17, {**good, "cdr_id": "b"}]}
    sandbox.plan([("status", {"status": 200, "body": body})], "cdr.by_period")
    result = cli("cdr", "export", LAST, LAST, "out.parquet")
    assert result.exit_code == 6
    assert "which are null: sip (2)" in result.stderr
    table = parquet.read_table(folder / "out.parquet")
    assert table.column("sip").to_pylist() == [None, None]
    assert b"secret-token" not in (folder / "out.parquet").read_bytes()
    assert len((folder / "out.parquet.rejected.jsonl").read_text().splitlines()) == 1


def test_archives_are_exported(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("archives", "export", FIRST, LAST, "out.parquet").exit_code == 0
    assert parquet.read_table(folder / "out.parquet").num_rows == sandbox.history.archives(FIRST, LAST)


def test_rooms_are_exported_without_pins(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    for n in range(3):
        assert cli("rooms", "create", "--name", f"Room {n}", "--sip").exit_code == 0
    result = cli("rooms", "export", "rooms.parquet", "--json")
    assert result.exit_code == 0, result.output
    table = parquet.read_table(folder / "rooms.parquet")
    assert json.loads(result.stdout)["records"] == table.num_rows >= 3
    assert set(table.column("name").to_pylist()) >= {"Room 0", "Room 1", "Room 2"}
    for text in filter(None, table.column("sip").to_pylist()):
        assert json.loads(text).get("pin") in (None, "***")
    assert "rooms.parquet was exported on" in cli("rooms", "export", "rooms.parquet").stderr
    assert cli("rooms", "export", "rooms.csv").exit_code == 2


def test_help_names_the_format_and_its_extra(cli: Cli) -> None:
    said = " ".join(cli("cdr", "export", "--help").stdout.split())
    assert ".parquet" in said
    assert "pip install 'videoapi[data]'" in said


def test_disk_that_is_full_at_the_footer_leaves_a_part_to_continue(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: Path, file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(spool, "convert", full)
        stopped = export(cli, "out.parquet", code=1)
    assert "600 records are saved in out.parquet.part. Free some space, and repeat" in stopped.stderr
    export(cli, "out.parquet")
    assert parquet.read_table(folder / "out.parquet").num_rows == 600
