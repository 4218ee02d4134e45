"""The command line as a process: signals, terminals, and the sandbox in a separate process."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.cli.sandbox import inject
from videoapi.sandbox import Ledger, Sandbox

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow

Cli = Callable[..., Result]
Begin = Callable[..., subprocess.Popen[str]]
COMMAND = (sys.executable, "-m", "videoapi.cli")
LAST = date(2026, 3, 31)
FIRST = LAST - timedelta(days=30)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a month of history."""
    with Sandbox(seed=7, calls=900, today=LAST).in_thread() as running:
        yield running


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A function that starts a command in a new process, which is killed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def popen(*arguments: object) -> subprocess.Popen[str]:
            command = [*COMMAND, *map(str, arguments)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield popen


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.usefixtures("environment")
def test_stopped_run_waits_for_requests_in_flight_and_records_them(
    begin: Begin, sandbox: Sandbox, folder: Path, number: signal.Signals, code: int
) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(10_000)))
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.05)
    process = begin("rooms", "create-many", "rooms.csv", "--concurrency", 8)
    wait_until(lambda: sandbox.ledger.count("rooms.create") > 20)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    outcomes = [json.loads(line) for line in (folder / "rooms.csv.outcomes.jsonl").read_text().splitlines()]
    made = {outcome["room_id"] for outcome in outcomes if outcome["status"] == "created"}
    assert made == set(sandbox.ledger.rooms)
    assert len(made) < 10_000
    assert {outcome["status"] for outcome in outcomes} <= {"created", "not_sent"}
    assert f"{len(made):,} created" in stderr
    assert f"{10_000 - len(outcomes):,} lines never read" in stderr
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("environment")
def test_command_under_nohup_outlives_its_terminal(begin: Begin, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(20)))
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.05)
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = begin("rooms", "create-many", "rooms.csv", "--concurrency", 2, "--audit", "no")
    finally:
        signal.signal(signal.SIGHUP, earlier)
    wait_until(lambda: sandbox.ledger.count("rooms.create") > 2)
    process.send_signal(signal.SIGHUP)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert len(sandbox.ledger.rooms) == 20


@pytest.mark.usefixtures("environment")
def test_interruption_while_the_file_is_read_has_exit_code_130(begin: Begin, sandbox: Sandbox, folder: Path) -> None:
    # A pipe without a writer: the command waits in the middle of its reading.
    os.mkfifo(folder / "rooms.csv")
    process = begin("rooms", "create-many", "rooms.csv", "--dry-run")
    with (folder / "rooms.csv").open("w"):
        time.sleep(0.3)
        # More than once: Python does not see a signal that comes just before it begins to read.
        for _ in range(15):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
                break
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "Aborted" not in stderr
    assert sandbox.ledger.requests() == 0


@pytest.mark.usefixtures("environment")
def test_interrupted_and_killed_run_is_completed_by_the_printed_command(
    begin: Begin, sandbox: Sandbox, folder: Path
) -> None:
    file = "my 'rooms'.csv"
    (folder / file).write_text("name\n" + "".join(f"A{number}\n" for number in range(300)))
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.02)
    options = ("--concurrency", 4, "--settle", 0.3)
    printed: list[str] = []
    for interruption, until in ((signal.SIGINT, 50), (signal.SIGKILL, 120)):
        process = begin("rooms", "create-many", file, *options)
        wait_until(lambda count=until: len(sandbox.ledger.rooms) > count)
        process.send_signal(interruption)
        _, stderr = process.communicate(timeout=30)
        printed += [line for line in stderr.splitlines() if line.startswith("  ")]
    sandbox.clear_faults()
    (command,) = printed
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "300 created" in ended.stderr
    assert sorted(room["name"] for room in sandbox.ledger.rooms.values()) == sorted(f"A{n}" for n in range(300))


def test_interrupted_export_resumes_where_it_stopped(cli: Cli, begin: Begin, sandbox: Sandbox, folder: Path) -> None:
    assert cli("cdr", "export", FIRST, LAST, "whole.jsonl", "--quiet").exit_code == 0
    sandbox.fault("cdr.by_period", "hang", times=None, after=2)
    process = begin("cdr", "export", FIRST, LAST, "out.jsonl")
    part = folder / "out.jsonl.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    cursor = re.search(r"--cursor (\S+)", stderr)
    assert cursor is not None
    assert not (folder / "out.jsonl").exists()
    sandbox.clear_faults()
    result = cli("cdr", "export", FIRST, LAST, "out.jsonl", "--cursor", cursor[1])
    assert result.exit_code == 0, result.output
    assert (folder / "out.jsonl").read_text() == (folder / "whole.jsonl").read_text()


def all_shown(controller: int, terminal: int) -> str:
    """Close a terminal, and return all that it shows, which may take several reads."""
    os.close(terminal)
    shown = b""
    # At the end of a terminal, Linux reports an error.
    with contextlib.suppress(OSError):
        while part := os.read(controller, 100_000):
            shown += part
    return shown.decode()


@pytest.mark.usefixtures("environment")
def test_progress_is_a_bar_on_a_terminal(folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(20)))
    controller, terminal = pty.openpty()
    try:
        ended = subprocess.run(
            [*COMMAND, "rooms", "create-many", "rooms.csv", "--json"],
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )
        shown = all_shown(controller, terminal)
    finally:
        os.close(controller)
    assert json.loads(ended.stdout)["counts"] == {"created": 20}
    assert "\x1b[" in shown
    assert "20/20" in shown
    assert "20 created" in shown


@pytest.mark.usefixtures("environment")
def test_failures_and_the_summary_begin_a_line_of_the_terminal(sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("files.get", "status", status=404)
    controller, terminal = pty.openpty()
    try:
        subprocess.run(
            [*COMMAND, "archives", "download", str(LAST), str(LAST), "files", "--kind", "metadata"],
            stdout=subprocess.PIPE,
            stderr=terminal,
            check=False,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        shown = all_shown(controller, terminal)
    finally:
        os.close(controller)
    # Each begins a line: the one above the bar, the other one below its last frame.
    assert "metadata of " in shown
    assert "\x1b[0mmetadata of " not in shown
    assert re.search(r"\n(?:\x1b\[\?25h)?\d+ failed, .* files\r?\n$", shown)


@pytest.mark.usefixtures("environment")
def test_interrupted_download_says_how_to_continue(begin: Begin, sandbox: Sandbox, folder: Path) -> None:
    sandbox.fault("files.get", "hang", times=None)
    process = begin("archives", "download", LAST, LAST, "files")
    wait_until(lambda: sandbox.ledger.requests("files.get") > 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted. To continue, repeat the command." in stderr


def use_printed_environment(process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that a sandbox prints when it has started."""
    assert process.stdout is not None
    for _ in range(5):
        name, _, value = process.stdout.readline().strip().removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)


def test_sandbox_may_live_on_another_day(begin: Begin, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    process = begin("sandbox", "--port", 0, "--seed", 1, "--calls", 400, "--today", "2026-01-31")
    try:
        use_printed_environment(process, monkeypatch)
        for command in (["cdr", "export"], ["archives", "download"]):
            period = ["2026-01-01", "2026-01-31"] if command[0] == "cdr" else ["2026-01-30", "2026-01-31"]
            done = subprocess.run(
                [*COMMAND, *command, *period, "january.csv" if command[0] == "cdr" else "files"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert "400 records" in done.stderr if command[0] == "cdr" else " downloaded" in done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_sandbox_prints_the_client_environment_and_exits_with_0(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    process = begin("sandbox", "--port", 0, "--seed", 5, "--rooms", 3, "--switch", "create_status=201")
    try:
        use_printed_environment(process, monkeypatch)
        listed = subprocess.run([*COMMAND, "rooms", "list"], capture_output=True, text=True, check=True)
        assert len(listed.stdout.splitlines()) == 3
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_sandbox_uses_the_given_credentials(begin: Begin) -> None:
    process = begin("sandbox", "--port", 0, "--app-id", "a" * 24, "--app-key", "my key")
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"export VIDEOAPI_APP_ID={'a' * 24}" in lines
    assert "export VIDEOAPI_APP_KEY='my key'" in lines


def test_killed_sandbox_resumes_from_its_state(begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rooms in (1, 2):
        process = begin("sandbox", "--port", 0, "--state", "kept", "--app-id", "a" * 24, "--app-key", "key")
        use_printed_environment(process, monkeypatch)
        (folder / "rooms.csv").write_text("name\nA\n")
        create = [*COMMAND, "rooms", "create-many", "rooms.csv", "--out", f"{rooms}.jsonl"]
        subprocess.run(create, capture_output=True, check=True)
        process.kill()
        process.communicate(timeout=30)
        assert len(Ledger.read(folder / "kept").created) == rooms


@pytest.mark.parametrize(("name", "code"), [("missing/file", 5), ("text", 2)])
def test_unusable_state_file_is_reported(cli: Cli, folder: Path, name: str, code: int) -> None:
    (folder / "text").write_text("no database " * 100)
    result = cli("sandbox", "--port", 0, "--state", name)
    assert result.exit_code == code
    assert name in result.stderr


def test_fault_option_is_met_as_often_as_it_says(cli: Cli, sandbox: Sandbox) -> None:
    inject(sandbox, "rooms.list:401")
    assert [cli("rooms", "list").exit_code for _ in range(2)] == [5, 0]
    inject(sandbox, "GET /rooms:expired:2")
    assert [cli("rooms", "list").exit_code for _ in range(3)] == [5, 5, 0]
    inject(sandbox, "rooms.*:401:100%")
    assert [cli("rooms", "list").exit_code for _ in range(3)] == [5, 5, 5]


def test_fault_option_takes_the_seconds_of_a_delay(cli: Cli, sandbox: Sandbox) -> None:
    inject(sandbox, "rooms.list:delay=60")
    assert cli("rooms", "list", "--timeout", 2).exit_code == 5
    inject(sandbox, "rooms.list:delay=0.01:100%")
    assert cli("rooms", "list", "--timeout", 20).exit_code == 0


@pytest.mark.parametrize(
    "fault",
    [
        *("rooms.create", "rooms.create:sing", "rooms.sing:503", "rooms.create:²"),
        *("rooms.list:delay=", "rooms.list:delay=nan", "rooms.list:delay=-1", "rooms.list:503=2"),
        *("*:503:x", "*:503:0", "*:503:200%", "*:503:nan%"),
    ],
)
def test_unknown_fault_is_a_usage_error(cli: Cli, fault: str) -> None:
    result = cli("sandbox", "--fault", fault)
    assert result.exit_code == 2
    assert f"--fault {fault}" in result.stderr
    for word in ("times=", "rate=", "None", "int()"):
        assert word not in result.stderr


def test_unknown_switch_is_a_usage_error(cli: Cli) -> None:
    result = cli("sandbox", "--switch", "colour=red")
    assert result.exit_code == 2
    assert "status_mode" in result.stderr


def test_port_in_use_is_reported(cli: Cli, sandbox: Sandbox) -> None:
    result = cli("sandbox", "--port", sandbox.port)
    assert result.exit_code == 5
    assert str(sandbox.port) in result.stderr
