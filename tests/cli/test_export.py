"""`videoapi cdr export` and `videoapi archives export`: complete files, or a part to resume."""

import csv
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from videoapi.cli import csv_rows
from videoapi.cli.csv_rows import csv_line
from videoapi.cli.export_file import ExportFile
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
LAST = date(2026, 3, 31)
FIRST = LAST - timedelta(days=30)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a month of history."""
    with Sandbox(seed=7, calls=900, today=LAST, file_hours=None).in_thread() as running:
        yield running


def test_jsonl_export_contains_every_record(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["records"] == 900
    assert report["rejected"] == 0
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len({record["cdr_id"] for record in records}) == 900
    assert (folder / "out.jsonl").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["out.jsonl", "out.jsonl.state"]
    assert (folder / "out.jsonl.state").stat().st_mode & 0o777 == 0o600


def test_csv_export_contains_the_same_records(cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.csv", "--quiet").exit_code == 0
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--quiet").exit_code == 0
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["cdr_id"] for row in rows] == [record["cdr_id"] for record in records]
    assert [row["user_name"] for row in rows] == [record["user"]["name"] for record in records]
    assert float(rows[0]["room_seconds"]) == records[0]["room"]["duration"]


def test_export_can_be_limited_to_one_room(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    room_id = sandbox.history.room_ids(1)[0]
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--room", room_id).exit_code == 0
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert {record["room"]["room_id"] for record in records} == {room_id}


def test_archives_are_exported(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("archives", "export", FIRST, LAST, "out.csv").exit_code == 0
    with (folder / "out.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == sandbox.history.archives(FIRST, LAST)


def _broken(sandbox: Sandbox) -> None:
    good = {"cdr_id": "a", "trans_date": f"{LAST}T10:00:00.000Z", "colour": "red", "user": {"name": "=1+1"}}
    body = {"result": "0", "cdr": [good, "no record", [good], {**good, "cdr_id": "c"}]}
    serve(sandbox, body)


def serve(sandbox: Sandbox, body: dict[str, object] | str) -> None:
    """Answer the next request with a body, and all others without records."""
    empty = {"result": "0", "cdr": []}
    sandbox.clear_faults()
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body=empty)
    sandbox.plan([("status", {"status": 200, "body": body})], "cdr.by_period")


def test_unreadable_records_are_listed_in_a_separate_file(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    _broken(sandbox)
    result = cli("cdr", "export", LAST, LAST, "out.csv", "--json")
    assert result.exit_code == 6, result.output
    assert json.loads(result.stdout)["rejected"] == 2
    rejected = [json.loads(line) for line in (folder / "out.csv.rejected.jsonl").read_text().splitlines()]
    assert [one["index"] for one in rejected] == [1, 2]
    assert all(one["reason"] for one in rejected)
    assert (folder / "out.csv.rejected.jsonl").stat().st_mode & 0o777 == 0o600
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["cdr_id"] for row in rows] == ["a", "c"]
    assert rows[0]["user_name"] == "'=1+1"
    assert json.loads(rows[0]["extra"]) == {"colour": "red"}


def test_clean_export_removes_an_earlier_list_of_rejected_records(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    _broken(sandbox)
    assert cli("cdr", "export", LAST, LAST, "out.csv", "--quiet").exit_code == 6
    sandbox.clear_faults()
    assert cli("cdr", "export", LAST, LAST, "out.csv", "--quiet", "--overwrite").exit_code == 0
    assert not (folder / "out.csv.rejected.jsonl").exists()


@pytest.mark.parametrize("tail", [".rejected.jsonl", ".state"])
@pytest.mark.parametrize("kind", ["text", "other records", "link", "directory"])
def test_files_next_to_an_export_that_are_of_no_export_stay(
    cli: Cli, sandbox: Sandbox, folder: Path, tail: str, kind: str
) -> None:
    beside = folder / f"out.csv{tail}"
    text = b'{"order": 1}\n' if kind == "other records" else b"my notes\n"
    target = folder / "target"
    if kind == "link":
        target.write_bytes(text)
        beside.symlink_to(target)
    elif kind == "directory":
        beside.mkdir()
    else:
        beside.write_bytes(text)
    names = sorted(folder.iterdir())
    for options in ((), ("--fresh",), ("--overwrite",)):
        refused = cli("cdr", "export", FIRST, LAST, "out.csv", *options)
        assert refused.exit_code == 2, refused.output
        assert f"{beside.name} would be overwritten" in refused.stderr
    assert sandbox.ledger.requests() == 0
    assert sorted(folder.iterdir()) == names
    assert beside.is_dir() or beside.read_bytes() == text


def test_strict_stops_at_the_first_unreadable_record(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    _broken(sandbox)
    result = cli("cdr", "export", LAST, LAST, "out.jsonl", "--strict")
    assert result.exit_code == 6, result.output
    assert not (folder / "out.jsonl").exists()
    for command in (("export", LAST, LAST, "-"), ("list", LAST, LAST)):
        _broken(sandbox)
        result = cli("cdr", *command, "--strict")
        assert result.exit_code == 6, result.output
        assert "--cursor" in result.stderr


def test_strict_command_that_fails_otherwise_has_the_code_of_its_error(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    sandbox.fault("cdr.by_period", "suspended", times=None)
    for command in (("export", LAST, LAST, "out.jsonl"), ("export", LAST, LAST, "-"), ("list", LAST, LAST)):
        assert cli("cdr", *command, "--strict").exit_code == 5


def test_failed_export_resumes_from_its_cursor(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "whole.jsonl", "--quiet").exit_code == 0
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert result.exit_code == 5, result.output
    assert not (folder / "out.jsonl").exists()
    part = (folder / "out.jsonl.part").read_text().splitlines()
    assert 0 < len(part) < 900
    cursor = re.search(r"--cursor (\S+)", result.stderr)
    assert cursor is not None
    sandbox.clear_faults()
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor[1]).exit_code == 0
    assert (folder / "out.jsonl").read_text() == (folder / "whole.jsonl").read_text()
    names = ["out.jsonl", "out.jsonl.state", "whole.jsonl", "whole.jsonl.state"]
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("kind", ["cdr", "archives"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
@pytest.mark.parametrize("after", [0, 2])
def test_export_continues_after_its_time_limit(
    cli: Cli, sandbox: Sandbox, folder: Path, kind: str, name: str, after: int
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    assert cli(kind, "export", FIRST, LAST, f"once-{name}").exit_code == 0
    sandbox.fault(f"{kind}.by_period", "hang", times=None, after=after)
    failed = cli(kind, "export", FIRST, LAST, name, "--timeout", 1)
    assert failed.exit_code == 5, failed.output
    assert "the stream's timeout of 1 s ended" in failed.stderr
    assert "Cannot write" not in failed.stderr
    assert ("To continue, repeat the command" in failed.stderr) == bool(after)
    sandbox.clear_faults()
    repeated = cli(kind, "export", FIRST, LAST, name, "--json")
    assert repeated.exit_code == 0, repeated.output
    assert bool(json.loads(repeated.stdout)["continued"]) == bool(after)
    assert (folder / name).read_bytes() == (folder / f"once-{name}").read_bytes()


def test_resumed_csv_export_has_one_header(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "whole.csv", "--quiet").exit_code == 0
    sandbox.fault("cdr.by_period", "suspended", times=None, after=1)
    result = cli("cdr", "export", FIRST, LAST, "out.csv")
    cursor = re.search(r"--cursor (\S+)", result.stderr)
    assert cursor is not None
    sandbox.clear_faults()
    assert cli("cdr", "export", FIRST, LAST, "out.csv", "--cursor", cursor[1]).exit_code == 0
    assert (folder / "out.csv").read_text() == (folder / "whole.csv").read_text()


def test_part_is_not_resumed_with_another_cursor(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    report = json.loads(cli("cdr", "export", FIRST, LAST, "other.jsonl", "--json").stdout)
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 5
    before = (folder / "out.jsonl.part").read_text()
    sandbox.clear_faults()
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", report["cursor"])
    assert result.exit_code == 5
    assert "does not end at this cursor" in result.stderr
    assert (folder / "out.jsonl.part").read_text() == before


def test_earlier_export_is_kept_until_the_new_one_is_complete(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "out.jsonl").write_text("precious\n")
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--overwrite").exit_code == 5
    assert (folder / "out.jsonl").read_text() == "precious\n"
    sandbox.clear_faults()
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 2
    assert (folder / "out.jsonl").read_text() == "precious\n"
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--overwrite").exit_code == 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == 900


def interrupted(cli: Cli, sandbox: Sandbox, *arguments: object, after: int = 2) -> Result:
    """Run an export that fails after some weeks."""
    sandbox.fault("cdr.by_period", "suspended", times=None, after=after)
    result = cli("cdr", "export", FIRST, LAST, *arguments)
    assert result.exit_code == 5, result.output
    sandbox.clear_faults()
    return result


@pytest.mark.parametrize("year", [b"2027", b"27"])
def test_complete_file_that_was_changed_is_not_taken_for_the_export(cli: Cli, folder: Path, year: bytes) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    changed = (folder / "out.jsonl").read_bytes().replace(b"2026", year)
    (folder / "out.jsonl").write_bytes(changed)
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--json")
    assert result.exit_code == 2
    assert "was changed since" in result.stderr
    assert (folder / "out.jsonl").read_bytes() == changed


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_repeated_command_continues(cli: Cli, sandbox: Sandbox, folder: Path, name: str) -> None:
    whole = f"whole-{name}"
    report = json.loads(cli("cdr", "export", FIRST, LAST, whole, "--json").stdout)
    stopped = interrupted(cli, sandbox, name)
    assert "To continue, repeat the command" in stopped.stderr
    assert f" cdr export {FIRST} {LAST} {name}\n" in stopped.stderr
    requests = sandbox.ledger.requests()
    result = cli("cdr", "export", FIRST, LAST, name, "--json")
    assert result.exit_code == 0, result.output
    assert "Continuing after" in result.stderr
    assert (folder / name).read_bytes() == (folder / whole).read_bytes()
    again = json.loads(result.stdout)
    same = ("records", "rejected", "outside", "cursor", "sha256")
    assert {field: again[field] for field in same} == {field: report[field] for field in same}
    assert 0 < again["continued"] < 900
    assert sandbox.ledger.requests() - requests < 5
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == again["sha256"]


def test_repeating_a_complete_export_changes_and_sends_nothing(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    first = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--json")
    before, requests = (folder / "out.jsonl").stat(), sandbox.ledger.requests()
    cursor = json.loads(first.stdout)["cursor"]
    for more in ((), ("--cursor", cursor), ("--fresh",)):
        again = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--json", *more)
        assert again.exit_code == 0, again.output
        assert "is complete: 900 records" in again.stderr
        assert json.loads(again.stdout) | {"seconds": 0} == json.loads(first.stdout) | {"seconds": 0}
    after = (folder / "out.jsonl").stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert sandbox.ledger.requests() == requests


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_complete_export_is_never_replaced_by_its_tail(
    cli: Cli, sandbox: Sandbox, folder: Path, flags: tuple[str, ...]
) -> None:
    interrupted(cli, sandbox, "other.jsonl")
    cursor = json.loads((folder / "other.jsonl.state").read_text())["cursor"]
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    before = (folder / "out.jsonl").read_bytes()
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor, *flags)
    assert result.exit_code == 2
    assert "would be replaced by its rows after the cursor" in result.stderr
    assert (folder / "out.jsonl").read_bytes() == before


def test_file_of_another_question_is_not_taken_for_complete(cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    before = (folder / "out.jsonl").read_bytes()
    result = cli("cdr", "export", LAST, LAST, "out.jsonl")
    assert result.exit_code == 2
    assert f"from {FIRST}, not {LAST}" in result.stderr
    assert "--overwrite" in result.stderr
    (folder / "out.jsonl").write_bytes(before + b"\n")
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 2
    assert cli("cdr", "export", LAST, LAST, "out.jsonl", "--overwrite").exit_code == 0
    assert (folder / "out.jsonl").stat().st_size < len(before)


def test_complete_file_that_an_interrupted_overwrite_is_about_to_replace_is_named_as_such(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--quiet").exit_code == 0
    interrupted(cli, sandbox, "out.jsonl", "--overwrite")
    before = (folder / "out.jsonl").read_bytes()
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert result.exit_code == 2
    assert "out.jsonl.part was begun to replace it" in result.stderr
    assert (folder / "out.jsonl").read_bytes() == before
    assert "Continuing after" in cli("cdr", "export", FIRST, LAST, "out.jsonl", "--overwrite").stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("2026-13-01", LAST, "out.csv"), "FROM is not a day"),
        ((FIRST, "yesterday", "out.csv"), "TO is not a day"),
        ((FIRST, LAST, "out.csv", "--cursor", "nonsense"), "--cursor: not a cursor"),
        ((FIRST, LAST, "out.csv", "--room", "no id"), "--room is not an ID"),
    ],
)
def test_errors_name_what_was_typed(cli: Cli, folder: Path, arguments: tuple[object, ...], names: str) -> None:
    result = cli("cdr", "export", *arguments)
    assert result.exit_code == 2
    assert names in result.stderr
    assert "page.cursor" not in result.stderr


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ((LAST, LAST, "out.csv"), f"from {FIRST}, not {LAST}"),
        ((FIRST, LAST, "out.csv", "--room", "a" * 24), "room none, not aaa"),
        ((FIRST, LAST, "out.csv", "--excel"), "format csv, not csv with a byte order mark"),
    ],
)
def test_part_of_another_question_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, other: tuple[object, ...], names: str
) -> None:
    interrupted(cli, sandbox, "out.csv")
    before = (folder / "out.csv.part").read_bytes()
    refused = cli("cdr", "export", *other)
    assert refused.exit_code == 2, refused.output
    assert names in refused.stderr
    assert "--fresh" in refused.stderr
    assert (folder / "out.csv.part").read_bytes() == before
    assert cli("cdr", "export", *other, "--fresh").exit_code == 0
    assert not (folder / "out.csv.part").exists()


def test_part_of_another_account_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(cli, sandbox, "out.jsonl")
    monkeypatch.setenv("VIDEOAPI_APP_ID", "b" * 24)
    requests = sandbox.ledger.requests()
    refused = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert refused.exit_code == 5
    assert sandbox.app_id in refused.stderr
    assert "another account" in refused.stderr
    assert sandbox.ledger.requests() == requests


@pytest.mark.parametrize("damage", ["changed", "shorter", "no state", "half a state"])
def test_part_that_is_not_what_its_state_describes_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, damage: str
) -> None:
    interrupted(cli, sandbox, "out.jsonl")
    part, state = folder / "out.jsonl.part", folder / "out.jsonl.state"
    data = bytearray(part.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif damage == "shorter":
        part.write_bytes(data[:-1])
    elif damage == "no state":
        state.unlink()
    else:
        state.write_bytes(state.read_bytes()[:-40])
    before = part.read_bytes()
    refused = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert refused.exit_code == 5, refused.output
    assert "out.jsonl.state" in refused.stderr
    assert "--fresh" in refused.stderr
    assert part.read_bytes() == before
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--fresh").exit_code == 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == 900


def test_rows_after_the_last_state_are_written_again(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "whole.jsonl").exit_code == 0
    interrupted(cli, sandbox, "out.jsonl")
    with (folder / "out.jsonl.part").open("ab") as file:
        file.write(b'{"half a row')
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    assert (folder / "out.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_export_of_a_tail_is_continued_only_as_one(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    interrupted(cli, sandbox, "other.jsonl", after=1)
    cursor = json.loads((folder / "other.jsonl.state").read_text())["cursor"]
    assert cli("cdr", "export", FIRST, LAST, "whole.jsonl", "--cursor", cursor).exit_code == 0
    interrupted(cli, sandbox, "out.jsonl", "--cursor", cursor)
    refused = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert refused.exit_code == 2
    assert f"--cursor {cursor}" in refused.stderr
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor).exit_code == 0
    assert (folder / "out.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor).exit_code == 0
    refused = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert refused.exit_code == 2
    assert "begins at a cursor" in refused.stderr


def test_part_with_other_columns_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(cli, sandbox, "out.csv")
    monkeypatch.setattr(csv_rows, "call_table", csv_rows.archive_table)
    refused = cli("cdr", "export", FIRST, LAST, "out.csv")
    assert refused.exit_code == 2
    assert "other columns" in refused.stderr


def test_command_with_a_cursor_is_continued_by_being_repeated(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "whole.jsonl").exit_code == 0
    interrupted(cli, sandbox, "out.jsonl", after=1)
    cursor = json.loads((folder / "out.jsonl.state").read_text())["cursor"]
    interrupted(cli, sandbox, "out.jsonl", "--cursor", cursor, after=2)
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor).exit_code == 0
    assert (folder / "out.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_export_killed_between_its_last_state_and_its_name_only_gets_the_name(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    whole = (folder / "out.jsonl").read_bytes()
    (folder / "out.jsonl").rename(folder / "out.jsonl.part")
    requests = sandbox.ledger.requests()
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    assert (folder / "out.jsonl").read_bytes() == whole
    assert not (folder / "out.jsonl.part").exists()
    assert sandbox.ledger.requests() == requests
    os.link(folder / "out.jsonl", folder / "out.jsonl.part")
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 0
    assert not (folder / "out.jsonl.part").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("step", ["pwrite", "fsync", "replace", "link"])
def test_disk_that_is_full_at_the_end_of_an_export_leaves_a_part_to_continue(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    whole, finish = f"whole-{name}", ExportFile.finish
    assert cli("cdr", "export", FIRST, LAST, whole).exit_code == 0

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def finish_on_a_full_disk(file: ExportFile) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, step, full)
            finish(file)

    with monkeypatch.context() as patched:
        patched.setattr(ExportFile, "finish", finish_on_a_full_disk)
        stopped = cli("cdr", "export", FIRST, LAST, name)
    assert stopped.exit_code == 1
    saved = "900 records are" if step == "link" else "0 records are"
    assert f"No space left on device\n{saved} saved in {name}.part. Free some space, and repeat" in stopped.stderr
    assert f" cdr export {FIRST} {LAST} {name}\n" in stopped.stderr
    assert cli("cdr", "export", FIRST, LAST, name).exit_code == 0
    assert (folder / name).read_bytes() == (folder / whole).read_bytes()


def test_part_that_is_gone_is_not_said_to_be_saved(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = ExportFile.finish

    def finish_without_a_part(file: ExportFile) -> None:
        file.part.unlink()
        finish(file)

    monkeypatch.setattr(ExportFile, "finish", finish_without_a_part)
    stopped = cli("cdr", "export", FIRST, LAST, "out.csv")
    assert (stopped.exit_code, stopped.stderr.splitlines()[-1]) == (
        1,
        "it was removed while it was written: out.csv.part",
    )


def test_empty_period_is_a_complete_export(cli: Cli, folder: Path) -> None:
    for _ in range(2):
        assert cli("cdr", "export", "2020-01-01", "2020-01-31", "out.jsonl").exit_code == 0
        assert (folder / "out.jsonl").read_bytes() == b""
    assert cli("cdr", "export", "2020-01-01", "2020-01-31", "out.csv").exit_code == 0
    assert len((folder / "out.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["cdr", "archives"])
@pytest.mark.parametrize("out", [("out.jsonl",), ("-",), ("out", "--partition", "day")])
def test_period_in_the_future_is_refused_before_anything_is_sent(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, out: tuple[str, ...]
) -> None:
    if "--partition" in out:
        pytest.importorskip("pyarrow")
    monkeypatch.setattr("videoapi.arrow.periods.utc_today", lambda: LAST)
    refused = cli(kind, "export", LAST + timedelta(1), LAST + timedelta(2), *out)
    assert refused.exit_code == 2, refused.output
    assert "the period is in the future: it begins on 2026-04-01, and today is 2026-03-31 (UTC)" in refused.stderr
    assert sandbox.ledger.requests() == 0
    assert list(folder.iterdir()) == []
    assert cli(kind, "export", LAST, LAST + timedelta(2), *out).exit_code == 0


def test_failed_export_without_a_record_leaves_no_file(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    interrupted(cli, sandbox, "out.jsonl", after=0)
    interrupted(cli, sandbox, "out.csv", after=0)
    assert list(folder.iterdir()) == []


def test_rejected_records_are_listed_once_after_a_continued_export(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    good = {"cdr_id": "a", "trans_date": f"{FIRST}T10:00:00.000Z"}
    body = {"result": "0", "cdr": [good, "no record", {**good, "cdr_id": "b"}]}
    sandbox.plan([("status", {"status": 200, "body": body}), "suspended", "suspended"], "cdr.by_period")
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 5
    serve(sandbox, body)
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--json")
    assert result.exit_code == 6, result.output
    assert json.loads(result.stdout)["rejected"] == 1
    assert len((folder / "out.jsonl.rejected.jsonl").read_text().splitlines()) == 1
    again = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert again.exit_code == 6


def test_excel_file_begins_with_a_byte_order_mark(cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "plain.csv").exit_code == 0
    assert cli("cdr", "export", FIRST, LAST, "excel.csv", "--excel").exit_code == 0
    plain = (folder / "plain.csv").read_bytes()
    assert (folder / "excel.csv").read_bytes() == b"\xef\xbb\xbf" + plain
    refused = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--excel")
    assert refused.exit_code == 2


def test_cells_are_separated_by_the_delimiter(cli: Cli, folder: Path) -> None:
    words = ("cdr", "export", FIRST, LAST)
    assert cli(*words, "plain.csv").exit_code == 0
    assert cli(*words, "semicolons.csv", "--delimiter", ";").exit_code == 0
    text = (folder / "semicolons.csv").read_text()
    plain, found = (folder / "plain.csv").read_text(), text
    rows = list(csv.reader(found.splitlines(), delimiter=";"))
    assert rows == list(csv.reader(plain.splitlines()))
    assert len(rows) > 1
    assert cli(*words, "-", "--format", "csv", "--delimiter", ";").stdout == text
    for name in ("out.jsonl", "-"):
        refused = cli(*words, name, "--delimiter", ";")
        assert refused.exit_code == 2
        assert "--delimiter is for" in refused.stderr
    assert "format csv, not" not in cli(*words, "semicolons.csv", "--delimiter", ";").stderr
    assert cli(*words, "semicolons.csv").exit_code == 2


def test_text_with_the_delimiter_is_quoted() -> None:
    for delimiter, line in ((",", '"a,b",c;d\n'), (";", 'a,b;"c;d"\n')):
        assert csv_line(["a,b", "c;d"], delimiter) == line


@pytest.mark.parametrize(("name", "rows", "code"), [("out.jsonl", ["a", "c"], 6), ("out.csv", ["a", "b", "c"], 0)])
def test_lone_surrogate_does_not_end_an_export(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, rows: list[str], code: int
) -> None:
    good = {"cdr_id": "a", "trans_date": f"{LAST}T10:00:00.000Z", "user": {"name": "Ann"}}
    bad = {**good, "cdr_id": "b", "user": {"name": "@@"}}
    serve(sandbox, json.dumps({"result": "0", "cdr": [good, bad, {**good, "cdr_id": "c"}]}).replace("@@", "\\udc80"))
    result = cli("cdr", "export", LAST, LAST, name, "--json")
    assert result.exit_code in (0, code), result.output
    found = (folder / name).read_text()
    if result.exit_code == 6:
        (rejected,) = [json.loads(line) for line in (folder / f"{name}.rejected.jsonl").read_text().splitlines()]
        assert rejected["id"] == "b"
        assert "\\\\udc80" in rejected["record"] or "\\udc80" in rejected["record"]
        assert json.loads(result.stdout)["rejected"] == 1
    else:
        rows = ["a", "b", "c"]
    ids = [json.loads(line)["cdr_id"] for line in found.splitlines()] if name == "out.jsonl" else None
    if ids is None:
        ids = [row["cdr_id"] for row in csv.DictReader(found.splitlines())]
    assert ids == rows


@pytest.mark.parametrize(
    "arguments",
    [
        ("2026-03-01", "2026-02-01", "out.jsonl"),
        ("yesterday", "2026-03-31", "out.jsonl"),
        ("2026-03-01", "2026-03-31", "out.xlsx"),
        ("2026-03-01", "2026-03-31", "nowhere/out.csv"),
        ("2026-03-01", "2026-03-31", "out.csv", "--cursor", "none"),
    ],
)
def test_invalid_arguments_are_usage_errors_and_send_nothing(
    cli: Cli, sandbox: Sandbox, folder: Path, arguments: tuple[str, ...]
) -> None:
    assert cli("cdr", "export", *arguments).exit_code == 2
    assert sandbox.ledger.requests() == 0
    assert list(folder.iterdir()) == []


def test_symlink_in_place_of_the_part_is_not_followed(cli: Cli, folder: Path) -> None:
    (folder / "victim").write_text("precious")
    (folder / "out.jsonl.part").symlink_to(folder / "victim")
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl")
    assert result.exit_code == 2
    assert "out.jsonl.part is a link" in result.stderr
    assert (folder / "victim").read_text() == "precious"


def test_files_are_downloaded_once_into_a_folder_per_session(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    arguments = ("archives", "download", LAST, LAST, "files", "--kind", "chatdata", "--json")
    sandbox.fault("files.get", "cut", at=0.5)
    first = json.loads(cli(*arguments).stdout)
    assert first["downloaded"] == sandbox.history.archives(LAST, LAST) > 1
    found = list((folder / "files").glob("*/*-chatdata-1-*.json"))
    assert len(found) == first["downloaded"]
    assert all(json.loads(path.read_bytes()) for path in found)
    second = json.loads(cli(*arguments).stdout)
    assert second["there_already"] == first["downloaded"]
    assert second["downloaded"] == 0


def test_missing_file_does_not_stop_the_other_downloads(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("files.get", "status", status=404)
    result = cli("archives", "download", LAST, LAST, "files", "--kind", "metadata", "--json")
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert report["failed"] == 1
    assert report["downloaded"] == sandbox.history.archives(LAST, LAST) - 1


def test_period_without_files_is_reported_as_such(cli: Cli, folder: Path) -> None:
    result = cli("archives", "download", "2020-01-01", "2020-01-02", "files")
    assert result.exit_code == 0
    assert "No files found." in result.stderr


def test_failures_that_are_not_shown_are_mentioned(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("files.get", "status", times=None, status=404)
    result = cli("archives", "download", LAST, LAST, "files")
    assert result.exit_code == 1
    assert result.stderr.count("has expired or never existed") == 5
    assert "Only the first 5 failures are shown." in result.stderr


def test_wrong_recording_credentials_are_not_printed(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_RECORDING_PASSWORD", "canary-password")
    result = cli("archives", "download", LAST, LAST, "files")
    assert result.exit_code == 5, result.output
    assert "recording" in result.stderr.lower()
    assert "canary" not in result.output
