"""The body of a create: written as it is, once it is known to be valid."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi import RoomSettings, RoomSpec, Sip, ValidationError
from videoapi.creation.create_request import create_request, new_reference
from videoapi.protocol.routes import Options

OPTIONS = Options()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats()
    | st.text()
    | st.just(RoomSettings(knock=True))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def body_of(spec: RoomSpec, *, validate: bool) -> Any:
    try:
        body = create_request(spec, new_reference(), OPTIONS, validate=validate).body
    except ValidationError as error:
        return str(error)
    assert body is not None
    return {**json.loads(body), "owner_ref": None}


@given(data=st.dictionaries(st.text(), VALUES, max_size=4), sip=st.none() | st.booleans() | st.just(Sip(enabled=True)))
def test_checked_body_is_written_like_an_unchecked_one(data: dict[str, Any], sip: Any) -> None:
    spec = RoomSpec("null", settings=RoomSettings(knock=True, extra={"note": "null"}), sip=sip, data=data)
    assert body_of(spec, validate=True) == body_of(spec, validate=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], {"deep": (math.nan,)}])
@pytest.mark.parametrize("validate", [True, False])
def test_number_that_json_does_not_have_is_refused(value: object, validate: bool) -> None:
    with pytest.raises(ValidationError, match="a number in it is not finite"):
        create_request(RoomSpec("r", data={"x": value}), new_reference(), OPTIONS, validate=validate)
