"""The command line on what only a bulk run knows: doubt, proof, changed lines, and lost journals."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from videoapi.bulk import BulkReport
from videoapi.cli import progress
from videoapi.cli.bulk import settle_wait
from videoapi.cli.exit_codes import FAILED, of_run
from videoapi.errors import ConfigurationError
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
CREATE = ("rooms", "create-many", "rooms.csv", "--settle", 0.2)
OUT = "rooms.csv.outcomes.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(sandbox: Sandbox) -> list[str]:
    return sorted(room["name"] for room in sandbox.ledger.rooms.values())


@pytest.mark.parametrize(
    ("in_doubt", "settles_at", "text"),
    [
        (7, 162.4, "7 creates in doubt: waiting 62 s for proof (settle time)"),
        (1, 99.0, "1 create in doubt: waiting 0 s for proof (settle time)"),
        (7, None, ""),
    ],
)
def test_settle_wait_is_counted_down(in_doubt: int, settles_at: float | None, text: str) -> None:
    assert settle_wait(BulkReport(in_doubt=in_doubt, settles_at=settles_at), 100.0) == text


@pytest.mark.parametrize(("total", "what"), [(0, "looking for rooms of an earlier run"), (3, "checking the list")])
def test_a_wait_without_creates_in_doubt_says_what_it_is_for(total: int, what: str) -> None:
    assert settle_wait(BulkReport(total=total, settles_at=101.0), 100.0).startswith(what)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a progress line follow each tick of 20 ms."""
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.01)
    monkeypatch.setattr("videoapi.cli.bulk._TICK", 0.02)


@pytest.mark.usefixtures("often")
def test_progress_shows_the_wait_of_a_settled_audit(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    result = cli("rooms", "create-many", "rooms.csv", "--audit", "settled", "--settle", 1)
    assert result.exit_code == 0, result.output
    assert re.search(r"rooms: 1 of 1, .*checking the list of rooms: waiting [01] s for proof", result.stderr)
    assert "earlier run" not in result.stderr


def test_inputs_that_were_not_sent_do_not_count_as_progress(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.0)
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(20)))
    sandbox.fault("rooms.create", "suspended", after=3)
    result = cli(*CREATE, "--concurrency", 8, "--rate", "10/s")
    assert result.exit_code == 4, result.output
    counts = Counter(row["status"] for row in rows(folder / OUT))
    assert counts["not_sent"] > 0
    *_, last = [line for line in result.stderr.splitlines() if line.startswith("rooms: ")]
    assert last.startswith(f"rooms: {counts.total() - counts['not_sent']} of 20, ")


@pytest.mark.usefixtures("often")
def test_progress_shows_the_settle_wait(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    sandbox.fault("rooms.create", "drop_before", times=2)
    result = cli("rooms", "create-many", "rooms.csv", "--concurrency", 1, "--settle", 2)
    assert result.exit_code == 0, result.output
    assert re.search(r"rooms: 1 of 3, .*2 creates in doubt: waiting [12] s for proof \(settle time\)", result.stderr)


def test_changed_line_keeps_its_room_and_is_counted(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,data.team\nA,red\nB,red\n")
    assert cli(*CREATE).exit_code == 0
    (folder / "rooms.csv").write_text("name,data.team\nA,red\nB,blue\n")
    again = cli(*CREATE)
    assert again.exit_code == 0, again.output
    assert "Lines that changed since their room was created: 1." in again.stderr
    assert {row["key"]: row["changed"] for row in rows(folder / OUT)} == {"A": False, "B": True}
    assert names(sandbox) == ["A", "B"]


def test_changed_lines_are_named_with_the_command_that_lists_them(cli: Cli, folder: Path) -> None:
    table = "name,data.team\n" + "".join(f"A{number},red\n" for number in range(7))
    (folder / "rooms.csv").write_text(table)
    create = ("rooms", "create-many", "rooms.csv", "--settle", 0.2)
    assert cli(*create).exit_code == 0
    (folder / "rooms.csv").write_text(table.replace("red", "blue"))
    again = cli(*create)
    assert again.exit_code == 0, again.output
    assert (
        "Lines that changed since their room was created: 7. The rooms stay as they are.\n"
        "  line 2: A0\n  line 3: A1\n  line 4: A2\n  line 5: A3\n  line 6: A4\n  and 2 more.\n"
        "To list all differences between the file and the rooms of this job:\n"
    ) in again.stderr
    (command,) = [line for line in again.stderr.splitlines() if " rooms audit " in line]
    words = shlex.split(command)
    assert "changed: line 2: A0" in cli(*words[words.index("rooms") :]).stdout
    assert "rooms audit" not in cli(*create, "--quiet").stderr


def test_rooms_whose_line_was_removed_are_named(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create = ("rooms", "create-many", "rooms.csv", "--settle", 0.2, "--json")
    (folder / "rooms.csv").write_text("name,key\nOld,0\n")
    assert cli(*create).exit_code == 0
    (folder / "rooms.csv").write_text("name,key\nA,1\nB,2\nC,3\n")
    first = cli(*create, "--fresh")
    assert first.exit_code == 0, first.output
    room = {str(fields["name"]): room_id for room_id, fields in sandbox.ledger.rooms.items()}
    for rows_left, removed in (("A,1\nB,2\n", ["C"]), ("A,1\nD,4\n", ["B", "C"])):
        (folder / "rooms.csv").write_text(f"name,key\n{rows_left}")
        again = cli(*create)
        assert again.exit_code == 0, again.output
        assert (
            f"Rooms that earlier runs of this job created for lines that the file no longer has: {len(removed)}. "
            "This run has not deleted them.\n"
        ) in again.stderr
        for name in removed:
            assert f", {name} (room {room[name]})\n" in again.stderr
        assert " rooms audit " in again.stderr
        found = json.loads(again.stdout)["without_line"]
        assert sorted(one["name"] for one in found) == removed
        assert {one["room_id"] for one in found} == {room[name] for name in removed}
    (folder / "rooms.csv").write_text("name,key\nA,1\nB,2\nC,3\nD,4\n")
    complete = cli(*create)
    assert json.loads(complete.stdout)["without_line"] == []
    assert "the file no longer has" not in complete.stderr


def test_key_of_another_room_fails(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,key\nA,1\n")
    assert cli(*CREATE).exit_code == 0
    (room_id,) = sandbox.ledger.rooms
    (folder / "rooms.csv").write_text("name,key\nB,1\n")
    again = cli(*CREATE)
    assert again.exit_code == 1, again.output
    assert room_id in again.stderr
    assert names(sandbox) == ["A"]


@pytest.mark.parametrize("lost", [(".journal",), (".journal", "")])
def test_lost_journal_creates_nothing_twice(cli: Cli, sandbox: Sandbox, folder: Path, lost: tuple[str, ...]) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    assert cli(*CREATE).exit_code == 0
    for tail in lost:
        (folder / (OUT + tail)).unlink()
    again = cli(*CREATE)
    assert again.exit_code == 0, again.output
    assert (
        "The journal rooms.csv.outcomes.jsonl.journal does not exist: the list of rooms is read first." in again.stderr
    )
    assert names(sandbox) == ["A", "B"]


def test_journal_of_another_account_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE, "--journal", "jobs.db", "--job-id", "autumn").exit_code == 0
    with Sandbox(seed=8).in_thread() as other:
        for name, value in (("BASE_URL", other.base_url), ("APP_ID", other.app_id), ("APP_KEY", other.app_key)):
            monkeypatch.setenv(f"VIDEOAPI_{name}", value)
        refused = cli(*CREATE, "--journal", "jobs.db", "--job-id", "autumn", "--out", "other.jsonl")
        assert refused.exit_code == 5
        assert "jobs.db" in refused.stderr
        assert other.ledger.rooms == {}


@pytest.fixture
def hidden(sandbox: Sandbox) -> None:
    """Have the response to a create be lost, and the list not show the room."""
    sandbox.set(list_omits="data")
    sandbox.fault("rooms.create", "drop_after")


@pytest.mark.usefixtures("hidden")
def test_unknown_room_is_settled_by_repeating_the_command(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,owner_ref\nA,a\nB,b\nC,c\n")
    assert cli(*CREATE, "--concurrency", 1).exit_code == 3
    sandbox.set(list_omits="nothing")
    assert cli(*CREATE, "--concurrency", 1).exit_code == 0
    assert names(sandbox) == ["A", "B", "C"]


@pytest.mark.usefixtures("hidden")
def test_resolve_is_not_advised_without_a_room_that_proves_anything(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,owner_ref\nA,a\n")
    result = cli(*CREATE)
    assert result.exit_code == 3, result.output
    assert "rooms resolve" not in result.stderr
    assert "Unknown rooms may exist. The command above looks for all of them.\n" in result.stderr


def test_account_error_is_one_message(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    sandbox.fault("rooms.create", "suspended", times=None, after=1)
    result = cli(*CREATE, "--concurrency", 1, "--json")
    assert result.exit_code == 4, result.output
    assert result.stderr.count("Stopped before the end: ") == 1
    assert json.loads(result.stdout)["stopped"]
    sandbox.clear_faults()
    assert cli(*CREATE).exit_code == 0
    assert names(sandbox) == ["A", "B", "C"]


@pytest.mark.parametrize("limit", ["--timeout", "--give-up-after"])
def test_finished_job_whose_rooms_cannot_be_checked_again_says_so(
    cli: Cli, sandbox: Sandbox, folder: Path, limit: str
) -> None:
    (folder / "rooms.csv").write_text("name,key\nA,1\nB,2\n")
    assert cli(*CREATE).exit_code == 0
    sandbox.fault("rooms.list", "status", times=None, status=503)
    result = cli(*CREATE, limit, 1, "--json")
    assert result.exit_code == 0, result.output
    said = result.stderr
    assert "Stopped before the end" not in said
    assert "To continue" not in said
    assert json.loads(result.stdout)["stopped"] is None
    assert "2 created (2 of them earlier), in " in said
    assert "were not checked again, because the list of rooms could not be read: GET /rooms: " in said
    lines = said.splitlines()
    at = lines.index("To check them:")
    assert "rooms audit " in lines[at + 1]
    sandbox.clear_faults()
    words = shlex.split(lines[at + 1])
    assert cli(*words[words.index("rooms") :]).exit_code == 0


def test_run_that_was_stopped_does_not_exit_with_0() -> None:
    assert of_run({"created": 2}, ConfigurationError("The journal cannot be written."), exhausted=True) == FAILED
