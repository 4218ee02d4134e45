"""The demo: a small run, its report, and a count that differs."""

import io

import pytest
from click.testing import CliRunner
from rich.console import Console

from videoapi.cli.app import videoapi
from videoapi.cli.demo.report import bar, draw
from videoapi.cli.demo.results import DemoResults, DemoStep


@pytest.mark.slow
def test_small_demo_agrees_with_the_ledger() -> None:
    result = CliRunner().invoke(videoapi, ["demo", "--rooms", "100", "--records", "2000", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "counts agree with the ledger" in result.stdout
    for kind in ("429 throttled", "connections refused", "body cut", "connection dropped", "503 unavailable"):
        assert kind in result.stdout


def drawn(found: DemoResults) -> str:
    text = io.StringIO()
    draw(found, seconds=1.0, console=Console(file=text, width=100))
    return text.getvalue()


def test_differing_count_is_marked() -> None:
    found = DemoResults(steps=[DemoStep("rooms", 10, "rooms", 2.0)])
    found.check("rooms created", 10, 10)
    assert found.agree
    assert "1 counts agree" in drawn(found)
    found.check("tokens issued", 19, 20)
    assert not found.agree
    shown = drawn(found)
    assert "1 of 2 counts differ" in shown
    marked = next(line for line in shown.splitlines() if "tokens issued" in line)
    assert "NO" in marked
    assert "NO" not in next(line for line in shown.splitlines() if "rooms created" in line)


@pytest.mark.parametrize(("share", "length"), [(0.0, 0), (0.5, 5), (1.0, 10), (2.0, 10), (0.01, 1)])
def test_bar_length_matches_its_share(share: float, length: int) -> None:
    assert len(bar(share, width=10)) == length


def test_bar_is_ascii_without_block_characters() -> None:
    assert bar(0.5, width=10, ascii_only=True) == "#####"


def test_demo_exits_with_1_when_a_count_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    from videoapi.cli.demo import steps

    async def nothing(self: steps.DemoRun, *arguments: object) -> list[object]:
        self.found.check("rooms created", 1, 2)
        return []

    steps_of_the_demo = ("make_rooms", "issue_tokens", "hold_conferences", "stream_records", "count_archives")
    for name in (*steps_of_the_demo, "download", "write_report"):
        monkeypatch.setattr(steps.DemoRun, name, nothing)
    result = CliRunner().invoke(videoapi, ["demo", "--rooms", "1", "--records", "1", "--quiet"])
    assert result.exit_code == 1, result.output
