"""The picture of a usage report in the README, taken with the system's Chromium.

    python tests/support/report_picture.py [FILE]

The report is that of a month of the sandbox.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.report.calendar import Calendar, ReportPeriod
from videoapi.report.page import render
from videoapi.report.rows import row_of
from videoapi.report.summary import summarize
from videoapi.report.tally import Tally
from videoapi.sandbox.history import Generated
from videoapi.sandbox.record_templates import call_record

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "usage-report.png"
WIDTH, HEIGHT = 1180, 1310


def page() -> str:
    """Return the report of January 2026, as `videoapi sandbox --seed 1 --calls 20000 --today 2026-01-31` has it."""
    generated = Generated("0" * 24, seed="1", calls=20_000, rooms=0, today=date(2026, 1, 31), days=31)
    decode = RecordDecoder(CallRecord, extra=False).decode
    with Tally(Calendar()) as tally:
        for session in generated.sessions:
            tally.add(row_of(decode(call_record(row, "0" * 24, "new"))) for row in generated.rows(session))
        summary = summarize(tally, period=ReportPeriod.parse("2026-01"), timezone="UTC", source="the service")
    return render(summary, made=datetime(2026, 2, 1, 9, tzinfo=UTC))


def main(target: Path) -> None:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        file = Path(folder) / "report.html"
        file.write_text(page(), encoding="utf-8")
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        shown.goto(file.as_uri())
        shown.locator("#day .main-svg").first.wait_for()
        shown.screenshot(path=target)
        browser.close()
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
