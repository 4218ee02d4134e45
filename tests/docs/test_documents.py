"""Runs the Python blocks of README and docs/ in order, as one program per document."""

from __future__ import annotations

import ast
import asyncio
import csv
import inspect
import json
import logging
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser

from videoapi import CallRecord, VideoClient, blocking
from videoapi.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEST_MODULE = "# test_"
OPTIONAL = ("pandas", "polars", "duckdb", "structlog")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TODAY = re.compile(r"^videoapi sandbox --seed 1 --calls 400 --today ([\d-]+)", re.MULTILINE)


class Program:
    """A runner for code blocks: in order, on one event loop, with top-level `await`.

    A block that begins with a comment `# test_….py` is a test module and runs in pytest.
    """

    def __init__(self, runner: asyncio.Runner, folder: Path) -> None:
        self._runner = runner
        self._folder = folder

    def __call__(self, example: Example) -> None:
        if example.parsed.startswith(TEST_MODULE):
            self._test(example.parsed)
            return
        source = pad(example.parsed, example.line + example.parsed.line_offset)
        code = compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        running = eval(code, example.namespace)
        if inspect.iscoroutine(running):
            self._runner.run(running)

    def _test(self, source: str) -> None:
        name = source.splitlines()[0].removeprefix("#").strip()
        (self._folder / name).write_text(source, encoding="utf-8")
        options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        loop_scope = ["-o", "asyncio_default_fixture_loop_scope=function"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *loop_scope, name],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def parsed(path: Path, program: Program | None = None) -> Document:
    evaluate = program or (lambda example: None)
    return Sybil(parsers=[CodeBlockParser("python", evaluate)]).parse(path)


def now_of(path: Path | None) -> datetime:
    """Return the time of the sandbox that a page says to start: noon of its `--today`."""
    days = set() if path is None else set(TODAY.findall(path.read_text(encoding="utf-8")))
    assert len(days) <= 1
    return datetime.fromisoformat(f"{days.pop()}T12:00:00+00:00") if days else NOW


@pytest.fixture(autouse=True)
def _log_level_of_a_page_ends_with_it() -> Iterator[None]:
    logger = logging.getLogger("videoapi")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    # As of `videoapi sandbox --seed 1 --calls 400 --today 2026-01-31`, or of another day that the page names.
    callspec = getattr(request.node, "callspec", None)
    now = now_of(callspec.params.get("path") if callspec else None)
    service = Sandbox(seed="1", calls=400, today=now.date(), clock=lambda: now, file_size=200_000)
    with service.in_thread() as running:
        for name in [name for name in os.environ if name.startswith("VIDEOAPI_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("VIDEOAPI_APP_ID", running.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", running.app_key)
        monkeypatch.setenv("VIDEOAPI_BASE_URL", running.base_url)
        monkeypatch.setenv("VIDEOAPI_RECORDING_USER", running.recording_auth[0])
        monkeypatch.setenv("VIDEOAPI_RECORDING_PASSWORD", running.recording_auth[1])
        yield running


def run_document(path: Path, folder: Path) -> dict[str, Any]:
    """Run all blocks of a document; return the names that they have defined."""
    for library in OPTIONAL:
        if f"import {library}\n" in path.read_text(encoding="utf-8"):
            pytest.importorskip(library)
    with asyncio.Runner() as runner:
        document = parsed(path, Program(runner, folder))
        document.namespace["__name__"] = "page"
        try:
            for example in document.examples():
                example.evaluate()
        finally:
            close_clients(document.namespace)
    return document.namespace


def close_clients(namespace: dict[str, Any]) -> None:
    """Close the blocking clients that a page keeps until its process ends: their threads would outlive the test."""
    for value in namespace.values():
        if isinstance(value, blocking.VideoClient):
            value.close()
    if (dask_worker := sys.modules.get("videoapi.dask.worker")) is not None:
        dask_worker.close()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_document_run(
    path: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(path, tmp_path)


def test_minutes_of_all_documents_agree(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each page that adds up or prints the minutes of users reaches the same sum on one history."""
    monkeypatch.chdir(tmp_path)
    rows = asyncio.run(january())
    minutes = math.fsum(row["user_minutes"] for row in rows)
    assert minutes == pytest.approx(math.fsum(row["user_seconds"] for row in rows) / 60)
    assert minutes > 1_000

    guide = run_document(ROOT / "docs" / "howto" / "call-records.md", tmp_path)
    assert guide["minutes"] == pytest.approx(minutes)

    page = ROOT / "docs" / "explanation" / "which-field.md"
    capsys.readouterr()
    figures = run_document(page, tmp_path)
    assert figures["user_minutes"] == pytest.approx(minutes)
    assert f"```text\n{capsys.readouterr().out}```" in page.read_text(encoding="utf-8")

    example = runpy.run_path(str(ROOT / "examples" / "records_to_csv.py"))
    assert example["main"]("2026-01-01", "2026-01-31", "calls.csv") == 0
    with open("calls.csv", encoding="utf-8", newline="") as file:
        written = math.fsum(float(row["minutes"]) for row in csv.DictReader(file))
    assert written == pytest.approx(minutes, abs=0.05 * len(rows))  # each is rounded to a tenth


def test_quality_per_owner_of_the_guide_is_of_the_records_of_the_report(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "howto" / "usage-report.md"
    at = datetime(2026, 2, 2, 12, tzinfo=UTC)
    with Sandbox(seed="1", calls=400, today=at.date(), clock=lambda: at).in_thread() as longer:
        monkeypatch.setenv("VIDEOAPI_APP_ID", longer.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", longer.app_key)
        monkeypatch.setenv("VIDEOAPI_BASE_URL", longer.base_url)
        quality = run_document(page, tmp_path)["quality"]
    words = "report 2026-01 calls --timezone Europe/Berlin --json"
    assert f"videoapi {words}" in page.read_text(encoding="utf-8").replace("\n", " ")
    command = [sys.executable, "-m", "videoapi", *words.split()]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {owner: records for owner, records, *_ in quality} == {
        entry["key"]: entry["records"] for entry in report["groups"]["owner_ref"]["entries"]
    }
    measured = sum(count for _, _, count, *_ in quality)
    mean = sum(count * good for _, _, count, good, _ in quality) / measured
    assert mean == pytest.approx(report["good_percent"], abs=0.1)
    assert report["odd"]["outside"] > 0


def test_monthly_job_of_the_page_keeps_its_files_if_the_service_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (shutil.which("jq") and shutil.which("sh")):
        pytest.skip("the job needs jq and sh")
    text = (ROOT / "docs" / "howto" / "usage-report.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```sh\n(command -v jq.*?)^```", text, re.MULTILINE | re.DOTALL)
    script = re.sub(r"^month=.*", "month=2026-01", script, count=1, flags=re.MULTILINE)
    command = f'videoapi() {{ "{sys.executable}" -m videoapi "$@" --timeout 2; }}\n'
    monkeypatch.chdir(tmp_path)

    def run() -> tuple[int, str, dict[str, bytes]]:
        done = subprocess.run(["sh", "-c", command + script], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr, {path.name: path.read_bytes() for path in Path().iterdir()}

    with Sandbox(seed="1", calls=40, today=date(2026, 2, 5)).in_thread() as service:
        monkeypatch.setenv("VIDEOAPI_APP_ID", service.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", service.app_key)
        monkeypatch.setenv("VIDEOAPI_BASE_URL", service.base_url)
        code, printed, good = run()
        assert (code, printed, set(good)) == (0, "", {"2026-01.html", "2026-01.json"})
        assert json.loads(good["2026-01.json"])["totals"]["records"] > 0

        service.fault("cdr.*", 503, times=None)
        code, printed, files = run()
        assert code == 1
        assert "HTTP 503" in printed
        assert "no report: exit code 1" in printed
        assert good.items() <= files.items()


# Runs the command as on another day.
AS_OF = """
import os
from datetime import date
from videoapi.arrow import periods
periods.utc_today = lambda: date.fromisoformat(os.environ["NIGHT"])
from videoapi.cli import main
main()
"""


@pytest.mark.parametrize(("days", "missing"), [(None, 0), (4, 0), (3, 1)])
def test_nightly_job_of_the_page_loses_no_late_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int | None, missing: int
) -> None:
    if subprocess.run(["date", "-u", "-d", "2026-02-05 yesterday"], capture_output=True, check=False).returncode:
        pytest.skip("the job needs GNU date")
    duckdb = pytest.importorskip("duckdb")
    text = (ROOT / "docs" / "howto" / "parquet.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```sh\n(first=.*?)^```", text, re.MULTILINE | re.DOTALL)
    if days is not None:
        script = script.replace("14 days ago", f"{days} days ago")
    shims = f"""date() {{ command date -u -d "$NIGHT $3" "$4"; }}
videoapi() {{ "{sys.executable}" as_of.py "$@"; }}
"""
    monkeypatch.chdir(tmp_path)
    Path("as_of.py").write_text(AS_OF, encoding="utf-8")
    now = datetime(2026, 2, 2, tzinfo=UTC)

    def run() -> None:
        monkeypatch.setenv("NIGHT", now.date().isoformat())
        done = subprocess.run(["sh", "-c", shims + script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def counted() -> tuple[int, int]:
        query = "SELECT count(*), count(DISTINCT cdr_id) FROM 'calls-nightly/*.parquet' WHERE trans_at < '2026-02-02'"
        (found,) = duckdb.execute("SET TimeZone = 'UTC'").execute(query).fetchall()
        return int(found[0]), int(found[1])

    with Sandbox(clock=lambda: now).in_thread() as service:
        monkeypatch.setenv("VIDEOAPI_APP_ID", service.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", service.app_key)
        monkeypatch.setenv("VIDEOAPI_BASE_URL", service.base_url)
        with blocking.VideoClient() as client:
            room_id = client.rooms.create(name="Lesson").room_id
        # A record of 1 February in time, and two late ones, the second on the last day on which its period is open.
        add_record(service, room_id)
        for day in range(2, 6):
            now = datetime(2026, 2, day, 3, tzinfo=UTC)
            run()
            if day in (3, 4):
                add_record(service, room_id)
        run()
    assert counted() == (3 - missing, 3 - missing)


def add_record(service: Sandbox, room_id: str) -> None:
    service.conference(room_id, users=1, start=datetime(2026, 2, 1, 12, tzinfo=UTC), minutes=30)


@pytest.fixture
def invoicing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, Any], Sandbox]]:
    """The names of the page about invoices, after it has run, and the service that it has read."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "howto" / "invoice.md"
    now = now_of(page)
    with Sandbox(seed="1", calls=400, today=now.date(), clock=lambda: now).in_thread() as service:
        monkeypatch.setenv("VIDEOAPI_APP_ID", service.app_id)
        monkeypatch.setenv("VIDEOAPI_APP_KEY", service.app_key)
        monkeypatch.setenv("VIDEOAPI_BASE_URL", service.base_url)
        yield run_document(page, tmp_path), service


def test_invoice_has_the_days_of_its_time_zone_and_the_totals_of_the_report(
    invoicing: tuple[dict[str, Any], Sandbox],
) -> None:
    names, _ = invoicing
    words = ["report", "2026-01", "calls-2026-01", "--timezone", "Europe/Berlin", "--json"]
    report = json.loads(names["videoapi"](*words))
    check_invoice(names, report)
    assert not [path for path in Path().iterdir() if ".new" in path.name]


def check_invoice(names: dict[str, Any], report: dict[str, Any]) -> None:
    assert report["odd"]["outside"] > 0
    page = Path("invoice-2026-01.csv").read_bytes()
    assert page.startswith(b"\xef\xbb\xbf")
    with open("invoice-2026-01.csv", encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    total = float(sum(Decimal(line["minutes"]) for line in lines))
    assert total == pytest.approx(report["totals"]["participant_minutes"], abs=0.005 * len(lines) + 0.001)
    assert sum(int(line["connections"]) for line in lines) == report["totals"]["records"]
    by_day: dict[str, int] = defaultdict(int)
    for line in lines:
        by_day[line["day"]] += int(line["connections"])
    assert by_day == {day["day"]: day["records"] for day in report["days"] if day["records"]}

    # The report rounds each of 400 connections of 1.0004 s.
    owner = {"key": "acme", "records": 400, "participant_minutes": 6.667}
    names["reconcile"]([("acme", None, 400 * 1.0004 / 60, 400, 400)], {"groups": {"owner_ref": {"entries": [owner]}}})

    # A late record is one that the invoiced table lacks.
    differences = names["differences"]
    assert differences("invoice-2026-01.csv", "invoice-2026-01-again.csv") == {}
    head, first, *rest = page.decode("utf-8-sig").splitlines(keepends=True)
    Path("sent.csv").write_text("".join((head, *rest)), encoding="utf-8-sig", newline="")
    customer, day, minutes, connections, _ = next(csv.reader([first]))
    assert differences("sent.csv", "invoice-2026-01.csv") == {(customer, day): (Decimal(minutes), int(connections))}
    (change,) = differences("invoice-2026-01.csv", "sent.csv").values()
    assert change == (-Decimal(minutes), -int(connections))


def test_invoice_that_cannot_be_proven_writes_no_table(invoicing: tuple[dict[str, Any], Sandbox]) -> None:
    names, service = invoicing
    invoice = names["invoice"]
    good = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}

    service.fault("cdr.*", 403, times=None)
    with pytest.raises(SystemExit) as refused:
        invoice("2026-01", again=True)
    assert refused.value.code == 5
    service.clear_faults()

    month = datetime.now(UTC).strftime("%Y-%m")  # has not ended
    with pytest.raises(SystemExit) as unfinished:
        invoice(month)
    assert unfinished.value.code not in (0, None)
    assert not Path(f"invoice-{month}.csv").exists()

    names["rounded"].__globals__["LINES"] = names["LINES"].replace("count(*)", "count(*) + 1")
    with pytest.raises(SystemExit, match="the table and the report differ"):
        invoice("2026-01")
    assert good.items() <= {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}.items()

    service.fault("cdr.by_period", 200, times=1, body='{"result":"0","cdr":["unreadable"]}')
    with pytest.raises(SystemExit) as unreadable:
        invoice("2026-01", again=True)
    assert unreadable.value.code == 6
    assert "Records that cannot be read" in Path("usage-2026-01-again.new.html").read_text("utf-8")


def test_invoice_counts_as_the_report_does_and_has_one_line_per_customer(
    invoicing: tuple[dict[str, Any], Sandbox],
) -> None:
    """Neither an empty reference of a user is a user, nor is damage of the extra days that of the month."""
    names, service = invoicing

    def record(number: int, day: str, owner: str | None, user: str, seconds: object = 60) -> dict[str, Any]:
        when, until = f"{day}T10:00:00.000Z", f"{day}T10:01:00.000Z"
        return {
            "cdr_id": f"{number}", "conf_num": f"c{number}", "trans_date": until,
            "room": {"room_id": "r", "connect_dt": when, "disconnect_dt": until,
                     "room_details": {"owner_ref": owner}},
            "user": {"ref": user}, "sigserver": {"connect_dt": when, "disconnect_dt": until, "duration": seconds},
        }  # fmt: skip

    records = [
        *(record(number, "2026-01-05", "A", user) for number, user in enumerate(("", "u"))),
        *(record(number, "2026-01-05", owner, "u") for number, owner in enumerate(("(none)", None), 2)),
        record(4, "2026-02-01", "A", "u", "abc"),
    ]
    service.fault("cdr.by_period", 200, times=None, body=json.dumps({"result": "0", "cdr": records}))
    table = Path(names["invoice"]("2026-01", again=True))
    found = {line["customer"]: line["users"] for line in csv.DictReader(table.read_text("utf-8-sig").splitlines())}
    assert found == {"A": "1", "'(none)": "1", "(none)": "1"}


def test_start_that_does_not_exist_stays_as_it_is_for_the_dry_run(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with_offset = run_document(ROOT / "docs" / "howto" / "bulk.md", tmp_path)["with_offset"]
    vienna = ZoneInfo("Europe/Vienna")
    assert with_offset("31.03.2030 03:30", vienna) == "2030-03-31T03:30+02:00"
    assert with_offset("27.10.2030 02:30", vienna) == "2030-10-27T02:30+02:00"
    wrong = ["31.03.2030 02:30", "31.04.2030 10:00"]
    assert [with_offset(cell, vienna) for cell in wrong] == wrong
    Path("wrong.csv").write_text("\n".join(["name,starts_at,minutes", *(f"A,{cell},45" for cell in wrong)]) + "\n")
    command = [sys.executable, "-m", "videoapi", "rooms", "create-many", "wrong.csv", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    printed = done.stdout + done.stderr
    assert "line 2" in printed
    assert "line 3" in printed


def test_tutorial_runs_twice_in_one_folder_and_prints_what_it_says(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run_document(ROOT / "docs" / "tutorial.md", tmp_path)
        printed = capsys.readouterr().out
        for line in ("['Ann']", "Retro 20", "{'knock': True, 'description': None}", "Retro after 2 failures"):
            assert f"{line}\n" in printed


def test_readme_begins_with_a_program_that_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block is a script: saved as a file, it runs without an account, and prints a room and records."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("VIDEOAPI_")]:
        monkeypatch.delenv(name)
    first = next(iter(parsed(ROOT / "README.md").examples())).parsed
    Path("quickstart.py").write_text(first, encoding="utf-8")
    done = subprocess.run([sys.executable, "quickstart.py"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Stand-up ")
    assert len(lines) > 3
    assert all(re.match(r"\d{4}-\d{2}-\d{2}T", line) for line in lines[1:])


def test_page_shows_the_figures_that_its_program_prints(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "explanation" / "which-field.md"
    run_document(page, tmp_path)
    assert f"```text\n{capsys.readouterr().out.strip()}\n```" in page.read_text(encoding="utf-8")


def test_session_minutes_of_the_page_count_each_session_once(sandbox: Sandbox, tmp_path: Path) -> None:
    figures = run_document(ROOT / "docs" / "explanation" / "which-field.md", tmp_path)
    rows = asyncio.run(january())
    assert len(figures["sessions"]) == len({row["conf_num"] for row in rows}) < len(rows)
    longest: dict[str, float] = {}
    for row in rows:
        longest[row["conf_num"]] = max(row["room_minutes"], longest.get(row["conf_num"], 0))
    # The first user to come and the last one to leave may differ by some seconds.
    assert figures["session_minutes"] == pytest.approx(sum(longest.values()), abs=0.1 * len(longest))
    assert figures["session_minutes"] < figures["user_minutes"] < figures["connect_minutes"]


def test_presence_of_the_page_counts_each_moment_of_a_user_once(sandbox: Sandbox, tmp_path: Path) -> None:
    def record(user_ref: str | None, joined: str, left: str | None) -> CallRecord:
        times = {
            name: f"2026-01-31T{time}.000Z" for name, time in (("connect_dt", joined), ("disconnect_dt", left)) if time
        }
        return CallRecord.from_dict({"user": {"ref": user_ref}, "sigserver": {**times, "duration": 9000}})

    presence = run_document(ROOT / "docs" / "explanation" / "which-field.md", tmp_path)["presence"]
    records = [
        record("two browsers", "10:20:00", "10:40:00"),
        record("two browsers", "10:00:00", "10:30:00"),
        record("two browsers", "10:05:00", "10:10:00"),
        record("came back", "10:00:00", "10:01:00"),
        record("came back", "10:30:00", "10:31:00"),
        record("ends before it starts", "10:30:00", "10:00:00"),
        record("still there", "10:00:00", None),
        record(None, "10:00:00", "10:30:00"),
    ]
    assert presence(records) == {
        "two browsers": timedelta(minutes=40),
        "came back": timedelta(minutes=2),
        "ends before it starts": timedelta(),
    }


def test_minutes_of_users_are_in_both_record_shapes(sandbox: Sandbox) -> None:
    newer = math.fsum(row["user_minutes"] for row in asyncio.run(january()))
    sandbox.switches.cdr_schema = "old"
    older = asyncio.run(january())
    assert math.fsum(row["user_minutes"] for row in older) == pytest.approx(newer, rel=1e-3)
    assert {row["connect_minutes"] for row in older} == {None}


async def january() -> list[dict[str, Any]]:
    async with VideoClient() as client:
        return [record.flat() async for record in client.cdr.by_period("2026-01-01", "2026-01-31")]


def test_every_guide_has_blocks() -> None:
    """Guard against a parser that finds no blocks, with which every document would pass."""
    blocks = {path.relative_to(ROOT): len(list(parsed(path).examples())) for path in DOCUMENTS}
    empty = [path for path, count in blocks.items() if path.parts[:2] == ("docs", "howto") and not count]
    assert not empty
    assert sum(blocks.values()) >= 20


def test_failing_block_reports_its_line(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Page\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\nassert 1 == 2\n```\n")
    with asyncio.Runner() as runner, pytest.raises(AssertionError) as failed:
        for example in parsed(document, Program(runner, tmp_path)).examples():
            example.evaluate()
    assert failed.traceback[-1].lineno == 5
