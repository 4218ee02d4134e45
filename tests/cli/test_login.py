"""`videoapi login`: hides the key, tries it, and writes nothing if it is wrong or you interrupt."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from videoapi.cli.app import videoapi
from videoapi.config import DEFAULT_BASE_URL
from videoapi.sandbox import Sandbox

Piped = Callable[..., Result]
WRONG = "CanaryOfAWrongKey0123456789"
LIMIT = 40


class Terminal:
    """A command whose controlling terminal is a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self._controller, terminal = pty.openpty()
        # getpass opens /dev/tty, which is the controlling terminal of the session.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "videoapi.cli", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "dumb"},
        )
        os.close(terminal)
        self.shown = ""

    def expect(self, text: str) -> None:
        """Read until a text is shown."""
        end = time.monotonic() + LIMIT
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self._read(), self.shown

    def type(self, line: str) -> None:
        os.write(self._controller, f"{line}\n".encode())

    def press_ctrl_c(self, until: str) -> None:
        """Press Ctrl-C until a text is shown: Python does not see one that comes just before it begins to read."""
        end = time.monotonic() + LIMIT
        while until not in self.shown:
            assert time.monotonic() < end, self.shown
            os.write(self._controller, b"\x03")
            while until not in self.shown and self._read(2):
                pass

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._controller)[3] & termios.ECHO)

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        return self.process.wait(LIMIT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._controller)

    def _read(self, limit: float = LIMIT) -> bool:
        ready, _, _ = select.select([self._controller], [], [], limit)
        if not ready:
            assert limit < LIMIT, self.shown
            return False
        try:
            data = os.read(self._controller, 65536)
        except OSError:
            # Linux ends a pseudo-terminal like this.
            return False
        self.shown += data.decode()
        return bool(data)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def terminal(bare: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """A function that starts a command in a terminal, without variables."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Terminal:
            started = Terminal(*arguments)
            stack.callback(started.close)
            return started

        yield start


@pytest.fixture
def bare(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The sandbox's variables, none of which is set."""
    for name in environment:
        monkeypatch.delenv(name)
    return environment


@pytest.fixture
def piped(bare: dict[str, str]) -> Piped:
    """A function that runs `login` in this process, with a text on stdin."""
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    runner = CliRunner(**options)
    return lambda text, *arguments: runner.invoke(videoapi, ["login", *map(str, arguments)], input=text)


def given(bare: dict[str, str], *more: str) -> tuple[str, ...]:
    """Return the options of a login from a script."""
    return ("--key-stdin", "--app-id", bare["VIDEOAPI_APP_ID"], "--base-url", bare["VIDEOAPI_BASE_URL"], *more)


def stored(profiles: Path, name: str = "default") -> dict[str, str]:
    found: dict[str, str] = tomllib.loads(profiles.read_text(encoding="utf-8"))["profiles"][name]
    return found


@pytest.mark.slow
def test_login_in_a_terminal_hides_the_key_and_writes_a_private_file(
    terminal: Callable[..., Terminal], bare: dict[str, str], profiles: Path, sandbox: Sandbox
) -> None:
    login = terminal("login")
    login.expect("APP_ID: ")
    login.type(bare["VIDEOAPI_APP_ID"])
    login.expect("APP_KEY (not shown): ")
    login.type(bare["VIDEOAPI_APP_KEY"])
    login.expect(f"Base URL [{DEFAULT_BASE_URL}]: ")
    login.type(bare["VIDEOAPI_BASE_URL"])
    assert login.end() == 0, login.shown
    assert bare["VIDEOAPI_APP_KEY"] not in login.shown
    assert bare["VIDEOAPI_APP_ID"] in login.shown
    assert f"Profile default is written to {profiles}; its credentials were accepted." in login.shown
    assert stored(profiles) == {
        "app_id": bare["VIDEOAPI_APP_ID"],
        "app_key": bare["VIDEOAPI_APP_KEY"],
        "base_url": bare["VIDEOAPI_BASE_URL"],
    }
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600
    assert sandbox.ledger.requests() == sandbox.ledger.requests("dialin.get") == 1
    # The profile works.
    shown = terminal("dialin")
    assert shown.end() == 0, shown.shown


@pytest.mark.slow
@pytest.mark.parametrize("at", ["APP_ID: ", "APP_KEY (not shown): ", "Base URL"])
def test_ctrl_c_leaves_nothing(
    terminal: Callable[..., Terminal], bare: dict[str, str], profiles: Path, sandbox: Sandbox, at: str
) -> None:
    login = terminal("login")
    for prompt, answer in (("APP_ID: ", bare["VIDEOAPI_APP_ID"]), ("APP_KEY (not shown): ", WRONG), ("Base URL", "")):
        login.expect(prompt)
        if prompt == at:
            break
        login.type(answer)
    login.press_ctrl_c(until="Nothing was written.")
    assert login.end() == 130, login.shown
    assert WRONG not in login.shown
    assert "Traceback" not in login.shown
    assert not profiles.parent.exists()
    assert sandbox.ledger.requests() == 0


@pytest.mark.slow
def test_sigterm_at_a_prompt_leaves_a_terminal_that_echoes(terminal: Callable[..., Terminal], profiles: Path) -> None:
    login = terminal("login", "--app-id", "app", "--base-url", "https://api.example.com/video/v2")
    assert login.echoes
    login.expect("APP_KEY (not shown): ")
    wait_until(lambda: not login.echoes)
    login.process.terminate()
    login.expect("Nothing was written.")
    assert login.echoes
    assert login.end() == 128 + signal.SIGTERM
    assert not profiles.parent.exists()


@pytest.mark.slow
def test_interrupted_trial_leaves_nothing(
    terminal: Callable[..., Terminal], bare: dict[str, str], profiles: Path, sandbox: Sandbox
) -> None:
    sandbox.fault("dialin.get", "hang", times=None)
    login = terminal("login", "--app-id", bare["VIDEOAPI_APP_ID"], "--base-url", bare["VIDEOAPI_BASE_URL"])
    login.expect("APP_KEY (not shown): ")
    login.type(bare["VIDEOAPI_APP_KEY"])
    login.expect("Trying the credentials")
    login.press_ctrl_c(until="Nothing was written.")
    assert login.end() == 128 + signal.SIGINT
    assert not profiles.parent.exists()


@pytest.mark.slow
def test_existing_profile_is_replaced_only_if_confirmed(
    terminal: Callable[..., Terminal], piped: Piped, bare: dict[str, str], profiles: Path
) -> None:
    assert piped(bare["VIDEOAPI_APP_KEY"], *given(bare)).exit_code == 0
    before = profiles.read_text()
    login = terminal("login", "--no-check", "--app-id", "other", "--base-url", DEFAULT_BASE_URL)
    login.expect(f"Profile default (APP_ID {bare['VIDEOAPI_APP_ID'][:3]}***) exists. Replace its credentials? [y/N]: ")
    login.type("n")
    assert login.end() == 1
    assert "Nothing was written." in login.shown
    assert profiles.read_text() == before
    login = terminal("login", "--no-check", "--app-id", "other", "--base-url", DEFAULT_BASE_URL)
    login.expect("[y/N]: ")
    login.type("y")
    login.expect("APP_KEY (not shown): ")
    login.type(WRONG)
    assert login.end() == 0, login.shown
    assert WRONG not in login.shown
    assert stored(profiles) == {"app_id": "other", "app_key": WRONG, "base_url": DEFAULT_BASE_URL}


def test_key_from_stdin_is_tried_and_written(piped: Piped, bare: dict[str, str], profiles: Path) -> None:
    result = piped(bare["VIDEOAPI_APP_KEY"] + "\n", *given(bare, "--profile", "work"))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert bare["VIDEOAPI_APP_KEY"] not in result.stderr
    assert stored(profiles, "work")["app_key"] == bare["VIDEOAPI_APP_KEY"]


def test_rejected_credentials_are_not_written(piped: Piped, bare: dict[str, str], profiles: Path) -> None:
    result = piped(WRONG, *given(bare))
    assert result.exit_code == 5
    assert "Application not found (HTTP 401, code 10000)" in result.stderr
    assert "Nothing was written." in result.stderr
    assert WRONG not in result.output
    assert not profiles.exists()


def test_no_check_sends_nothing(piped: Piped, bare: dict[str, str], profiles: Path, sandbox: Sandbox) -> None:
    result = piped(WRONG, *given(bare, "--no-check"))
    assert result.exit_code == 0
    assert "its credentials were not tried" in result.stderr
    assert sandbox.ledger.requests() == 0
    assert stored(profiles)["app_key"] == WRONG


def test_unreachable_service_names_the_way_without_a_check(piped: Piped, bare: dict[str, str], profiles: Path) -> None:
    result = piped(WRONG, *given(bare | {"VIDEOAPI_BASE_URL": "https://127.0.0.1:1/video/v2"}))
    assert result.exit_code == 5
    assert "cannot connect to 127.0.0.1:1" in result.stderr
    assert "--no-check" in result.stderr
    assert not profiles.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "stdin is not a terminal. Give --key-stdin"),
        (("--key-stdin",), "--key-stdin needs --app-id"),
        (("--key-stdin", "--app-id", "a", "--profile", "a b"), "--profile: 1 to 64 letters"),
        (("--key-stdin", "--app-id", "a", "--profile", "[x]"), "--profile: 1 to 64 letters"),
        (("--key-stdin", "--app-id", "a", "--proxy", f"http://ann:{WRONG}@h"), "into VIDEOAPI_PROXY"),
    ],
)
def test_wrong_usage_is_named(piped: Piped, profiles: Path, arguments: tuple[str, ...], words: str) -> None:
    result = piped(WRONG, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert WRONG not in result.output
    assert not profiles.exists()


@pytest.mark.parametrize(
    ("key", "arguments", "words"),
    [
        ("", ("--app-id", "a"), "APP_KEY must be text that is not empty"),
        (f"{WRONG}\n{WRONG}", ("--app-id", "a"), "control character"),
        (WRONG, ("--app-id", "a:b"), "colon"),
        (WRONG, ("--app-id", "a", "--base-url", "api.example.com"), "Invalid base URL: it must begin with https://"),
        (WRONG, ("--app-id", "a", "--base-url", "http://api.example.com/v2"), "unencrypted"),
        (WRONG, ("--app-id", "a", "--proxy", "socks5://proxy:1080"), "Invalid --proxy"),
    ],
)
def test_values_that_cannot_be_used_are_not_written(
    piped: Piped, profiles: Path, key: str, arguments: tuple[str, ...], words: str
) -> None:
    result = piped(key, "--key-stdin", "--no-check", *arguments)
    assert result.exit_code == 5
    assert words in result.stderr
    assert WRONG not in result.output
    assert not profiles.exists()


@pytest.mark.slow
def test_key_that_is_not_text_is_not_quoted(bare: dict[str, str], profiles: Path) -> None:
    command = [sys.executable, "-m", "videoapi.cli", "login", *given(bare, "--no-check")]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    ended = subprocess.run(command, input=b"Canary\xff\xfe", capture_output=True, check=False, env=environment)
    assert ended.returncode == 5
    assert b"Canary" not in ended.stdout + ended.stderr
    assert b"Traceback" not in ended.stderr
    assert not profiles.exists()


def test_script_needs_overwrite_and_other_values_stay(piped: Piped, bare: dict[str, str], profiles: Path) -> None:
    assert piped(bare["VIDEOAPI_APP_KEY"], *given(bare)).exit_code == 0
    profiles.write_text(profiles.read_text() + 'recording_user = "u"\nrecording_password = "p"\n# mine\n')
    result = piped(WRONG, *given(bare, "--no-check"))
    assert result.exit_code == 2
    assert "Give --overwrite" in result.stderr
    assert stored(profiles)["app_key"] == bare["VIDEOAPI_APP_KEY"]
    changed = bare | {"VIDEOAPI_APP_ID": "other"}
    result = piped(WRONG, *given(changed, "--no-check", "--overwrite", "--proxy", "http://proxy:3128"))
    assert result.exit_code == 0, result.stderr
    assert stored(profiles) == {
        "app_id": "other",
        "app_key": WRONG,
        "base_url": bare["VIDEOAPI_BASE_URL"],
        "recording_user": "u",
        "recording_password": "p",
        "proxy": "http://proxy:3128",
    }
    assert "# mine\n" in profiles.read_text()
    assert "Kept from the earlier project: recording_user, recording_password." in result.stderr


def test_ca_file_is_stored_as_an_absolute_path(
    piped: Piped, bare: dict[str, str], profiles: Path, folder: Path
) -> None:
    assert piped(WRONG, *given(bare, "--no-check", "--ca-file", "ca.pem")).exit_code == 0
    assert stored(profiles)["ca_file"] == str(folder / "ca.pem")


def test_variables_do_not_take_part_and_their_precedence_is_noted(
    piped: Piped, bare: dict[str, str], profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOAPI_APP_ID", "another")
    monkeypatch.setenv("VIDEOAPI_BASE_URL", "https://127.0.0.1:1/video/v2")
    result = piped(bare["VIDEOAPI_APP_KEY"], *given(bare))
    assert result.exit_code == 0, result.stderr
    assert stored(profiles)["app_id"] == bare["VIDEOAPI_APP_ID"]
    assert "The environment overrides every profile: VIDEOAPI_APP_ID, VIDEOAPI_BASE_URL." in result.stderr


def test_public_file_is_refused_before_any_prompt(piped: Piped, bare: dict[str, str], profiles: Path) -> None:
    profiles.parent.mkdir()
    profiles.write_text("")
    profiles.chmod(0o644)
    result = piped(WRONG, *given(bare, "--no-check"))
    assert result.exit_code == 5
    assert f"chmod 600 {profiles}" in result.stderr
    assert profiles.read_text() == ""


def test_folder_that_cannot_be_written_is_named(
    piped: Piped, bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking = tmp_path / "file"
    blocking.write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(blocking))
    result = piped(WRONG, *given(bare, "--no-check"))
    assert result.exit_code == 5
    assert str(blocking) in result.stderr
    assert "Traceback" not in result.output


def test_there_is_no_option_for_the_key(piped: Piped) -> None:
    assert "--app-key" not in piped("", "--help").stdout
    assert piped("", "--app-key", WRONG).exit_code == 2
