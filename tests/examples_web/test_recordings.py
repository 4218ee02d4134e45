"""The program of the webhooks guide that downloads recordings: over repetitions, kills and several processes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.programs import WEBHOOK_AUTH, environment, free_port

from videoapi.blocking import VideoClient
from videoapi.sandbox import Sandbox
from videoapi.webhooks import Transcoded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "webhooks.md"
APP = "from recordings import create_app\napp = create_app(lease=1, retry_every=0.5)\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    page = PAGE.read_text(encoding="utf-8")
    parts = re.findall(r"```python\n(# (?:store|recordings)\.py.*?)```", page, re.DOTALL)
    assert len(parts) == 2
    (tmp_path / "recordings.py").write_text("\n\n".join(parts), encoding="utf-8")
    (tmp_path / "quick.py").write_text(APP, encoding="utf-8")
    return tmp_path


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def sandbox(port: int) -> Iterator[Sandbox]:
    options: dict[str, Any] = {"webhook_url": f"http://127.0.0.1:{port}/hooks/", "webhook_auth": WEBHOOK_AUTH}
    with Sandbox(file_size=300_000, webhook_retry=1, **options).in_thread() as running:
        yield running


@pytest.fixture
def start(sandbox: Sandbox, folder: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    with ExitStack() as stack:

        @contextmanager
        def process(port: int) -> Iterator[subprocess.Popen[bytes]]:
            user, password = sandbox.recording_auth
            variables = {"VIDEOAPI_RECORDING_USER": user, "VIDEOAPI_RECORDING_PASSWORD": password}
            command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "quick:app"]
            with (folder / f"{port}.log").open("wb") as output:
                started = subprocess.Popen(
                    command, cwd=folder, env=environment(sandbox, folder) | variables, stdout=output, stderr=output
                )
            try:
                wait(lambda: answers(port), "it accepts connections")
                yield started
            finally:
                started.kill()
                started.wait()

        yield lambda port: stack.enter_context(process(port))


def wait(ready: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 40
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/hooks/").status_code == 405
    except httpx.TransportError:
        return False


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "webhooks.sqlite", timeout=10)) as db:
        return db.execute(sql).fetchall()


def logged(folder: Path) -> str:
    """Return the output of all processes."""
    return "".join(log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("*.log"))


def recorded(folder: Path) -> list[tuple[str, int]]:
    """Return kind and size of each file that the program has recorded; a folder must have one."""
    rows = query(folder, "SELECT folder, kind FROM recordings")
    return sorted((kind, *(file.stat().st_size for file in (folder / name).iterdir())) for name, kind in rows)


def recorded_rows(folder: Path) -> list[tuple[Any, ...]]:
    return query(folder, "SELECT folder FROM recordings")


def settled(folder: Path) -> bool:
    """Return whether each accepted event is done, and none has failed."""
    return not query(folder, "SELECT 1 FROM events WHERE until IS NULL OR failed")


def client(sandbox: Sandbox) -> VideoClient:
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url)


def session(sandbox: Sandbox) -> tuple[str, str]:
    """Add a recorded session, which the sandbox announces."""
    with client(sandbox) as video:
        room_id = video.rooms.create(name="Stand-up").room_id
    return room_id, sandbox.conference(room_id, recorded=True)


def expected(sandbox: Sandbox, conf_num: str) -> int:
    """Return how many files the archive of a session has."""
    with client(sandbox) as video:
        return sum(len(archive.files) for archive in video.archives.by_conference(conf_num).to_list())


def test_each_file_is_downloaded_once_over_repetitions(
    sandbox: Sandbox, folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    process = start(port)
    room_id, conf_num = session(sandbox)
    count = expected(sandbox, conf_num)
    wait(lambda: not sandbox.undelivered and settled(folder), "all events are done")
    first = recorded(folder)
    assert len(first) == count
    assert {size for kind, size in first if kind in ("recording", "transcoded")} == {300_000}
    times = sorted(path.stat().st_mtime_ns for path in (folder / "recordings").rglob("*.*"))
    sandbox.notify("transcoded", room_id, conf_num)
    time.sleep(0.5)
    wait(lambda: not sandbox.undelivered and settled(folder), "the repetition is done")
    assert recorded(folder) == first
    assert sorted(path.stat().st_mtime_ns for path in (folder / "recordings").rglob("*.*")) == times
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_process_that_lives_finishes_the_downloads_of_a_killed_one(
    sandbox: Sandbox, folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    killed = start(port)
    start(free_port())
    hanging = sandbox.fault("files.get", "hang", times=None)
    _, conf_num = session(sandbox)
    wait(lambda: hanging.hits and not sandbox.undelivered, "a download has begun")
    assert not settled(folder)
    killed.kill()
    killed.wait()
    hanging.cancel()
    wait(lambda: settled(folder), "the other process has taken over")
    assert len(recorded(folder)) == expected(sandbox, conf_num)
    assert not [path for path in os.scandir(folder / "recordings") if ".part" in path.name]


def test_rows_that_a_kill_has_prevented_are_written_for_files_that_are_complete(
    sandbox: Sandbox, folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    killed = start(port)
    room_id, conf_num = session(sandbox)
    wait(lambda: not sandbox.undelivered and settled(folder), "all events are done")
    before = recorded(folder)
    killed.kill()
    killed.wait()
    # As if the process had been killed after the download of an event and before its note.
    event = Transcoded(conf_num=conf_num, room_id=room_id)
    with closing(sqlite3.connect(folder / "webhooks.sqlite")) as db, db:
        db.execute("DELETE FROM recordings")
        db.execute(
            "INSERT INTO events (digest, event, seconds, owner) VALUES (?, ?, 60, 'gone')",
            (event.digest, event.to_json()),
        )
    downloads = sandbox.ledger.requests("files.get")
    start(port)
    wait(lambda: settled(folder), "the event was taken over")
    assert recorded(folder) == before
    assert sandbox.ledger.requests("files.get") == downloads


def test_event_before_its_archive_is_handled_when_the_archive_exists(
    sandbox: Sandbox, folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    start(port)
    empty = sandbox.fault("archives.by_conference", 503, times=None)
    _, conf_num = session(sandbox)
    wait(lambda: query(folder, "SELECT 1 FROM events WHERE attempts"), "an event has failed")
    empty.cancel()
    wait(lambda: not sandbox.undelivered and settled(folder), "all events are done")
    assert len(recorded(folder)) == expected(sandbox, conf_num)


def test_two_events_of_one_session_share_its_files_without_a_failed_attempt(
    sandbox: Sandbox, folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    start(port)
    # Longer than the three tries of a handler, so that a handler that fails on a busy file would use them up.
    slow = sandbox.fault("files.get", "delay", seconds=8)
    _, conf_num = session(sandbox)
    count = expected(sandbox, conf_num)
    wait(lambda: not sandbox.undelivered and len(recorded_rows(folder)) == count - 1, "all files but the slow one")
    assert slow.hits == 1
    assert not settled(folder)
    start(free_port())  # its sweep meets the file that the first process is writing
    wait(lambda: settled(folder), "all events are done")
    assert len(recorded(folder)) == count
    assert not query(folder, "SELECT 1 FROM events WHERE attempts")
    assert sandbox.ledger.requests("files.get") == count
    assert "ERROR" not in logged(folder)
    assert "failed" not in logged(folder)
    assert "Traceback" not in logged(folder)


def lost_session(folder: Path, sandbox: Sandbox) -> str:
    """Lose each event of a session, as nothing listens yet, and return its conf_num; the program sweeps often."""
    _, conf_num = session(sandbox)
    wait(lambda: not sandbox.undelivered, "the sandbox has given up")
    assert not any(delivery.accepted for delivery in sandbox.deliveries)
    (folder / "quick.py").write_text(APP.replace("retry_every", "sweep_every"), encoding="utf-8")
    return conf_num


def test_sweep_fetches_once_what_no_event_has_announced(
    folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]], sandbox: Sandbox
) -> None:
    count = expected(sandbox, lost_session(folder, sandbox))
    start(port)
    start(free_port())
    wait(lambda: len(recorded_rows(folder)) == count, "the sweep has fetched all files")
    sweeps = sandbox.ledger.requests("archives.by_period")
    wait(lambda: sandbox.ledger.requests("archives.by_period") >= sweeps + 4, "more sweeps of both processes")
    assert len(recorded(folder)) == count
    assert sandbox.ledger.requests("files.get") == count
    assert not query(folder, "SELECT 1 FROM events")
    assert "Traceback" not in logged(folder)


def test_sweep_continues_after_an_error_and_the_task_reports_it(
    folder: Path, port: int, start: Callable[[int], subprocess.Popen[bytes]], sandbox: Sandbox
) -> None:
    conf_num = lost_session(folder, sandbox)
    refused = sandbox.fault("archives.by_period", 403, times=None)
    start(port)
    wait(lambda: "is tried again in 0.5 s: sweep" in logged(folder), "the failed sweep is logged")
    refused.cancel()
    gone = sandbox.fault("files.get", 404)
    wait(lambda: len(recorded_rows(folder)) == expected(sandbox, conf_num), "a later sweep has fetched all files")
    assert gone.hits == 1
    assert f"Not all files of the session {conf_num} were fetched" in logged(folder)
