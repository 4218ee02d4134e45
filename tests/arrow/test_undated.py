"""An export by day has each record once, though records lose and gain their dates, and whenever it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import attrs
import pyarrow
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from videoapi.arrow import data_set
from videoapi.arrow.columns import archive_columns, call_columns
from videoapi.arrow.data_set import DataSet
from videoapi.arrow.periods import Period
from videoapi.arrow.same_records import SameRecords
from videoapi.arrow.schema import SCHEMA
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.resources.window_export import PeriodExport
from videoapi.sandbox import Sandbox

pytestmark = pytest.mark.slow
FIRST = date(2026, 1, 5)
DAYS = 5
RECORDS = tuple((n, FIRST + timedelta(n % DAYS)) for n in range(2 * DAYS))
"""The number of each record, and the day on which the service has it."""
LATER = FIRST + timedelta(30)

COLUMNS = pyarrow.schema([SCHEMA.field(name) for name in ("cdr_id", "call_log_id", "call_num", "trans_at")])
"""Few, because a file with all of them takes longer."""


class Killed(BaseException):
    pass


@attrs.define
class Service:
    """A service of which some records have no date."""

    undated: frozenset[int] = frozenset()
    readings: int = 0

    def ask(self, period: Period) -> Any:
        self.readings += 1
        return Stream([_record(n, day, n in self.undated) for n, day in RECORDS if period.first <= day <= period.last])


class Stream:
    """What `PeriodExport` uses of a stream."""

    rejected: tuple[Any, ...] = ()
    rejected_count = 0
    _converter = (COLUMNS, None)

    def __init__(self, records: list[CallRecord]) -> None:
        self._records = records

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def _column_groups(self) -> AsyncIterator[Any]:
        batch = SimpleNamespace(window=None)
        yield SimpleNamespace(batch=batch, rows=call_columns(self._records).select(COLUMNS.names), odd=())

    def _move(self, group: Any) -> None:
        pass


def _record(n: int, day: date, is_undated: bool) -> CallRecord:
    """Return a record without an ID, with one of its own, one that it shares, or one that it gains with its date."""
    dated = {} if is_undated else {"trans_date": f"{day}T10:00:00.000Z"}
    ids = ({}, {"cdr_id": f"d{n}"}, {"cdr_id": "same"}, {"call_log_id": "c", **({"cdr_id": f"d{n}"} if dated else {})})
    return CallRecord.from_dict({"call_num": f"{n}", **ids[n % 4], **dated})


@contextmanager
def killed_at(count: int | None, name: str) -> Iterator[list[str]]:
    """Stop at a step, as if the process were killed there; yield the steps after it, which are not done either."""
    real, calls = getattr(os, name), 0
    refused: list[str] = []

    def step(*args: Any, **options: Any) -> None:
        nonlocal calls
        if calls == count:
            refused.append(name)
            raise Killed
        calls += 1
        real(*args, **options)

    with patch.object(data_set.os, name, step), suppress(Killed):
        yield refused


def export(folder: Path, service: Service, period: Period, today: date, *, overwrite: bool) -> int:
    """Export a period, and return how many records the command would count."""
    found = DataSet(folder, {"app_id": "a"}, overwrite=overwrite)
    found.open()
    job = PeriodExport(
        kind="cdr",
        data_set=found,
        source=lambda: {"app_id": "a"},
        ask=service.ask,
        late=1,
        today=today,
        overwrite=overwrite,
    )
    notes = asyncio.run(job.by_day(period))
    found.write_manifest()
    return sum(note["rows"] for note in notes)


def found_in(folder: Path) -> Counter[tuple[int, bool]]:
    """Return the records of a folder, and which of them have no date; each file has what its name says."""
    found: Counter[tuple[int, bool]] = Counter()
    for path in folder.glob("*.parquet"):
        for row in parquet.read_table(path).to_pylist():
            at = row["trans_at"]
            assert ("undated" in path.name) if at is None else path.name == f"cdr-{at.date()}.parquet"
            found[int(row["call_num"]), at is None] += 1
    return found


def check_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "_manifest.json").read_text())
    rows = {path.name: parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet")}
    assert {note["file"]: note["rows"] for note in manifest["files"]} == rows
    assert all(rows[name] for name in rows if "undated" in name)


PERIODS = st.tuples(st.integers(0, DAYS - 1), st.integers(0, DAYS - 1)).map(
    lambda ends: Period(FIRST + timedelta(min(ends)), FIRST + timedelta(max(ends)))
)


@attrs.frozen
class Step:
    """A reading: of which period, on which day, of which records without a date, and whether it is killed."""

    period: Period
    today: date
    undated: frozenset[int]
    overwrite: bool
    kill: tuple[int | None, str]


STEPS = st.builds(
    Step,
    PERIODS,
    st.sampled_from([FIRST + timedelta(3), LATER]),
    st.frozensets(st.sampled_from([n for n, _ in RECORDS]), max_size=5),
    st.booleans(),
    st.tuples(st.none() | st.integers(0, 25), st.sampled_from(["replace", "unlink"])),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_folder_has_each_record_once_as_it_was_read_last(steps: list[Step]) -> None:
    service, model = Service(), dict[int, bool]()
    # What a power failure does is not tested, and syncing takes most of the time.
    with tempfile.TemporaryDirectory() as name, patch.object(data_set.os, "fsync", lambda file: None):
        folder = Path(name)
        for step in steps:
            service.undated = step.undated
            service.readings = 0
            with killed_at(*step.kill) as killed:
                export(folder, service, step.period, step.today, overwrite=step.overwrite)
            has_read, first = service.readings, found_in(folder)
            after = model | {n: n in step.undated for n, day in RECORDS if step.period.first <= day <= step.period.last}
            # A record that is missing is better than one that is there twice.
            assert max(Counter(n for n, _ in first.elements()).values(), default=0) <= 1
            if has_read and not killed:
                assert first == Counter(after.items())
            counted = export(folder, service, step.period, step.today, overwrite=False)
            found = found_in(folder)
            # If it need not be read again, it was not read, or was killed before or after it changed anything.
            if service.readings > has_read or (has_read and found != Counter(model.items())):
                model = after
            assert found == Counter(model.items())
            check_manifest(folder)
            own = {n for n, day in RECORDS if step.period.first <= day <= step.period.last}
            assert own <= model.keys()
            assert len(own) <= counted <= len(model)


@pytest.mark.parametrize("overwrite", [True, False])
def test_undated_record_that_is_not_shown_any_more_stays_unless_it_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    service, period = Service(frozenset({1})), Period(FIRST, FIRST + timedelta(1))
    export(tmp_path, service, period, FIRST, overwrite=False)
    monkeypatch.setattr(f"{__name__}.RECORDS", tuple(one for one in RECORDS if one[0] != 1))
    export(tmp_path, service, period, FIRST, overwrite=overwrite)
    assert found_in(tmp_path)[1, True] == (not overwrite)
    check_manifest(tmp_path)


def test_undated_file_that_was_changed_stays(tmp_path: Path) -> None:
    service = Service(frozenset({1}))
    export(tmp_path, service, Period(FIRST, FIRST + timedelta(1)), FIRST, overwrite=False)
    (path,) = tmp_path.glob("*undated*")
    path.write_bytes(b"mine")
    service.readings = 0
    for last in (1, 2):
        with pytest.raises(data_set.ConfigurationError, match="has changed since it was written"):
            export(tmp_path, service, Period(FIRST + timedelta(1), FIRST + timedelta(last)), FIRST, overwrite=True)
    assert (path.read_bytes(), service.readings) == (b"mine", 0)
    export(tmp_path, service, Period(FIRST, FIRST + timedelta(1)), FIRST, overwrite=True)
    assert found_in(tmp_path)[1, True] == 1


def test_day_file_that_was_changed_is_replaced_though_a_record_lost_its_date(tmp_path: Path) -> None:
    service, period = Service(), Period(FIRST, FIRST + timedelta(1))
    export(tmp_path, service, period, FIRST, overwrite=False)
    (tmp_path / f"cdr-{FIRST}.parquet").write_bytes(b"mine")
    service.undated = frozenset({0})
    export(tmp_path, service, period, FIRST, overwrite=True)
    assert found_in(tmp_path)[0, True] == 1
    check_manifest(tmp_path)


def test_command_and_report_count_what_the_folder_has(cli: Any, sandbox: Sandbox, folder: Path) -> None:
    """A record that has its date now is in its day, and in no file of undated ones, though its day was complete."""
    rows = [{"cdr_id": "a", "trans_date": "2026-01-05T10:00:00.000Z"}, {"cdr_id": "b", "room": 5}]

    def exported(first: str, *more: str) -> tuple[int, list[str]]:
        sandbox.clear_faults()
        sandbox.fault("cdr.by_period", 200, times=1, body=json.dumps({"result": "0", "cdr": rows}))
        sandbox.fault("cdr.by_period", 200, times=None, body='{"result": "0", "cdr": []}')
        result: Result = cli("cdr", "export", first, "2026-01-07", "d", "--partition", "day", "--json", *more)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["records"], sorted(path.name for path in (folder / "d").glob("*undated*"))

    undated = "cdr-undated-2026-01-05_2026-01-07.parquet"
    assert exported("2026-01-05") == (2, [undated])
    assert exported("2026-01-05", "--overwrite") == (2, [undated])
    rows[1] = {"cdr_id": "b", "trans_date": "2026-01-06T10:00:00.000Z"}
    assert exported("2026-01-06", "--overwrite") == (1, [])
    assert sorted(path.name for path in (folder / "d/_notes").glob("*undated*")) == []
    report = json.loads(cli("report", "2026-01-05", "2026-01-07", "d", "--json", "--quiet").stdout)
    assert (report["totals"]["records"], report["odd"]["unreadable_values"]) == (2, 0)


def test_undated_record_stays_when_another_one_with_its_id_is_read(tmp_path: Path) -> None:
    service = Service(frozenset({6}))
    export(tmp_path, service, Period(FIRST, FIRST + timedelta(1)), LATER, overwrite=False)
    export(tmp_path, service, Period(FIRST + timedelta(1), FIRST + timedelta(2)), LATER, overwrite=True)
    service.undated = frozenset()
    export(tmp_path, service, Period(FIRST + timedelta(2), FIRST + timedelta(2)), LATER, overwrite=True)
    assert (found_in(tmp_path)[6, True], found_in(tmp_path)[2, False]) == (1, 1)


def test_undated_record_that_gains_an_id_with_its_date_is_there_once(tmp_path: Path) -> None:
    service, period = Service(frozenset({3})), Period(FIRST + timedelta(3), FIRST + timedelta(3))
    export(tmp_path, service, period, FIRST, overwrite=False)
    assert found_in(tmp_path)[3, True] == 1
    service.undated = frozenset()
    export(tmp_path, service, period, FIRST, overwrite=False)
    assert (found_in(tmp_path)[3, True], found_in(tmp_path)[3, False]) == (0, 1)


def test_archives_with_one_id_whose_links_differ_in_the_query_are_two() -> None:
    def archive(link: str) -> Any:
        fields = {"_id": "a", "conf_num": "c", "recording": [{"url": f"https://h/{link}"}, {"url": "https://h/other"}]}
        return archive_columns([Archive.from_dict(fields)])

    assert SameRecords([archive("get?file=1")]).has(archive("get?file=1")) == [True]
    assert SameRecords([archive("get?file=1")]).has(archive("get?file=2")) == [False]


def test_folder_is_free_after_an_export_during_which_a_process_was_forked(tmp_path: Path) -> None:
    found = DataSet(tmp_path, {"app_id": "a"}, overwrite=False)
    found.open()
    with found.turn(0) as is_ours:
        assert is_ours
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        with found.turn(0) as is_free:
            assert is_free
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_two_processes_that_settle_one_period_lose_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins after the first has written its file of undated records, and before its days."""
    period, second = Period(FIRST, FIRST + timedelta(1)), ThreadPoolExecutor(1)
    export(tmp_path, Service(), period, FIRST, overwrite=False)
    real, real_turn, waits_or_ended, started = DataSet.write, DataSet.turn, threading.Event(), list[Any]()

    def write(self: DataSet, target: Any, *args: Any, **options: Any) -> Any:
        if target.dated and not started:
            started.append(second.submit(export, tmp_path, Service(), period, LATER, overwrite=True))
            started[0].add_done_callback(lambda _: waits_or_ended.set())
            assert waits_or_ended.wait(30)
        return real(self, target, *args, **options)

    @contextmanager
    def turn(self: DataSet, waited: float) -> Iterator[bool]:
        with real_turn(self, waited) as is_ours:
            if not is_ours:
                waits_or_ended.set()
            yield is_ours

    monkeypatch.setattr(DataSet, "write", write)
    monkeypatch.setattr(DataSet, "turn", turn)
    with second:
        export(tmp_path, Service(frozenset({1})), period, LATER, overwrite=True)
        started[0].result()
    assert found_in(tmp_path) == Counter({(n, False): 1 for n, day in RECORDS if period.first <= day <= period.last})
