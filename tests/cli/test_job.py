"""A repeated command continues its job, and never guesses what to continue."""

import errno
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from videoapi.bulk import BulkOutcome
from videoapi.cli.job import OpenOptions, open_job
from videoapi.cli.outcomes import OutcomeFile
from videoapi.errors import ConfigurationError
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
CREATE = ("rooms", "create-many", "rooms.csv", "--settle", 0.2)
OUT = "rooms.csv.outcomes.jsonl"
ABOUT = {"origin": "https://a.example", "app_id": "a" * 24, "file": "rooms.csv", "keys": "name"}


@pytest.fixture
def rooms(folder: Path) -> Path:
    """A file with two rooms."""
    path = folder / "rooms.csv"
    path.write_text("name\nA\nB\n")
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(sandbox: Sandbox) -> list[str]:
    return sorted(room["name"] for room in sandbox.ledger.rooms.values())


def test_repeated_command_creates_only_what_is_missing(cli: Cli, sandbox: Sandbox, rooms: Path) -> None:
    first = cli(*CREATE)
    assert first.exit_code == 0, first.output
    assert "the names are used as keys" in first.stderr
    made = {row["key"]: row["room_id"] for row in rows(rooms.with_name(OUT))}
    rooms.write_text("name\nB\nC\nA\n")
    again = cli(*CREATE)
    assert again.exit_code == 0, again.output
    assert "Continuing the job" in again.stderr
    assert "3 created (2 of them earlier)" in again.stderr
    assert names(sandbox) == ["A", "B", "C"]
    assert {row["key"]: row["room_id"] for row in rows(rooms.with_name(OUT))}.items() > made.items()


def test_job_and_journal_are_private_files_next_to_the_outcomes(cli: Cli, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE, "--out", "made.jsonl").exit_code == 0
    there = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("made*")}
    assert there == {"made.jsonl": 0o600, "made.jsonl.job": 0o600, "made.jsonl.journal": 0o600}


def test_moved_folder_continues(cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "old").mkdir()
    (folder / "old" / "rooms.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", folder / "old" / "rooms.csv").exit_code == 0
    (folder / "old").rename(folder / "new")
    monkeypatch.chdir(folder / "new")
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A"]


@pytest.mark.parametrize("journal", [(), ("--journal", "jobs.db")])
def test_copy_of_a_job_looks_for_the_rooms_of_the_other(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, journal: tuple[str, ...]
) -> None:
    command = (*CREATE, *journal)
    first, copy = folder / "first", folder / "copy"
    first.mkdir()
    (first / "rooms.csv").write_text("name\nA\n")
    monkeypatch.chdir(first)
    assert cli(*command).exit_code == 0
    shutil.copytree(first, copy)
    for place in (first, copy):
        (place / "rooms.csv").write_text("name\nA\nB\n")
    assert "copy of the job" not in cli(*command).stderr
    monkeypatch.chdir(copy)
    before = {path: path.read_bytes() for path in copy.iterdir()}
    dry = cli(*command, "--dry-run")
    assert "These files are a copy of the job of 20" in dry.stderr
    assert {path: path.read_bytes() for path in copy.iterdir()} == before
    continued = cli(*command)
    assert continued.exit_code == 0, continued.output
    assert "These files are a copy of the job of 20" in continued.stderr
    assert "or were restored: the list of rooms is read first." in continued.stderr
    assert names(sandbox) == ["A", "B"]
    # Nothing is deleted, and the files are now those of a job of their own.
    name = journal[1] if journal else f"{OUT}.journal"
    assert (copy / f"{name}.1").read_bytes()[:6] == b"SQLite"
    again = cli(*command)
    assert again.exit_code == 0
    assert "copy of the job" not in again.stderr
    assert not (copy / f"{name}.2").exists()


@pytest.mark.parametrize("how", ["restored", "of a former version", "mode changed", "clock set back"])
def test_files_that_may_be_from_a_backup_do_not_create_a_room_twice(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """File systems reuse inodes, as here: a backup is written over the same files."""
    monkeypatch.setattr("videoapi.cli.job._SLACK_NS", 50_000_000)
    assert cli(*CREATE).exit_code == 0
    note = folder / f"{OUT}.job"
    backup = {path: (path.read_bytes(), path.stat()) for path in folder.glob(f"{OUT}*")}
    rooms.write_text("name\nA\nB\nC\n")
    assert "copy of the job" not in cli(*CREATE).stderr
    known = json.loads(note.read_text())
    if how == "restored":
        time.sleep(0.1)
        for path, (content, at) in backup.items():
            path.write_bytes(content)
            os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    elif how == "mode changed":
        time.sleep(0.1)
        note.chmod(0o400)
        note.chmod(0o600)
    elif how == "clock set back":
        note.write_text(json.dumps({**known, "written": str(int(known["written"]) + 3_600 * 10**9)}))
    else:
        del known["written"]
        note.write_text(json.dumps(known))
    assert json.loads(note.read_text())["inode"] == str(note.stat().st_ino)
    again = cli(*CREATE)
    assert again.exit_code == 0, again.output
    assert "or were restored: the list of rooms is read first." in again.stderr
    assert names(sandbox) == ["A", "B", "C"]
    assert "copy of the job" not in cli(*CREATE).stderr


def test_job_that_was_moved_at_once_or_is_older_than_the_note_is_no_copy(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*CREATE).exit_code == 0
    note = folder / f"{OUT}.job"
    (folder / "moved").mkdir()
    for path in list(folder.glob("rooms*")):
        path.rename(folder / "moved" / path.name)
    monkeypatch.chdir(folder / "moved")
    assert "copy of the job" not in cli(*CREATE).stderr
    note = folder / "moved" / note.name
    known = json.loads(note.read_text())
    assert known.pop("inode") == str(note.stat().st_ino)
    assert abs(int(known.pop("written")) - note.stat().st_ctime_ns) < 10**9
    note.unlink()
    note.with_name("other").write_text("keeps the inode in use")
    note.write_text(json.dumps(known))
    result = cli(*CREATE)
    assert result.exit_code == 0
    assert "copy of the job" not in result.stderr
    assert json.loads(note.read_text())["inode"] == str(note.stat().st_ino)
    assert names_in(folder / "moved") == sorted(
        [*(f"{OUT}{tail}" for tail in ("", ".1", ".2", ".job", ".journal")), "other", "rooms.csv"]
    )


def test_failed_line_is_tried_again_once_it_is_fixed(cli: Cli, sandbox: Sandbox, rooms: Path) -> None:
    rooms.write_text("name,sip\nA,\nB,perhaps\n")
    assert cli(*CREATE).exit_code == 1
    rooms.write_text("name,sip\nA,\nB,yes\n")
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A", "B"]


def test_fresh_starts_over_and_keeps_the_earlier_job(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    fresh = cli(*CREATE, "--fresh")
    assert fresh.exit_code == 0, fresh.output
    assert f"{OUT}.1" in fresh.stderr
    assert names(sandbox) == ["A", "A", "B", "B"]
    kept = cli(*CREATE, "--out", f"{OUT}.1")
    assert kept.exit_code == 0, kept.output
    assert len(sandbox.ledger.rooms) == 4
    assert cli(*CREATE).exit_code == 0
    assert len(sandbox.ledger.rooms) == 4


def test_files_of_a_killed_job_are_kept_together(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_job(out, ABOUT) as first:
        for tail in (".journal", ".journal-wal", ".journal-shm", ".part", ""):
            out.with_name(out.name + tail).write_text(f"old {tail}")
        out.with_name("out.1").write_text("older outcomes")
    with open_job(out, ABOUT, OpenOptions(fresh=True)) as second:
        pass
    assert second.job_id != first.job_id
    kept = {"out.2", "out.2.part", "out.2.job", "out.2.journal", "out.2.journal-shm", "out.2.journal-wal"}
    assert {path.name for path in tmp_path.iterdir()} == {"out.1", "out.job"} | kept
    with open_job(tmp_path / "out.2", ABOUT) as old:
        assert old.job_id == first.job_id


def test_second_process_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_job(out, ABOUT) as job:
        for options in ({}, {"fresh": True}, {"job_id": job.job_id}):
            with (
                pytest.raises(ConfigurationError, match="another process"),
                open_job(out, ABOUT, OpenOptions(**options)),
            ):
                pass
    with open_job(out, ABOUT) as again:
        assert again.job_id == job.job_id


def test_account_of_the_job_is_checked(
    cli: Cli, sandbox: Sandbox, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*CREATE).exit_code == 0
    with Sandbox(seed=8).in_thread() as other:
        for name, value in (("BASE_URL", other.base_url), ("APP_ID", other.app_id), ("APP_KEY", other.app_key)):
            monkeypatch.setenv(f"VIDEOAPI_{name}", value)
        refused = cli(*CREATE)
        assert refused.exit_code == 5
        assert all(text in refused.stderr for text in (sandbox.app_id, other.app_id, "--out", "--fresh"))
        assert refused.stderr.index("Use the credentials of that account") < refused.stderr.index("--out")
        assert other.ledger.requests() == 0
        assert cli(*CREATE, "--fresh").exit_code == 0
        assert names(other) == ["A", "B"]


@pytest.mark.parametrize(
    ("change", "options", "advice"),
    [
        ("name,key\nA,1\nB,2\n", (), "--key-column name"),
        ("name,id\nA,1\nB,2\n", ("--key-column", "id"), "--key-column name"),
    ],
)
def test_other_keys_are_refused(
    cli: Cli, sandbox: Sandbox, rooms: Path, change: str, options: tuple[str, ...], advice: str
) -> None:
    assert cli(*CREATE).exit_code == 0
    rooms.write_text(change)
    refused = cli(*CREATE, *options)
    assert refused.exit_code == 2
    assert advice in refused.stderr
    assert "or rename the column back" in refused.stderr
    assert names(sandbox) == ["A", "B"]


def test_other_input_is_refused(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE, "--out", "out.jsonl").exit_code == 0
    (folder / "more.csv").write_text("name\nA\n")
    refused = cli("rooms", "create-many", "more.csv", "--out", "out.jsonl")
    assert refused.exit_code == 2
    assert "rooms.csv" in refused.stderr
    assert names(sandbox) == ["A", "B"]


@pytest.mark.parametrize("left", ["", ".journal"])
def test_files_without_their_job_are_not_guessed_about(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, left: str
) -> None:
    assert cli(*CREATE).exit_code == 0
    for tail in {"", ".job", ".journal"} - {left}:
        (folder / (OUT + tail)).unlink()
    refused = cli(*CREATE)
    assert refused.exit_code == 2
    assert OUT + left in refused.stderr
    assert "--fresh" in refused.stderr
    assert "--job-id" in refused.stderr
    assert not (folder / f"{OUT}.job").exists()
    assert names(sandbox) == ["A", "B"]
    assert cli(*CREATE, "--fresh").exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B"]


def test_missing_outcomes_are_written_again(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / OUT).unlink()
    assert cli(*CREATE).exit_code == 0
    assert {row["room_id"] for row in rows(folder / OUT)} == set(sandbox.ledger.rooms)
    assert names(sandbox) == ["A", "B"]


def test_unreadable_job_is_refused(cli: Cli, folder: Path, rooms: Path) -> None:
    (folder / f"{OUT}.job").write_text("[1]")
    refused = cli(*CREATE)
    assert refused.exit_code == 5
    assert f"{OUT}.job" in refused.stderr


def test_job_id_and_journal_of_the_user_are_used(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    job = (*CREATE, "--job-id", "autumn", "--journal", "jobs.db")
    assert cli(*job).exit_code == 0
    assert (folder / "jobs.db").exists()
    assert not (folder / f"{OUT}.journal").exists()
    assert cli(*job).exit_code == 0
    assert names(sandbox) == ["A", "B"]
    for options in ((), ("--journal", "jobs.db"), ("--job-id", "autumn")):
        assert cli(*CREATE, *options).exit_code == 0
        assert not (folder / f"{OUT}.journal").exists()
        assert names(sandbox) == ["A", "B"]


def test_unusable_journal_is_one_message(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    (folder / "jobs.db").write_text("no database " * 100)
    result = cli(*CREATE, "--journal", "jobs.db")
    assert result.exit_code == 5
    assert [line for line in result.stderr.splitlines() if "names are used as keys" not in line] == [
        line for line in result.stderr.splitlines() if "jobs.db" in line
    ]
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize("kept", [(), ("--job-id", "autumn"), ("--journal", "jobs.db")])
@pytest.mark.parametrize("option", [("--job-id", "winter"), ("--journal", "other.db")])
def test_another_job_id_or_journal_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, kept: tuple[str, ...], option: tuple[str, ...]
) -> None:
    assert cli(*CREATE, *kept).exit_code == 0
    refused = cli(*CREATE, *option)
    assert refused.exit_code == 2, refused.output
    assert option[1] in refused.stderr
    assert "--fresh" in refused.stderr
    assert not (folder / "other.db").exists()
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A", "B"]


def test_fresh_job_with_another_id_begins(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE, "--job-id", "autumn").exit_code == 0
    assert cli(*CREATE, "--job-id", "winter", "--fresh").exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B"]
    assert json.loads((folder / f"{OUT}.1.job").read_text())["job_id"] == "autumn"


def test_fresh_job_with_the_same_id_is_refused(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    # Its rooms would be found by their references, so that the job would not be a fresh one.
    assert cli(*CREATE, "--job-id", "autumn").exit_code == 0
    for more in ((), ("--dry-run",)):
        refused = cli(*CREATE, "--job-id", "autumn", "--fresh", *more)
        assert refused.exit_code == 2, refused.output
        assert "--fresh begins a new job" in refused.stderr
    assert not list(folder.glob(f"{OUT}.1*"))
    assert cli(*CREATE, "--job-id", "autumn").exit_code == 0
    assert cli(*CREATE, "--fresh").exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B"]


def test_output_to_a_device_keeps_no_job(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    sandbox.fault("rooms.create", "suspended", after=2)
    rooms.write_text("name\nA\nB\nC\n")
    stopped = cli(*CREATE, "--out", "/dev/null", "--concurrency", 1)
    assert stopped.exit_code == 4
    assert "cannot be continued" in stopped.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["rooms.csv"]
    assert names(sandbox) == ["A", "B"]


def test_input_is_not_taken_as_the_outcome_file(cli: Cli, sandbox: Sandbox, rooms: Path) -> None:
    before = rooms.read_text()
    assert cli(*CREATE, "--out", "rooms.csv").exit_code == 2
    assert rooms.read_text() == before
    assert sandbox.ledger.requests() == 0


def test_repeated_names_are_refused_before_anything_is_sent(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    rooms.write_text("name,id\nA,1\nB,2\nA,3\n")
    refused = cli(*CREATE, "--key-column", "name")
    assert refused.exit_code == 2  # the column id is unknown
    rooms.write_text("name,data.id\nA,1\nB,2\nA,3\n")
    refused = cli(*CREATE)
    assert refused.exit_code == 2
    assert "Lines 2 and 4" in refused.stderr
    assert "--key-column" in refused.stderr
    assert sandbox.ledger.requests() == 0
    assert sorted(path.name for path in folder.iterdir()) == ["rooms.csv"]
    assert cli(*CREATE, "--key-column", "data.id").exit_code == 0
    assert names(sandbox) == ["A", "A", "B"]


def test_printed_resolve_command_finds_the_room(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    rooms.write_text("name,owner_ref\nA,a\nB,b\nC,c\n")
    sandbox.set(list_omits="data")
    sandbox.fault("rooms.create", "drop_after", after=1)
    key = folder / "the key"
    key.write_text(sandbox.app_key)
    key.chmod(0o600)
    result = cli(*CREATE, "--concurrency", 1, "--app-key-file", key)
    assert result.exit_code == 3, result.output
    printed = [shlex.split(line) for line in result.stderr.splitlines() if line.startswith("  ")]
    again, resolve = (words[words.index("rooms") :] for words in printed)
    assert again == [str(word) for word in (*CREATE, "--concurrency", 1, "--app-key-file", key)]
    assert "--control" in resolve
    unknown = next(row for row in rows(folder / OUT) if row["status"] == "unknown")
    assert unknown["reference"] in resolve
    assert cli(*resolve).exit_code == 3
    sandbox.set(list_omits="nothing")
    found = cli(*resolve)
    assert found.exit_code == 0, found.output
    assert sandbox.ledger.rooms[found.stdout.strip()]["name"] == "B"
    assert cli(*again).exit_code == 0
    assert names(sandbox) == ["A", "B", "C"]


def test_outcome_file_appears_when_the_run_ends(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with OutcomeFile(out) as file:
        file.enter(BulkOutcome(index=0, status="created", room_id="r1"), 0, 2)
        assert names_in(tmp_path) == ["out.part"]
        assert [row["room_id"] for row in rows(tmp_path / "out.part")] == ["r1"]
        with pytest.raises(ConfigurationError, match="another process"), OutcomeFile(out):
            pass
    assert names_in(tmp_path) == ["out"]
    assert out.stat().st_mode & 0o777 == 0o600


def test_outcomes_of_a_killed_run_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text('{"room_id": "finished"}\n')
    out.with_name("out.part").write_text('{"room_id": "killed"}\n')
    with OutcomeFile(out) as file:
        assert [path.read_text() for path in file.kept_as] == ['{"room_id": "killed"}\n', '{"room_id": "finished"}\n']
    assert names_in(tmp_path) == ["out", "out.1", "out.2"]


def test_full_disk_leaves_the_outcomes_under_their_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    outcome = BulkOutcome(index=0, status="created", room_id="r1")
    with pytest.raises(OSError, match="No space"), OutcomeFile(tmp_path / "out") as file:
        file.enter(outcome, 0, 2)
        monkeypatch.setattr(os, "pwrite", full)
        file.enter(outcome, 1, 3)
    assert names_in(tmp_path) == ["out.part"]


def test_run_that_ends_with_an_error_before_its_first_outcome_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutcomeFile(tmp_path / "out.jsonl"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with OutcomeFile(tmp_path / "out.jsonl"):
        pass
    assert names_in(tmp_path) == ["out.jsonl"]


def test_outcomes_of_a_run_that_ends_with_another_error_have_their_name(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), OutcomeFile(tmp_path / "out") as file:
        file.enter(BulkOutcome(index=0, status="created", room_id="r1"), 0, 2)
        raise BrokenPipeError
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("what", ["link", "directory"])
def test_outcomes_do_not_replace_a_link_or_a_directory(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    (tmp_path / "precious").write_text("precious")
    out.symlink_to(tmp_path / "precious") if what == "link" else out.mkdir()
    with pytest.raises(ConfigurationError, match=f"this is a {what}"), OutcomeFile(out):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_with_another_name_and_the_same_keys_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / "fixed.csv").write_text("name\nA\nB\nC\n")
    refused = cli("rooms", "create-many", "fixed.csv")
    assert refused.exit_code == 2
    assert f"The job {OUT} of 20" in refused.stderr
    assert "has created rooms for 2 of the 3 keys in fixed.csv" in refused.stderr
    assert "save it as rooms.csv" in refused.stderr
    assert "--fresh" in refused.stderr
    assert names(sandbox) == ["A", "B"]
    assert {path.name for path in folder.iterdir() if path.name.startswith("fixed")} == {"fixed.csv"}
    # The command that the message gives.
    words = shlex.split(refused.stderr.split("with fixed.csv: ")[1].splitlines()[0])
    continued = cli(*words[words.index("rooms") :])
    assert continued.exit_code == 0, continued.output
    assert names(sandbox) == ["A", "B", "C"]


def test_folder_of_many_jobs_is_listed_a_fixed_number_of_times(
    cli: Cli, folder: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (folder / f"in{number}.csv").write_text(f"name\nRoom {number}\n")
        assert cli("rooms", "create-many", f"in{number}.csv").exit_code == 0
    listed: list[Path] = []
    iterdir = Path.iterdir

    def counted(path: Path) -> Iterator[Path]:
        listed.append(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", counted)
    assert cli(*CREATE).exit_code == 0
    assert len(listed) < 5


def test_pipes_named_like_a_job_or_its_outcomes_are_not_read(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    os.mkfifo(folder / "events.job")
    assert cli(*CREATE).exit_code == 0
    # An outcome file of another job, and one of its earlier runs.
    for name in (OUT, f"{OUT}.1"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    (folder / "other.csv").write_text("name\nC\n")
    assert cli("rooms", "create-many", "other.csv").exit_code == 0
    assert names(sandbox) == ["A", "B", "C"]


def test_only_fresh_begins_a_job_with_the_same_keys(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    for file, options in (("b.csv", ("--fresh",)), ("c.csv", ("--job-id", "autumn", "--fresh"))):
        (folder / file).write_text("name\nA\n")
        for refused in ((), ("--job-id", "autumn"), ("--out", "/dev/null")):
            assert cli("rooms", "create-many", file, *refused).exit_code == 2
        assert cli("rooms", "create-many", file, *options).exit_code == 0
        assert cli("rooms", "create-many", file).exit_code == 0
    assert names(sandbox) == ["A", "A", "A", "B"]


@pytest.mark.parametrize("where", ["same", "below", "above", "device"])
def test_job_id_of_another_outcome_file_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    place = folder / "deep" / "deeper" if where in ("below", "above") else folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "fixed.csv").write_text("name\nA\nB\nC\n")
    if where == "above":
        (folder / "deep" / "rooms.csv").write_text(rooms.read_text())
        monkeypatch.chdir(folder / "deep")
    assert cli(*CREATE).exit_code == 0
    if where == "above":
        monkeypatch.chdir(place)
    job_id = json.loads(next(folder.rglob(f"{OUT}.job")).read_text())["job_id"]
    name = "deep/deeper/fixed.csv" if where == "below" else "fixed.csv"
    device = ("--out", "/dev/null") if where == "device" else ()
    for more in ((), ("--fresh",), ("--dry-run",)):
        refused = cli("rooms", "create-many", name, "--job-id", job_id, *device, *more)
        assert refused.exit_code == 2, refused.output
        assert "has the outcome file" in refused.stderr
    assert not list(place.glob("fixed.csv.*"))
    assert names(sandbox) == ["A", "B"]
    # The command that the message gives.
    words = shlex.split(refused.stderr.split("continue that job: ")[1].splitlines()[0])
    continued = cli(*words[words.index("rooms") :])
    assert continued.exit_code == 0, continued.output
    assert names(sandbox) == ["A", "B", "C"]
    # Another ID, or the same one for the same outcome file.
    other = ("rooms", "create-many", name, "--out", "other.jsonl", "--job-id", "winter")
    if where != "above":
        # There, only a job with this ID, or for a file of the same name, is looked at.
        assert cli(*other).exit_code == 2
    assert cli(*other, "--fresh").exit_code == 0
    assert cli(*other).exit_code == 0
    assert names(sandbox) == ["A", "A", "B", "B", "C", "C"]


def test_keys_without_a_room_do_not_refuse_another_file(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    rooms.write_text("name,sip\nA,\nB,perhaps\n")
    assert cli(*CREATE).exit_code == 1
    (folder / "failed.csv").write_text("name,sip\nB,yes\n")
    assert cli("rooms", "create-many", "failed.csv").exit_code == 0
    assert names(sandbox) == ["A", "B"]


def test_other_outcome_file_or_folder_does_not_hide_the_job(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    assert cli(*CREATE).exit_code == 0
    refused = cli(*CREATE, "--out", "other.jsonl")
    assert refused.exit_code == 2
    assert f"give --out {OUT}" in refused.stderr
    (folder / "deeper").mkdir()
    assert cli(*CREATE, "--out", "deeper/other.jsonl").exit_code == 2
    # All outcomes of the last run are in the file that a killed run has left.
    (folder / OUT).rename(folder / f"{OUT}.part")
    assert cli(*CREATE, "--out", "other.jsonl").exit_code == 2
    (folder / f"{OUT}.part").rename(folder / f"{OUT}.1")
    assert cli(*CREATE, "--out", "other.jsonl").exit_code == 2
    assert names(sandbox) == ["A", "B"]


def test_job_of_another_account_does_not_refuse_a_file(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    note = folder / f"{OUT}.job"
    note.write_text(json.dumps({**json.loads(note.read_text()), "app_id": "b" * 24}))
    (folder / "notes.job").write_text("no job")
    (folder / "fixed.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", "fixed.csv").exit_code == 0
    assert names(sandbox) == ["A", "A", "B"]


def test_error_for_a_renamed_input_names_its_old_name(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    rooms.rename(folder / "t.csv")
    refused = cli("rooms", "create-many", "t.csv", "--out", OUT)
    assert refused.exit_code == 2
    assert "To continue, rename or move the input back to rooms.csv" in refused.stderr
    assert "--fresh begins a new job, which creates all of its rooms again" in refused.stderr
    (folder / "copy").mkdir()
    (folder / "t.csv").rename(folder / "copy" / "rooms.csv")
    refused = cli("rooms", "create-many", "copy/rooms.csv", "--out", OUT)
    assert refused.exit_code == 2
    assert "To continue, rename or move the input back to rooms.csv" in refused.stderr
    assert names(sandbox) == ["A", "B"]


def test_link_to_the_input_does_not_hide_the_job(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "far" / "away" / "link.csv").symlink_to(rooms)
    refused = cli("rooms", "create-many", "far/away/link.csv")
    assert refused.exit_code == 2, refused.output
    assert f"To continue that job, give --out {folder / OUT}" in refused.stderr
    result = cli("rooms", "create-many", "far/away/link.csv", "--out", OUT)
    assert result.exit_code == 0, result.output
    assert names(sandbox) == ["A", "B"]


def test_file_with_few_of_the_lines_is_not_to_replace_the_input(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    rooms.write_text("name\nA\nB\nC\n")
    assert cli(*CREATE).exit_code == 0
    (folder / "deleted.csv").write_text("name\nA\n")
    refused = cli("rooms", "create-many", "deleted.csv")
    assert refused.exit_code == 2
    assert "Do not save it as rooms.csv, which has many more lines." in refused.stderr
    assert (
        "To create all rooms of deleted.csv in a new job, such as rooms that were deleted, give --fresh"
        in refused.stderr
    )


def test_copy_with_ids_is_not_to_replace_the_input(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    assert cli(*CREATE, "--with-ids", "ids.csv").exit_code == 0
    refused = cli("rooms", "create-many", "ids.csv", "--ignore-column", "room_id")
    assert refused.exit_code == 2
    assert "has created rooms for 2 of the 2 keys" in refused.stderr
    assert "Do not save it as rooms.csv: it has a column room_id" in refused.stderr
    assert "save it as rooms.csv and" not in refused.stderr
    assert names(sandbox) == ["A", "B"]


def leave_as_killed(folder: Path, mode: str) -> None:
    """Leave the files as a run does that is killed before the first response."""
    (folder / OUT).rename(folder / f"{OUT}.part")
    (folder / f"{OUT}.part").write_text("")
    if mode == "workers":
        (folder / f"{OUT}.journal").unlink()


@pytest.mark.parametrize("mode", ["journal", "workers"])
def test_creates_in_flight_of_a_killed_run_refuse_another_file(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, mode: str
) -> None:
    assert cli(*CREATE).exit_code == 0
    leave_as_killed(folder, mode)
    (folder / "rest.csv").write_text("name\nB\nC\n")
    refused = cli("rooms", "create-many", "rest.csv")
    assert refused.exit_code == 2, refused.output
    assert "has, or may have, created rooms for 1 of the 2 keys in rest.csv" in refused.stderr
    assert names(sandbox) == ["A", "B"]


@pytest.mark.parametrize("mode", ["journal", "workers"])
def test_creates_in_flight_refuse_a_renamed_input(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, mode: str
) -> None:
    assert cli(*CREATE).exit_code == 0
    leave_as_killed(folder, mode)
    rooms.rename(folder / "renamed.csv")
    assert cli("rooms", "create-many", "renamed.csv").exit_code == 2
    assert names(sandbox) == ["A", "B"]


@pytest.mark.parametrize(("is_open", "code"), [("1", 2), ("0", 0)])
def test_creates_in_flight_on_workers_refuse_a_renamed_input_after_a_run_without_redis(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, is_open: str, code: int
) -> None:
    assert cli(*CREATE).exit_code == 0
    # The outcomes of the run that was killed are gone.
    (folder / OUT).write_text("")
    (folder / f"{OUT}.journal").unlink()
    note = json.loads((folder / f"{OUT}.job").read_text())
    (folder / f"{OUT}.job").write_text(json.dumps({**note, "shared": "redis", "open": is_open}))
    rooms.rename(folder / "renamed.csv")
    assert cli("rooms", "create-many", "renamed.csv", "--dry-run").exit_code == code


def test_shared_job_is_open_until_each_input_has_an_outcome(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def is_open() -> str:
        return str(json.loads((tmp_path / "out.job").read_text())["open"])

    for closes in (False, True, False):
        # The last one continues the job in one process.
        with open_job(out, ABOUT, OpenOptions(shared=closes or not out.exists()), quiet=True) as job:
            assert is_open() == "1"
            if closes:
                job.close()
        assert is_open() == ("0" if closes else "1")
        out.touch()


def test_link_to_the_folder_of_the_outcomes_does_not_hide_the_job(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "far" / "away")
    assert cli(*CREATE, "--out", "link/other.jsonl").exit_code == 2
    assert names(sandbox) == ["A", "B"]


def test_keys_that_were_numbers_and_are_text_now_are_recognized(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.jsonl").write_text('{"name": "A", "key": 1}\n{"name": "B", "key": 2}\n')
    assert cli("rooms", "create-many", "rooms.jsonl").exit_code == 0
    (folder / "rooms.csv").write_text("name,key\nA,1\nB,2\n")
    refused = cli("rooms", "create-many", "rooms.csv")
    assert refused.exit_code == 2, refused.output
    assert "has created rooms for 2 of the 2 keys in rooms.csv" in refused.stderr
    # With keys of another type, it would create them again.
    assert "those of a CSV file are always text: continue it with rooms.jsonl, with numbers" in refused.stderr
    assert "--job-id" not in refused.stderr
    job_id = json.loads((folder / "rooms.jsonl.outcomes.jsonl.job").read_text())["job_id"]
    continued = ("rooms.csv", "--out", "rooms.jsonl.outcomes.jsonl", "--job-id", job_id)
    (folder / "text.jsonl").write_text('{"name": "A", "key": "1"}\n{"name": "B", "key": 2}\n')
    for words in (continued, ("text.jsonl", *continued[1:])):
        refused = cli("rooms", "create-many", *words)
        assert refused.exit_code == 2, refused.output
        assert "This job has created rooms for" in refused.stderr
        assert "as in rooms.jsonl" in refused.stderr or "continue it with rooms.jsonl" in refused.stderr
    assert names(sandbox) == ["A", "B"]


@pytest.mark.parametrize("where", ["above", "current"])
def test_input_that_was_moved_without_its_job_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    assert cli(*CREATE).exit_code == 0
    (folder / "deep" / "deeper").mkdir(parents=True)
    moved = folder / "deep" / "rooms.csv" if where == "above" else folder / "deep" / "deeper" / "rooms.csv"
    rooms.rename(moved)
    if where == "above":
        monkeypatch.chdir(moved.parent)
    name = "rooms.csv" if where == "above" else "deep/deeper/rooms.csv"
    refused = cli("rooms", "create-many", name)
    assert refused.exit_code == 2, refused.output
    assert "has created rooms for 2 of the 2 keys in rooms.csv" in refused.stderr
    assert "If rooms.csv was moved or copied from there, move all files whose names begin with" in refused.stderr
    # The command that the message gives.
    words = shlex.split(refused.stderr.split("with rooms.csv: ")[1].splitlines()[0])
    continued = cli(*words[words.index("rooms") :])
    assert continued.exit_code == 0, continued.output
    assert names(sandbox) == ["A", "B"]
    # The advice.
    for path in folder.glob(f"{OUT}*"):
        path.rename(moved.parent / path.name)
    assert cli("rooms", "create-many", name).exit_code == 0
    assert names(sandbox) == ["A", "B"]
    # A file with another name in another folder may have the same keys.
    monkeypatch.chdir(moved.parent)
    (moved.parent / "term").mkdir()
    (moved.parent / "term" / "spring.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", "term/spring.csv").exit_code == 0
    assert names(sandbox) == ["A", "A", "B"]


def test_job_of_a_folder_that_is_a_link_is_found_and_continued(
    cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path
) -> None:
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "far" / "away")
    assert cli(*CREATE).exit_code == 0
    # The folder of the input is next to the link, not to what it names.
    assert cli(*CREATE, "--out", "link/other.jsonl").exit_code == 2
    (folder / "b.csv").write_text("name\nC\n")
    ours = ("rooms", "create-many", "b.csv", "--settle", 0.2, "--out", "link/b.jsonl")
    assert cli(*ours, "--journal", "b.journal").exit_code == 0
    for again in (ours, (*ours, "--journal", "b.journal")):
        continued = cli(*again)
        assert continued.exit_code == 0, continued.output
        assert "is missing" not in continued.stderr
    assert names_in(folder / "far") == ["away"]
    assert names(sandbox) == ["A", "B", "C"]


def test_other_files_named_like_a_job_do_not_matter(cli: Cli, sandbox: Sandbox, folder: Path, rooms: Path) -> None:
    (folder / "deep.job").write_text("[" * 50_000)
    os.mkfifo(folder / "pipe.job")
    assert cli(*CREATE).exit_code == 0
    own = folder / f"{OUT}.job"
    own.write_text("[" * 50_000)
    refused = cli(*CREATE)
    assert refused.exit_code == 5
    assert "does not describe a job" in refused.stderr


def test_printed_command_works_with_unusual_names_and_keys(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.jsonl").write_text('{"name": "A", "key": "\\ud800"}\n')
    assert cli("rooms", "create-many", "rooms.jsonl").exit_code == 0
    (folder / "-b c.jsonl").write_text('{"name": "A", "key": "\\ud800"}\n{"name": "B", "key": "b"}\n')
    refused = cli("rooms", "create-many", "--", "-b c.jsonl")
    assert refused.exit_code == 2
    assert "has created rooms for 1 of the 2 keys" in refused.stderr
    words = shlex.split(refused.stderr.split("with -b c.jsonl: ")[1].splitlines()[0])
    continued = cli(*words[words.index("rooms") :])
    assert continued.exit_code == 0, continued.output
    assert names(sandbox) == ["A", "B"]
