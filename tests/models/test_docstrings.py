"""`help()` of every exported model describes each field."""

import inspect
import re
import subprocess
import sys

import attrs
import pytest

import videoapi
from videoapi.models.descriptions import descriptions
from videoapi.models.fields import parts


def with_parts(cls: type) -> set[type]:
    """Return a class and the models in its fields, at any depth."""
    return {cls}.union(*(with_parts(part) for part in parts(cls).values()))


EXPORTED = [value for name in videoapi.__all__ if inspect.isclass(value := getattr(videoapi, name))]
MODELS = [cls for cls in EXPORTED if attrs.has(cls) and cls.__module__.startswith("videoapi.models.")]
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
        "Token",
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
    assert list(described) == names
    assert all(len(text) > 10 for text in described.values())


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls.__name__ in ("EffectiveSettings", "RoomSettings")])
def test_help_shows_the_description_of_a_setting(cls):
    program = f"import videoapi; help(videoapi.{cls.__name__})"
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert "0 (default) is unlimited. [doc, code]" in " ".join(shown.stdout.replace("|", " ").split())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_description_of_what_a_response_contains_says_how_it_is_known(cls):
    if cls.__name__ not in ("RoomSpec", "TokenSpec", "ArchiveFile"):
        requested = {"extra", "room_id", "role", "name", "user_ref"} if cls.__name__ == "Token" else {"extra"}
        for name, text in descriptions(cls).items():
            assert name in requested or re.search(r"\[[a-z, ]+\]", text), name
