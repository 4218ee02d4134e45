"""A year of call records on two workers, one of them killed twice: the files of one process, and equal sums everywhere.

`VIDEOAPI_DASK_RECORDS=2000000` sets the number of records.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dask
import duckdb
import pandas
import polars
import pytest
from distributed import Client, LocalCluster
from support.exported import contents

import videoapi
from videoapi.dask import export_cdr
from videoapi.dask import worker as worker_module

RECORDS = int(os.environ.get("VIDEOAPI_DASK_RECORDS", "20000"))
FIRST, LAST = "2025-04-01", "2026-03-31"
LATER = date(2026, 6, 1)
KILLS = 2
SUMMED = ("user_minutes", "room_seconds", "connect_minutes", "send_video_avg_bitrate")
SERVER = f"""
import sys
from datetime import date
from videoapi.sandbox import Sandbox
with Sandbox(seed=7, calls={RECORDS}, today=date(2026, 3, 31), days=365).in_thread() as sandbox:
    print(sandbox.base_url, sandbox.app_id, sandbox.app_key, flush=True)
    sys.stdin.read()
"""

pytestmark = [
    pytest.mark.scale,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def year(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A year of history, served by another process."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for name, value in zip(("BASE_URL", "APP_ID", "APP_KEY"), process.stdout.readline().split(), strict=True):
            monkeypatch.setenv(f"VIDEOAPI_{name}", value)
        yield
        worker_module.close()
        process.kill()


class Killer(threading.Thread):
    """Kills one worker each time that some more files are complete."""

    def __init__(self, client: Client, folder: Path) -> None:
        super().__init__()
        self.kills = 0
        self.ended = threading.Event()
        self._client = client
        self._folder = folder

    def run(self) -> None:
        for files in (2, 5):
            while len(list(self._folder.glob("*.parquet"))) < files:
                if self.ended.wait(0.05):
                    return
            with contextlib.suppress(Exception):
                pids = self._client.run(os.getpid)
                os.kill(min(pids.values()), signal.SIGKILL)
                self.kills += 1


def test_year_on_two_workers_is_that_of_one_process_though_one_is_killed_twice(year: None, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    with dask.config.set(scheduler="synchronous"):
        began = time.perf_counter()
        notes = export_cdr(FIRST, LAST, one, today=LATER)
        alone = time.perf_counter() - began
    assert sum(note["rows"] for note in notes) == RECORDS
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        killer = Killer(client, many)
        killer.start()
        began = time.perf_counter()
        assert [{**note, "exported": ""} for note in export_cdr(FIRST, LAST, many, today=LATER)] == [
            {**note, "exported": ""} for note in notes
        ]
        together = time.perf_counter() - began
        killer.ended.set()
        killer.join()
    assert killer.kills == KILLS
    assert contents(many) == contents(one)
    assert [path.name for path in many.glob(".*.tmp")] == []

    sums = ", ".join(f"sum({name})" for name in SUMMED)
    duck = duckdb.sql(f"SELECT count(*), count(DISTINCT cdr_id), {sums} FROM '{many}/*.parquet'").fetchall()[0]
    frame = pandas.read_parquet(many, columns=["cdr_id", *SUMMED])
    lazy = polars.read_parquet(f"{many}/*.parquet", columns=["cdr_id", *SUMMED])
    assert duck[:2] == (RECORDS, RECORDS)
    assert (len(frame), frame.cdr_id.nunique()) == (RECORDS, RECORDS)
    assert (len(lazy), lazy["cdr_id"].n_unique()) == (RECORDS, RECORDS)
    for name, value in zip(SUMMED, duck[2:], strict=True):
        assert math.isclose(value, frame[name].sum(), rel_tol=1e-9)
        assert math.isclose(value, lazy[name].sum(), rel_tol=1e-9)
    size = sum(path.stat().st_size for path in many.glob("*.parquet"))
    print(
        f"{RECORDS:,} records, {size:,} bytes: one process {RECORDS / alone:,.0f}/s, two workers of which one was "
        f"killed twice {RECORDS / together:,.0f}/s; sums {dict(zip(SUMMED, duck[2:], strict=True))}"
    )
    assert len(videoapi.windows(FIRST, LAST)) == len(notes)
