"""What the client sends, and what the sandbox responds under each switch, matches the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.openapi_document import Exchange, OpenAPIDocument

from videoapi import RoomSettings, VideoAPIError, VideoClient
from videoapi.sandbox import Sandbox

DOCUMENT = OpenAPIDocument()
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FIRST, LAST = "2026-01-20", "2026-01-31"
PREFIX = "/video/v2"
UNKNOWN = "0" * 24

SWITCHES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "other types": {
        "result_as": "string",
        "cdr_result": "number",
        "dialin_result": "0",
        "create_status": 201,
        "room_keys": "v2",
        "sip_ids": "string",
        "idle_users": "[]",
        "cdr_schema": "old",
        "empty_archive": "null",
        "delete_active": 10030,
        "echo": "lower",
    },
    "newer errors, older rooms": {
        "envelope": "status",
        "auth_failure_body": "status",
        "room_keys": "2018",
        "idle_users": "absent",
        "empty_archive": "bare",
        "unknown_room": 50007,
        "list_omits": "owner_ref",
        "echo": "no_data",
    },
    "strict": {
        "strict": True,
        "auth_failure_body": "sms",
        "project_quality": "SD",
        "adhoc_rule": "single",
        "seats": "issued",
        "echo": "truncate",
        "list_omits": "data",
    },
}


class Recorder:
    """A proxy that records each exchange as it is on the wire."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.exchanges: list[Exchange] = []
        self._origin = sandbox.base_url.removesuffix(PREFIX)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        url = self._origin + request.raw_path
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with (
            aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
            session.request(request.method, url, data=body or None, headers=headers) as response,
        ):
            answer = await response.read()
            content_type = response.headers["Content-Type"]
        self.exchanges.append(
            Exchange(request.method, request.raw_path.removeprefix(PREFIX), body, response.status, content_type, answer)
        )
        return web.Response(body=answer, status=response.status, headers={"Content-Type": content_type})


@asynccontextmanager
async def recorded(**switches: Any) -> AsyncIterator[tuple[Sandbox, VideoClient, Recorder]]:
    sandbox = Sandbox(seed=3, calls=60, rooms=3, today=date(2026, 1, 31), clock=lambda: NOW, **switches)
    async with sandbox:
        recorder = Recorder(sandbox)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", recorder.handle)
        async with TestServer(app) as proxy:
            async with VideoClient(sandbox.app_id, sandbox.app_key, str(proxy.make_url(PREFIX))) as client:
                yield sandbox, client, recorder


async def call_every_route(client: VideoClient, sandbox: Sandbox) -> None:
    """Use each route of the client, with successes and with refusals."""
    required: dict[str, Any] = {
        "mode": "group",
        "scheduled": False,
        "adhoc": False,
        "moderators": 1,
        "participants": "2",
    }
    rooms = [
        await client.rooms.create(name="Stand-up", settings=RoomSettings(**required), sip=True, data={"seat": 7}),
        await client.rooms.create(name="Retro", owner_ref="team-42", settings=RoomSettings(**required, knock=True)),
        await client.rooms.create(
            name="Review",
            settings=RoomSettings.scheduled_at(
                "2030-02-01T10:00:00Z", minutes=45, mode="lecture", moderators=2, participants=20, auto_recording=True
            ),
        ),
        await client.rooms.create(
            name="Interview",
            settings=RoomSettings.one_session(
                30,
                mode="group",
                moderators="1",
                participants="1",
                quality="SD",
                billing_code=1234,
                live_recording={"auto_recording": True, "url": "https://example.com/view"},
                role_based_recording={"moderator": "audio"},
                live_transcription={"language": "english"},
            ),
        ),
    ]
    first, second, scheduled, _ = rooms
    async for room in client.rooms.list():
        assert room.room_id
    await client.rooms.update(first.room_id, name="Daily", settings={"participants": "15", "auto_recording": True})
    with suppress(VideoAPIError):
        await client.rooms.update(first.room_id, settings={"mode": "lecture"})
    await client.rooms.get(first.room_id)
    await client.rooms.users(first.room_id)
    tokens = [
        await client.tokens.create(first.room_id, name=role, role=role, user_ref="u-1", data={"seat": 1})
        for role in ("moderator", "participant", "viewer", "audience")
    ]
    for token in tokens:
        sandbox.join(token.value)
    await client.rooms.users(first.room_id)
    await client.rooms.get(first.room_id)
    for refused in (
        client.tokens.create(first.room_id, name="Bob", role="moderator", user_ref="u-2"),
        client.tokens.create(scheduled.room_id, name="Bob", role="moderator", user_ref="u-2"),
        client.tokens.create(UNKNOWN, name="Bob", role="moderator", user_ref="u-2"),
        client.rooms.update(first.room_id, name="Busy"),
        client.rooms.delete(first.room_id),
        client.rooms.get(UNKNOWN),
        client.rooms.users(UNKNOWN),
        client.rooms.update(UNKNOWN, name="Nowhere"),
        client.rooms.delete(UNKNOWN),
        client.rooms.create(name="Odd", settings=RoomSettings(extra={"unheard_of": 1})),
    ):
        with pytest.raises(VideoAPIError):
            await refused
    for token in tokens:
        sandbox.leave(token.value)
    conf_num = sandbox.conference(second.room_id, users=3, recorded=True)
    bare = sandbox.conference(second.room_id, recorded=True, files=False)
    for reports in (client.cdr, client.archives):
        for number in (conf_num, bare, "nothing"):
            await reports.by_conference(number).to_list()
        await reports.by_room(second.room_id).to_list()
        await reports.by_room(UNKNOWN).to_list()
        await reports.by_period(FIRST, LAST).to_list()
        await reports.by_room_period(second.room_id, FIRST, LAST).to_list()
    await client.dialin.get()
    await client.rooms.delete(second.room_id)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
async def test_traffic_of_every_route_matches_the_document(switches: dict[str, Any]) -> None:
    async with recorded(**switches) as (sandbox, client, recorder):
        await call_every_route(client, sandbox)
    seen = recorder.exchanges
    assert [violation for exchange in seen for violation in DOCUMENT.violations(exchange)] == []
    called = Counter(found[0].pointer for exchange in seen if (found := DOCUMENT.find(exchange.method, exchange.path)))
    assert called.keys() == {operation.pointer for operation in DOCUMENT.operations()}
    assert sum(exchange.status >= 400 for exchange in seen) >= 10


@pytest.mark.parametrize("body", ["result", "sms", "status"])
async def test_refused_credentials_match_the_document_on_every_route(body: str) -> None:
    async with recorded(auth_failure_body=body) as (_, client, recorder):
        async with aiohttp.ClientSession() as session:
            for operation in DOCUMENT.operations():
                path = operation.template.format(room_id=UNKNOWN, conf_num="1", from_date=FIRST, to_date=LAST)
                async with session.request(operation.method, f"{client.base_url}{path}") as response:
                    assert response.status == 401
    assert [violation for exchange in recorder.exchanges for violation in DOCUMENT.violations(exchange)] == []


@pytest.mark.parametrize("retry_after", ["absent", "seconds", "date"])
async def test_throttled_requests_match_the_document(retry_after: str) -> None:
    async with recorded(rate_limit=0, retry_after=retry_after) as (_, client, recorder):
        quick = client.with_options(timeout=0.3)
        with pytest.raises(VideoAPIError):
            await quick.rooms.get(UNKNOWN)
    assert {exchange.status for exchange in recorder.exchanges} == {429}
    assert [violation for exchange in recorder.exchanges for violation in DOCUMENT.violations(exchange)] == []


@pytest.mark.parametrize("kind", ["throttle", "expired", "suspended", 500, 503])
async def test_refusals_by_a_fault_match_the_document(kind: str | int) -> None:
    async with recorded() as (sandbox, client, recorder):
        sandbox.fault("*", kind, times=None)
        async with aiohttp.ClientSession() as session:
            for operation in DOCUMENT.operations():
                path = operation.template.format(room_id=UNKNOWN, conf_num="1", from_date=FIRST, to_date=LAST)
                async with session.request(operation.method, f"{client.base_url}{path}") as response:
                    assert response.status >= 400
    assert [violation for exchange in recorder.exchanges for violation in DOCUMENT.violations(exchange)] == []


async def test_an_undeclared_response_is_noticed() -> None:
    async with recorded() as (sandbox, client, recorder):
        sandbox.fault("rooms.get", 418, body={"result": 10002, "error": "", "desc": ""})
        sandbox.fault("rooms.get", "status", status=400, body={"result": 10111, "error": "", "desc": ""})
        sandbox.fault("rooms.list", "status", status=200, body={"result": 0, "rooms": [{"room_id": 7}]})
        for call in (client.rooms.get(UNKNOWN), client.rooms.get(UNKNOWN), client.rooms.list().to_list()):
            with suppress(VideoAPIError):
                await call
    texts = [DOCUMENT.violations(exchange) for exchange in recorder.exchanges]
    assert "not declared" in texts[0][0]
    assert "10111" in texts[1][0]
    assert "rooms[0].room_id" in texts[2][0]
