"""Standard streams of a process: encodings, readers that leave, and closed ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from videoapi.cli import main
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
pytestmark = pytest.mark.slow
COMMAND = (sys.executable, "-m", "videoapi")
NAME = "Zoë 会議 \x1b[31mred\x1b[0m \u202eevil"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a long list of rooms, and a history."""
    with Sandbox(seed=7, rooms=3_000, calls=600, today=date(2026, 3, 31)).in_thread() as running:
        yield running


def ended(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture
def room_id(cli: Cli, sandbox: Sandbox) -> str:
    """A room whose name has accents, ideographs and control characters."""
    assert cli("rooms", "create", "--name", NAME).exit_code == 0
    return sandbox.ledger.created[0].room_id


@pytest.mark.parametrize(
    ("env", "encoding", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii", "Zo? ??"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1", "Zoë ??"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii", "Zo? ??"),
        ({"PYTHONIOENCODING": "utf-8"}, "utf-8", "Zoë 会議"),
    ],
    ids=["ascii", "latin-1", "locale C", "utf-8"],
)
def test_table_has_replacements_for_what_the_stream_lacks(
    room_id: str, env: dict[str, str], encoding: str, shown: str
) -> None:
    done = ended("rooms", "get", room_id, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert shown in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_messages_progress_and_json_are_ascii_on_an_ascii_stream(room_id: str, folder: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    done = ended("rooms", "get", room_id, "--json", env=env)
    assert json.loads(done.stdout.decode("ascii"))["name"] == NAME
    (folder / "会議.csv").write_text(f"name,sip\n{NAME},maybe\n", encoding="utf-8")
    run = ended("rooms", "create-many", "会議.csv", env=env)
    assert run.returncode == 1
    assert b"Outcomes: ??.csv.outcomes.jsonl" in run.stderr
    invalid = ended("rooms", "create", "--name", "A", "--setting", "größe=会議", env=env)
    assert invalid.returncode == 2
    assert invalid.stderr.decode("ascii") == "--setting gr??e is not a setting of the service.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("rooms", "list"),
        ("rooms", "list", "--json"),
        ("cdr", "list", "{first}", "{last}"),
        ("cdr", "export", "{first}", "{last}", "-"),
        ("cdr", "export", "{first}", "{last}", "-", "--format", "csv"),
        ("archives", "list", "{first}", "{last}", "--json"),
        ("--help",),
        ("rooms", "create", "--help"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("environment")
def test_listing_ends_quietly_when_its_reader_leaves(sandbox: Sandbox, arguments: tuple[str, ...]) -> None:
    words = [word.format(first="2026-03-01", last="2026-03-31") for word in arguments]
    reader, writer = os.pipe()
    process = subprocess.Popen([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    if arguments[0] != "--help" and "--help" not in arguments:
        assert os.read(reader, 10)
    os.close(reader)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")


@pytest.mark.usefixtures("environment")
def test_a_pipe_to_head_ends_with_0(sandbox: Sandbox) -> None:
    shell = 'set -o pipefail; "$0" -m videoapi rooms list | head -n 3'
    done = subprocess.run(["bash", "-c", shell, sys.executable], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.usefixtures("environment")
def test_run_is_completed_when_no_reader_of_its_messages_is_left(sandbox: Sandbox, folder: Path) -> None:
    lines = [*(f"New {number}," for number in range(40)), "Bad,maybe"]
    (folder / "rooms.csv").write_text("\n".join(["name,sip", *lines]))
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*COMMAND, "rooms", "create-many", "rooms.csv", "--json"],
        stdout=writer,
        stderr=writer,
        timeout=60,
        check=False,
    )
    os.close(writer)
    # The failure of the last line, not of the output.
    assert process.returncode == 1
    assert len(sandbox.ledger.created) == 40
    assert len((folder / "rooms.csv.outcomes.jsonl").read_text().splitlines()) == 41


def shell(words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command with redirections of a shell."""
    line = f'"$0" -m videoapi {words}'
    return subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("away", ["2>&-", "2>/dev/full"])
@pytest.mark.usefixtures("environment")
def test_work_does_not_depend_on_whether_messages_can_be_written(sandbox: Sandbox, folder: Path, away: str) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    assert shell(f"rooms create-many rooms.csv {away}").returncode == 0
    assert [room.name for room in sandbox.ledger.created] == ["A", "B"]
    assert shell(f"cdr export 2026-03-01 2026-03-31 out.jsonl {away}").returncode == 0
    listed = shell(f"cdr export 2026-03-01 2026-03-31 - {away}")
    assert (listed.returncode, listed.stdout) == (0, (folder / "out.jsonl").read_bytes())


@pytest.mark.usefixtures("environment")
def test_room_whose_description_cannot_be_written_is_named_on_stderr(sandbox: Sandbox) -> None:
    for form in ("", "--json"):
        done = shell(f"rooms create --name A {form} >/dev/full")
        assert done.returncode == 1
        assert f"Created: {sandbox.ledger.created[-1].room_id}" in done.stderr.decode()
        assert done.stderr.decode().splitlines()[-1] == "No space left on device: stdout"


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "rooms create --help",
        "dialin",
        "doctor",
        "rooms list --json",
        "sandbox trigger session-ended --room a --url http://127.0.0.1:1/",
        "sandbox trigger session-ended --room a --url http://127.0.0.1:1/ --json",
    ],
)
@pytest.mark.usefixtures("environment")
def test_full_disk_is_named(words: str) -> None:
    done = shell(f"{words} >/dev/full")
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (1, "No space left on device: stdout")
    assert b"Traceback" not in done.stderr


@pytest.mark.usefixtures("environment")
def test_doctor_without_stdout_has_its_exit_code() -> None:
    done = shell("doctor >&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("environment")
def test_export_to_a_closed_stdout_is_an_error() -> None:
    done = shell("cdr export 2026-03-01 2026-03-31 - >&-")
    assert (done.returncode, done.stderr.decode()) == (1, "Bad file descriptor: stdout\n")


def test_login_without_stdin_is_wrong_usage() -> None:
    done = shell("login <&-")
    assert done.returncode == 2
    assert b"stdin is not a terminal" in done.stderr


@pytest.mark.usefixtures("environment")
def test_closed_streams_are_no_failure(sandbox: Sandbox) -> None:
    shell = '"$0" -m videoapi rooms create --name A >&- 2>&-'
    done = subprocess.run(["bash", "-c", shell, sys.executable], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert len(sandbox.ledger.created) == 1


@pytest.mark.parametrize(
    ("arguments", "route"), [(("rooms", "list"), "rooms.list"), (("tokens", "create"), "tokens.create")]
)
@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_a_call_with_130_and_one_line(sandbox: Sandbox, arguments: tuple[str, ...], route: str) -> None:
    sandbox.fault(route, "hang", times=None)
    more = ("0" * 24, "--name", "Ann", "--user-ref", "u") if arguments[0] == "tokens" else ()
    process = subprocess.Popen([*COMMAND, *arguments, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: sandbox.ledger.requests(route) > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"Interrupted.\n")


@pytest.mark.usefixtures("environment")
def test_ctrl_c_during_a_create_prints_how_to_find_its_room(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.create", "drop_after")
    sandbox.fault("rooms.list", "hang", times=None)
    command = [*COMMAND, "rooms", "create", "--name", "A"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: sandbox.ledger.requests("rooms.list") > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    sandbox.clear_faults()
    resolved = subprocess.run(err.splitlines()[-1], shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert resolved.returncode == 0, resolved.stderr
    assert resolved.stdout.strip() == sandbox.ledger.created[0].room_id


@pytest.mark.usefixtures("environment")
def test_argument_that_is_not_utf8_is_refused_with_the_reason(sandbox: Sandbox) -> None:
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"rooms", b"create", b"--name", b"a\xff"],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 2
    assert done.stderr.decode() == "The request cannot be written as JSON: a text in it is not valid Unicode.\n"
    assert not sandbox.ledger.created


def test_ctrl_c_while_the_command_is_imported_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "videoapi.cli.app", Interrupted("videoapi.cli.app"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
