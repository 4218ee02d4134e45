"""Programs of examples/ as processes that run against a sandbox."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx

from videoapi.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WEBHOOK_AUTH = ("service", "made-up-password")
# A server that was asked to end may end by the signal itself, once it has closed everything.
ENDED = (0, -signal.SIGTERM)


def environment(sandbox: Sandbox, *modules: Path) -> dict[str, str]:
    """Return the environment of a program that uses the sandbox, and finds modules in more folders."""
    folders = (*map(str, (*modules, EXAMPLES, EXAMPLES.parent)), os.environ.get("PYTHONPATH", ""))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("VIDEOAPI_")},
        "PYTHONPATH": os.pathsep.join(folders),
        "VIDEOAPI_APP_ID": sandbox.app_id,
        "VIDEOAPI_APP_KEY": sandbox.app_key,
        "VIDEOAPI_BASE_URL": sandbox.base_url,
        "VIDEOAPI_WEBHOOK_USER": WEBHOOK_AUTH[0],
        "VIDEOAPI_WEBHOOK_PASSWORD": WEBHOOK_AUTH[1],
        "DJANGO_SECRET_KEY": "made-up-secret-key",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@attrs.frozen
class Program:
    """A running program, and what it has written so far."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until the program is ready; fail if it ends instead."""
        end = time.monotonic() + 30
        while not ready():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask the program to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@attrs.frozen
class Backend:
    """A running web backend, and a browser of it."""

    program: Program
    browser: httpx.Client


@contextmanager
def running(sandbox: Sandbox, folder: Path, command: tuple[str, ...], variables: dict[str, str]) -> Iterator[Program]:
    log = folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", *command],
            cwd=folder,
            env=environment(sandbox, folder) | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    program = Program(process, log)
    try:
        yield program
        code = program.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert code in ENDED, program.output
    assert "Traceback" not in program.output, program.output
    assert "Warning" not in program.output, program.output
    for secret in (sandbox.app_key, WEBHOOK_AUTH[1], "made-up-secret-key"):
        assert secret not in program.output
