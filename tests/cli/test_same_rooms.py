"""A table of rooms that an earlier job has created is recognized, also under other keys."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from videoapi.cli.earlier_advice import Relation, Situation, renamed_lines, situation_of
from videoapi.cli.inputs import Title
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
OUT = "rooms.csv.outcomes.jsonl"
SETTLE = ("--settle", 0.2)
FIRST = ("rooms", "create-many", "rooms.csv", *SETTLE)
TABLE = "name,key,data.id\nA,1,x\nB,2,y\nC,3,z\n"
SAME = "the same name and start as more than half of the lines of "
TITLES = st.builds(Title, st.sampled_from("ABCD"), st.sampled_from(["", "2030-01-01 10:00:00"]))


def create(cli: Cli, folder: Path, table: str = TABLE) -> None:
    (folder / "rooms.csv").write_text(table)
    result = cli(*FIRST)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("ABC", "ABC", 3),
        ("ABX", "ABC", 2),
        ("AX", "AB", 0),
        ("A", "A", 1),
        ("AAA", "AAA", 0),
        ("AAAB", "AAAB", 0),
        ("ABCXXX", "ABC", 0),
        ("", "ABC", 0),
    ],
)
def test_lines_under_other_keys_count_if_they_are_most_and_names_occur_once(ours: str, theirs: str, same: int) -> None:
    def titles(names: str, prefix: str) -> dict[str, Title]:
        return {f"{prefix}{number}": Title(name) for number, name in enumerate(names)}

    assert renamed_lines(titles(ours, "a"), titles(theirs, "b")) == same
    assert renamed_lines(titles(ours, "a"), titles(ours, "a")) == 0


@given(st.dictionaries(st.text(max_size=2), TITLES), st.dictionaries(st.text(max_size=2), TITLES))
def test_lines_under_other_keys_are_rooms_of_both_tables(ours: dict[str, Title], theirs: dict[str, Title]) -> None:
    same = renamed_lines(ours, theirs)
    assert same == 0 or len(ours) < 2 * same <= 2 * len(set(ours.values()) & set(theirs.values()))
    # Neither other keys nor another order make a difference.
    renamed = {f"other {key}": title for key, title in reversed(ours.items())}
    once = sum(list(ours.values()).count(title) == 1 for title in ours.values())
    assert renamed_lines(renamed, ours) == (once if 2 * once > len(ours) else 0)


@pytest.mark.parametrize(
    ("tables", "situation"),
    [
        (Relation(is_same_file=True, has_same_name=True), Situation.SAME_FILE),
        (Relation(is_same_file=True, as_typed=False), Situation.OTHER_TYPES),
        (Relation(has_same_name=True, has_ids=True), Situation.MOVED),
        (Relation(has_ids=True, lines=1, lines_then=3), Situation.COPY_WITH_IDS),
        (Relation(lines=1, lines_then=3), Situation.PART),
        (Relation(lines=2, lines_then=3), Situation.CORRECTED),
        (Relation(shares_keys=False, has_column=True, is_same_file=True), Situation.OTHER_COLUMN),
        (Relation(shares_keys=False, has_same_name=True), Situation.OTHER_KEYS),
    ],
)
def test_situation_follows_from_what_the_tables_share(tables: Relation, situation: Situation) -> None:
    assert situation_of(tables) is situation


@pytest.mark.parametrize("old_table", ["there", "renamed", "killed"])
@pytest.mark.parametrize(
    ("table", "options"),
    [
        (TABLE, ("--key-column", "data.id")),
        ("name,key\nC,30\nA,10\nB,20\nD,40\n", ()),
        ("name\nA\nB\n", ()),
    ],
)
def test_same_rooms_under_other_keys_are_not_created_again(
    cli: Cli, sandbox: Sandbox, folder: Path, table: str, options: tuple[str, ...], old_table: str
) -> None:
    create(cli, folder)
    if old_table == "renamed":
        (folder / "rooms.csv").rename(folder / "other.csv")
    if old_table == "killed":
        # Worker processes have no journal, and had reported nothing yet.
        (folder / OUT).rename(folder / f"{OUT}.part")
        (folder / f"{OUT}.part").write_text("")
        (folder / f"{OUT}.journal").unlink()
    (folder / "other.csv").write_text(table)
    for more in ((), ("--dry-run",)):
        refused = cli("rooms", "create-many", "other.csv", *options, *more)
        assert refused.exit_code == 2, refused.output
        assert f"{SAME}other.csv" in refused.stderr
        assert "give --fresh" in refused.stderr
    assert len(sandbox.ledger.rooms) == 3
    assert cli("rooms", "create-many", "other.csv", *options, *SETTLE, "--fresh").exit_code == 0
    assert len(sandbox.ledger.rooms) == 3 + table.count("\n") - 1


def test_advice_for_another_key_column_leads_to_the_earlier_job(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder)
    (folder / "other.csv").write_text(TABLE + "D,4,t\n")
    refused = cli("rooms", "create-many", "other.csv", *SETTLE, "--key-column", "data.id")
    assert "give --key-column key." in refused.stderr
    refused = cli("rooms", "create-many", "other.csv", *SETTLE, "--key-column", "key")
    words = shlex.split(refused.stderr.split("with other.csv: ")[1].splitlines()[0])
    assert cli(*words[words.index("rooms") :]).exit_code == 0
    assert len(sandbox.ledger.rooms) == 4


def test_table_with_new_keys_in_the_same_file_is_refused(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder)
    (folder / "rooms.csv").write_text("name,key\nA,10\nB,20\nC,3\n")
    refused = cli(*FIRST)
    assert refused.exit_code == 2, refused.output
    assert f"{SAME}rooms.csv (2 of 3), under other keys" in refused.stderr
    assert len(sandbox.ledger.rooms) == 3
    (folder / "rooms.csv").write_text("name,key\nX,10\nB,20\nC,3\n")
    assert cli(*FIRST).exit_code == 0


def test_names_that_identify_nothing_do_not_refuse_a_table(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    week = "name,key,settings.scheduled,settings.scheduled_time,settings.duration\n"
    tables = {
        "week1": week + "A,1,true,2040-01-01 10:00:00,60\nB,2,true,2040-01-01 11:00:00,60\n",
        "week2": week + "A,3,true,2040-01-08 10:00:00,60\nB,4,true,2040-01-08 11:00:00,60\n",
        "meetings1": "name,key\nMeeting,5\nMeeting,6\nMeeting,7\n",
        "meetings2": "name,key\nMeeting,8\nMeeting,9\nC,10\n",
        "some": "name,key\nC,11\nD,12\nE,13\n",
    }
    for name, table in tables.items():
        (folder / f"{name}.csv").write_text(table)
        result = cli("rooms", "create-many", f"{name}.csv", *SETTLE)
        assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (folder / "week2.csv.outcomes.jsonl").read_text().splitlines()]
    assert [(row["name"], row["scheduled_time"]) for row in rows] == [
        ("A", "2040-01-08 10:00:00"),
        ("B", "2040-01-08 11:00:00"),
    ]
    assert len(sandbox.ledger.rooms) == sum(table.count("\n") - 1 for table in tables.values())
