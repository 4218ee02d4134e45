"""The console's events: requests as they come, the state as it changes, and viewers that are slow or many."""

import asyncio
import threading
from datetime import UTC, datetime

import aiohttp
import pytest

from videoapi.sandbox import Sandbox
from videoapi.sandbox.console.feed import VIEWERS
from videoapi.sandbox.console.request_log import KEPT, RequestLog


async def test_request_is_shown_with_what_became_of_it(desk):
    events = await desk.events()
    room_id = await desk.room()
    await desk.call("GET", f"/rooms/{room_id}?verbose=yes")
    await desk.call("GET", "/rooms/unknown")
    await events.until(lambda events: events.answered(3))
    shown = [
        (one["method"], one["path"], one["route"], one["status"], one["result"], one["fault"])
        for one in events.requests.values()
    ]
    assert shown == [
        ("POST", "/video/v2/rooms", "rooms.create", 200, "0", None),
        ("GET", f"/video/v2/rooms/{room_id}", "rooms.get", 200, "0", None),
        ("GET", "/video/v2/rooms/unknown", "rooms.get", 404, "40001", None),
    ]
    assert all(one["ms"] >= 0 for one in events.requests.values())


@pytest.mark.parametrize(
    ("kind", "outcome", "status", "result"),
    [
        ("status", "answered", 503, "503"),
        ("throttle", "answered", 429, None),
        ("expired", "answered", 401, "CREDENTIAL_EXPIRED"),
        ("html", "answered", 502, None),
        ("empty", "answered", 200, None),
        ("drop_before", "no response", None, None),
        ("drop_after", "no response", None, None),
        ("late", "no response", None, None),
        ("cut", "answered", 200, None),
        ("truncated", "answered", 200, None),
        ("result_after", "answered", 200, "50002"),
    ],
)
async def test_fault_of_a_request_is_shown(desk, kind, outcome, status, result):
    events = await desk.events()
    desk.sandbox.fault("rooms.list", kind)
    try:
        async with desk.session.get(f"{desk.sandbox.base_url}/rooms", headers=desk.login) as response:
            await response.read()
    except aiohttp.ClientError:
        pass
    await events.until(lambda events: events.answered(1))
    shown = events.requests[1]
    assert (shown["fault"], shown["outcome"], shown["status"], shown["result"]) == (kind, outcome, status, result)


async def test_request_is_shown_while_it_waits(desk):
    events = await desk.events()
    desk.sandbox.fault("rooms.list", "hang")
    hanging = asyncio.create_task(desk.session.get(f"{desk.sandbox.base_url}/rooms", headers=desk.login))
    await events.until(lambda events: 1 in events.requests)
    assert events.requests[1]["outcome"] == "waiting"
    hanging.cancel()
    await events.until(lambda events: events.answered(1))
    assert events.requests[1]["outcome"] == "no response"


async def test_traffic_is_shown_and_reading_it_is_no_request(open_desk):
    desk = await open_desk(rate_limit="9/s")
    events = await desk.events()
    await desk.room()
    async with desk.session.get(f"{desk.url}_sandbox/traffic") as response:
        served = await response.json()
    await events.until(lambda events: events.answered(1))
    shown = events.state["traffic"]
    assert shown["total"] == {"route": "", **served["total"]}
    assert shown["routes"] == [{"route": "rooms.create", **served["routes"]["rooms.create"]}]
    assert (shown["rate_limit"], sum(shown["recent"]), len(shown["recent"])) == ("9/s", 1, 60)
    assert [request["path"] for request in events.requests.values()] == ["/video/v2/rooms"]


async def test_streamed_bodies_have_their_result(open_desk):
    desk = await open_desk(calls=3000)
    events = await desk.events()
    await desk.call("GET", "/cdr/period/2000-01-01/2100-01-01")
    await events.until(lambda events: events.answered(1))
    assert events.requests[1]["result"] == "0"


async def test_viewer_is_sent_the_latest_requests_first(desk):
    for _ in range(3):
        await desk.call("GET", "/rooms")
    events = await desk.events()
    assert [one["outcome"] for one in events.hello["requests"]] == ["answered"] * 3


async def test_state_follows_what_the_api_and_the_library_change(desk):
    events = await desk.events()
    room_id = await desk.room("<script>alert(1)</script>")
    await events.until(lambda events: events.state["rooms"]["rows"])
    assert events.state["rooms"]["rows"][0]["name"] == "<script>alert(1)</script>"
    assert events.state["ledger"]["created"] == 1

    body = {"name": "Ann", "user_ref": "u", "role": "moderator"}
    token = (await desk.call("POST", f"/rooms/{room_id}/tokens", body))["token"]
    await events.until(lambda events: events.state["tokens"]["rows"])
    assert events.state["tokens"]["rows"][0]["state"] == "unused"
    desk.sandbox.join(token)
    await events.until(lambda events: events.state["sessions"]["rows"])
    assert events.state["sessions"]["rows"][0]["users"] == ["Ann (moderator)"]
    assert events.state["tokens"]["rows"][0]["state"] == "in session"
    desk.sandbox.leave(token)
    await events.until(lambda events: events.state["calls"]["total"] == 1)
    assert events.state["calls"]["rows"][0]["user"] == "Ann"
    assert events.state["sessions"]["rows"] == []
    assert events.state["tokens"]["rows"][0]["state"] == "spent"
    desk.sandbox.conference(room_id, users=3, recorded=True)
    await events.until(lambda events: events.state["archives"]["total"] == 1)
    assert events.state["archives"]["rows"][0]["files"] == 6
    assert events.state["calls"]["total"] == 4


async def test_faults_and_plans_of_the_library_are_shown(desk):
    events = await desk.events()
    fault = desk.sandbox.fault("cdr.*", "delay", times=3, seconds=0.5)
    desk.sandbox.plan([None, "drop_after"])
    await events.until(lambda events: events.state["faults"]["planned"])
    (shown,) = events.state["faults"]["rows"]
    assert (shown["kind"], shown["left"], shown["hits"], shown["seconds"]) == ("delay", 3, 0, 0.5)
    assert shown["routes"] == "cdr.*"
    fault.cancel()
    desk.sandbox.clear_faults()
    await events.until(lambda events: not events.state["faults"]["rows"])
    assert events.state["faults"]["planned"] == {}


async def test_duplicates_are_counted(desk):
    events = await desk.events()
    for _ in range(3):
        await desk.call("POST", "/rooms", {"name": "n", "owner_ref": "same"})
    await events.until(lambda events: events.state["ledger"]["created"] == 3)
    assert events.state["ledger"]["duplicates"] == len(desk.sandbox.ledger.duplicates()) == 1


async def test_generated_rooms_and_history_are_shown_newest_first(open_desk):
    desk = await open_desk(calls=1000, rooms=300)
    room_id = await desk.room("mine")
    events = await desk.events()
    rooms, calls = events.state["rooms"], events.state["calls"]
    assert (rooms["total"], len(rooms["rows"]), rooms["rows"][0]["id"]) == (301, 100, room_id)
    assert (calls["total"], len(calls["rows"])) == (1000, 100)
    records = (await desk.call("GET", "/cdr/period/2000-01-01/2100-01-01"))["cdr"]
    assert {row["id"] for row in calls["rows"][:50]} <= {record["cdr_id"] for record in records[-60:]}


async def test_odd_names_are_shown_and_cost_no_other_row(desk):
    for name in ("\ud800 lone", "line\nbreak", "x" * 10_000, "\u2028", "plain"):
        await desk.room(name)
    events = await desk.events()
    names = [room["name"] for room in events.state["rooms"]["rows"]]
    assert names[0] == "plain"
    assert names[2] == "x" * 199 + "…"
    assert names[3] == "line\nbreak"


def test_log_keeps_a_bounded_number_of_requests_without_viewers():
    log = RequestLog(lambda: datetime.now(UTC), lambda: None)
    for number in range(10 * KEPT):
        log.end(log.begin("GET", "/rooms" * 1000, "rooms.list"), None, None)
        assert len(log.requests) <= KEPT, number
    changed, missed = log.take()
    assert len(changed) == KEPT
    assert missed == 9 * KEPT
    assert log.take() == ([], 0)
    assert max(len(request.path) for request in changed) == 200


async def test_slow_viewer_loses_the_oldest_requests_and_is_sent_their_number(open_desk):
    desk = await open_desk()
    viewer = desk.sandbox._console._feed.open(lambda: True)
    await viewer.next()
    for _ in range(40):
        for _ in range(50):
            desk.sandbox._console._requests.end(
                desk.sandbox._console._requests.begin("GET", "/v1/rooms", "rooms.list"), None, None
            )
        await asyncio.sleep(0.21)
        if len(viewer._batches) == 8 and viewer._missed:
            break
    assert len(viewer._batches) <= 8
    events = await viewer.next()
    assert b'"missed":0' not in events
    assert b'"missed":' in events
    desk.sandbox._console._feed.leave(viewer)


async def test_number_of_viewers_is_bounded_and_a_viewer_that_leaves_makes_place(desk):
    writers = []
    for _ in range(VIEWERS):
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.sandbox.port)
        writer.write(f"GET /console/events HTTP/1.1\r\nHost: 127.0.0.1:{desk.sandbox.port}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        writers.append(writer)
    async with desk.session.get(f"{desk.url}console/events") as response:
        assert response.status == 503
    for writer in writers:
        writer.close()
    async with asyncio.timeout(10):
        while True:
            async with desk.session.get(f"{desk.url}console/events") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.05)


@pytest.fixture
def patient(monkeypatch):
    """Closing waits long for a request that is not finished, so that it shows whether streams end by themselves."""
    monkeypatch.setattr("videoapi.sandbox.server._PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
async def test_closing_the_sandbox_ends_waiting_streams_at_once(desk):
    events = await desk.events()
    async with asyncio.timeout(20):
        await desk.sandbox.aclose()
        await events.response.content.read()


@pytest.mark.usefixtures("patient")
async def test_closing_the_sandbox_ends_a_stream_that_is_not_read_at_once(desk, monkeypatch):
    monkeypatch.setattr("videoapi.sandbox.console.feed.INTERVAL", 0.01)
    console = desk.sandbox._console
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.sandbox.port, limit=1024)
    writer.write(f"GET /console/events HTTP/1.1\r\nHost: 127.0.0.1:{desk.sandbox.port}\r\n\r\n".encode())
    assert b" 200 " in await reader.readline()
    # Until the buffers of the connection are full.
    blocked = 0
    async with asyncio.timeout(30):
        while blocked < 20:
            for number in range(KEPT):
                console._requests.begin("GET", f"/{number}" * 60, "")
            await asyncio.sleep(0.01)
            blocked = blocked + 1 if console._writing else 0
    async with asyncio.timeout(20):
        await desk.sandbox.aclose()
    writer.close()


async def test_restarted_sandbox_serves_viewers_again(desk):
    await desk.events()
    await desk.sandbox.aclose()
    await desk.sandbox.start()
    events = await desk.events()
    await desk.room()
    await events.until(lambda events: events.answered(1))


def test_sandbox_in_a_thread_may_be_changed_from_another_one():
    async def watch(sandbox):
        async with aiohttp.ClientSession() as session, session.get(f"{sandbox.console_url}console/events") as response:
            await asyncio.to_thread(sandbox.fault, "rooms.list", 503)
            async with asyncio.timeout(20):
                while b'"kind":"status"' not in await response.content.readline():
                    pass

    threads = threading.active_count()
    for _ in range(2):
        with Sandbox(console=True).in_thread() as sandbox:
            asyncio.run(watch(sandbox))
    assert threading.active_count() == threads


async def test_error_in_a_view_is_logged_and_ends_no_stream(desk, monkeypatch, caplog):
    events = await desk.events()
    with monkeypatch.context() as patched:
        patched.setattr(desk.sandbox._store, "latest_tokens", lambda: 1 / 0)
        await desk.room()
        await events.until(lambda events: events.answered(1))
    assert "could not read the state" in caplog.text
    await desk.room()
    await events.until(lambda events: events.state["rooms"]["total"] == 2)
