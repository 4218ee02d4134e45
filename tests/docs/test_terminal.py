"""The terminal sessions of the pages give what they show, when they are run as written in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/reference/command-line.md")
SANDBOX = re.compile(r"^videoapi (sandbox --seed .+?)(?: > sandbox\.env)?$", re.MULTILINE)
SECONDS = re.compile(r"\d+\.\d s\b")
# The command of this checkout, whether or not it is installed.
COMMAND = 'videoapi() { "$PYTHON" -m videoapi "$@"; }\nexec 2>&1\n. ./sandbox.env\n'


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return (ROOT / request.param).read_text(encoding="utf-8")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIDEOAPI_", "XDG_"))}
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # A fixed width, and no profile of the machine.
    return {**kept, "PYTHON": sys.executable, "PYTHONPATH": paths, "HOME": str(tmp_path), "COLUMNS": "80"}


@pytest.fixture
def serving(page: str, tmp_path: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run the sandbox as the page does, on any free port."""
    line = SANDBOX.search(page)
    assert line is not None
    log = tmp_path / "sandbox.log"
    with (tmp_path / "sandbox.env").open("wb") as out, log.open("wb") as errors:
        words = [sys.executable, "-m", "videoapi", *shlex.split(line[1]), "--port", "0"]
        process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=out, stderr=errors)
        try:
            end = time.monotonic() + 30
            while "is running" not in log.read_text(encoding="utf-8"):
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < end
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.usefixtures("serving")
def test_terminal_session_gives_what_it_shows(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("plotly")
    session = "".join(re.findall(r"```console\n(.+?)```", page, re.DOTALL))
    lines = re.findall(r"^\$ (.+)$", session, re.MULTILINE)
    assert len(lines) > 5
    script = COMMAND + "".join(f"echo {shlex.quote(f'$ {line}')}\n{line}\n" for line in lines)
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert SECONDS.sub("… s", ended.stdout) == SECONDS.sub("… s", session)
