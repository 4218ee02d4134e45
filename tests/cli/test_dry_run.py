"""`rooms create-many --dry-run` checks a whole file, and sends nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.cli.job import sole_user
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
CHECK = ("rooms", "create-many", "rooms.csv", "--dry-run")


@pytest.fixture(autouse=True)
def without_access(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment:
        monkeypatch.delenv(name)


def test_valid_file_needs_no_account(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    result = cli(*CHECK)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "2 lines, 0 invalid" in result.stderr
    assert sandbox.ledger.requests() == 0
    assert [path.name for path in folder.iterdir()] == ["rooms.csv"]


def test_every_invalid_line_is_printed(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text(
        "name,key,sip,settings.moderators\n"
        "A,a,,\n"
        ",b,,\n"
        "C,c,perhaps,\n"
        "D,a,,\n"
        "E,e,,9\n"
        "F,,,\n" + "".join(f",x{number},,\n" for number in range(10)) + 'G,"g,,\nH,h,,\n'
    )
    result = cli(*CHECK)
    assert result.exit_code == 1
    printed = result.stdout.splitlines()
    # Of lines with the same error, the first five.
    numbers = (3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert [line.partition(":")[0] for line in printed] == [
        *(f"line {number}" for number in numbers),
        "6 more",
        "line 18",
    ]
    assert "'a' is already used in line 2" in printed[2]
    assert "quote" in printed[-1]
    assert "16 lines, 15 invalid, and the rest of the file cannot be read" in result.stderr
    report = json.loads(cli(*CHECK, "--json").stdout)
    assert len(report["problems"]) == 15
    assert report["unreadable"] == printed[-1]


def test_white_labels_values_pass_unchecked(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,settings.moderators\nA,9\n")
    assert cli(*CHECK).exit_code == 1
    assert cli(*CHECK, "--no-validate").exit_code == 0


def test_repeated_names_are_reported_with_both_lines(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nA\n")
    result = cli(*CHECK, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["keys"] == "name"
    assert report["total"] == 3
    assert [(problem["line"], problem["key"]) for problem in report["problems"]] == [(4, "A")]
    assert "Lines 2 and 4 have the same name" in report["problems"][0]["message"]
    assert "--key-column" in report["problems"][0]["message"]


def test_columns_that_are_sent_are_named(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,key,data.kurs,Dozent\nA,1,K,Ada\n")
    result = cli(*CHECK, "--ignore-column", "Dozent")
    assert result.exit_code == 0, result.output
    assert "Columns sent: name, data.kurs. Not sent: key (the key), Dozent." in result.stderr
    assert "1 line, 0 invalid" in result.stderr
    report = json.loads(cli(*CHECK, "--ignore-column", "Dozent", "--json").stdout)
    assert (report["sent"], report["not_sent"]) == (["name", "data.kurs"], ["key", "Dozent"])


CREATE = CHECK[:-1]


@pytest.fixture
def with_access(environment: dict[str, str], without_access: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_job_that_the_command_would_continue_or_begin_is_named(
    cli: Cli, sandbox: Sandbox, folder: Path, with_access: None
) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    assert "Without --dry-run, the command would begin a new job." in cli(*CHECK).stderr
    assert cli(*CREATE).exit_code == 0
    before = sandbox.ledger.requests()
    result = cli(*CHECK)
    assert result.exit_code == 0, result.output
    assert "Without --dry-run, the command would continue the job of 20" in result.stderr
    assert "would begin a new job" in cli(*CHECK, "--fresh").stderr
    assert sandbox.ledger.requests() == before


@pytest.mark.parametrize("has_account", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        ("other.csv",),
        ("rooms.csv", "--out", "other.jsonl"),
        ("other.csv", "--out", "rooms.csv.outcomes.jsonl"),
        ("rooms.csv", "--job-id", "other"),
        ("rooms.csv", "--journal", "other.db"),
        ("rooms.csv", "--key-column", "data.id"),
        ("rooms.csv", "--workers", "2", "--redis", "redis://127.0.0.1"),
        ("rooms.csv", "--redis", "redis://127.0.0.1"),
        ("rooms.csv", "--workers", "2", "--redis", "redis://127.0.0.1", "--journal", "j.db"),
        ("rooms.csv", "--out", "rooms.csv"),
    ],
)
def test_refusals_are_those_of_the_command(
    cli: Cli,
    sandbox: Sandbox,
    folder: Path,
    with_access: None,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    options: tuple[str, ...],
    has_account: bool,
) -> None:
    for name in ("rooms.csv", "other.csv"):
        (folder / name).write_text("name,data.id\nA,1\nB,2\n")
    assert cli(*CREATE).exit_code == 0
    before = sandbox.ledger.requests()
    there = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    refused = cli("rooms", "create-many", *options)
    assert refused.exit_code == 2, refused.output
    if not has_account:
        for name in environment:
            monkeypatch.delenv(name)
    checked = cli("rooms", "create-many", *options, "--dry-run")
    assert checked.exit_code == 2, checked.output
    message = refused.stderr.partition("Error: ")[2]
    assert message
    assert message in checked.stderr
    assert sandbox.ledger.requests() == before
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == there


def test_job_of_another_account_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, with_access: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE).exit_code == 0
    monkeypatch.setenv("VIDEOAPI_APP_ID", "b" * 24)
    for command in (CREATE, CHECK):
        refused = cli(*command)
        assert refused.exit_code == 5
        assert "belongs to the account" in refused.stderr


def test_start_that_has_passed_is_named_by_its_column(
    cli: Cli, folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (folder / "rooms.csv").write_text("name,starts_at,minutes\nA,2020-01-01T10:00Z,30\n")
    text = "starts_at must be in the future: 2020-01-01 10:00:00 UTC has passed"
    assert f"line 2: {text}" in cli("rooms", "create-many", "rooms.csv", "--dry-run").stdout
    result = cli("rooms", "create-many", "rooms.csv")
    assert result.exit_code == 1, result.output
    assert f"line 2 failed: {text}" in result.stderr
    error = json.loads((folder / "rooms.csv.outcomes.jsonl").read_text())["error"]
    assert (error["field"], error["code"], error["message"][: len(text)]) == ("starts_at", 10006, text)


def test_start_that_has_passed_is_invalid_unless_a_job_continues(
    cli: Cli, sandbox: Sandbox, folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = "name,settings.scheduled,settings.scheduled_time,settings.duration"
    (folder / "rooms.csv").write_text(f"{settings}\nA,true,2020-01-01 10:00:00,30\nB,,,\n")
    refused = cli("rooms", "create-many", "rooms.csv", "--dry-run")
    assert refused.exit_code == 1, refused.output
    assert "line 2: settings.scheduled_time must be in the future" in refused.stdout
    assert cli("rooms", "create-many", "rooms.csv", "--dry-run", "--no-validate").exit_code == 0
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 1
    # Rooms of an earlier run may have started.
    assert cli("rooms", "create-many", "rooms.csv", "--dry-run").exit_code == 0
    assert len(sandbox.ledger.rooms) == 1


def test_job_that_runs_in_another_process_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, with_access: None
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE).exit_code == 0
    with sole_user(folder / "rooms.csv.outcomes.jsonl"):
        for command in ((*CREATE, "--fresh"), CREATE, (*CHECK, "--fresh"), CHECK):
            refused = cli(*command)
            assert refused.exit_code == 5, refused.output
            assert "another process is working on this job. Wait until it ends." in refused.stderr


def test_rooms_that_would_be_created_again_are_counted(
    cli: Cli, sandbox: Sandbox, folder: Path, with_access: None
) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    fresh = (*CHECK, "--fresh", "--json")
    assert json.loads(cli(*fresh).stdout)["job"] == {"new": True, "began": None, "rooms_again": 0}
    assert cli(*CREATE).exit_code == 0
    result = cli(*fresh)
    assert "would begin a new job, and create 2 rooms of the earlier job again." in result.stderr
    assert json.loads(result.stdout)["job"] == {"new": True, "began": None, "rooms_again": 2}
    job = json.loads(cli(*CHECK, "--json").stdout)["job"]
    assert (job["new"], job["began"][:2], job["rooms_again"]) == (False, "20", 0)
    assert json.loads(cli(*CHECK, "--json", "--job-id", "other").stdout)["job"] is None


@pytest.mark.parametrize("case", ["url", "package", "valid"])
def test_redis_of_workers_is_checked_but_not_contacted(
    cli: Cli, sandbox: Sandbox, folder: Path, with_access: None, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    # Nothing listens there.
    url = "localhost:1" if case == "url" else "redis://127.0.0.1:1/0"
    if case == "package":
        for name in ("redis", "redis.asyncio"):
            monkeypatch.setitem(sys.modules, name, None)
    words = ("--workers", "2", "--redis", url)
    result = cli(*CHECK, *words)
    if case == "valid":
        pytest.importorskip("redis")
        assert result.exit_code == 0, result.output
        assert "Whether Redis can be used was not checked." in result.stderr
        return
    assert result.exit_code == 5, result.output
    assert "Nothing was sent" not in result.stderr
    assert result.stderr.count("\n") == 1
    refused = cli("rooms", "create-many", "rooms.csv", *words)
    assert refused.exit_code == 5
    assert "Redis" in refused.stderr.splitlines()[-1] or "redis" in refused.stderr.splitlines()[-1]
    assert refused.stderr.splitlines()[-1] == result.stderr.splitlines()[-1]


def test_missing_journal_is_named(cli: Cli, sandbox: Sandbox, folder: Path, with_access: None) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE).exit_code == 0
    missing = "The journal rooms.csv.outcomes.jsonl.journal does not exist: the list of rooms is read first."
    assert missing not in cli(*CHECK).stderr
    (folder / "rooms.csv.outcomes.jsonl.journal").unlink()
    assert missing in cli(*CHECK).stderr


def test_only_rooms_have_keys(cli: Cli, folder: Path) -> None:
    (folder / "users.csv").write_text("room_id,name,user_ref\n7060d02a58aab898ccc702d2,Ann,u-1\n")
    for command, effect in (("tokens create-many", "Tokens to issue"), ("rooms delete-many", "Rooms to delete")):
        checked = cli(*command.split(), "users.csv", "--dry-run")
        assert checked.exit_code == 0, checked.output
        assert "1 line, 0 invalid. Nothing was sent.\n" in checked.stderr
        assert f"{effect} without --dry-run: 1." in checked.stderr
