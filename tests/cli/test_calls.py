"""Single calls from the command line: rooms, tokens, call records, archives and dial-in numbers."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from videoapi.cli.listing import tell_unshown
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
LAST = date(2026, 3, 31)
FIRST = LAST - timedelta(days=30)
NOW = datetime(2026, 3, 31, 18, tzinfo=UTC)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with rooms, and a month of history."""
    with Sandbox(seed=7, calls=200, rooms=4, today=LAST, clock=lambda: NOW).in_thread() as running:
        yield running


def create(cli: Cli, *options: object) -> dict[str, Any]:
    result = cli("rooms", "create", "--json", *options)
    assert result.exit_code == 0, result.output
    created: dict[str, Any] = json.loads(result.stdout)
    return created


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("weeks", "said"), [(1, "1 week is listed twice."), (2, "2 weeks are listed twice.")])
def test_weeks_that_are_listed_twice_are_counted(capsys: pytest.CaptureFixture[str], weeks: int, said: str) -> None:
    stream: Any = SimpleNamespace(rejected_count=0, restarted_windows=("week",) * weeks)
    assert tell_unshown(stream)
    assert f"so {said}" in capsys.readouterr().err


def test_created_room_has_what_its_options_say(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "more.json").write_text('{"role_based_recording": {"moderator": "audiovideo"}}')
    made = create(
        cli,
        *("--name", "Stand-up", "--owner-ref", "team-1", "--sip", "--quality", "SD", "--mode", "lecture"),
        *("--moderators", 2, "--participants", 12, "--auto-recording", "--no-screen-share", "--knock"),
        *("--data", "team=blue", "--data", '{"level": 3}'),
        *("--setting", "live_recording.auto_recording=true", "--setting", '{"canvas": true}'),
        *("--setting", "@more.json"),
    )
    room = sandbox.ledger.rooms[made["room_id"]]
    assert (room["name"], room["owner_ref"]) == ("Stand-up", "team-1")
    assert room["sip"]["enabled"] is True
    settings = room["settings"]
    assert (settings["quality"], settings["mode"]) == ("SD", "lecture")
    assert (int(settings["moderators"]), int(settings["participants"])) == (2, 12)
    assert settings["screen_share"] is False
    assert all(settings[name] is True for name in ("auto_recording", "knock", "canvas"))
    assert settings["live_recording"] == {"auto_recording": True}
    assert settings["role_based_recording"] == {"moderator": "audiovideo"}
    assert room["data"].items() >= {"team": "blue", "level": 3}.items()
    # The telephone's PIN is not for every log.
    assert made["sip"]["pin"] == "***"


def test_scheduled_and_one_session_rooms_are_created_by_options(cli: Cli) -> None:
    scheduled = create(cli, "--name", "A", "--starts-at", "2030-01-31T10:00:00+01:00", "--minutes", 30)["settings"]
    assert (scheduled["scheduled"], scheduled["scheduled_time"]) == (True, "2030-01-31 09:00:00")
    assert int(scheduled["duration"]) == 30
    once = create(cli, "--name", "B", "--one-session", "--minutes", 15)["settings"]
    assert (once["adhoc"], int(once["duration"])) == (True, 15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--minutes", 5), "--minutes needs --starts-at or --one-session"),
        (("--starts-at", "2030-01-31T10:00Z"), "--starts-at needs --minutes"),
        (("--starts-at", "2030-01-31T10:00", "--minutes", 5), "--starts-at has no time zone"),
        (("--starts-at", "2030-01-31T10:00Z", "--minutes", 5, "--one-session"), "contradict each other"),
        (("--knock", "--setting", "knock=true"), "given twice"),
        (("--setting", "canvas=true", "--setting", '{"canvas": false}'), "canvas is given twice"),
        (("--setting", "canvas"), "give NAME=VALUE, a JSON object, or @FILE"),
        (("--setting", "{canvas"), "--setting: not JSON"),
        (("--data", "@missing.json"), "--data: cannot read missing.json: No such file"),
        (("--setting", "colour=red"), "--setting colour is not a setting of the service"),
        (("--setting", "watermark=maybe"), "--watermark must be true or false"),
        (("--moderators", 6), "--moderators must be from 1 to 5"),
        (("--name", ""), "--name must be text that is not empty"),
        (("--settle", 0), "--settle"),
        (("--quality", "4K"), "--quality"),
    ],
)
def test_invalid_option_is_named_and_sends_nothing(
    cli: Cli, sandbox: Sandbox, folder: Path, options: tuple[object, ...], words: str
) -> None:
    result = cli("rooms", "create", "--name", "A", *options)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert sandbox.ledger.requests() == 0


def test_white_label_settings_pass_without_validation(cli: Cli, sandbox: Sandbox) -> None:
    result = cli("rooms", "create", "--name", "A", "--no-validate", "--setting", "colour=red", "--quality", "LD")
    # The service decides.
    assert result.exit_code == 1
    assert "HTTP 400, code 10009" in result.stderr
    assert sandbox.ledger.requests() == 1


def test_room_is_shown_changed_and_deleted(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "Before", "--data", "team=blue")["room_id"]
    assert f"name{' ' * 8}" in cli("rooms", "get", room_id).stdout
    changed = cli("rooms", "update", room_id, "--name", "After", "--participants", 9, "--no-knock")
    assert (changed.exit_code, changed.stdout) == (0, "")
    assert room_id in changed.stderr
    shown = dict(line.split(maxsplit=1) for line in cli("rooms", "get", room_id).stdout.splitlines())
    assert (shown["name"], shown["kind"], shown["settings.participants"]) == ("After", "permanent", "9")
    assert json.loads(shown["data"])["team"] == "blue"
    assert json.loads(cli("rooms", "update", room_id, "--name", "Last", "--json").stdout) == {
        "room_id": room_id,
        "updated": True,
    }
    assert json.loads(cli("rooms", "delete", room_id, "--yes", "--json").stdout) == {
        "room_id": room_id,
        "deleted": True,
    }
    assert room_id not in sandbox.ledger.rooms
    gone = cli("rooms", "delete", room_id, "--yes")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "HTTP 404" in gone.stderr


def test_update_without_a_change_is_a_usage_error(cli: Cli, sandbox: Sandbox) -> None:
    result = cli("rooms", "update", "0" * 24)
    assert result.exit_code == 2
    assert "--name" in result.stderr
    assert sandbox.ledger.requests() == 0


def test_kind_of_a_scheduled_room_stays_when_its_time_changes(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "A", "--starts-at", "2030-01-31T10:00Z", "--minutes", 30)["room_id"]
    assert cli("rooms", "update", room_id, "--starts-at", "2030-02-01T10:00Z").exit_code == 0
    settings = sandbox.ledger.rooms[room_id]["settings"]
    assert (settings["scheduled_time"], settings["scheduled"]) == ("2030-02-01 10:00:00", True)


def test_users_of_a_session_are_listed(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    empty = cli("rooms", "users", room_id)
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "No users.\n")
    token = cli("tokens", "create", room_id, "--name", "Ann", "--role", "moderator", "--user-ref", "u-1").stdout.strip()
    sandbox.join(token)
    assert cli("rooms", "users", room_id).stdout == "Ann  moderator  u-1\n"
    (user,) = json_lines(cli("rooms", "users", room_id, "--json").stdout)
    assert (user["name"], user["user_ref"]) == ("Ann", "u-1")


def test_rooms_are_listed_as_aligned_lines_and_as_json_lines(cli: Cli, sandbox: Sandbox) -> None:
    create(cli, "--name", "A much longer name than the others have", "--owner-ref", "last")
    lines = cli("rooms", "list").stdout.splitlines()
    assert set(sandbox.ledger.rooms) < {line.split()[0] for line in lines}
    assert len({line.index("permanent") for line in lines}) == 1
    ids = [room["room_id"] for room in json_lines(cli("rooms", "list", "--json").stdout)]
    assert ids == [line.split()[0] for line in lines]


def test_token_goes_alone_to_stdout(cli: Cli, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    caplog.set_level("DEBUG")
    result = cli("tokens", "create", room_id, "--name", "Ann", "--user-ref", "u-1", "--data", "team=blue")
    assert result.exit_code == 0, result.output
    (token,) = result.stdout.splitlines()
    assert result.stderr == ""
    assert token not in caplog.text
    assert sandbox.join(token)
    rejected = cli("tokens", "create", room_id, "--name", "Ann", "--user-ref", "u-1", "--role", "king")
    assert (rejected.exit_code, rejected.stdout) == (2, "")
    assert rejected.stderr == "--role must be one of moderator, participant, viewer, audience.\n"


def test_tokens_are_issued_from_a_file(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    (folder / "users.csv").write_text(
        f"room_id,name,user_ref,role,key,data.team\n{room_id},Ann,u-1,moderator,a,blue\n{room_id},Bo,u-2,,b,\n"
        f"{room_id},,u-3,,c,\n{room_id},Di,u-4,king,d,\n"
    )
    result = cli("tokens", "create-many", "users.csv", "--json")
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["counts"] == {"created": 2, "failed": 2}
    out = folder / "users.csv.outcomes.jsonl"
    assert out.stat().st_mode & 0o777 == 0o600
    rows = {row["line"]: row for row in json_lines(out.read_text())}
    assert sandbox.join(rows[2]["token"])
    assert rows[3]["status"] == "created"
    assert [rows[line]["key"] for line in (2, 3, 4, 5)] == ["a", "b", "c", "d"]
    assert "earlier" not in result.stderr
    users = [tuple(rows[line].get(field) for field in ("name", "user_ref", "role")) for line in (2, 3, 4, 5)]
    assert users == [
        ("Ann", "u-1", "moderator"),
        ("Bo", "u-2", "participant"),
        (None, None, None),
        ("Di", "u-4", "king"),
    ]
    assert "name is missing" in rows[4]["error"]["message"]
    assert rows[5]["error"]["field"] == "role"
    assert rows[2]["token"] not in result.output
    (folder / "users.jsonl").write_text(json.dumps({"room_id": room_id, "name": "Ann", "user_ref": "u-1"}))
    assert cli("tokens", "create-many", "users.jsonl").exit_code == 0
    assert json_lines((folder / "users.jsonl.outcomes.jsonl").read_text())[0]["key"] is None
    (folder / "bad.csv").write_text(f"room_id,name,user_ref,colour,size\n{room_id},Ann,u-1,red,L\n")
    bad = cli("tokens", "create-many", "bad.csv")
    assert bad.exit_code == 2
    assert "--ignore-column colour --ignore-column size" in bad.stderr
    assert (
        cli("tokens", "create-many", "bad.csv", "--ignore-column", "colour", "--ignore-column", "size").exit_code == 0
    )


def test_stopped_tokens_run_says_what_to_repeat(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    (folder / "users.csv").write_text("room_id,name,user_ref\n" + f"{room_id},Ann,u\n" * 4)
    sandbox.fault("tokens.create", "suspended", after=2)
    stopped = cli("tokens", "create-many", "users.csv", "--concurrency", 1)
    assert stopped.exit_code == 4, stopped.output
    assert "job" not in stopped.stderr
    assert "To issue new tokens for all lines:" in stopped.stderr
    assert "tokens create-many users.csv --concurrency 1" in stopped.stderr
    out = folder / "users.csv.outcomes.jsonl"
    first = out.read_text()
    assert cli("tokens", "create-many", "users.csv").exit_code == 0
    assert (folder / f"{out.name}.1").read_text() == first
    assert [row["status"] for row in json_lines(out.read_text())] == ["created"] * 4


def test_dry_run_of_tokens_checks_every_line(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "users.csv").write_text("room_id,name,user_ref,role\nr,Ann,u,\nr,,u,\nr,Di,u,king\n")
    result = cli("tokens", "create-many", "users.csv", "--dry-run")
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["line 3", "line 4"]
    assert "Nothing was sent." in result.stderr
    assert "Tokens to issue without --dry-run: 1." in result.stderr
    assert "without --dry-run: 2." in cli("tokens", "create-many", "users.csv", "--dry-run", "--no-validate").stderr
    assert sandbox.ledger.requests() == 0


def records_of(cli: Cli, *query: object) -> list[dict[str, Any]]:
    result = cli("cdr", "list", *query, "--json")
    assert result.exit_code == 0, result.output
    return json_lines(result.stdout)


def test_call_records_are_listed_by_each_query(cli: Cli) -> None:
    everything = records_of(cli, FIRST, LAST)
    assert len(everything) == 200
    room_id, conf_num = everything[0]["room"]["room_id"], everything[0]["conf_num"]
    of_room = [record for record in everything if record["room"]["room_id"] == room_id]
    of_conference = [record for record in everything if record["conf_num"] == conf_num]
    assert records_of(cli, "--room", room_id) == of_room
    assert records_of(cli, FIRST, LAST, "--room", room_id) == of_room
    assert records_of(cli, FIRST, FIRST + timedelta(days=1), "--room", everything[-1]["room"]["room_id"]) == []
    assert records_of(cli, "--conference", conf_num) == of_conference
    lines = cli("cdr", "list", "--conference", conf_num).stdout.splitlines()
    assert len(lines) == len(of_conference)
    assert all(room_id in line and conf_num in line for line in lines)


def test_join_tokens_are_not_in_a_list_unless_shown(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.set(cdr_schema="old")
    assert {record["user"]["token"] for record in records_of(cli, FIRST, LAST)} == {"***"}
    assert "***" not in {record["user"]["token"] for record in records_of(cli, FIRST, LAST, "--show-secrets")}


def test_listing_that_fails_prints_what_it_has_and_a_cursor(cli: Cli, sandbox: Sandbox) -> None:
    everything = cli("cdr", "list", FIRST, LAST).stdout.splitlines()
    sandbox.fault("cdr.by_period", "status", times=None, after=2, status=403)
    broken = cli("cdr", "list", FIRST, LAST)
    assert broken.exit_code == 5, broken.output
    shown = broken.stdout.splitlines()
    assert 0 < len(shown) < len(everything)
    sandbox.clear_faults()
    cursor = broken.stderr.split("--cursor ")[1].split()[0]
    rest = cli("cdr", "list", FIRST, LAST, "--cursor", cursor).stdout.splitlines()
    assert [line.split() for line in shown + rest] == [line.split() for line in everything]


@pytest.mark.parametrize("command", [("cdr", "list"), ("archives", "list")])
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ((), "give FROM and TO, --room or --conference"),
        ((FIRST,), "give both FROM and TO"),
        ((FIRST, LAST, "--conference", "c"), "--conference takes neither a period nor --room"),
        ((LAST, FIRST), "before it starts"),
        ((FIRST, "2026-13-01"), "TO is not a day"),
        (("--room", "no id"), "--room is not an ID"),
        ((FIRST, LAST, "--cursor", "nonsense"), "--cursor: not a cursor"),
    ],
)
def test_incomplete_query_is_a_usage_error(
    cli: Cli, sandbox: Sandbox, command: tuple[str, ...], query: tuple[object, ...], words: str
) -> None:
    result = cli(*command, *query)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert sandbox.ledger.requests() == 0


def test_archives_are_listed_and_downloaded_by_each_query(cli: Cli, folder: Path) -> None:
    listed = cli("archives", "list", FIRST, LAST, "--json")
    assert listed.exit_code == 0, listed.output
    archives = json_lines(listed.stdout)
    newest = archives[-1]
    lines = cli("archives", "list", "--room", newest["room_id"]).stdout.splitlines()
    assert len(lines) == sum(archive["room_id"] == newest["room_id"] for archive in archives)
    assert "1 metadata" in lines[-1]
    done = cli("archives", "download", "--conference", newest["conf_num"], "files", "--kind", "metadata", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["downloaded"] == len(list(folder.glob("files/*/*"))) == 1


def test_exports_of_a_room_and_of_a_conference_take_only_the_output(cli: Cli, folder: Path) -> None:
    first = records_of(cli, FIRST, LAST)[0]
    assert cli("cdr", "export", "--room", first["room"]["room_id"], "room.jsonl").exit_code == 0
    assert first in json_lines((folder / "room.jsonl").read_text())
    assert cli("cdr", "export", "--conference", first["conf_num"], "conference.jsonl").exit_code == 0
    assert {row["conf_num"] for row in json_lines((folder / "conference.jsonl").read_text())} == {first["conf_num"]}
    # The export of another conference does not take the file for its own.
    again = cli("cdr", "export", "--conference", "other", "conference.jsonl")
    assert again.exit_code == 2, again.output
    missing = cli("cdr", "export", "--room", "x")
    assert missing.exit_code == 2
    assert "missing argument OUT" in missing.stderr


def test_export_to_stdout_is_the_same_as_to_a_file(cli: Cli, folder: Path) -> None:
    for form in ("jsonl", "csv"):
        assert cli("cdr", "export", FIRST, LAST, f"out.{form}").exit_code == 0
        result = cli("cdr", "export", FIRST, LAST, "-", "--format", form)
        assert result.exit_code == 0, result.output
        assert result.stdout_bytes == (folder / f"out.{form}").read_bytes()
    assert cli("cdr", "export", FIRST, LAST, "-", "--fresh").exit_code == 2
    assert cli("cdr", "export", FIRST, LAST, "out.csv", "--format", "jsonl").exit_code == 2


def test_dial_in_numbers_are_listed(cli: Cli) -> None:
    lines = cli("dialin").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["India", "Singapore", "SIP server"]


def test_request_prints_the_response(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    result = cli("request", "GET", f"/rooms/{room_id}", "--operation", "read")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["room"]["name"] == "A"
    body = '{"name": "B", "settings": {}}'
    changed = cli("request", "PATCH", f"/rooms/{room_id}", "--operation", "update", "--body", body)
    assert changed.exit_code == 0, changed.output
    assert sandbox.ledger.rooms[room_id]["name"] == "B"
    outside = cli("request", "GET", "/../x", "--operation", "read")
    assert outside.exit_code == 2
    assert "Invalid PATH '/../x'" in outside.stderr


@pytest.mark.parametrize("fault", ["drop_after", "status_after"])
def test_unknown_create_prints_the_command_that_finds_its_room(cli: Cli, sandbox: Sandbox, fault: str) -> None:
    sandbox.fault("rooms.create", fault)
    result = cli("rooms", "create", "--name", "A", "--on-unknown", "strict", "--settle", 5, "--json")
    assert result.exit_code == 3, result.output
    (entry,) = sandbox.ledger.created
    assert json.loads(result.stdout) == {"status": "unknown", "reference": entry.reference, "room_id": None}
    assert f"Its reference: {entry.reference}." in result.stderr
    command = result.stderr.splitlines()[-1].split()
    assert command[-5:] == ["rooms", "resolve", "--settle", "5.0", entry.reference]
    resolved = cli(*command[-5:])
    assert (resolved.exit_code, resolved.stdout) == (0, f"{entry.room_id}\n")
    assert json.loads(cli(*command[-5:], "--json").stdout)["room_id"] == entry.room_id


def test_create_that_was_not_executed_is_no_unknown(cli: Cli, sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "status", times=None, status=400)
    result = cli("rooms", "create", "--name", "A", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "reference" not in result.stderr


def test_change_that_may_have_been_executed_has_exit_code_3(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    sandbox.fault("rooms.update", "drop_after", times=None)
    result = cli("rooms", "update", room_id, "--name", "B", "--timeout", 2)
    assert result.exit_code == 3, result.output
    sandbox.fault("rooms.get", "drop_after", times=None)
    assert cli("rooms", "get", room_id, "--timeout", 2).exit_code == 5


def test_waits_are_shown_once(cli: Cli, sandbox: Sandbox) -> None:
    room_id = create(cli, "--name", "A")["room_id"]
    sandbox.fault("rooms.get", "throttle", retry_after=1)
    result = cli("rooms", "get", room_id)
    assert result.exit_code == 0
    assert result.stderr.count("HTTP 429") == 1
    assert "too many requests, HTTP 429" in result.stderr


def test_proxy_is_used_and_takes_no_password(cli: Cli, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, variable in ((("--proxy", "http://127.0.0.1:9"), None), ((), "http://user:canary@127.0.0.1:9")):
        if variable is not None:
            monkeypatch.setenv("VIDEOAPI_PROXY", variable)
        result = cli("dialin", *arguments, "--timeout", 1)
        assert result.exit_code == 5, result.output
        assert "127.0.0.1:9" in result.stderr
        assert "proxy" in result.stderr
        assert "canary" not in result.stderr
    assert sandbox.ledger.requests() == 0
    refused = cli("dialin", "--proxy", "http://user:canary@127.0.0.1:9")
    assert refused.exit_code == 2
    assert "VIDEOAPI_PROXY" in refused.stderr
    assert "canary" not in refused.output


def test_authorities_are_those_of_the_option(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trustme")
    with Sandbox(tls=True).in_thread() as service:
        monkeypatch.setenv("VIDEOAPI_BASE_URL", service.base_url)
        monkeypatch.setenv("VIDEOAPI_APP_ID", service.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", service.app_key)
        unknown = cli("dialin")
        assert unknown.exit_code == 5
        assert "--ca-file" in unknown.stderr
        assert cli("dialin", "--ca-file", service.ca_file).exit_code == 0
        monkeypatch.setenv("VIDEOAPI_CA_FILE", str(service.ca_file))
        assert cli("dialin").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("rooms", "list"),
        ("cdr", "list", FIRST, LAST),
        ("archives", "list", FIRST, LAST),
        ("cdr", "export", FIRST, LAST, "-"),
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_list_that_failed_before_its_first_row_names_no_rows_to_continue_after(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "http://127.0.0.1:9")
    failed = cli(*command, "--timeout", 1)
    assert failed.exit_code == 5, failed.output
    assert "cannot connect to 127.0.0.1:9: " in failed.stderr
    assert "after the" not in failed.stderr
    assert "--cursor" not in failed.stderr
