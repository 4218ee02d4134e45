"""The command on a real terminal: tables, questions, and names that contain escape sequences."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("environment")]
Cli = Callable[..., Result]
COMMAND = (sys.executable, "-m", "videoapi")
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with some call records."""
    with Sandbox(seed=7, calls=20, today=date(2026, 3, 31)).in_thread() as running:
        yield running


class Terminal:
    """A terminal with a command in it."""

    def __init__(self, controller: int, process: subprocess.Popen[bytes]) -> None:
        self._controller = controller
        self.process = process
        self.shown = ""

    def read_until(self, text: str | None) -> str:
        """Return what is shown once it has a text, or the command has ended."""
        end = time.monotonic() + 60
        while text is None or text not in self.shown:
            assert time.monotonic() < end, self.shown
            if not select.select([self._controller], [], [], 1)[0]:
                continue
            try:
                part = os.read(self._controller, 100_000)
            except OSError:
                break
            if not part:
                break
            self.shown += part.decode()
        return self.shown

    def type(self, keys: str) -> None:
        os.write(self._controller, keys.encode())


@contextmanager
def terminal(*arguments: object, columns: int = 120) -> Iterator[Terminal]:
    controller, device = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=device,
        stdout=device,
        stderr=device,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"},
    )
    os.close(device)
    try:
        yield Terminal(controller, process)
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def ended(shell: Terminal) -> str:
    shown = shell.read_until(None)
    shell.process.wait(60)
    return shown


def test_list_is_a_table_with_a_header(cli: Cli, sandbox: Sandbox) -> None:
    for name in ("Stand-up [red]", "A\x1b[31mB\x1b]0;title\x07\u202e", "会議"):
        assert cli("rooms", "create", "--name", name).exit_code == 0
    with terminal("rooms", "list") as shell:
        shown = ended(shell)
    assert shell.process.returncode == 0
    lines = [STYLE.sub("", line) for line in shown.splitlines()]
    assert re.fullmatch(r" *room_id +kind +name +owner_ref *", lines[0])
    assert all(room_id in shown for room_id in sandbox.ledger.rooms)
    # Brackets are not markup, and what is in a name does not act on the terminal.
    assert "Stand-up [red]" in shown
    assert "A[31mB]0;title" in shown
    assert not {"\x07", "\u202e"} & set(shown)
    assert "\x1b[31m" not in shown


@pytest.mark.parametrize("columns", [60, 80])
def test_narrow_terminal_shows_each_id_in_one_piece(cli: Cli, sandbox: Sandbox, columns: int) -> None:
    assert cli("rooms", "create", "--name", "A rather long name for a room " * 3).exit_code == 0
    with terminal("rooms", "list", columns=columns) as shell:
        shown = STYLE.sub("", ended(shell))
    assert max(map(len, shown.splitlines())) <= columns
    (room_id,) = sandbox.ledger.rooms
    assert re.search(rf"^ *{room_id} +permanent", shown, re.MULTILINE)
    if columns == 80:
        assert str(sandbox.ledger.rooms[room_id]["owner_ref"]) in shown


def test_terminal_too_narrow_for_the_ids_shows_a_line_per_field(cli: Cli, sandbox: Sandbox) -> None:
    with terminal("cdr", "list", "2026-03-01", "2026-03-31", columns=80) as shell:
        shown = STYLE.sub("", ended(shell))
    assert shell.process.returncode == 0
    assert max(map(len, shown.splitlines())) <= 80
    records = [line.split() for line in cli("cdr", "list", "2026-03-01", "2026-03-31").stdout.splitlines()]
    blocks = re.split(r"\r?\n\r?\n", shown.strip())
    assert len(blocks) == len(records)
    for block, record in zip(blocks, records, strict=True):
        fields = dict(line.split(maxsplit=1) for line in block.splitlines())
        assert list(fields) == ["time", "room_id", "conf_num", "user", "role", "minutes"]
        assert " ".join(value.strip() for value in fields.values()).split() == record


def test_delete_asks_on_a_terminal(cli: Cli, sandbox: Sandbox) -> None:
    for _ in range(3):
        assert cli("rooms", "create", "--name", "A").exit_code == 0
    kept, deleted, unasked = sandbox.ledger.rooms
    for no in ("n\n", "\x04"):
        with terminal("rooms", "delete", kept) as shell:
            shell.read_until("[y/N]")
            shell.type(no)
            assert "Nothing was done." in ended(shell)
            assert shell.process.returncode == 1
    with terminal("rooms", "delete", deleted) as shell:
        assert f"Delete the room {deleted}?" in shell.read_until("[y/N]")
        shell.type("y\n")
        assert f"Deleted: {deleted}" in ended(shell)
        assert shell.process.returncode == 0
    with terminal("rooms", "delete", unasked, "--yes") as shell:
        assert "[y/N]" not in ended(shell)
        assert shell.process.returncode == 0
    assert list(sandbox.ledger.rooms) == [kept]


def test_closed_terminal_stops_a_run_in_order(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(3_000)))
    sandbox.fault("rooms.create", "delay", times=None, seconds=0.05)
    before = set(sandbox.ledger.rooms)
    controller, device = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "rooms", "create-many", "rooms.csv", "--concurrency", "8"],
        stdin=device,
        stdout=device,
        stderr=device,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(device)
    try:
        while sandbox.ledger.count("rooms.create") < 20:
            assert process.poll() is None
            time.sleep(0.02)
        os.close(controller)
        assert process.wait(30) == 129
    finally:
        process.kill()
        process.wait()
    rows = map(json.loads, (tmp_path / "rooms.csv.outcomes.jsonl").read_text().splitlines())
    assert {row["room_id"] for row in rows if row["status"] == "created"} == set(sandbox.ledger.rooms) - before
    assert not (tmp_path / "rooms.csv.outcomes.jsonl.part").exists()


def test_ctrl_c_at_a_question_ends_with_130(cli: Cli, sandbox: Sandbox) -> None:
    assert cli("rooms", "create", "--name", "A").exit_code == 0
    with terminal("rooms", "delete", next(iter(sandbox.ledger.rooms))) as shell:
        shell.read_until("[y/N]")
        while shell.process.poll() is None:
            # Python misses a signal that arrives between the question and the first byte that it waits for.
            shell.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                shell.process.wait(2)
        shown = ended(shell)
    assert shell.process.returncode == 130
    assert "Interrupted." in shown
    assert "Traceback" not in shown
    assert "Aborted" not in shown
    assert len(sandbox.ledger.rooms) == 1


def test_token_is_alone_on_a_terminal_too(cli: Cli, sandbox: Sandbox) -> None:
    assert cli("rooms", "create", "--name", "A").exit_code == 0
    with terminal("tokens", "create", next(iter(sandbox.ledger.rooms)), "--name", "Ann", "--user-ref", "u") as shell:
        shown = ended(shell)
    assert sandbox.join("".join(shown.split()))
