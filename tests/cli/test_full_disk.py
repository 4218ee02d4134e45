"""Commands on a full disk: what they say that they have done is true, and nothing useless stays."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.small_disk import small_disk

from videoapi.files import PartFile
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
OUT = "o.jsonl"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The working directory, on a disk of 120 KiB, and a function that makes it larger."""
    with small_disk(tmp_path / "disk", "120k") as grow:
        monkeypatch.chdir(tmp_path / "disk")
        yield tmp_path / "disk", grow
        monkeypatch.undo()


def create(folder: Path, count: int, *more: object) -> tuple[object, ...]:
    """Write a table of rooms, and return the command that creates them, with its journal on the same disk as this."""
    (folder / "rooms.csv").write_text("name\n" + "".join(f"Room {n}\n" for n in range(count)))
    return ("rooms", "create-many", folder / "rooms.csv", "--out", OUT, "--settle", 0.2, *more)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("journal", [(), ("--journal", "../journal")], ids=["same disk", "another disk"])
def test_bulk_run_counts_all_and_names_the_file_that_is_there(
    cli: Cli, sandbox: Sandbox, tmp_path: Path, disk: tuple[Path, Callable[[], None]], journal: tuple[str, ...]
) -> None:
    folder, grow = disk
    command = create(tmp_path, 700, *journal)
    stopped = cli(*command)
    assert stopped.exit_code == 1, stopped.output
    created = len(sandbox.ledger.rooms)
    said = stopped.stderr.splitlines()
    summary = next(line for line in said if "Outcomes: " in line)
    assert summary.startswith(f"{created:,} created, ")
    there = lines(folder / f"{OUT}.part")
    assert not (folder / OUT).exists()
    assert f"Outcomes: {OUT}.part, without " in summary
    counted = sum(int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:created|not sent)", summary))
    missing = int(summary.partition("without ")[2].split()[0])
    assert len(there) == counted - missing
    assert said[-3] == "To continue:"
    assert f"--out {OUT}" in said[-2]
    assert said[-1] == f"No space left on device: {OUT}.part"
    grow()
    again = cli(*command)
    assert again.exit_code == 0, again.output
    assert f"700 created ({created:,} of them earlier)" in again.stderr
    assert len(sandbox.ledger.rooms) == 700


def test_outcomes_of_which_none_could_be_written_are_not_said_to_be_in_a_file(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", full)
    stopped = cli(*create(folder, 1), "--json")
    assert stopped.exit_code == 1, stopped.output
    assert "1 created, in " in stopped.stderr
    assert " s. No outcome could be written\n" in stopped.stderr
    assert "\nTo continue:\n" in stopped.stderr
    report = json.loads(stopped.stdout)
    assert (report["counts"], report["outcomes"]) == ({"created": 1}, None)
    assert not [path for path in folder.iterdir() if path.name.endswith((".jsonl", ".part"))]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_outcome_file_that_cannot_get_its_name_is_named_as_it_is(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    finish = PartFile.finish

    def finish_on_a_full_disk(part: PartFile) -> Path:
        with monkeypatch.context() as patched:
            patched.setattr(os, step, full)
            return finish(part)

    with monkeypatch.context() as patched:
        patched.setattr(PartFile, "finish", finish_on_a_full_disk)
        stopped = cli(*create(folder, 2))
    assert stopped.exit_code == 1, stopped.output
    assert f" s. Outcomes: {OUT}.part\nTo continue:\n" in stopped.stderr
    assert len(lines(folder / f"{OUT}.part")) == 2
    assert not (folder / OUT).exists()
    assert cli(*create(folder, 2)).exit_code == 0
    assert (len(lines(folder / OUT)), len(sandbox.ledger.rooms)) == (2, 2)


def test_outcome_file_in_a_folder_that_cannot_be_synced_has_its_name(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fails_for_folders(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            full()
        sync(file)

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    stopped = cli(*create(folder, 2))
    assert stopped.exit_code == 1, stopped.output
    assert f" s. Outcomes: {OUT}\nTo continue:\n" in stopped.stderr
    assert len(lines(folder / OUT)) == 2


def test_full_device_of_outcomes_is_named(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    stopped = cli("rooms", "create-many", "rooms.csv", "--out", "/dev/full")
    assert stopped.exit_code == 1, stopped.output
    assert "1 created" in stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "No space left on device: /dev/full"


@pytest.mark.parametrize("command", ["rooms create-many", "rooms delete-many", "tokens create-many"])
def test_outcomes_whose_reader_leaves_are_an_error_with_true_counts(
    cli: Cli, sandbox: Sandbox, folder: Path, command: str
) -> None:
    lines, done = 600, "created"
    (folder / "in.csv").write_text("name\n" + "".join(f"Room {n}\n" for n in range(lines)))
    if command != "rooms create-many":
        assert cli("rooms", "create-many", "in.csv", "--out", OUT, "--audit", "no").exit_code == 0
        ids = list(sandbox.ledger.rooms)
        (folder / "in.csv").write_text("room_id,name,user_ref\n" + "".join(f"{room_id},A,u\n" for room_id in ids))
    if command == "rooms delete-many":
        (folder / "in.csv").write_text("room_id\n" + "".join(f"{room_id}\n" for room_id in ids))
        done = "deleted"
    before = len(sandbox.ledger.rooms)
    os.mkfifo(folder / "pipe")

    def head() -> None:
        with (folder / "pipe").open("rb") as outcomes:
            outcomes.readline()

    reader = threading.Thread(target=head)
    reader.start()
    yes = ("--yes",) if done == "deleted" else ()
    stopped = cli(*command.split(), "in.csv", "--out", "pipe", "--json", *yes)
    reader.join()
    assert stopped.exit_code == 1, stopped.output
    assert stopped.stderr.splitlines()[-1] == "Broken pipe: pipe"
    report = json.loads(stopped.stdout)
    assert sum(report["counts"].values()) + report["unread"] == lines
    assert 0 < report["counts"][done] < lines
    assert f"{report['counts'][done]:,} {done}, " in stopped.stderr
    if command != "tokens create-many":
        assert abs(len(sandbox.ledger.rooms) - before) == report["counts"][done]


def test_copy_with_ids_that_cannot_be_written_leaves_nothing(
    cli: Cli, sandbox: Sandbox, tmp_path: Path, folder: Path
) -> None:
    command = create(folder, 400)
    with small_disk(tmp_path / "disk", "8k"):
        result = cli(*command, "--with-ids", "disk/ids.csv")
        assert result.exit_code == 1, result.output
        assert "disk/ids.csv was not written: No space left on device" in result.stderr
        assert list((tmp_path / "disk").iterdir()) == []


def test_job_file_that_cannot_be_written_is_named(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = create(folder, 1)
    monkeypatch.setattr(os, "fsync", full)
    assert cli(*command).stderr.splitlines()[-1] == f"No space left on device: {OUT}.job"


@pytest.mark.parametrize("step", ["pwrite", "fsync"])
def test_state_of_an_export_that_cannot_be_written_is_named_with_its_folder(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (folder / "data").mkdir()
    monkeypatch.setattr(os, step, full)
    stopped = cli("cdr", "export", "2026-01-01", "2026-01-02", "data/out.csv")
    name = "data/out.csv.part" if step == "pwrite" else "data/out.csv.state"
    assert f"No space left on device: {name}" in stopped.stderr or f"Cannot write {name}: " in stopped.stderr
