"""Which core does what: clients on the first, the server on the last."""

from __future__ import annotations

import os


def usable() -> list[int]:
    """Return the cores that this process may use; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(place: int) -> None:
    """Keep this process on one core, where the system can: 0 is the first, -1 the last."""
    if cores := usable():
        os.sched_setaffinity(0, {cores[place]})
