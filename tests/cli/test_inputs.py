"""Input files: an invalid line affects only itself, whatever it contains."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videoapi.cli.inputs import BadInput, room_ids, room_specs, spec_of_cells
from videoapi.errors import ValidationError

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
    lines = list(room_specs(path))
    assert [line.index for line in lines] == list(range(len(lines)))
    assert all((line.given is None) != (line.error is None) for line in lines)
    numbers = [line.number for line in lines]
    assert numbers == sorted(numbers)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=10))
@_ANY_FILE
def test_jsonl_file_preserves_every_name(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "rooms.jsonl"
    path.write_text("".join(json.dumps({"name": name}) + "\n" for name in names))
    assert [line.given.name for line in room_specs(path) if line.given is not None] == names


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


@pytest.mark.parametrize(
    ("column", "text"),
    [("settings.participants", "many"), ("settings.knock", "2"), ("sip", "perhaps"), ("name", "")],
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
    lines = list(room_specs(path))
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
    assert [line.given for line in room_ids(tmp_path / name)] == ["a1", "b2"]
