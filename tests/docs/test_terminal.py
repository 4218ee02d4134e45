"""The terminal session of README gives what it shows, when it is run as it is written in an empty folder."""

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
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = re.compile(r"\d+\.\d s\b")
# The command of this checkout, whether or not it is installed.
COMMAND = 'videoapi() { "$PYTHON" -m videoapi "$@"; }\nexec 2>&1\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIDEOAPI_", "XDG_"))}
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # A fixed width, and no profile of the machine.
    return {**kept, "PYTHON": sys.executable, "PYTHONPATH": paths, "HOME": str(tmp_path), "COLUMNS": "80"}


@pytest.fixture
def serving(tmp_path: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run the sandbox as README does, on any free port."""
    line = re.search(r"^videoapi (sandbox .+) > (sandbox\.env)$", README, re.MULTILINE)
    assert line is not None
    log = tmp_path / "sandbox.log"
    with (tmp_path / line[2]).open("wb") as out, log.open("wb") as errors:
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
def test_terminal_session_of_readme_gives_what_it_shows(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("plotly")
    found = re.search(r"```console\n(.+?)```", README, re.DOTALL)
    assert found is not None
    session = found[1]
    lines = re.findall(r"^\$ (.+)$", session, re.MULTILINE)
    assert len(lines) > 5
    script = COMMAND + "".join(f"echo {shlex.quote(f'$ {line}')}\n{line}\n" for line in lines)
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert SECONDS.sub("… s", ended.stdout) == SECONDS.sub("… s", session)
