"""The typed and the tolerant decoder read every sample body into equal objects."""

import json
from pathlib import Path

import pytest

from videoapi.models.archives import Archive
from videoapi.models.base import Model
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import MISSING, RecordDecoder, ResponseDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import Room
from videoapi.models.tokens import Participant
from videoapi.models.validation import check_room, check_token
from videoapi.resources.tokens import TOKEN

DATA = Path(__file__).parents[1] / "data"
DECODERS = {
    "create_room": ResponseDecoder("room", Room),
    "get_room": ResponseDecoder("room", Room),
    "list_rooms": ResponseDecoder("rooms", Room, many=True),
    "update_room": ResponseDecoder(None, type(None)),
    "delete_room": ResponseDecoder(None, type(None)),
    "room_users": ResponseDecoder("users", Participant, many=True),
    "create_token": TOKEN,
    "cdr": ResponseDecoder("cdr", CallRecord, many=True),
    "archive": ResponseDecoder("archive", Archive, many=True),
    "dialin": ResponseDecoder(None, DialIn),
}
RECORDS = {"list_rooms": ("rooms", Room), "cdr": ("cdr", CallRecord), "archive": ("archive", Archive)}
# Rejected by the typed decoder: a boolean for a count, a number for text.
TOLERANT_ONLY = {"create_room/documented.200.json", "create_room/other_types.200.json"}
RESPONSES = sorted(
    path.relative_to(DATA).as_posix()
    for path in DATA.glob("*/*.json")
    if ".request." not in path.name and path.parent.name in DECODERS
)


def as_read(payload: object) -> object:
    if isinstance(payload, Model):
        return payload, payload.to_dict(), payload.extra
    return [as_read(item) for item in payload] if isinstance(payload, list) else payload


@pytest.mark.parametrize("name", RESPONSES)
def test_both_decoders_read_a_sample_alike(name):
    body = (DATA / name).read_bytes()
    decoder = DECODERS[name.partition("/")[0]]
    parsed = json.loads(body)
    tolerant = decoder.tolerant(parsed.get(decoder.key) if decoder.key else parsed)
    if name in TOLERANT_ONLY:
        with pytest.raises(ValueError, match="Expected"):
            decoder.fast(body)
        return
    result, typed = decoder.fast(body)
    assert result == parsed.get("result", MISSING)
    assert type(result) is type(parsed.get("result", MISSING))
    assert as_read(typed) == as_read(tolerant)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("name", [name for name in RESPONSES if name.partition("/")[0] in RECORDS])
def test_records_decode_one_by_one_as_in_the_complete_body(name, extra):
    key, model = RECORDS[name.partition("/")[0]]
    whole = json.loads((DATA / name).read_bytes())
    raws = [json.dumps(item).encode() for item in whole[key] or []]
    assert RecordDecoder(model, extra=extra).decode_block(raws) == DECODERS[name.partition("/")[0]].tolerant(whole[key])


@pytest.mark.parametrize("name", RESPONSES)
def test_sample_has_no_unknown_or_lost_fields(name):
    decoder = DECODERS[name.partition("/")[0]]
    parsed = json.loads((DATA / name).read_bytes())
    payload = parsed.get(decoder.key) if decoder.key else parsed
    decoded = decoder.tolerant(payload)
    for item, wire in zip(decoded, payload or [], strict=True) if decoder.many else [(decoded, payload)]:
        if isinstance(item, Model):
            assert item.extra == {}
            again = item.to_dict()
            assert set(again) | {"result"} >= {name for name, value in wire.items() if value is not None}
            assert type(item).from_dict(again) == item


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "errors").glob("*.json")))
def test_error_body_has_a_result_and_no_payload(name):
    body = (DATA / "errors" / name).read_bytes()
    result, payload = ResponseDecoder("room", Room).fast(body)
    assert result == json.loads(body).get("result", MISSING)
    assert payload is None


def test_sample_requests_pass_validation():
    check_room(json.loads((DATA / "create_room/minimal.request.json").read_bytes()))
    check_room(json.loads((DATA / "update_room/subset.request.json").read_bytes()), partial=True)
    check_token(json.loads((DATA / "create_token/ordinary.request.json").read_bytes()))


def test_index_lists_every_sample_with_its_source():
    index = (DATA / "README.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row.split("|")[2].strip() for row in index.splitlines() if row.startswith("| `")}
    assert set(rows) == {path.relative_to(DATA).as_posix() for path in DATA.glob("*/*.json")}
    assert set(rows.values()) == {"wire", "documented", "assumed"}
