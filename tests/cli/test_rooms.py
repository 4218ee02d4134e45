"""`videoapi rooms`: bulk runs from files, and single rooms."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from videoapi.cli import progress
from videoapi.cli.terminal import for_people
from videoapi.errors import VideoAPIError
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_csv_file_creates_rooms_with_settings_and_data(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text(
        "name,owner_ref,key,settings.participants,settings.auto_recording,data.team\n"
        "Stand-up,team-1,a,10,true,blue\n"
        '"Retro, long",team-2,b,,no,\n'
    )
    result = cli("rooms", "create-many", "rooms.csv", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["counts"] == {"created": 2}
    assert report["exhausted"] is True
    written = {row["key"]: row for row in rows(folder / "rooms.csv.outcomes.jsonl")}
    assert {row["room_id"] for row in written.values()} == set(sandbox.ledger.rooms)
    first = sandbox.ledger.rooms[written["a"]["room_id"]]
    assert first["name"] == "Stand-up"
    assert first["settings"]["participants"] in (10, "10")
    assert first["settings"]["auto_recording"] is True
    assert first["data"]["team"] == "blue"
    assert written["b"]["line"] == 3


def test_outcome_file_is_private_and_never_overwritten(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    earlier = (folder / "rooms.csv.outcomes.jsonl").read_text()
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    assert (folder / "rooms.csv.outcomes.jsonl").stat().st_mode & 0o777 == 0o600
    assert (folder / "rooms.csv.outcomes.jsonl.1").read_text() == earlier


def test_invalid_line_fails_alone_with_its_line_number(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.jsonl").write_bytes(
        b'{"name": "A", "key": "a"}\n'
        b'{"name": "B", "colour": "red", "key": "b"}\n'
        b"\n"
        b"no json\n"
        b'{"name": "\xff"}\n'
        b'{"owner_ref": "x"}\n'
        b'{"name": "C", "key": "c", "settings": {"moderators": 9}}\n'
        b'{"name": "D", "key": "a"}\n'
        b'{"name": "E", "key": 5}\n'
    )
    result = cli("rooms", "create-many", "rooms.jsonl", "--out", "out.jsonl")
    assert result.exit_code == 1, result.output
    written = sorted(rows(folder / "out.jsonl"), key=lambda row: row["index"])
    assert [row["index"] for row in written] == list(range(8))
    assert [row["line"] for row in written] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert [row["status"] for row in written] == ["created", *["failed"] * 6, "created"]
    assert written[1]["error"]["field"] == "colour"
    assert written[1]["key"] == "b"
    assert written[5]["error"]["code"] == 10023
    assert written[6]["error"]["field"] == "key"
    assert len(sandbox.ledger.created) == 2
    assert "line 2 failed" in result.stderr


def test_unknown_column_is_a_usage_error_and_sends_nothing(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,settings.colour\nA,red\n")
    result = cli("rooms", "create-many", "rooms.csv")
    assert result.exit_code == 2
    assert "settings.colour" in result.stderr
    assert sandbox.ledger.requests() == 0


def test_invalid_boolean_fails_its_line(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,settings.knock,sip\nA,maybe,\nB,1,no\n")
    assert cli("rooms", "create-many", "rooms.csv", "--quiet").exit_code == 1
    written = {row["line"]: row for row in rows(folder / "rooms.csv.outcomes.jsonl")}
    assert written[2]["error"]["field"] == "settings.knock"
    assert written[3]["status"] == "created"


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("TRUE", "False"),
        ("WAHR", "FALSCH"),
        ("VRAI", "FAUX"),
        ("VERDADERO", "FALSO"),
        ("VERO", "FALSO"),
        ("WAAR", "ONWAAR"),
    ],
)
def test_booleans_are_read_in_the_language_of_the_spreadsheet(
    cli: Cli, sandbox: Sandbox, folder: Path, true: str, false: str
) -> None:
    (folder / "rooms.csv").write_text(f"name,settings.auto_recording,settings.knock\nA,{true},{false}\n")
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    (room,) = sandbox.ledger.rooms.values()
    assert (room["settings"]["auto_recording"], room["settings"]["knock"]) == (True, False)


def test_error_of_a_cell_quotes_it(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,sip,settings.participants\nA,JA,\nB,,ten\n")
    result = cli("rooms", "create-many", "rooms.csv", "--dry-run")
    assert "line 2: sip must be true or false, not 'JA'." in result.stdout
    assert "line 3: settings.participants must be a whole number, not 'ten'." in result.stdout


def test_unproven_create_is_unknown_with_its_reference(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,owner_ref\nA,team-1\nB,team-2\n")
    sandbox.set(list_omits="data")
    sandbox.fault("rooms.create", "drop_after")
    result = cli("rooms", "create-many", "rooms.csv", "--concurrency", 1, "--settle", 0.2)
    assert result.exit_code == 3, result.output
    unknown = next(row for row in rows(folder / "rooms.csv.outcomes.jsonl") if row["status"] == "unknown")
    assert unknown["reference"] in [entry.reference for entry in sandbox.ledger.created]
    assert unknown["error"]["type"] == "CreateOutcomeUnknown"
    assert unknown["reference"] in result.stderr
    assert "rooms.resolve(" not in result.stderr
    assert "ended with unknown outcome" not in result.stderr


def test_screen_shows_five_failures_and_the_file_all(cli: Cli, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,key,sip\n" + "".join(f"A,{number},perhaps\n" for number in range(12)))
    result = cli("rooms", "create-many", "rooms.csv")
    assert result.exit_code == 1
    assert result.stderr.count("must be true or false") == 5
    assert "7 more did not succeed" in result.stderr
    written = rows(folder / "rooms.csv.outcomes.jsonl")
    assert [row["key"] for row in written] == [str(number) for number in range(12)]
    assert {row["status"] for row in written} == {"failed"}


def test_open_quote_stops_the_run_after_the_lines_before_it(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    lines = [f"Room {number},x" for number in range(60)]
    lines[40] = 'Room 40,"x'
    (folder / "rooms.csv").write_text("\n".join(["name,data.note", *lines]))
    result = cli("rooms", "create-many", "rooms.csv", "--json")
    assert result.exit_code == 4, result.output
    assert "line 42: the quote" in result.stderr
    assert json.loads(result.stdout)["counts"] == {"created": 40}
    assert len(sandbox.ledger.rooms) == len(rows(folder / "rooms.csv.outcomes.jsonl")) == 40
    lines[40] = "Room 40,x"
    (folder / "rooms.csv").write_text("\n".join(["name,data.note", *lines]))
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    assert len(sandbox.ledger.rooms) == 60


def test_progress_says_what_it_waits_for(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.1)
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    sandbox.fault("rooms.create", "throttle", retry_after=2)
    result = cli("rooms", "create-many", "rooms.csv", "--concurrency", 1)
    assert result.exit_code == 0, result.output
    assert "rooms: 0 of 2, 0/s, waiting 2 s: too many requests (HTTP 429)" in result.stderr
    assert "paused for" not in result.stderr


def test_progress_says_why_the_service_cannot_be_reached(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.1)
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "http://127.0.0.1:9")
    (folder / "rooms.csv").write_text("name\nA\n")
    result = cli("rooms", "create-many", "rooms.csv", "--give-up-after", 1.5)
    assert result.exit_code == 5, result.output
    assert "rooms: 0 of 1, 0/s, waiting for the service: " in result.stderr
    assert "refused" in result.stderr


def test_account_error_stops_the_run(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(500)))
    sandbox.fault("rooms.create", "suspended", times=None, after=3)
    result = cli("rooms", "create-many", "rooms.csv", "--concurrency", 4, "--json")
    assert result.exit_code == 4, result.output
    report = json.loads(result.stdout)
    assert report["exhausted"] is False
    assert report["counts"]["created"] == 3
    assert report["total"] < 500
    assert report["unread"] == 500 - report["total"]
    assert "Stopped" in result.stderr
    assert f"{report['unread']} lines never read" in result.stderr


def test_wrong_credentials_are_reported_without_the_key(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOAPI_APP_KEY", "canary-wrong-key")
    result = cli("rooms", "list")
    assert result.exit_code == 5
    assert "AuthenticationFailed" not in result.stderr
    assert "HTTP 401" in result.stderr
    assert "canary" not in result.output


def test_missing_credentials_error_names_the_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOAPI_APP_KEY")
    result = cli("rooms", "list")
    assert result.exit_code == 5
    assert result.stderr == (
        "No credentials: run videoapi login, or give --profile, or --app-key-file or VIDEOAPI_APP_KEY.\n"
    )


def test_outcome_file_of_create_many_is_input_of_delete_many(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,settings.moderators\nA,1\nB,99\nC,2\n")
    assert cli("rooms", "create-many", "rooms.csv", "--out", "made.jsonl").exit_code == 1
    assert len(sandbox.ledger.rooms) == 2
    result = cli("rooms", "delete-many", "made.jsonl", "--yes", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"] == {"deleted": 2}
    assert sandbox.ledger.rooms == {}


def test_repeated_delete_counts_rooms_that_are_gone_and_succeeds(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    for name in "AB":
        assert cli("rooms", "create", "--name", name).exit_code == 0
    (folder / "ids.txt").write_text("\n".join([*sandbox.ledger.rooms, "0" * 24]))
    delete = ("rooms", "delete-many", "ids.txt", "--yes")
    first = cli(*delete, "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["counts"] == {"deleted": 2, "not_found": 1}
    again = cli(*delete)
    assert again.exit_code == 0, again.output
    assert "3 not found (deleted earlier, or never existed), in " in again.stderr
    assert "failed" not in again.stderr
    row = rows(folder / "ids.txt.outcomes.jsonl")[0]
    assert (row["status"], row["error"]["status"]) == ("not_found", 404)


def test_failed_delete_names_the_room(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "ids.txt").write_text("0" * 24)
    assert f"DELETE /rooms/{'0' * 24}: " in cli("rooms", "delete", "0" * 24, "--yes").stderr
    sandbox.fault("rooms.delete", "status", times=None, status=409)
    refused = cli("rooms", "delete-many", "ids.txt", "--yes")
    assert refused.exit_code == 1, refused.output
    assert f"line 1 failed: DELETE /rooms/{'0' * 24}: " in refused.stderr


@pytest.mark.parametrize("command", ["delete", "delete-many"])
def test_delete_without_a_terminal_needs_yes(cli: Cli, sandbox: Sandbox, folder: Path, command: str) -> None:
    assert cli("rooms", "create", "--name", "A").exit_code == 0
    (room_id,) = sandbox.ledger.rooms
    (folder / "ids.txt").write_text(room_id)
    sent = sandbox.ledger.requests()
    target = room_id if command == "delete" else "ids.txt"
    refused = cli("rooms", command, target)
    assert refused.exit_code == 2
    assert "needs --yes. Nothing was sent." in refused.stderr
    assert sandbox.ledger.requests() == sent
    assert [path.name for path in folder.iterdir()] == ["ids.txt"]
    assert cli("rooms", command, target, "--yes").exit_code == 0
    assert sandbox.ledger.rooms == {}


def test_dry_run_of_delete_many_counts_the_rooms(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "ids.txt").write_text("a\nb\nno id\n")
    result = cli("rooms", "delete-many", "ids.txt", "--dry-run")
    assert result.exit_code == 1
    assert result.stdout.startswith("line 3: room_id is not an ID")
    assert "3 lines, 1 invalid" in result.stderr
    assert "Nothing was sent." in result.stderr
    assert "Rooms to delete without --dry-run: 2." in result.stderr
    report = json.loads(cli("rooms", "delete-many", "ids.txt", "--dry-run", "--json").stdout)
    assert (report["total"], [problem["line"] for problem in report["problems"]]) == (3, [3])
    assert sandbox.ledger.requests() == 0
    assert [path.name for path in folder.iterdir()] == ["ids.txt"]


def test_room_output_has_no_terminal_control_characters(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    name = "A\x1b[31m\u202eB\x9b2J"
    (folder / "rooms.jsonl").write_text(json.dumps({"name": name, "owner_ref": "team\x07"}))
    assert cli("rooms", "create-many", "rooms.jsonl", "--quiet").exit_code == 0
    (room_id,) = sandbox.ledger.rooms
    for output in (cli("rooms", "list").stdout, cli("rooms", "get", room_id).stdout):
        assert room_id in output
        assert "A[31mB2J" in output
        assert not set("\x1b\u202e\x9b\x07") & set(output)
    raw = cli("rooms", "list", "--json").stdout
    assert json.loads(raw)["name"] == name
    assert raw.isascii()


def test_missing_room_is_a_failure(cli: Cli) -> None:
    result = cli("rooms", "get", "0" * 24)
    assert result.exit_code == 1
    assert "HTTP 404" in result.stderr


def test_telephone_secrets_are_redacted_by_default(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,sip\nA,true\n")
    assert cli("rooms", "create-many", "rooms.csv", "--quiet").exit_code == 0
    (room_id,) = sandbox.ledger.rooms
    pin = json.loads(cli("rooms", "get", room_id, "--json", "--show-secrets").stdout)["sip"]["pin"]
    shown = json.loads(cli("rooms", "get", room_id, "--json").stdout)["sip"]["pin"]
    assert pin not in (None, "", "***")
    assert shown == "***"


def test_room_is_found_when_its_create_response_was_lost(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    sandbox.fault("rooms.create", "drop_after")
    sandbox.fault("rooms.create", "drop_before", after=1)
    result = cli("rooms", "create-many", "rooms.csv", "--concurrency", 1, "--settle", 0.2)
    assert result.exit_code == 0, result.output
    assert len(sandbox.ledger.rooms) == 3


def test_same_job_resumes_where_it_ended(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,key\nA,a\nB,b\n")
    job = ("rooms", "create-many", "rooms.csv", "--job-id", "autumn", "--settle", 0.2)
    assert cli(*job).exit_code == 0
    (folder / "rooms.csv").write_text("name,key\nA,a\nB,b\nC,c\n")
    assert cli(*job).exit_code == 0
    assert sorted(room["name"] for room in sandbox.ledger.rooms.values()) == ["A", "B", "C"]


def test_reference_is_resolved_to_its_room(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    (made,) = rows(folder / "rooms.csv.outcomes.jsonl")
    found = cli("rooms", "resolve", made["reference"])
    assert found.exit_code == 0
    assert found.stdout.strip() == made["room_id"]
    lost = cli("rooms", "resolve", "vx" + "a" * 26, "--settle", 0.2)
    assert lost.exit_code == 3
    assert "--control" in lost.stderr


def test_only_a_proven_absence_has_exit_code_1(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    control, deleted = (row["room_id"] for row in rows(folder / "rooms.csv.outcomes.jsonl"))
    (folder / "ids.txt").write_text(deleted)
    assert cli("rooms", "delete-many", "ids.txt", "--yes").exit_code == 0
    lost = ("rooms", "resolve", "vx" + "z" * 26, "--settle", 0.2, "--control")
    gone = cli(*lost, deleted)
    assert gone.exit_code == 3, gone.output
    assert f"room {deleted}, which --control names, does not exist" in gone.stderr
    absent = cli(*lost, control)
    assert absent.exit_code == 1, absent.output
    assert "waits 0 s for proof (settle time), longer if the list lags." in absent.stderr
    sandbox.fault("rooms.get", "status", times=None, status=503)
    failing = cli(*lost, control)
    assert failing.exit_code == 3, failing.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('It failed. Before retrying, call rooms.resolve("vx1").', "It failed."),
        ('It (x: a, b). Before creating it again, call rooms.resolve("vx1").', "It (x: a, b)."),
        ("Give another key, or update that room.", "Give another key."),
        ("Name one with control=.", "Name one with --control."),
        ("Check base_url: host.", "Check VIDEOAPI_BASE_URL: host."),
        ("Use https, or allow_http=True (VIDEOAPI_ALLOW_HTTP=1).", "Use https, or VIDEOAPI_ALLOW_HTTP=1."),
    ],
)
def test_error_has_no_advice_to_a_program(text: str, shown: str) -> None:
    assert for_people(VideoAPIError(text)) == shown


@pytest.mark.parametrize(("name", "value"), [("APP_KEY", "wrong"), ("BASE_URL", "/wrong"), ("BASE_URL", ":9")])
def test_run_without_access_has_exit_code_5(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given = {"/wrong": f"{sandbox.base_url}/wrong", ":9": "http://127.0.0.1:9"}.get(value, value)
    monkeypatch.setenv(f"VIDEOAPI_{name}", given)
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    result = cli("rooms", "create-many", "rooms.csv", "--give-up-after", 0.5)
    assert result.exit_code == 5, result.output
    assert "Check base_url" not in result.stderr


def test_run_that_lost_its_access_was_stopped(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    sandbox.fault("rooms.create", "expired", times=None, after=1)
    assert cli("rooms", "create-many", "rooms.csv", "--concurrency", 1).exit_code == 4


def test_list_that_cannot_be_read_is_shown_as_the_reason_to_wait(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.01)
    monkeypatch.setattr("videoapi.cli.bulk._TICK", 0.02)
    (folder / "rooms.csv").write_text("name\nA\n")
    sandbox.fault("rooms.list", "status", times=9, status=503)
    result = cli("rooms", "create-many", "rooms.csv", "--settle", 0.2)
    assert result.exit_code == 0, result.output
    assert "rooms: 0 of 1, 0/s, the list of rooms could not be read (GET /rooms: " in result.stderr


def test_failed_audit_is_shown_at_the_end(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli("rooms", "create-many", "rooms.csv").exit_code == 0
    sandbox.fault("rooms.list", "status", times=None, status=403)
    result = cli("rooms", "create-many", "rooms.csv")
    assert result.stderr.count("Warning: the rooms of the run were not checked again, because the list ") == 1


def test_rate_paces_bulk_commands(cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"{number}\n" for number in range(9)))
    assert cli("rooms", "create-many", "rooms.csv", "--rate", "10/s").exit_code == 0
    assert sandbox.traffic().routes["rooms.create"].worst_tenth <= 4
    monkeypatch.setenv("VIDEOAPI_RATE", "fast")
    for command in ("rooms create-many", "rooms delete-many --yes", "tokens create-many"):
        refused = cli(*command.split(), "rooms.csv")
        assert refused.exit_code == 2
        assert "VIDEOAPI_RATE 'fast'" in refused.stderr
