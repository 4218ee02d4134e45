"""From the bytes of a response to an outcome: the fast and the tolerant decoder agree."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoapi.models.codec import ResponseDecoder
from videoapi.models.rooms import Room
from videoapi.protocol import routes
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.outcome import BufferedStream, Outcome, answered, no_response, streaming, truncated
from videoapi.protocol.routes import Options, Request
from videoapi.protocol.types import ErrorKind, Operation, Phase, Verdict

ROOM = b'{"room_id":"64f0","name":"Stand-up","owner_ref":"u"}'
GOOD = b'{"result":0,"room":%b}' % ROOM


def make_request(route: routes.Route = routes.GET_ROOM, **changes: Any) -> Request:
    return Request(route=route, path="/rooms/64f0", options=Options(), decoder=ResponseDecoder("room", Room), **changes)


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        b'{"result":"0","room":%b}' % ROOM,
        b'{"room":%b,"result":0}' % ROOM,
        b'\xef\xbb\xbf{"result":0,"room":%b}' % ROOM,
        b'{"result":0,"status":"ok","room":%b}' % ROOM,
        b'{"result":0,"room":{"room_id":"64f0","name":"\\ud800"}}',
        b'{"result":0,"room":{"room_id":"64f0","data":{"result":1,"room":2}}}',
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_fast_and_tolerant_decoders_accept_a_success(status: int, body: bytes) -> None:
    outcome = answered(make_request(), status, {}, body)
    assert outcome.verdict is Verdict.DONE
    assert outcome.value.room_id == "64f0"
    assert outcome.details is None
    assert not outcome.may_have_executed


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":0}',
        b'{"result":0,"room":null}',
        b'{"result":0,"room":{}}',
        b'{"result":0,"room":{"room_id":""}}',
        b'{"result":0,"room":{"room_id":".."}}',
        b'{"result":0,"room":[]}',
        b'{"result":0,"room":"64f0"}',
        b'{"result":0,"rooms":[]}',
    ],
)
@pytest.mark.parametrize("route", [routes.CREATE_ROOM, routes.GET_ROOM])
def test_success_without_a_valid_room_id_is_unknown(route: routes.Route, body: bytes) -> None:
    outcome = answered(make_request(route), 200, {}, body)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.classification.kind is ErrorKind.PROTOCOL
    assert outcome.classification.max_retries == 0
    assert outcome.may_have_executed


@pytest.mark.parametrize("body", [GOOD, b'{"result":0,"status":"ok","room":%b}' % ROOM])
def test_response_to_another_request_is_not_accepted(body: bytes) -> None:
    outcome = answered(make_request(accepts=lambda room: room.name == "Other"), 200, {}, body)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.reason == "the response belongs to a different request"
    assert answered(make_request(accepts=lambda room: room.name == "Stand-up"), 200, {}, body).verdict is Verdict.DONE


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":0,"result":40001,"room":%b}' % ROOM,
        b'{"result":40001,"room":%b,"result":0}' % ROOM,
        b'{"result":0,"room":%b,"room":{"room_id":"other"}}' % ROOM,
        b'{"result":0,"room":%b,"error_code":"INVALID_PARAM"}' % ROOM,
        b'{"result":0,"room":%b,"status":"error"}' % ROOM,
        b'{"result":0,"room":%b}{"result":10002}' % ROOM,
    ],
)
def test_contradictory_results_are_unknown(body: bytes) -> None:
    for status in (200, 400, 401, 429):
        assert answered(make_request(), status, {}, body).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("status", [202, 203, 204, 206, 302, 400, 429, 500])
def test_success_body_with_another_status_is_unknown(status: int) -> None:
    outcome = answered(make_request(routes.CREATE_ROOM), status, {"Retry-After": "1"}, GOOD)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.value is None


@given(st.integers(100, 999), st.binary(max_size=120) | st.sampled_from([GOOD, GOOD[:20], b'{"result":10002}']))
def test_answered_never_raises(status: int, body: bytes) -> None:
    for route in (routes.CREATE_ROOM, routes.GET_ROOM, routes.DELETE_ROOM, routes.CREATE_TOKEN, routes.DIALIN):
        outcome = answered(make_request(route), status, {}, body)
        assert outcome.may_have_executed == (outcome.verdict is Verdict.UNKNOWN)
        assert (outcome.value is not None) == (outcome.verdict is Verdict.DONE)


def test_failure_keeps_the_service_texts_and_retry_after() -> None:
    body = b'{"status":"error","error_code":"RATE_LIMITED","message":"slow down"}'
    outcome = answered(make_request(), 429, {"Retry-After": "7", "X-Request-Id": "req_1\n2"}, body)
    assert outcome.verdict is Verdict.THROTTLED
    assert outcome.code == "RATE_LIMITED"
    assert outcome.retry_after == 7
    assert outcome.details is not None
    assert (outcome.details.error, outcome.details.request_id) == ("slow down", "req_1\ufffd2")


DISTRUST = Options(retry=RetryPolicy(trust_429=False))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b"slow down"),
        (425, b""),
        (429, b'{"status":"error","error_code":"RATE_LIMITED"}'),
        (429, b'{"result":12345}'),
        (200, b'{"status":"error","error_code":"RATE_LIMITED"}'),
        (200, b'{"result":429}'),
    ],
)
def test_untrusted_429_is_unknown(status: int, body: bytes) -> None:
    request = make_request(routes.CREATE_ROOM)
    assert answered(request, status, {}, body).verdict is Verdict.THROTTLED
    distrusting = answered(attrs.evolve(request, options=DISTRUST), status, {}, body)
    assert distrusting.verdict is Verdict.UNKNOWN
    assert distrusting.classification.max_retries == 0
    read = answered(attrs.evolve(make_request(), options=DISTRUST), status, {}, body)
    assert read.classification.max_retries > 1


def test_untrusted_429_retries_per_operation_class() -> None:
    classifications = {
        route.operation: answered(attrs.evolve(make_request(route), options=DISTRUST), 429, {}, b"").classification
        for route in (routes.GET_ROOM, routes.DELETE_ROOM, routes.CREATE_TOKEN, routes.CREATE_ROOM)
    }
    assert {operation: min(classification.max_retries, 2) for operation, classification in classifications.items()} == {
        Operation.SAFE: 2,
        Operation.IDEMPOTENT: 2,
        Operation.REPEATABLE: 1,
        Operation.NON_REPEATABLE: 0,
    }
    assert {classification.kind for classification in classifications.values()} == {ErrorKind.RATE}


@pytest.mark.parametrize(
    ("body", "headers", "verdict"),
    [
        (b"<html>maintenance</html>", {"Retry-After": "1"}, Verdict.THROTTLED),
        (b"", {"Retry-After": "1"}, Verdict.THROTTLED),
        (b"<html>maintenance</html>", {}, Verdict.UNKNOWN),
        (b'{"result":50001}', {"Retry-After": "1"}, Verdict.UNKNOWN),
        (b'{"result":10002}', {"Retry-After": "1"}, Verdict.UNKNOWN),
        (b'{"result":12345}', {"Retry-After": "1"}, Verdict.UNKNOWN),
        (GOOD, {"Retry-After": "1"}, Verdict.UNKNOWN),
    ],
)
def test_gateway_503_is_trusted_only_with_trust_503(body: bytes, headers: dict[str, str], verdict: Verdict) -> None:
    request = make_request(routes.CREATE_ROOM)
    trusting = attrs.evolve(request, options=Options(retry=RetryPolicy(trust_503=True)))
    assert answered(trusting, 503, headers, body).verdict is verdict
    assert answered(request, 503, headers, body).verdict is Verdict.UNKNOWN
    assert answered(trusting, 502, headers, body).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("status", "verdict", "kind"),
    [
        (200, Verdict.UNKNOWN, ErrorKind.TIMEOUT),
        (201, Verdict.UNKNOWN, ErrorKind.TIMEOUT),
        (400, Verdict.REJECTED, ErrorKind.REQUEST),
        (401, Verdict.REJECTED, ErrorKind.AUTHENTICATION),
        (429, Verdict.THROTTLED, ErrorKind.RATE),
        (502, Verdict.UNKNOWN, ErrorKind.FAULT),
    ],
)
def test_status_decides_when_the_body_is_truncated(status: int, verdict: Verdict, kind: ErrorKind) -> None:
    outcome = truncated(make_request(routes.CREATE_ROOM), status, {}, "the body broke", ErrorKind.TIMEOUT)
    assert (outcome.verdict, outcome.classification.kind) == (verdict, kind)
    assert outcome.may_have_executed == (verdict is Verdict.UNKNOWN)
    assert (outcome.classification.max_retries > 0) == (verdict is Verdict.THROTTLED)


@pytest.mark.parametrize("operation_route", [routes.GET_ROOM, routes.CREATE_ROOM])
def test_unsent_request_was_not_executed(operation_route: routes.Route) -> None:
    for kind in (ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.CERTIFICATE):
        outcome = no_response(make_request(operation_route), Phase.NOT_SENT, kind, "refused")
        assert outcome.verdict is Verdict.NOT_SENT
        assert not outcome.may_have_executed
        assert no_response(make_request(operation_route), Phase.SENT, kind, "lost").may_have_executed


def test_repr_contains_no_bodies_and_no_headers() -> None:
    outcome = answered(make_request(), 200, {"Set-Cookie": "canary-1"}, GOOD.replace(b"Stand-up", b"canary-2"))
    rejected = answered(make_request(), 400, {"Set-Cookie": "canary-1"}, b'{"result":1,"token":"canary-2"}')
    request = make_request(headers={"X-Key": "canary-1"}, body=b"canary-2")
    assert "canary" not in f"{outcome!r} {rejected!r} {request!r}"


async def test_buffered_stream_yields_the_complete_body() -> None:
    stream = BufferedStream(200, {"A": "b"}, b"all of it")
    assert [chunk async for chunk in stream] == [b"all of it"]
    await stream.aclose()
    assert [chunk async for chunk in BufferedStream(200, {}, b"")] == []
    outcome = streaming(200, {}, stream)
    assert isinstance(outcome, Outcome)
    assert outcome.verdict is Verdict.DONE
    assert outcome.stream is stream
