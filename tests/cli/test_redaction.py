"""Secrets are recognized by the names of their fields, wherever a record has them."""

import json
from typing import Any

import pytest

from videoapi.cli.csv_rows import archive_table, call_table
from videoapi.cli.export import _unwritable
from videoapi.cli.redaction import shown_fields
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.rooms import Room

SECRET = "canary-7f3a"
ODD: list[dict[str, Any]] = [
    {"user": [{"token": SECRET}]},
    {"user": {"token": [SECRET]}},
    {"user": json.dumps({"token": SECRET})},
    {"user": {"pin": SECRET}},
    {"token": SECRET},
    {"sip": {"pin": SECRET}},
    {"room": {"sip": {"pin": SECRET}}},
    {"room": [{"room_details": {"sip": {"pin": SECRET}}}]},
    {"room": {"room_details": [{"sip": {"pin": SECRET}}]}},
    {"room": {"room_details": {"pin": SECRET}}},
    {"room": {"room_details": {"settings": {"new": [{"secret": SECRET}]}}}},
    {"stats_quality": {"send": [{"password": SECRET}]}},
]


@pytest.mark.parametrize("fields", ODD, ids=str)
def test_secrets_of_a_record_of_unexpected_shape_are_masked(fields: dict[str, Any]) -> None:
    record = CallRecord.from_dict({"cdr_id": "c1", "new": "kept", **fields})
    shown = shown_fields(record, show_secrets=False)
    row = call_table().cells(record)
    listed = _unwritable(record, "2026-01-01", ValueError())
    assert not any(SECRET in str(one) for one in (shown, row, listed))
    assert shown["new"] == json.loads(row[-1])["new"] == "kept"
    assert shown_fields(record, show_secrets=True) == record.to_dict()
    assert SECRET in record.to_json()


def test_secrets_of_an_archive_are_masked() -> None:
    url = "https://files.example/1.mkv?signature=x"
    archive = Archive.from_dict({"_id": "a", "recording": [{"url": url, "password": SECRET}], "new": {"token": SECRET}})
    shown = shown_fields(archive, show_secrets=False)
    row = archive_table().cells(archive)
    assert SECRET not in str((shown, row))
    assert url in shown["recording"][0]["url"]
    assert any(url in cell for cell in row)


@pytest.mark.parametrize(
    "fields",
    [
        {"sip": [{"pin": SECRET}]},
        {"settings": {"pin": SECRET}},
        {"settings": [{"sip": {"pin": SECRET}}]},
        {"pin": SECRET},
    ],
    ids=str,
)
def test_secrets_of_a_room_of_unexpected_shape_are_masked(fields: dict[str, Any]) -> None:
    assert SECRET not in str(shown_fields(Room.from_dict({"room_id": "r", **fields}), show_secrets=False))


def test_own_data_of_a_room_is_not_masked() -> None:
    data = {"token": "own", "username": "ann", "text": '{"pin":1}'}
    room = {"room_id": "r", "data": data}
    assert shown_fields(Room.from_dict(room), show_secrets=False)["data"] == data
    for details in (room, [room]):
        record = CallRecord.from_dict({"room": {"room_details": details}})
        assert json.dumps(data) in json.dumps(shown_fields(record, show_secrets=False))
        assert json.dumps(data, separators=(",", ":")) in call_table().cells(record)[-1]


def test_fields_without_a_value_and_other_names_are_not_masked() -> None:
    fields = {"user": {"token": "", "name": "pin", "tokens": 3, "pinned": "x"}, "new": {"secret": None}}
    assert shown_fields(CallRecord.from_dict(fields), show_secrets=False) == fields
