"""Faults that a client cannot detect: late executions, unsolicited responses; and planned faults."""

import asyncio
import json

import aiohttp
import pytest

from videoapi.sandbox import Sandbox

BODY = {"name": "n", "owner_ref": "o"}


async def create(bare):
    return await bare("POST", "/rooms", BODY)


def created(bare):
    return len(bare.sandbox.ledger.created)


async def wait_for_creates(bare, number):
    async with asyncio.timeout(5):
        while created(bare) < number:
            await asyncio.sleep(0.005)


async def test_late_create_executes_after_its_connection_was_closed(bare):
    bare.sandbox.fault("rooms.create", "late", seconds=0.1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await create(bare)
    assert (created(bare), bare.sandbox.late) == (0, 1)
    await wait_for_creates(bare, 1)
    assert bare.sandbox.late == 0
    assert len((await bare("GET", "/rooms")).json["rooms"]) == 1


@pytest.mark.parametrize(("options", "status"), [({}, 503), ({"status": 502, "body": "gateway"}, 502)])
async def test_late_status_responds_before_executing(bare, options, status):
    bare.sandbox.fault("rooms.create", "late_status", seconds=0.1, **options)
    reply = await create(bare)
    assert (reply.status, created(bare), bare.sandbox.late) == (status, 0, 1)
    await wait_for_creates(bare, 1)


async def test_closing_drops_pending_late_executions():
    sandbox = Sandbox()
    sandbox.fault("*", "late_status", seconds=0.01)
    login = {"Authorization": aiohttp.encode_basic_auth(sandbox.app_id, sandbox.app_key)}
    async with sandbox, aiohttp.ClientSession(headers=login) as session:
        async with session.post(f"{sandbox.base_url}/rooms", json=BODY):
            assert sandbox.late == 1
            await sandbox.aclose()
    await asyncio.sleep(0.03)
    assert (sandbox.late, sandbox.ledger.created) == (0, ())


async def exchange(bare, *requests):
    """Send requests one after the other on one connection; return its reader, writer and responses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bare.sandbox.port)
    login = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)
    answers = []
    for method, path, body in requests:
        head = (
            f"{method} /v2{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answers.append(await read_response(reader))
    return reader, writer, answers


async def read_response(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


CREATE = ("POST", "/rooms", json.dumps(BODY).encode())


async def test_stray_response_is_read_by_the_next_request(bare):
    bare.sandbox.fault("rooms.create", "stray")
    reader, writer, answers = await exchange(bare, CREATE, ("GET", "/rooms", b""))
    delayed = await read_response(reader)
    writer.close()
    assert [answer[0] for answer in answers] == [200, 401]
    assert answers[0][1]["result"] == 0
    assert answers[1][1]["result"] == 10000
    # A third request would get the second one's response.
    assert (delayed[0], len(delayed[1]["rooms"])) == (200, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"status": 400, "code": 10002}, (400, 10002)),
        ({"body": b'HTTP/1.1 409 X\r\nContent-Length: 12\r\n\r\n{"result":1}'}, (409, 1)),
    ],
)
async def test_stray_response_can_be_delayed_and_customized(bare, options, expected):
    bare.sandbox.fault("rooms.create", "stray", seconds=0.05, **options)
    reader, writer, answers = await exchange(bare, CREATE)
    stray = await asyncio.wait_for(read_response(reader), 5)
    writer.close()
    assert answers[0][0] == 200
    assert (stray[0], stray[1]["result"]) == expected


async def test_stray_response_is_dropped_when_the_connection_is_closed(bare):
    bare.sandbox.fault("rooms.create", "stray", seconds=0.02)
    _, writer, _ = await exchange(bare, CREATE)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.04)
    assert (await create(bare)).status == 200


async def test_result_after_puts_the_error_after_the_rooms(bare):
    ids = [await bare.room() for _ in range(3)]
    bare.sandbox.fault("rooms.list", "result_after", code=50003)
    bare.sandbox.fault("rooms.list", "result_after")
    for code in (50003, 50002):
        reply = await bare("GET", "/rooms")
        assert reply.status == 200
        assert list(reply.json) == ["rooms", "result", "error", "desc"]
        assert ([room["room_id"] for room in reply.json["rooms"]], reply.code) == (ids, code)


async def test_result_after_applies_to_long_lists_and_empty_successes(serve):
    bare = await serve(seed=1, rooms=2_000)
    bare.sandbox.fault("*", "result_after", None, code=50000)
    whole = (await bare("GET", "/rooms")).json
    assert (len(whole["rooms"]), whole["result"]) == (2_000, 50000)
    room_id = whole["rooms"][0]["room_id"]
    assert (await bare("PATCH", f"/rooms/{room_id}", {"name": "x"})).json["result"] == 50000
    assert (await bare("GET", "/rooms/x")).code == 40001


async def test_list_can_be_truncated_near_its_end(serve):
    bare = await serve(seed=1, rooms=1_000)
    whole = len((await bare("GET", "/rooms")).body)
    bare.sandbox.fault("rooms.list", "truncated", at=0.99)
    body = (await bare("GET", "/rooms")).body
    assert len(body) == int(0.99 * whole)
    with pytest.raises(ValueError):
        json.loads(body)


async def test_repeated_429_ends_when_cancelled(bare):
    storm = bare.sandbox.fault("*", "throttle", None, retry_after=1)
    assert [(await create(bare)).status for _ in range(3)] == [429] * 3
    storm.cancel()
    assert ((await create(bare)).status, created(bare), storm.hits) == (200, 1, 3)


async def test_plan_applies_one_step_per_request(bare):
    plan = bare.sandbox.plan([None, 500, ("status_after", {"status": 502}), "throttle", None, 503])
    seen = []
    for _ in range(5):
        seen.append((await create(bare)).status)
        assert (await bare("GET", "/rooms")).status == 200
    assert (seen, created(bare)) == ([200, 500, 502, 429, 200], 3)
    assert [fault and fault.hits for fault in plan] == [None, 1, 1, 1, None, 0]
    assert [(await create(bare)).status for _ in range(2)] == [503, 200]


async def test_skipped_plan_step_may_meet_another_fault(bare):
    bare.sandbox.fault("*", 500, None)
    bare.sandbox.plan([None, 502, None, 503], "GET /rooms")
    assert [(await bare("GET", "/rooms")).status for _ in range(3)] == [500, 502, 500]
    bare.sandbox.clear_faults()
    assert (await bare("GET", "/rooms")).status == 200


async def test_new_plan_replaces_the_old_and_steps_can_be_cancelled(bare):
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
def test_invalid_plan_is_rejected(steps, route, message):
    with pytest.raises(ValueError, match=message):
        Sandbox().plan(steps, route)


@pytest.mark.parametrize("kind", ["late", "late_status", "delay"])
async def test_rate_limit_counts_a_delayed_request_when_it_arrives(serve, kind):
    bare = await serve(rate_limit="1/min")
    bare.sandbox.fault("rooms.create", kind, seconds=0.2)
    first = asyncio.create_task(create(bare))
    while not bare.sandbox.ledger.requests("rooms.create"):
        await asyncio.sleep(0.005)
    # The limit is used up, although the request is not executed yet.
    assert (await bare("GET", "/rooms")).status == 429
    await wait_for_creates(bare, 1)
    await asyncio.wait({first})
    assert bare.sandbox.late == 0


@pytest.mark.parametrize("kind", ["late", "late_status"])
@pytest.mark.parametrize(("executes", "pending"), [(False, 0), (True, 1)])
async def test_late_request_beyond_the_limit_gets_429_at_once(serve, kind, executes, pending):
    bare = await serve(rate_limit=0, limited_executes=executes)
    bare.sandbox.fault("rooms.create", kind, seconds=0.05, status=429 if kind == "late_status" else None)
    if executes and kind == "late":
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await create(bare)
    else:
        assert (await create(bare)).status == 429
    assert bare.sandbox.late == pending
    await wait_for_creates(bare, pending)
    assert bare.sandbox.ledger.count("rooms.create") == pending
