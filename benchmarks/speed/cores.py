"""Processor cores: clients run on the first, the server on the last."""

from __future__ import annotations

import os


def usable() -> list[int]:
    """Return the cores that this process may use; empty if the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(place: int) -> None:
    """Pin this process to one core, if the system supports it: 0 is the first, -1 the last."""
    if cores := usable():
        os.sched_setaffinity(0, {cores[place]})
