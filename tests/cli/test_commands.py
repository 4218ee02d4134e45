"""Single commands, credentials, exit codes, and lazy imports."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.cli import exit_codes
from videoapi.cli.invocation import program
from videoapi.cli.progress import plain
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
HEAVY = ("aiohttp", "asyncio", "attrs", "cattrs", "msgspec", "rich", "videoapi.client", "videoapi.sandbox")


HELP = ("--version", "--help", "rooms --help", "rooms create --help", "cdr export --help", "demo --help")


@pytest.mark.parametrize("arguments", [words.split() for words in HELP], ids=HELP)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom videoapi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_help_imports_no_command() -> None:
    program = (
        "import sys\nfrom videoapi.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('videoapi')))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout.splitlines()[-1].replace("'", '"')) == [
        "videoapi",
        "videoapi.cli",
        "videoapi.cli.app",
        "videoapi.cli.exit_codes",
        "videoapi.cli.invocation",
        "videoapi.cli.streams",
        "videoapi.errors",
    ]


def test_missing_extra_is_named_without_click() -> None:
    program = "import sys\nsys.modules['click'] = None\nfrom videoapi.cli import main\nmain()\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert "videoapi[cli]" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_tokens_create_prints_the_token(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
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


def test_dialin_hides_secrets_by_default(cli: Cli) -> None:
    shown = cli("dialin", "--json").stdout
    whole = cli("dialin", "--json", "--show-secrets").stdout
    secrets = [json.loads(whole)["app_key"], json.loads(whole)["sip"]["password"]]
    assert all(secrets)
    assert not any(secret in shown for secret in secrets)
    assert cli("dialin").exit_code == 0
    assert not any(secret in cli("dialin").output for secret in secrets)


def test_key_file_must_be_readable_only_by_its_owner(
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


def test_no_command_takes_the_app_key_as_an_argument(cli: Cli) -> None:
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
def test_exit_code_of_a_run_is_that_of_the_worst_outcome(counts: dict[str, int], exhausted: bool, code: int) -> None:
    assert exit_codes.of_run(counts, exhausted=exhausted) == code


def test_plain_progress_prints_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    show = plain("rooms", 1_000, clock=lambda: now)
    for now, done in ((102.0, 10), (105.0, 50), (106.0, 60), (110.5, 200)):  # noqa: B007
        show(done, "2 failed")
    assert capsys.readouterr().err.splitlines() == [
        "rooms: 50 of 1,000, 10/s, 2 failed",
        "rooms: 200 of 1,000, 19/s, 2 failed",
    ]
    now = 120.0
    show(200, waits="waiting for the service")
    assert capsys.readouterr().err == "rooms: 200 of 1,000, 10/s, waiting for the service\n"


def test_documented_exit_codes_match_the_help() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
    documented = dict(re.findall(r"^\| ([0-9]) \| (.+) \|$", page, re.MULTILINE))
    unwrapped = exit_codes.MEANINGS.replace("\n" + " " * 7, " ")
    assert documented == dict(re.findall(r"^  ([0-9])    (.+)$", unwrapped, re.MULTILINE))
    assert set(documented) == {"0", "1", "2", "3", "4", "5", "6"}


@pytest.mark.parametrize(
    ("started", "words"),
    [
        ("videoapi/__main__.py", [sys.executable, "-m", "videoapi"]),
        ("bin/videoapi", ["videoapi"]),
        ("other/videoapi", ["other/videoapi"]),
    ],
)
def test_printed_commands_start_this_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch, started: str, words: list[str]
) -> None:
    for place in ("bin", "other"):
        (folder / place).mkdir()
        (folder / place / "videoapi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    monkeypatch.setattr(sys, "argv", [started, "rooms", "list"])
    assert program() == words


def test_event_loop_without_signal_handlers_runs_a_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object, *arguments: object) -> None:
        raise NotImplementedError

    # As on Windows.
    for name in ("add_signal_handler", "remove_signal_handler"):
        monkeypatch.setattr(asyncio.SelectorEventLoop, name, missing)
    result = cli("rooms", "list")
    assert result.exit_code == 0, result.output
