"""Faults that a client cannot see through: late execution, answers nobody asked for, planned trouble."""

import asyncio
import json

import aiohttp
import pytest

from videoapi.sandbox import Sandbox

BODY = {"name": "n", "owner_ref": "o"}


async def create(bare):
    return await bare("POST", "/rooms", BODY)


def made(bare):
    return len(bare.sandbox.ledger.created)


async def arrived(bare, number):
    async with asyncio.timeout(5):
        while made(bare) < number:
            await asyncio.sleep(0.005)


async def test_a_late_create_executes_after_its_connection_was_closed(bare):
    bare.sandbox.fault("rooms.create", "late", seconds=0.1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await create(bare)
    assert (made(bare), bare.sandbox.late) == (0, 1)
    await arrived(bare, 1)
    assert bare.sandbox.late == 0
    assert len((await bare("GET", "/rooms")).json["rooms"]) == 1


@pytest.mark.parametrize(("told", "status"), [({}, 503), ({"status": 502, "body": "gateway"}, 502)])
async def test_a_late_create_may_be_answered_first(bare, told, status):
    bare.sandbox.fault("rooms.create", "late_status", seconds=0.1, **told)
    reply = await create(bare)
    assert (reply.status, made(bare), bare.sandbox.late) == (status, 0, 1)
    await arrived(bare, 1)


async def test_what_is_late_when_the_sandbox_closes_never_executes():
    sandbox = Sandbox()
    sandbox.fault("*", "late_status", seconds=0.01)
    login = {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}
    async with sandbox, aiohttp.ClientSession(headers=login) as session:
        async with session.post(f"{sandbox.base_url}/rooms", json=BODY):
            assert sandbox.late == 1
            await sandbox.aclose()
    await asyncio.sleep(0.03)
    assert (sandbox.late, sandbox.ledger.created) == (0, ())


async def conversation(bare, *requests):
    """Ask on one connection, each question after the whole answer before it, and give all bytes that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bare.sandbox.port)
    login = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)
    answers = []
    for method, path, body in requests:
        head = (
            f"{method} /v2{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answers.append(await one(reader))
    return reader, writer, answers


async def one(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


CREATE = ("POST", "/rooms", json.dumps(BODY).encode())


async def test_a_stray_answer_waits_behind_the_one_asked_for(bare):
    bare.sandbox.fault("rooms.create", "stray")
    reader, writer, answers = await conversation(bare, CREATE, ("GET", "/rooms", b""))
    shifted = await one(reader)
    writer.close()
    assert [answer[0] for answer in answers] == [200, 401]
    assert answers[0][1]["result"] == 0
    assert answers[1][1]["result"] == 10000
    # The second question's own answer would be taken for the third's.
    assert (shifted[0], len(shifted[1]["rooms"])) == (200, 1)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"status": 400, "code": 10002}, (400, 10002)),
        ({"body": b'HTTP/1.1 409 X\r\nContent-Length: 12\r\n\r\n{"result":1}'}, (409, 1)),
    ],
)
async def test_a_stray_answer_may_come_later_and_be_anything(bare, told, expected):
    bare.sandbox.fault("rooms.create", "stray", seconds=0.05, **told)
    reader, writer, answers = await conversation(bare, CREATE)
    stray = await asyncio.wait_for(one(reader), 5)
    writer.close()
    assert answers[0][0] == 200
    assert (stray[0], stray[1]["result"]) == expected


async def test_a_stray_answer_to_a_connection_that_is_gone_is_dropped(bare):
    bare.sandbox.fault("rooms.create", "stray", seconds=0.02)
    _, writer, _ = await conversation(bare, CREATE)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.04)
    assert (await create(bare)).status == 200


async def test_the_rooms_may_come_before_the_error(bare):
    ids = [await bare.room() for _ in range(3)]
    bare.sandbox.fault("rooms.list", "result_after", code=50003)
    bare.sandbox.fault("rooms.list", "result_after")
    for code in (50003, 50002):
        reply = await bare("GET", "/rooms")
        assert reply.status == 200
        assert list(reply.json) == ["rooms", "result", "error", "desc"]
        assert ([room["room_id"] for room in reply.json["rooms"]], reply.code) == (ids, code)


async def test_the_error_stands_behind_a_list_of_any_size_and_behind_nothing(serve):
    bare = await serve(seed=1, rooms=2_000)
    bare.sandbox.fault("*", "result_after", None, code=50000)
    whole = (await bare("GET", "/rooms")).json
    assert (len(whole["rooms"]), whole["result"]) == (2_000, 50000)
    room_id = whole["rooms"][0]["room_id"]
    assert (await bare("PATCH", f"/rooms/{room_id}", {"name": "x"})).json["result"] == 50000
    assert (await bare("GET", "/rooms/x")).code == 40001


async def test_a_list_is_cut_just_before_its_end(serve):
    bare = await serve(seed=1, rooms=1_000)
    whole = len((await bare("GET", "/rooms")).body)
    bare.sandbox.fault("rooms.list", "truncated", at=0.99)
    body = (await bare("GET", "/rooms")).body
    assert len(body) == int(0.99 * whole)
    with pytest.raises(ValueError):
        json.loads(body)


async def test_a_storm_of_429_ends_when_it_is_cancelled(bare):
    storm = bare.sandbox.fault("*", "throttle", None, retry_after=1)
    assert [(await create(bare)).status for _ in range(3)] == [429] * 3
    storm.cancel()
    assert ((await create(bare)).status, made(bare), storm.hits) == (200, 1, 3)


async def test_a_plan_is_met_step_by_step_in_order_of_arrival(bare):
    plan = bare.sandbox.plan([None, 500, ("status_after", {"status": 502}), "throttle", None, 503])
    seen = []
    for _ in range(5):
        seen.append((await create(bare)).status)
        assert (await bare("GET", "/rooms")).status == 200
    assert (seen, made(bare)) == ([200, 500, 502, 429, 200], 3)
    assert [fault and fault.hits for fault in plan] == [None, 1, 1, 1, None, 0]
    assert [(await create(bare)).status for _ in range(2)] == [503, 200]


async def test_a_request_that_the_plan_leaves_alone_may_meet_another_fault(bare):
    bare.sandbox.fault("*", 500, None)
    bare.sandbox.plan([None, 502, None, 503], "GET /rooms")
    assert [(await bare("GET", "/rooms")).status for _ in range(3)] == [500, 502, 500]
    bare.sandbox.clear_faults()
    assert (await bare("GET", "/rooms")).status == 200


async def test_a_later_plan_replaces_the_one_before_and_a_step_can_be_cancelled(bare):
    bare.sandbox.plan([500, 500])
    (first, _) = bare.sandbox.plan([502, 503])
    first.cancel()
    assert [(await create(bare)).status for _ in range(3)] == [200, 503, 200]


@pytest.mark.parametrize(
    ("steps", "route", "message"),
    [
        (["explode"], "rooms.create", "unknown fault"),
        ([500], "rooms.*", "for one route"),
        ([500], "rooms.made", "no route"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(steps, route, message):
    with pytest.raises(ValueError, match=message):
        Sandbox().plan(steps, route)
