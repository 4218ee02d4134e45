"""A year of call records: memory that does not grow, the figures of DuckDB, and what a record costs.

`VIDEOAPI_REPORT_RECORDS=2000000` sets the number of records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest
from report.conftest import assert_equal, figures_of_duckdb, write_history

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.report.calendar import Calendar
from videoapi.report.rows import row_of
from videoapi.report.summary import summarize
from videoapi.report.tally import Tally

RECORDS = int(os.environ.get("VIDEOAPI_REPORT_RECORDS", "100000"))
BLOCK = 500
FEW = 20_000
# All groups, as `--json` lists them by default, take memory for each.
TOP = 20

pytestmark = [pytest.mark.scale, pytest.mark.slow, pytest.mark.timeout(3600)]

MEASURED = """
import resource, sys
from videoapi.cli import main
try:
    main()
except SystemExit as ended:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
    raise
"""


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("year") / "year.jsonl"
    write_history(path, RECORDS, days=365, last=date(2025, 12, 31))
    return path


def report(export: Path, page: Path) -> tuple[dict[str, object], int, float]:
    """Return the figures of a report, the peak of its resident memory in bytes, and the seconds that it took."""
    groups = ["--group-by", "user", "--group-by", "role", "--top", str(TOP)]
    words = ["report", str(export), str(page), "--json", "--quiet", *groups]
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=False)
    # Nothing is missing, but a file without its state does not say so.
    assert (ended.returncode, json.loads(ended.stdout)["complete"]) == (6, None), ended.stderr
    return json.loads(ended.stdout), int(ended.stderr.split()[-1]) * 1024, time.monotonic() - began


def test_year_has_the_figures_of_duckdb_in_memory_that_does_not_grow(year: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.jsonl"
    write_history(small, FEW, days=365, last=date(2025, 12, 31))
    _, before, _ = report(small, tmp_path / "small.html")
    found, peak, seconds = report(year, tmp_path / "year.html")
    size = (tmp_path / "year.html").stat().st_size
    print(
        f"{RECORDS:,} records ({year.stat().st_size / 1e6:,.0f} MB) in {seconds:.1f} s, {RECORDS / seconds:,.0f}/s; "
        f"peak {peak / 2**20:.0f} MiB, {FEW:,} records {before / 2**20:.0f} MiB; page {size / 1e6:.1f} MB"
    )
    assert_equal(found, figures_of_duckdb(year, top=TOP))
    assert peak - before < 48 * 2**20


def test_each_step_of_a_report_takes_processor_time(year: Path) -> None:
    """Print what a record costs in each step; the stream of the service costs as much as decoding, and more."""
    decoder = RecordDecoder(CallRecord, extra=False)
    clock = time.process_time
    decoding = reading = adding = 0.0
    with year.open("rb") as lines, Tally(Calendar()) as tally:
        for block in iter(lambda: [line for _, line in zip(range(BLOCK), lines, strict=False)], []):
            began = clock()
            records = decoder.decode_list(b"[" + b",".join(block) + b"]")
            decoded = clock()
            assert records is not None
            rows = [row_of(record) for record in records]
            read = clock()
            tally.add(rows)
            decoding, reading, adding = decoding + decoded - began, reading + read - decoded, adding + clock() - read
        began = clock()
        summary = summarize(tally, period=None, timezone="UTC", source="")
        closing = clock() - began
    costs = {"decoding": decoding, "reading": reading, "adding": adding, "closing": closing}
    print({name: f"{seconds / RECORDS * 1e6:.1f} µs" for name, seconds in costs.items()})
    assert summary.total.records == RECORDS
