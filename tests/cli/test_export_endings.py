"""An export of a period that had not ended is not complete for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
Today = Callable[[date], None]
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 31)
SETTLED = LAST + timedelta(days=4)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with a month of history."""
    with Sandbox(seed=7, calls=60, today=LAST, file_hours=None).in_thread() as running:
        yield running


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Today:
    """A function that sets the current day of exports."""
    noon = time(12, tzinfo=UTC)
    return lambda day: monkeypatch.setattr("videoapi.arrow.periods.utc_now", lambda: datetime.combine(day, noon))


def export(cli: Cli, *more: object, code: int = 0) -> Result:
    result = cli("cdr", "export", FIRST, LAST, *more)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_repetition_says_that_the_period_had_not_ended(
    cli: Cli, sandbox: Sandbox, folder: Path, today: Today, name: str
) -> None:
    today(date(2026, 3, 28))
    first = export(cli, name, "--quiet")
    assert first.stderr.count("\n") == 1
    assert "The period has not ended (its last day is 2026-03-31)" in first.stderr
    assert "from 2026-04-04 on, with --overwrite" in first.stderr
    before = (folder / name).read_bytes()
    requests = sandbox.ledger.requests()
    for day in (date(2026, 3, 28), date(2026, 4, 8)):
        today(day)
        again = export(cli, name, code=2)
        assert f"{name} was exported on 2026-03-28, before its period had ended (on 2026-03-31)" in again.stderr
        assert "It stays as it is" in again.stderr
        assert "is complete" not in again.stderr
    assert (folder / name).read_bytes() == before
    assert sandbox.ledger.requests() == requests
    assert "has not ended" not in export(cli, name, "--overwrite").stderr
    assert (
        f"{name} is complete: 60 records. It stays as it is. To read all again, also records that the service added "
        "later, give --overwrite.\n"
    ) in export(cli, name).stderr


def test_repetition_says_that_records_may_have_come_late(cli: Cli, folder: Path, today: Today) -> None:
    today(SETTLED - timedelta(days=1))
    first = export(cli, "out.jsonl", "--json")
    assert "The period ended on 2026-03-31, and the service may still add records" in first.stderr
    assert json.loads(first.stdout)["exported"] == "2026-04-03T12:00:00Z"
    assert json.loads(first.stdout)["open"] is True
    assert "The service may have added records since" in export(cli, "out.jsonl", code=2).stderr
    assert export(cli, "out.jsonl", "--overwrite", "--quiet").stderr == ""


def test_settled_period_stays_as_it_is(cli: Cli, folder: Path, today: Today) -> None:
    today(SETTLED)
    first = export(cli, "out.jsonl", "--json")
    assert "period" not in first.stderr
    assert json.loads(first.stdout)["open"] is False
    assert "is complete: 60 records" in export(cli, "out.jsonl").stderr


def test_export_that_was_begun_too_early_is_open_when_it_is_continued(
    cli: Cli, sandbox: Sandbox, folder: Path, today: Today
) -> None:
    today(date(2026, 3, 28))
    sandbox.fault("cdr.by_period", "suspended", times=None, after=3)
    export(cli, "out.jsonl", code=5)
    sandbox.clear_faults()
    today(SETTLED)
    continued = export(cli, "out.jsonl", "--json", code=2)
    assert json.loads(continued.stdout)["exported"] == "2026-03-28T12:00:00Z"
    assert "has not ended" not in continued.stderr
    assert "was exported on 2026-03-28, before its period had ended" in continued.stderr
