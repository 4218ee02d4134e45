"""An export, the figures that DuckDB finds in it, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.browser import browser  # noqa: F401

from videoapi.cli.app import videoapi
from videoapi.sandbox import Sandbox
from videoapi.sandbox.history import Generated
from videoapi.sandbox.record_templates import call_record

pytest.importorskip("plotly", reason="plotly is not installed (extra report)")

CALLS = 1_200
LAST = date(2026, 1, 31)
Cli = Callable[..., Result]
OnDay = Callable[[int, int], None]


def write_history(path: Path, calls: int, *, days: int = 31, last: date = LAST, schema: str = "new") -> None:
    """Write the call records of a sandbox as JSON lines."""
    generated = Generated("0" * 24, seed="1", calls=calls, rooms=0, today=last, days=days)
    with path.open("wb") as file:
        for session in generated.sessions:
            for row in generated.rows(session):
                file.write(call_record(row, "0" * 24, schema) + b"\n")


@pytest.fixture(scope="session")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of January."""
    path = tmp_path_factory.mktemp("exports") / "january.jsonl"
    write_history(path, CALLS)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory, without an account or a profile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("VIDEOAPI_APP_ID", "VIDEOAPI_APP_KEY", "VIDEOAPI_BASE_URL", "VIDEOAPI_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cli(folder: Path) -> Cli:
    """A function that runs the command line in this process."""
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    runner = CliRunner(**options)
    return lambda *words: runner.invoke(videoapi, [str(word) for word in words])


@pytest.fixture
def on_day(monkeypatch: pytest.MonkeyPatch) -> OnDay:
    """A function that sets the current day of 2026, in UTC."""

    def move(month: int, day: int) -> None:
        at = datetime(2026, month, day, 12, tzinfo=UTC)
        monkeypatch.setattr("videoapi.cli.report_run.now", at.astimezone)
        monkeypatch.setattr("videoapi.arrow.periods.utc_now", lambda: at)

    return move


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Sandbox]:
    """A sandbox with a month of records, to which the command line is pointed."""
    with Sandbox(seed=1, calls=CALLS, today=LAST).in_thread() as running:
        monkeypatch.setenv("VIDEOAPI_BASE_URL", running.base_url)
        monkeypatch.setenv("VIDEOAPI_APP_ID", running.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", running.app_key)
        yield running


def figures(result: Result, *, complete: bool | None = True) -> dict[str, Any]:
    """Return what `--json` has printed; the exit code says whether the report is complete.

    That of an export that does not say its days is not known to be complete.
    """
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if found["complete"] else 6), result.output
    assert found["complete"] is (None if complete and found["unstated_days"] else complete)
    return found


_CALLS = """
CREATE TABLE calls AS SELECT
  conf_num, room.room_id AS room_id, room.room_details.owner_ref AS owner_ref, "user".ref AS user_ref,
  "user".role AS role, trans_date::TIMESTAMP AS wrote, room.connect_dt::TIMESTAMP AS room_from,
  room.disconnect_dt::TIMESTAMP AS room_to, sigserver.connect_dt::TIMESTAMP AS user_from,
  sigserver.duration / 60 AS participant, usage.connect_minutes AS counted,
  stats_quality.send.video.avg_bitrate_quality AS sent,
  stats_quality.receive.video.bitrate_good_percent AS good
FROM read_json(?, format = 'newline_delimited');
"""
_SESSIONS = """
CREATE TABLE sessions AS SELECT conf_num, any_value(room_id) AS room_id, any_value(owner_ref) AS owner_ref,
  max(wrote) AS wrote, date_diff('millisecond', min(room_from), max(room_to)) / 60000 AS minutes
FROM calls GROUP BY conf_num;
"""


def figures_of_duckdb(export: Path, *, top: int = 1_000_000) -> dict[str, Any]:
    """Return the figures that DuckDB finds in an export of JSON lines, in the form of `--json`."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        database.execute(_CALLS, [str(export)])
        database.execute(_SESSIONS)

        def rows(query: str) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = database.execute(query).fetchall()
            return found

        def totals(key: str) -> list[tuple[Any, ...]]:
            return rows(f"""
                SELECT c.*, s.sessions, s.minutes FROM
                (SELECT {key} AS key, count(*) AS records, sum(participant) AS p, sum(counted) FROM calls GROUP BY 1) c
                JOIN (SELECT {key} AS key, count(*) AS sessions, sum(minutes) AS minutes FROM sessions GROUP BY 1) s
                USING (key) ORDER BY p DESC, records DESC, key""")

        ((records, participant, counted, rooms, owners, users, good),) = rows(
            "SELECT count(*), sum(participant), sum(counted), count(DISTINCT room_id), count(DISTINCT owner_ref), "
            "count(DISTINCT user_ref), avg(good) FROM calls"
        )
        ((sessions, minutes),) = rows("SELECT count(*), sum(minutes) FROM sessions")
        hours = {(day, hour): count for day, hour, count in rows(
            "SELECT isodow(user_from) - 1, hour(user_from), count(*) FROM calls GROUP BY ALL"
        )}  # fmt: skip
        quality = dict(rows("SELECT lower(coalesce(sent, 'not_measured')), count(*) FROM calls GROUP BY ALL"))
        return {
            "totals": {
                "records": records,
                "participant_minutes": participant,
                "counted_minutes": counted,
                "sessions": sessions,
                "room_minutes": minutes,
                "counted_records": records,
                "rooms": rooms,
                "owner_refs": owners,
                "users": users,
            },
            "days": sorted((f"{day}", *map(float, figures)) for day, *figures in totals("wrote::DATE")),
            "hours": [[hours.get((day, hour), 0) for hour in range(24)] for day in range(7)],
            "room": totals("room_id")[:top],
            "owner_ref": totals("owner_ref")[:top],
            "role": rows(
                "SELECT role, count(*), sum(participant) AS p, sum(counted) FROM calls GROUP BY 1 ORDER BY p DESC"
            ),
            "user": rows(
                "SELECT user_ref, count(*) AS n, sum(participant) AS p, sum(counted) FROM calls GROUP BY 1 "
                f"ORDER BY p DESC, n DESC, user_ref LIMIT {top}"
            ),
            "good_percent": good,
            "sent": [quality.get(name, 0) for name in ("good", "bad", "other", "not_measured")],
        }


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare the figures of a report with those of DuckDB."""
    minutes = 1e-6
    assert found["totals"] == pytest.approx(expected["totals"], rel=minutes)
    names = ("records", "participant_minutes", "counted_minutes", "sessions", "room_minutes")
    days = [(day["day"], *(day[name] for name in names)) for day in found["days"] if day["records"]]
    assert [day[0] for day in days] == [day[0] for day in expected["days"]]
    for day, same in zip(days, expected["days"], strict=True):
        assert day[1:] == pytest.approx(same[1:], rel=minutes, abs=1e-3)
    assert list(found["hours"].values()) == expected["hours"]
    assert found["good_percent"] == pytest.approx(expected["good_percent"], abs=1e-3)
    (sent,) = (one for one in found["quality"] if (one["direction"], one["media"]) == ("send", "video"))
    assert [sent[name] for name in ("good", "bad", "other", "not_measured")] == expected["sent"]
    for group, shown in found["groups"].items():
        entries = [(one["key"], *(one[name] for name in names if one[name] is not None)) for one in shown["entries"]]
        assert [one[0] for one in entries] == [one[0] for one in expected[group]]
        for one, same in zip(entries, expected[group], strict=True):
            assert one[1:] == pytest.approx(same[1:], rel=minutes, abs=1e-3)
        rest = found["totals"]["participant_minutes"] - sum(one[2] for one in entries)
        assert shown["rest"]["participant_minutes"] == pytest.approx(rest, abs=0.1)


def run_command(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with more environment variables."""
    command = [sys.executable, "-m", "videoapi", *map(str, words)]
    variables = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=600, check=False)
