"""What a repr, a string or an error must not show."""

import traceback

import pytest

from videoapi.errors import VideoAPIError
from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder, ResponseDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import Room
from videoapi.models.tokens import Token

CANARY = "canary-7f3a"
LINK = f"https://user:{CANARY}@files.example.com/a/b.mkv?key={CANARY}#{CANARY}"
MODELS = [
    Token(value=CANARY, room_id="r"),
    DialIn.from_dict({"app_key": CANARY, "sip": {"password": CANARY, "username": CANARY}, "dialin": [{}]}),
    Room.from_dict({"room_id": "a", "sip": {"pin": CANARY, "secret": CANARY, "auth": CANARY}}),
    Room.from_dict({"room_id": "a", "settings": {"hls_view_url": LINK, "live_recording": {"url": LINK}}}),
    CallRecord.from_dict({"user": {"token": CANARY}}),
    Archive.from_dict({"recording": [{"url": LINK}, LINK], "transcoded": LINK, "chatdata": LINK, "metadata": LINK}),
    Archive.from_dict({"recording": [LINK]}).files[0],
    Archive.from_dict({"recording": [{"url": f"https://[{CANARY}"}]}),
    Room.from_dict({"room_id": "a", "new": CANARY}),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_no_way_to_text_shows_a_secret(model):
    for shown in (repr(model), str(model), f"{model}", f"{model!r}", f"{model}", [model].__repr__()):
        assert CANARY not in shown


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_the_user_asks_for_has_it(model):
    assert CANARY in model.to_json()


def test_a_masked_url_still_says_where_it_leads():
    assert "'https://files.example.com/a/b.mkv?…'" in repr(Archive.from_dict({"recording": [LINK]}).files[0])


def test_a_repr_shows_only_what_is_there():
    assert repr(Room.from_dict({"room_id": "a", "settings": {"knock": True}})) == (
        "Room(room_id='a', settings=RoomSettings(knock=True))"
    )


def test_no_error_of_decoding_carries_a_value():
    for read in (
        lambda: ResponseDecoder("room", Room).fast(b'{"room":{"room_id":["%s"]}}' % CANARY.encode()),
        lambda: ResponseDecoder("room", Room).tolerant({"room_id": [CANARY]}),
        lambda: RecordDecoder(CallRecord, extra=False).decode(b'{"user":{"token":["%s"]}}' % CANARY.encode()),
        lambda: RecordDecoder(CallRecord, extra=False).decode(b'{"%s' % CANARY.encode()),
        lambda: CallRecord.from_dict({"usage": {"connect_minutes": CANARY}}),
        lambda: DialIn.from_dict(CANARY),
    ):
        with pytest.raises((ValueError, VideoAPIError)) as caught:
            read()
        assert CANARY not in "".join(traceback.format_exception(caught.value))
