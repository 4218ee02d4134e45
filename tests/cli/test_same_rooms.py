"""A table of rooms that an earlier job has created is recognized, also under other keys."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from videoapi.cli.earlier_advice import Relation, Situation, are_most, renamed_lines, situation_of
from videoapi.cli.inputs import Title
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
OUT = "rooms.csv.outcomes.jsonl"
SETTLE = ("--settle", 0.2)
FIRST = ("rooms", "create-many", "rooms.csv", *SETTLE)
TABLE = "name,key,data.id\nA,1,x\nB,2,y\nC,3,z\n"
TITLES = st.builds(Title, st.sampled_from("ABCD"), st.sampled_from(["", "2030-01-01 10:00:00"]))


def create(cli: Cli, folder: Path, table: str = TABLE) -> None:
    (folder / "rooms.csv").write_text(table)
    result = cli(*FIRST)
    assert result.exit_code == 0, result.output


def lines_of(ours: dict[str | int, Title], theirs: dict[str | int, Title]) -> set[str | int]:
    marks = {key: title.mark() for key, title in ours.items()}
    elsewhere, others = ([title.mark() for key, title in theirs.items() if (key in ours) is at] for at in (False, True))
    return renamed_lines(marks, ours.keys() - theirs.keys(), elsewhere, others)


@pytest.mark.parametrize(
    ("ours", "theirs", "same", "most"),
    [
        ("ABC", "ABC", 3, True),
        ("ABXX", "ABC", 2, True),
        ("AXX", "ABC", 1, False),
        ("AXX", "AB", 1, True),
        ("A", "A", 1, True),
        ("AAA", "AAA", 0, False),
        ("AAAB", "AAAB", 1, False),
        ("ABCXXXX", "ABC", 3, True),
        ("", "ABC", 0, False),
    ],
)
def test_lines_under_other_keys_count_if_names_occur_once(ours: str, theirs: str, same: int, most: bool) -> None:
    def titles(names: str, prefix: str) -> dict[str | int, Title]:
        return {f"{prefix}{number}": Title(name) for number, name in enumerate(names)}

    lines, rooms = titles(ours, "a"), titles(theirs, "b")
    found = lines_of(lines, rooms)
    assert len(found) == same
    assert are_most(same, len(ours), len(theirs)) is most
    assert lines_of(lines, lines) == set()


@given(st.dictionaries(st.text(max_size=2), TITLES), st.dictionaries(st.text(max_size=2), TITLES))
def test_lines_under_other_keys_are_rooms_of_both_tables(
    ours: dict[str | int, Title], theirs: dict[str | int, Title]
) -> None:
    same = lines_of(ours, theirs)
    assert same <= ours.keys() - theirs.keys()
    assert {ours[key] for key in same} <= set(theirs.values())
    # Neither other keys nor another order make a difference.
    renamed: dict[str | int, Title] = {f"other {key}": title for key, title in reversed(ours.items())}
    once = sum(list(ours.values()).count(title) == 1 for title in ours.values())
    assert len(lines_of(renamed, ours)) == once


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
        assert "rooms with the same name and start as " in refused.stderr
        assert " lines of other.csv, under other keys" in refused.stderr
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
    assert "the same name and start as 2 of the 3 lines of rooms.csv, under other keys, and would" in refused.stderr
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


def table(*keys: str | int, names: str = "") -> str:
    """A table with a line for each key, whose name is the key, or the next of the names."""
    return "name,key\n" + "".join(f"{names[at] if names else f'N{key}'},{key}\n" for at, key in enumerate(keys))


def names_of(sandbox: Sandbox) -> list[str]:
    return sorted(room["name"] for room in sandbox.ledger.rooms.values())


def test_lines_of_another_job_are_not_appended_to_a_job(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder, table(0, 1, 2))
    (folder / "late.csv").write_text(table(3, 4, 5))
    assert cli("rooms", "create-many", "late.csv", *SETTLE).exit_code == 0
    for lines in (table(0, 1, 2, 3, 4, 5, 6), table(0, 1, 2) + "N3,13\nN4,14\n"):
        (folder / "rooms.csv").write_text(lines)
        refused = cli(*FIRST)
        assert refused.exit_code == 2, refused.output
        assert "The job late.csv.outcomes.jsonl of " in refused.stderr
        assert "and this job would create them again. Nothing was sent." in refused.stderr
        assert "Remove these lines from rooms.csv" in refused.stderr
        assert len(sandbox.ledger.rooms) == 6
    # The advice.
    (folder / "rooms.csv").write_text(table(0, 1, 2, 6))
    assert cli(*FIRST).exit_code == 0
    assert len(sandbox.ledger.rooms) == 7
    # Row numbers of other rooms are keys of both jobs.
    (folder / "rooms.csv").write_text(table(0, 1, 2, 6) + "Other,3\n")
    result = cli(*FIRST)
    assert result.exit_code == 0, result.output
    assert len(sandbox.ledger.rooms) == 8


def test_a_fresh_job_is_continued_beside_the_jobs_that_it_repeats(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder, table(0, 1, 2))
    (folder / "again.csv").write_text(table(0, 1))
    again = ("rooms", "create-many", "again.csv", *SETTLE)
    assert cli(*again, "--fresh").exit_code == 0
    (folder / "again.csv").write_text(table(0, 1, 2))
    assert cli(*again).exit_code == 0
    assert cli(*FIRST).exit_code == 0
    assert len(sandbox.ledger.rooms) == 6


@pytest.mark.parametrize("change", ['{"name": "E", "key": "5"}', '{"name": "E", "key": 5}\n{"name": "D", "key": "4"}'])
def test_keys_of_another_type_in_the_same_file_are_refused(
    cli: Cli, sandbox: Sandbox, folder: Path, change: str
) -> None:
    first = '{"name": "E", "key": 5}\n{"name": "D", "key": 4}\n'
    (folder / "rooms.jsonl").write_text(first)
    assert cli("rooms", "create-many", "rooms.jsonl", *SETTLE).exit_code == 0
    (folder / "rooms.jsonl").write_text(change)
    refused = cli("rooms", "create-many", "rooms.jsonl", *SETTLE)
    assert refused.exit_code == 2, refused.output
    assert "write those of rooms.jsonl as before" in refused.stderr
    (folder / "rooms.jsonl").write_text(first + '{"name": "F", "key": 6}')
    assert cli("rooms", "create-many", "rooms.jsonl", *SETTLE).exit_code == 0
    assert names_of(sandbox) == ["D", "E", "F"]


def test_a_job_may_have_a_number_and_its_text_as_keys(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.jsonl").write_text('{"name": "E", "key": 5}\n{"name": "D", "key": "5"}\n')
    for _ in range(2):
        result = cli("rooms", "create-many", "rooms.jsonl", *SETTLE)
        assert result.exit_code == 0, result.output
    assert len(sandbox.ledger.rooms) == 2


@pytest.mark.parametrize("then", [range(4), range(10)])
def test_a_job_that_has_stopped_is_not_continued_under_other_keys(
    cli: Cli, sandbox: Sandbox, folder: Path, then: range
) -> None:
    create(cli, folder, table(*then))
    # Half of the lines, or all of the rooms, have other keys.
    keys = [f"n{key}" if key < 5 else str(key) for key in range(10)]
    (folder / "rooms.csv").write_text("name,key\n" + "".join(f"N{at},{key}\n" for at, key in enumerate(keys)))
    refused = cli(*FIRST)
    assert refused.exit_code == 2, refused.output
    assert f"as {min(5, len(then))} of the 10 lines of rooms.csv, under other keys" in refused.stderr
    assert len(sandbox.ledger.rooms) == len(then)


def test_few_lines_under_other_keys_are_created_and_named(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder, table(*range(6)))
    (folder / "rooms.csv").write_text(table(0, 1, 2, 3) + "N4,14\nN5,15\n")
    texts = {
        OUT: "Lines with the name and start of rooms that this job has created under other keys: 2.",
        "other.csv": f"Lines with the name and start of rooms that the job {OUT} has created under other keys: 1.",
    }
    checked = cli(*FIRST, "--dry-run")
    assert checked.exit_code == 0, checked.output
    assert texts[OUT] in checked.stderr
    result = cli(*FIRST, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["same_rooms"] == {OUT: [6, 7]}
    # Before, and in the summary.
    assert result.stderr.count(texts[OUT]) == 2
    assert "  line 6\n  line 7\n" in result.stderr
    assert cli(*FIRST, "--json").stdout.count('"same_rooms": {}') == 1
    (folder / "other.csv").write_text("name,key\nN0,20\nX,21\nY,22\n")
    result = cli("rooms", "create-many", "other.csv", *SETTLE)
    assert result.exit_code == 0, result.output
    assert result.stderr.count(texts["other.csv"]) == 2


@pytest.mark.parametrize("left", [True, False])
def test_a_job_without_its_outcomes_is_known_by_its_input(cli: Cli, sandbox: Sandbox, folder: Path, left: bool) -> None:
    create(cli, folder)
    if left:
        rows = [json.loads(line) for line in (folder / OUT).read_text().splitlines()]
        (folder / OUT).write_text("".join(json.dumps({**row, "name": None}) + "\n" for row in rows))
    else:
        (folder / OUT).unlink()
    (folder / "other.csv").write_text(table(10, 20, 30, names="ABC"))
    refused = cli("rooms", "create-many", "other.csv", *SETTLE)
    assert refused.exit_code == 2, refused.output
    assert "the same name and start as 3 of the 3 lines of other.csv" in refused.stderr
    assert len(sandbox.ledger.rooms) == 3


@pytest.mark.parametrize("reported", [2, 0])
def test_a_job_whose_lines_are_not_known_is_not_continued_with_another_table(
    cli: Cli, sandbox: Sandbox, folder: Path, reported: int
) -> None:
    create(cli, folder, table(*range(10)))
    # Worker processes were killed, and the table is gone.
    rows = (folder / OUT).read_text().splitlines(keepends=True)
    (folder / OUT).unlink()
    (folder / f"{OUT}.part").write_text("".join(rows[:reported]))
    (folder / f"{OUT}.journal").unlink()
    (folder / "rooms.csv").rename(folder / "lost")
    (folder / "other.csv").write_text(
        table(*range(20, 30), names="".join(map(str, range(10)))).replace("\n", "\nN")[:-1]
    )
    refused = cli("rooms", "create-many", "other.csv", *SETTLE)
    assert refused.exit_code == 2, refused.output
    assert "Or continue that job" not in refused.stderr
    assert "keys in other.csv" not in refused.stderr
    assert ("Its lines are not known" in refused.stderr) == (not reported)
    (folder / "lost").rename(folder / "rooms.csv")
    assert cli("rooms", "create-many", "other.csv", *SETTLE).exit_code == 2
    assert len(sandbox.ledger.rooms) == 10


def test_advice_has_no_option_twice(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    create(cli, folder)
    (folder / "other.csv").write_text(TABLE + "D,4,t\n")
    refused = cli("rooms", "create-many", "other.csv", "--out", "o.jsonl", "--job-id=mine", *SETTLE)
    words = shlex.split(refused.stderr.split("with other.csv: ")[1].splitlines()[0])
    assert (words.count("--out"), words.count("--job-id"), "--job-id=mine" in words) == (1, 1, False)
    assert cli(*words[words.index("rooms") :]).exit_code == 0
    assert len(sandbox.ledger.rooms) == 4


@pytest.mark.parametrize(
    ("command", "row"),
    [
        (("tokens", "create-many"), {"room_id": "r", "name": "Ann", "user_ref": "u"}),
        (("rooms", "delete-many", "--yes"), {"room_id": "r"}),
    ],
)
def test_outcomes_of_a_job_are_not_replaced_by_others(
    cli: Cli, sandbox: Sandbox, folder: Path, command: tuple[str, ...], row: dict[str, str]
) -> None:
    create(cli, folder)
    before, sent = (folder / OUT).read_bytes(), sandbox.ledger.requests()
    (folder / "given.jsonl").write_text(json.dumps(row))
    refused = cli(*command, "given.jsonl", "--out", OUT)
    assert refused.exit_code == 2, refused.output
    assert f"--out {OUT} is the outcome file of a job of rooms create-many. Give another --out." in refused.stderr
    assert (folder / OUT).read_bytes() == before
    assert sandbox.ledger.requests() == sent
