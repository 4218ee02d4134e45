"""A description of the machine that the benchmarks ran on, without its name."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.speed import cores

PACKAGES: Final = (
    "videoapi",
    "aiohttp",
    "yarl",
    "multidict",
    "attrs",
    "cattrs",
    "msgspec",
    "orjson",
    "uvloop",
    "livekit-api",
    "twilio",
    "stripe",
    "openai",
    "httpx2",
    "pydantic",
    "ijson",
    "matplotlib",
)


def describe() -> dict[str, Any]:
    """Return the hardware, the system and the versions of all packages involved."""
    return {
        "cpu": _cpu(),
        "cores": len(cores.usable()) or os.cpu_count(),
        "memory_gib": _memory(),
        "os": _system(),
        "kernel": re.match(r"[\d.]*", platform.release())[0],  # type: ignore[index]
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _system() -> str:
    if sys.platform != "linux":
        return platform.platform(terse=True)
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "Linux"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
