"""Room settings: what is requested and sent, what is read, and how one becomes the other."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import attrs
import pytest

from videoapi.errors import ValidationError
from videoapi.models.codec import RecordDecoder
from videoapi.models.rooms import EffectiveSettings, LiveRecording, Room, RoomSettings, RoomSpec, Sip
from videoapi.models.tokens import TokenSpec
from videoapi.models.validation import check_room


def test_only_given_settings_are_sent():
    assert RoomSettings().to_wire() == {}
    assert RoomSettings(participants=10, auto_recording=True).to_wire() == {
        "participants": 10,
        "auto_recording": True,
    }
    assert RoomSettings(knock=None, participants=None).to_wire() == {}
    assert RoomSettings(knock=None) == RoomSettings()
    assert RoomSettings(knock=False, description="").to_wire() == {"knock": False, "description": ""}


def test_setting_that_is_not_given_reads_none():
    settings = RoomSettings(participants="10")
    assert settings.participants == "10"
    assert [getattr(settings, field.name) for field in attrs.fields(RoomSettings)].count(None) == len(
        attrs.fields(EffectiveSettings)
    ) - 2
    with pytest.raises(AttributeError, match="quality_of_life"):
        _ = settings.quality_of_life


def test_null_is_sent_if_named_in_extra():
    settings = RoomSettings(knock=True, extra={"description": None})
    assert settings.description is None
    assert settings.to_wire() == {"knock": True, "description": None}
    assert RoomSettings.from_dict(settings.to_dict()) == settings
    assert RoomSettings.from_dict(settings.to_dict()).to_wire() == settings.to_wire()
    assert attrs.evolve(settings, description="text").to_wire() == {"knock": True, "description": "text"}
    check_room({"settings": settings}, partial=True)


def test_white_label_settings_are_sent_with_the_known_ones():
    settings = RoomSettings(knock=True, extra={"own": 1})
    assert settings.to_wire() == {"knock": True, "own": 1}
    assert settings.extra == {"own": 1}


def test_setting_accepts_a_model_or_a_mapping():
    for part in (LiveRecording(url="https://a"), {"url": "https://a"}):
        assert RoomSettings(live_recording=part).to_wire() == {"live_recording": {"url": "https://a"}}


def test_settings_equal_those_built_from_their_json():
    settings = RoomSettings(participants=10, mode="group", live_recording={"url": "https://a"}, extra={"own": [1]})
    again = RoomSettings.from_dict(json.loads(settings.to_json()))
    assert again == settings
    assert hash(again) == hash(settings)
    assert again != attrs.evolve(settings, participants=11)
    assert again != attrs.evolve(settings, extra={})


@pytest.mark.parametrize(
    "wire",
    [
        {"participants": "10", "billing_code": 7, "duration": "", "moderators": 2},
        {"live_recording": {"url": None, "new": 1}, "live_transcription": True, "role_based_recording": "audio"},
        {"description": None, "knock": [], "own": {"a": None}},
    ],
)
def test_settings_from_parsed_json_send_it_as_it_was(wire):
    assert RoomSettings.from_dict(wire).to_wire() == wire


def test_settings_from_parsed_json_have_the_types_of_their_fields():
    settings = RoomSettings.from_dict({"description": 5, "knock": "true", "canvas": {}, "participants": []})
    assert (settings.description, settings.knock, settings.canvas, settings.participants) == ("5", True, None, None)
    assert settings.extra == {"canvas": {}, "participants": []}


def test_evolved_settings_keep_those_of_a_white_label():
    settings = attrs.evolve(RoomSettings(participants=10, extra={"own": 1}), knock=True)
    assert settings.to_wire() == {"participants": 10, "knock": True, "own": 1}
    assert attrs.evolve(settings, participants=None).to_wire() == {"knock": True, "own": 1}


def test_read_settings_become_a_request():
    room = Room.from_dict(
        {"room_id": "a", "settings": {"participants": "2", "live_recording": {"url": "https://a", "new": 1}, "own": 1}}
    )
    request = room.settings.to_request()
    assert type(request) is RoomSettings
    wire = {"participants": 2, "live_recording": {"url": "https://a", "new": 1}, "own": 1}
    assert request.to_wire() == wire
    assert attrs.evolve(request, knock=True).to_wire() == wire | {"knock": True}
    assert attrs.evolve(room.settings, knock=True).to_request().to_wire() == wire | {"knock": True}


def test_settings_of_a_streamed_room_become_a_request_without_unknown_ones():
    raw = b'{"room_id":"a","settings":{"participants":"2","own":1}}'
    request = RecordDecoder(Room, extra=False).decode(raw).settings.to_request()
    assert request.extra_keys == frozenset()
    check_room({"name": "a", "owner_ref": "b", "settings": request})
    assert RoomSpec("a", settings=request).to_wire()["settings"] == {"participants": 2}
    kept = RecordDecoder(Room, extra=True).decode(raw).settings.to_request()
    assert kept.to_wire() == {"participants": 2, "own": 1}


def test_read_settings_are_not_a_request():
    with pytest.raises(ValidationError, match=r"to_request\(\)") as caught:
        RoomSpec("a", settings=Room.from_dict({"room_id": "a"}).settings).to_wire()
    assert caught.value.field == "settings"


def test_every_field_is_an_accepted_argument():
    names = [field.name for field in attrs.fields(RoomSettings) if field.alias != "extra"]
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


def test_kind_cannot_be_given_twice():
    with pytest.raises(TypeError):
        RoomSettings.scheduled_at("2026-05-01T09:30:00Z", minutes=5, adhoc=True)
    with pytest.raises(TypeError):
        RoomSettings.one_session(scheduled=True)
    with pytest.raises(TypeError, match="participant"):
        RoomSettings.one_session(participant=5)


def test_one_session_settings_are_adhoc():
    assert RoomSettings.one_session().to_wire() == {"scheduled": False, "adhoc": True}
    settings = RoomSettings.one_session(30, knock=True, extra={"own": 1})
    assert settings.to_wire() == {"scheduled": False, "adhoc": True, "duration": 30, "knock": True, "own": 1}
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
