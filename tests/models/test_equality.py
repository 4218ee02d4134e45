"""Equality, hash, copies and pickle of models agree with one another, and `attrs.evolve` keeps unknown fields."""

import copy
import pickle
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.errors import ConfigurationError
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import EffectiveSettings, LiveRecording, Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import Participant, Token, TokenSpec

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=5,
)
OBJECT = st.dictionaries(st.sampled_from(["own", "new"]), JSON, max_size=2)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "participants": st.one_of(st.integers(0, 9), st.sampled_from(["2", "10"])),
        "knock": st.booleans(),
        "description": st.one_of(st.none(), st.text(max_size=3)),
        "live_recording": st.one_of(st.booleans(), st.just({"url": "https://a", "new": 1})),
        "own": JSON,
    },
)
ROOMS = st.builds(
    lambda settings, data, sip, extra: Room.from_dict(
        {"room_id": "a", "settings": settings, "data": data, "sip": sip} | extra
    ),
    SETTINGS,
    OBJECT,
    st.one_of(st.none(), st.booleans(), st.just({"enabled": True, "pin": 12, "new": [1]})),
    OBJECT,
)
REQUESTS = st.builds(RoomSettings.from_dict, SETTINGS)
SPECS = st.builds(
    RoomSpec, st.sampled_from("ab"), settings=st.one_of(st.none(), REQUESTS, SETTINGS), data=OBJECT, key=JSON
)
TOKENS = st.one_of(
    st.builds(lambda extra: Token.from_dict({"token": "text"} | extra), OBJECT),
    st.builds(TokenSpec, st.just("r"), st.just("Ann"), st.just("viewer"), st.just("u"), data=OBJECT),
)
RECORDS = st.builds(
    lambda details, extra: CallRecord.from_dict({"cdr_id": "a", "room": {"room_details": details}} | extra),
    OBJECT,
    OBJECT,
)
OBJECTS = st.one_of(ROOMS, REQUESTS, SPECS, TOKENS, RECORDS)


def known(value: Any) -> Any:
    return value.extra if hasattr(value, "extra") else None


@given(OBJECTS)
def test_copies_equal_the_original_and_have_its_hash_and_unknown_fields(value):
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert again == value
        assert hash(again) == hash(value)
        assert known(again) == known(value)
        assert repr(again) == repr(value)


@given(OBJECTS, OBJECTS)
def test_equal_objects_have_equal_hashes(one, two):
    assert (one == two) is (two == one)
    if one == two:
        assert hash(one) == hash(two)


@given(st.one_of(ROOMS, REQUESTS, SPECS, TOKENS))
def test_evolved_object_without_changes_equals_the_original_and_keeps_unknown_fields(value):
    again = attrs.evolve(value)
    assert again == value
    assert known(again) == known(value)
    if hasattr(value, "to_dict"):
        assert again.to_dict() == value.to_dict()


@given(REQUESTS)
def test_requests_are_equal_if_they_send_the_same(settings):
    again = RoomSettings.from_dict(settings.to_wire())
    assert (again == settings) is (again.to_wire() == settings.to_wire())
    assert settings != EffectiveSettings()


def test_part_given_as_a_mapping_equals_the_model():
    one, two = RoomSettings(live_recording={"url": "u"}), RoomSettings(live_recording=LiveRecording(url="u"))
    assert (one, hash(one)) == (two, hash(two))


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Room.from_dict({"room_id": "a", "own": 1}), {"name": "b"}),
        (EffectiveSettings.from_dict({"own": 1}), {"knock": True}),
        (RoomSettings(extra={"own": 1}), {"knock": True}),
        (Sip.from_dict({"own": 1}), {"enabled": True}),
        (LiveRecording.from_dict({"own": 1}), {"url": "u"}),
        (Participant.from_dict({"own": 1}), {"name": "b"}),
        (Token.from_dict({"token": "a", "own": 1}), {"role": "viewer"}),
        (DialIn.from_dict({"own": 1}), {"sip": None}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_changed_model_keeps_unknown_fields(model, change):
    changed = attrs.evolve(model, **change)
    assert changed.extra == {"own": 1}
    assert changed.to_dict()["own"] == 1


@pytest.mark.parametrize("raw", [b'{"room_id":"a","own":1}', b'{"room_id":"a","own":1,"isMediaServerAvailable":[]}'])
def test_model_whose_unknown_fields_were_not_kept_can_be_changed(raw):
    room = attrs.evolve(RecordDecoder(Room, extra=False).decode(raw), name="b")
    assert room.name == "b"
    with pytest.raises(ConfigurationError, match="extra=True"):
        _ = room.extra


def test_no_response_can_fill_the_unknown_fields_of_a_model():
    raw = b'{"room_id":"a","_extra":{"x":1},"extra":{"y":1},"settings":{"_extra":null}}'
    room = Room.from_dict(msgspec.json.decode(raw))
    assert room.extra == {"_extra": {"x": 1}, "extra": {"y": 1}}
    assert RecordDecoder(Room, extra=True).decode(raw).extra == room.extra
