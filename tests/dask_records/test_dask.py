"""Call records on Dask: a frame with fixed types, and an export that ends with the same bytes after any kill."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from support.exported import contents

import videoapi
from videoapi import VideoClient
from videoapi.arrow import SCHEMA
from videoapi.dask import export_cdr, read_cdr, worker
from videoapi.errors import ConfigurationError, ValidationError
from videoapi.sandbox import Sandbox

START, END, LATER = "2026-01-01", "2026-01-31", date(2026, 6, 1)
# Of the versions of Dask and Tornado, not of what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(seed=7, calls=600, today=date(2026, 1, 31), days=31).in_thread() as running:
        for name in ("BASE_URL", "APP_ID", "APP_KEY"):
            monkeypatch.setenv(f"VIDEOAPI_{name}", getattr(running, name.lower()))
        # Another test of this process may have left the client of its sandbox.
        worker.close()
        yield running
        worker.close()


def test_copy_of_an_error_has_notes_of_its_own_although_dask_changes_how_errors_are_copied() -> None:
    error = ValidationError("It did not work.", field="name")
    error.add_note("first")
    copied = copy.copy(error)
    copied.add_note("second")
    assert (error.__notes__, copied.__notes__, copied.field) == (["first"], ["first", "second"], "name")


def test_workers_share_the_rate_that_their_environment_describes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.client().stats().gate == "none"
    worker.close()
    for name, value in (("REDIS", "redis://127.0.0.1:1"), ("PROCESSES", "2"), ("RATE", "1000/s")):
        monkeypatch.setenv(f"VIDEOAPI_{name}", value)
    assert worker.client().stats().gate == "shared"


def test_frame_has_the_records_and_the_types_of_the_schema(sandbox: Sandbox) -> None:
    frame = read_cdr(START, END)
    assert frame.npartitions == 5
    assert list(frame.columns) == SCHEMA.names
    with dask.config.set(scheduler="threads"):
        found = frame.compute()
        assert float(frame.user_minutes.sum().compute()) == pytest.approx(found.user_minutes.sum())
    assert len(found) == found.cdr_id.nunique() == 600
    assert dict(found.dtypes) == dict(frame.dtypes)
    assert found.dtypes["sip"] == "boolean"
    assert str(found.dtypes["trans_at"]) == "datetime64[ms, UTC]"


def test_graph_has_no_credentials(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame = read_cdr(START, END)
    texts = [pickle.dumps(frame.__dask_graph__())]
    monkeypatch.setattr(dask, "compute", lambda *tasks: texts.append(pickle.dumps([dict(t.dask) for t in tasks])) or ())
    (tmp_path / "a").mkdir()
    export_cdr(START, END, tmp_path / "a")
    assert len(texts) == 2
    for text in texts:
        assert sandbox.app_key.encode() not in text
        assert sandbox.app_id.encode() not in text


def test_export_is_that_of_one_process(sandbox: Sandbox, tmp_path: Path) -> None:
    with dask.config.set(scheduler="threads"):
        notes = export_cdr(START, END, tmp_path / "dask", by="week", today=LATER)
        before = contents(tmp_path / "dask")
        assert export_cdr(START, END, tmp_path / "dask", by="week", today=LATER) == notes
    assert contents(tmp_path / "dask") == before
    assert sum(note["rows"] for note in notes) == 600
    with videoapi.blocking.VideoClient() as client:
        for window in videoapi.windows(START, END, by="week"):
            client.cdr.export_window(window, tmp_path / "one", today=LATER)
    whole = contents(tmp_path / "dask")
    del whole["_manifest.json"]
    assert contents(tmp_path / "one") == whole


def test_wrong_period_is_an_error_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        read_cdr(END, START)
    with pytest.raises(ValidationError):
        export_cdr(END, START, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_missing_dask_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'videoapi\[dask\]'"):
        read_cdr(START, END)


def test_worker_has_one_client_for_all_threads(sandbox: Sandbox) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(worker.client())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    worker.close()
    assert worker.client() is not found[0]
    assert not isinstance(found[0], VideoClient)


def test_folder_that_is_not_shared_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dask, "compute", lambda *tasks: tuple({"file": "a.parquet"} for _ in tasks))
    with pytest.raises(ConfigurationError, match="a folder that all of them share"):
        export_cdr(START, END, tmp_path)


@pytest.mark.scale
@pytest.mark.slow
def test_killed_worker_leaves_the_same_bytes(sandbox: Sandbox, tmp_path: Path) -> None:
    with dask.config.set(scheduler="threads"):
        export_cdr(START, END, tmp_path / "whole", by="week", today=LATER)
    sandbox.fault("cdr.by_period", "delay", times=None, seconds=0.7)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert client.run(os.getpid)

        def kill() -> None:
            time.sleep(1.0)
            pids = client.run(os.getpid)
            os.kill(min(pids.values()), signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        notes = export_cdr(START, END, tmp_path / "cut", by="week", today=LATER)
        thread.join()
        # A worker that is still exporting a window again ends in the same bytes.
    assert sum(note["rows"] for note in notes) == 600
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
