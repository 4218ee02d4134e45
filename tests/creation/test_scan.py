"""The summary of a listed room contains its reference, even if other fields are malformed."""

import json
from typing import Any

import pytest

from videoapi.creation.references import reference_for, reference_in
from videoapi.creation.scan import RoomSummary, parse_summaries, parse_summary

OURS = reference_for("job", "ours")
OTHER = reference_for("job", "other")
ROOM_ID = "5f7f1f3a1f3a1f3a1f3a1f3a"
ROOMS: dict[str, dict[str, Any]] = {
    "in owner_ref": {"owner_ref": OURS},
    "in data": {"owner_ref": "row-1", "data": {"videoapi_ref": OURS, "tenant": 7}},
    "in both": {"owner_ref": OTHER, "data": {"videoapi_ref": OURS}},
    "in data, without owner_ref": {"data": {"videoapi_ref": OURS}},
    "data is null": {"owner_ref": OURS, "data": None},
    "data is a text": {"owner_ref": OURS, "data": "videoapi_ref"},
    "data is a list": {"owner_ref": OURS, "data": [{"videoapi_ref": OTHER}]},
    "data is a number": {"owner_ref": OURS, "data": 7},
    "data is true": {"owner_ref": OURS, "data": True},
    "data holds something else": {"owner_ref": OURS, "data": {"videoapi_ref": {"videoapi_ref": OTHER}}},
    "owner_ref is a number": {"owner_ref": 42, "data": {"note": "vx"}},
    "owner_ref is an object": {"owner_ref": {"vx": OURS}},
    "cut short": {"owner_ref": OURS[:-1]},
    "none at all": {"name": "vx"},
}


def summary(raw: bytes) -> RoomSummary:
    room = parse_summary(raw)
    assert room is not None
    return room


@pytest.mark.parametrize("fields", ROOMS.values(), ids=list(ROOMS))
def test_summary_has_the_same_reference_as_the_full_room(fields: dict[str, Any]) -> None:
    room = {"name": "vx", "room_id": ROOM_ID, "created": "2021-03-25T08:00:13.764Z", **fields}
    raw = json.dumps(room).encode()

    seen = [summary(raw), *(parse_summaries(b"[%b]" % raw) or [])]

    assert len(seen) == 2
    for one in seen:
        assert one.reference() == reference_in(room.get("owner_ref"), room.get("data"))
        assert one.reference_in_data() == reference_in(None, room.get("data"))
        assert (one.room_id, one.created) == (ROOM_ID, room["created"])


@pytest.mark.parametrize("room_id", [None, 7.5, "", "../rooms", "a b"])
def test_summary_has_no_reference_when_room_id_is_invalid(room_id: object) -> None:
    raw = json.dumps({"room_id": room_id, "owner_ref": OURS}).encode()

    assert summary(raw).reference() is None


@pytest.mark.parametrize(
    "odd",
    [b'{"name":"\\ud800",%b}', b'{"huge":1e999,%b}', b'{"data":1' + b"0" * 400 + b",%b}"],
    ids=["lone surrogate", "number beyond all", "number of 400 digits in data"],
)
def test_malformed_field_does_not_hide_the_reference(odd: bytes) -> None:
    raw = odd % b'"room_id":"%b","owner_ref":"%b"' % (ROOM_ID.encode(), OURS.encode())

    assert summary(raw).reference() == OURS


@pytest.mark.parametrize("item", [b"null", b'"vx"', b"[]", b"7"])
def test_list_with_an_invalid_item_is_not_parsed_at_once(item: bytes) -> None:
    assert parse_summaries(b'[{"owner_ref":"%b"},%b]' % (OURS.encode(), item)) is None
    assert summary(item).reference() is None


def test_rooms_without_the_prefix_are_not_parsed() -> None:
    assert parse_summaries(b'[{"room_id":"%b","owner_ref":"row-1"}]' % ROOM_ID.encode()) is None
