"""Valid and invalid JSON, success and failure, on every decoding path, over real sockets."""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clients import ONCE, client_for
from support.server import ROOM_ID, Link, Server, answer, room, serve

from videoapi import (
    CallRecord,
    CreateOutcomeUnknown,
    NotFound,
    ProtocolError,
    RequestRejected,
    Room,
    ServerFault,
    TokenDenied,
    ValidationError,
    VideoAPIError,
    VideoClient,
)
from videoapi.models.codec import ResponseDecoder
from videoapi.protocol.outcome import _decode_fast, _decode_tolerantly, answered
from videoapi.protocol.routes import GET_ROOM, Options, Request
from videoapi.protocol.types import Verdict

ROOM = f'"room":{{"room_id":"{ROOM_ID}","name":"Stand-up"}}'
SUCCESS = f'{{"result":0,{ROOM}}}'.encode()


class Service:
    """A server that always sends the same response, and a client for it."""

    def __init__(self, server: Server, client: VideoClient) -> None:
        self.server = server
        self.client = client
        self.answer = b""

    def say(self, body: bytes | str, status: int = 200, **headers: str) -> None:
        self.answer = answer(status, body if isinstance(body, bytes) else body.encode(), headers)

    async def get(self) -> Room:
        return await self.client.rooms.get(ROOM_ID)

    async def create(self) -> Room:
        return await self.client.rooms.create(name="Stand-up", on_unknown="strict")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    here: list[Service] = []

    async def script(link: Link) -> None:
        while True:
            await link.request()
            link.send(here[0].answer)
            await link.drain()

    async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client:
        here.append(Service(server, client))
        yield here[0]


async def check_rejected(service: Service, body: bytes | str, status: int = 200) -> VideoAPIError:
    """Send the body to a read and a create; check that neither succeeds. Return the read's error."""
    service.say(body, status)
    with pytest.raises(VideoAPIError) as failed:
        await service.get()
    with pytest.raises(CreateOutcomeUnknown):
        await service.create()
    return failed.value


# A number in an unknown field takes the tolerant path, a number in a known field the fast path.
PLACES: dict[str, str] = {
    "unknown": f'{{"result":0,{ROOM},"more":%s}}',
    "known": f'{{"result":0,"room":{{"room_id":"{ROOM_ID}","settings":{{"participants":%s}}}}}}',
    "result": f'{{"result":%s,{ROOM}}}',
}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("place", ["known", "result"])
async def test_f57_non_json_numbers(service: Service, number: str, place: str) -> None:
    """F57 | `NaN`, `Infinity`, `1e999` | rejected on every path; create U | in a field, in `result`

    The standard library accepts all of them.
    """
    error = await check_rejected(service, PLACES[place] % number)
    assert isinstance(error, ProtocolError)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
async def test_f57_nan_in_an_unknown_field(service: Service, number: str) -> None:
    """F57 | `NaN` in a field unknown to the models | rejected: the body is invalid JSON | raw server"""
    await check_rejected(service, PLACES["unknown"] % number)


async def test_f57_invalid_number_in_one_record(service: Service) -> None:
    """F57 | `1e999` in one record of a stream | its field reads None, every record is yielded | raw server"""
    service.say(
        '{"result":"0","cdr":[{"cdr_id":"a"},{"cdr_id":"b","usage":{"x":1e999,"connect_minutes":1e999}},'
        '{"cdr_id":"c"}]}'
    )
    for extra in (False, True):
        stream = service.client.cdr.by_room(ROOM_ID, extra=extra)
        records = await stream.to_list()
        assert [record.cdr_id for record in records] == ["a", "b", "c"]
        assert records[1].usage.connect_minutes is None


@pytest.mark.parametrize("deep", [65, 2_000, 200_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
async def test_f58_excessive_nesting(service: Service, deep: int, bracket: str) -> None:
    """F58 | 200,000 brackets in place of the room | `ProtocolError`, never a `RecursionError`; create U | raw server

    msgspec and the standard library raise RecursionError.
    """
    close = "]" if bracket == "[" else "}"
    for body in (bracket * deep, f'{{"result":0,"room":{bracket * deep}1{close * deep}}}'):
        error = await check_rejected(service, body)
        assert isinstance(error, ProtocolError)


@pytest.mark.parametrize("deep", [62, 65, 900, 200_000])
async def test_f58_nesting_in_an_unknown_field(service: Service, deep: int) -> None:
    """F58 | an unknown field nested 200,000 deep, on the tolerant path | the room is read | raw server"""
    service.say(f'{{"result":0,{ROOM},"status":"ok","new":{"[" * deep}{"]" * deep}}}')
    assert (await service.get()).room_id == ROOM_ID


@pytest.mark.parametrize("deep", [63, 64, 50_000])
@pytest.mark.parametrize("field", ["data", "new"])
async def test_f58_nesting_in_a_field_of_a_room(service: Service, deep: int, field: str) -> None:
    """F58 | `data` nested 50,000 deep | read and created as listed: U+FFFD from 65 levels on | raw server"""
    value = '{"a":' * deep + "1" + "}" * deep
    room_text = f'{{"room_id":"{ROOM_ID}","name":"Stand-up","{field}":{value}}}'
    service.say(f'{{"result":0,"rooms":[{room_text}]}}')
    (listed,) = await service.client.rooms.list(extra=True).to_list()
    service.say(f'{{"result":0,"room":{room_text}}}')
    for read in (await service.get(), await service.create()):
        assert read.to_json() == listed.to_json()
        assert ("\ufffd" in read.to_json()) == (deep > 63)
        assert read == Room.from_dict(read.to_dict())


async def test_f58_nesting_in_other_single_objects(service: Service) -> None:
    """F58 | an update, a token, dial-in: a body nested 200,000 deep | read, U+FFFD from 65 levels on | raw server"""
    service.say(f'{{"result":0,"token":"t0ken","new":{"[" * 200_000}{"]" * 200_000}}}')
    await service.client.rooms.update(ROOM_ID, name="Sit-down")
    token = await service.client.tokens.create(room_id=ROOM_ID, name="Ann", role="participant", user_ref="u1")
    for extra in (token.extra, (await service.client.dialin.get()).extra):
        assert str(extra["new"]) == "[" * 63 + "'\ufffd'" + "]" * 63


async def test_f58_nesting_in_a_response_without_a_model(service: Service) -> None:
    """F58 | `client.request`, a body nested 200,000 deep | read, U+FFFD from 66 levels on | raw server"""
    service.say(f'{{"result":0,"new":{"[" * 200_000}{"]" * 200_000}}}')
    response = await service.client.request("GET", "/other", operation="read")
    assert str(response.json()["new"]) == "[" * 64 + "'\ufffd'" + "]" * 64


async def test_f58_excessive_nesting_in_one_record(service: Service) -> None:
    """F58 | a field of a record nested 200,000 deep | that field reads None, every record is yielded | raw server"""
    deep = "[" * 200_000 + "]" * 200_000
    service.say(f'{{"result":"0","cdr":[{{"cdr_id":"a"}},{{"cdr_id":"b","user":{deep}}},{{"cdr_id":"c"}}]}}')
    stream = service.client.cdr.by_room(ROOM_ID)
    records = await stream.to_list()
    assert [record.cdr_id for record in records] == ["a", "b", "c"]
    assert records[1].user.name is None
    assert stream.rejected_count == 0


@pytest.mark.parametrize(
    "body",
    [
        f'{{"result":0,{ROOM},"result":40001}}',
        f'{{"result":40001,{ROOM},"result":0}}',
        f'{{"result":0,{ROOM},"result":0}}',
        f'{{"result":0,{ROOM},"r\\u0065sult":40001}}',
        f'{{"result":0,{ROOM},{ROOM.replace("Stand-up", "Sit-up")}}}',
        f'{{"result":0,{ROOM},"status":"error","error_code":"UNAUTHORIZED"}}',
        SUCCESS.decode() * 2,
    ],
    ids=["0-then-code", "code-then-0", "0-twice", "escaped", "room-twice", "both-envelopes", "two-documents"],
)
async def test_f59_duplicate_envelope_keys(service: Service, body: str) -> None:
    """F59 | duplicate envelope key, both envelopes, two documents | proves nothing: create U | raw server

    With msgspec and the standard library, the last one wins.
    """
    error = await check_rejected(service, body)
    assert isinstance(error, ProtocolError)
    # Nor does the body count as a rejection by the service.
    assert error.code is None


async def test_f59_duplicate_keys_within_the_room(service: Service) -> None:
    """F59 | duplicate key within the room | accepted: only envelope keys must be unique | raw server"""
    service.say(f'{{"result":0,"room":{{"room_id":"{ROOM_ID}","name":"A","name":"Stand-up"}}}}')
    assert (await service.get()).name == "Stand-up"


@pytest.mark.parametrize("number", ["9" * 5_000, str(2**64)], ids=["5000-digits", "2**64"])
@pytest.mark.parametrize("place", ["known", "unknown"])
async def test_f60_oversized_numbers(service: Service, number: str, place: str) -> None:
    """F60 | 5,000 digits; 2⁶⁴ | a value or a `ProtocolError`, never a `ValueError`; short error text | raw server

    Observed: ValueError for 5,000 digits; 2⁶⁴ is decoded.
    """
    service.say(PLACES[place] % number)
    try:
        found = await service.get()
    except ProtocolError as failed:
        shown = str(failed)
    else:
        shown = found.name or ""
    assert len(shown) < 300


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, -1, 4])
async def test_f60_boundary_numbers(service: Service, number: int) -> None:
    """F60 | 2⁶³; −1 as a count | accepted in a response; −1 is rejected in a request | raw server"""
    service.say(PLACES["known"] % number)
    found = await service.get()
    assert found.settings is not None
    assert found.settings.participants == number
    if number < 0:
        with pytest.raises(ValidationError):
            await service.client.rooms.create(name="Stand-up", settings={"participants": number})


@pytest.mark.parametrize("number", ["9" * 5_000, str(2**63), "-1", "1e5"], ids=["5000-digits", "2**63", "-1", "1e5"])
async def test_f60_oversized_result(service: Service, number: str) -> None:
    """F60 | such a number as `result` | neither a success nor an error code | raw server"""
    error = await check_rejected(service, PLACES["result"] % number)
    assert error.code is None


@pytest.mark.parametrize(
    "body",
    [
        SUCCESS.replace(b"Stand-up", b"\xff\xfe"),
        SUCCESS.replace(b"Stand-up", b"\xed\xa0\x80"),
        SUCCESS.replace(b'"name"', b'"new":"\xff","name"'),
        SUCCESS.replace(b'"room"', b'"\xff":1,"room"'),
        SUCCESS.decode().encode("utf-16"),
        b"\0" + SUCCESS,
        SUCCESS + b"\0",
        SUCCESS + b"trailing garbage",
        SUCCESS + b"]",
        SUCCESS.replace(b"Stand-up", b"Stand-\0up"),
        SUCCESS.replace(b",", b", // why\n", 1),
        SUCCESS.replace(b'"', b"'"),
    ],
    ids=[
        "utf-8",
        "raw-surrogate",
        "unknown-field",
        "unknown-key",
        "utf-16",
        "nul-prefix",
        "nul-suffix",
        "trailing",
        "bracket",
        "raw-nul",
        "comment",
        "quotes",
    ],
)
async def test_f61_invalid_json(service: Service, body: bytes) -> None:
    """F61 | invalid UTF-8, NUL, trailing garbage | `ProtocolError`; create U | raw server

    Decoders raise UnicodeDecodeError.
    """
    assert isinstance(await check_rejected(service, body), ProtocolError)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\xef\xbb\xbf" + SUCCESS, "Stand-up"),
        (SUCCESS.replace(b"Stand-up", b"\\ud800 up"), "\ufffd up"),
        (SUCCESS.replace(b"Stand-up", b"\\ud83d\\ude00"), "\U0001f600"),
        (b" \r\n\t" + SUCCESS + b"\n", "Stand-up"),
    ],
    ids=["bom", "lone-surrogate", "pair", "blanks"],
)
async def test_f61_unusual_valid_json(service: Service, body: bytes, name: str) -> None:
    """F61 | BOM; a lone surrogate; any charset in the type | accepted; a surrogate reads as U+FFFD | raw server

    msgspec rejects a lone surrogate; the tolerant path replaces it, so that what was read can be written.
    """
    service.say(body, **{"Content-Type": "application/json; charset=klingon"})
    found = await service.get()
    assert found.name == name
    assert repr(found).encode()


async def test_f61_error_with_a_lone_surrogate_is_printable(service: Service) -> None:
    """F61 | a lone surrogate, a bell and a newline in the error text | the error prints, on one line | raw server"""
    service.say(r'{"result":10009,"error":"[Reason] \ud800 \u0007 \n forged","desc":"\ud800"}')
    with pytest.raises(RequestRejected) as failed:
        await service.get()
    text = str(failed.value) + str(failed.value.desc)
    assert text.encode()
    assert text.isprintable()


async def test_f61_invalid_utf8_in_one_record(service: Service) -> None:
    """F61 | invalid UTF-8 in an unknown field of one record | rejected if `extra=True` keeps that field | raw server"""
    service.say(b'{"result":"0","cdr":[{"cdr_id":"a"},{"cdr_id":"b","new":"\xff"},{"cdr_id":"c"}]}')
    stream = service.client.cdr.by_room(ROOM_ID, extra=True)
    assert [record.cdr_id for record in await stream.to_list()] == ["a", "c"]
    assert [rejected.index for rejected in stream.rejected] == [1]


SUCCESSES = ["0", '"0"']
NO_RESULTS = ['" 0"', '"00"', "0.0", "-0.0", "false", "null", "[]", "{}", '""', '"0 "', "1e-400", '"+0"', '"٠"']
CODES = {'"50001"': 50001, "50001": 50001, '"10105"': 10105}


@pytest.mark.parametrize("result", SUCCESSES)
@pytest.mark.parametrize("extra", ["", ',"status":"ok"'], ids=["fast", "slow"])
async def test_f62_results_that_mean_success(service: Service, result: str, extra: str) -> None:
    """F62 | `result` 0 or "0" | success, on both paths | raw server"""
    service.say(f'{{"result":{result},{ROOM}{extra}}}')
    assert (await service.get()).room_id == ROOM_ID
    assert (await service.create()).room_id == ROOM_ID


@pytest.mark.parametrize("result", [*NO_RESULTS, str(10**20), "missing"])
@pytest.mark.parametrize("extra", ["", ',"status":"ok"'], ids=["fast", "slow"])
async def test_f62_results_that_prove_nothing(service: Service, result: str, extra: str) -> None:
    """F62 | `result` " 0", "00", 0.0, −0.0, false, null, missing, [], 10²⁰ | not a success; create U | raw server

    In Python, `False == 0 == 0.0` and `int(" 0") == 0`.
    """
    prefix = "" if result == "missing" else f'"result":{result},'
    error = await check_rejected(service, f"{{{prefix}{ROOM}{extra}}}")
    assert isinstance(error, ProtocolError)
    assert error.code is None


@pytest.mark.parametrize(("result", "code"), CODES.items())
async def test_f62_codes_as_numbers_and_strings(service: Service, result: str, code: int) -> None:
    """F62 | `result` 50001 or "50001" next to a room | the code decides, on both paths | raw server"""
    service.say(f'{{"result":{result},{ROOM}}}')
    with pytest.raises(VideoAPIError) as failed:
        await service.get()
    assert failed.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        '{"result":0}',
        '{"result":0,"room":null}',
        '{"result":0,"room":[]}',
        '{"result":0,"room":{}}',
        '{"result":0,"room":{"name":"Stand-up"}}',
        '{"result":0,"room":{"room_id":null}}',
        '{"result":0,"room":{"room_id":""}}',
        '{"result":0,"room":{"room_id":".."}}',
        '{"result":0,"room":{"room_id":"a/b"}}',
        '{"result":0,"room":{"room_id":{"a":1}}}',
        f'{{"result":0,"rooms":[{{"room_id":"{ROOM_ID}"}}]}}',
    ],
)
async def test_f63_success_without_a_room(service: Service, body: str) -> None:
    """F63 | `result` 0 without a room, or an invalid `room_id` | `ProtocolError`; create U | raw server"""
    assert isinstance(await check_rejected(service, body), ProtocolError)


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"settings": {"mode": "hologram"}}, lambda r: r.settings.mode == "hologram"),
        ({"brand_new": {"deep": [1]}}, lambda r: r.extra["brand_new"] == {"deep": [1]}),
        ({"settings": {"participants": "12"}}, lambda r: r.settings.participants == 12),
        ({"settings": {"knock": "true"}}, lambda r: r.settings.knock is True),
        ({"settings": {"knock": 1}}, lambda r: r.settings.knock is True),
        ({"settings": {"knock": "perhaps"}}, lambda r: r.settings.knock in (None, "perhaps")),
        ({"owner_ref": 42}, lambda r: r.owner_ref == "42"),
        ({"name": None}, lambda r: r.name is None),
        ({"created": "0000-00-00T00:00:00Z"}, lambda r: r.created_at is None and r.created.startswith("0000")),
        ({"created": "2026-01-02T03:04:05.678Z"}, lambda r: r.created_at.hour == 3),
        ({"created": "2026-01-02 03:04:05"}, lambda r: r.created_at.utcoffset().total_seconds() == 0),
        ({"created": "2026-01-02T03:04:05+05:30"}, lambda r: r.created_at.hour == 21),
        ({}, lambda r: r.name is None and r.sip is None and not r.settings.mode),
    ],
)
@pytest.mark.parametrize("extra", ["", ',"status":"ok"'], ids=["fast", "slow"])
async def test_f64_undocumented_values(
    service: Service, fields: dict[str, Any], check: Callable[[Room], bool], extra: str
) -> None:
    """F64 | unknown enum values, new and missing fields, numeric strings, odd dates | accepted | both paths"""
    service.say(json.dumps(room(**fields))[:-1] + extra + "}")
    assert check(await service.get())


async def test_f64_undocumented_values_in_records(service: Service) -> None:
    """F64 | a record with counts as strings, an impossible date, new fields | yielded, nothing lost | raw server"""
    record = {"cdr_id": "a", "trans_date": "0000-00-00", "new": 1, "usage": {"connect_minutes": "7"}}
    service.say(json.dumps({"result": "0", "cdr": [record]}))
    (found,) = await service.client.cdr.by_room(ROOM_ID, extra=True).to_list()
    assert isinstance(found, CallRecord)
    assert found.usage.connect_minutes == 7
    assert found.extra == {"new": 1}


REFUSALS: dict[str, tuple[bytes, type[VideoAPIError], int | str | None]] = {
    "number": (b'{"result":10009,"error":"[Reason] Wrong name","desc":"See name"}', RequestRejected, 10009),
    "text": (b'{"result":"40001","error":"[Reason] Room not found"}', NotFound, 40001),
    "message": (b'{"result":10111,"message":"Session is over"}', TokenDenied, 10111),
    "details": (b'{"result":10009,"details":"Wrong name"}', RequestRejected, 10009),
    "newer": (
        b'{"status":"error","error_code":"INVALID_PARAM","message":"Wrong name","request_id":"r-77"}',
        RequestRejected,
        "INVALID_PARAM",
    ),
}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("form", REFUSALS)
async def test_f65_every_form_of_error(service: Service, form: str, status: int) -> None:
    """F65 | each form of error body, with 200 and 4xx | mapped; the service's code and text are kept | raw server"""
    body, kind, code = REFUSALS[form]
    service.say(body, status)
    with pytest.raises(kind) as failed:
        await service.get()
    assert failed.value.code == code
    assert failed.value.error
    assert failed.value.status == status
    assert failed.value.request_id == ("r-77" if form == "newer" else None)
    # A create rejected this way was certainly not executed.
    with pytest.raises(VideoAPIError) as refusal:
        await service.create()
    assert not refusal.value.may_have_executed


@pytest.mark.parametrize(("status", "kind"), [(200, ProtocolError), (400, RequestRejected), (500, ServerFault)])
async def test_f65_html_page_instead_of_an_error(service: Service, status: int, kind: type[VideoAPIError]) -> None:
    """F65 | an HTML error with 200, 400, 500 | classified by its status; no error contains the page | raw server"""
    service.say(b"<html><h1>Error</h1><p>secret=hunter2 " + b"x" * 10_000, status)
    with pytest.raises(kind) as failed:
        await service.get()
    assert "hunter2" not in repr(vars(failed.value))
    assert len(str(failed.value)) < 400


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["result", "room", "rooms", "room_id", "error", "error_code", "status", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=200)
    | json_like.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda at, junk: SUCCESS[:at] + junk + SUCCESS[at:], st.integers(0, len(SUCCESS)), st.binary(max_size=4)
    )
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, status=st.sampled_from([200, 201, 400, 404, 409, 500]))
def test_f66_any_bytes_are_a_room_or_a_library_error(body: bytes, status: int) -> None:
    """F66 | arbitrary bytes | a room or an error of this library, nothing else | Hypothesis, over a socket"""

    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            link.answer(status, body)
            await link.drain()

        async with serve(script) as server, client_for(server.base_url, retry=ONCE) as client:
            try:
                found = await client.rooms.get(ROOM_ID)
            except VideoAPIError:
                return
            assert found.room_id == ROOM_ID
            assert status in (200, 201)

    asyncio.run(main())


def request_for(room_id: str) -> Request:
    return Request(
        route=GET_ROOM,
        path=GET_ROOM.path(room_id),
        decoder=ResponseDecoder("room", Room),
        accepts=lambda found: found.room_id == room_id,
        options=Options(),
    )


@settings(max_examples=400, deadline=None)
@given(body=bodies)
def test_f66_tolerant_path_accepts_what_the_fast_path_accepts(body: bytes) -> None:
    """F66 | arbitrary bytes | neither path raises; the tolerant path decodes all that the fast one does | Hypothesis"""
    request = request_for(ROOM_ID)
    slow = _decode_tolerantly(request, 200, {}, body)
    fast = _decode_fast(request, body)
    if fast is not None:
        assert slow.verdict is Verdict.DONE
        assert slow.value == fast
    assert answered(request, 200, {}, body).verdict is slow.verdict
