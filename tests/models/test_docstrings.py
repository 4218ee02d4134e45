"""`help()` of every exported model describes each field."""

import inspect
import re
import subprocess
import sys

import attrs
import pytest

import videoapi
from videoapi import RoomSpec, TokenSpec, webhooks
from videoapi.models.base import Model
from videoapi.models.descriptions import descriptions
from videoapi.models.fields import parts


def with_parts(cls: type) -> set[type]:
    """Return a class and the models in its fields, at any depth."""
    return {cls}.union(*(with_parts(part) for part in parts(cls).values()))


EXPORTED = [value for name in videoapi.__all__ if inspect.isclass(value := getattr(videoapi, name))]
EXPORTED += [value for name in webhooks.__all__ if inspect.isclass(value := getattr(webhooks, name))]
MODELS = [cls for cls in EXPORTED if issubclass(cls, (Model, RoomSpec, TokenSpec))]
CLASSES = sorted(set().union(*map(with_parts, MODELS)), key=lambda cls: cls.__name__)


def test_exported_models_are_found():
    assert {
        "CallRecord",
        "DialInSip",
        "EffectiveSettings",
        "LiveRecording",
        "Permissions",
        "Room",
        "RoomSettings",
        "RoomSpec",
        "Token",
        "TransferDestination",
        "UnknownEvent",
    } <= {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_is_described(cls):
    names = [
        "extra" if field.name == "_extra" and field.alias == "extra" else field.name for field in attrs.fields(cls)
    ]
    described = descriptions(cls)
    if "extra" in names and "extra" not in described:
        # The property describes itself; only a request takes it as an argument.
        names.remove("extra")
    if issubclass(cls, webhooks.WebhookEvent):
        # attrs puts inherited fields first.
        names.sort(key=list(described).index)
    assert list(described) == names
    assert all(len(text) > 10 for text in described.values())


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls.__name__ in ("EffectiveSettings", "RoomSettings")])
def test_help_shows_the_description_of_a_setting(cls):
    program = f"import videoapi; help(videoapi.{cls.__name__})"
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert "0 (default) is unlimited. [doc, code]" in " ".join(shown.stdout.replace("|", " ").split())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_description_of_each_field_of_the_service_says_how_it_is_known(cls):
    for name, text in descriptions(cls).items():
        own = name == "extra" or (name == "key" and text.endswith("never sent."))
        assert own != bool(re.search(r"\[(?:(?:doc|wire|code|unknown)(?:, |\]))+", text)), name
