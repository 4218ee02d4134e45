"""The system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


# Not for the session: while playwright runs, its loop is the running one of this thread, and async tests would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without pages; without the binary, the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (group integrations)")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()
