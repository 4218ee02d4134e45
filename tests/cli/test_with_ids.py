"""`rooms create-many --with-ids` copies the table, whatever its dialect, with the ID of each room."""

from __future__ import annotations

import csv
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.jobs import age_journal

from videoapi.cli.outcomes import OutcomeFile
from videoapi.files import PartFile
from videoapi.sandbox import Sandbox

Cli = Callable[..., Result]
DAY = 86_400
CREATE = ("rooms", "create-many", "rooms.csv", "--settle", 0.2, "--with-ids", "ids.csv")
TABLE = "name;key;Dozent\r\nAlgebra;1;Noether\r\n;2;Gauss\r\nLogik;3;Gödel\r\n"


def rows(path: Path, delimiter: str = ";") -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def ids(sandbox: Sandbox) -> dict[str, str]:
    return {str(room["name"]): room_id for room_id, room in sandbox.ledger.rooms.items()}


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        ("sep=;\r\n" + TABLE).encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        (TABLE.replace("\r\n", ";;\r\n") + ";;;;\r\n").encode(),
        TABLE.replace("\r\n", "\n").encode(),
    ],
    ids=["utf-8", "byte order mark", "sep", "utf-16", "empty cells and rows", "line feeds"],
)
def test_each_dialect_that_is_read_is_copied(cli: Cli, sandbox: Sandbox, folder: Path, content: bytes) -> None:
    (folder / "rooms.csv").write_bytes(content)
    result = cli(*CREATE, "--ignore-column", "Dozent")
    assert result.exit_code == 1, result.output
    assert "2 of 3 lines have a room_id: ids.csv" in result.stderr
    room = ids(sandbox)
    assert rows(folder / "ids.csv") == [
        ["room_id", "name", "key", "Dozent"],
        [room["Algebra"], "Algebra", "1", "Noether"],
        ["", "", "2", "Gauss"],
        [room["Logik"], "Logik", "3", "Gödel"],
    ]
    assert (folder / "ids.csv").read_bytes().startswith("\ufeff".encode())


def test_cell_that_a_spreadsheet_could_evaluate_is_copied_with_its_apostrophe(
    cli: Cli, sandbox: Sandbox, folder: Path
) -> None:
    (folder / "rooms.csv").write_text("name;Dozent\n'=1+1;'-x\n")
    result = cli(*CREATE, "--ignore-column", "Dozent")
    assert result.exit_code == 0, result.output
    assert rows(folder / "ids.csv")[1] == [ids(sandbox)["=1+1"], "'=1+1", "'-x"]


def test_lines_that_fail_are_copied_as_they_are(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_bytes(
        b'name,key,data.note\nA,1,"two\nlines, and ""quotes"""\nB,2,b,extra\nC,1,\nM\xfcller,4,\nD,5,"d\nE,6,\n'
    )
    assert cli(*CREATE).exit_code == 4
    assert (folder / "ids.csv").read_bytes() == (
        b"\xef\xbb\xbfroom_id,name,key,data.note,\r\n"
        + ids(sandbox)["A"].encode()
        + b',A,1,"two\nlines, and ""quotes""",\r\n,B,2,b,extra\r\n,C,1,,\r\n,M\xfcller,4,,\r\n'
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_each_row_of_the_copy_is_as_wide_as_its_header(
    cli: Cli, sandbox: Sandbox, folder: Path, delimiter: str
) -> None:
    table = "name,room_id,key,minutes,starts_at,Raum\nA,,1,,,\nB,old,2\nC,,3,,,H 1\n"
    (folder / "rooms.csv").write_text(table.replace(",", delimiter))
    ignored = ("--ignore-column", "Raum", "--ignore-column", "room_id")
    for _ in range(2):
        assert cli(*CREATE, *ignored).exit_code == 0
        room = ids(sandbox)
        assert rows(folder / "ids.csv", delimiter) == [
            ["room_id", "name", "key", "minutes", "starts_at", "Raum"],
            [room["A"], "A", "1", "", "", ""],
            [room["B"], "B", "2", "", "", ""],
            [room["C"], "C", "3", "", "", "H 1"],
        ]


def test_copy_with_a_line_that_is_too_wide_is_an_earlier_copy_once_that_line_is_fixed(cli: Cli, folder: Path) -> None:
    for row, width in (("A,1,x,y", 5), ("A,1", 3)):
        (folder / "rooms.csv").write_text(f"name,key\n{row}\nB,2\n")
        assert cli(*CREATE).exit_code == (1 if width == 5 else 0)
        assert {len(cells) for cells in rows(folder / "ids.csv", ",")} == {width}


def test_repeated_command_completes_the_copy(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,sip\nA,\nB,perhaps\n")
    assert cli(*CREATE[:-2]).exit_code == 1
    assert cli(*CREATE).exit_code == 1
    assert [bool(row[0]) for row in rows(folder / "ids.csv", ",")] == [True, True, False]
    (folder / "rooms.csv").write_text("name,sip\nNew,\nA,\nB,yes\n")
    result = cli(*CREATE)
    assert result.exit_code == 0, result.output
    assert {row[1]: row[0] for row in rows(folder / "ids.csv", ",")[1:]} == ids(sandbox)
    assert len(sandbox.ledger.rooms) == 3


def test_rooms_that_were_deleted_since_have_no_id(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    # Longer than the test, so that the list proves nothing.
    create = ("rooms", "create-many", "rooms.csv", "--settle", 60, "--with-ids", "ids.csv")
    assert cli(*create).exit_code == 0
    room_id = ids(sandbox)["B"]
    assert cli("rooms", "delete", room_id, "--yes").exit_code == 0
    age_journal(folder / "rooms.csv.outcomes.jsonl.journal", DAY)
    result = cli(*create)
    assert result.exit_code == 1, result.output
    assert f"Rooms that were created and no longer exist: 1.\n  line 3: room {room_id}\n" in result.stderr
    assert "2 of 3 lines have a room_id, 1 without one because the room no longer exists: ids.csv" in result.stderr
    room = ids(sandbox)
    assert rows(folder / "ids.csv", ",") == [["room_id", "name"], [room["A"], "A"], ["", "B"], [room["C"], "C"]]


def test_rooms_that_are_too_new_to_be_read_keep_their_id(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    sandbox.set(list_lag=30, get_lag=30)
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    create = ("rooms", "create-many", "rooms.csv", "--settle", 60, "--with-ids", "ids.csv")
    assert cli(*create).exit_code == 0
    result = cli(*create)
    assert result.exit_code == 0, result.output
    assert "no longer exist" not in result.stderr
    assert re.search(
        r"Warning: Rooms of earlier runs that were deleted, or are too new to be read: 2\. To know which, "
        r'repeat the run in \d\d s, or with --audit "settled"\.',
        result.stderr,
    )
    room = ids(sandbox)
    assert rows(folder / "ids.csv", ",") == [["room_id", "name"], [room["A"], "A"], [room["B"], "B"]]


def test_list_that_lacks_many_rooms_is_reported(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videoapi.bulk.audit._MOST_REQUESTED", 1)
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    create = ("rooms", "create-many", "rooms.csv", "--settle", 60)
    assert cli(*create).exit_code == 0
    assert cli("rooms", "delete", ids(sandbox)["A"], "--yes").exit_code == 0
    assert cli("rooms", "delete", ids(sandbox)["B"], "--yes").exit_code == 0
    result = cli(*create)
    assert result.exit_code == 0, result.output
    assert "2 rooms of earlier runs are not in the list of rooms, which proves nothing" in result.stderr


def test_copy_can_be_the_next_input(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE).exit_code == 0
    (folder / "ids.csv").rename(folder / "rooms.csv")
    assert cli(*CREATE, "--ignore-column", "room_id").exit_code == 0
    assert rows(folder / "ids.csv", ",") == [["room_id", "name"], [ids(sandbox)["A"], "A"]]


def test_run_that_stops_early_copies_what_it_knows(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    sandbox.fault("rooms.create", "suspended", after=1)
    result = cli(*CREATE, "--concurrency", 1)
    assert result.exit_code == 4, result.output
    assert "1 of 3 lines have a room_id" in result.stderr
    assert rows(folder / "ids.csv", ",") == [["room_id", "name"], [ids(sandbox)["A"], "A"], ["", "B"], ["", "C"]]


def test_run_that_stops_early_keeps_the_ids_of_an_earlier_copy(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    assert cli(*CREATE).exit_code == 0
    before = (folder / "ids.csv").read_bytes()
    (folder / "rooms.csv").write_text("name\nC\nA\nB\n")
    sandbox.fault("rooms.create", "suspended")
    result = cli(*CREATE, "--concurrency", 1)
    assert result.exit_code == 5, result.output
    assert "ids.csv is as before, because the run ended early." in result.stderr
    assert (folder / "ids.csv").read_bytes() == before


def test_copy_does_not_replace_a_file_that_the_run_has_renamed(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    assert cli(*CREATE).exit_code == 0
    result = cli(*CREATE[:-1], "rooms.csv.outcomes.jsonl.1")
    assert result.exit_code == 1, result.output
    assert "there is another file of this name. Give --with-ids another one." in result.stderr
    assert cli(*CREATE).exit_code == 0
    assert len(sandbox.ledger.rooms) == 1


def test_copy_that_cannot_be_written_does_not_hide_how_the_run_ended(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")
    written = OutcomeFile.enter

    def enter(file: OutcomeFile, *outcome: Any) -> None:
        written(file, *outcome)
        (folder / "ids.csv").mkdir(exist_ok=True)

    monkeypatch.setattr(OutcomeFile, "enter", enter)
    result = cli(*CREATE)
    assert result.exit_code == 1, result.output
    assert "ids.csv was not written: ids.csv is in use. Give --with-ids another name." in result.stderr
    (folder / "ids.csv").rmdir()
    (folder / "rooms.csv").write_text("name\nA\nB\nC\nD\n")
    sandbox.fault("rooms.create", "suspended", after=1)
    assert cli(*CREATE, "--concurrency", 1).exit_code == 4


def test_copy_overwrites_no_part_of_another_file(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    (folder / "ids.csv.part").write_bytes(b"half of a download")
    assert cli(*CREATE).exit_code == 0
    assert (folder / "ids.csv").exists()
    assert (folder / "ids.csv.part").read_bytes() == b"half of a download"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("", "it has no column name any more"),
        ("other,key\n1,2\n", "it has no column name any more"),
        (None, "rooms.csv: No such file or directory"),
    ],
    ids=["empty", "another header", "gone"],
)
def test_table_that_changed_during_the_run_is_named(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, table: str | None, why: str
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    written = OutcomeFile.enter

    def enter(file: OutcomeFile, *outcome: Any) -> None:
        written(file, *outcome)
        (folder / "rooms.csv").unlink()
        if table is not None:
            (folder / "rooms.csv").write_text(table)

    monkeypatch.setattr(OutcomeFile, "enter", enter)
    result = cli(*CREATE)
    assert result.exit_code == 1, result.output
    assert f"ids.csv was not written: the table cannot be read: {why}" in result.stderr


def test_full_disk_is_named_although_the_last_outcome_is_cut(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\n")

    def write(part: PartFile, data: bytes) -> None:
        if part.name == "rooms.csv.outcomes.jsonl" and part.size:
            written(part, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device", str(part.part))
        written(part, data)

    written = PartFile.write
    monkeypatch.setattr(PartFile, "write", write)
    result = cli(*CREATE)
    assert result.exit_code == 1, result.output
    assert "No space left on device: rooms.csv.outcomes.jsonl.part" in result.stderr
    assert "1 of 2 lines have a room_id: ids.csv" in result.stderr


def test_column_of_keys_is_not_replaced(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name,room_id\nA,1\n")
    result = cli(*CREATE, "--key-column", "room_id")
    assert result.exit_code == 2, result.output
    assert "--with-ids would replace the column room_id, which has the keys. Rename it." in result.stderr
    assert sandbox.ledger.requests() == 0


@pytest.mark.parametrize(
    ("copy", "options", "words"),
    [
        ("rooms.csv", (), "--with-ids would write rooms.csv, which is the input file. Give another name."),
        ("letter.txt", (), "not an earlier copy"),
        ("table.csv", (), "not an earlier copy"),
        ("link.csv", (), "not an earlier copy"),
        ("pipe.csv", (), "not an earlier copy"),
        ("rooms.csv.outcomes.jsonl", (), "is the outcome file"),
        ("rooms.csv.outcomes.jsonl.part", (), "is the outcome file"),
        ("rooms.csv.outcomes.jsonl.job", (), "is the .job of the outcome file"),
        ("rooms.csv.outcomes.jsonl.journal", (), "is the journal"),
        ("rooms.csv.outcomes.jsonl.journal-wal", (), "is the journal"),
        ("ids.csv", ("--journal", "ids.csv"), "is the journal"),
        ("ids.csv", ("--journal", "ids.csv.part"), "is the journal"),
        ("nowhere/ids.csv", (), "the folder nowhere does not exist"),
        ("ids.csv", ("--out", "/dev/null"), "does not keep"),
    ],
)
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_copy_replaces_no_other_file(
    cli: Cli,
    sandbox: Sandbox,
    folder: Path,
    copy: str,
    options: tuple[str, ...],
    words: str,
    dry_run: tuple[str, ...],
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    (folder / "letter.txt").write_text("Dear all")
    (folder / "table.csv").write_text("room_id,other\n1,2\n")
    (folder / "link.csv").symlink_to("table.csv")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    os.mkfifo(folder / "pipe.csv")
    refused = cli(*CREATE[:-1], copy, *options, *dry_run)
    assert refused.exit_code == 2, refused.output
    assert words in refused.stderr
    (folder / "pipe.csv").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sandbox.ledger.requests() == 0


def test_only_tables_are_copied(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.jsonl").write_text('{"name": "A"}\n')
    refused = cli("rooms", "create-many", "rooms.jsonl", "--with-ids", "ids.jsonl")
    assert refused.exit_code == 2
    assert "--with-ids copies a .csv or .tsv file" in refused.stderr
    assert sandbox.ledger.requests() == 0


def test_table_whose_header_changes_before_the_run_is_named(
    cli: Cli, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rooms.csv").write_text("name\nA\n")
    opened = OutcomeFile.__enter__

    def enter(file: OutcomeFile) -> OutcomeFile:
        (folder / "rooms.csv").write_text("other\nA\n")
        return opened(file)

    monkeypatch.setattr(OutcomeFile, "__enter__", enter)
    result = cli("rooms", "create-many", "rooms.csv")
    assert result.exit_code == 4, result.output
    assert "missing column name; the header has" in result.stderr
    assert sandbox.ledger.requests() == 0
    assert "Correct the file first. To continue:" in result.stderr


def test_documented_commands_create_deleted_rooms_again(cli: Cli, sandbox: Sandbox, folder: Path) -> None:
    (folder / "rooms.csv").write_text("name\nA\nB\nC\n")
    assert cli(*CREATE).exit_code == 0
    assert cli("rooms", "delete", ids(sandbox)["B"], "--yes").exit_code == 0
    age_journal(folder / "rooms.csv.outcomes.jsonl.journal", DAY)
    assert cli(*CREATE).exit_code == 1
    header, *lines = rows(folder / "ids.csv", ",")
    (folder / "deleted.csv").write_text(
        "".join(",".join(row) + "\n" for row in (header, *lines) if row[0] in header or not row[0])
    )
    create = ("rooms", "create-many", "deleted.csv", "--ignore-column", "room_id", "--settle", 0.2)
    again = cli(*create, "--fresh", "--with-ids", "deleted-with-ids.csv")
    assert again.exit_code == 0, again.output
    assert rows(folder / "deleted-with-ids.csv", ",")[1:] == [[ids(sandbox)["B"], "B"]]
    assert cli(*create).exit_code == 0
    assert sorted(ids(sandbox)) == ["A", "B", "C"]
