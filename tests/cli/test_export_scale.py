"""A year of call records: killed, out of disk, cut by the service, and yet byte-identical.

`VIDEOAPI_EXPORT_RECORDS=2000000` sets the number of records.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RECORDS = int(os.environ.get("VIDEOAPI_EXPORT_RECORDS", "20000"))
FIRST, LAST = "2025-04-01", "2026-03-31"
KILLS = 3
# Saves often, so that a few thousand records have states to continue from.
COMMAND = """
import sys
from videoapi.cli import export_file, main
export_file.SAVE_EVERY = float(sys.argv.pop(1))
main()
"""

# So that a small export takes long enough to be killed; for a large one, the same for each body would take hours.
DELAY = 0.05 * min(1.0, 20_000 / RECORDS)

pytestmark = [pytest.mark.scale, pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Remote]":
    """A year of history, served by another process."""
    script = f"""
import sys
from datetime import date
from videoapi.sandbox import Sandbox
with Sandbox(seed=7, calls={RECORDS}, today=date(2026, 3, 31), days=365).in_thread() as sandbox:
    print(sandbox.base_url, sandbox.app_id, sandbox.app_key, flush=True)
    for line in sys.stdin:
        if line == "cut\\n":
            sandbox.fault("cdr.by_period", "cut", times=None, rate=0.1, at=0.7)
            sandbox.fault("cdr.by_period", "delay", times=None, seconds={DELAY})
        else:
            sandbox.clear_faults()
        print("ok", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for name, value in zip(("BASE_URL", "APP_ID", "APP_KEY"), process.stdout.readline().split(), strict=True):
            monkeypatch.setenv(f"VIDEOAPI_{name}", value)
        yield Remote(process)
        process.kill()


class Remote:
    """The sandbox of another process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def misbehave(self, *, cut: bool) -> None:
        """Cut a tenth of all bodies, and delay the others; or neither."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("cut\n" if cut else "well\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ok\n"


class Run:
    """A running export, whose memory is watched.

    Args:
        out: The output.
        every: Seconds between two states.
        most: The largest file that the process may write, in bytes; None for any.
    """

    def __init__(self, out: Path, *, every: float, most: int | None = None) -> None:
        def limit() -> None:
            if most is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        command = [sys.executable, "-c", COMMAND, str(every), "cdr", "export", FIRST, LAST, str(out), "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit
        )
        self.first = self.most = 0
        part = out.with_name(f"{out.name}.part")
        before = part.stat().st_mtime_ns if part.exists() else 0
        self._thread = threading.Thread(target=self._watch, args=(part, before))
        self._thread.start()

    def _watch(self, part: Path, before: int) -> None:
        while self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
                self.most = max(self.most, pages * resource.getpagesize())
                found = part.stat()
                if not self.first and found.st_mtime_ns > before and found.st_size > 1_000_000:
                    self.first = self.most
            time.sleep(0.02)

    @property
    def growth(self) -> int:
        """Growth of the resident memory since the first megabyte was written."""
        return self.most - self.first if self.first else 0

    def wait(self) -> tuple[int, str, str]:
        out, err = self.process.communicate()
        self._thread.join()
        return self.process.returncode, out, err


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[int | None, Callable[[], None]]]:
    """Make a folder on a disk that is full after some bytes; yield a limit for processes instead, and how to end it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield size, lambda: None
        return

    def grow() -> None:
        subprocess.run(["mount", "-o", "remount,size=90%", str(folder)], check=True)

    try:
        yield None, grow
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def wait_until(condition: Callable[[], bool], run: Run) -> bool:
    """Wait for a condition; return False if the process ends before."""
    while not condition():
        if run.process.poll() is not None:
            return False
        time.sleep(0.005)
    return True


def recorded(out: Path) -> int:
    """Return the number of records in the state of an export."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(json.loads(out.with_name(f"{out.name}.state").read_text())["records"])
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_year_is_exported_in_spite_of_kills_a_full_disk_and_cut_bodies(
    sandbox: Remote, tmp_path: Path, suffix: str
) -> None:
    whole = tmp_path / f"whole.{suffix}"
    straight = Run(whole, every=3.0)
    code, out, err = straight.wait()
    assert code == 0, err
    report = json.loads(out)
    assert report["records"] == RECORDS
    size = whole.stat().st_size
    sandbox.misbehave(cut=True)
    runs: list[Run] = []
    with small_disk(tmp_path / "small", size * 9 // 10) as (most, grow):
        result = tmp_path / "small" / f"out.{suffix}"
        part = result.with_name(f"{result.name}.part")
        continued = 0
        for kill in range(KILLS):
            runs.append(Run(result, every=0.05, most=most))
            # Each time later: a fifth, two fifths, three fifths of the file.
            enough = size * (kill + 1) // (KILLS + 2)
            assert wait_until(lambda least=enough: part.exists() and part.stat().st_size > least, runs[-1])
            runs[-1].process.send_signal(signal.SIGKILL)
            assert runs[-1].wait()[0] == -signal.SIGKILL
            assert not result.exists()
            assert recorded(result) >= continued
            continued = recorded(result)
            assert continued > 0
        runs.append(Run(result, every=0.05, most=most))
        code, _, err = runs[-1].wait()
        assert code == 1, err
        assert "Free some space, and repeat the command to continue" in err
        assert not result.exists()
        grow()
        runs.append(Run(result, every=0.05))
        code, out, err = runs[-1].wait()
        assert code == 0, err
        final = json.loads(out)
        assert final["continued"] > 0
        assert final["records"] == RECORDS
        assert final["sha256"] == report["sha256"]
        assert same_bytes(result, whole)
        assert not part.exists()
    growth = max(run.growth for run in [straight, *runs])
    print(f"{suffix}: {RECORDS:,} records, {size:,} bytes, memory growth {growth / 2**20:.1f} MiB")
    assert growth < 64 * 2**20


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(1 << 20):
            if block != right.read(1 << 20):
                return False
        return not right.read(1)
