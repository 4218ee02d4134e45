"""Single commands, credentials, and what is not imported."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.cli import exit_codes
from videoapi.cli.progress import plain
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
HEAVY = ("aiohttp", "asyncio", "attrs", "cattrs", "msgspec", "rich", "videoapi.client", "videoapi.sandbox")


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("cdr", "export", "--help"), ("demo", "--help")])
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom videoapi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_without_click_the_missing_extra_is_named() -> None:
    program = "import sys\nsys.modules['click'] = None\nfrom videoapi.cli import main\nmain()\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert "videoapi[cli]" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_token_is_printed_because_it_was_asked_for(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    cli("rooms", "create-many", "rooms.csv", "--quiet")
    (room_id,) = sandbox.ledger.rooms
    result = cli("tokens", "create", room_id, "--name", "Ann", "--role", "moderator", "--user-ref", "u-1")
    assert result.exit_code == 0, result.output
    sandbox.join(result.stdout.strip())
    result = cli("tokens", "create", room_id, "--name", "Bo", "--user-ref", "u-2", "--json")
    assert json.loads(result.stdout)["role"] == "participant"
    result = cli("tokens", "create", room_id, "--name", "Bo", "--user-ref", "u-2", "--role", "king")
    assert result.exit_code == 2
    assert "role" in result.stderr


def test_dial_in_numbers_come_without_secrets_unless_asked_for(cli: Cli) -> None:
    shown = cli("dialin", "--json").stdout
    whole = cli("dialin", "--json", "--show-secrets").stdout
    secrets = [json.loads(whole)["app_key"], json.loads(whole)["sip"]["password"]]
    assert all(secrets)
    assert not any(secret in shown for secret in secrets)
    assert cli("dialin").exit_code == 0
    assert not any(secret in cli("dialin").output for secret in secrets)


def test_the_key_may_stand_in_a_file_that_only_its_owner_reads(
    cli: Cli, environment: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIDEOAPI_APP_KEY")
    key = folder / "key"
    key.write_text(environment["VIDEOAPI_APP_KEY"] + "\n")
    key.chmod(0o640)
    result = cli("rooms", "list", "--app-key-file", key)
    assert result.exit_code == 5
    assert "chmod 600" in result.stderr
    key.chmod(0o600)
    assert cli("rooms", "list", "--app-key-file", key).exit_code == 0


def test_no_command_takes_a_real_key_as_an_argument(cli: Cli) -> None:
    for command in (("rooms", "list"), ("cdr", "export"), ("tokens", "create"), ("dialin",)):
        assert "--app-key " not in cli(*command, "--help").output


@pytest.mark.parametrize(
    ("counts", "exhausted", "code"),
    [
        ({"created": 3}, True, 0),
        ({}, True, 0),
        ({"created": 3, "failed": 1}, True, 1),
        ({"unknown": 1, "failed": 1}, True, 3),
        ({"not_sent": 1, "unknown": 1}, True, 4),
        ({"created": 3}, False, 4),
    ],
)
def test_the_exit_code_of_a_run_tells_the_worst(counts: dict[str, int], exhausted: bool, code: int) -> None:
    assert exit_codes.of_run(counts, exhausted=exhausted) == code


def test_plain_progress_speaks_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    show = plain("rooms", 1_000, clock=lambda: now)
    for now, done in ((102.0, 10), (105.0, 50), (106.0, 60), (110.5, 200)):  # noqa: B007
        show(done, "2 failed")
    assert capsys.readouterr().err.splitlines() == [
        "rooms: 50 of 1,000, 10/s, 2 failed",
        "rooms: 200 of 1,000, 19/s, 2 failed",
    ]


def test_the_page_on_the_command_line_tells_the_exit_codes_of_the_help() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
    told = dict(re.findall(r"^\| ([0-9]) \| (.+) \|$", page, re.MULTILINE))
    helped = dict(re.findall(r"^  ([0-9])    (.+)$", exit_codes.MEANINGS, re.MULTILINE))
    assert set(told) == {"0", "1", "2", "3", "4", "5", "6"}
    assert all(helped[code].startswith(meaning) for code, meaning in told.items())
