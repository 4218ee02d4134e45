"""Runs every program in examples/ against a sandbox, as a reader would run it."""

from __future__ import annotations

import csv
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient as AiohttpBrowser
from aiohttp.test_utils import TestServer
from fastapi.testclient import TestClient as FastAPIBrowser

from videoapi.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONGER = {"fastapi_bookings.py": 140}
"""An example that needs more lines, because it is a complete recipe."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7, calls=300, today=date(2026, 1, 31)).in_thread() as running:
        yield running


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        "VIDEOAPI_APP_ID": sandbox.app_id,
        "VIDEOAPI_APP_KEY": sandbox.app_key,
        "VIDEOAPI_BASE_URL": sandbox.base_url,
    }


def run(sandbox: Sandbox, name: str, *arguments: str | Path, fails: bool = False, warns: str = "") -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(
        command,
        env={**os.environ, **environment(sandbox)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert re.fullmatch(warns, done.stderr), done.stderr
    assert sandbox.app_key not in done.stdout
    return done.stdout


def module(sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for variable, value in environment(sandbox).items():
        monkeypatch.setenv(variable, value)
    return runpy.run_path(str(EXAMPLES / name))


def test_quickstart_creates_and_deletes_a_room(sandbox: Sandbox) -> None:
    output = run(sandbox, "quickstart.py")
    assert "created Stand-up" in output
    assert len(sandbox.ledger.tokens) == 1
    assert not sandbox.ledger.rooms


def test_bulk_rooms_reports_every_line(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "rooms.csv"
    file.write_text("name,owner_ref\n" + "".join(f"Room {n},ref-{n}\n" for n in range(20)), encoding="utf-8")
    sandbox.fault("rooms.create", "throttle", 3, retry_after=0)
    paused = rf"(?:account {sandbox.app_id} at 127\.0\.0\.1:\d+ paused for \d+\.\d s after HTTP 429\n)+"
    output = run(sandbox, "bulk_rooms.py", file, warns=paused)
    assert "20 rooms: {'created': 20}" in output
    assert {entry.owner_ref for entry in sandbox.ledger.created} == {f"ref-{n}" for n in range(20)}


def test_bulk_rooms_exits_with_an_error_if_a_room_fails(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "rooms.csv"
    file.write_text("name,owner_ref\nRoom,ref-1\n,ref-2\n", encoding="utf-8")
    output = run(sandbox, "bulk_rooms.py", file, fails=True)
    assert "'created': 1" in output
    assert "line 3 failed" in output


def test_records_to_csv_writes_every_record_of_the_month(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    output = run(sandbox, "records_to_csv.py", "2026-01-01", "2026-01-31", file)
    with file.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 300
    assert all(row["date"].startswith("2026-01") and row["conference"] for row in rows)
    assert "300 records, 0 that could not be parsed" in output


def test_shared_pool_counts_the_rooms_of_two_projects(sandbox: Sandbox, tmp_path: Path) -> None:
    with Sandbox(rooms=5).in_thread() as other:
        projects = [
            {"app_id": each.app_id, "app_key": each.app_key, "base_url": each.base_url} for each in (sandbox, other)
        ]
        file = tmp_path / "projects.json"
        file.write_text(json.dumps(projects), encoding="utf-8")
        output = run(sandbox, "shared_pool.py", file)
    assert f"{sandbox.app_id}: 0 rooms" in output
    assert f"{other.app_id}: 5 rooms" in output


def test_fastapi_backend_returns_a_room_and_a_token(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    app = module(sandbox, "fastapi_backend.py", monkeypatch)["app"]
    with FastAPIBrowser(app) as browser:
        room_id = browser.post("/meetings").json()["room_id"]
        token = browser.post(f"/meetings/{room_id}/join", params={"name": "Ann"}).json()["token"]
        gone = browser.post(f"/meetings/{'0' * 24}/join", params={"name": "Ann"})
        sandbox.fault("tokens.create", "status", status=403, code=10114)
        full = browser.post(f"/meetings/{room_id}/join", params={"name": "Ann"})
        assert sandbox.ledger.connections <= 2
    assert list(sandbox.ledger.rooms) == [room_id]
    assert sandbox.join(token)
    assert gone.status_code == 404
    assert (full.status_code, full.json()["reason"]) == (409, "full")


async def test_aiohttp_backend_returns_a_room_and_a_token(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    app = module(sandbox, "aiohttp_backend.py", monkeypatch)["application"]()
    async with AiohttpBrowser(TestServer(app)) as browser:
        room_id = (await (await browser.post("/meetings")).json())["room_id"]
        joined = await browser.post(f"/meetings/{room_id}/join", params={"name": "Ann"})
        token = (await joined.json())["token"]
        gone = await browser.post(f"/meetings/{'0' * 24}/join", params={"name": "Ann"})
        sandbox.fault("tokens.create", "status", status=403, code=10114)
        full = await browser.post(f"/meetings/{room_id}/join", params={"name": "Ann"})
        assert (await full.json())["reason"] == "full"
    assert list(sandbox.ledger.rooms) == [room_id]
    assert sandbox.join(token)
    assert gone.status == 404


def test_every_example_is_short_and_has_a_test() -> None:
    tests = Path(__file__).parents[1].glob("examples*/test_*.py")
    source = "".join(test.read_text(encoding="utf-8") for test in tests)
    for example in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        text = example.read_text(encoding="utf-8")
        assert f'"{example.name}"' in source, f"no test runs {example.name}"
        # The notebook's own test counts the lines of its cells.
        most = LONGER.get(example.name, 60)
        assert example.suffix == ".ipynb" or len(text.splitlines()) < most, f"{example.name} has {most} lines or more"
        assert "For servers only" in text, f"{example.name} does not say where the APP_KEY must not go"
