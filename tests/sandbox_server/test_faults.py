"""The effect of each kind of fault, and which requests meet it."""

import asyncio
import socket

import aiohttp
import pytest

from videoapi.sandbox import KINDS, Sandbox

BODY = {"name": "n", "owner_ref": "o"}


async def create(bare):
    return await bare("POST", "/rooms", BODY)


def created(bare):
    return len(bare.sandbox.ledger.created)


@pytest.mark.parametrize(
    ("kind", "options", "status", "body"),
    [
        ("status", {}, 503, b'{"result":503,"error":"[Reason] Scripted fault 503","desc":""}'),
        (503, {}, 503, b'{"result":503,"error":"[Reason] Scripted fault 503","desc":""}'),
        ("500", {"code": 50001}, 500, b'{"result":50001,"error":"[Reason] Scripted fault 500","desc":""}'),
        ("status", {"status": 409}, 409, b'{"result":10030,"error":"[Reason] Scripted fault 409","desc":""}'),
        ("status", {"status": 418, "body": {"a": 1}}, 418, b'{"a":1}'),
        ("status", {"status": 200, "body": "no JSON"}, 200, b"no JSON"),
        ("throttle", {}, 429, b"Too Many Requests"),
        ("429", {}, 429, b"Too Many Requests"),
        ("html", {}, 502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
        ("html", {"status": 504}, 504, b"<html><body><h1>504 Gateway Timeout</h1></body></html>"),
        ("empty", {}, 200, b""),
        ("empty", {"status": 500}, 500, b""),
    ],
)
async def test_response_fault_replaces_one_execution(bare, kind, options, status, body):
    fault = bare.sandbox.fault("rooms.create", kind, **options)
    reply = await create(bare)
    assert (reply.status, reply.body, created(bare)) == (status, body, 0)
    assert (await create(bare)).status == 200
    assert (fault.hits, created(bare)) == (1, 1)


@pytest.mark.parametrize(("given", "sent"), [(None, None), (7, "7"), (0.5, "0.5"), ("soon", "soon")])
async def test_retry_after_is_sent_as_given(bare, given, sent):
    bare.sandbox.fault("*", "throttle", retry_after=given)
    bare.sandbox.fault("*", "status", retry_after=given)
    assert [(await create(bare)).headers.get("Retry-After") for _ in range(2)] == [sent, sent]


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [("expired", 401, "CREDENTIAL_EXPIRED"), ("suspended", 403, "PROJECT_SUSPENDED")],
)
async def test_account_errors_use_the_named_envelope(bare, kind, status, name):
    bare.sandbox.fault("rooms.create", kind)
    reply = await create(bare)
    assert (reply.status, reply.json["error_code"], created(bare)) == (status, name, 0)


async def test_redirect_uses_the_given_location(bare):
    bare.sandbox.fault("rooms.create", "redirect", location="https://example.invalid/x")
    reply = await create(bare)
    assert (reply.status, reply.headers["Location"], created(bare)) == (302, "https://example.invalid/x", 0)


@pytest.mark.parametrize(
    ("kind", "error", "executed"),
    [
        ("drop", aiohttp.ServerDisconnectedError, 0),
        ("drop_before", aiohttp.ServerDisconnectedError, 0),
        ("drop_after", aiohttp.ServerDisconnectedError, 1),
        ("reset_before", ConnectionResetError, 0),
        ("reset_after", ConnectionResetError, 1),
    ],
)
async def test_connection_faults_before_and_after_executing(bare, kind, error, executed):
    bare.sandbox.fault("POST /rooms", kind)
    with pytest.raises((error, aiohttp.ClientOSError)) as caught:
        await create(bare)
    if error is ConnectionResetError:
        assert isinstance(caught.value, ConnectionResetError) or caught.value.errno == 104
    else:
        assert isinstance(caught.value, error)
    assert created(bare) == executed
    assert bare.sandbox.ledger.requests("rooms.create") == 1


async def test_status_after_executes_first(bare):
    bare.sandbox.fault("rooms.create", "status_after", status=502, body="gateway")
    reply = await create(bare)
    assert (reply.status, reply.body, created(bare)) == (502, b"gateway", 1)


@pytest.mark.parametrize(("at", "received"), [(None, "half"), (0.1, "tenth"), (25, 25)])
async def test_cut_body_is_shorter_than_its_content_length(bare, at, received):
    bare.sandbox.fault("rooms.create", "cut", at=at)
    headers = {"Authorization": aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)}
    async with bare.session.post(f"{bare.sandbox.base_url}/rooms", json=BODY, headers=headers) as response:
        whole = int(response.headers["Content-Length"])
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        arrived = response.content.total_bytes
    assert arrived == {"half": whole // 2, "tenth": whole // 10}.get(received, received)
    assert created(bare) == 1


async def test_truncated_body_matches_its_content_length(bare):
    bare.sandbox.fault("rooms.create", "truncated", at=0.5)
    reply = await create(bare)
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    assert reply.body.startswith(b'{"result":0,"room":{')
    assert not reply.body.endswith(b"}}")
    assert created(bare) == 1


async def test_cut_applies_to_a_streamed_body(serve):
    bare = await serve(seed=1, calls=2000)
    bare.sandbox.fault("cdr.*", "cut", at=0.5)
    days = list(bare.sandbox.history.per_day())
    headers = {"Authorization": aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)}
    url = f"{bare.sandbox.base_url}/cdr/period/{days[0]}/{days[-1]}"
    async with bare.session.get(url, headers=headers) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        arrived = response.content.total_bytes
    whole = len((await bare("GET", f"/cdr/period/{days[0]}/{days[-1]}")).body)
    assert 0.4 * whole < arrived < 0.6 * whole


async def test_delayed_request_executes_after_the_client_disconnects(bare):
    bare.sandbox.fault("rooms.create", "delay", seconds=0.2)
    with pytest.raises(TimeoutError):
        await bare("POST", "/rooms", BODY, timeout=aiohttp.ClientTimeout(total=0.05))
    assert created(bare) == 0
    async with asyncio.timeout(5):
        while not created(bare):
            await asyncio.sleep(0.01)


async def test_hanging_request_is_never_executed(bare):
    bare.sandbox.fault("rooms.create", "hang")
    with pytest.raises(TimeoutError):
        await bare("POST", "/rooms", BODY, timeout=aiohttp.ClientTimeout(total=0.05))
    assert created(bare) == 0
    assert (await create(bare)).status == 200


async def test_closing_releases_hanging_and_delayed_requests():
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        sandbox.fault("*", "hang")
        sandbox.fault("*", "delay", seconds=60)
        requests = [asyncio.create_task(session.get(f"{sandbox.base_url}/rooms")) for _ in range(2)]
        async with asyncio.timeout(5):
            while sandbox.ledger.requests() < 2:
                await asyncio.sleep(0.01)
            await sandbox.aclose()
            ended = await asyncio.gather(*requests, return_exceptions=True)
    for end in ended:
        if isinstance(end, aiohttp.ClientResponse):
            end.release()
    assert any(isinstance(end, aiohttp.ClientError) for end in ended)


async def test_refuse_serves_open_connections_and_then_reopens(bare):
    before = bare.sandbox.port
    assert (await create(bare)).status == 200
    fault = bare.sandbox.fault("*", "refuse", seconds=0.15)
    kept = await create(bare)
    assert (kept.status, kept.headers["Connection"]) == (200, "close")
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await create(bare)
    assert isinstance(caught.value.os_error, ConnectionRefusedError)
    async with asyncio.timeout(5):
        while True:
            try:
                reply = await create(bare)
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)
    assert "Connection" not in reply.headers
    assert (bare.sandbox.port, created(bare), fault.hits) == (before, 3, 1)


async def test_refuse_with_after_starts_at_a_later_request(bare):
    bare.sandbox.fault("rooms.create", "refuse", after=1, seconds=0.1)
    replies = [await create(bare) for _ in range(2)]
    assert [reply.headers.get("Connection") for reply in replies] == [None, "close"]
    with pytest.raises(aiohttp.ClientConnectorError):
        await create(bare)


async def test_concurrent_connects_are_answered_or_refused(serve):
    bare = await serve()
    answered = refused = 0

    async def one_each_time() -> None:
        nonlocal answered, refused
        connector = aiohttp.TCPConnector(force_close=True)
        headers = {"Authorization": aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            for _ in range(25):
                try:
                    async with session.post(f"{bare.sandbox.base_url}/rooms", json=BODY) as response:
                        answered += response.status == 200
                except aiohttp.ClientConnectorError:
                    refused += 1
                    await asyncio.sleep(0.01)

    bare.sandbox.fault("*", "refuse", after=40, seconds=0.1)
    await asyncio.gather(*(one_each_time() for _ in range(8)))
    assert refused > 0
    assert answered + refused == 200
    assert created(bare) == answered


async def test_times_and_after_count_only_requests_to_the_route(bare):
    fault = bare.sandbox.fault("rooms.list", "status", 2, after=1)
    seen = []
    for _ in range(5):
        assert (await create(bare)).status == 200
        seen.append((await bare("GET", "/rooms")).status)
    assert seen == [200, 503, 503, 200, 200]
    assert (fault.hits, fault.spent) == (2, True)


async def test_unlimited_fault_ends_when_cancelled(bare):
    fault = bare.sandbox.fault("*", 500, None)
    assert {(await create(bare)).status for _ in range(5)} == {500}
    fault.cancel()
    assert (await create(bare)).status == 200
    bare.sandbox.fault("*", 500, None)
    bare.sandbox.clear_faults()
    assert (await create(bare)).status == 200


async def test_rate_is_repeatable_with_a_seed(serve):
    seen = []
    for _ in range(2):
        bare = await serve(seed=4)
        fault = bare.sandbox.fault("rooms.list", 503, None, rate=0.3)
        seen.append([(await bare("GET", "/rooms")).status for _ in range(100)])
        assert fault.hits == seen[-1].count(503)
    assert seen[0] == seen[1]
    assert 10 < seen[0].count(503) < 60


async def test_faults_apply_in_the_order_they_were_added(bare):
    bare.sandbox.fault("rooms.create", 500)
    bare.sandbox.fault("*", 502)
    assert [(await create(bare)).status for _ in range(3)] == [500, 502, 200]


@pytest.mark.parametrize(
    "route",
    ["rooms.get", "rooms.*", "*", "GET /rooms/{room_id}", "get /rooms/{id}/"],
)
async def test_route_can_be_a_name_glob_or_template(bare, route):
    room_id = await bare.room()
    bare.sandbox.fault(route, 500)
    assert (await bare("GET", f"/rooms/{room_id}")).status == 500


@pytest.mark.parametrize("kind", ["cdr", "archives"])
async def test_reports_and_files_have_their_own_routes(bare, kind):
    fault = bare.sandbox.fault(f"{kind}.by_room_period", 500, None)
    head = "cdr" if kind == "cdr" else "archive"
    assert (await bare("GET", f"/{head}/room-period/x/2026-01-01/2026-01-02")).status == 500
    assert (await bare("GET", f"/{head}/room/x")).status == 200
    assert fault.hits == 1
    bare.sandbox.fault("files.get", 500)
    assert (await bare("GET", bare.sandbox.base_url.removesuffix("/video/v2") + "/files/a/b/c")).status == 500


def test_unknown_kind_error_lists_the_known_kinds():
    with pytest.raises(ValueError, match="unknown fault 'explode'") as caught:
        Sandbox().fault("*", "explode")
    assert all(kind in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize(
    ("route", "options", "message"),
    [
        ("rooms.made", {}, "no route"),
        ("GET /nowhere", {}, "no route"),
        ("*", {"rate": 2}, "not a probability"),
        ("*", {"times": 0}, "at least once"),
    ],
)
def test_invalid_fault_is_rejected(route, options, message):
    with pytest.raises(ValueError, match=message):
        Sandbox().fault(route, "status", **options)


async def test_connections_in_the_backlog_are_served_before_a_refuse(bare):
    login = aiohttp.encode_basic_auth(bare.sandbox.app_id, bare.sandbox.app_key)
    request = f"GET /v1/dialin HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n".encode()
    waiting = []
    for _ in range(5):
        # The loop has not run since, so only the kernel has accepted these.
        waiting.append(socket.create_connection(("127.0.0.1", bare.sandbox.port)))
        waiting[-1].sendall(request)
    bare.sandbox.fault("*", "refuse", seconds=30)
    for connection in waiting:
        reader, writer = await asyncio.open_connection(sock=connection)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in answer
        writer.close()
        await writer.wait_closed()
    assert bare.sandbox.ledger.count("dialin.get") == 5


@pytest.mark.parametrize("clear", ["clear_faults", "clear"])
async def test_refusal_ends_with_all_other_faults(clear):
    async with Sandbox() as sandbox:
        sandbox.fault("*", "refuse", seconds=60)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", sandbox.port)
        getattr(sandbox, clear)()
        _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.close()
        # The end that was planned does not come on top.
        assert sandbox._listener._again is None
