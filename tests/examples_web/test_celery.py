"""The tasks of "celery_tasks.py" in examples/, in a worker with two processes and a broker of files."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.programs import EXAMPLES, Program, environment

from videoapi import CreateOutcomeUnknown, Room
from videoapi.sandbox import Sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONFIGURATION = """
broker_url = "filesystem://"
broker_transport_options = {{
    "data_folder_in": "{folder}/queue", "data_folder_out": "{folder}/queue", "control_folder": "{folder}/control"
}}
result_backend = "file://{folder}/results"
"""
CALLER = """
import sys
from celery_tasks import create_meeting
results = [create_meeting.delay(meeting) for meeting in sys.argv[1:]]
print(*(result.get(timeout=60) for result in results))
"""


def run_tasks(sandbox: Sandbox, folder: Path, *meetings: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CALLER, *meetings],
        cwd=folder,
        env=environment(sandbox, folder),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_tasks_create_each_room_once_in_workers_that_fork(
    sandbox: Sandbox, start: Callable[..., Program], tmp_path: Path
) -> None:
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "celeryconfig.py").write_text(CONFIGURATION.format(folder=tmp_path), encoding="utf-8")
    command = "-m celery --app celery_tasks worker --pool prefork --concurrency 2 --loglevel INFO"
    # Celery warns if the tests run as root.
    worker = start(*command.split(), PYTHONWARNINGS="ignore:You're running the worker")
    worker.wait_for(lambda: " ready." in worker.output)

    lost = sandbox.fault("rooms.create", "drop_after")
    throttled = sandbox.fault("rooms.create", "throttle", after=3, retry_after=1)
    meetings = [f"m-{number}" for number in range(8)]
    rooms = run_tasks(sandbox, tmp_path, *meetings)

    assert (lost.hits, throttled.hits) == (1, 1)
    assert sorted(rooms) == sorted(sandbox.ledger.rooms)
    assert [sandbox.ledger.rooms[room]["name"] for room in rooms] == [f"Meeting {meeting}" for meeting in meetings]
    assert sandbox.ledger.duplicates() == {}


@pytest.mark.parametrize("call", [{"args": ("m-1",)}, {"kwargs": {"meeting_id": "m-1"}}])
def test_retry_keeps_the_arguments_and_looks_for_the_room(
    call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Video:
        def __init__(self) -> None:
            self.rooms = self
            self.resolved: list[str] = []

        def create(self, **_: object) -> Room:
            raise CreateOutcomeUnknown("lost", reference="r", may_have_executed=True)

        def resolve(self, reference: str) -> Room:
            self.resolved.append(reference)
            return Room(room_id="room-1")

    monkeypatch.setitem(sys.modules, "celeryconfig", ModuleType("celeryconfig"))
    names, video = runpy.run_path(str(EXAMPLES / "celery_tasks.py")), Video()
    names["clients"].append(video)
    assert names["create_meeting"].apply(**call).get() == "room-1"
    assert len(video.resolved) == 1
