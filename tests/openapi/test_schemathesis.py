"""schemathesis drives the sandbox with what the document allows, and with what it does not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import attrs
import pytest

from videoapi.sandbox import Sandbox

if TYPE_CHECKING:
    from schemathesis.engine import events

pytestmark = pytest.mark.slow

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
SCHEMA = "response_schema_conformance"
OPERATIONS = 16


@attrs.define
class Run:
    """What a run has seen: how often each operation had each status, and each distinct failure once."""

    statuses: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    failures: dict[str, str] = attrs.field(factory=dict)
    errors: list[str] = attrs.field(factory=list)

    def note(self, event: events.EngineEvent) -> None:
        from schemathesis.engine import events

        if isinstance(event, events.NonFatalError | events.FatalError):
            self.errors.append(repr(event))
        if not isinstance(event, events.ScenarioFinished):
            return
        for case_id, interaction in event.recorder.interactions.items():
            case = event.recorder.cases[case_id].value
            assert interaction.response is not None, case
            self.statuses[case.operation.label, interaction.response.status_code] += 1
        for case_id, checks in event.recorder.checks.items():
            case = event.recorder.cases[case_id].value
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    self.failures[f"{case.operation.label}: {failure.title}"] = f"{failure.message}\n{case.body}"

    def of(self, status: int) -> set[str]:
        """Return the operations that had a status."""
        return {operation for operation, seen in self.statuses if seen == status}


def run(sandbox: Sandbox, *, modes: str, checks: tuple[str, ...], skip: tuple[str, ...] = ()) -> Run:
    """Run schemathesis against a sandbox, with the document that it serves.

    Args:
        sandbox: A running sandbox.
        modes: `positive` for what the document allows, `all` for what it does not, too.
        checks: The checks to make.
        skip: The phases to leave out, of `examples`, `coverage`, `fuzzing` and `stateful`.
    """
    # Not at the top: the import takes seconds, and each of pytest's workers imports each file of tests.
    import schemathesis
    from schemathesis.config import SchemathesisConfig
    from schemathesis.engine import from_schema

    options = {
        "seed": 20,
        "continue-on-failure": True,
        "auth": {"basic": {"username": sandbox.app_id, "password": sandbox.app_key}},
        "generation": {"mode": modes, "max-examples": 6, "deterministic": True, "database": "none", "no-shrink": True},
        "checks": {"enabled": False, **{name: {"enabled": True} for name in checks}},
        "phases": {name: {"enabled": False} for name in skip},
    }
    config = SchemathesisConfig.from_dict(options)
    origin = sandbox.base_url.removesuffix("/video/v2")
    schema = schemathesis.openapi.from_url(f"{origin}/openapi.json", config=config)
    seen = Run()
    for event in from_schema(schema).execute():
        seen.note(event)
    return seen


@pytest.fixture
def sandbox(caplog: pytest.LogCaptureFixture) -> Iterator[Sandbox]:
    # aiohttp logs the header with a null byte that schemathesis sends to learn what the server takes.
    caplog.set_level(logging.CRITICAL, "aiohttp.server")
    with Sandbox(seed=5, calls=60, rooms=3, today=date(2026, 1, 31)).in_thread() as running:
        yield running


@pytest.mark.timeout(120)
def test_sandbox_responds_to_valid_requests_as_the_document_says(sandbox: Sandbox) -> None:
    seen = run(sandbox, modes="positive", checks=(*CHECKS, SCHEMA))
    assert (seen.failures, seen.errors) == ({}, [])
    assert len(seen.of(200)) == OPERATIONS
    assert {"POST /rooms", "PATCH /rooms/{room_id}"} <= seen.of(400)
    assert "GET /rooms/{room_id}" in seen.of(404)
    assert len(sandbox.ledger.created) > 100
    assert sandbox.ledger.tokens


@pytest.mark.timeout(120)
def test_sandbox_refuses_invalid_requests_as_the_document_says(sandbox: Sandbox) -> None:
    # Without the schema of responses: the sandbox returns settings that it does not check as they were sent.
    seen = run(sandbox, modes="all", checks=CHECKS, skip=("examples", "stateful"))
    assert (seen.failures, seen.errors) == ({}, [])
    assert len(seen.of(401)) == OPERATIONS
    assert {"POST /rooms", "PATCH /rooms/{room_id}", "POST /rooms/{room_id}/tokens"} <= seen.of(400)
    assert len(seen.of(405)) > 10
    assert {status for _, status in seen.statuses} <= {200, 400, 401, 403, 404, 405, 409}


def test_a_sandbox_that_responds_otherwise_is_noticed(sandbox: Sandbox) -> None:
    sandbox.fault("rooms.get", "status", times=None, status=418)
    sandbox.fault("rooms.users", "status", times=None, status=500)
    sandbox.fault("rooms.list", "status", times=None, status=200, body={"result": 0, "rooms": {}})
    sandbox.fault("dialin.get", "html", times=None, status=200)
    seen = run(sandbox, modes="positive", checks=(*CHECKS, SCHEMA), skip=("coverage", "stateful"))
    assert {failure.partition(":")[0] for failure in seen.failures} == {
        "GET /rooms/{room_id}",
        "GET /rooms/{room_id}/users",
        "GET /rooms",
        "GET /dialin/",
    }
