"""`videoapi rooms audit` finds out whether a job is complete."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.damage import DAMAGES, OF_A_REFERENCE, Damage, damage_room, deepen

from videoapi.cli.job import sole_user
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
ALL = {**DAMAGES, **OF_A_REFERENCE}
SETTLE = ("--settle", 0.3)


def make(cli: Cli, folder: Path, rooms: int = 4) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(rooms)))
    assert cli("rooms", "create-many", "rooms.csv", "--job-id", "j", *SETTLE).exit_code == 0


def test_a_complete_job(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    make(cli, folder)
    result = cli("rooms", "audit", "j", "rooms.csv", *SETTLE)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "4 of 4 lines have a room.",
        "Complete: each line has exactly one room of this job.",
    ]
    assert "settle time" in result.stderr
    assert len(sandbox.ledger.rooms) == 4


def test_missing_rooms_are_named(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    make(cli, folder)
    with (folder / "rooms.csv").open("a") as file:
        file.write("".join(f"B{number}\n" for number in range(7)))
    result = cli("rooms", "audit", "j", "rooms.csv", *SETTLE)
    assert result.exit_code == 1, result.output
    assert [line.split(" (")[0] for line in result.stdout.splitlines() if line.startswith("missing: line")] == [
        f"missing: line {number + 6}: B{number}" for number in range(5)
    ]
    assert "missing: 2 more; --json has all" in result.stdout
    document = json.loads(cli("rooms", "audit", "j", "rooms.csv", "--json", *SETTLE).stdout)
    assert [row["key"] for row in document["missing"]] == [f"B{number}" for number in range(7)]
    assert (document["complete"], document["found"], document["total"]) == (False, 4, 11)


def test_an_id_that_no_room_has_is_said_first(cli: Cli, folder: Path) -> None:
    make(cli, folder)
    result = cli("rooms", "audit", "other", "rooms.csv", *SETTLE)
    assert result.exit_code == 1, result.output
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith("No room has the job ID other.")
    assert second == "0 of 4 lines have a room."


def test_a_job_whose_rooms_belong_to_other_lines_has_rooms(cli: Cli, folder: Path) -> None:
    make(cli, folder)
    (folder / "rooms.csv").write_text("name\nB\n")
    assert "No room has" not in cli("rooms", "audit", "j", "rooms.csv", *SETTLE).stdout


def test_a_list_that_lags_proves_nothing(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    make(cli, folder)
    sandbox.set(list_lag=60.0)
    result = cli("rooms", "audit", "j", "rooms.csv", *SETTLE)
    assert result.exit_code == 3, result.output
    assert "The list shows no room with the job ID j." in result.stdout
    assert "not in the list: line 2: A0" in result.stdout
    assert "missing" not in result.stdout
    assert "Not proven" in result.stdout


@pytest.mark.parametrize("damage", ALL.values(), ids=ALL)
def test_a_room_that_cannot_be_read_is_not_missing(cli: Cli, sandbox: Sandbox, folder: Path, damage: Damage) -> None:
    make(cli, folder)
    asyncio.run(damage_room(sandbox, "A1", damage))
    result = cli("rooms", "audit", "j", "rooms.csv", *SETTLE)
    assert result.exit_code == 3, result.output
    assert "3 of 4 lines have a room in the list." in result.stdout
    assert "not in the list: line 3: A1" in result.stdout
    assert "cannot be read, and may be a room of this job: item 4 of the list" in result.stdout
    assert "do not create them again" in result.stdout
    assert "missing" not in result.stdout
    document = json.loads(cli("rooms", "audit", "j", "rooms.csv", "--json", *SETTLE).stdout)
    assert (document["complete"], document["audited"]) == (False, None)
    assert [text.partition(" (")[0] for text in document["unreadable_rooms"]] == ["item 4 of the list"]


def test_a_room_that_is_nested_too_deeply_is_found(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    make(cli, folder)
    asyncio.run(damage_room(sandbox, "A1", deepen))
    result = cli("rooms", "audit", "j", "rooms.csv", *SETTLE)
    assert result.exit_code == 0, result.output
    assert "4 of 4 lines have a room." in result.stdout


@pytest.mark.parametrize("rest", ["", '"B\n'])
def test_invalid_lines_are_named_and_the_others_audited(cli: Cli, sandbox: Sandbox, folder: Path, rest: str) -> None:
    make(cli, folder, rooms=2)
    (folder / "rooms.csv").write_text(f"name,sip\nA0,\nX,perhaps\nA1,\nNew,\n{rest}")
    result = cli("rooms", "audit", "rooms.csv")
    assert result.exit_code == 1, result.output
    first, second, *others = result.stdout.splitlines()
    assert first == "2 of 3 valid lines have a room."
    assert second == "invalid: line 3: sip must be true or false, not 'perhaps'."
    assert any(line.startswith("missing: line 5: New (") for line in others)
    assert any(line.startswith("unreadable: line 6: ") for line in others) == bool(rest)
    document = json.loads(cli("rooms", "audit", "rooms.csv", "--json").stdout)
    assert [(row["index"], row["line"]) for row in document["missing"]] == [(3, 5)]
    assert [problem["line"] for problem in document["problems"]] == [3]
    assert (document["unreadable"] is not None) == bool(rest)
    (folder / "rooms.csv").write_text("name,sip\nA0,\nX,perhaps\nA1,\n")
    result = cli("rooms", "audit", "rooms.csv", "--json")
    assert (result.exit_code, json.loads(result.stdout)["complete"]) == (1, False)
    assert "Complete" not in cli("rooms", "audit", "rooms.csv").stdout


@pytest.mark.parametrize("bad", ['"data": {"x": "\\ud800"}', '"data": {"x": NaN}', '"owner_ref": "\\ud800"'])
def test_line_that_cannot_be_sent_does_not_end_the_audit(cli: Cli, folder: Path, bad: str) -> None:
    (folder / "rooms.jsonl").write_text(f'{{"name": "A", "key": "a"}}\n{{"name": "B", "key": "b", {bad}}}\n')
    assert cli("rooms", "create-many", "rooms.jsonl", *SETTLE).exit_code == 1
    result = cli("rooms", "audit", "rooms.jsonl")
    assert result.exit_code == 1, result.output
    first, second, *_ = result.stdout.splitlines()
    assert first == "1 of 1 valid lines have a room."
    assert second.startswith("invalid: line 2: ")


def test_an_audit_waits_for_the_settle_time_of_the_latest_run(cli: Cli, folder: Path) -> None:
    make(cli, folder)
    create = ("rooms", "create-many", "rooms.csv", "--settle")
    assert "Waiting 0.3 s" in cli("rooms", "audit", "rooms.csv").stderr
    assert cli(*create, 0.2).exit_code == 0
    assert "Waiting 0.2 s" in cli("rooms", "audit", "rooms.csv").stderr
    assert "Waiting 0.1 s" in cli("rooms", "audit", "rooms.csv", "--settle", 0.1).stderr


def test_rooms_that_another_job_has_created_under_the_same_names_are_shown(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    make(cli, folder, rooms=2)
    audit = ("rooms", "audit", "rooms.csv")
    assert "Complete" in cli(*audit).stdout
    (folder / "other.csv").write_text("name,key\nA0,7\nA1,8\nB,9\n")
    assert cli("rooms", "create-many", "other.csv", "--fresh", *SETTLE).exit_code == 0
    result = cli(*audit)
    assert result.exit_code == 0, result.output
    *_, first, second, last = result.stdout.splitlines()
    assert first.startswith("same name and start, not of this job: line 2: ")
    assert second.startswith("same name and start, not of this job: line 3: ")
    assert last.startswith(
        "Each line has exactly one room of this job under its key, but 2 of them have the name and start of rooms that "
        "are not of this job."
    )
    rooms = {room_id for found in json.loads(cli(*audit, "--json").stdout)["namesakes"].values() for room_id in found}
    assert sorted(sandbox.ledger.rooms[room_id]["name"] for room_id in rooms) == ["A0", "A1"]
    assert rooms < {
        row["room_id"] for row in map(json.loads, (folder / "other.csv.outcomes.jsonl").read_text().splitlines())
    }


def test_rooms_under_other_keys_of_the_same_job_are_shown(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    table = "name,key\nA,1\nB,2\nSame,3\nC,4\nD,5\nE,6\n"
    (folder / "rooms.csv").write_text(table)
    create = ("rooms", "create-many", "rooms.csv", *SETTLE)
    assert cli(*create).exit_code == 0
    # Of two lines with one name and start, neither is named.
    (folder / "rooms.csv").write_text(table.replace("A,1", "A,11").replace("Same,3", "Same,13\nSame,14"))
    assert cli(*create).exit_code == 0
    result = cli("rooms", "audit", "rooms.csv")
    assert result.exit_code == 0, result.output
    named = [line for line in result.stdout.splitlines() if line.startswith("same name and start")]
    assert [line.split(": ")[:2] for line in named] == [
        ["same name and start, under another key of this job", "line 2"]
    ]
    assert "Complete" not in result.stdout
    assert result.stdout.splitlines()[-1].startswith(
        "Each line has exactly one room of this job under its key, but 1 of them has the name and start of rooms that "
        "are under another key of this job."
    )


def test_a_room_with_another_name_is_not_that_of_a_line(cli: Cli, folder: Path) -> None:
    rows = [f"{name},{{}},5" for name in "ABCDEF"]
    header = "name,key,settings.participants\n"
    create = ("rooms", "create-many", "rooms.csv", *SETTLE)
    (folder / "rooms.csv").write_text(header + "\n".join(row.format(at) for at, row in enumerate(rows)))
    assert cli(*create).exit_code == 0
    # The keys are row numbers.
    (folder / "rooms.csv").write_text(header + "\n".join(row.format(at) for at, row in enumerate(["X,{},5", *rows])))
    assert cli(*create).exit_code == 1
    result = cli("rooms", "audit", "rooms.csv")
    assert result.exit_code == 1, result.output
    assert [line.split(" (")[0] for line in result.stdout.splitlines() if line.startswith("another name")] == [
        *(f"another name or owner_ref: line {at + 2}: {at}" for at in range(5)),
        "another name or owner_ref: 1 more; --json has all",
    ]
    assert "Complete" not in result.stdout
    document = json.loads(cli("rooms", "audit", "rooms.csv", "--json").stdout)
    assert (document["complete"], [row["other_room"] for row in document["changed"]]) == (False, [True] * 6)
    (folder / "rooms.csv").write_text(header + "A,0,7\n")
    result = cli("rooms", "audit", "rooms.csv")
    assert result.exit_code == 0, result.output
    assert "changed: line 2: 0 (" in result.stdout


def test_the_job_file_knows_the_job_and_its_keys(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,data.id\nA,1\nA,2\n")
    create = ("rooms", "create-many", "rooms.csv", "--key-column", "data.id", *SETTLE)
    assert cli(*create).exit_code == 0
    result = cli("rooms", "audit", "rooms.csv", *SETTLE)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "Complete: each line has exactly one room of this job."
    assert cli(*create, "--fresh", "--out", "other.jsonl").exit_code == 0
    result = cli("rooms", "audit", "rooms.csv", "--out", "other.jsonl", *SETTLE)
    assert result.exit_code == 0, result.output


def test_without_a_job_file_the_id_is_asked_for(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    for text in ("", "[1]", "{}"):
        (folder / "rooms.csv.outcomes.jsonl.job").write_text(text)
        refused = cli("rooms", "audit", "rooms.csv")
        assert refused.exit_code == 2, refused.output
        assert "Give the JOB_ID before FILE" in refused.stderr
    assert cli("rooms", "audit", "a", "b", "rooms.csv").exit_code == 2
    assert sandbox.ledger.requests() == 0


def test_a_job_file_of_another_account_is_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(cli, folder)
    before = sandbox.ledger.requests()
    monkeypatch.setenv("VIDEOAPI_APP_ID", "b" * 24)
    refused = cli("rooms", "audit", "rooms.csv", *SETTLE)
    assert refused.exit_code == 5, refused.output
    assert "belongs to the account" in refused.stderr
    assert sandbox.ledger.requests() == before


@pytest.mark.parametrize("audit", ["yes", "settled"])
def test_a_settled_audit_says_what_it_has_proved(cli: Cli, sandbox: Sandbox, folder: Path, audit: str) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    create = ("rooms", "create-many", "rooms.csv", "--audit", audit, *SETTLE)
    for _ in range(2):
        result = cli(*create)
        assert result.exit_code == 0, result.output
        assert ("UTC: no room of this job exists twice or is missing." in result.stderr) == (audit == "settled")
    sandbox.set(list_lag=60.0)
    lagging = cli(*create, "--fresh")
    assert ("Not proven that each room of this job exists once" in lagging.stderr) == (audit == "settled")


def test_a_settled_audit_says_what_is_wrong(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    create = ("rooms", "create-many", "rooms.csv", "--audit", "settled", *SETTLE)
    assert cli(*create).exit_code == 0
    room_id = next(iter(sandbox.ledger.rooms))
    assert cli("rooms", "delete", room_id, "--yes").exit_code == 0
    result = cli(*create)
    assert result.exit_code == 1, result.output
    assert "UTC: rooms of this job exist twice or are missing." in result.stderr


def test_a_job_that_another_process_works_on_is_not_audited(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    make(cli, folder)
    before = sandbox.ledger.requests()
    with sole_user(folder / "rooms.csv.outcomes.jsonl"):
        for words in (("rooms.csv",), ("j", "rooms.csv")):
            refused = cli("rooms", "audit", *words, *SETTLE)
            assert refused.exit_code == 5, refused.output
            assert "another process is working on this job. Wait until it ends." in refused.stderr
    assert sandbox.ledger.requests() == before


def test_columns_that_the_latest_run_left_out_are_left_out(cli: Cli, folder: Path) -> None:
    create = ("rooms", "create-many", "rooms.csv", *SETTLE)
    (folder / "rooms.csv").write_text("name,owner_ref,Dozent\nA,ours,Gauss\n")
    assert cli(*create, "--ignore-column", "Dozent", "--ignore-column", "owner_ref").exit_code == 0
    result = cli("rooms", "audit", "rooms.csv", *SETTLE)
    assert result.exit_code == 0, result.output
    assert "changed" not in result.stdout
    (folder / "rooms.csv").write_text("name,Etage\nA,2\n")
    assert cli(*create, "--ignore-column", "Etage").exit_code == 0
    result = cli("rooms", "audit", "rooms.csv", *SETTLE)
    assert result.exit_code == 0, result.output


def test_rooms_that_differ_and_rooms_without_a_line_are_counted(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    header = "name,key,settings.participants\n"
    table = [f"N{number},k{number},5\n" for number in range(4)]
    (folder / "rooms.csv").write_text(header + "".join(table))
    create = ("rooms", "create-many", "rooms.csv", *SETTLE)
    assert cli(*create).exit_code == 0
    (folder / "rooms.csv").write_text(header + "".join(table[:2]).replace(",5", ",6"))
    result = cli("rooms", "audit", "rooms.csv")
    assert result.exit_code == 0, result.output
    room = {str(fields["name"]): room_id for room_id, fields in sandbox.ledger.rooms.items()}
    surplus = [line for line in result.stdout.splitlines() if line.startswith("without a line: ")]
    assert sorted(surplus) == [
        f"without a line: k2, N2 (room {room['N2']})",
        f"without a line: k3, N3 (room {room['N3']})",
    ]
    assert result.stdout.splitlines()[-1] == (
        "Each line has exactly one room of this job. 2 rooms differ from their lines. 2 rooms have no line."
    )
    document = json.loads(cli("rooms", "audit", "rooms.csv", "--json").stdout)
    assert document["complete"]
    assert [found["room_id"] for found in document["without_line"]] == document["unexpected"]
    assert {found["key"]: found["name"] for found in document["without_line"]} == {"k2": "N2", "k3": "N3"}
    # A later run has an outcome file of its own, and keeps the one that knows the keys.
    (folder / "rooms.csv").write_text(header + "".join(table[:3]))
    assert cli(*create).exit_code == 0
    result = cli("rooms", "audit", "rooms.csv")
    assert f"without a line: k3, N3 (room {room['N3']})" in result.stdout
    assert result.stdout.splitlines()[-1] == "Each line has exactly one room of this job. 1 room has no line."
    # Without the outcome files, the ID is what is known.
    for path in folder.glob("rooms.csv.outcomes.jsonl*"):
        if not path.name.endswith(".job"):
            path.unlink()
    assert f"without a line: {room['N3']}\n" in cli("rooms", "audit", "rooms.csv").stdout
