"""A field with a value that it cannot have costs only itself: never its record, and never what is written."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.models.test_both_paths import MODELS, places, sample
from videoapi.errors import ValidationError
from videoapi.models.archives import Archive, FileLink
from videoapi.models.base import Model
from videoapi.models.cdr import CallRecord
from videoapi.models.codec import DecodeError, RecordDecoder
from videoapi.models.dialin import DialIn
from videoapi.models.fields import field_types, parts
from videoapi.models.rooms import Room
from videoapi.models.strict_json import MAX_DEPTH
from videoapi.models.tokens import Participant

DEEP = 1_200
VALUES = (
    "null", "true", "0", "-1", "0.5", "1e999", "-1e999", "9" * 30, "9" * 5_000, '""', '"yes"', '"null"', '"nan"',
    '"1e999"', '"\\ud800"', '"\\udc00\\ud800x"', '"\\u0000"', "[]", "{}", "[[]]", "[null]", '[{"url":{}},5]',
    '{"\\ud800":1}', '{"url":"u"}', '{"room":{"user":[]}}', "[" * DEEP + "]" * DEEP, '{"a":' * 70 + "1" + "}" * 70,
)  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
    | st.sampled_from(["\ud800", "\udfff\ud800", "yes", "", "null"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["url", "audio", "a", "\ud800"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
STREAMED = {name: model for name, (_, model) in MODELS.items() if model in (CallRecord, Archive, Participant, DialIn)}


def fields(model: type[Model]) -> list[tuple[str, ...]]:
    """Return the path of every field of a model and of its parts, and of a field that they do not have."""
    own = [(name,) for name in (*field_types(model), "new")]
    return own + [(name, *inner) for name, part in parts(model).items() for inner in fields(part)]


def body(path: tuple[str, ...], value: str) -> bytes:
    for key in reversed(path):
        value = f'{{"{key}":{value}}}'
    return value.encode()


def read(raw: bytes, model: type[Any] = CallRecord, *, extra: bool = True) -> tuple[Any, tuple[str, ...]]:
    """Return a record as a stream decodes it, and its odd fields."""
    found: list[tuple[int, tuple[str, ...]]] = []
    (record,) = RecordDecoder(model, extra=extra).decode_block([raw], lambda *odd: found.append(odd))
    assert all(index == 0 for index, _ in found)
    return record, tuple(name for _, names in found for name in names)


def max_depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(max_depth, inner), default=0)


def leaves(record: Model) -> None:
    """Check that a record can be written in every way, and read again."""
    fields = record.to_dict()
    again = type(record).from_dict(fields)
    assert again.to_dict() == fields or max_depth(fields) >= MAX_DEPTH
    assert isinstance(json.loads(record.to_json().encode()), dict)
    assert repr(record).encode()


@pytest.mark.parametrize(
    ("odd", "value"),
    [
        ("price", 0.5),
        ("published_track.audio", "yes"),
        ("usage", ""),
        ("stats_quality", []),
        ("room.room_details", "none"),
        ("usage.connect_minutes", "many"),
        ("user", ["ann"]),
        ("user.name", {"first": "Ann"}),
        ("cdr_id", ["c"]),
        ("sip", 2),
    ],
)
def test_odd_field_reads_none_and_its_value_is_in_extra(odd: str, value: Any) -> None:
    *outer, name = odd.split(".")
    raw = body((*outer, name), json.dumps(value))
    record, names = read(raw[:-1] + b',"app_id":"a"}')
    assert record.app_id == "a"
    assert names == (odd,)
    part = getattr(record, outer[0]) if outer else record
    assert getattr(part, name) in (None, field_types(type(part))[name]() if name in ("usage", "user") else None)
    assert part.extra == {name: value}
    leaves(record)


def test_one_link_in_place_of_a_list_is_a_list_of_one() -> None:
    record, names = read(b'{"recording":{"url":"https://h/a"}}', Archive)
    assert record.recording == (FileLink(url="https://h/a"),)
    assert [file.url for file in record.files] == ["https://h/a"]
    assert names == ()


def test_unreadable_item_of_a_list_does_not_cost_the_others() -> None:
    record, names = read(
        b'{"recording":[{"url":"https://h/a"},["x"],"https://h/b"],"transcoded":[{"url":{}}]}', Archive
    )
    assert [file.url for file in record.files] == ["https://h/a", "https://h/b"]
    assert record.extra == {"recording": [{"url": "https://h/a"}, ["x"], "https://h/b"]}
    assert names == ("recording", "transcoded.url")
    leaves(record)


@pytest.mark.parametrize("kind", ["recording", "transcoded", "chatdata", "metadata"])
@pytest.mark.parametrize(
    ("value", "odd", "urls"),
    [
        (True, "", []),
        (7, "", []),
        (0.5, "", []),
        ([7], "", []),
        ([False, "https://h/b"], "", ["https://h/b"]),
        ([{"url": "https://h/a"}, 7], "", ["https://h/a"]),
        ([{"url": 5}], ".url", []),
        ({"url": True}, ".url", []),
        ([[{"url": "https://h/a"}]], "", []),
        ({"url": ["https://h/a"]}, ".url", []),
    ],
)
def test_link_that_is_no_text_is_odd(kind: str, value: Any, odd: str, urls: list[str]) -> None:
    record, names = read(body((kind,), json.dumps(value)), Archive)
    assert [file.url for file in record.files] == urls
    assert names == (kind + odd,)
    if odd:
        (link,) = getattr(record, kind)
        assert link.extra == (value[0] if isinstance(value, list) else value)
    else:
        assert record.extra == {kind: value}
        assert None not in (getattr(record, kind) or ())
    leaves(record)


@pytest.mark.parametrize("extra", [False, True])
def test_value_of_an_odd_field_is_kept_only_with_extra(extra: bool) -> None:
    record, names = read(b'{"usage":{"connect_minutes":"many"}}', extra=extra)
    assert names == ("usage.connect_minutes",)
    assert record.to_dict() == ({"usage": {"connect_minutes": "many"}} if extra else {})


@pytest.mark.parametrize("model", [CallRecord, Archive, Participant, DialIn], ids=lambda model: model.__name__)
def test_no_value_of_any_field_costs_the_record(model: type[Any]) -> None:
    for path in fields(model):
        for value in VALUES:
            record, names = read(body(path, value), model)
            assert isinstance(record, model), (path, value[:20], record)
            known = [".".join(path[:length]) for length in range(1, len(path) + 1)]
            assert all(name in known or name.endswith(("extra", "url")) for name in names), (path, names)
            leaves(record)


@pytest.mark.parametrize("name", sorted(STREAMED))
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), ANY_JSON), min_size=1, max_size=4), extra=st.booleans())
@example(changes=[(0, "\ud800")], extra=True)
def test_no_mix_of_odd_fields_costs_the_record(name: str, changes: list[tuple[int, Any]], extra: bool) -> None:
    payload = json.loads(sample(name))
    for pick, value in changes:
        choices = places(payload)
        where, key = choices[pick % len(choices)]
        where[key] = copy.deepcopy(value)
    raw = json.dumps(payload).encode()
    record, names = read(raw, STREAMED[name], extra=extra)
    assert isinstance(record, STREAMED[name])
    leaves(record)
    together = RecordDecoder(STREAMED[name], extra=extra).decode_list(b"[%b]" % raw)
    if together is not None:
        assert (together, names) == ([record], ())
        assert together[0].to_dict() == record.to_dict()


@pytest.mark.parametrize("raw", [b"5", b'"x"', b"null", b"[]", b'[{"cdr_id":"a"}]', b"{", b'{"a":NaN}', b'{"a":"\xff'])
def test_only_what_is_not_a_record_is_rejected(raw: bytes) -> None:
    record, names = read(raw)
    assert isinstance(record, DecodeError)
    assert names == ()


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("\\ud800", "\ufffd"), ("a\\udc00b", "a\ufffdb"), ("\\ud83d\\ude00", "\U0001f600"), ("\\\\ud800", "\\ud800"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"), ("é\\uDFFF", "é\ufffd"), ("\\ud800a", "\ufffda"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", [("cdr_id",), ("user", "name"), ("stats_quality", "a"), ("new",), ("user", "new"), ("room", "new", "b")]
)
def test_lone_surrogate_is_replaced_and_reported(path: tuple[str, ...], text: str, changed: str) -> None:
    raw = body(path, f'"{text}"')
    record, names = read(raw)
    value: Any = record.to_dict()
    for key in path:
        value = value[key]
    assert value == changed
    reported = {
        "stats_quality.a": "stats_quality",
        "new": "extra",
        "user.new": "user.extra",
        "room.new.b": "room.extra",
    }
    where = ".".join(path)
    assert names == ((reported.get(where, where),) if "\ufffd" in changed else ())
    leaves(record)
    assert Room.from_dict({"room_id": "a", "name": "\ud800", "\ud801": 1}).to_dict() == {
        "room_id": "a",
        "name": "\ufffd",
        "\ufffd": 1,
    }


@pytest.mark.parametrize("levels", [7, MAX_DEPTH - 2, MAX_DEPTH, 900, 70_000])
@pytest.mark.parametrize("path", [("stats_quality",), ("new",), ("room", "room_details")])
def test_depth_is_bounded(path: tuple[str, ...], levels: int) -> None:
    record, names = read(body(path, '{"a":' * levels + '"["' + "}" * levels))
    leaves(record)
    text = record.to_json()
    assert text.count("{") <= MAX_DEPTH
    assert ("\ufffd" in text) == (levels + len(path) > MAX_DEPTH)
    # An unknown field is not parsed before it is read, unless the decoder cannot even skip it.
    if path != ("new",):
        assert names == ((".".join(path),) if levels + len(path) > MAX_DEPTH else ())


def test_from_dict_is_as_lenient_as_a_response() -> None:
    record = CallRecord.from_dict({"price": 0.5, "usage": {"connect_minutes": "many"}, "cdr_id": 5})
    assert (record.price, record.usage.connect_minutes, record.cdr_id) == (None, None, "5")
    assert record.extra == {"price": 0.5}
    with pytest.raises(ValidationError, match="expected an object"):
        CallRecord.from_dict([])  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="room_id: missing"):
        Room.from_dict({"name": "a"})


def test_number_of_any_size_can_be_written() -> None:
    room = Room.from_dict({"room_id": "a", "new": 10**40})
    assert json.loads(room.to_json()) == {"room_id": "a", "new": 10**40}


def test_part_of_a_decoded_record_is_built_once() -> None:
    (record,) = RecordDecoder(CallRecord, extra=False).decode_list(b'[{"user":{"name":"a"}}]') or ()
    assert record.user is record.user
    assert record == CallRecord.from_dict({"user": {"name": "a"}})
    assert copy.deepcopy(record) == record
    with pytest.raises(AttributeError, match="'CallRecord' object has no attribute 'nothing'"):
        _ = record.nothing
