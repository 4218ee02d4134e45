"""Child processes that run modules of this package: they read commands line by line and exit at end of input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# glibc returns large blocks to the system until a process frees one, then it keeps them. asyncio reads into blocks of
# 256 KiB, so chance alone could make some variants a sixth cheaper than others. A fixed threshold avoids that.
SAME_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024)}


@contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of `benchmarks.speed` in a child process, which exits when its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.speed.{module}", *arguments],
        cwd=ROOT,
        env=SAME_ALLOCATOR | os.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=60)
