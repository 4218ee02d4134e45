"""Rooms that exist twice or are missing at the end of a run: named, counted, and not a success."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from videoapi import VideoClient
from videoapi.bulk import BulkOutcome
from videoapi.cli import exit_codes
from videoapi.cli.inputs import room_specs
from videoapi.cli.outcomes import OutcomeFile
from videoapi.cli.summary import BulkOptions, Summary
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]


async def create_again(references: list[str]) -> None:
    """Create rooms as another program would that sends requests twice."""
    async with VideoClient() as client:
        for reference in references:
            room = {"name": "twin", "owner_ref": reference, "settings": {}, "sip": {"enabled": False}}
            await client.request("POST", "/rooms", json=room, operation="create")


def test_rooms_that_exist_twice_are_named(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(7)))
    create = ("rooms", "create-many", "rooms.csv", "--settle", 0.2)
    assert cli(*create).exit_code == 0
    first = {str(room["owner_ref"]): room_id for room_id, room in sandbox.ledger.rooms.items()}
    asyncio.run(create_again(list(first)))
    result = cli(*create, "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)["duplicates"]
    assert all(first[reference] in ids for reference, ids in found.items())
    assert found.keys() == first.keys()
    assert {len(set(ids)) for ids in found.values()} == {2}
    assert "--dedupe delete" in result.stderr
    shown = [line for line in result.stderr.splitlines() if line.startswith("  reference ")]
    assert shown == [f"  reference {reference}: rooms {', '.join(ids)}" for reference, ids in found.items()][:5]
    assert "and 2 more" in result.stderr


def summary(folder: Path) -> Summary:
    (folder / "rooms.csv").write_text("name\n" + "".join(f"A{number}\n" for number in range(6)))
    outcomes = [BulkOutcome(index=index, status="created", room_id=f"r{index}") for index in range(6)]
    with OutcomeFile(folder / "out") as file:
        for outcome in outcomes:
            file.enter(outcome, outcome.index, outcome.index + 2)
    made = Summary(
        BulkOptions(out=folder / "out", as_json=True, quiet=False, again=()), room_specs(folder / "rooms.csv"), file
    )
    made.report.exhausted = True
    made.report.missing = outcomes
    return made


def test_rooms_that_are_missing_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = summary(folder)
    made.tell(1.0)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["missing"] == [f"r{index}" for index in range(6)]
    shown = [line for line in printed.err.splitlines() if line.startswith("  line ")]
    assert shown == [f"  line {index + 2}: room r{index}" for index in range(5)]
    assert "and 1 more" in printed.err
    assert exit_codes.of_run({"created": 6}, exhausted=True, exact=made.exact) == 1


@pytest.mark.parametrize(
    ("earlier", "said"),
    [
        (6, "6 were created earlier, 2 no longer exist, in"),
        # With --audit settled, rooms of this run can be missing, too.
        (4, "2 created, 4 were created earlier, 2 no longer exist, in"),
        (1, "5 created, 1 was created earlier, 2 no longer exist, in"),
    ],
)
def test_earlier_rooms_that_no_longer_exist_are_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], earlier: int, said: str
) -> None:
    made = summary(folder)
    for number, outcome in enumerate(made.report.missing):
        made.note(outcome, None, earlier=number < earlier)
    made.report.missing = made.report.missing[:2]
    made.tell(1.0)
    assert said in capsys.readouterr().err


def test_duplicates_that_were_deleted_are_a_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = summary(folder)
    made.report.missing = []
    made.report.duplicates = {"vx1": ("a", "b"), "vx2": ("c", "d")}
    made.report.removed = ["b"]
    assert not made.exact
    made.report.removed = ["b", "c"]
    assert made.exact
    made.tell(1.0)
    assert "Duplicate rooms deleted: 2." in capsys.readouterr().err
