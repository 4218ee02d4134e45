"""File names from untrusted text: each result is one safe path segment."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videoapi.downloads.filenames import MAX_NAME, filename_from_url, safe_name

CASES = {
    "clip.mp4": "clip.mp4",
    "../../etc/passwd": "passwd",
    "..\\..\\x": "x",
    "CON": None,
    "con.mp4": None,
    "nul .txt": None,
    "COM1.mkv": None,
    "LPT²": None,
    "": None,
    "\x00a": "a",
    ".bashrc": "bashrc",
    "-rf.mp4": "rf.mp4",
    "a\u202egpm.exe": "agpm.exe",
    'a<b>:"|?*.mp4': "ab.mp4",
    "...": None,
    "..": None,
    "dir/": None,
    " . name . ": "name",
    "a\u0301.mp4": "á.mp4",
    "a\x1b[31m.mp4": "a[31m.mp4",
    "clip.mp4.part": None,
    "clip.mp4.PART.json": None,
    "\ud800x": "x",
    "C:\\x\\CONOUT$": None,
    "réunion été.webm": "réunion été.webm",
}


@pytest.mark.parametrize(("text", "name"), CASES.items())
def test_name_is_sanitized_or_rejected(text: str, name: str | None) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("letter", ["a", "é", "語", "🎥"])
def test_long_name_keeps_its_extension_and_complete_characters(letter: str) -> None:
    name = safe_name(letter * 300 + ".webm")
    assert name is not None
    assert name.endswith(".webm")
    assert MAX_NAME - 4 < len(name.encode()) <= MAX_NAME
    assert set(name.removesuffix(".webm")) == {letter}


@pytest.mark.parametrize(
    ("path", "kind", "archive_id", "name"),
    [
        ("/a/clip.mp4", "recording", "5f", "clip.mp4"),
        ("/a/..%2F..%2Fetc%2Fpasswd", None, None, "passwd"),
        ("/a/%2e%2e", "transcoded", "5f", "5f.mp4"),
        ("/", "recording", "5f", "5f.mkv"),
        ("/a/CON.webm", "recording", "5f", "5f.webm"),
        ("/a/CON.webm", "recording", "../../x", "x.webm"),
        ("/a/", "chatdata", "..", "recording.json"),
        ("/a/", None, None, "recording"),
        ("/", "metadata", "i" * 300, "i" * 190 + ".json"),
    ],
)
def test_file_is_named_by_its_url_or_else_by_its_archive(
    path: str, kind: str | None, archive_id: str | None, name: str
) -> None:
    assert filename_from_url(path, kind, archive_id) == name


hostile = st.text() | st.lists(
    st.sampled_from(["/", "\\", "..", ".", "-", "\0", "%2F", "CON", "NUL.", "\u202e", ":", " ", "~", "\ud800", "é"])
    | st.text(max_size=3)
).map("".join)


@given(hostile, st.sampled_from([None, "recording", "chatdata"]), hostile | st.none())
@example("\u037e", None, None)
@example("A" * 195 + ".mp4 .", None, None)
@example("a" * 199 + " " + "b", None, None)
def test_parent_is_always_the_target_directory(path: str, kind: str | None, archive_id: str | None) -> None:
    name = filename_from_url(path, kind, archive_id)
    assert PurePosixPath("/target", name).parent == PurePosixPath("/target")
    assert PureWindowsPath("C:/target", name).parent == PureWindowsPath("C:/target")
    assert PureWindowsPath(name).name == PurePosixPath(name).name == name
    assert name not in ("", ".", "..")
    assert not name.startswith((".", "-", " "))
    assert not name.endswith((".", " ", ".part", ".part.json"))
    assert 0 < len(name.encode()) <= MAX_NAME
    assert unicodedata.is_normalized("NFC", name)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in name)
    assert safe_name(name) == name
