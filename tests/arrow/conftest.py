"""The scripted service of the stream tests, the command line, and a sandbox with a month of history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from cli.conftest import cli, environment, folder, profiles
from streaming.conftest import refused, service

from videoapi.sandbox import Sandbox

__all__ = ["cli", "environment", "folder", "profiles", "refused", "sandbox", "service"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a month of history."""
    with Sandbox(seed=7, calls=600, today=date(2026, 1, 31), days=31, file_hours=None).in_thread() as running:
        yield running
