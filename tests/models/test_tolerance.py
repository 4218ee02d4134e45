"""Every contradiction that the contract lists, as a user reads it."""

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
def test_counts_read_as_numbers(name, count):
    value = getattr(settings(**{name: count}), name)
    assert (type(value), value) == (int, 2)


@pytest.mark.parametrize("value", [True, "many", [], 5.5])
def test_what_is_no_count_reads_none_and_stays_in_extra(value):
    made = settings(max_active_talkers=value)
    assert made.max_active_talkers is None
    assert made.extra == {"max_active_talkers": value}
    assert made.to_dict() == {"max_active_talkers": value}


@pytest.mark.parametrize("value", ["", None, "null"])
def test_an_empty_count_reads_none(value):
    assert settings(duration=value).duration is None
    assert settings(duration=value).to_dict() == {}


@pytest.mark.parametrize(("wire", "value"), [("true", True), ("false", False), (True, True), (False, False)])
def test_published_tracks_read_as_truth_values(wire, value):
    assert CallRecord.from_dict({"published_track": {"audio": wire}}).published_track.audio is value


@pytest.mark.parametrize("pin", [99999, "99999", "01234"])
def test_sip_ids_stay_what_they_are(pin):
    sip = Room.from_dict({"room_id": "a", "sip": {"pin": pin, "meeting_id": pin}}).sip
    assert (sip.pin, sip.meeting_id) == (pin, pin)


@pytest.mark.parametrize(
    ("wire", "value"), [(False, False), ({}, Sip()), ({"enabled": True}, Sip(enabled=True)), (None, None)]
)
def test_sip_in_every_form(wire, value):
    assert Room.from_dict({"room_id": "a", "sip": wire}).sip == value


def test_recording_settings_in_either_form():
    assert settings(live_recording=True).live_recording is True
    assert settings(live_recording={"url": "https://a"}).live_recording == LiveRecording(url="https://a")
    assert settings(role_based_recording="audio").role_based_recording == "audio"
    assert settings(role_based_recording={"moderator": "audio"}).role_based_recording == RoleBasedRecording(
        moderator="audio"
    )


def test_waiting_for_the_moderator_under_either_name():
    assert settings(wait_moderator=True).waits_for_moderator
    assert settings(wait_for_moderator=True).waits_for_moderator
    assert not settings(wait_moderator=False).waits_for_moderator


def test_an_unknown_role_or_mode_survives():
    assert Participant.from_dict({"role": "observer"}).role == "observer"
    assert settings(mode="p2p").mode == "p2p"
    assert CallRecord.from_dict({"user": {"role": "audience"}}).user.role == "audience"


@pytest.mark.parametrize("wire", [5, "5"])
def test_a_reference_given_as_a_number_reads_as_text(wire):
    assert Room.from_dict({"room_id": "a", "owner_ref": wire}).owner_ref == "5"
    assert CallRecord.from_dict({"room": {"room_details": {"owner_ref": wire}}}).owner_ref == "5"


def test_other_scalars_read_as_the_text_they_are_on_the_wire():
    assert [settings(description=value).description for value in (True, 5, 5.5)] == ["true", "5", "5.5"]


def test_text_that_looks_like_nothing_stays_text():
    (room,) = RecordDecoder(Room, extra=False).decode_block([b'{"room_id":"a","name":"null","owner_ref":""}'])
    assert (room.name, room.owner_ref) == ("null", "")


def test_null_is_no_name():
    assert Room.from_dict({"room_id": "a", "name": None}).name is None


def test_a_room_that_lacks_a_field_reads_none_there():
    room = Room.from_dict({"room_id": "a"})
    assert [room.name, room.sip, room.data, room.updated_at, room.controller_id, room.created_at] == [None] * 6
    assert [room.settings.knock, room.settings.duration, room.settings.live_recording] == [None] * 3
    assert room.to_dict() == {"room_id": "a"}


def test_a_record_that_lacks_a_part_still_has_it():
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
def test_a_record_is_known_by_its_own_id_else_by_its_log_entry(wire):
    assert CallRecord.from_dict(wire).identity == "c"


@pytest.mark.parametrize("empty", [{}, {"recording": None}, {"recording": [], "transcoded": None, "chatdata": ""}])
def test_an_archive_without_files_has_none(empty):
    assert Archive.from_dict({"_id": "a", **empty}).files == ()


@pytest.mark.parametrize("links", ["https://h/a", ["https://h/a"], [{"url": "https://h/a"}], [None, "https://h/a", {}]])
def test_files_in_every_form_of_link(links):
    archive = Archive.from_dict({"_id": "i", "room_id": "r", "conf_num": "c", "trans_date": "t", "recording": links})
    (file,) = archive.files
    assert (file.kind, file.url, file.archive_id) == ("recording", "https://h/a", "i")
    assert (file.room_id, file.conf_num, file.trans_date) == ("r", "c", "t")


def test_all_four_kinds_of_files_are_listed():
    archive = Archive.from_dict(
        {"metadata": "https://m", "chatdata": "https://c", "recording": ["https://r"], "transcoded": ["https://t"]}
    )
    assert [file.kind for file in archive.files] == ["recording", "transcoded", "chatdata", "metadata"]
    assert [file.extra for file in archive.files] == [{}] * 4


def test_dial_in_with_numbers_or_without():
    assert DialIn.from_dict({"dialin": None}).numbers == ()
    (number,) = DialIn.from_dict({"_id": "i", "dialin": [{"country_code": 91, "toll": "false"}]}).numbers
    assert (number.country_code, number.toll, number.toll_free) == ("91", False, True)


@pytest.mark.parametrize(
    ("wire", "moment"),
    [
        ("2021-03-25T08:00:13.764Z", "2021-03-25T08:00:13.764000+00:00"),
        ("2021-03-25T10:00:13+02:00", "2021-03-25T08:00:13+00:00"),
        ("2021-03-25 08:00:13", "2021-03-25T08:00:13+00:00"),
    ],
)
def test_times_read_as_aware_moments_in_utc(wire, moment):
    assert Room.from_dict({"room_id": "a", "created": wire}).created_at.isoformat() == moment


def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        room = Room.from_dict({"room_id": "a", "created": "2021-03-25 08:00:13"})
        assert room.created_at.isoformat() == "2021-03-25T08:00:13+00:00"
    time.tzset()


@pytest.mark.parametrize("wire", ["0000-00-00", "", "soon", "0001-01-01T00:00:00+14:00", None])
def test_what_is_no_time_reads_none_and_keeps_its_text(wire):
    room = Room.from_dict({"room_id": "a", "created": wire})
    assert room.created_at is None
    assert room.created == wire
