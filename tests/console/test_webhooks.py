"""The console's action that sends a webhook, and the deliveries that it shows."""

import asyncio
import json

import aiohttp
import pytest
from support.webhook_receiver import receiving

from videoapi.sandbox import Sandbox
from videoapi.sandbox.notifications import TYPES

SECRET = "webhook-canary-9012"
AUTH = ("service", SECRET)


@pytest.fixture
async def receiver():
    async with receiving() as found:
        yield found


@pytest.fixture
async def other():
    async with receiving() as found:
        yield found


@pytest.mark.parametrize(("kind", "name"), TYPES.items())
async def test_webhook_of_a_typed_room_is_sent_to_a_typed_url(desk, receiver, kind, name):
    events = await desk.events()
    status, answer = await desk.act("webhook", kind=kind, room_id="no-such-room", url=f"{receiver.url}?key=canary")
    assert status == 200
    assert answer["message"].startswith("HTTP 200 after ")
    assert "canary" not in answer["message"]
    ((request, fields),) = receiver.seen
    assert (fields["type"], fields["room_id"], request.query["key"]) == (name, "no-such-room", "canary")
    assert (fields["app_id"], fields["conf_num"] in answer["message"]) == (desk.sandbox.app_id, True)
    (delivery,) = desk.sandbox.deliveries
    assert (delivery.type, delivery.url, delivery.accepted) == (name, receiver.url, True)
    await events.until(lambda events: events.state["webhooks"]["rows"])
    (shown,) = events.state["webhooks"]["rows"]
    assert (shown["type"], shown["url"], shown["status"], shown["error"], shown["attempt"]) == (
        *(name, receiver.url),
        *(200, None, 1),
    )
    assert b"canary" not in events.raw


async def test_webhook_of_an_existing_room_is_of_its_latest_session(desk, receiver):
    room_id = await desk.room()
    recorded = desk.sandbox.conference(room_id, minutes=5, recorded=True)
    latest = desk.sandbox.conference(room_id, minutes=1)
    desk.sandbox.conference(await desk.room(), minutes=1, recorded=True)
    for kind in ("session-ended", "recording-ready"):
        assert (await desk.act("webhook", kind=kind, room_id=room_id, url=receiver.url))[0] == 200
    ended, ready = (fields for _, fields in receiver.seen)
    assert (ended["conf_num"], ready["conf_num"]) == (latest, recorded)
    login = {"Authorization": aiohttp.encode_basic_auth(*desk.sandbox.recording_auth)}
    for url in ready["recording"]:
        async with desk.session.get(url, headers=login) as response:
            assert response.status == 200


async def test_own_url_is_the_default_and_alone_gets_the_credentials(open_desk, receiver, other):
    desk = await open_desk(webhook_url=f"{receiver.url}?key=canary", webhook_auth=AUTH)
    events = await desk.events()
    for url in (None, "", f"{receiver.url}?key=canary"):
        assert (await desk.act("webhook", kind="session-ended", room_id="r", url=url))[0] == 200
    sent = aiohttp.encode_basic_auth(*AUTH)
    assert [request.headers["Authorization"] for request, _ in receiver.seen] == [sent] * 3
    # Not even at the same place with another query or path, of which another program may answer.
    for url in (other.url, receiver.url, f"{receiver.url}?key=canary&more=1", f"{receiver.url}/../x?key=canary"):
        assert (await desk.act("webhook", kind="session-ended", room_id="r", url=url))[0] == 200
    assert len(receiver.seen) + len(other.seen) == 7
    for request, _ in (*receiver.seen[3:], *other.seen):
        assert "Authorization" not in request.headers
    await events.until(lambda events: events.state["webhooks"]["total"] == 7)
    assert SECRET.encode() not in events.raw
    assert b"canary" not in events.raw
    (offered,) = (action for action in events.hello["actions"] if action["name"] == "webhook")
    assert receiver.url in offered["fields"][2]["hint"]
    assert offered["fields"][2]["required"] is False


async def test_redirect_is_not_followed_with_the_credentials(open_desk, receiver, other):
    desk = await open_desk(webhook_url=receiver.url, webhook_auth=AUTH)
    receiver.status, receiver.headers = 307, {"Location": other.url}
    status, answer = await desk.act("webhook", kind="session-ended", room_id="r")
    assert (status, answer["message"].startswith("HTTP 307")) == (200, True)
    assert other.seen == []


async def test_webhook_password_is_masked_where_a_client_writes_it(open_desk):
    desk = await open_desk(webhook_url="http://127.0.0.1:9/", webhook_auth=AUTH)
    await desk.room(f"Room {SECRET}")
    events = await desk.events()
    assert SECRET.encode() not in events.raw
    url = f"http://127.0.0.1:9/{SECRET}"
    _, answer = await desk.act("webhook", kind="session-ended", room_id="r", url=url)
    await events.until(lambda events: events.state["webhooks"]["rows"])
    assert SECRET not in json.dumps(answer) + events.raw.decode()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": None}, "URL: a value is missing"),
        ({"url": "ftp://example.com/"}, "must be http:// or https://"),
        ({"url": "file:///etc/passwd"}, "must be http:// or https://"),
        ({"url": "javascript:alert(1)"}, "must be http:// or https://"),
        ({"url": "http://user:canary@example.com/"}, "without credentials in it"),
        ({"url": "http://example.com/\r\nX-Other: 1"}, "must be http:// or https://"),
        ({"url": 7}, "URL: 7 is not text"),
        ({"room_id": ""}, "Room: a value is missing"),
        ({"kind": "roomdrop"}, "Kind: 'roomdrop' is not one of session-ended"),
        ({"auth": "a:b"}, "unknown fields: auth"),
    ],
)
async def test_unusable_webhook_is_refused_before_anything_is_sent(desk, values, message):
    status, answer = await desk.act(
        "webhook", **{"kind": "session-ended", "room_id": "r", "url": "http://127.0.0.1:9/", **values}
    )
    assert (status, message in answer["error"], "canary" in answer["error"]) == (400, True, False), answer
    assert list(desk.sandbox.deliveries) == []


async def test_only_the_credentials_of_the_sandbox_can_send(desk, receiver):
    values = {"kind": "session-ended", "room_id": "r", "url": receiver.url}
    assert (await desk.act("webhook", {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}, **values))[0] == 401
    assert (await desk.act("webhook", {"Origin": "http://attacker.example"}, **values))[0] == 403
    assert receiver.seen == []


async def test_answers_are_shown_in_words(desk, receiver):
    events = await desk.events()
    receiver.status = 503
    _, answer = await desk.act("webhook", kind="session-ended", room_id="r", url=receiver.url)
    assert answer["message"].startswith("HTTP 503 after")
    _, answer = await desk.act("webhook", kind="session-ended", room_id="r", url="http://127.0.0.1:9/")
    assert answer["message"].startswith("Connection refused after")
    await events.until(lambda events: events.state["webhooks"]["total"] == 2)
    rows = events.state["webhooks"]["rows"]
    assert [(row["number"], row["status"], row["error"]) for row in rows] == [
        (2, None, "Connection refused"),
        (1, 503, None),
    ]


async def test_sessions_that_end_are_shown_live_and_the_latest_hundred(open_desk, receiver):
    desk = await open_desk(webhook_url=receiver.url)
    events = await desk.events()
    assert events.state["webhooks"] == {"total": 0, "rows": []}
    room_id = await desk.room()
    await asyncio.to_thread(desk.sandbox.conference, room_id, recorded=True)
    await events.until(lambda events: events.state["webhooks"]["total"] == 4)
    types = [row["type"] for row in events.state["webhooks"]["rows"]]
    assert types == ["file-transfer", "transcoded", "recording", "roomdrop"]
    for _ in range(120):
        desk.sandbox.notify("session-ended", room_id)
    await events.until(lambda events: events.state["webhooks"]["total"] == 124)
    assert [row["number"] for row in events.state["webhooks"]["rows"]] == list(range(124, 24, -1))


async def test_clearing_forgets_deliveries_and_drops_those_that_wait(open_desk, receiver):
    desk = await open_desk(webhook_url=receiver.url)
    events = await desk.events()
    desk.sandbox.notify("session-ended", "first")
    await events.until(lambda events: events.state["webhooks"]["total"] == 1)
    receiver.gate.clear()
    desk.sandbox.notify("session-ended", "second")
    waiting = asyncio.create_task(desk.act("webhook", kind="session-ended", room_id="third"))
    async with asyncio.timeout(10):
        while len(receiver.seen) < 3:
            await asyncio.sleep(0.005)
    assert (await desk.act("clear"))[0] == 200
    status, answer = await waiting
    assert (status, answer["error"]) == (400, "the sandbox was closed or cleared before the answer")
    assert (desk.sandbox.undelivered, list(desk.sandbox.deliveries)) == (0, [])
    receiver.gate.set()
    await events.until(lambda events: events.state["webhooks"] == {"total": 0, "rows": []})
    assert (await desk.act("webhook", kind="session-ended", room_id="fourth"))[0] == 200
    assert [delivery.status for delivery in desk.sandbox.deliveries] == [200]


async def test_closing_ends_a_webhook_that_waits(desk, receiver):
    receiver.gate.clear()
    waiting = asyncio.create_task(desk.act("webhook", kind="session-ended", room_id="r", url=receiver.url))
    async with asyncio.timeout(10):
        while not receiver.seen:
            await asyncio.sleep(0.005)
        await desk.sandbox.aclose()
        with pytest.raises(aiohttp.ClientError):
            status, _ = await waiting
            # The answer may be out before the connection is closed.
            assert status == 400
            raise aiohttp.ClientError
    receiver.gate.set()
    assert [delivery.error for delivery in desk.sandbox.deliveries] == ["the sandbox closed"]


async def test_openapi_document_is_served_next_to_the_console(desk):
    async with desk.session.get(f"{desk.url}openapi.json") as response:
        document = await response.json()
    assert (response.status, document["openapi"]) == (200, "3.1.0")
    assert document["servers"][0]["url"] == desk.sandbox.base_url
    async with Sandbox() as plain, desk.session.get(f"http://127.0.0.1:{plain.port}/openapi.json") as response:
        assert (await response.json())["paths"] == document["paths"]
    async with desk.session.get(desk.url) as page:
        assert 'href="/openapi.json"' in await page.text()
