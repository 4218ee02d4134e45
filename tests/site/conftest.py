"""The site, built once and served from a port of its own."""

from __future__ import annotations

import fcntl
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import browser  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site. A warning fails the build, as in `make docs`."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "site.lock", "w") as lock:
        # The first process builds, the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        html = folder / "site"
        if not html.exists():
            built = build(folder / "source_of_site", folder / "site_in_progress")
            built.rename(html)
    return html


def build(source: Path, html: Path) -> Path:
    """Build the site from a copy of what it is made of, so that nothing is written into the repository."""
    for folder in (source, html):
        # Of a build that failed: a second build would warn of nothing that the first has read.
        shutil.rmtree(folder, ignore_errors=True)
    for folder in ("docs", "videoapi", "benchmarks", "examples"):
        ignored = shutil.ignore_patterns("_build", "api", "__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for file in [*ROOT.glob("*.md"), ROOT / "pyproject.toml"]:
        shutil.copy(file, source)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-n", "-W", "-q", str(source / "docs"), str(html)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return html


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Serve the site; return its address."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
