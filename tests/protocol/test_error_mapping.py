"""The exception of a failed outcome: its class, attributes and message."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from videoapi import errors
from videoapi.creation.doubts import Doubt, still_unknown
from videoapi.creation.state import Create
from videoapi.models.codec import ResponseDecoder
from videoapi.models.rooms import Room
from videoapi.protocol import routes
from videoapi.protocol.backoff import RetryPolicy
from videoapi.protocol.error_mapping import error_from_outcome
from videoapi.protocol.outcome import Outcome, answered, no_response, truncated
from videoapi.protocol.routes import Options, Request, Route
from videoapi.protocol.types import Classification, ErrorKind, Phase, Verdict
from videoapi.resources.tokens import TOKEN


def make_request(route: Route = routes.GET_ROOM) -> Request:
    decoder = TOKEN if route is routes.CREATE_TOKEN else ResponseDecoder("room", Room)
    return Request(
        route=route,
        path="/rooms/64f0canary",
        options=Options(),
        decoder=decoder,
        reference="vxref" if route is routes.CREATE_ROOM else None,
        headers={"X-Key": "canary"},
        body=b'{"key":"canary"}',
    )


def error_for(status: int, body: bytes, route: Route = routes.GET_ROOM, headers: Any = None) -> errors.VideoAPIError:
    request = make_request(route)
    return error_from_outcome(request, answered(request, status, headers or {}, body))


def error_without_response(
    phase: Phase, kind: ErrorKind, reason: str, route: Route = routes.GET_ROOM
) -> errors.VideoAPIError:
    request = make_request(route)
    return error_from_outcome(request, no_response(request, phase, kind, reason))


@pytest.mark.parametrize(
    ("status", "body", "route", "kind", "group", "retryable"),
    [
        (401, b"", routes.GET_ROOM, errors.AuthenticationFailed, 400, False),
        (200, b'{"result":10000}', routes.GET_ROOM, errors.AuthenticationFailed, 100, False),
        (401, b'{"result":"1","details":"no"}', routes.GET_ROOM, errors.AuthenticationFailed, 400, False),
        (401, b'{"error_code":"CREDENTIAL_EXPIRED"}', routes.GET_ROOM, errors.AuthenticationFailed, 400, False),
        (403, b"<html>", routes.GET_ROOM, errors.PermissionDenied, 400, False),
        (403, b'{"error_code":"PROJECT_SUSPENDED"}', routes.GET_ROOM, errors.PermissionDenied, 400, False),
        # Without the service's envelope, or on a route without an ID, it is about the base URL.
        (404, b"", routes.GET_ROOM, errors.ProtocolError, 400, False),
        (410, b"", routes.GET_ROOM, errors.ProtocolError, 400, False),
        (404, b"<html>", routes.DELETE_ROOM, errors.ProtocolError, 400, False),
        (404, b'{"detail":"Not Found"}', routes.GET_ROOM, errors.ProtocolError, 400, False),
        (404, b'{"code":404,"message":"no route"}', routes.GET_ROOM, errors.ProtocolError, 400, False),
        (404, b"", routes.CREATE_ROOM, errors.ProtocolError, 400, False),
        (404, b'{"result":40001}', routes.CREATE_ROOM, errors.ProtocolError, 400, False),
        (200, b'{"result":40001}', routes.LIST_ROOMS, errors.ProtocolError, 400, False),
        (404, b'{"result":40001}', routes.GET_ROOM, errors.NotFound, 400, False),
        (410, b'{"result":40001}', routes.DELETE_ROOM, errors.NotFound, 400, False),
        (407, b"", routes.GET_ROOM, errors.ConnectionFailed, 400, False),
        (407, b"<html>", routes.CREATE_ROOM, errors.ConnectionFailed, 400, False),
        (511, b"<html>login", routes.UPDATE_ROOM, errors.ConnectionFailed, 500, False),
        (200, b'{"result":40001}', routes.GET_ROOM, errors.NotFound, 400, False),
        (409, b'{"result":10030}', routes.UPDATE_ROOM, errors.Conflict, 100, True),
        (200, b'{"result":10030}', routes.UPDATE_ROOM, errors.Conflict, 100, True),
        (409, b'{"result":10106}', routes.UPDATE_ROOM, errors.RequestRejected, 101, False),
        (409, b"", routes.UPDATE_ROOM, errors.Conflict, 400, True),
        (429, b"", routes.GET_ROOM, errors.RateLimited, 400, True),
        (503, b'{"result":10105}', routes.CREATE_TOKEN, errors.ServerFault, 101, True),
        (200, b'{"result":10105}', routes.CREATE_TOKEN, errors.RateLimited, 101, True),
        (403, b'{"result":10114}', routes.CREATE_TOKEN, errors.TokenDenied, 101, True),
        (403, b'{"result":10111}', routes.CREATE_TOKEN, errors.TokenDenied, 101, False),
        (403, b'{"result":10113}', routes.CREATE_TOKEN, errors.TokenDenied, 101, True),
        (400, b'{"result":10002}', routes.UPDATE_ROOM, errors.RequestRejected, 100, False),
        (200, b'{"result":10201}', routes.CDR_CONFERENCE, errors.RequestRejected, 102, False),
        (400, b'{"error_code":"INVALID_PARAM"}', routes.GET_ROOM, errors.RequestRejected, 400, False),
        (418, b"", routes.GET_ROOM, errors.RequestRejected, 400, False),
        (404, b'{"error_code":"NOT_FOUND"}', routes.GET_ROOM, errors.NotFound, 400, False),
        (403, b'{"error_code":"FORBIDDEN"}', routes.GET_ROOM, errors.PermissionDenied, 400, False),
        (409, b'{"error_code":"CONFLICT"}', routes.UPDATE_ROOM, errors.Conflict, 400, True),
        (429, b'{"error_code":"QUOTA"}', routes.GET_ROOM, errors.RateLimited, 400, True),
        (503, b'{"error_code":"MAINTENANCE"}', routes.GET_ROOM, errors.ServerFault, 500, True),
        (404, b'{"result":12345}', routes.GET_ROOM, errors.NotFound, 123, False),
        (400, b'{"result":12345}', routes.GET_ROOM, errors.RequestRejected, 123, False),
        (200, b'{"result":12345}', routes.GET_ROOM, errors.RequestRejected, 123, False),
        (500, b'{"result":50000}', routes.GET_ROOM, errors.ServerFault, 500, True),
        (200, b'{"result":50007}', routes.GET_ROOM, errors.ServerFault, 500, False),
        (200, b'{"result":59999}', routes.GET_ROOM, errors.ServerFault, 599, False),
        (200, b'{"result":503}', routes.GET_ROOM, errors.ServerFault, 200, True),
        (200, b'{"result":404}', routes.GET_ROOM, errors.NotFound, 200, False),
        (530, b"", routes.GET_ROOM, errors.ServerFault, 500, True),
        (302, b"", routes.GET_ROOM, errors.ProtocolError, 300, False),
        (101, b"", routes.GET_ROOM, errors.ProtocolError, 100, False),
        (200, b"<html>", routes.GET_ROOM, errors.ProtocolError, 200, False),
        (200, b'{"result":0', routes.GET_ROOM, errors.ProtocolError, 200, False),
        (200, b'{"result":0}', routes.GET_ROOM, errors.ProtocolError, 200, False),
        (400, b'{"result":0}', routes.GET_ROOM, errors.ProtocolError, 400, False),
        (200, b'{"result":0,"result":1}', routes.GET_ROOM, errors.ProtocolError, 200, False),
    ],
)
def test_error_class_per_response(
    status: int, body: bytes, route: Route, kind: type[errors.VideoAPIError], group: int, retryable: bool
) -> None:
    error = error_for(status, body, route)
    assert type(error) is kind
    assert (error.method, error.path, error.status) == (route.method, route.template, status)
    assert (error.group, error.retryable) == (group, retryable)


@pytest.mark.parametrize(
    ("phase", "error_kind", "kind", "executed", "retryable"),
    [
        (Phase.NOT_SENT, ErrorKind.CONNECTION, errors.ConnectionFailed, False, True),
        (Phase.NOT_SENT, ErrorKind.CERTIFICATE, errors.ConnectionFailed, False, False),
        (Phase.NOT_SENT, ErrorKind.TIMEOUT, errors.CallTimeout, False, True),
        (Phase.SENT, ErrorKind.CONNECTION, errors.ConnectionFailed, True, True),
        (Phase.SENT, ErrorKind.TIMEOUT, errors.CallTimeout, True, True),
        (Phase.SENT, ErrorKind.PROTOCOL, errors.ProtocolError, True, False),
    ],
)
def test_error_class_without_a_response(
    phase: Phase, error_kind: ErrorKind, kind: type[errors.VideoAPIError], executed: bool, retryable: bool
) -> None:
    error = error_without_response(phase, error_kind, "no response", routes.DELETE_ROOM)
    assert type(error) is kind
    assert (error.may_have_executed, error.retryable) == (executed, retryable)
    assert (error.status, error.code, error.group) == (None, None, None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(10111, "over"), (10112, "cut_off"), (10113, "not_active"), (10114, "full"), (40002, "unauthorized")],
)
def test_token_denied_has_a_reason(code: int, reason: str) -> None:
    error = error_for(403, b'{"result":%d}' % code, routes.CREATE_TOKEN)
    assert isinstance(error, errors.TokenDenied)
    assert error.reason == reason
    assert error.code == code


@pytest.mark.parametrize("route", [routes.ARCHIVE_ROOM, routes.GET_ROOM, routes.CREATE_ROOM])
def test_unauthorized_is_not_about_a_token_on_other_routes(route: Route) -> None:
    error = error_for(403, b'{"result":40002}', route)
    assert type(error) is errors.PermissionDenied
    assert (error.code, error.retryable, error.may_have_executed) == (40002, False, False)


@pytest.mark.parametrize("route", [routes.GET_ROOM, routes.CREATE_TOKEN])
def test_code_of_a_denied_token_with_status_401_is_a_refused_login(route: Route) -> None:
    error = error_for(401, b'{"result":40002}', route)
    assert type(error) is errors.AuthenticationFailed
    assert "Check APP_ID and APP_KEY" in error.message


def test_create_with_unknown_outcome_raises_error_with_reference() -> None:
    request = make_request(routes.CREATE_ROOM)
    for outcome in (
        answered(request, 502, {}, b""),
        answered(request, 200, {}, b'{"result":0}'),
        answered(request, 302, {}, b""),
        answered(request, 409, {}, b""),
        answered(request, 409, {}, b'{"result":10030}'),
        no_response(request, Phase.SENT, ErrorKind.TIMEOUT, "no answer"),
        truncated(request, 200, {}, "the body broke", ErrorKind.CONNECTION),
        # The last attempt was not sent, but an earlier one may have been executed.
        attrs.evolve(
            no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "refused"), may_have_executed=True, attempts=2
        ),
    ):
        error = error_from_outcome(request, outcome)
        assert type(error) is errors.CreateOutcomeUnknown
        assert error.reference == "vxref"
        assert error.may_have_executed
        assert not error.retryable
        assert "May have been executed." in str(error)
        assert str(error).endswith('Before retrying, call rooms.resolve("vxref").')


def test_create_that_was_not_executed_raises_the_usual_error() -> None:
    request = make_request(routes.CREATE_ROOM)
    assert type(error_for(400, b'{"result":10002}', routes.CREATE_ROOM)) is errors.RequestRejected
    assert type(error_for(429, b"", routes.CREATE_ROOM)) is errors.RateLimited
    refused = error_from_outcome(request, no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "refused"))
    assert type(refused) is errors.ConnectionFailed
    assert not refused.may_have_executed


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b'{"result":10002}'), (401, b""), (404, b""), (407, b""), (429, b""), (502, b""), (302, b""), (200, b"{")],
)
def test_every_error_of_a_create_has_its_reference(status: int, body: bytes) -> None:
    error = error_for(status, body, routes.CREATE_ROOM)
    assert error.reference == "vxref"
    # The text advises a look-up only if the room may exist.
    assert ("vxref" in str(error)) == error.may_have_executed
    assert error_for(status, body, routes.UPDATE_ROOM).reference is None


def test_cause_of_an_outcome_becomes_the_cause_of_its_error() -> None:
    request, cause = make_request(routes.CREATE_ROOM), OSError("vault")
    outcome = no_response(request, Phase.SENT, ErrorKind.CONNECTION, "lost")
    assert error_from_outcome(request, attrs.evolve(outcome, cause=cause)).__cause__ is cause
    assert error_from_outcome(request, outcome).__cause__ is None


def test_facts_of_a_create_precede_those_of_the_look_up_after_it() -> None:
    request = make_request(routes.CREATE_ROOM)
    later = str(error_for(503, b"", routes.LIST_ROOMS)).partition(". ")[0]
    reason = f"unknown outcome; then, looking for the room: {later}"
    outcome = attrs.evolve(answered(request, 502, {}, b""), reason=reason)
    assert str(error_from_outcome(request, outcome)).startswith(
        "POST /rooms: unknown outcome (HTTP 502); then, looking for the room: "
        "GET /rooms: the service failed (HTTP 503). May"
    )
    outcome = answered(request, 502, {}, b'{"result":50001,"error":"Busy."}')
    assert str(error_from_outcome(request, still_unknown(outcome, TimeoutError("too late")))).startswith(
        "POST /rooms: Busy (HTTP 502, code 50001); then, looking for the room: too late. May"
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "TimeoutError"),
        (OSError("  "), "OSError"),
        (ValueError("Not here. Try there."), "Not here. Try there"),
    ],
)
def test_text_of_an_error_is_never_empty(error: Exception, text: str) -> None:
    assert errors.text_of(error) == text
    # A create of an earlier run that was not found, and one of this run.
    request = make_request(routes.CREATE_ROOM)
    earlier = str(Doubt(request, Create(), later=error).error())
    assert f"nothing proves it ({text})." in earlier
    lost = no_response(request, Phase.SENT, ErrorKind.CONNECTION, "lost")
    assert still_unknown(lost, error).reason == f"lost; then, looking for the room: {text.partition('. ')[0]}"


def test_every_error_kind_maps_to_an_exception() -> None:
    for kind in ErrorKind:
        for verdict in (Verdict.REJECTED, Verdict.NOT_SENT, Verdict.THROTTLED, Verdict.UNKNOWN):
            outcome = Outcome(classification=Classification(verdict, kind), status=400)
            error = error_from_outcome(make_request(), outcome)
            assert isinstance(error, errors.VideoAPIError)
            assert not (error.retryable and verdict is Verdict.REJECTED)


def test_error_keeps_the_service_texts_and_request_id() -> None:
    error = error_for(
        500,
        b'{"result":50001,"error":"[Reason] Failed to create Room","desc":"call us"}',
        routes.GET_ROOM,
        {"X-Request-Id": "req_7"},
    )
    assert error.error == "[Reason] Failed to create Room"
    assert (error.code, error.desc, error.request_id) == (50001, "call us", "req_7")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            error_for(404, b'{"result":40001,"error":"[Reason] Room not found","desc":""}'),
            "GET /rooms/{room_id}: Room not found (HTTP 404, code 40001).",
        ),
        (
            error_for(200, b'{"result":10114}', routes.CREATE_TOKEN),
            "POST /rooms/{room_id}/tokens: Token Denied. Room is full (HTTP 200, code 10114). Not executed.",
        ),
        (
            error_for(429, b"", headers={"Retry-After": "7"}),
            "GET /rooms/{room_id}: rate limited (HTTP 429). Retry after 7 s (Retry-After).",
        ),
        (
            error_for(429, b"", routes.CREATE_ROOM, headers={"Retry-After": "999999"}),
            "POST /rooms: rate limited (HTTP 429). Not executed. Retry after 86400 s (Retry-After).",
        ),
        (
            error_for(502, b"<html>", routes.DELETE_ROOM),
            "DELETE /rooms/{room_id}: the service failed (HTTP 502). May have been executed.",
        ),
        (
            error_for(502, b"<html>"),
            "GET /rooms/{room_id}: the service failed (HTTP 502).",
        ),
        (
            error_for(502, b"<html>", routes.CREATE_ROOM),
            "POST /rooms: the service failed (HTTP 502). May have been executed. "
            'Before retrying, call rooms.resolve("vxref").',
        ),
        (
            error_for(404, b"<html>"),
            "GET /rooms/{room_id}: not a path of the Video API (HTTP 404). Check base_url: host and version directory.",
        ),
        (
            # The service's text would be misleading, because the path names no room.
            error_for(404, b'{"result":40001,"error":"[Reason] Room not found"}', routes.CREATE_ROOM),
            "POST /rooms: not a path of the Video API (HTTP 404, code 40001). Not executed. "
            "Check base_url: host and version directory.",
        ),
        (
            error_for(407, b"<html>", routes.DELETE_ROOM),
            "DELETE /rooms/{room_id}: rejected by a proxy (HTTP 407). Not executed. "
            "Check the proxy and its credentials.",
        ),
        (
            error_for(200, b'{"result":429}'),
            "GET /rooms/{room_id}: rate limited (HTTP 200, code 429).",
        ),
        (
            error_for(200, b'{"result":12345}'),
            "GET /rooms/{room_id}: undocumented response (HTTP 200, code 12345).",
        ),
        (
            error_for(302, b""),
            "GET /rooms/{room_id}: unexpected redirect (HTTP 302). Check base_url.",
        ),
        (
            error_for(302, b"", headers={"Location": "https://user:pw@portal.example.com:8443/login?key=canary#frag"}),
            "GET /rooms/{room_id}: unexpected redirect to https://portal.example.com:8443/login (HTTP 302). "
            "Check base_url.",
        ),
        (
            error_for(302, b"", headers={"Location": "/login?key=canary"}),
            "GET /rooms/{room_id}: unexpected redirect to /login (HTTP 302). Check base_url.",
        ),
        (
            error_for(302, b"", headers={"Location": "http://["}),
            "GET /rooms/{room_id}: unexpected redirect (HTTP 302). Check base_url.",
        ),
        (
            error_for(401, b'{"error_code":"UNAUTHORIZED","message":"who?","request_id":"req_1"}'),
            "GET /rooms/{room_id}: who? (HTTP 401, code UNAUTHORIZED, request req_1). "
            "Check APP_ID and APP_KEY, and that both belong to this project.",
        ),
        (
            error_without_response(Phase.NOT_SENT, ErrorKind.CONNECTION, "no connection could be made"),
            "GET /rooms/{room_id}: no connection could be made. Not sent.",
        ),
        (
            error_without_response(Phase.NOT_SENT, ErrorKind.CERTIFICATE, "the certificate is not trusted"),
            "GET /rooms/{room_id}: the certificate is not trusted. Not sent.",
        ),
        (
            error_without_response(Phase.SENT, ErrorKind.CONNECTION, "lost", routes.UPDATE_ROOM),
            "PATCH /rooms/{room_id}: lost. May have been executed.",
        ),
    ],
)
def test_message_states_cause_execution_state_and_next_step(error: errors.VideoAPIError, message: str) -> None:
    assert str(error) == message


def test_message_counts_the_attempts() -> None:
    request = make_request()
    outcome = attrs.evolve(
        no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "refused"), attempts=3, may_have_executed=True
    )
    error = error_from_outcome(request, outcome)
    assert error.attempts == 3
    assert str(error) == "GET /rooms/{room_id}: refused (attempt 3 of 3)."
    # A create that was not sent is retried beyond the limit.
    update = make_request(routes.UPDATE_ROOM)
    error = error_from_outcome(update, attrs.evolve(outcome, attempts=7))
    assert str(error) == "PATCH /rooms/{room_id}: refused (7 attempts). May have been executed."
    create = make_request(routes.CREATE_ROOM)
    error = error_from_outcome(create, attrs.evolve(outcome, attempts=2, may_have_executed=False))
    assert str(error) == "POST /rooms: refused (2 attempts). Not sent."


def test_message_counts_the_attempts_of_a_read_before_this_call() -> None:
    request = make_request()
    outcome = attrs.evolve(no_response(request, Phase.NOT_SENT, ErrorKind.CONNECTION, "refused"), attempts=1)
    options = attrs.evolve(request.options, spent=2, retry=RetryPolicy(attempts=1))
    error = error_from_outcome(attrs.evolve(request, options=options), outcome)
    assert str(error) == "GET /rooms/{room_id}: refused (attempt 3 of 3). Not sent."


def test_advice_of_an_outcome_precedes_that_of_its_kind() -> None:
    request = make_request()
    outcome = no_response(request, Phase.NOT_SENT, ErrorKind.CERTIFICATE, "unknown CA")
    error = error_from_outcome(request, attrs.evolve(outcome, advice="For a private CA, pass ca_file=."))
    assert str(error) == "GET /rooms/{room_id}: unknown CA. Not sent. For a private CA, pass ca_file=."


@pytest.mark.parametrize("route", [routes.CREATE_ROOM, routes.GET_ROOM, routes.CREATE_TOKEN], ids=lambda r: r.name)
def test_errors_contain_no_tokens_and_no_request_data(route: Route) -> None:
    token = {"Set-Cookie": "canary", "Authorization": "canary"}
    bodies = (
        b'{"result":0,"token":{"canary":"canary"}}',
        b'{"result":10002,"token":"canary"}',
        b'{"result":0,"room":"canary"}',
        b'{"result":0,"room":{"room_id":"canary/"}}',
        b'{"result":0,"room":{"room_id":"a","settings":"canary"}}',
        b"<html>canary</html>",
    )
    for status in (200, 400, 500):
        for body in bodies:
            outcome = answered(make_request(route), status, token, body)
            if outcome.verdict is Verdict.DONE:
                continue
            error = error_from_outcome(make_request(route), outcome)
            assert "canary" not in f"{error!r} {error} {vars(error)} {error.__reduce__()}"
