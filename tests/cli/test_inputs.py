"""Input files: an invalid line affects only itself; only a quote that is left open ends the file."""

import contextlib
import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoapi.cli.dry_run import problem_of
from videoapi.cli.inputs import InputLine, room_ids, room_specs, token_specs
from videoapi.cli.room_lines import spec_of_cells, spec_of_object, start_of
from videoapi.cli.spreadsheet import BadInput, UnreadableRest
from videoapi.errors import ValidationError
from videoapi.models.rooms import RoomSpec

_ANY_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
_PIECES = st.sampled_from(
    [b'{"name": "A"}', b'"', b"'", b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"A", b"{", b" "]
)


@_ANY_FILE
@given(st.lists(_PIECES, max_size=30).map(b"".join))
@pytest.mark.parametrize("name", ["any.jsonl", "any.csv"])
def test_any_bytes_are_read_as_numbered_lines(tmp_path: Path, name: str, written: bytes) -> None:
    path = tmp_path / name
    path.write_bytes((b"name,data.x\n" if name.endswith("csv") else b"") + written)
    file = room_specs(path)
    lines: list[InputLine[RoomSpec]] = []
    with contextlib.suppress(UnreadableRest):
        lines.extend(file.lines)
    assert len(lines) == file.total
    assert [line.index for line in lines] == list(range(len(lines)))
    assert all((line.given is None) != (line.error is None) for line in lines)
    numbers = [line.number for line in lines]
    assert numbers == sorted(numbers)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=10))
@_ANY_FILE
def test_jsonl_file_preserves_every_name(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "rooms.jsonl"
    path.write_text("".join(json.dumps({"name": name, "key": key}) + "\n" for key, name in enumerate(names)))
    assert [line.given.name for line in room_specs(path, "key").lines if line.given is not None] == names


def test_cells_are_converted_to_the_types_of_the_settings() -> None:
    spec = spec_of_cells(
        {
            "name": "A",
            "settings.participants": "10",
            "settings.screen_share": "No",
            "settings.mode": "lecture",
            "settings.duration": "",
            "settings.live_recording.auto_recording": "true",
            "settings.live_recording.url": "https://example.com/x",
            "data.team": "1",
            "sip": "yes",
        }
    )
    assert spec.settings == {
        "participants": 10,
        "screen_share": False,
        "mode": "lecture",
        "live_recording": {"auto_recording": True, "url": "https://example.com/x"},
    }
    assert spec.data == {"team": "1"}
    assert spec.sip is True


def test_cells_of_a_part_of_a_setting_are_converted_to_its_types() -> None:
    spec = spec_of_cells(
        {
            "name": "A",
            "settings.live_recording.auto_recording": "TRUE",
            "settings.live_transcription.enable": "no",
            "settings.live_transcription.language": "true",
            "settings.live_transcription.own.flag": "true",
            "settings.role_based_recording.moderator": "audio",
        }
    )
    assert spec.settings == {
        "live_recording": {"auto_recording": True},
        "live_transcription": {"enable": False, "language": "true", "own": {"flag": True}},
        "role_based_recording": {"moderator": "audio"},
    }


def test_columns_of_a_schedule_are_the_settings_of_a_scheduled_room() -> None:
    cells = {"name": "A", "starts_at": "2030-01-31T10:00+01:00", "minutes": "45", "settings.participants": "10"}
    expected = {"scheduled": True, "adhoc": False, "scheduled_time": "2030-01-31 09:00:00", "duration": 45}
    assert spec_of_cells(cells).settings == {"participants": 10, **expected}
    assert start_of(cells) == "2030-01-31 09:00:00"
    assert spec_of_cells({"name": "A", "starts_at": "", "minutes": ""}).settings is None


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ({"starts_at": "2030-01-31T10:00+01:00"}, "minutes"),
        ({"minutes": "45"}, "starts_at"),
        ({"starts_at": "31.01.2030 10:00", "minutes": "45"}, "starts_at"),
        ({"starts_at": "2030-01-31T10:00", "minutes": "45"}, "starts_at"),
        ({"starts_at": "9999-12-31T23:59-05:00", "minutes": "45"}, "starts_at"),
        ({"starts_at": "0001-01-01T00:00+14:00", "minutes": "45"}, "starts_at"),
        ({"starts_at": "2030-01-31T10:00Z", "minutes": "0"}, "minutes"),
        ({"starts_at": "2030-01-31T10:00Z", "minutes": "1" * 5000}, "minutes"),
        ({"starts_at": "2030-01-31T10:00Z", "minutes": "45", "settings.duration": "60"}, "settings.duration"),
        ({"settings.scheduled_time": "2030-01-31 10:00:00", "settings.duration": "45"}, "settings.scheduled"),
        ({"settings.scheduled_time": "next Tuesday", "settings.scheduled": "no"}, "settings.scheduled"),
    ],
)
def test_incomplete_schedule_is_an_error_and_not_a_room_that_is_always_open(cells: dict[str, str], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec_of_cells({"name": "A", **cells})
    assert caught.value.field == field
    assert start_of(cells) in ("", "2030-01-31 09:00:00", "2030-01-31 10:00:00")


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        ("2030-02-30T10:00+01:00", "is a day or a time that does not exist: '2030-02-30T10:00+01:00'"),
        ("2030-01-31T25:00Z", "is a day or a time that does not exist: '2030-01-31T25:00Z'"),
        ("31.01.2030 10:00", "must be a time with its offset from UTC"),
        ("2030-02-30T10:00", "must be a time with its offset from UTC"),
        ("9999-12-31T23:59-05:00", "must be a time with its offset from UTC"),
    ],
)
def test_start_that_does_not_exist_is_told_apart_from_one_in_another_form(start: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"starts_at {problem}")):
        spec_of_cells({"name": "A", "starts_at": start, "minutes": "45"})


@pytest.mark.parametrize(
    ("key", "problem"),
    [('""', "is missing"), ("null", "is missing"), ("true", "must be text or"), ("[1]", "must be text or")],
)
def test_key_that_is_missing_is_told_apart_from_one_of_another_type(tmp_path: Path, key: str, problem: str) -> None:
    path = tmp_path / "rooms.jsonl"
    path.write_text(f'{{"name": "A", "key": "1"}}\n{{"name": "B", "key": {key}}}\n')
    *_, line = room_specs(path).lines
    assert str(line.error).startswith(f"key {problem}")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[" * 100_000, "This line is nested too deeply."),
        ("1" * 5_000, "This line has a number with too many digits."),
        ("yes", "This line is not JSON."),
        ("1} {", "This line is not JSON."),
    ],
)
def test_line_that_is_not_json_says_why(tmp_path: Path, value: str, problem: str) -> None:
    path = tmp_path / "rooms.jsonl"
    path.write_text(f'{{"name": "A", "key": "1", "data": {{"x": {value}}}}}\n')
    (line,) = room_specs(path).lines
    assert str(line.error) == problem


@pytest.mark.parametrize("number", ["NaN", "1e400", "-Infinity"])
def test_number_that_is_not_finite_is_named_as_such(tmp_path: Path, number: str) -> None:
    path = tmp_path / "rooms.jsonl"
    path.write_text(f'{{"name": "A", "key": "1", "data": {{"x": {number}}}}}\n')
    (line,) = room_specs(path).lines
    problem = problem_of(line.given, line.columns, validate=True, begins=True)
    assert str(problem) == "The request cannot be written as JSON: a number in it is not finite."


def test_object_with_a_start_that_is_not_scheduled_is_an_error() -> None:
    with pytest.raises(ValidationError, match="scheduled must be true"):
        spec_of_object({"name": "A", "settings": {"scheduled_time": "2030-01-31 10:00:00"}})


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("settings.participants", "many"),
        ("settings.knock", "2"),
        ("settings.live_recording.auto_recording", "oui"),
        ("sip", "perhaps"),
        ("name", ""),
    ],
)
def test_error_names_the_column_of_an_invalid_cell(column: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec_of_cells({"name": "A", column: text})
    assert caught.value.field == column


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rooms.csv", ""),
        ("rooms.csv", "title\nA\n"),
        ("rooms.csv", "name,name\nA,B\n"),
        ("rooms.csv", "name,colour\nA,red\n"),
        ("rooms.xlsx", "name\nA\n"),
    ],
)
def test_unusable_file_is_rejected_before_reading_its_lines(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput):
        room_specs(tmp_path / name)


def test_error_suggests_the_missing_settings_prefix(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,participants\nA,5\n")
    with pytest.raises(BadInput, match=r"is settings\.participants meant\?"):
        room_specs(path)


def test_line_numbers_are_correct_after_a_multiline_cell(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text('name,data.note\nA,"one\ntwo"\nB,x,y\nC\n')
    lines = list(room_specs(path).lines)
    assert [line.number for line in lines] == [2, 4, 5]
    assert [line.error is None for line in lines] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "a1\n\n b2 \n"),
        ("ids.csv", "name,room_id\nA,a1\nB,\nC,b2\n"),
        ("ids.jsonl", '{"room_id": "a1"}\n{"room_id": null}\n{"room_id": "b2", "status": "created"}\n'),
    ],
)
def test_room_ids_are_read_from_every_file_format(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    file = room_ids(tmp_path / name)
    assert [line.given for line in file.lines] == ["a1", "b2"]
    assert file.total == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_file_is_read_as_a_spreadsheet_writes_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [("name", "key", "data.note", "", ""), ("Zoë", "a", "1,5; x\ty", "", ""), ("",) * 5, ("B", "b"), ("",) * 5]
    path = tmp_path / "rooms.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    specs = room_specs(path)
    assert specs.total == 2
    assert [(line.number, line.given) for line in specs.lines] == [
        (2, RoomSpec("Zoë", data={"note": "1,5; x\ty"}, key="a")),
        (4, RoomSpec("B", key="b")),
    ]


@pytest.mark.parametrize(
    ("text", "before", "opened"),
    [
        ('A,"x\nB,y\nC,z\n', 0, 2),
        ('A,x\nB,"y', 1, 3),
        ('A,"one\ntwo"\nB,5" pipe\nC,"open\nD,1\nE,"q",2\n', 2, 5),
        ('A,"say ""hi"""\nB,"open\nC,""\n', 1, 3),
        ('A,"one\r\ntwo","open\r\nB,1\r\n', 0, 3),
    ],
)
def test_open_quote_ends_the_file_at_the_line_where_it_began(
    tmp_path: Path, text: str, before: int, opened: int
) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,data.x,data.y\n" + text, newline="")
    file = room_specs(path)
    assert file.total == before
    lines: list[InputLine[RoomSpec]] = []
    with pytest.raises(UnreadableRest, match=rf"^line {opened}: "):
        lines.extend(file.lines)
    assert [line.error for line in lines] == [None] * before


def test_utf_16_file_cut_in_a_character_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_bytes("name\nA\n".encode("utf-16") + b"\x00")
    file = room_specs(path)
    with pytest.raises(UnreadableRest, match=r"^line 3: "):
        list(file.lines)
    assert file.total == 1


@pytest.mark.parametrize(
    ("name", "text", "option", "column", "keys"),
    [
        ("a.csv", "name,key\nA,1\nB,\n", None, "key", ["1", None]),
        ("a.csv", "name,key\nA,\nB,\n", None, "key", [None, None]),
        ("a.csv", "name,key\nA,\nB,\n", "name", "name", ["A", "B"]),
        ("a.csv", "name,key\n", None, "key", []),
        ("a.csv", 'name,key\nA,"1\nB,2\n', None, "key", []),
        ("a.csv", "sep=;\nname;key\nA,B;1\n", None, "key", ["1"]),
        ("a.csv", "name,id\nA,7\nB,8\n", "id", "id", ["7", "8"]),
        ("a.csv", "name,data.id,key\nA,7,x\nB,8,y\n", "data.id", "data.id", ["7", "8"]),
        ("a.jsonl", '{"name": "A"}\n{"name": "B"}\n', None, "name", ["A", "B"]),
        ("a.jsonl", '{"name": "A", "key": 7}\n{"name": "B", "key": "7"}\n', None, "key", [7, "7"]),
        ("a.jsonl", '{"name": "A", "id": 7}\n{"name": "B", "id": 8}\n', "id", "id", [7, 8]),
        ("a.jsonl", '{"name": "A", "data": {"id": 7}}\n{"name": "B", "key": "b"}\n', "data.id", "data.id", [7, None]),
        ("a.jsonl", '{"name": "A", "key": true}\n{"name": "B", "key": "b"}\n', None, "key", [None, "b"]),
    ],
)
def test_keys_come_from_one_column(
    tmp_path: Path, name: str, text: str, option: str | None, column: str, keys: list[object]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    file = room_specs(path, option)
    lines: list[InputLine[RoomSpec]] = []
    with contextlib.suppress(UnreadableRest):
        lines.extend(file.lines)
    assert file.keys == column
    assert [line.key for line in lines] == keys
    assert [line.given.key if line.given is not None else None for line in lines] == keys
    assert all(line.error is None or line.error.field == column for line in lines)


def test_key_is_kept_where_a_cell_is_wrong_or_a_line_too_long(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_bytes(b"name,key,sip\nA,a,perhaps\nB,b,yes,more\n\xff,c,yes\n")
    lines = list(room_specs(path).lines)
    assert [line.key for line in lines] == ["a", "b", "c"]
    assert all(line.error is not None for line in lines)


def test_second_line_with_a_key_fails_and_names_the_first(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,key,sip\nA,a,perhaps\nB,b,\nC,a,\n")
    lines = list(room_specs(path).lines)
    assert [line.given is not None for line in lines] == [False, True, False]
    assert str(lines[2].error) == "The key 'a' is already used in line 2."


def test_repeated_names_cannot_serve_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name\nA\nB\nA\n")
    assert room_specs(path).repeated.startswith("Lines 2 and 4 have the same name, ")
    assert [str(line.error) for line in room_specs(path).lines if line.error] == [room_specs(path).repeated]
    assert room_specs(path, "name").repeated == ""
    path.write_text("name,key\nA,1\nA,2\n")
    assert room_specs(path).repeated == ""


@pytest.mark.parametrize(
    ("text", "column", "begins"),
    [
        ('name,key\n"A,1\nB,2\nC",3\n', "name", 2),
        ('data.x,name,key\n"x\ny\n",A,1\n\n"x\r\ny","A\nB",2\n', "name", 7),
        ('name,key\nA,"1\nB,2\nC,3"\n', "key", 2),
    ],
)
def test_line_break_in_a_name_or_key_fails_and_names_where_it_begins(
    tmp_path: Path, text: str, column: str, begins: int
) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text(text, newline="")
    errors = [line.error for line in room_specs(path).lines if line.error is not None]
    assert [error.field for error in errors] == [column]
    assert f"{column} has a line break; it begins in line {begins}." in str(errors[0])


@pytest.mark.parametrize("after", [99, 100, 4_000])
def test_quote_that_is_closed_100_lines_later_counts_as_open(tmp_path: Path, after: int) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text('name,data.x\nX,1\nA,"\n' + "B,2\n" * (after - 1) + 'Z",99\nC,3\n')
    file = room_specs(path)
    if after < 100:
        assert [line.number for line in file.lines] == [2, 3, 103]
        return
    with pytest.raises(UnreadableRest, match=r"^line 3: .* within 100 lines$"):
        list(file.lines)
    assert file.total == 1


def test_line_in_another_encoding_says_how_to_save_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name\nZo\u00eb\nB\n", encoding="cp1252")
    lines = list(room_specs(path).lines)
    assert "CSV UTF-8" in str(lines[0].error)
    assert lines[1].error is None


def test_missing_column_error_names_the_header(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("Name,key\nA,1\n")
    with pytest.raises(BadInput, match="missing column name; the header has 'Name', 'key'"):
        room_specs(path)


@pytest.mark.parametrize(("line", "header"), [("sep=;", "name;key"), ("sep=,", "name,key"), ("sep=\t", "name\tkey")])
def test_line_that_names_the_separator_is_skipped(tmp_path: Path, line: str, header: str) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text(f"{line}\n{header}\n{header.replace('name', 'A').replace('key', '1')}\n")
    assert [(found.number, found.given) for found in room_specs(path).lines] == [(3, RoomSpec("A", key="1"))]


def test_key_column_that_is_a_field_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,data.kurs,settings.participants,id\nA,K1,5,7\n")
    for column, key in (("data.kurs", "K1"), ("settings.participants", "5"), ("id", "7")):
        ignored = () if column == "id" else ("id",)
        (line,) = room_specs(path, column, ignored).lines
        assert line.given == RoomSpec("A", key=key, data={"kurs": "K1"}, settings={"participants": 5})
    path.write_text("name,settings.kurs\nA,K1\n")
    with pytest.raises(BadInput, match="unknown setting kurs"):
        room_specs(path, "settings.kurs")


def test_key_column_is_proposed_first_unless_a_column_is_named_key(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,Booking number,Room\nA,1,B\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    assert str(caught.value).endswith(
        "Give --key-column for the one that identifies the line, and for columns of your own "
        "--ignore-column 'Booking number' --ignore-column Room."
    )
    path.write_text("name,key,Room\nA,1,B\n")
    with pytest.raises(BadInput, match="For columns of your own, give --ignore-column Room, or --key-column for one"):
        room_specs(path)
    with pytest.raises(BadInput, match=r"For columns of your own, give --ignore-column Room\.$"):
        room_specs(path, "key")


def test_all_unusable_columns_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("Name,Dozent,Raum Nr,settings.partcipants,Sip\nA,B,C,5,yes\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    text = str(caught.value)
    assert "write 'Name' as 'name'" in text
    assert "unknown setting partcipants; is participants meant?" in text
    assert "is sip meant? The columns of a room are name, owner_ref," in text
    rename = "Rename the misspelled ones. "
    assert (
        f"data.…. {rename}Give --key-column for the one that identifies the line, and for columns of your own" in text
    )
    assert "--ignore-column Dozent --ignore-column 'Raum Nr'" in text


@pytest.mark.parametrize(
    ("header", "column", "meant"),
    [
        ("name,key", "setting.participants", "settings.participants"),
        ("name,key", "setings.quality", "settings.quality"),
        ("name,key", "partcipants", "settings.participants"),
        ("name", "kye", "key"),
        ("name,key", "start_at", "starts_at"),
        ("name,key", "dta.team", "data.team"),
    ],
)
def test_misspelled_column_is_to_be_renamed_before_it_is_ignored(
    tmp_path: Path, header: str, column: str, meant: str
) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text(f"{header},{column}\nA,1,5\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    text = str(caught.value)
    assert f"unknown column {column!r}; is {meant} meant?" in text
    assert text.endswith(f"Rename it; only if it is a column of your own, give --ignore-column {column}.")
    assert "--key-column" not in text
    path.write_text(f"{header},{column},Dozent\nA,1,5,x\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    text = str(caught.value)
    assert "Rename the misspelled ones. " in text
    assert "--ignore-column Dozent" in text
    assert f"--ignore-column {column}" not in text


def test_column_beside_the_one_that_it_resembles_is_not_called_misspelled(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,key,names\nA,1,B\n")
    with pytest.raises(
        BadInput, match=r"unknown column 'names'\. .*For columns of your own, give --ignore-column names"
    ):
        room_specs(path)


def test_misspelled_column_of_the_names_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("nmae,key\nA,1\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    assert str(caught.value) == "rooms.csv: missing column name; the header has 'nmae', 'key'; write 'nmae' as 'name'."


def test_misspelled_column_of_tokens_is_to_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("room_id,name,user_ref,roel\nr,A,u,moderator\n")
    with pytest.raises(BadInput) as caught:
        token_specs(path)
    assert str(caught.value).endswith(
        "'roel'. 'roel': is role meant? Rename it; only if it is a column of your own, give --ignore-column roel."
    )
    path.write_text("room_id,nmae,user_ref\nr,A,u\n")
    with pytest.raises(BadInput, match=r"missing column name; .*; write 'nmae' as 'name'"):
        token_specs(path)


def test_table_without_names_says_how_their_column_must_be_called(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("Titel,Start,Raum,Sip\nA,B,C,yes\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    text = str(caught.value)
    first = "the column with the names of the rooms must be called name: rename it; missing column name; the header has"
    assert text.startswith(f"rooms.csv: {first} 'Titel', 'Start', 'Raum', 'Sip'; ")
    assert text.count("owner_ref") == 1
    assert "--ignore-column" not in text  # for all of them, there would be no names
    path.write_text("name,key,Start,Raum\nA,1,B,C\n")
    with pytest.raises(BadInput) as caught:
        room_specs(path)
    assert str(caught.value).count("owner_ref") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,Dozent,key,Dozent\nA,Ada,1,x\n"),
        ("a.jsonl", '{"name": "A", "key": "1", "Dozent": "Ada"}\n'),
    ],
)
def test_columns_of_ones_own_are_ignored(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    (line,) = room_specs(path, ignored=("Dozent",)).lines
    assert line.given == RoomSpec("A", key="1")


def test_ignored_column_must_exist_and_have_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv"
    path.write_text("name,id\nA,1\n")
    with pytest.raises(BadInput, match="no column 'Dozent' to ignore; the header has 'name', 'id'"):
        room_specs(path, ignored=("id", "Dozent"))
    with pytest.raises(BadInput, match="cannot be ignored"):
        room_specs(path, "id", ("id",))
    path.write_text("name,Dozent,Etage,key\nA,1,2,3\n")
    for ignored in ("dozent,etage", "Dozent, Etage"):
        with pytest.raises(BadInput, match=r"; give --ignore-column Dozent --ignore-column Etage$"):
            room_specs(path, ignored=(ignored,))
    with pytest.raises(BadInput, match="; give --key-column key"):
        room_specs(path, "Key", ("Dozent", "Etage"))


def test_workbook_says_how_to_save_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Save as, CSV UTF-8"):
        room_specs(tmp_path / "rooms.xlsx")


def test_outcome_file_that_a_later_run_has_renamed_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rooms.csv.outcomes.jsonl.1"
    path.write_text('{"room_id": "0123456789abcdef01234567"}\n')
    assert room_ids(path).total == 1
    with pytest.raises(BadInput, match="ends in"):
        room_ids(path.rename(tmp_path / "rooms.1"))
