"""The typed and the tolerant decoder agree on every value, and raise only DecodeError."""

import copy
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from videoapi.models.archives import Archive
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError, RecordDecoder, ResponseDecoder
from videoapi.models.converter import structure
from videoapi.models.dialin import DialIn
from videoapi.models.rooms import Room
from videoapi.models.strict_json import loads_record
from videoapi.models.tokens import Participant

# Long, and not about the interpreter.
pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"
MODELS = {
    "create_room/documented.200.json": ("room", Room),
    "create_room/sip_2018.200.json": ("room", Room),
    "get_room/joined.200.json": ("room", Room),
    "room_users/one.200.json": ("users", Participant),
    "cdr/room_details.200.json": ("cdr", CallRecord),
    "cdr/old.200.json": ("cdr", CallRecord),
    "archive/whole.200.json": ("archive", Archive),
    "dialin/numbers.200.json": (None, DialIn),
}
ODD: list[Any] = [
    None, True, False, 0, 1, 2, -1, 5.0, 5.5, -0.0, 1e30, 2**63, 10**20,
    "", " ", "null", "Null", "true", "TRUE", "false", "0", "1", "00", "02", "-0", " 2", "5.0", "5.5", "1e3",
    "1_0", "+5", ".5", "5.", "nan", "NaN", "inf", "-Infinity", "1e400", "x", "9" * 400, "9" * 5000,
    [], {}, [{}], [None], ["x"], [1], [[]], {"url": "x"}, {"url": None}, {"enabled": "true"}, {"moderator": 1},
    {"auto_recording": 1}, {"publish": "no"}, "0000-00-00", "\ud800",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
VALUES = st.one_of(
    st.sampled_from(ODD),
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from(["url", "enabled", "pin", "new"]), SCALARS, max_size=3),
)


@cache
def sample(name: str) -> str:
    payload = json.loads((DATA / name).read_bytes())
    key = MODELS[name][0]
    payload = payload[key] if key else payload
    return json.dumps(payload[0] if isinstance(payload, list) else payload)


def places(value: Any) -> list[tuple[dict[str, Any], str]]:
    """Return every object and key in a value, plus an unknown key in each object."""
    if isinstance(value, list):
        return [place for item in value for place in places(item)]
    if not isinstance(value, dict):
        return []
    own = [(value, name) for name in (*value, "new")]
    return own + [place for item in value.values() for place in places(item)]


def read(raw: bytes, model: type, *, fast: bool) -> Any:
    """Return the content of a record as one decoder reads it, or None if it rejects the record."""
    try:
        payload = ResponseDecoder(None, model).fast(raw)[1] if fast else structure(loads_record(raw)[0], model)
    except DecodeError:
        return None
    return payload, payload.to_dict(), payload.extra


def agree(raw: bytes, model: type) -> None:
    typed = read(raw, model, fast=True)
    tolerant = read(raw, model, fast=False)
    if typed is not None:
        assert tolerant == typed
    for each in (typed, tolerant):
        assert each is None or finite(each[1])


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_decoders_agree_on_every_odd_value_in_every_place(name):
    for place in range(len(places(json.loads(sample(name))))):
        for odd in ODD:
            record = json.loads(sample(name))
            where, key = places(record)[place]
            where[key] = odd
            agree(json.dumps(record).encode(), MODELS[name][1])


@pytest.mark.parametrize("name", sorted(MODELS))
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), VALUES), min_size=1, max_size=5))
@example(changes=[(0, "x")])
def test_decoders_agree_on_generated_values(name, changes):
    record = json.loads(sample(name))
    for pick, value in changes:
        choices = places(record)
        where, key = choices[pick % len(choices)]
        where[key] = copy.deepcopy(value)
    agree(json.dumps(record).encode(), MODELS[name][1])


@given(raw=st.binary(max_size=60))
def test_any_bytes_decode_to_a_record_or_an_error(raw):
    for model in (Room, CallRecord, Archive):
        (decoded,) = RecordDecoder(model, extra=False).decode_block([raw])
        assert isinstance(decoded, (model, DecodeError))
