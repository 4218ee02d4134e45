"""Recipes of the pages give what the pages say, with files of real runs."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.docs.test_documents import ROOT, run_document
from videoapi.cli.app import videoapi
from videoapi.sandbox import Sandbox


def test_room_ids_are_added_to_the_input_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add_room_ids = run_document(ROOT / "docs" / "reference" / "command-line.md", tmp_path)["add_room_ids"]
    text = "name;Dozent;key\r\nAlgebra;Noether;1\r\n;Gauss;2\r\nLogik;Gödel;3\r\n"
    Path("rooms.csv").write_text(text, encoding="utf-8-sig", newline="")
    with Sandbox(seed=7).in_thread() as sandbox:
        variables = {"APP_ID": sandbox.app_id, "APP_KEY": sandbox.app_key, "BASE_URL": sandbox.base_url}
        environment = {f"VIDEOAPI_{name}": value for name, value in variables.items()}
        words = ["rooms", "create-many", "rooms.csv", "--ignore-column", "Dozent"]
        assert CliRunner().invoke(videoapi, words, env=environment).exit_code == 1
        rooms = {room["name"]: room_id for room_id, room in sandbox.ledger.rooms.items()}
    add_room_ids("rooms.csv", "rooms.csv.outcomes.jsonl", "out.csv", delimiter=";")
    with open("out.csv", encoding="utf-8-sig", newline="") as file:
        rows = [(row["Dozent"], row["room_id"]) for row in csv.DictReader(file, delimiter=";")]
    assert rows == [("Noether", rooms["Algebra"]), ("Gauss", ""), ("Gödel", rooms["Logik"])]
