"""Reprs, strings and errors must not show secrets."""

import json
import sys
import traceback
from collections.abc import Iterator

import attrs
import pytest

import videoapi.webhooks  # noqa: F401  -- defines models, too
from videoapi.errors import VideoAPIError
from videoapi.models.archives import Archive
from videoapi.models.base import Model
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import RecordDecoder, ResponseDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import LiveRecording, Room, RoomSettings, RoomSpec
from videoapi.models.tokens import Token, TokenSpec

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
    RoomSettings(hls_view_url=LINK, live_recording=LiveRecording(url=LINK), extra={"own": CANARY}),
    RoomSettings(live_recording={"url": LINK}),
    CallRecord.from_dict({"room": {"room_details": {"sip": {"pin": CANARY}, "settings": {"hls_view_url": LINK}}}}),
    DialIn.from_dict({"sip": {"server_url": LINK, "sig_servers": [LINK, {"password": CANARY}]}}),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_text_representations_do_not_show_a_secret(model):
    for shown in (repr(model), str(model), f"{model}", f"{model!r}", f"{model}", [model].__repr__()):
        assert CANARY not in shown


def subclasses(model: type) -> Iterator[type]:
    for child in model.__subclasses__():
        # attrs replaces a class by one with slots, and the first one may still be there.
        if vars(sys.modules[child.__module__]).get(child.__name__) is child:
            yield child
        yield from subclasses(child)


def may_be_open(model: type, name: str) -> bool:
    field = attrs.fields_dict(model)[name]
    # A response may have any value anywhere; in a spec, the other fields are the caller's own texts.
    return field.repr is not False and (issubclass(model, Model) or "Mapping" in str(field.type))


SHOWN = [
    (model, field.name)
    for model in sorted({*subclasses(Model), RoomSpec, TokenSpec}, key=lambda model: model.__qualname__)
    if attrs.has(model)
    for field in attrs.fields(model)
    if may_be_open(model, field.name)
]
FORMS = [{"token": CANARY}, [{"pin": CANARY}], ({"a": [{"secret": CANARY}]},), {"a": json.dumps({"auth": CANARY})}]


@pytest.mark.parametrize(("model", "name"), SHOWN, ids=lambda part: getattr(part, "__name__", part))
def test_no_field_of_a_model_shows_a_secret_in_an_open_value(model: type, name: str):
    for form in FORMS:
        made = object.__new__(model)
        for field in attrs.fields(model):
            object.__setattr__(made, field.name, form if field.name == name else None)
        assert CANARY not in repr(made)
        assert f"{name}=" in repr(made)


@pytest.mark.parametrize("item", ["data", "stats_quality"])
def test_open_value_shows_what_is_not_a_secret(item: str):
    value = {"a": 1, "token": CANARY, "list": [True, "text"], "pair": (2,)}
    shown = "{'a': 1, 'token': '***', 'list': [True, 'text'], 'pair': (2,)}"
    model = Room(room_id="a", data=value) if item == "data" else CallRecord(stats_quality=value)
    assert f"{item}={shown}" in repr(model)


def test_spec_and_links_given_as_mappings_do_not_show_a_secret():
    spec = RoomSpec("a", settings={"live_recording": {"url": LINK}}, sip={"enabled": True, "pin": CANARY})
    assert repr(spec) == (
        "RoomSpec(name='a', owner_ref=None, "
        "settings={'live_recording': {'url': 'https://files.example.com/a/b.mkv?…'}}, "
        "sip={'enabled': True, 'pin': '***'}, data=None, key=None)"
    )
    assert CANARY not in repr(Archive(recording=({"url": LINK},)))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_to_json_contains_the_secret(model):
    assert CANARY in model.to_json()


def test_redacted_url_keeps_host_and_path():
    assert "'https://files.example.com/a/b.mkv?…'" in repr(Archive.from_dict({"recording": [LINK]}).files[0])


def test_repr_shows_only_fields_with_a_value():
    assert repr(Room.from_dict({"room_id": "a", "settings": {"knock": True}})) == (
        "Room(room_id='a', settings=EffectiveSettings(knock=True))"
    )


def test_decode_errors_do_not_contain_values():
    for read in (
        lambda: ResponseDecoder("room", Room).fast(b'{"room":{"room_id":["%s"]}}' % CANARY.encode()),
        lambda: ResponseDecoder("room", Room).tolerant({"room_id": [CANARY]}),
        lambda: RecordDecoder(Room, extra=False).decode(b'{"room_id":["%s"]}' % CANARY.encode()),
        lambda: RecordDecoder(CallRecord, extra=False).decode(b'{"%s' % CANARY.encode()),
        lambda: Room.from_dict({"room_id": {CANARY: CANARY}}),
        lambda: DialIn.from_dict(CANARY),
    ):
        with pytest.raises((ValueError, VideoAPIError)) as caught:
            read()
        assert CANARY not in "".join(traceback.format_exception(caught.value))
