"""Parsing of envelopes, which accepts any bytes without raising."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.protocol.classify import BodyKind, BodyResult
from videoapi.protocol.envelope import Envelope, InvalidJSON, is_success, parse, parse_envelope, printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(["result", "error", "desc", "status", "error_code", "message", "request_id", "room"]),
    JSON | st.sampled_from([0, "0", "error", "INVALID_PARAM", 10002, "10002"]),
    max_size=6,
)


@given(st.binary(max_size=200), st.booleans())
def test_parse_envelope_accepts_any_bytes(body: bytes, optional: bool) -> None:
    assert isinstance(parse_envelope(body, result_optional=optional), Envelope)


@given(ENVELOPES, st.integers(0, 300), st.booleans())
def test_truncated_envelope_is_classified(document: dict[str, Any], length: int, optional: bool) -> None:
    complete = json.dumps(document).encode()
    envelope = parse_envelope(complete[:length], result_optional=optional)
    if 0 < length < len(complete):
        assert envelope.result is BodyKind.CUT
    if envelope.result is BodyKind.SUCCESS:
        assert is_success(document.get("result")) or (optional and "result" not in document)


@given(ENVELOPES)
def test_success_has_no_contradictory_status(document: dict[str, Any]) -> None:
    if parse_envelope(json.dumps(document).encode()).result is BodyKind.SUCCESS:
        assert is_success(document["result"])
        assert document.get("status") != "error"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("0", BodyKind.SUCCESS),
        ('"0"', BodyKind.SUCCESS),
        ("50001", 50001),
        ('"50001"', 50001),
        ('"1"', 1),
        ("429", 429),
        ('" 0"', BodyKind.NONE),
        ('"0 "', BodyKind.NONE),
        ('"00"', BodyKind.NONE),
        ('"+0"', BodyKind.NONE),
        ('"010002"', BodyKind.NONE),
        ('"\u0660"', BodyKind.NONE),
        ('"\u0661"', BodyKind.NONE),
        ("0.0", BodyKind.NONE),
        ("-0.0", BodyKind.NONE),
        ("1.0", BodyKind.NONE),
        ("0e0", BodyKind.NONE),
        ("false", BodyKind.NONE),
        ("true", BodyKind.NONE),
        ("null", BodyKind.NONE),
        ('""', BodyKind.NONE),
        ('"success"', BodyKind.NONE),
        ("[]", BodyKind.NONE),
        ("[0]", BodyKind.NONE),
        ("{}", BodyKind.NONE),
        ("-1", BodyKind.NONE),
        ("100000000000000000000", BodyKind.NONE),
        ('"100000000000000000000"', BodyKind.NONE),
        ("9223372036854775808", BodyKind.NONE),
        ("NaN", BodyKind.CUT),
    ],
)
def test_only_integer_zero_and_string_zero_are_success(result: str, expected: BodyResult) -> None:
    assert parse_envelope(b'{"result":%b,"room":{}}' % result.encode()).result == expected


def test_missing_result_is_success_only_when_optional() -> None:
    assert parse_envelope(b'{"dialin":[]}').result is BodyKind.NONE
    assert parse_envelope(b'{"dialin":[]}', result_optional=True).result is BodyKind.SUCCESS
    assert parse_envelope(b'{"result":"0","dialin":[]}', result_optional=True).result is BodyKind.SUCCESS
    assert parse_envelope(b'{"result":10000}', result_optional=True).result == 10000


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"error"}',
        b'{"error":"[Reason] no"}',
        b'{"message":"maintenance"}',
        b'{"details":"Authentication failed"}',
        b'{"result":null}',
        b'{"result":false}',
        b"[]",
        b"",
    ],
)
def test_error_without_a_result_is_never_a_success(body: bytes) -> None:
    assert parse_envelope(body, result_optional=True).result is BodyKind.NONE


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":0,"x":NaN}',
        b'{"result":0,"x":Infinity}',
        b'{"result":0,"x":-Infinity}',
        b'{"result":0,"x":1e999}',
        b'{"result":0,"x":-1e999}',
        b'{"result":0,"x":' + b"9" * 5000 + b"}",
        b'{"result":0,"x":' + b"[" * 200_000,
        b'{"result":0,"x":' + b'{"a":' * 200_000,
        b'{"result":0,"x":"\xff"}',
        b'{"result":0,"x":"\xed\xa0\x80"}',
        b'{"result":0} trailing',
        b'{"result":0}]',
        b'{"result":0,}',
        b'{"result":0',
        b"[" * 200_000,
        b'{"result":0,"x":"\x00"}',
        "{“result”:0}".encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_invalid_json_is_classified_as_cut(body: bytes) -> None:
    assert parse_envelope(body) == Envelope(BodyKind.CUT)
    with pytest.raises(InvalidJSON):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"<html>502 Bad Gateway</html>",
        b"\x00" + b'{"result":0}',
        b"null",
        b"0",
        b'"0"',
        b"[0]",
        b"{}",
        b'{"room":{}}',
        '{"result":0}'.encode("utf-16"),
    ],
)
def test_body_that_is_not_an_envelope_has_no_result(body: bytes) -> None:
    assert parse_envelope(body).result is BodyKind.NONE


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":0,"result":4001}',
        b'{"result":4001,"result":0}',
        b'{"result":0,"room":{},"r\\u0065sult":0}',
        b'{"result":0,"room":{"a":1},"room":{"a":2}}',
        b'{"result":0,"token":"a","token":"b"}',
        b'{"result":0,"status":"error","error_code":"INVALID_PARAM"}',
        b'{"result":0,"status":"error"}',
        b'{"result":null,"error_code":"RATE_LIMITED"}',
        b'{"result":0}{"result":10002}',
        b'{"result":10002}\r\n {"result":0}',
        b' {"result":0}{"resu',
    ],
)
def test_contradictory_results_are_detected(body: bytes) -> None:
    assert parse_envelope(body).result is BodyKind.BOTH


def test_nested_duplicate_keys_are_accepted() -> None:
    assert parse_envelope(b'{"result":0,"room":{"name":"a","name":"b","result":1}}').result is BodyKind.SUCCESS


def test_byte_order_mark_and_lone_surrogate_are_accepted() -> None:
    assert parse_envelope(b'\xef\xbb\xbf{"result":0}').result is BodyKind.SUCCESS
    document = parse(b'{"result":0,"name":"\\ud800"}')
    assert document["name"] == "\ud800"


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    text = "[{" * 500 + '"]' * 3
    assert parse(json.dumps({"result": 0, "name": text, "more": ["\\", '"']}).encode())["name"] == text
    assert parse(b"[" * 65 + b"]" * 65) == json.loads("[" * 65 + "]" * 65)


@pytest.mark.parametrize("levels", [66, 900, 200_000])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":[["]"],"]"],"b":', b"}")])
def test_value_nested_too_deeply_is_replaced(start: bytes, end: bytes, levels: int) -> None:
    document = parse(b'{"result":0,"x":[%b],"y":"[\\"[","z":[]}' % (start * levels + b"1" + end * levels))
    assert (document["result"], document["y"], document["z"]) == (0, '["[', [])
    value, depth = document["x"], 2
    while value != "\ufffd":
        value, depth = value[0] if isinstance(value, list) else value["b"], depth + 1
    assert depth == 66


@pytest.mark.parametrize("filler", [b'\\"', b'"', b"\\", b"[", b'["', b'"[', b"]", b"\\\\"])
@pytest.mark.parametrize("prefix", [b'{"a":"', b'{"a":[', b"[" * 70 + b'"'], ids=["text", "list", "deep"])
def test_depth_check_runs_in_linear_time(prefix: bytes, filler: bytes) -> None:
    # With quadratic time, these 2 MB would take hours.
    assert parse_envelope(prefix + filler * 1_000_000).result is BodyKind.CUT


@pytest.mark.parametrize(
    ("body", "envelope"),
    [
        (
            b'{"result":"50001","error":"[Reason] Failed to create Room","desc":""}',
            (50001, "[Reason] Failed to create Room", None, None),
        ),
        (
            b'{"result":50007,"error":"[Reason] no","desc":"Please contact"}',
            (50007, "[Reason] no", "Please contact", None),
        ),
        (
            b'{"status":"error","error_code":"INVALID_PARAM","message":"bad","request_id":"req_1a"}',
            ("INVALID_PARAM", "bad", None, "req_1a"),
        ),
        (b'{"error_code":"NEW_ONE"}', ("NEW_ONE", None, None, None)),
        (
            b'{"result":"1","details":"Authentication failed","desc":"Authentication failed"}',
            (1, "Authentication failed", "Authentication failed", None),
        ),
        (b'{"result":10000,"error":"","message":null,"desc":"only this"}', (10000, "only this", "only this", None)),
        (b'{"result":10000,"error":{"a":1},"message":"m"}', (10000, "m", None, None)),
    ],
)
def test_every_known_failure_format_keeps_its_code_and_texts(body: bytes, envelope: tuple[Any, ...]) -> None:
    parsed = parse_envelope(body)
    assert (parsed.result, parsed.error, parsed.desc, parsed.request_id) == envelope


@pytest.mark.parametrize("name", ["lower_case", "", "A B", "X" * 65, "ÄRGER", "9LIVES"])
def test_malformed_error_code_is_ignored(name: str) -> None:
    assert parse_envelope(json.dumps({"error_code": name, "status": "error"}).encode()).result is BodyKind.NONE


def test_texts_are_truncated() -> None:
    long = "x" * 100_000
    parsed = parse_envelope(json.dumps({"result": 10002, "error": long, "desc": long, "request_id": long}).encode())
    assert [len(text or "") for text in (parsed.error, parsed.desc, parsed.request_id)] == [500, 500, 500]


@given(st.text(st.characters(), min_size=1) | st.sampled_from(["\ud800", "a\nERROR forged", "\x1b[2J", "\u202e"]))
def test_texts_are_printable(text: str) -> None:
    result = printable(text)
    assert result is not None
    assert result.isprintable()
    assert result.encode()
    assert len(result) == min(len(text), 500)
    if text[:500].isprintable():
        assert result == text[:500]
