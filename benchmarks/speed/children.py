"""Processes of this package's modules: they do what stands on their input, line by line, and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# glibc gives each large block back to the system until a process has happened to free one; from then on it keeps
# them. asyncio reads into blocks of 256 KiB, so that chance alone would make some variants a sixth cheaper than others.
SAME_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024)}


@contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of `benchmarks.speed` in a process of its own, which ends when its input does."""
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
