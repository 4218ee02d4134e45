"""Type checkers accept the code in README and docs/."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?!# test_)(.*?)^```", re.MULTILINE | re.DOTALL)
# Each shows a complete program for one of two web frameworks; examples/ has them as files, which `make lint` checks.
SEPARATE_PROGRAMS = {"web-backends.md"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the blocks of each document as one function."""
    folder = tmp_path_factory.mktemp("documents")
    for document in DOCUMENTS:
        blocks = BLOCK.findall(document.read_text(encoding="utf-8"))
        if blocks and document.name not in SEPARATE_PROGRAMS:
            # What is a global name on a page is a name of the function here.
            body = textwrap.indent("\n".join(blocks).replace("global ", "nonlocal "), "    ")
            name = f"{document.parent.name}_{document.stem}.py".replace("-", "_")
            (folder / name).write_text(f"async def page() -> None:\n{body}\n", encoding="utf-8")
    return folder


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_accepts_the_documents(programs: Path) -> None:
    # Pages need not annotate their own functions and empty lists, and pandas and Celery have no types without stubs.
    allowed = [
        "--allow-untyped-defs",
        "--allow-untyped-calls",
        "--allow-untyped-decorators",
        "--disable-error-code=var-annotated",
    ]
    allowed.append("--disable-error-code=import-untyped")
    files = [str(file) for file in programs.glob("*.py")]
    assert len(files) >= 10
    run("mypy", "--config-file=", "--strict", f"--cache-dir={programs / 'cache'}", *allowed, *files)


def test_pyright_accepts_the_documents(programs: Path) -> None:
    config = {
        "typeCheckingMode": "standard",
        "reportPossiblyUnboundVariable": False,
        "reportUnusedExpression": False,
        "extraPaths": [str(ROOT)],
    }
    (programs / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    run("pyright", "--pythonpath", sys.executable, "-p", str(programs))
