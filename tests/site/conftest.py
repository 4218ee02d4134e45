"""The site, built once and served from a port of its own."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what the site is made of, so that a build writes nothing into the repository."""
    copy = tmp_path_factory.mktemp("source")
    for folder in ("docs", "videoapi", "benchmarks", "examples"):
        ignored = shutil.ignore_patterns("_build", "api", "__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for file in [*ROOT.glob("*.md"), ROOT / "pyproject.toml"]:
        shutil.copy(file, copy)
    return copy


@pytest.fixture(scope="session")
def site(source: Path) -> Path:
    """Return the folder of the built site. A warning fails the build, as in `make docs`."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    out = source / "html"
    options = ["-b", "html", "-n", "-W", "--keep-going", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source / "docs"), str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


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
