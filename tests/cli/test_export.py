"""`videoapi cdr export` and `videoapi archives export`: complete files, or a part to resume."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import Result

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
    assert sorted(path.name for path in folder.iterdir()) == ["out.jsonl"]


def test_csv_export_contains_the_same_records(cli: Cli, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "out.csv", "--quiet").exit_code == 0
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl", "--quiet").exit_code == 0
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["cdr_id"] for row in rows] == [record["cdr_id"] for record in records]
    assert [row["user.name"] for row in rows] == [record["user"]["name"] for record in records]
    assert float(rows[0]["room.duration"]) == records[0]["room"]["duration"]


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
    body = {"result": "0", "cdr": [good, "no record", {**good, "cdr_id": "b", "room": 7}, {**good, "cdr_id": "c"}]}
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body=body)


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
    assert rows[0]["user.name"] == "'=1+1"
    assert json.loads(rows[0]["extra"]) == {"colour": "red"}


def test_clean_export_removes_an_earlier_list_of_rejected_records(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    _broken(sandbox)
    assert cli("cdr", "export", LAST, LAST, "out.csv", "--quiet").exit_code == 6
    sandbox.clear_faults()
    assert cli("cdr", "export", LAST, LAST, "out.csv", "--quiet").exit_code == 0
    assert not (folder / "out.csv.rejected.jsonl").exists()


def test_strict_stops_at_the_first_unreadable_record(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    _broken(sandbox)
    result = cli("cdr", "export", LAST, LAST, "out.jsonl", "--strict")
    assert result.exit_code == 6, result.output
    assert not (folder / "out.jsonl").exists()


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
    assert sorted(path.name for path in folder.iterdir()) == ["out.jsonl", "whole.jsonl"]


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
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 5
    assert (folder / "out.jsonl").read_text() == "precious\n"


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
    assert cli("cdr", "export", FIRST, LAST, "out.jsonl").exit_code == 1
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


def test_wrong_recording_credentials_are_not_printed(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOAPI_RECORDING_PASSWORD", "canary-password")
    result = cli("archives", "download", LAST, LAST, "files")
    assert result.exit_code == 5, result.output
    assert "recording" in result.stderr.lower()
    assert "canary" not in result.output
