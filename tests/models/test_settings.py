"""Written room settings: kinds of rooms, what is sent, what is rejected."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import attrs
import pytest

from videoapi.errors import ValidationError
from videoapi.models.codec import RecordDecoder, encode
from videoapi.models.rooms import UNSET, LiveRecording, Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import TokenSpec
from videoapi.models.validation import check_room


def test_only_given_settings_are_sent():
    assert RoomSettings().to_wire() == {}
    assert RoomSettings(participants=10, auto_recording=True).to_wire() == {
        "participants": 10,
        "auto_recording": True,
    }
    assert RoomSettings(knock=None).to_wire() == {"knock": None}
    assert RoomSettings(knock=False, description="").to_wire() == {"knock": False, "description": ""}


def test_omitted_setting_is_unset_and_falsy():
    knock = RoomSettings().knock
    assert knock is UNSET
    assert not knock
    assert repr(knock) == "UNSET"


def test_white_label_settings_are_sent_with_the_known_ones():
    settings = RoomSettings(knock=True, extra={"own": 1})
    assert settings.to_wire() == {"knock": True, "own": 1}
    assert settings.extra == {"own": 1}


def test_setting_accepts_a_model_or_a_mapping():
    for part in (LiveRecording(url="https://a"), {"url": "https://a"}):
        assert RoomSettings(live_recording=part).to_wire() == {"live_recording": {"url": "https://a"}}


def test_written_settings_equal_those_read_back():
    written = RoomSettings(participants=10, mode="group")
    assert RoomSettings.from_dict(json.loads(written.to_json())) == written
    assert hash(RoomSettings.from_dict(written.to_dict())) == hash(written)


def test_read_settings_can_be_sent_again():
    settings = Room.from_dict({"room_id": "a", "settings": {"participants": "2", "own": 1}}).settings
    assert settings.to_wire() == {"participants": 2, "own": 1}
    assert attrs.evolve(settings, knock=True).to_wire() == {"participants": 2, "knock": True}


def test_settings_of_a_streamed_room_can_be_sent_again():
    room = RecordDecoder(Room, extra=False).decode(b'{"room_id":"a","settings":{"participants":"2","own":1}}')
    assert room.settings.extra_keys == frozenset()
    check_room({"name": "a", "owner_ref": "b", "settings": room.settings})
    assert RoomSpec("a", settings=room.settings).to_wire()["settings"] == {"participants": 2}


def test_unset_value_in_a_mapping_is_not_sent():
    assert encode({"settings": {"knock": UNSET, "mode": None}}) == b'{"settings":{"mode":null}}'


def test_every_field_is_an_accepted_argument():
    names = [field.name for field in attrs.fields(RoomSettings)]
    assert RoomSettings(**dict.fromkeys(names, "x")).to_wire() == dict.fromkeys(names, "x")


def test_misspelled_setting_raises_type_error():
    with pytest.raises(TypeError, match="participant"):
        RoomSettings(participant=2)


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
        datetime(2026, 5, 1, 11, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=2))),
        "2026-05-01T09:30:00Z",
        "2026-05-01T11:30:00+02:00",
        "2026-05-01 09:30:00+00:00",
    ],
)
def test_scheduled_at_sends_the_start_in_utc(when):
    settings = RoomSettings.scheduled_at(when, minutes=45, participants=5)
    assert settings.to_wire() == {
        "scheduled": True,
        "adhoc": False,
        "scheduled_time": "2026-05-01 09:30:00",
        "duration": 45,
        "participants": 5,
    }
    assert settings.is_scheduled
    assert not settings.is_permanent
    assert settings.starts_at == datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
    check_room({"name": "a", "owner_ref": "b", "settings": settings.to_wire()})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (datetime(2026, 5, 1, 9, 30), "time zone"),
        ("2026-05-01T09:30:00", "time zone"),
        ("2026-05-01", "time zone"),
        ("soon", "ISO 8601"),
        (date(2026, 5, 1), "datetime"),
        (1_777_000_000, "datetime"),
        (None, "datetime"),
    ],
)
def test_scheduled_at_rejects_an_invalid_or_naive_start(when, message):
    with pytest.raises(ValidationError, match=message) as caught:
        RoomSettings.scheduled_at(when, minutes=45)
    assert (caught.value.field, caught.value.code) == ("settings.scheduled_time", 10005)


@pytest.mark.parametrize("minutes", [0, -5, True, "45", 4.5])
def test_invalid_minutes_are_rejected(minutes):
    for make in (
        lambda: RoomSettings.scheduled_at("2026-05-01T09:30:00Z", minutes=minutes),
        lambda: RoomSettings.one_session(minutes),
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        assert (caught.value.field, caught.value.code) == ("settings.duration", 10011)


def test_one_session_settings_are_adhoc():
    assert RoomSettings.one_session().to_wire() == {"scheduled": False, "adhoc": True}
    settings = RoomSettings.one_session(30, knock=True)
    assert settings.to_wire() == {"scheduled": False, "adhoc": True, "duration": 30, "knock": True}
    assert settings.is_one_session
    assert not settings.is_scheduled


@pytest.mark.parametrize("scheduled", [None, False, True])
@pytest.mark.parametrize("adhoc", [None, False, True])
def test_room_has_exactly_one_kind(scheduled, adhoc):
    settings = RoomSettings(scheduled=scheduled, adhoc=adhoc)
    assert [settings.is_permanent, settings.is_scheduled, settings.is_one_session].count(True) == 1
    assert settings.is_scheduled is bool(scheduled)


def test_room_is_permanent_by_default():
    assert RoomSettings().is_permanent
    assert Room.from_dict({"room_id": "a"}).settings.is_permanent
    assert RoomSettings().starts_at is None


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ({}, {}),
        ({"owner_ref": 5}, {"owner_ref": 5}),
        ({"settings": RoomSettings(knock=True)}, {"settings": {"knock": True}}),
        ({"settings": {"knock": True}}, {"settings": {"knock": True}}),
        ({"sip": True}, {"sip": {"enabled": True}}),
        ({"sip": Sip(enabled=False)}, {"sip": {"enabled": False}}),
        ({"sip": {}}, {"sip": {}}),
        ({"data": {"a": [1]}, "key": "never sent"}, {"data": {"a": [1]}}),
    ],
)
def test_room_spec_builds_the_request_body(given, wire):
    assert RoomSpec("a", **given).to_wire() == {"name": "a", "settings": {}} | wire


def test_token_spec_builds_the_request_body():
    spec = TokenSpec(room_id="r", name="Ann", role="viewer", user_ref="u", key="never sent")
    assert spec.to_wire() == {"name": "Ann", "role": "viewer", "user_ref": "u"}
    assert attrs.evolve(spec, data={"a": 1}).to_wire()["data"] == {"a": 1}


def test_models_can_be_subclassed():
    @attrs.frozen(kw_only=True, repr=False)
    class Own(Sip):
        foo: str | None = None

    assert Own(foo="x", pin=3).foo == "x"
    assert type(Own(pin=3)) is Own
    assert Own(pin=3).uri is None

    class Settings(RoomSettings):
        pass

    assert type(Settings(knock=True)) is Settings
    assert Settings(knock=True).to_wire() == {"knock": True}
