"""`windows` and `export_window`: files that are whole or absent, and the same however often they are written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from streaming.conftest import Service
from support.exported import contents

import videoapi
from videoapi import Period, VideoClient
from videoapi.arrow import SCHEMA, data_set
from videoapi.arrow.data_set import DataSet
from videoapi.errors import ConfigurationError, ValidationError, VideoAPIError
from videoapi.protocol.outcome import BodyInterrupted
from videoapi.resources.reports import cdr
from videoapi.sandbox import Sandbox

LATER = date(2026, 6, 1)
JANUARY = Period(date(2026, 1, 1), date(2026, 1, 31))
NAME = "cdr-2026-01-01_2026-01-31"


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[VideoClient]:
    async with VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url) as client:
        yield client


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name not in (".lock", ".turn.lock")]


def test_windows_are_months_by_default() -> None:
    found = videoapi.windows("2026-01-15", date(2026, 3, 2))
    assert [str(window) for window in found] == [
        "2026-01-15_2026-01-31",
        "2026-02-01_2026-02-28",
        "2026-03-01_2026-03-02",
    ]


@given(
    st.dates(date(1, 1, 1), date(9999, 12, 31)), st.integers(0, 800), st.sampled_from(["day", "week", "month", "year"])
)
def test_windows_have_each_day_once(start: date, days: int, by: Any) -> None:
    end = start + timedelta(min(days, (date.max - start).days))
    found = videoapi.windows(start, end, by)
    assert (found[0].first, found[-1].last) == (start, end)
    for window in found:
        assert window.first <= window.last
    for one, other in pairwise(found):
        assert one.last + timedelta(1) == other.first
        assert {"day": True, "week": other.first.weekday() == 0, "month": other.first.day == 1}.get(
            by, other.first.timetuple().tm_yday == 1
        )


@pytest.mark.parametrize(
    ("start", "end", "by"),
    [("2026-01-02", "2026-01-01", "day"), ("2026-01-01", "2026-01-02", "hour"), ("x", "2026-01-01", "day")],
)
def test_wrong_windows_are_errors(start: str, end: str, by: Any) -> None:
    with pytest.raises(ValidationError):
        videoapi.windows(start, end, by=by)


async def test_note_describes_the_file(client: VideoClient, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    before = datetime.now(UTC).replace(microsecond=0)
    note = await client.cdr.export_window(JANUARY, folder, today=LATER)
    data = (folder / f"{NAME}.parquet").read_bytes()
    assert note == {
        "file": f"{NAME}.parquet",
        "first": "2026-01-01",
        "last": "2026-01-31",
        "rows": 600,
        "sha256": hashlib.sha256(data).hexdigest(),
        "exported": note["exported"],
    }
    assert before <= datetime.fromisoformat(note["exported"]) <= datetime.now(UTC)
    assert json.loads((folder / "_notes" / f"{NAME}.json").read_text()) == note
    table = parquet.read_table(folder)
    assert (table.num_rows, table.schema.equals(SCHEMA)) == (600, True)
    assert left_over(folder) == []


async def test_repetition_sends_nothing_and_a_new_export_has_the_same_bytes(
    client: VideoClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    await client.cdr.export_window(JANUARY, tmp_path / "a", today=LATER)
    before = contents(tmp_path / "a")
    sandbox.fault("cdr.by_period", "suspended", times=None)
    await client.cdr.export_window(JANUARY, tmp_path / "a", today=LATER)
    sandbox.clear_faults()
    assert contents(tmp_path / "a") == before
    sandbox.fault("cdr.by_period", "cut", times=4, at=0.5)
    await client.cdr.export_window(JANUARY, tmp_path / "b", today=LATER)
    assert contents(tmp_path / "b") == before
    await client.cdr.export_window(JANUARY, tmp_path / "a", today=LATER, overwrite=True)
    assert contents(tmp_path / "a") == before


async def test_window_that_is_recent_is_read_again(client: VideoClient, sandbox: Sandbox, tmp_path: Path) -> None:
    last = JANUARY.last
    first = await client.cdr.export_window(JANUARY, tmp_path, today=last + timedelta(3))
    assert (tmp_path / "_notes" / f"{NAME}.open").exists()
    late = {"cdr_id": "late", "trans_date": "2026-01-20T10:00:00.000Z"}
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body={"result": "0", "cdr": [late]})
    # Also if today is later, because it was recent when it was exported.
    again = await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert (first["rows"], again["rows"]) == (600, 1)
    assert parquet.read_table(tmp_path / f"{NAME}.parquet").column("cdr_id").to_pylist() == ["late"]
    assert not (tmp_path / "_notes" / f"{NAME}.open").exists()
    sandbox.clear_faults()
    assert await client.cdr.export_window(JANUARY, tmp_path, today=LATER) == again


async def test_two_exports_at_once_end_well(client: VideoClient, tmp_path: Path) -> None:
    notes = await asyncio.gather(*(client.cdr.export_window(JANUARY, tmp_path, today=LATER) for _ in range(4)))
    assert [{**note, "exported": ""} for note in notes] == [{**notes[0], "exported": ""}] * 4
    assert left_over(tmp_path) == []


async def test_file_of_someone_else_stays(client: VideoClient, tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.parquet"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="exists, and has no note"):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert path.read_bytes() == b"mine"
    note = await client.cdr.export_window(JANUARY, tmp_path, today=LATER, overwrite=True)
    assert note["rows"] == 600


async def test_file_that_was_changed_stays(client: VideoClient, tmp_path: Path) -> None:
    await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    path = tmp_path / f"{NAME}.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ConfigurationError, match="has changed since"):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)


async def test_folder_of_another_account_is_refused(client: VideoClient, sandbox: Sandbox, tmp_path: Path) -> None:
    await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    async with VideoClient("other", sandbox.app_key, sandbox.base_url) as other:
        with pytest.raises(ConfigurationError, match="other records: app_id"):
            await other.cdr.export_window(JANUARY, tmp_path, today=LATER)
    with pytest.raises(ConfigurationError, match="other records: records cdr, not archives"):
        await client.archives.export_window(JANUARY, tmp_path, today=LATER)


async def test_files_of_an_unknown_account_are_not_taken_for_ours(client: VideoClient, tmp_path: Path) -> None:
    await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    (tmp_path / "_source.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no _source\.json"):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert contents(tmp_path) == before


async def test_abandoned_temporary_files_are_removed_and_others_stay(client: VideoClient, tmp_path: Path) -> None:
    ours = tmp_path / f".{NAME}.parquet.0123456789abcdef.tmp"
    ours.write_bytes(b"abandoned")
    kept = [tmp_path / f".{NAME}.parquet.tmp", tmp_path / ".notes.tmp", tmp_path / f".{NAME}.parquet.0123.tmp"]
    for path in kept:
        path.write_bytes(b"not ours")
    with data_set._temporary(tmp_path / f"{NAME}.parquet") as (_, live):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
        assert live.exists()
    assert not ours.exists()
    assert all(path.exists() for path in kept)


class Killed(BaseException):
    pass


@contextlib.contextmanager
def killed_at(patch: pytest.MonkeyPatch, count: int, name: str = "replace") -> Iterator[None]:
    """Stop at a rename or another step, as if the process were killed there."""
    real, calls = getattr(os, name), 0

    def step(*args: Any, **options: Any) -> None:
        nonlocal calls
        if calls == count:
            raise Killed
        calls += 1
        real(*args, **options)

    with patch.context() as context:
        context.setattr(data_set.os, name, step)
        with contextlib.suppress(Killed):
            yield


@pytest.mark.parametrize("count", range(4))
async def test_killed_export_ends_with_the_same_bytes(
    client: VideoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    await client.cdr.export_window(JANUARY, tmp_path / "whole", today=LATER)
    with killed_at(monkeypatch, count):
        await client.cdr.export_window(JANUARY, tmp_path / "cut", today=LATER)
    await client.cdr.export_window(JANUARY, tmp_path / "cut", today=LATER)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert left_over(tmp_path / "cut") == []


async def test_file_without_its_note_is_recognized_after_a_kill_though_late_rows_came(
    client: VideoClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_at(monkeypatch, 3):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert (tmp_path / f"{NAME}.parquet").exists()
    assert not (tmp_path / "_notes" / f"{NAME}.json").exists()
    sandbox.fault("cdr.by_period", "status", times=None, status=200, body={"result": "0", "cdr": []})
    assert (await client.cdr.export_window(JANUARY, tmp_path, today=LATER))["rows"] == 600


async def test_failure_of_the_service_leaves_no_file(client: VideoClient, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault("cdr.by_period", "suspended", times=None, after=2)
    with pytest.raises(VideoAPIError):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert list(contents(tmp_path)) == ["_source.json"]


def rows_of(*names: str, **others: str) -> bytes:
    rows = [
        {"cdr_id": name, "trans_date": "2026-01-09T10:00:00.000Z", "call_num": others.get(name, name)} for name in names
    ]
    return json.dumps({"result": "0", "cdr": rows}).encode()


async def test_window_that_restarts_is_in_the_file_once(service: Service, tmp_path: Path) -> None:
    first, changed = rows_of(*"abc"), rows_of(*"abc", b="new")
    cut = first[: first.index(b'{"cdr_id": "c"')]
    service.answers["/cdr/period/2026-01-01/2026-01-08"] = [[b'{"result": "0", "cdr": []}']]
    service.answers["/cdr/period/2026-01-08/2026-01-15"] = [[cut, BodyInterrupted("the body broke")], [changed]]
    window = Period(date(2026, 1, 1), date(2026, 1, 14))
    note = await cdr(service.pipeline()).export_window(window, tmp_path, today=LATER)
    assert note["rows"] == 3
    assert parquet.read_table(tmp_path / note["file"]).column("call_num").to_pylist() == ["a", "new", "c"]


async def test_wrong_arguments_send_nothing(client: VideoClient, tmp_path: Path) -> None:
    for window, more in (
        (None, {}),
        ("2026-01", {}),
        (Period(date(2026, 1, 2), date(2026, 1, 1)), {}),
        (JANUARY, {"late": -1}),
    ):
        with pytest.raises(ValidationError):
            await client.cdr.export_window(window, tmp_path / "none", **more)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.parquet")]


def rows_in(folder: Path) -> int:
    return sum(parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


@pytest.mark.parametrize("late", [3, 10])
async def test_month_that_grows_has_each_row_once(client: VideoClient, tmp_path: Path, late: int) -> None:
    for end in ("2026-01-10", "2026-01-15", "2026-01-16"):
        for window in videoapi.windows("2026-01-01", end):
            note = await client.cdr.export_window(window, tmp_path, late=late, today=date.fromisoformat(end))
        assert files_in(tmp_path) == [note["file"]]
        assert rows_in(tmp_path) == note["rows"]
    assert sorted(path.name for path in (tmp_path / "_notes").iterdir()) == [
        ".lock",
        ".turn.lock",
        "cdr-2026-01-01_2026-01-16.json",
        "cdr-2026-01-01_2026-01-16.open",
    ]


async def test_days_of_another_file_are_not_written_a_second_time(
    client: VideoClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    (first, second, *_) = videoapi.windows("2026-01-05", "2026-01-18", by="week")
    for window in (first, second):
        await client.cdr.export_window(window, tmp_path, today=LATER)
    before = contents(tmp_path)
    across = Period(date(2026, 1, 11), date(2026, 1, 12))
    sandbox.fault("cdr.by_period", "suspended", times=None)
    for window, overwrite in ((JANUARY, False), (first.days()[0], False), (across, False), (across, True)):
        with pytest.raises(ConfigurationError, match="twice"):
            await client.cdr.export_window(window, tmp_path, today=LATER, overwrite=overwrite)
    assert contents(tmp_path) == before
    sandbox.clear_faults()
    note = await client.cdr.export_window(JANUARY, tmp_path, today=LATER, overwrite=True)
    assert files_in(tmp_path) == [note["file"]]


async def test_file_that_a_longer_window_replaces_stays_if_it_was_changed(client: VideoClient, tmp_path: Path) -> None:
    note = await client.cdr.export_window(Period(date(2026, 1, 1), date(2026, 1, 9)), tmp_path, today=date(2026, 1, 9))
    (tmp_path / note["file"]).write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="twice"):
        await client.cdr.export_window(JANUARY, tmp_path, today=LATER)
    assert (tmp_path / note["file"]).read_bytes() == b"mine"


@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("name", ["replace", "unlink"])
async def test_kill_while_a_file_is_replaced_leaves_each_row_once(
    client: VideoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    earlier, later = Period(date(2026, 1, 1), date(2026, 1, 2)), Period(date(2026, 1, 1), date(2026, 1, 3))
    await client.cdr.export_window(earlier, tmp_path, today=earlier.last)
    with killed_at(monkeypatch, count, name):
        await client.cdr.export_window(later, tmp_path, today=LATER)
    files = set(files_in(tmp_path))
    listed = {note["file"] for note in json.loads(DataSet(tmp_path, {}).write_manifest().read_bytes())["files"]}
    assert len(files) <= 1
    assert listed <= files
    note = await client.cdr.export_window(later, tmp_path, today=LATER)
    assert files_in(tmp_path) == [note["file"]]
    (listed,) = json.loads(DataSet(tmp_path, {}).write_manifest().read_bytes())["files"]
    assert listed == note
