"""Properties that every model class must have."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil
from pathlib import Path

import attrs
import msgspec
import pytest

import videoapi.models
from videoapi.errors import ValidationError
from videoapi.models.base import Model
from videoapi.models.cdr import CallRecord
from videoapi.models.rooms import Room, RoomSettings
from videoapi.models.tokens import Token

MODULES = [
    importlib.import_module(f"videoapi.models.{module.name}")
    for module in pkgutil.iter_modules(videoapi.models.__path__)
]
CLASSES = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Model) and attrs.has(value)
    },
    key=lambda cls: cls.__name__,
)


def test_all_model_classes_are_found():
    assert len(CLASSES) >= 25


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_model_is_frozen_and_slotted(cls):
    instance = cls.__new__(cls)
    assert not hasattr(instance, "__dict__")
    field = attrs.fields(cls)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, field, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        instance.something_else = None


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_model_uses_no_feature_that_the_typed_decoder_ignores(cls):
    for field in attrs.fields(cls):
        assert field.alias == field.name.lstrip("_"), "an alias would be silently ignored"
        assert field.converter is None, "a converter would be silently ignored"
        assert field.validator is None, "a validator would slow down each record"
        assert field.default in (attrs.NOTHING, None) or isinstance(field.default, attrs.Factory), "would be ignored"
        assert type(field.default).__module__.partition(".")[0] != "msgspec", "a msgspec.field would be the default"


def test_model_module_mentions_no_msgspec_field_or_alias():
    for module in MODULES:
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert "msgspec.field" not in source
        assert "alias=" not in source.replace('alias="extra"', "")


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not cls.composed], ids=lambda cls: cls.__name__)
def test_every_model_decodes_with_both_decoders(cls):
    required = [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    raw = json.dumps(dict.fromkeys(required, "a")).encode()
    typed = msgspec.json.decode(raw, type=cls, strict=False)
    assert typed == cls.from_dict(json.loads(raw))
    assert json.loads(typed.to_json()) == typed.to_dict()


def test_copies_and_pickles_preserve_all_fields():
    room = Room.from_dict({"room_id": "a", "new": [1], "settings": {"participants": "2", "own": 1}})
    for again in (copy.copy(room), copy.deepcopy(room), pickle.loads(pickle.dumps(room))):
        assert again == room
        assert (again.extra, again.settings.extra) == ({"new": [1]}, {"own": 1})
    settings = RoomSettings(participants=2, extra={"own": 1})
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.to_dict() == {"participants": 2, "own": 1}


def test_record_pickled_without_extra_still_raises_on_access():
    record = pickle.loads(pickle.dumps(msgspec.json.decode(b'{"cdr_id":"a"}', type=CallRecord)))
    assert record.cdr_id == "a"
    with pytest.raises(ValueError, match="extra=True"):
        _ = record.extra


def test_token_text_survives_pickle_json_and_dict():
    token = Token(value="text", room_id="r", role="moderator", name="Ann", user_ref="u")
    assert pickle.loads(pickle.dumps(token)).value == "text"
    assert token.to_dict() == {
        "token": "text",
        "room_id": "r",
        "role": "moderator",
        "name": "Ann",
        "user_ref": "u",
    }
    assert Token.from_dict(json.loads(token.to_json())) == token
    assert token.extra == {}


@pytest.mark.parametrize("fields", [[], "x", None, {"settings": {}}, {"room_id": "a"} | {"room_id": {}}])
def test_from_dict_raises_validation_error_for_an_invalid_room(fields):
    with pytest.raises(ValidationError, match="Not a valid Room"):
        Room.from_dict(fields)


def test_validation_error_names_the_invalid_field():
    with pytest.raises(ValidationError) as caught:
        Room.from_dict({"room_id": ["s3cret"]})
    assert caught.value.field == "room_id"
    assert "s3cret" not in str(caught.value)
