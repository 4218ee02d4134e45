"""Linux network namespaces, in which a test may disrupt the network itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


def why_not() -> str:
    """Return why no namespace can be created here; empty if one can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "needs Linux and iproute2"
    if os.geteuid() != 0:
        return "needs root, to make a network namespace"
    name = f"vapi-probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except subprocess.SubprocessError:
        return "this system lets root make no network namespace"
    ip("netns", "delete", name)
    return ""


@contextlib.contextmanager
def namespace(name: str, *, name_server: str | None = None) -> Iterator[str]:
    """Create a namespace with loopback up, and with `name_server` in its `/etc/resolv.conf`."""
    name = f"vapi-{name}-{os.getpid()}"
    ip("netns", "add", name)
    configured = Path("/etc/netns") / name
    try:
        ip("-n", name, "link", "set", "lo", "up")
        if name_server is not None:
            configured.mkdir(parents=True)
            (configured / "resolv.conf").write_text(f"nameserver {name_server}\noptions timeout:1 attempts:1\n")
        yield name
    finally:
        shutil.rmtree(configured, ignore_errors=True)
        ip("netns", "delete", name)


def inside(name: str, script: Path, *arguments: str, timeout: float = 20) -> str:
    """Run a test script in a namespace and return its standard output."""
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        ["ip", "netns", "exec", name, sys.executable, "-W", "error", str(script), *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
