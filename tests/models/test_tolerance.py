"""Contradictory values listed in the contract, as the models read them."""

import time

import pytest

from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import LiveRecording, RoleBasedRecording, Room, Sip
from videoapi.models.tokens import Participant


def settings(**fields):
    return Room.from_dict({"room_id": "a", "settings": fields}).settings


@pytest.mark.parametrize("count", [2, "2", " 2", "2.0", 2.0])
@pytest.mark.parametrize("name", ["participants", "moderators", "duration", "max_active_talkers"])
def test_count_reads_as_an_integer(name, count):
    value = getattr(settings(**{name: count}), name)
    assert (type(value), value) == (int, 2)


@pytest.mark.parametrize("value", [True, "many", [], 5.5])
def test_invalid_count_reads_none_and_stays_in_extra(value):
    decoded = settings(max_active_talkers=value)
    assert decoded.max_active_talkers is None
    assert decoded.extra == {"max_active_talkers": value}
    assert decoded.to_dict() == {"max_active_talkers": value}


@pytest.mark.parametrize("value", ["", None, "null"])
def test_empty_count_reads_none(value):
    assert settings(duration=value).duration is None
    assert settings(duration=value).to_dict() == {}


@pytest.mark.parametrize(("wire", "value"), [("true", True), ("false", False), (True, True), (False, False)])
def test_published_track_reads_as_a_boolean(wire, value):
    assert CallRecord.from_dict({"published_track": {"audio": wire}}).published_track.audio is value


@pytest.mark.parametrize("pin", [99999, "99999", "01234"])
def test_sip_ids_keep_their_type(pin):
    sip = Room.from_dict({"room_id": "a", "sip": {"pin": pin, "meeting_id": pin}}).sip
    assert (sip.pin, sip.meeting_id) == (pin, pin)


@pytest.mark.parametrize(
    ("wire", "value"), [(False, False), ({}, Sip()), ({"enabled": True}, Sip(enabled=True)), (None, None)]
)
def test_sip_accepts_every_form(wire, value):
    assert Room.from_dict({"room_id": "a", "sip": wire}).sip == value


def test_recording_settings_accept_both_forms():
    assert settings(live_recording=True).live_recording is True
    assert settings(live_recording={"url": "https://a"}).live_recording == LiveRecording(url="https://a")
    assert settings(role_based_recording="audio").role_based_recording == "audio"
    assert settings(role_based_recording={"moderator": "audio"}).role_based_recording == RoleBasedRecording(
        moderator="audio"
    )


def test_waits_for_moderator_reads_either_name():
    assert settings(wait_moderator=True).waits_for_moderator
    assert settings(wait_for_moderator=True).waits_for_moderator
    assert not settings(wait_moderator=False).waits_for_moderator


def test_unknown_role_or_mode_is_kept():
    assert Participant.from_dict({"role": "observer"}).role == "observer"
    assert settings(mode="p2p").mode == "p2p"
    assert CallRecord.from_dict({"user": {"role": "audience"}}).user.role == "audience"


@pytest.mark.parametrize("wire", [5, "5"])
def test_numeric_owner_ref_reads_as_text(wire):
    assert Room.from_dict({"room_id": "a", "owner_ref": wire}).owner_ref == "5"
    assert CallRecord.from_dict({"room": {"room_details": {"owner_ref": wire}}}).owner_ref == "5"


def test_scalars_in_text_fields_read_as_their_json_text():
    assert [settings(description=value).description for value in (True, 5, 5.5)] == ["true", "5", "5.5"]


def test_null_like_or_empty_text_stays_text():
    (room,) = RecordDecoder(Room, extra=False).decode_block([b'{"room_id":"a","name":"null","owner_ref":""}'])
    assert (room.name, room.owner_ref) == ("null", "")


def test_null_name_reads_none():
    assert Room.from_dict({"room_id": "a", "name": None}).name is None


def test_missing_room_field_reads_none():
    room = Room.from_dict({"room_id": "a"})
    assert [room.name, room.sip, room.data, room.updated_at, room.controller_id, room.created_at] == [None] * 6
    assert [room.settings.knock, room.settings.duration, room.settings.live_recording] == [None] * 3
    assert room.to_dict() == {"room_id": "a"}


def test_missing_record_part_reads_as_an_empty_part():
    record = RecordDecoder(CallRecord, extra=False).decode(b"{}")
    assert record == CallRecord.from_dict({"room": None, "user": {}})
    assert [record.room.duration, record.user.name, record.usage.connect_minutes] == [None] * 3
    assert [record.identity, record.trans_at, record.owner_ref, record.quality, record.room.details] == [None] * 5
    assert record.to_dict() == {}


def test_open_parts_of_a_record_have_a_typed_view():
    record = CallRecord.from_dict(
        {
            "room": {"room_details": {"owner_ref": "t", "settings": {"participants": "2"}, "new": 1}},
            "stats_quality": {"send": {"video": {"avg_bitrate": "9.5"}, "audio": {}}},
        }
    )
    assert record.room.details.settings.participants == 2
    assert record.room.details.extra == {"new": 1}
    assert record.quality.send.video.avg_bitrate == 9.5
    assert record.quality.receive is None


@pytest.mark.parametrize("wire", [{"cdr_id": "c", "call_log_id": "l"}, {"cdr_id": "", "call_log_id": "c"}])
def test_record_identity_is_cdr_id_else_call_log_id(wire):
    assert CallRecord.from_dict(wire).identity == "c"


@pytest.mark.parametrize("empty", [{}, {"recording": None}, {"recording": [], "transcoded": None, "chatdata": ""}])
def test_archive_without_links_has_no_files(empty):
    assert Archive.from_dict({"_id": "a", **empty}).files == ()


@pytest.mark.parametrize("links", ["https://h/a", ["https://h/a"], [{"url": "https://h/a"}], [None, "https://h/a", {}]])
def test_archive_files_accept_every_form_of_link(links):
    archive = Archive.from_dict({"_id": "i", "room_id": "r", "conf_num": "c", "trans_date": "t", "recording": links})
    (file,) = archive.files
    assert (file.kind, file.url, file.archive_id) == ("recording", "https://h/a", "i")
    assert (file.room_id, file.conf_num, file.trans_date) == ("r", "c", "t")


def test_archive_lists_all_four_kinds_of_files():
    archive = Archive.from_dict(
        {"metadata": "https://m", "chatdata": "https://c", "recording": ["https://r"], "transcoded": ["https://t"]}
    )
    assert [file.kind for file in archive.files] == ["recording", "transcoded", "chatdata", "metadata"]
    assert [file.extra for file in archive.files] == [{}] * 4


def test_dial_in_numbers_may_be_absent():
    assert DialIn.from_dict({"dialin": None}).numbers == ()
    (number,) = DialIn.from_dict({"_id": "i", "dialin": [{"country_code": 91, "toll": "false"}]}).numbers
    assert (number.country_code, number.toll, number.toll_free) == ("91", False, True)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("2021-03-25T08:00:13.764Z", "2021-03-25T08:00:13.764000+00:00"),
        ("2021-03-25T10:00:13+02:00", "2021-03-25T08:00:13+00:00"),
        ("2021-03-25 08:00:13", "2021-03-25T08:00:13+00:00"),
    ],
)
def test_time_reads_as_an_aware_datetime_in_utc(wire, expected):
    assert Room.from_dict({"room_id": "a", "created": wire}).created_at.isoformat() == expected


def test_naive_time_is_utc_regardless_of_the_local_time_zone(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        room = Room.from_dict({"room_id": "a", "created": "2021-03-25 08:00:13"})
        assert room.created_at.isoformat() == "2021-03-25T08:00:13+00:00"
    time.tzset()


@pytest.mark.parametrize("wire", ["0000-00-00", "", "soon", "0001-01-01T00:00:00+14:00", None])
def test_invalid_time_reads_none_and_keeps_its_text(wire):
    room = Room.from_dict({"room_id": "a", "created": wire})
    assert room.created_at is None
    assert room.created == wire
