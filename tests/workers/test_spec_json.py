"""Specs and keys survive the queue."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi import RoomSettings, RoomSpec, Sip, ValidationError, reference_for
from videoapi.sharding.spec_json import check_no_secret, specs_from_json, specs_to_json

SIMPLE = st.one_of(
    st.text(st.characters(codec=None)),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.binary(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
)
KEYS = st.one_of(SIMPLE, st.tuples(SIMPLE, SIMPLE), st.tuples(st.tuples(SIMPLE)))


@given(KEYS)
def test_a_key_comes_back_with_its_type_and_its_reference(key: Any) -> None:
    (read,) = specs_from_json(specs_to_json([RoomSpec("Room", key=key)]))
    assert read.key == key
    assert type(read.key) is type(key)
    assert reference_for("job", read.key) == reference_for("job", key)


@pytest.mark.parametrize(
    "key", [7, "7", 7.0, Decimal(7), True, b"7", date(2026, 1, 1), datetime(2026, 1, 1), UUID(int=7)]
)
def test_similar_keys_stay_different(key: Any) -> None:
    (read,) = specs_from_json(specs_to_json([RoomSpec("Room", key=key)]))
    assert reference_for("job", read.key) == reference_for("job", key)


def test_the_body_of_a_spec_is_sent_unchanged() -> None:
    given_specs = [
        RoomSpec("Plain", key=1),
        RoomSpec("Ünïcode\u2028", owner_ref=7, data={"n": [1, {"x": None}]}, key=2),
        RoomSpec("Settings", settings=RoomSettings(participants=5, moderators=1), sip=True, key=3),
        RoomSpec("Own", settings={"mode": "group", "own_key": "x"}, sip=Sip(enabled=False), key=4),
    ]
    read = specs_from_json(specs_to_json(given_specs))
    assert [spec.to_wire() for spec in read] == [spec.to_wire() for spec in given_specs]


def test_the_text_is_json() -> None:
    assert json.loads(specs_to_json([])) == []
    assert len(json.loads(specs_to_json([RoomSpec("A", key="a"), RoomSpec("B", key="b")]))) == 2


@pytest.mark.parametrize("field", ["pin", "secret", "auth"])
def test_a_secret_does_not_enter_the_queue(field: str) -> None:
    with pytest.raises(ValidationError, match=f"sip.{field} is a secret") as refused:
        check_no_secret(RoomSpec("Room", sip={"enabled": True, field: "hush-hush"}))
    assert "hush-hush" not in str(refused.value)
    check_no_secret(RoomSpec("Room", sip={"enabled": True, "name": "desk"}))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (RoomSpec("Room", settings={"sip": {"enabled": True, "pin": "hush-hush"}}), "settings.sip.pin"),
        (RoomSpec("Room", sip={"enabled": True, "password": "hush-hush"}), "sip.password"),
        (RoomSpec("Room", sip={"lines": [{"password": "hush-hush"}]}), "sip.lines.password"),
    ],
)
def test_a_secret_is_found_at_any_depth(spec: RoomSpec, name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is a secret"):
        check_no_secret(spec)
