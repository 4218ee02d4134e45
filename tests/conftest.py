"""A certificate authority for TLS tests. A run fails if every test of a directory was skipped."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from hypothesis import HealthCheck, settings

# A slow machine is not a reason to fail.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the tests themselves out of garbage collection: they live until the end, and are many."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_outcomes: dict[str, set[str]] = defaultdict(set)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA) -> Iterator[str]:
    with authority.cert_pem.tempfile() as path:
        yield path


@pytest.fixture
def sessions_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs sent through aiohttp's session, recorded without patching the methods that disable the fast path."""
    used: list[str] = []
    original = aiohttp.ClientSession._build_url

    def recording(self: aiohttp.ClientSession, url: Any) -> Any:
        used.append(str(url))
        return original(self, url)

    monkeypatch.setattr(aiohttp.ClientSession, "_build_url", recording)
    return used


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome == "skipped":
        _outcomes[str(Path(report.nodeid.partition("::")[0]).parent)].add(report.outcome)


def _skipped_groups() -> list[str]:
    return sorted(group for group, outcomes in _outcomes.items() if outcomes == {"skipped"})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for group in _skipped_groups():
        terminalreporter.write_line(f"every test of {group} was skipped", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped_groups() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
