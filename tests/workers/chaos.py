"""SIGKILL and SIGSTOP for worker processes while they work."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Chaos:
    """When processes are killed and stopped.

    Args:
        every: Seconds between two kills, and between two stops.
        stopped: For how many seconds a process is stopped.
        most: How many are killed, and how many are stopped, at most.
        seed: Of the choice of processes.
    """

    every: float
    stopped: float
    most: float = math.inf
    seed: int = 1


@contextlib.contextmanager
def unleashed(chaos: Chaos, pids: Callable[[], Sequence[int]]) -> Generator[Counter[str], None, None]:
    """Kill and stop processes while the block runs, never more than half of them at a time; yield how many were.

    Args:
        chaos: When.
        pids: Returns the processes that exist now.
    """
    done: Counter[str] = Counter()
    ended = threading.Event()
    stopped: dict[int, float] = {}
    chosen = random.Random(chaos.seed)

    def resume(now: float) -> None:
        for pid in [pid for pid, until in stopped.items() if until <= now]:
            del stopped[pid]
            _send(pid, signal.SIGCONT)

    def run() -> None:
        kill_at, stop_at = time.monotonic() + chaos.every, time.monotonic() + chaos.every / 2
        while not ended.wait(0.05):
            now = time.monotonic()
            resume(now)
            exist = pids()
            running = [pid for pid in exist if pid not in stopped]
            # Of two workers, one is left.
            if now >= stop_at and done["stops"] < chaos.most and 2 * len(stopped) < len(exist) and running:
                stop_at += chaos.every
                pid = chosen.choice(running)
                done["stops"] += _send(pid, signal.SIGSTOP)
                stopped[pid] = now + chaos.stopped
            if now >= kill_at and done["kills"] < chaos.most and running:
                kill_at += chaos.every
                done["kills"] += _send(chosen.choice(running), signal.SIGKILL)
        resume(float("inf"))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()


def children(pid: int) -> list[int]:
    """Return the Python processes that a process has started, without those that Python itself needs."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            helper = b"resource_tracker" in (folder / "cmdline").read_bytes()
            if parent == pid and not helper:
                found.append(int(folder.name))
    return found


def _send(pid: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
